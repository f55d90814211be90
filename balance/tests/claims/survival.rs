//! What lives on the record outlives what changes around it: one test a change, each asks for all that was there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, Config, Ejection, Endpoint, EndpointSpec, Health, InFlight, Outcome, PickArgs, Pool, SlowStart, SmallRng,
};

use crate::world::{config, enter, least, ring, spec};

/// A pool whose endpoint 1 has a past: requests in flight, a response time, a row of failures, a weight and half a slow start.
struct Past {
    book: Book,
    now: Instant,
    held: Vec<InFlight>,
}

const WEIGHT: u16 = 250;

fn build(algorithm: Algorithm, members: &[Arc<Endpoint>]) -> Pool {
    let slow_start = Some(SlowStart { window: Duration::from_secs(20), min_weight_percent: 10 });
    Pool::try_new(Config { slow_start, ..config(algorithm) }, members.to_vec(), 1).unwrap()
}

impl Past {
    fn new() -> Self {
        let book = Book::new();
        let ready = Instant::now() + Duration::from_secs(1_000);
        let mut members = enter(&book, 4);
        members[1] = book.enter(EndpointSpec { health: Health::NotReady, weight: WEIGHT, ..spec(1) }, ready);
        members[1].set_health(Health::Usable, ready);
        let now = ready + Duration::from_secs(10);
        let pool = build(least(0), &members);
        let mut rng = SmallRng::new(5);
        let mut held = Vec::new();
        while held.len() < 3 {
            let lease = pool.pick(PickArgs::default(), now - Duration::from_millis(80), &mut rng).unwrap().lease;
            if Arc::ptr_eq(lease.endpoint(), &members[1]) {
                held.push(lease);
            } else {
                // Kept until the others are so busy that it is endpoint 1's turn.
                std::mem::forget(lease);
            }
        }
        held[0].answered(now);
        assert!((0..4).all(|_| pool.judge(&members[1], Outcome::ConnectError, now).is_none()));
        let past = Self { book, now, held };
        past.is_remembered(&pool, &members[1]);
        past
    }

    fn is_remembered(&self, pool: &Pool, endpoint: &Arc<Endpoint>) {
        assert!(Arc::ptr_eq(endpoint, self.held[0].endpoint()));
        assert_eq!(endpoint.in_flight(), 3);
        assert_eq!(endpoint.response_time(self.now), Some(Duration::from_millis(80)));
        let at = pool.members().iter().position(|member| Arc::ptr_eq(member, endpoint)).unwrap();
        // 55 % of its weight: halfway from 10 to 100.
        assert_eq!(pool.stands(self.now)[at].weight, 55 * u32::from(endpoint.weight()));
    }

    /// The same, and the row of four failures: the fifth ejects.
    fn is_remembered_with_its_failures(&self, pool: &Pool, endpoint: &Arc<Endpoint>) {
        self.is_remembered(pool, endpoint);
        assert!(pool.judge(endpoint, Outcome::ConnectError, self.now).is_some());
        assert!(matches!(endpoint.ejection(), Ejection::Open { .. }));
    }

    /// Endpoint 1 as the control plane enters it again.
    fn enter(&self, spec: EndpointSpec) -> Arc<Endpoint> {
        self.book.enter(spec, self.now)
    }

    fn spec(&self) -> EndpointSpec {
        EndpointSpec { weight: WEIGHT, ..spec(1) }
    }
}

#[test]
fn a_change_of_members_loses_nothing() {
    let past = Past::new();
    let members = [past.enter(spec(9)), past.enter(past.spec()), past.enter(spec(0))];
    past.is_remembered_with_its_failures(&build(least(0), &members), &members[1]);
}

#[test]
fn leaving_the_list_and_coming_back_while_requests_run_loses_nothing() {
    let past = Past::new();
    let without = build(least(0), &[past.enter(spec(0)), past.enter(spec(2))]);
    past.book.sweep();
    drop(without);
    let members = [past.enter(spec(0)), past.enter(past.spec())];
    past.is_remembered_with_its_failures(&build(least(0), &members), &members[1]);
}

#[test]
fn a_change_of_weight_loses_nothing() {
    let past = Past::new();
    let members = [past.enter(spec(0)), past.enter(EndpointSpec { weight: 700, ..past.spec() })];
    assert_eq!(members[1].weight(), 700);
    past.is_remembered_with_its_failures(&build(least(0), &members), &members[1]);
}

#[test]
fn a_change_of_health_loses_nothing() {
    let past = Past::new();
    let members = [past.enter(spec(0)), past.enter(past.spec())];
    let pool = build(least(0), &members);
    members[1].set_health(Health::Draining, past.now);
    members[1].set_health(Health::Usable, past.now);
    past.is_remembered_with_its_failures(&pool, &members[1]);
    members[1].set_health(Health::NotReady, past.now);
    members[1].set_health(Health::Usable, past.now);
    assert!(matches!(members[1].ejection(), Ejection::Open { .. }), "an ejection isn't forgotten either");
    assert_eq!((members[1].in_flight(), members[1].response_time(past.now)), (3, Some(Duration::from_millis(80))));
}

#[test]
fn a_change_of_algorithm_loses_nothing() {
    let past = Past::new();
    let members = [past.enter(spec(0)), past.enter(past.spec())];
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastResponseTime { choice_count: 2 }, ring(Some(125)), least(2)] {
        past.is_remembered(&build(algorithm, &members), &members[1]);
    }
    past.is_remembered_with_its_failures(&build(Algorithm::Random, &members), &members[1]);
}
