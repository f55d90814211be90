//! Random sequences of operations on books and pools, drawn from bytes, each step judged by the oracle: no panic, typed errors, exact
//! counts, nobody picked who may not be, bounds held. One source for the fuzz target and for the property test of `cargo test`.
#![allow(clippy::unwrap_used, reason = "a run that cannot go on fails")]

mod bytes;
mod oracle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, Config, Ejection, Endpoint, EndpointSpec, Health, InFlight, Loads, NoEndpoint, Outcome, Passive, Pick,
    PickArgs, PickReason, Pool, ProbeAnswer, ReportedLoad, SlowStart, SmallRng, Subset, Table,
};

use bytes::Bytes;
use oracle::Scope;

/// Identities that may exist.
const IDENTITIES: usize = 12;
/// Pools that live at once.
const POOLS: usize = 4;

/// Runs the sequence that these bytes mean. Panics where a promise is broken.
pub(crate) fn run(bytes: &[u8]) {
    let mut world = World::new();
    let mut bytes = Bytes::new(bytes);
    while let Some(kind) = bytes.next() {
        world.step(kind, &mut bytes);
        world.check_counts();
    }
    world.end();
}

struct World {
    now: Instant,
    rng: SmallRng,
    /// They share loads; each has verdicts of its own.
    books: [Book; 2],
    /// The list that each book's next pool is made of.
    lists: [Vec<Arc<Endpoint>>; 2],
    pools: Vec<Arc<Pool>>,
    /// Each request with the pool that it came from.
    leases: Vec<(Arc<Pool>, InFlight)>,
    /// Every record that was ever entered.
    known: Vec<Arc<Endpoint>>,
}

impl World {
    fn new() -> Self {
        let loads = Arc::new(Loads::new());
        Self {
            now: Instant::now(),
            rng: SmallRng::new(1),
            books: [Book::sharing(&loads), Book::sharing(&loads)],
            lists: [Vec::new(), Vec::new()],
            pools: Vec::new(),
            leases: Vec::new(),
            known: Vec::new(),
        }
    }

    fn step(&mut self, kind: u8, bytes: &mut Bytes<'_>) {
        match kind % 16 {
            0 | 1 => self.enter(bytes),
            2 => self.leave(bytes),
            3 => self.rebuild(bytes),
            4 => self.change(bytes),
            5..=9 => self.pick(bytes),
            10 | 11 => self.report(bytes),
            12 => self.learn(bytes),
            13 => self.end_requests(bytes),
            14 => self.now += Duration::from_millis(bytes.one_of(&[1, 20, 300, 1_000, 5_000, 70_000])),
            _ => self.tidy(bytes),
        }
    }

    /// An identity enters a book's list, or is brought up to date there.
    fn enter(&mut self, bytes: &mut Bytes<'_>) {
        let (book, number) = (bytes.below(2), bytes.below(IDENTITIES));
        let spec = EndpointSpec {
            id: format!("uid-{number}:80"),
            // Some share a name: a pod that drains beside its successor.
            ring_key: format!("shop/web-{}:80", if bytes.once_in(8) { number / 2 } else { number }),
            address: format!("10.0.{}.{}:80", u8::from(bytes.once_in(16)), number + 1).parse().unwrap(),
            weight: weight(bytes),
            zone: bytes.one_of(&[None, Some("a"), Some("b")]).map(str::to_owned),
            priority: bytes.one_of(&[0, 0, 0, 1, 7]),
            health: health(bytes),
        };
        let record = self.books[book].enter(spec.clone(), self.now);
        assert_eq!((record.weight(), record.priority(), record.health()), (spec.weight, spec.priority, spec.health));
        assert!(Arc::ptr_eq(&record, &self.books[book].find(&spec.id).unwrap()));
        let list = &mut self.lists[book];
        match list.iter_mut().find(|member| member.id() == record.id()) {
            // Once in a while both stay: a list that names an identity twice.
            Some(member) if !bytes.once_in(32) => *member = Arc::clone(&record),
            _ => list.push(Arc::clone(&record)),
        }
        if !self.known.iter().any(|known| Arc::ptr_eq(known, &record)) {
            self.known.push(record);
        }
    }

    fn leave(&mut self, bytes: &mut Bytes<'_>) {
        let list = &mut self.lists[bytes.below(2)];
        if !list.is_empty() {
            list.swap_remove(bytes.below(list.len()));
        }
    }

