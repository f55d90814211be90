//! Choosing by replies to probes: each figure of Prequal (FEATURES A13) by what it does, health and retries above them, and the server half.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, Config, Endpoint, EndpointSpec, Health, InFlight, Outcome, PickArgs, PickReason, Pool, ProbeAnswer,
    ProbeLoad, SmallRng,
};

use crate::world::{enter, number, spec};

const MS: Duration = Duration::from_millis(1);
const BOTH: [Algorithm; 2] = [Algorithm::Prequal, Algorithm::LeastExpectedTime];

fn build(algorithm: Algorithm, members: &[Arc<Endpoint>]) -> Pool {
    Pool::try_new(Config::new(algorithm), members.to_vec(), 1).unwrap()
}

fn prequal(count: usize) -> (Pool, Vec<Arc<Endpoint>>) {
    let members = enter(&Book::new(), count);
    (build(Algorithm::Prequal, &members), members)
}

/// A reply with this much in flight and this latency, which each in flight has a part of.
fn reply(in_flight: u32, millis: u32) -> ProbeAnswer {
    ProbeAnswer { in_flight, latency: millis * MS, each: millis * MS / (in_flight + 1) }
}

fn pick(pool: &Pool, tried: &[Arc<Endpoint>], now: Instant) -> (usize, PickReason) {
    let pick = pool.pick(PickArgs { tried, ..PickArgs::default() }, now, &mut SmallRng::new(7)).unwrap();
    (number(pick.lease.endpoint()), pick.reason)
}

fn picked(pool: &Pool, now: Instant) -> usize {
    let (number, reason) = pick(pool, &[], now);
    assert_eq!(reason, PickReason::Probed);
    number
}

#[test]
fn the_quickest_of_the_cold_is_taken() {
    let (pool, members) = prequal(100);
    let now = Instant::now();
    for (at, answer) in
        [reply(5, 30), reply(6, 20), reply(9, 1), reply(5, 40), reply(5, 50), reply(5, 60), reply(5, 70)].into_iter().enumerate()
    {
        pool.probed(&members[at], answer, now);
    }
    // 0.84 of seven counts is the sixth: 6. Nine are more.
    assert_eq!(picked(&pool, now), 1);
}

#[test]
fn hot_begins_above_the_84th_percentile_of_in_flight() {
    // Nearest rank: of 62 counts the 53rd (by 83 % it would be the 52nd), of 64 the 54th (by 85 % the 55th).
    for (counts, cold) in [(62, 53), (64, 54)] {
        let (pool, members) = prequal(200);
        let now = Instant::now();
        for count in (1..=counts).filter(|&count| count != cold && count != cold + 1) {
            pool.probed(&members[100 + count as usize], reply(count, 900), now);
        }
        pool.probed(&members[0], reply(cold, 500), now + MS);
        pool.probed(&members[1], reply(cold + 1, 100), now + MS);
        assert_eq!(picked(&pool, now + MS), 0);
    }
}

#[test]
fn where_all_are_hot_the_least_loaded_is_taken() {
    let (pool, members) = prequal(6);
    let now = Instant::now();
    (0..64).for_each(|_| pool.probed(&members[5], reply(0, 1), now));
    members[5].set_health(Health::NotReady, now);
    for (at, answer) in [reply(9, 10), reply(4, 90), reply(7, 5)].into_iter().enumerate() {
        pool.probed(&members[at], answer, now);
    }
    assert_eq!(picked(&pool, now), 1);
}

#[test]
fn sixteen_replies_are_kept_and_the_oldest_goes_first() {
    let (pool, members) = prequal(100);
    let start = Instant::now();
    // The first to come is the quickest.
    (0..16).for_each(|n| pool.probed(&members[n], reply(1, 10 + n as u32), start + n as u32 * MS));
    let now = start + 20 * MS;
    assert_eq!(picked(&pool, now), 0);

    let (pool, members) = prequal(100);
    (0..17).for_each(|n| pool.probed(&members[n], reply(1, 10 + n as u32), start + n as u32 * MS));
    assert_eq!(picked(&pool, now), 1);
}

#[test]
fn a_reply_counts_for_a_second() {
    for algorithm in BOTH {
        let members = enter(&Book::new(), 10);
        let (pool, start) = (build(algorithm, &members), Instant::now());
        pool.probed(&members[3], reply(0, 10), start);
        assert_eq!(pick(&pool, &[], start + 1_001 * MS).1, PickReason::LeastLoaded);
        assert_eq!(pick(&pool, &[], start + 999 * MS), (3, PickReason::Probed));
    }
}

