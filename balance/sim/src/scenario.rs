//! A fleet and what happens to it, apart from who balances it. A scenario is built per seed; every arm of that seed runs the same one.

use std::time::Duration;

use crate::law::Law;

/// Slots of a server that never queues: a backend that merely waits.
pub const UNLIMITED: u32 = u32::MAX;

/// Everything about a run but the arm.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Independent balancers.
    pub balancers: Vec<BalancerSpec>,
    /// Servers; balancers know them by their index.
    pub servers: Vec<ServerSpec>,
    /// Requests per second from these seconds on, ascending; the first entry is at 0. Balancers share it by their `share`.
    pub rate: Vec<(f64, f64)>,
    /// How gaps between arrivals fall.
    pub arrivals: Arrivals,
    /// Work of a request, in seconds on a server of speed 1.
    pub work: Law,
    /// Upper bounds of the cost classes, ascending, in seconds of work; what exceeds the last is in one more. Empty: no classes.
    pub classes: Vec<f64>,
    /// What happens when, ascending by time.
    pub changes: Vec<Change>,
    /// An attempt without an answer ends then; absent: never.
    pub timeout: Option<Duration>,
    /// Attempts after a failed first one, each on another server.
    pub retries: u32,
    /// Server time that answering one probe costs.
    pub probe_cost: Duration,
    /// One way between balancer and server.
    pub network: Network,
    /// Seconds whose requests don't count.
    pub warm_up: f64,
    /// Seconds of arrivals, warm-up included. What is under way then still ends.
    pub length: f64,
}

/// One balancer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BalancerSpec {
    /// Its part of the requests, relative to the others'.
    pub share: f64,
    /// Its zone.
    pub zone: Option<u32>,
}

/// One server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSpec {
    /// Requests at work at once; the rest wait in order.
    pub slots: u32,
    /// Work done per second and slot.
    pub speed: f64,
    /// Its zone.
    pub zone: Option<u32>,
    /// Percent of a normal endpoint, as balancers are told.
    pub weight: u16,
    /// Priority group, as balancers are told.
    pub priority: u8,
    /// Who disturbs it.
    pub antagonist: Option<Antagonist>,
    /// Whether balancers have it from the start; else from its `Join` on.
    pub present: bool,
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self { slots: 1, speed: 1.0, zone: None, weight: 100, priority: 0, antagonist: None, present: true }
    }
}

/// A neighbour on the same machine: after each pause it draws anew what it leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Antagonist {
    /// Seconds between draws, uniform.
    pub pause: (f64, f64),
    /// Ranges and their chances (which sum to 1); within a range the draw is uniform.
    pub leaves: Vec<(f64, (f64, f64))>,
    /// What the draw is a factor of.
    pub of: Target,
}

/// What an antagonist takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Speed; a request keeps the factor that its service began with.
    Speed,
    /// Slots, rounded; requests at work stay.
    Slots,
}

/// How requests arrive: open loop, whatever happens to the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// Exponential gaps.
    Poisson,
    /// Equal gaps.
    Even,
}

/// One-way delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Network {
    /// Within a zone, and where zones aren't known.
    pub local: Duration,
    /// Between zones.
    pub across: Duration,
}

/// Something that happens to a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Seconds from the start.
    pub at: f64,
    /// Which server.
    pub server: usize,
    /// What.
    pub what: Event,
}

/// What may happen to a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Balancers learn of it.
    Join,
    /// It is taken from the balancers' lists; what it has, it ends.
    Leave,
    /// Another speed for services that begin from now on.
    Speed(f64),
    /// Its answers take this long whatever the request; absent: as long as the request's work again.
    Takes(Option<Law>),
    /// Another conduct.
    Conduct(Conduct),
}

/// How a server treats requests that reach it from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// It serves.
    Serving,
    /// It answers with an error after this time, without work and without a slot.
    Failing(Duration),
    /// It takes requests and never answers.
    Hung,
}

impl Scenario {
    /// Equal balancers, Poisson arrivals at one rate, no network, no timeouts, no changes: what claims start from.
    pub fn new(balancers: usize, servers: Vec<ServerSpec>, rate: f64, work: Law) -> Self {
        Self {
            balancers: vec![BalancerSpec { share: 1.0, zone: None }; balancers],
            servers,
            rate: vec![(0.0, rate)],
            arrivals: Arrivals::Poisson,
            work,
            classes: Vec::new(),
            changes: Vec::new(),
            timeout: None,
            retries: 0,
            probe_cost: Duration::ZERO,
            network: Network::default(),
            warm_up: 0.0,
            length: 10.0,
        }
    }

    /// The cost class of a request with this much work.
    pub fn class_of(&self, work: f64) -> Option<u64> {
        (!self.classes.is_empty()).then(|| self.classes.partition_point(|&bound| bound < work) as u64)
    }

    /// One way between a balancer and a server.
    pub fn delay(&self, balancer: usize, server: usize) -> u64 {
        let across = match (self.balancers[balancer].zone, self.servers[server].zone) {
            (Some(here), Some(there)) => here != there,
            _ => false,
        };
        let delay = if across { self.network.across } else { self.network.local };
        delay.as_nanos() as u64
    }
}