    /// Another snapshot: another list, another algorithm, other settings.
    fn rebuild(&mut self, bytes: &mut Bytes<'_>) {
        let book = bytes.below(2);
        let mut members = self.lists[book].clone();
        if bytes.once_in(32) {
            members.extend(self.lists[1 - book].first().cloned());
        }
        let books = usize::from(!members.is_empty()) + usize::from(members.len() > self.lists[book].len() && members.len() > 1);
        let config = config(bytes);
        let legal = oracle::is_legal(&config, &members, books);
        match Pool::try_new(config.clone(), members, bytes.below(256) as u64) {
            Ok(pool) => {
                assert!(legal, "{config:?} was built");
                if self.pools.len() == POOLS {
                    self.pools.remove(0);
                }
                self.pools.push(Arc::new(pool));
            }
            Err(error) => {
                assert!(!legal, "{config:?}: {error}");
                assert!(!error.to_string().is_empty());
            }
        }
    }

    /// What the operator says of an endpoint changes under all its pools.
    fn change(&mut self, bytes: &mut Bytes<'_>) {
        if self.known.is_empty() {
            return;
        }
        let endpoint = &self.known[bytes.below(self.known.len())];
        match bytes.below(3) {
            0 => endpoint.set_health(health(bytes), self.now),
            1 => endpoint.set_weight(1 + bytes.below(1_000) as u16),
            _ => endpoint.set_priority(bytes.below(3) as u8),
        }
    }

    fn pick(&mut self, bytes: &mut Bytes<'_>) {
        if self.pools.is_empty() {
            return;
        }
        let pool = Arc::clone(&self.pools[bytes.below(self.pools.len())]);
        let members = pool.members();
        let tried: Vec<_> = (0..bytes.one_of(&[0, 0, 0, 1, 3, 12]))
            .filter_map(|_| members.get(bytes.below(members.len().max(1))).cloned())
            .collect();
        let key = (!bytes.once_in(4)).then(|| u64::from(bytes.next().unwrap_or(0)) << 56);
        let class = bytes.once_in(2).then(|| bytes.below(4) as u64);
        let args = PickArgs { key, class, tried: &tried };
        let before = Before::new(&pool);
        if bytes.once_in(8) {
            let order = pool.candidates(args, self.now);
            assert!(order.iter().all(|one| !contains(&tried, one) && before.may(one)), "{:?}", pool.config());
            assert!(order.iter().enumerate().all(|(n, one)| !contains(&order[..n], one)), "{:?}", pool.config());
        }
        match pool.pick(args, self.now, &mut self.rng) {
            Ok(picked) => {
                before.check_pick(&picked, &tried);
                self.leases.push((pool, picked.lease));
            }
            Err(error) => before.check_refusal(error, &tried),
        }
    }

    fn report(&mut self, bytes: &mut Bytes<'_>) {
        const OUTCOMES: [Outcome; 5] =
            [Outcome::Success, Outcome::ConnectError, Outcome::GatewayError, Outcome::ServerError, Outcome::Cancelled];
        let Some(at) = self.any_lease(bytes) else { return };
        let outcome = bytes.one_of(&OUTCOMES);
        // A row of errors in one step, so that breakers open often.
        for _ in 0..bytes.one_of(&[1, 1, 5]) {
            let (pool, lease) = &mut self.leases[at];
            pool.report(lease, outcome, self.now);
        }
        if !bytes.once_in(4) {
            self.leases.swap_remove(at);
        }
    }

    /// An answer begins, a backend says how loaded it is, or a probe is answered.
    fn learn(&mut self, bytes: &mut Bytes<'_>) {
        let size = bytes.one_of(&[0.0, 0.01, 1.0, 1e9, f64::NAN, f64::INFINITY, -1.0]);
        match (bytes.below(3), self.any_lease(bytes)) {
            (0, Some(at)) => self.leases[at].1.answered(self.now),
            (1, Some(at)) => {
                let report = ReportedLoad { queries_per_second: size, errors_per_second: 0.0, utilization: 0.5 };
                self.leases[at].1.endpoint().report_load(&report, self.now);
            }
            _ if !self.pools.is_empty() && !self.known.is_empty() => {
                let pool = &self.pools[bytes.below(self.pools.len())];
                let targets: Vec<_> = pool.probe_targets(self.now, &mut self.rng).collect();
                assert!(targets.len() <= 3 && targets.iter().all(|target| contains(pool.members(), target)));
                let latency = Duration::from_millis(bytes.one_of(&[0, 1, 5, 60_000]));
                let answer = ProbeAnswer { in_flight: bytes.below(300) as u32, latency, each: latency / 3 };
                // Of any endpoint: one that left since the probe was sent is ignored.
                pool.probed(&self.known[bytes.below(self.known.len())], answer, self.now);
            }
            _ => {}
        }
    }

