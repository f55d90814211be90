//! Least response time: one slow answer counts at once and fades over ten seconds; failures count as slow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, EndpointSpec, InFlight, Outcome, PickArgs, Pool, SmallRng};

use crate::world::{enter, number, spec};

const MS: Duration = Duration::from_millis(1);

fn build(choice_count: u32, members: &[Arc<Endpoint>]) -> Pool {
    Pool::try_new(Config::new(Algorithm::LeastResponseTime { choice_count }), members.to_vec(), 1).unwrap()
}

/// One request that this endpoint answers in this time.
fn answer(pool: &Pool, to: usize, start: Instant, took: Duration) {
    let others: Vec<_> = pool.members().iter().filter(|member| number(member) != to).cloned().collect();
    let args = PickArgs { tried: &others, ..PickArgs::default() };
    let mut lease = pool.pick(args, start, &mut SmallRng::new(0)).unwrap().lease;
    assert_eq!(number(lease.endpoint()), to);
    lease.answered(start + took);
}

fn order(pool: &Pool, now: Instant) -> Vec<usize> {
    pool.candidates(PickArgs::default(), now).iter().map(|member| number(member)).collect()
}

fn pick(pool: &Pool, now: Instant, rng: &mut SmallRng) -> InFlight {
    pool.pick(PickArgs::default(), now, rng).unwrap().lease
}

#[test]
fn before_its_first_answer_an_endpoint_counts_for_30_ms() {
    let members = enter(&Book::new(), 4);
    let (pool, start) = (build(0, &members), Instant::now());
    answer(&pool, 0, start, 29 * MS);
    answer(&pool, 2, start, 31 * MS);
    answer(&pool, 3, start, 5 * MS);
    assert_eq!(order(&pool, start + 31 * MS), [3, 0, 1, 2]);
}

#[test]
fn one_that_nobody_has_asked_is_asked_though_the_others_are_quicker() {
    let book = Book::new();
    let (start, mut rng) = (Instant::now(), SmallRng::new(1));
    let pool = build(2, &enter(&book, 2));
    let asked = (0..60_000u32).position(|tick| {
        let now = start + tick * MS;
        answer(&pool, 0, now, 2 * MS);
        number(pick(&pool, now, &mut rng).endpoint()) == 1
    });
    assert!(asked.is_some_and(|tick| tick > 5_000), "{asked:?}: within a minute, not at once");
}

#[test]
fn one_slow_answer_counts_at_once_and_fades_over_ten_seconds() {
    let members = enter(&Book::new(), 2);
    let (pool, start) = (build(2, &members), Instant::now());
    answer(&pool, 0, start, 10 * MS);
    answer(&pool, 1, start, 11 * MS);
    let mut rng = SmallRng::new(1);
    assert_eq!(number(pick(&pool, start + 11 * MS, &mut rng).endpoint()), 0);
    answer(&pool, 0, start + 11 * MS, 89 * MS);
    // At 100 ms against 11 ms the other has to have eight in flight before it is the slower one.
    let now = start + 100 * MS;
    let held: Vec<_> = (0..9).map(|_| pick(&pool, now, &mut rng)).collect();
    assert_eq!(held.iter().map(|lease| number(lease.endpoint())).collect::<Vec<_>>(), [1, 1, 1, 1, 1, 1, 1, 1, 0]);
    drop(held);
    // Quick answers from both: after ten seconds e⁻¹ of the peak is left, after forty nothing.
    let peak_after = |seconds: u32| {
        let now = start + seconds * Duration::from_secs(1);
        answer(&pool, 0, now, 10 * MS);
        answer(&pool, 1, now, 10 * MS);
        let mut rng = SmallRng::new(2);
        let held: Vec<_> = (0..20).map(|_| pick(&pool, now + 10 * MS, &mut rng)).collect();
        held.iter().position(|lease| number(lease.endpoint()) == 0).unwrap()
    };
    assert!((3..=5).contains(&peak_after(10)));
    assert!(peak_after(40) <= 1);
}

#[test]
fn of_equally_quick_ones_the_heavier_has_more_in_flight() {
    let book = Book::new();
    let members: Vec<_> = [300, 100]
        .into_iter()
        .enumerate()
        .map(|(n, weight)| book.enter(EndpointSpec { weight, ..spec(n) }, Instant::now()))
        .collect();
    for choices in [0, 2] {
        let (pool, now) = (build(choices, &members), Instant::now());
        let mut rng = SmallRng::new(1);
        let held: Vec<_> = (0..40).map(|_| pick(&pool, now, &mut rng)).collect();
        assert_eq!((members[0].in_flight(), members[1].in_flight()), (30, 10));
        drop(held);
    }
}

/// Of 20,000 requests at 1 ms each over 20 endpoints that take 40 ms: how many go to the two that fail at once.
fn failures(algorithm: Algorithm, reports: bool) -> u32 {
    let members = enter(&Book::new(), 20);
    let pool = Pool::try_new(Config::new(algorithm), members, 1).unwrap();
    let (mut rng, start, mut failures) = (SmallRng::new(4), Instant::now(), 0);
    let mut flying: VecDeque<(Instant, InFlight)> = VecDeque::new();
    for tick in 0..20_000 {
        let now = start + tick * MS;
        while flying.front().is_some_and(|(end, _)| *end <= now) {
            let (end, mut lease) = flying.pop_front().unwrap();
            pool.report(&mut lease, Outcome::Success, end);
        }
        let mut lease = pick(&pool, now, &mut rng);
        if number(lease.endpoint()) < 2 {
            failures += 1;
            let outcome = if reports { Outcome::ServerError } else { Outcome::Success };
            pool.report(&mut lease, outcome, now + MS / 2);
        } else {
            flying.push_back((now + 40 * MS, lease));
        }
    }
    failures
}

#[test]
fn failing_fast_counts_as_slow() {
    for choice_count in [0, 2] {
        let algorithm = Algorithm::LeastResponseTime { choice_count };
        let (blind, seeing) = (failures(algorithm.clone(), false), failures(algorithm, true));
        assert!(seeing * 100 <= 4 * blind, "{seeing} failures, blind {blind}, with {choice_count} choices");
    }
}
