//! Zones (FEATURES A21): a pool that knows its own prefers it, and leaves it for its slowness, its failures and its losses.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, Config, Endpoint, EndpointSpec, Health, InFlight, Outcome, PickArgs, PickReason, Pool, SmallRng,
};

use crate::world::{algorithms, least, ring, spec};

/// Endpoints in the own zone, and all.
const OWN: usize = 5;
const ALL: usize = 15;

fn enter(book: &Book, now: Instant) -> Vec<Arc<Endpoint>> {
    (0..ALL)
        .map(|n| book.enter(EndpointSpec { zone: Some(if n < OWN { "a" } else { "b" }.to_owned()), ..spec(n) }, now))
        .collect()
}

fn pool(algorithm: Algorithm, members: &[Arc<Endpoint>]) -> Pool {
    let config = Config { zone: Some("a".to_owned()), ..Config::new(algorithm) };
    Pool::try_new(config, members.to_vec(), 1).unwrap()
}

fn is_own(endpoint: &Endpoint) -> bool {
    endpoint.zone() == Some("a")
}

/// A caller that sends a request every 5 ms on a clock of its own.
struct Caller {
    now: Instant,
    rng: SmallRng,
    under_way: VecDeque<(Instant, InFlight, Outcome)>,
}

const TICK: Duration = Duration::from_millis(5);

impl Caller {
    fn new(now: Instant) -> Self {
        Self { now, rng: SmallRng::new(7), under_way: VecDeque::new() }
    }

    /// Sends for so many seconds; the part of the second half that stayed in the zone. `answer` says how long an endpoint takes, and
    /// how that ends.
    fn call(&mut self, pool: &Pool, seconds: u64, answer: impl Fn(&Endpoint) -> (u64, Outcome)) -> f64 {
        let count = seconds * 200;
        let mut stayed = 0.0;
        for n in 0..count {
            self.now += TICK;
            let done = self.under_way.iter().filter(|(at, ..)| *at <= self.now).count();
            self.under_way.make_contiguous().sort_by_key(|(at, ..)| *at);
            for (at, mut lease, outcome) in self.under_way.drain(..done) {
                pool.report(&mut lease, outcome, at);
            }
            let lease = pool.pick(PickArgs::default(), self.now, &mut self.rng).unwrap().lease;
            stayed += f64::from(u8::from(n >= count / 2 && is_own(lease.endpoint())));
            let (millis, outcome) = answer(lease.endpoint());
            self.under_way.push_back((self.now + Duration::from_millis(millis), lease, outcome));
        }
        stayed / (count - count / 2) as f64
    }
}

fn all_in(millis: u64) -> impl Fn(&Endpoint) -> (u64, Outcome) {
    move |_| (millis, Outcome::Success)
}

fn own_in(own: u64, others: u64) -> impl Fn(&Endpoint) -> (u64, Outcome) {
    move |endpoint| (if is_own(endpoint) { own } else { others }, Outcome::Success)
}

#[test]
fn before_any_answer_zones_count_by_weight() {
    let now = Instant::now();
    let pool = pool(least(2), &enter(&Book::new(), now));
    let mut rng = SmallRng::new(3);
    let own = (0..30_000).filter(|_| is_own(pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease.endpoint())).count();
    assert!((9_500..10_500).contains(&own), "{own}");
}

#[test]
fn equal_zones_stay_at_home_whatever_the_algorithm() {
    let ignores = |algorithm: &Algorithm| {
        matches!(algorithm, Algorithm::ConsistentHash { .. } | Algorithm::Prequal | Algorithm::LeastExpectedTime)
    };
    for algorithm in algorithms().into_iter().filter(|algorithm| !ignores(algorithm)) {
        let mut caller = Caller::new(Instant::now());
        let pool = pool(algorithm.clone(), &enter(&Book::new(), caller.now));
        let stayed = caller.call(&pool, 20, all_in(20));
        assert!(stayed > 0.95, "{algorithm:?}: {stayed}");
    }
}

#[test]
fn a_slow_zone_spills_and_gets_its_requests_back() {
    let mut caller = Caller::new(Instant::now());
    let pool = pool(least(2), &enter(&Book::new(), caller.now));
    assert!(caller.call(&pool, 10, all_in(20)) > 0.95);
    let slow = caller.call(&pool, 10, own_in(60, 20));
    assert!(slow < 0.05, "{slow}");
    let again = caller.call(&pool, 60, all_in(20));
    assert!(again > 0.95, "{again}");
}

#[test]
fn a_zone_that_is_a_little_slower_keeps_most() {
    let mut caller = Caller::new(Instant::now());
    let pool = pool(least(2), &enter(&Book::new(), caller.now));
    let stayed = caller.call(&pool, 20, own_in(24, 20));
    assert!(stayed > 0.8, "{stayed}");
}

#[test]
fn slowness_everywhere_moves_nothing() {
    let mut caller = Caller::new(Instant::now());
    let pool = pool(least(2), &enter(&Book::new(), caller.now));
    caller.call(&pool, 10, all_in(20));
    let stayed = caller.call(&pool, 20, all_in(100));
    assert!(stayed > 0.95, "{stayed}");
}

