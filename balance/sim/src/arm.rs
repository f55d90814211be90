//! Who balances: the arms that a claim compares, and one balancer's state under each. An arm sees what a real balancer sees,
//! but for the clairvoyant one, which sees the servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, Config, Endpoint, EndpointSpec, Health, InFlight, Outcome, Passive, PickArgs, Pool, ProbeAnswer, Rng,
    SmallRng, Subset, key_hash,
};

use crate::events::Nanos;
use crate::law::{Purpose, stream};
use crate::plain::{Feedback, Plain, Rule};
use crate::scenario::Scenario;
use crate::server::Server;

/// A way to balance, with the name that tables show.
#[derive(Debug, Clone)]
pub struct Arm {
    /// For tables and plots.
    pub name: String,
    /// What it does.
    pub kind: Kind,
}

/// What an arm does.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A frozen plain rule.
    Plain(Rule),
    /// Knows every queue, what is left to do and the speed of the moment; sends each request where it would end first. A limit, greedy
    /// and so not quite the best possible one.
    Clairvoyant,
    /// Evenkeel's own pools, one book and one pool a balancer.
    Evenkeel(Box<Config>),
}

impl Arm {
    /// A plain rule under its usual name.
    pub fn plain(rule: Rule) -> Self {
        let name = match rule {
            Rule::RoundRobin => "plain round robin".to_owned(),
            Rule::Random => "plain random".to_owned(),
            Rule::TwoChoices => "plain two choices".to_owned(),
            Rule::PeakEwma(0) => "plain Peak-EWMA, full scan".to_owned(),
            Rule::PeakEwma(choices) => format!("plain Peak-EWMA, {choices} choices"),
            Rule::C3 => "plain C3".to_owned(),
            Rule::WeightedRoundRobin => "plain weighted round robin".to_owned(),
        };
        Self { name, kind: Kind::Plain(rule) }
    }

    /// The clairvoyant limit.
    pub fn clairvoyant() -> Self {
        Self { name: "clairvoyant".to_owned(), kind: Kind::Clairvoyant }
    }

    /// An algorithm of ours alone: no passive checks, so that its own figures show.
    pub fn ours(name: &str, algorithm: Algorithm) -> Self {
        Self::configured(name, Config::new(algorithm))
    }

    /// The same with the passive checks that pools have unless told otherwise.
    pub fn watched(name: &str, algorithm: Algorithm) -> Self {
        Self::configured(name, Config { passive: Some(passive()), ..Config::new(algorithm) })
    }

    /// A configuration of ours. A zone in it is replaced by each balancer's own, a subset's seed mixed with it.
    pub fn configured(name: &str, config: Config) -> Self {
        Self { name: name.to_owned(), kind: Kind::Evenkeel(Box::new(config)) }
    }
}

/// The passive checks of a pool by default.
pub fn passive() -> Passive {
    Passive {
        consecutive_errors: 5,
        window: Duration::from_secs(60),
        base_ejection: Duration::from_secs(1),
        max_ejection: Duration::from_secs(60),
        max_ejection_percent: 50,
    }
}

/// A zone's name, as endpoints and pools are told.
pub fn zone_name(zone: u32) -> String {
    format!("zone-{zone}")
}

/// A request that asks for a server.
pub(crate) struct Ask<'a> {
    pub(crate) balancer: usize,
    pub(crate) work: Nanos,
    pub(crate) class: Option<u64>,
    pub(crate) tried: &'a [u32],
    pub(crate) now: Nanos,
}

/// How an attempt ended, as its balancer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Good(Feedback),
    Error,
    TimedOut,
}

/// One balancer.
#[derive(Debug)]
pub(crate) enum Balancer {
    Plain(Plain),
    Clairvoyant { members: Vec<usize>, scratch: Vec<Nanos> },
    Evenkeel(Box<Evenkeel>),
}

/// A choice: the server, and what counts it where the arm is ours.
pub(crate) struct Choice {
    pub(crate) server: usize,
    pub(crate) lease: Option<InFlight>,
}

impl Balancer {
    pub(crate) fn new(arm: &Arm, scenario: &Scenario, number: usize, seed: u64, origin: Instant) -> Self {
        let servers = scenario.servers.len();
        match &arm.kind {
            Kind::Plain(rule) => {
                let mut rng = stream(!seed, Purpose::Picks, number);
                Self::Plain(Plain::new(*rule, servers, scenario.balancers.len(), &mut rng))
            }
            Kind::Clairvoyant => Self::Clairvoyant { members: Vec::new(), scratch: Vec::new() },
            Kind::Evenkeel(config) => Self::Evenkeel(Box::new(Evenkeel::new(config, scenario, number, seed, origin))),
        }
    }

    /// Another list. For a list that a pool refuses the scenario is wrong, and a run cannot go on.
    pub(crate) fn set_members(&mut self, members: Vec<usize>, scenario: &Scenario, now: Nanos) {
        match self {
            Self::Plain(plain) => plain.set_members(members),
            Self::Clairvoyant { members: known, .. } => *known = members,
            Self::Evenkeel(evenkeel) => evenkeel.set_members(&members, scenario, now),
        }
    }

    pub(crate) fn pick(&mut self, ask: &Ask<'_>, scenario: &Scenario, servers: &[Server], rng: &mut SmallRng) -> Option<Choice> {
        let server = match self {
            Self::Plain(plain) => plain.pick(ask.tried, servers, ask.now, rng)?,
            Self::Clairvoyant { members, scratch } => {
                let open = members.iter().copied().filter(|&server| !ask.tried.contains(&(server as u32)));
                let ends = |server: usize, scratch: &mut Vec<Nanos>| {
                    let delay = scenario.delay(ask.balancer, server);
                    servers[server].would_end(ask.work, ask.now + delay, scratch).saturating_add(delay)
                };
                // Equal ends: from a random place on, so that equal servers share.
                let start = rng.below(servers.len());
                open.map(|server| (ends(server, scratch), (server + servers.len() - start) % servers.len(), server)).min()?.2
            }
            Self::Evenkeel(evenkeel) => return evenkeel.pick(ask, rng),
        };
        Some(Choice { server, lease: None })
    }