    fn any_lease(&self, bytes: &mut Bytes<'_>) -> Option<usize> {
        (!self.leases.is_empty()).then(|| bytes.below(self.leases.len()))
    }

    fn end_requests(&mut self, bytes: &mut Bytes<'_>) {
        for _ in 0..bytes.one_of(&[1, 1, 2, 8]) {
            let Some(at) = self.any_lease(bytes) else { return };
            self.leases.swap_remove(at);
        }
    }

    fn tidy(&mut self, bytes: &mut Bytes<'_>) {
        if bytes.once_in(2) && !self.pools.is_empty() {
            self.pools.swap_remove(bytes.below(self.pools.len()));
        }
        self.known.retain(|known| Arc::strong_count(known) > 2);
        self.books.iter().for_each(Book::sweep);
    }

    /// Each request counts once on its endpoint's load, whatever pools and lists came and went.
    fn check_counts(&self) {
        for known in &self.known {
            let held = self.leases.iter().filter(|(_, lease)| Arc::ptr_eq(lease.endpoint().load(), known.load())).count();
            assert_eq!(known.in_flight() as usize, held, "{}", known.id());
        }
    }

    /// All requests end, all pools go: nothing stays in flight, no claim stays out, and the books forget everybody.
    fn end(mut self) {
        self.leases.clear();
        for known in &self.known {
            assert_eq!((known.in_flight(), known.load().cost()), (0, 0), "{}", known.id());
            assert_ne!(known.ejection(), Ejection::Probing, "{}", known.id());
        }
        self.pools.clear();
        self.lists = [Vec::new(), Vec::new()];
        self.known.clear();
        for book in &self.books {
            book.sweep();
            assert!(book.is_empty());
        }
    }
}

/// A pool as it is before a pick.
struct Before {
    pool: Arc<Pool>,
    scope: Scope,
    candidates: Vec<Arc<Endpoint>>,
    /// What each candidate has in flight.
    in_flight: Vec<u32>,
    /// Members whose breaker is open.
    ejected: Vec<Arc<Endpoint>>,
}

impl Before {
    fn new(pool: &Arc<Pool>) -> Self {
        let (scope, candidates) = oracle::candidates(pool);
        let candidates: Vec<_> = candidates.into_iter().cloned().collect();
        let in_flight = candidates.iter().map(|candidate| candidate.in_flight()).collect();
        let is_open = |member: &&Arc<Endpoint>| matches!(member.ejection(), Ejection::Open { .. });
        let ejected = pool.members().iter().filter(is_open).cloned().collect();
        Self { pool: Arc::clone(pool), scope, candidates, in_flight, ejected }
    }

    fn may(&self, endpoint: &Arc<Endpoint>) -> bool {
        contains(&self.candidates, endpoint)
    }

    fn has_room(&self, taken: u32) -> bool {
        self.pool.config().endpoint_limit.is_none_or(|limit| taken < limit)
    }

    fn check_pick(&self, picked: &Pick, tried: &[Arc<Endpoint>]) {
        let (endpoint, config) = (picked.lease.endpoint(), self.pool.config());
        assert!(!contains(tried, endpoint), "{} was tried: {config:?}", endpoint.id());
        assert!(config.endpoint_limit.is_none_or(|limit| endpoint.in_flight() <= limit), "{} is over its limit", endpoint.id());
        if picked.reason == PickReason::Probe {
            assert!(contains(&self.ejected, endpoint), "{} isn't ejected: {config:?}", endpoint.id());
            assert_eq!((endpoint.health(), endpoint.ejection()), (Health::Usable, Ejection::Probing), "{config:?}");
            return;
        }
        assert!(self.may(endpoint), "{endpoint:?} by {:?}: {config:?}", picked.reason);
        assert_eq!(oracle::scope_of(picked.reason), self.scope, "{config:?}");
        if let (PickReason::Owner | PickReason::Overflow, Some(percent)) = (picked.reason, oracle::bound(config)) {
            self.check_bound(percent, endpoint, tried);
        }
    }