#[test]
fn a_query_removes_one_reply_the_oldest_and_the_worst_in_turn() {
    // 10,000 endpoints: a reply may be used once, so each query takes the one it uses and one more.
    let (pool, members) = prequal(10_000);
    let start = Instant::now();
    // By latency, quickest first: 0 1 2 3 4 5; by age, oldest first: 1 3 0 2 4 5.
    for (age, at) in [1, 3, 0, 2, 4, 5].into_iter().enumerate() {
        pool.probed(&members[at], reply(1, 10 + at as u32), start + age as u32 * MS);
    }
    let now = start + 10 * MS;
    // Takes 0 and removes the oldest, 1; takes 2 and removes the worst, 5; takes 3 and removes the oldest left, 4.
    assert_eq!([picked(&pool, now), picked(&pool, now), picked(&pool, now)], [0, 2, 3]);
    assert_eq!(pick(&pool, &[], now).1, PickReason::LeastLoaded);
}

#[test]
fn the_worst_is_the_hottest_while_there_are_hot_ones() {
    let (pool, members) = prequal(10_000);
    let now = Instant::now();
    (0..13).for_each(|n| pool.probed(&members[n], reply(1, 100 + n as u32), now));
    // Hot, and quicker than all: picked only if it stays until the cold ones are gone.
    pool.probed(&members[14], reply(50, 1), now);
    let order: Vec<usize> = (0..7).map(|_| picked(&pool, now)).collect();
    assert!(!order.contains(&14), "{order:?}");
    assert_eq!(pick(&pool, &[], now).1, PickReason::LeastLoaded);
}

/// The part of the replies that go with their first use.
fn used_up_at_once(endpoints: usize) -> f64 {
    let members = enter(&Book::new(), endpoints);
    let now = Instant::now();
    let mut gone = 0;
    for seed in 0..1_000 {
        let pool = build(Algorithm::Prequal, &members);
        pool.probed(&members[0], reply(0, 10), now);
        pool.probed(&members[1], reply(0, 20), now);
        let first = pool.pick(PickArgs::default(), now, &mut SmallRng::new(seed)).unwrap();
        assert_eq!(number(first.lease.endpoint()), 0);
        // The query removes the oldest, of equals the first: the used one if it is still there, else the other one, too.
        gone += usize::from(pick(&pool, &[], now).1 == PickReason::LeastLoaded);
    }
    gone as f64 / 1_000.0
}

#[test]
fn a_reply_is_used_as_often_as_the_formula_says() {
    // n = 100: 2 ÷ ((1 − 16/100)·3 − 1) = 1.316 uses: 68 % of the replies go at their first.
    let once = used_up_at_once(100);
    assert!((0.64..0.73).contains(&once), "{once}");
    // n = 40: 2.5, n = 500: 1.05. n = 20: the pool gains nothing, and max(1, …) is 1.
    assert_eq!(used_up_at_once(40), 0.0);
    let once = used_up_at_once(500);
    assert!((0.92..0.98).contains(&once), "{once}");
    assert_eq!(used_up_at_once(20), 1.0);
}

#[test]
fn a_request_counts_on_the_reply_that_sent_it() {
    // 25 endpoints: 2 ÷ 0.08 = 25 uses. The limit of what is hot is 2: with the third request the quickest is too hot.
    let (pool, members) = prequal(25);
    let now = Instant::now();
    (2..16).for_each(|n| pool.probed(&members[n], reply(2, 500 + n as u32), now));
    pool.probed(&members[1], reply(0, 50), now);
    pool.probed(&members[0], reply(0, 10), now + MS);
    let order: Vec<usize> = (0..4).map(|_| picked(&pool, now + 2 * MS)).collect();
    assert_eq!(order, [0, 0, 0, 1]);
}

