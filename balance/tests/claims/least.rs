//! Least connections, round robin, retries, fast failures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, Config, Endpoint, EndpointSpec, Health, InFlight, NoEndpoint, Outcome, Passive, PickArgs, PickReason, Pool,
    SmallRng,
};
use proptest::prelude::*;

use crate::world::{algorithms, enter, least, number, passive, pool, spec};

fn pick(pool: &Pool, rng: &mut SmallRng) -> InFlight {
    pool.pick(PickArgs::default(), Instant::now(), rng).unwrap().lease
}

/// Puts exactly this many requests on the endpoint.
fn load(endpoint: &Arc<Endpoint>, count: usize) -> Vec<InFlight> {
    let alone = pool(Algorithm::RoundRobin, std::slice::from_ref(endpoint));
    (0..count).map(|_| pick(&alone, &mut SmallRng::new(0))).collect()
}

#[test]
fn of_two_endpoints_the_less_loaded_always_wins() {
    let book = Book::new();
    let members = enter(&book, 2);
    let pool = pool(least(2), &members);
    let mut rng = SmallRng::new(3);
    let _busy = load(&members[1], 1);
    for _ in 0..1_000 {
        assert_eq!(number(pick(&pool, &mut rng).endpoint()), 0);
    }
}

#[test]
fn two_draws_are_distinct_so_the_most_loaded_of_three_never_wins() {
    let book = Book::new();
    let members = enter(&book, 3);
    let pool = pool(least(2), &members);
    let mut rng = SmallRng::new(3);
    let _busy = [load(&members[1], 1), load(&members[2], 2)];
    for _ in 0..1_000 {
        assert_ne!(number(pick(&pool, &mut rng).endpoint()), 2);
    }
}

#[test]
fn no_choices_means_all_per_weight_with_ties_at_random() {
    let book = Book::new();
    let members: Vec<_> = [100, 300, 100, 100]
        .iter()
        .enumerate()
        .map(|(n, &weight)| book.enter(EndpointSpec { weight, ..spec(n) }, Instant::now()))
        .collect();
    let _busy: Vec<_> = [1, 4, 1, 2].iter().zip(&members).map(|(&count, member)| load(member, count)).collect();
    let pool = pool(least(0), &members);
    let mut rng = SmallRng::new(5);
    // With the new request 5 of 300 is less than 2 of 100; with one more they tie with the first and third.
    let third = pick(&pool, &mut rng);
    assert_eq!(number(third.endpoint()), 1);
    let mut wins = [0; 4];
    (0..3_000).for_each(|_| wins[number(pick(&pool, &mut rng).endpoint())] += 1);
    assert_eq!(wins[3], 0);
    assert!(wins[..3].iter().all(|wins| (850..1_150).contains(wins)), "{wins:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn d_distinct_draws_never_pick_one_of_the_d_minus_1_most_loaded(count in 2usize..40, choices in 2usize..40, unusable in 0usize..300, seed: u64) {
        let book = Book::new();
        let mut members = enter(&book, count);
        let _busy: Vec<_> = members.iter().enumerate().map(|(n, member)| load(member, n)).collect();
        members.extend((count..count + unusable).map(|n| book.enter(EndpointSpec { health: Health::NotReady, ..spec(n) }, Instant::now())));
        let pool = pool(least(choices as u32), &members);
        let mut rng = SmallRng::new(seed);
        for _ in 0..50 {
            let picked = number(pick(&pool, &mut rng).endpoint());
            prop_assert!(picked <= count - choices.min(count), "{picked}");
        }
    }

    #[test]
    fn tried_endpoints_never_come_again_and_all_are_found(count in 1usize..30, healths in prop::collection::vec(0u8..4, 30), seed: u64) {
        for algorithm in algorithms() {
            let book = Book::new();
            let members = enter(&book, count);
            for (member, &health) in members.iter().zip(&healths) {
                member.set_health(if health == 0 { Health::NotReady } else { Health::Usable }, Instant::now());
            }
            let usable = members.iter().filter(|member| member.health() == Health::Usable).count();
            let pool = pool(algorithm.clone(), &members);
            let mut rng = SmallRng::new(seed);
            let mut tried: Vec<Arc<Endpoint>> = Vec::new();
            let end = loop {
                match pool.pick(PickArgs { key: Some(seed), tried: &tried, class: None }, Instant::now(), &mut rng) {
                    Ok(picked) => {
                        prop_assert!(!tried.iter().any(|tried| Arc::ptr_eq(tried, picked.lease.endpoint())));
                        tried.push(picked.lease.endpoint().clone());
                    }
                    Err(end) => break end,
                }
            };
            prop_assert_eq!(tried.len(), usable, "{:?}", algorithm);
            prop_assert_eq!(end, if usable == 0 { NoEndpoint::NoneUsable } else { NoEndpoint::AllTried });
        }
    }
}

#[test]
fn draws_reach_every_candidate_evenly_where_most_members_are_out() {
    let book = Book::new();
    let members = enter(&book, 1_000);
    members
        .iter()
        .filter(|member| !number(member).is_multiple_of(200))
        .for_each(|member| member.set_health(Health::NotReady, Instant::now()));
    for choices in [2, 3] {
        let pool = pool(least(choices), &members);
        let mut rng = SmallRng::new(9);
        let mut wins = [0u32; 5];
        (0..5_000).for_each(|_| wins[number(pick(&pool, &mut rng).endpoint()) / 200] += 1);
        assert!(wins.iter().all(|wins| (850..1_150).contains(wins)), "{wins:?}");
    }
}

/// Three endpoints take 20 ticks a request, one fails at once and is never ejected: how many of 4,000 requests, 8 always in flight, it gets.
fn share_of_a_fast_failure(algorithm: Algorithm) -> u32 {
    let book = Book::new();
    let members = enter(&book, 4);
    let passive = Some(Passive { consecutive_errors: 1_000_000, ..passive() });
    let pool = Pool::try_new(Config { panic_threshold: 50, passive, ..Config::new(algorithm) }, members, 1).unwrap();
    let (mut rng, mut now, mut failures) = (SmallRng::new(4), Instant::now(), 0);
    let mut flying = std::collections::VecDeque::new();
    for _ in 0..4_000 {
        now += Duration::from_millis(1);
        let lease = pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease;
        if number(lease.endpoint()) == 0 {
            failures += 1;
            pool.judge(lease.endpoint(), Outcome::ConnectError, now);
            continue;
        }
        flying.push_back(lease);
        if flying.len() > 8 {
            let done = flying.pop_front().unwrap();
            pool.judge(done.endpoint(), Outcome::Success, now);
        }
    }
    failures
}

#[test]
fn failing_fast_attracts_no_traffic() {
    for choices in [0, 2] {
        let failures = share_of_a_fast_failure(least(choices));
        assert!(failures < 100, "{failures} of 4000 with {choices} choices");
    }
}

#[test]
fn reasons_say_which_algorithm_chose() {
    let book = Book::new();
    let members = enter(&book, 3);
    let reason = |algorithm| {
        let pool = pool(algorithm, &members);
        pool.pick(PickArgs::default(), Instant::now(), &mut SmallRng::new(1)).unwrap().reason
    };
    assert_eq!(reason(Algorithm::RoundRobin), PickReason::RoundRobin);
    assert_eq!(reason(least(2)), PickReason::LeastLoaded);
}