    /// The bound holds, or nobody had room. Not asked where slow start or a subset changes whom and what it sums over, nor where a
    /// live record was told a weight of 0: the next list with it is refused, until then nothing is promised.
    fn check_bound(&self, percent: u32, picked: &Arc<Endpoint>, tried: &[Arc<Endpoint>]) {
        let Config { slow_start: None, zone: None, subset: None, .. } = self.pool.config() else { return };
        let total = self.in_flight.iter().map(|&count| u64::from(count)).sum();
        let weight = self.candidates.iter().map(|candidate| u64::from(candidate.weight())).sum();
        if self.candidates.iter().any(|candidate| candidate.weight() == 0) {
            return;
        }
        let fits = |&(candidate, &taken): &(&Arc<Endpoint>, &u32)| {
            self.has_room(taken) && oracle::fits(percent, taken, candidate.weight(), total, weight)
        };
        let mut fitting = self.candidates.iter().zip(&self.in_flight).filter(fits).map(|(candidate, _)| candidate).peekable();
        let held = fitting.clone().any(|candidate| Arc::ptr_eq(candidate, picked));
        assert!(held || fitting.all(|candidate| contains(tried, candidate)), "{} is over its bound", picked.id());
    }

    fn check_refusal(&self, error: NoEndpoint, tried: &[Arc<Endpoint>]) {
        let config = self.pool.config();
        assert_eq!(error == NoEndpoint::Empty, self.pool.members().is_empty());
        if config.subset.is_none() {
            let mut left = self.candidates.iter().zip(&self.in_flight).filter(|(candidate, _)| !contains(tried, candidate));
            assert_eq!(error == NoEndpoint::Saturated, left.clone().next().is_some(), "{config:?}");
            let left = left.find(|&(_, &taken)| self.has_room(taken));
            assert!(left.is_none(), "{error:?}, but there is {left:?}: {config:?}");
        }
        if error == NoEndpoint::AllTried {
            assert!(!tried.is_empty());
        }
    }
}

fn contains(list: &[Arc<Endpoint>], one: &Arc<Endpoint>) -> bool {
    list.iter().any(|other| Arc::ptr_eq(other, one))
}

/// Mostly legal.
fn weight(bytes: &mut Bytes<'_>) -> u16 {
    match bytes.below(64) {
        0 => 0,
        1 => 1_001,
        2 => u16::MAX,
        3..=20 => 1 + bytes.below(1_000) as u16,
        _ => 100,
    }
}

fn health(bytes: &mut Bytes<'_>) -> Health {
    bytes.one_of(&[Health::Usable, Health::Usable, Health::Usable, Health::Draining, Health::NotReady, Health::Down])
}

fn config(bytes: &mut Bytes<'_>) -> Config {
    let passive = Passive {
        consecutive_errors: bytes.one_of(&[1, 5]),
        window: Duration::from_secs(60),
        base_ejection: Duration::from_secs(1),
        max_ejection: Duration::from_secs(60),
        max_ejection_percent: bytes.one_of(&[50, 100, 0]),
    };
    Config {
        algorithm: algorithm(bytes),
        panic_threshold: bytes.one_of(&[50, 50, 50, 0, 0, 0, 100, 100, 100, 101]),
        passive: (!bytes.once_in(4)).then_some(passive),
        slow_start: bytes.once_in(4).then_some(SlowStart {
            window: Duration::from_secs(30),
            min_weight_percent: bytes.one_of(&[10, 10, 10, 10, 0, 101]),
        }),
        zone: bytes.one_of(&[None, None, Some("a"), Some("c")]).map(str::to_owned),
        subset: bytes.once_in(6).then(|| Subset { size: bytes.below(15) as u32, seed: 5 }),
        endpoint_limit: bytes.once_in(4).then(|| bytes.one_of(&[1, 2, 3, 3, 0])),
    }
}

fn algorithm(bytes: &mut Bytes<'_>) -> Algorithm {
    let choice_count = bytes.one_of(&[0, 1, 2, 3, 20]);
    match bytes.below(14) {
        0 => Algorithm::RoundRobin,
        1 => Algorithm::Random,
        2 => Algorithm::LeastConnections { choice_count },
        3 => Algorithm::LeastResponseTime { choice_count },
        4 => Algorithm::ResponseTimeWeighted,
        5 => Algorithm::ReportedWeighted,
        6 => Algorithm::Packing { limit: bytes.one_of(&[1, 3, 3, 0]) },
        7 => Algorithm::Prequal,
        8 => Algorithm::LeastExpectedTime,
        9 => Algorithm::LeastCost { choice_count },
        _ => Algorithm::ConsistentHash {
            table: table(bytes),
            hash_balance_factor: bytes.one_of(&[None, Some(100), Some(125), Some(125), Some(300), Some(99)]),
        },
    }
}

fn table(bytes: &mut Bytes<'_>) -> Table {
    match bytes.below(3) {
        0 => Table::Ring { virtual_nodes: bytes.one_of(&[1, 10, 20, 0, u32::MAX]) },
        1 => Table::Maglev { size: bytes.one_of(&[13, 101, 2, 0, 1, 100, u32::MAX]) },
        _ => Table::Rendezvous,
    }
}
