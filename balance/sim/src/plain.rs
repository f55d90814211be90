//! Plain arms: each rule as its paper or its best-known code states it, over what one balancer sees. They are the yardstick.
//! FROZEN: written before the arms they are compared with, and not to be tuned since; `tests/engine/frozen.rs` holds their outcome.

mod c3;
mod peak_ewma;
mod weighted;

use evenkeel_balance::{ProbeAnswer, Rng, SmallRng};

use crate::events::Nanos;
use crate::server::Server;

/// What a balancer learns when an attempt ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feedback {
    /// Requests left on the server when it answered.
    pub(crate) queue: u32,
    /// Time at work.
    pub(crate) service: Nanos,
    /// What the server tells those who go by probes along with its response; no plain rule looks at it.
    pub(crate) told: ProbeAnswer,
}

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// In turn, from a random start.
    RoundRobin,
    /// Uniform.
    Random,
    /// The fewer in flight of two distinct draws, of this balancer's own requests (Mitzenmacher, IEEE TPDS 2001).
    TwoChoices,
    /// The lowest Peak-EWMA × (in flight + 1) of so many distinct draws; 0: of all (Twitter Finagle, 2013).
    PeakEwma(usize),
    /// C3's ranking over all servers (Suresh et al., NSDI 2015), without its rate control.
    C3,
    /// In turn by weights goodput ÷ utilisation, as Prequal's paper describes its predecessor (Wydrowski et al., NSDI 2024, §2).
    WeightedRoundRobin,
}

/// One balancer's state under a plain rule.
#[derive(Debug)]
pub(crate) struct Plain {
    rule: Rule,
    /// The servers that it has, ascending.
    members: Vec<usize>,
    in_flight: Vec<u32>,
    averages: Vec<peak_ewma::PeakEwma>,
    ranks: Vec<c3::Rank>,
    weights: weighted::Weights,
    turn: usize,
    balancers: u32,
}

impl Plain {
    pub(crate) fn new(rule: Rule, servers: usize, balancers: usize, rng: &mut SmallRng) -> Self {
        Self {
            rule,
            members: Vec::new(),
            in_flight: vec![0; servers],
            averages: vec![peak_ewma::PeakEwma::default(); servers],
            ranks: vec![c3::Rank::default(); servers],
            weights: weighted::Weights::new(servers, rng),
            turn: rng.below(servers),
            balancers: balancers as u32,
        }
    }

    pub(crate) fn set_members(&mut self, members: Vec<usize>) {
        self.weights.join(&members, &self.members);
        self.members = members;
    }

    /// The server, if there is one that wasn't tried.
    pub(crate) fn pick(&mut self, tried: &[u32], servers: &[Server], now: Nanos, rng: &mut SmallRng) -> Option<usize> {
        let open = |server: &usize| !tried.contains(&(*server as u32));
        let count = if tried.is_empty() { self.members.len() } else { self.members.iter().filter(|server| open(server)).count() };
        if count == 0 {
            return None;
        }
        let (members, in_flight) = (&self.members, &self.in_flight);
        let server = match self.rule {
            Rule::RoundRobin => {
                let start = self.turn % members.len();
                let step = (0..members.len()).find(|step| open(&members[(start + step) % members.len()]))?;
                self.turn = (start + step + 1) % members.len();
                members[(start + step) % members.len()]
            }
            Rule::Random => least_of(members, count, 1, open, |_| 0.0, rng)?,
            Rule::TwoChoices => least_of(members, count, 2, open, |server| f64::from(in_flight[server]), rng)?,
            Rule::PeakEwma(choices) => {
                let averages = &self.averages;
                least_of(members, count, choices, open, |server| averages[server].cost(in_flight[server], now), rng)?
            }
            Rule::C3 => {
                let (ranks, balancers) = (&self.ranks, self.balancers);
                least_of(members, count, 0, open, |server| ranks[server].score(in_flight[server], balancers), rng)?
            }
            Rule::WeightedRoundRobin => {
                self.weights.refresh(members, servers, now);
                self.weights.next(members.iter().copied().filter(open))?
            }
        };
        self.in_flight[server] += 1;
        Some(server)
    }

    /// Requests out.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.iter().map(|&count| u64::from(count)).sum()
    }

    /// An attempt ended. Failures count like answers: these rules are blind to them. `feedback` is there if the server answered.
    pub(crate) fn ended(&mut self, server: usize, took: Nanos, feedback: Option<Feedback>, now: Nanos) {
        self.in_flight[server] -= 1;
        match self.rule {
            Rule::PeakEwma(_) => self.averages[server].observe(took, now),
            Rule::C3 => self.ranks[server].observe(took, feedback),
            Rule::RoundRobin | Rule::Random | Rule::TwoChoices | Rule::WeightedRoundRobin => {}
        }
    }
}

/// The lowest score of `choices` distinct draws among the open members, ties at random; of all where `choices` is 0 or as many.
fn least_of(
    members: &[usize],
    count: usize,
    choices: usize,
    open: impl Fn(&usize) -> bool,
    score: impl Fn(usize) -> f64,
    rng: &mut SmallRng,
) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    let mut ties = 1;
    let mut ask = |server: usize, rng: &mut SmallRng| {
        let score = score(server);
        match best {
            Some((least, _)) if score > least => {}
            Some((least, _)) if score == least => {
                ties += 1;
                if rng.below(ties) == 0 {
                    best = Some((score, server));
                }
            }
            _ => {
                ties = 1;
                best = Some((score, server));
            }
        }
    };
    if choices == 0 || choices >= count {
        members.iter().copied().filter(open).for_each(|server| ask(server, rng));
    } else {
        let mut drawn = [usize::MAX; 8];
        let mut have = 0;
        while have < choices.min(drawn.len()) {
            let server = members[rng.below(members.len())];
            if open(&server) && !drawn[..have].contains(&server) {
                drawn[have] = server;
                have += 1;
                ask(server, rng);
            }
        }
    }
    best.map(|(_, server)| server)
}