#[test]
fn three_distinct_candidates_are_probed_and_all_in_turn() {
    let members = enter(&Book::new(), 8);
    members[2].set_health(Health::NotReady, Instant::now());
    members[6].set_health(Health::Draining, Instant::now());
    for algorithm in BOTH {
        let pool = build(algorithm, &members);
        let mut rng = SmallRng::new(5);
        let mut probes = [0u32; 8];
        for _ in 0..3_000 {
            let targets: Vec<usize> = pool.probe_targets(Instant::now(), &mut rng).map(|member| number(member)).collect();
            assert_eq!(targets.iter().collect::<BTreeSet<_>>().len(), 3, "{targets:?}");
            targets.into_iter().for_each(|target| probes[target] += 1);
        }
        assert_eq!((probes[2], probes[6]), (0, 0));
        let fair = |probes: &u32| *probes == 0 || (1_350..1_650).contains(probes);
        assert!(probes.iter().all(fair), "{probes:?}");
    }
}

#[test]
fn below_five_endpoints_counts_decide_and_nobody_is_probed() {
    for algorithm in BOTH {
        for count in [4, 5] {
            let members = enter(&Book::new(), count);
            let (pool, now) = (build(algorithm.clone(), &members), Instant::now());
            pool.probed(&members[0], reply(0, 1), now);
            let (reason, probes) = if count == 4 { (PickReason::LeastLoaded, 0) } else { (PickReason::Probed, 3) };
            assert_eq!(pick(&pool, &[], now).1, reason);
            assert_eq!(pool.probe_targets(now, &mut SmallRng::new(1)).count(), probes);
        }
    }
}

#[test]
fn without_replies_the_less_loaded_of_two_is_taken() {
    for algorithm in BOTH {
        let members = enter(&Book::new(), 5);
        let (pool, now) = (build(algorithm, &members), Instant::now());
        let alone = build(Algorithm::RoundRobin, &members[..1]);
        let _busy: Vec<InFlight> =
            (0..3).map(|_| alone.pick(PickArgs::default(), now, &mut SmallRng::new(1)).unwrap().lease).collect();
        let mut rng = SmallRng::new(2);
        for _ in 0..200 {
            let pick = pool.pick(PickArgs::default(), now, &mut rng).unwrap();
            assert_eq!(pick.reason, PickReason::LeastLoaded);
            assert_ne!(number(pick.lease.endpoint()), 0);
        }
    }
}

#[test]
fn the_best_reply_doesnt_bring_back_who_is_down_tried_or_a_backup() {
    for algorithm in BOTH {
        let book = Book::new();
        let mut members = enter(&book, 7);
        let now = Instant::now();
        members.push(book.enter(EndpointSpec { priority: 1, ..spec(7) }, now));
        let pool = build(algorithm, &members);
        members[0].set_health(Health::Down, now);
        members[1].set_health(Health::Draining, now);
        pool.probed(&members[0], reply(0, 1), now);
        pool.probed(&members[1], reply(0, 1), now);
        pool.probed(&members[7], reply(0, 1), now);
        pool.probed(&members[2], reply(0, 5), now);
        pool.probed(&members[3], reply(0, 90), now);
        let tried = [Arc::clone(&members[2])];
        assert_eq!(pick(&pool, &tried, now), (3, PickReason::Probed));
        let (number, reason) = pick(&pool, &[Arc::clone(&members[2]), Arc::clone(&members[3])], now);
        assert!((4..7).contains(&number) && reason == PickReason::LeastLoaded, "{number}");
    }
}

#[test]
fn replies_of_others_than_members_change_nothing() {
    let book = Book::new();
    let members = enter(&book, 6);
    let pool = build(Algorithm::Prequal, &members[..5]);
    let now = Instant::now();
    pool.probed(&members[5], reply(0, 1), now);
    assert_eq!(pick(&pool, &[], now).1, PickReason::LeastLoaded);
}

#[test]
fn an_endpoint_that_fails_every_request_isnt_taken_for_the_quickest() {
    for algorithm in BOTH {
        let members = enter(&Book::new(), 6);
        let (pool, start) = (build(algorithm, &members), Instant::now());
        let others: Vec<_> = members[1..].to_vec();
        let mut lease =
            pool.pick(PickArgs { tried: &others, ..PickArgs::default() }, start, &mut SmallRng::new(1)).unwrap().lease;
        pool.report(&mut lease, Outcome::ServerError, start);
        drop(lease);
        let refresh = |now| {
            pool.probed(&members[0], reply(0, 1), now);
            pool.probed(&members[1], reply(3, 80), now);
        };
        refresh(start + 9_000 * MS);
        assert_eq!(picked(&pool, start + 9_000 * MS), 1);
        // After ten seconds one first attempt finds out; a retry doesn't for a minute.
        let tried = [Arc::clone(&members[5])];
        refresh(start + 11_000 * MS);
        assert_eq!(pick(&pool, &tried, start + 11_000 * MS).0, 1);
        refresh(start + 11_100 * MS);
        assert_eq!(picked(&pool, start + 11_100 * MS), 0);
    }
}