    /// An attempt ended; the lease goes back here.
    pub(crate) fn ended(&mut self, server: usize, lease: Option<InFlight>, ending: Ending, sent: Nanos, now: Nanos) {
        match self {
            Self::Plain(plain) => {
                let feedback = if let Ending::Good(feedback) = ending { Some(feedback) } else { None };
                plain.ended(server, now - sent, feedback, now);
            }
            Self::Clairvoyant { .. } => {}
            Self::Evenkeel(evenkeel) => {
                evenkeel.ended(lease, ending, now);
                if let (Ending::Good(feedback), Some(pool), Some(endpoint)) =
                    (ending, &evenkeel.pool, &evenkeel.endpoints[server])
                {
                    pool.told(endpoint, feedback.told, evenkeel.at(now));
                }
            }
        }
    }

    /// Whom it probes after a request.
    pub(crate) fn probe_targets(&self, now: Nanos, rng: &mut SmallRng, targets: &mut Vec<usize>) {
        if let Self::Evenkeel(evenkeel) = self
            && let Some(pool) = &evenkeel.pool
        {
            targets.extend(pool.probe_targets(evenkeel.at(now), rng).map(|endpoint| server_of(endpoint)));
        }
    }

    /// What a probe was told.
    pub(crate) fn probed(&self, server: usize, answer: ProbeAnswer, now: Nanos) {
        if let Self::Evenkeel(evenkeel) = self
            && let (Some(pool), Some(endpoint)) = (&evenkeel.pool, &evenkeel.endpoints[server])
        {
            pool.probed(endpoint, answer, evenkeel.at(now));
        }
    }

    /// Requests that it has out, as it counts them itself.
    pub(crate) fn in_flight(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.in_flight(),
            Self::Clairvoyant { .. } => 0,
            Self::Evenkeel(evenkeel) => evenkeel.endpoints.iter().flatten().map(|endpoint| u64::from(endpoint.in_flight())).sum(),
        }
    }
}

/// A balancer of ours: a book, a pool, and which endpoint is which server.
#[derive(Debug)]
pub(crate) struct Evenkeel {
    book: Book,
    pool: Option<Pool>,
    config: Config,
    endpoints: Vec<Option<Arc<Endpoint>>>,
    origin: Instant,
    seed: u64,
}

impl Evenkeel {
    fn new(config: &Config, scenario: &Scenario, number: usize, seed: u64, origin: Instant) -> Self {
        let seed = stream(seed, Purpose::Picks, number).next_u64();
        let endpoints = vec![None; scenario.servers.len()];
        let mut config = config.clone();
        config.zone = config.zone.and(scenario.balancers[number].zone.map(zone_name));
        config.subset = config.subset.map(|subset| Subset { seed: subset.seed ^ seed, ..subset });
        Self { book: Book::new(), pool: None, config, endpoints, origin, seed }
    }

    fn at(&self, now: Nanos) -> Instant {
        self.origin + Duration::from_nanos(now)
    }

    #[allow(clippy::expect_used, reason = "a scenario whose members a pool refuses is wrong")]
    fn set_members(&mut self, members: &[usize], scenario: &Scenario, now: Nanos) {
        let at = self.at(now);
        let list: Vec<Arc<Endpoint>> = members.iter().map(|&server| self.book.enter(spec(scenario, server), at)).collect();
        for (&server, endpoint) in members.iter().zip(&list) {
            self.endpoints[server] = Some(Arc::clone(endpoint));
        }
        self.pool = Some(Pool::try_new(self.config.clone(), list, self.seed).expect("a scenario's list"));
    }

    fn pick(&mut self, ask: &Ask<'_>, rng: &mut SmallRng) -> Option<Choice> {
        let tried: Vec<Arc<Endpoint>> = ask.tried.iter().filter_map(|&server| self.endpoints[server as usize].clone()).collect();
        let args = PickArgs { key: None, class: ask.class.map(|class| key_hash(&class.to_le_bytes())), tried: &tried };
        let pick = self.pool.as_ref()?.pick(args, self.at(ask.now), rng).ok()?;
        Some(Choice { server: server_of(pick.lease.endpoint()), lease: Some(pick.lease) })
    }

    fn ended(&mut self, lease: Option<InFlight>, ending: Ending, now: Nanos) {
        let outcome = match ending {
            Ending::Good(_) => Outcome::Success,
            Ending::Error => Outcome::ServerError,
            Ending::TimedOut => Outcome::GatewayError,
        };
        let at = self.at(now);
        if let (Some(pool), Some(mut lease)) = (&self.pool, lease) {
            if outcome == Outcome::Success {
                lease.answered(at);
            }
            pool.report(&mut lease, outcome, at);
        }
    }
}

/// The endpoint of a server: its address says which one it is.
fn spec(scenario: &Scenario, server: usize) -> EndpointSpec {
    let known = &scenario.servers[server];
    EndpointSpec {
        id: format!("server-{server}"),
        ring_key: format!("server-{server}"),
        address: ([10, 0, 0, 1], server as u16 + 1).into(),
        weight: known.weight,
        zone: known.zone.map(zone_name),
        priority: known.priority,
        health: Health::Usable,
    }
}

fn server_of(endpoint: &Endpoint) -> usize {
    usize::from(endpoint.address().port()) - 1
}