#[test]
fn a_zone_that_fails_at_once_does_not_look_quick() {
    let mut caller = Caller::new(Instant::now());
    let pool = pool(least(2), &enter(&Book::new(), caller.now));
    let stayed = caller.call(&pool, 20, |endpoint| match is_own(endpoint) {
        true => (1, Outcome::ServerError),
        false => (40, Outcome::Success),
    });
    assert!(stayed < 0.05, "{stayed}");
}

#[test]
fn requests_that_hang_spill_before_any_of_them_ends() {
    let mut caller = Caller::new(Instant::now());
    let pool = pool(least(2), &enter(&Book::new(), caller.now));
    caller.call(&pool, 10, all_in(20));
    let stayed = caller.call(&pool, 2, own_in(3_600_000, 20));
    assert!(stayed < 0.05, "{stayed}");
}

#[test]
fn a_zone_that_loses_most_of_its_endpoints_spills_at_once() {
    let mut caller = Caller::new(Instant::now());
    let members = enter(&Book::new(), caller.now);
    let pool = pool(least(2), &members);
    // Just as wanted as the others: then the part that is left shows.
    caller.call(&pool, 30, own_in(30, 20));
    let share = |pool: &Pool, caller: &mut Caller| {
        (0..2_000)
            .filter(|_| is_own(pool.pick(PickArgs::default(), caller.now, &mut caller.rng).unwrap().lease.endpoint()))
            .count()
    };
    let before = share(&pool, &mut caller);
    members[1..OWN].iter().for_each(|member| member.set_health(Health::Down, caller.now));
    let after = share(&pool, &mut caller);
    assert!(after * 3 < before, "{before} {after}");
}

#[test]
fn an_empty_zone_goes_elsewhere_and_says_so() {
    let now = Instant::now();
    let members = enter(&Book::new(), now);
    let pool = pool(least(2), &members);
    let mut rng = SmallRng::new(3);
    members[..OWN].iter().for_each(|member| member.set_health(Health::NotReady, now));
    for _ in 0..100 {
        let pick = pool.pick(PickArgs::default(), now, &mut rng).unwrap();
        assert!(!is_own(pick.lease.endpoint()) && pick.reason == PickReason::Spill);
    }
    members[..OWN].iter().for_each(|member| member.set_health(Health::Usable, now));
    let reasons = (0..100).map(|_| {
        let pick = pool.pick(PickArgs::default(), now, &mut rng).unwrap();
        (is_own(pick.lease.endpoint()), pick.reason)
    });
    let expected = [(true, PickReason::LeastLoaded), (false, PickReason::Spill)];
    assert!(reasons.into_iter().all(|reason| expected.contains(&reason)));
}

#[test]
fn a_retry_leaves_the_zone_when_all_of_it_was_tried() {
    let mut caller = Caller::new(Instant::now());
    let members = enter(&Book::new(), caller.now);
    for algorithm in algorithms() {
        let pool = pool(algorithm, &members);
        for (tried, wants_own) in [(&members[..OWN], false), (&members[OWN..], true)] {
            for n in 0..50 {
                let args = PickArgs { tried, key: Some(n << 57), ..PickArgs::default() };
                let pick = pool.pick(args, caller.now, &mut caller.rng).unwrap();
                assert_eq!(is_own(pick.lease.endpoint()), wants_own);
            }
        }
    }
}

#[test]
fn what_is_known_of_zones_survives_lists_and_policies() {
    let mut caller = Caller::new(Instant::now());
    let book = Book::new();
    let first = pool(least(2), &enter(&book, caller.now));
    caller.call(&first, 10, own_in(100, 20));
    let second = pool(Algorithm::RoundRobin, &enter(&book, caller.now)[1..]);
    let own = (0..1_000)
        .filter(|_| is_own(second.pick(PickArgs::default(), caller.now, &mut caller.rng).unwrap().lease.endpoint()))
        .count();
    assert!(own < 50, "{own}");
}

#[test]
fn panic_uses_all_zones_alike() {
    let mut caller = Caller::new(Instant::now());
    let members = enter(&Book::new(), caller.now);
    let pool = pool(Algorithm::Random, &members);
    caller.call(&pool, 10, all_in(20));
    members[2..].iter().for_each(|member| member.set_health(Health::Down, caller.now));
    let own = (0..6_000).filter(|_| {
        let pick = pool.pick(PickArgs::default(), caller.now, &mut caller.rng).unwrap();
        assert_eq!(pick.reason, PickReason::Panic);
        is_own(pick.lease.endpoint())
    });
    let own = own.count();
    assert!((1_800..2_200).contains(&own), "{own}");
}

#[test]
fn a_key_has_the_same_owner_from_every_zone() {
    let now = Instant::now();
    let members = enter(&Book::new(), now);
    let here = pool(ring(None), &members);
    let elsewhere = Pool::try_new(Config { zone: Some("b".to_owned()), ..Config::new(ring(None)) }, members, 1).unwrap();
    let mut rng = SmallRng::new(3);
    for key in 0..500u64 {
        let args = PickArgs { key: Some(key << 54), ..PickArgs::default() };
        let mut owner = |pool: &Pool| {
            let pick = pool.pick(args, now, &mut rng).unwrap();
            assert_eq!(pick.reason, PickReason::Owner);
            pick.lease.endpoint().id().to_owned()
        };
        assert_eq!(owner(&here), owner(&elsewhere));
    }
}