#[test]
fn what_comes_along_refreshes_but_never_adds() {
    let (pool, members) = prequal(10);
    let now = Instant::now();
    pool.told(&members[0], reply(0, 1), now);
    assert_eq!(pick(&pool, &[], now).1, PickReason::LeastLoaded);
    pool.probed(&members[1], reply(0, 50), now);
    pool.probed(&members[2], reply(0, 60), now);
    pool.told(&members[1], reply(0, 90), now);
    assert_eq!(picked(&pool, now), 2);
}

#[test]
fn the_expected_time_counts_others_then_and_our_own_now() {
    let members = enter(&Book::new(), 6);
    let (pool, now) = (build(Algorithm::LeastExpectedTime, &members), Instant::now());
    // Ten milliseconds for each in flight: 0 has one of others, 1 three.
    pool.told(&members[0], reply(1, 20), now);
    pool.told(&members[1], reply(3, 40), now);
    let mut rng = SmallRng::new(1);
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease);
    }
    let to = |which: usize| held.iter().filter(|lease| number(lease.endpoint()) == which).count();
    assert_eq!((to(0), to(1)), (4, 2), "both have five in flight");
    drop(held);
    assert_eq!(picked(&pool, now), 0, "own requests that ended count no more");
}

#[test]
fn a_heavier_endpoint_may_have_more_in_flight() {
    for algorithm in BOTH {
        let book = Book::new();
        let now = Instant::now();
        let weights = [100, 300, 100, 100, 100];
        let members: Vec<_> =
            weights.iter().enumerate().map(|(n, &weight)| book.enter(EndpointSpec { weight, ..spec(n) }, now)).collect();
        let pool = build(algorithm, &members);
        pool.probed(&members[0], reply(2, 30), now);
        pool.probed(&members[1], reply(4, 50), now);
        assert_eq!(picked(&pool, now), 1);
    }
}

#[test]
fn an_answer_is_the_median_of_those_that_met_as_many() {
    let (mut load, now) = (ProbeLoad::new(), Instant::now());
    assert_eq!(load.answer(now), ProbeAnswer::default());
    for n in 0..20u32 {
        for (met, millis) in [(0, 100 + n), (9, 900 + n)] {
            load.began();
            load.ended(met, Some(millis * MS), now);
        }
    }
    // The seven newest at none in flight took 113 to 119.
    assert_eq!(load.answer(now).latency, 116 * MS);
    (0..8).for_each(|_| {
        load.began();
    });
    assert_eq!((load.answer(now).in_flight, load.answer(now).latency), (8, 916 * MS));
}

#[test]
fn each_in_flight_adds_its_part_and_old_answers_fade() {
    let (mut load, start) = (ProbeLoad::new(), Instant::now());
    // 50 ms for each that was met, whatever the queue.
    for n in 0..50u32 {
        load.began();
        load.ended(n % 10, Some((n % 10 + 1) * 50 * MS), start);
    }
    let answer = load.answer(start);
    assert!((49..=50).contains(&answer.each.as_millis()), "{answer:?}");
    for n in 0..50u32 {
        load.began();
        load.ended(0, Some(10 * MS), start + (5_000 + n * 20) * MS);
    }
    let now = start + 6_000 * MS;
    let answer = load.answer(now);
    assert!((10..=13).contains(&answer.each.as_millis()), "{answer:?}");
    // What fails or is given up says nothing.
    load.began();
    load.ended(0, None, now);
    assert_eq!(load.answer(now), answer);
}

#[test]
fn whoever_was_slow_once_and_isnt_asked_since_looks_quicker_with_time() {
    let (mut load, start) = (ProbeLoad::new(), Instant::now());
    load.began();
    load.ended(0, Some(8_000 * MS), start);
    let each = |seconds: u32| load.answer(start + seconds * 1_000 * MS).each.as_millis();
    assert!((2_900..3_200).contains(&each(10)), "{}", each(10));
    assert!(each(60) < 100, "{}", each(60));
}
