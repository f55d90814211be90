//! Least cost (FEATURES A15): what is in flight weighs what its class was learned to cost, and comes off as it went on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, InFlight, Outcome, PickArgs, Pool, SmallRng, key_hash};
use proptest::prelude::*;

use crate::world::{enter, least, number};

const MS: Duration = Duration::from_millis(1);

fn build(members: &[Arc<Endpoint>]) -> Pool {
    Pool::try_new(Config::new(Algorithm::LeastCost { choice_count: 0 }), members.to_vec(), 1).unwrap()
}

fn class(name: &str) -> Option<u64> {
    Some(key_hash(name.as_bytes()))
}

fn pick(pool: &Pool, class: Option<u64>, now: Instant, rng: &mut SmallRng) -> InFlight {
    pool.pick(PickArgs { class, ..PickArgs::default() }, now, rng).unwrap().lease
}

/// Requests of a class that take so long.
fn teach(pool: &Pool, name: &str, took: Duration, count: u32, now: Instant) {
    let mut rng = SmallRng::new(1);
    for _ in 0..count {
        let mut lease = pick(pool, class(name), now, &mut rng);
        pool.report(&mut lease, Outcome::Success, now + took);
    }
}

fn costs(members: &[Arc<Endpoint>]) -> Vec<u64> {
    members.iter().map(|member| member.load().cost()).collect()
}

#[test]
fn ten_small_requests_weigh_as_much_as_one_of_ten_times_the_cost() {
    let members = enter(&Book::new(), 2);
    let (pool, now) = (build(&members), Instant::now());
    teach(&pool, "small", MS, 2_000, now);
    teach(&pool, "large", 10 * MS, 2_000, now);
    let mut rng = SmallRng::new(3);
    let large = pick(&pool, class("large"), now, &mut rng);
    let small: Vec<_> = (0..9).map(|_| pick(&pool, class("small"), now, &mut rng)).collect();
    assert!(small.iter().all(|lease| number(lease.endpoint()) != number(large.endpoint())));
}

#[test]
fn a_class_never_seen_costs_the_mean_of_all_requests() {
    let members = enter(&Book::new(), 3);
    let (pool, now) = (build(&members), Instant::now());
    for _ in 0..300 {
        teach(&pool, "small", 2 * MS, 1, now);
        teach(&pool, "large", 10 * MS, 1, now);
    }
    let mut rng = SmallRng::new(3);
    let unseen = pick(&pool, class("unseen"), now, &mut rng);
    let cost = unseen.endpoint().load().cost();
    assert!((5_500..6_500).contains(&cost), "{cost}");
    let none = pick(&pool, None, now, &mut rng);
    assert_eq!(none.endpoint().load().cost(), cost);
}

#[test]
fn failures_and_cancelled_requests_teach_nothing() {
    let members = enter(&Book::new(), 2);
    let (pool, now) = (build(&members), Instant::now());
    teach(&pool, "a", 10 * MS, 100, now);
    let mut rng = SmallRng::new(3);
    for outcome in [Outcome::ServerError, Outcome::GatewayError, Outcome::ConnectError, Outcome::Cancelled] {
        (0..200).for_each(|_| {
            let mut lease = pick(&pool, class("a"), now, &mut rng);
            pool.report(&mut lease, outcome, now);
        });
    }
    let lease = pick(&pool, class("a"), now, &mut rng);
    assert!((9_000..=10_100).contains(&lease.endpoint().load().cost()), "{}", lease.endpoint().load().cost());
}

#[test]
fn what_was_learned_survives_another_list_and_another_policy() {
    let book = Book::new();
    let members = enter(&book, 3);
    let now = Instant::now();
    teach(&build(&members[..2]), "a", 8 * MS, 500, now);
    let _other = Pool::try_new(Config::new(least(2)), members.clone(), 1).unwrap();
    let again = build(&members[1..]);
    let lease = pick(&again, class("a"), now, &mut SmallRng::new(1));
    assert!((7_000..=8_100).contains(&lease.endpoint().load().cost()), "{}", lease.endpoint().load().cost());
}

#[test]
fn requests_of_other_pools_weigh_the_mean() {
    let members = enter(&Book::new(), 2);
    let (pool, now) = (build(&members), Instant::now());
    teach(&pool, "a", 10 * MS, 500, now);
    let alone = Pool::try_new(Config::new(least(2)), members[..1].to_vec(), 1).unwrap();
    let mut rng = SmallRng::new(4);
    let _other: Vec<_> = (0..3).map(|_| pick(&alone, None, now, &mut rng)).collect();
    assert_eq!(costs(&members), [0, 0]);
    let held: Vec<_> = (0..3).map(|_| pick(&pool, class("a"), now, &mut rng)).collect();
    assert!(held.iter().all(|lease| number(lease.endpoint()) == 1));
}

#[test]
fn an_answer_that_streams_keeps_its_cost_until_it_ends() {
    let members = enter(&Book::new(), 1);
    let (pool, now) = (build(&members), Instant::now());
    let mut lease = pick(&pool, class("a"), now, &mut SmallRng::new(1));
    let cost = members[0].load().cost();
    lease.answered(now + 50 * MS);
    pool.report(&mut lease, Outcome::Success, now + 900 * MS);
    assert_eq!((cost, members[0].load().cost()), (1, 1));
    drop(lease);
    assert_eq!(members[0].load().cost(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is learned while requests are out, and in whatever order they are answered, reported, cancelled and dropped.
    #[test]
    fn costs_come_off_as_they_went_on(steps in prop::collection::vec((0u8..5, 0usize..8, 0u64..5_000), 1..200), seed: u64) {
        let members = enter(&Book::new(), 4);
        let (pool, start) = (build(&members), Instant::now());
        let mut rng = SmallRng::new(seed);
        let mut held: Vec<InFlight> = Vec::new();
        for (step, which, millis) in steps {
            let now = start + Duration::from_millis(millis);
            if step == 0 || held.is_empty() {
                held.push(pick(&pool, class(["a", "b", "c"][which % 3]).filter(|_| which != 7), now, &mut rng));
                continue;
            }
            let at = which % held.len();
            match step {
                1 => held[at].answered(now),
                2 => drop(pool.report(&mut held[at], Outcome::Success, now)),
                3 => drop(pool.report(&mut held[at], Outcome::ServerError, now)),
                _ => drop(held.swap_remove(at)),
            }
            let idle = members.iter().filter(|member| member.in_flight() == 0);
            prop_assert!(idle.clone().all(|member| member.load().cost() == 0));
        }
        drop(held);
        prop_assert_eq!(costs(&members), vec![0; 4]);
    }
}
