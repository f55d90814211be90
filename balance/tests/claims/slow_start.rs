//! Slow start: a new endpoint takes its growing part of its share under every algorithm that draws, neither more nor nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, EndpointSpec, Health, PickArgs, Pool, SlowStart, SmallRng};

use crate::world::{enter, number, ring, spec};

const SECOND: Duration = Duration::from_secs(1);
const PICKS: u32 = 40_000;

/// Those whose shares follow from weights and counts alone; response times are the simulator's.
fn algorithms() -> [Algorithm; 5] {
    [
        Algorithm::LeastConnections { choice_count: 2 },
        Algorithm::LeastConnections { choice_count: 3 },
        Algorithm::LeastConnections { choice_count: 0 },
        Algorithm::Random,
        Algorithm::RoundRobin,
    ]
}

/// Grows from 10 % over 100 s.
fn build(algorithm: Algorithm, members: &[Arc<Endpoint>]) -> Pool {
    let slow_start = Some(SlowStart { window: 100 * SECOND, min_weight_percent: 10 });
    Pool::try_new(Config { slow_start, ..Config::new(algorithm) }, members.to_vec(), 1).unwrap()
}

/// The share of one endpoint where all are idle, times their number.
fn share(pool: &Pool, which: usize, now: Instant) -> f64 {
    let mut rng = SmallRng::new(7);
    let mut count = 0u32;
    for _ in 0..PICKS {
        let lease = pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease;
        count += u32::from(number(lease.endpoint()) == which);
    }
    f64::from(count) * pool.members().len() as f64 / f64::from(PICKS)
}

#[test]
fn where_all_are_idle_a_new_endpoint_has_its_growing_part_of_a_share() {
    let (book, start) = (Book::new(), Instant::now());
    let mut members = enter(&book, 9);
    let later = start + 1_000 * SECOND;
    members.push(book.enter(spec(9), later));
    for algorithm in algorithms() {
        let pool = build(algorithm.clone(), &members);
        for (seconds, part) in [(0, 0.1), (50, 0.55), (90, 0.91)] {
            let share = share(&pool, 9, later + seconds * SECOND);
            // By weight, its share of what it takes part in is part · 10 ÷ (9 + part).
            assert!(
                (0.85 * part..1.15 * part * 10.0 / (9.0 + part)).contains(&share),
                "{algorithm:?} after {seconds} s: {share}"
            );
        }
        assert!((share(&pool, 9, later + 101 * SECOND) - 1.0).abs() < 0.12, "{algorithm:?} when grown");
    }
}

#[test]
fn a_heavier_one_has_its_part_of_a_larger_share() {
    let (book, start) = (Book::new(), Instant::now());
    let mut members = enter(&book, 9);
    let later = start + 1_000 * SECOND;
    members.push(book.enter(EndpointSpec { weight: 300, ..spec(9) }, later));
    let pool = build(Algorithm::LeastConnections { choice_count: 2 }, &members);
    // Three of twelve parts, half grown: 0.55 · 3 · 10 ÷ 12.
    let share = share(&pool, 9, later + 50 * SECOND);
    assert!((1.2..1.5).contains(&share), "{share}");
}

#[test]
fn the_window_counts_from_ready_and_not_from_joining() {
    let (book, start) = (Book::new(), Instant::now());
    let mut members = enter(&book, 9);
    members.push(book.enter(EndpointSpec { health: Health::NotReady, ..spec(9) }, start));
    let ready = start + 1_000 * SECOND;
    members[9].set_health(Health::Usable, ready);
    for algorithm in algorithms() {
        let share = share(&build(algorithm.clone(), &members), 9, ready);
        assert!(share < 0.15, "{algorithm:?}: {share}");
    }
}

#[test]
fn the_weight_grows_in_a_line_from_a_tenth_to_all_of_it() {
    let (book, start) = (Book::new(), Instant::now());
    let mut members = enter(&book, 2);
    let later = start + 1_000 * SECOND;
    members.push(book.enter(spec(2), later));
    let pool = build(Algorithm::RoundRobin, &members);
    let weights = |seconds: u32| pool.stands(later + seconds * SECOND).iter().map(|stand| stand.weight).collect::<Vec<_>>();
    assert_eq!(weights(0), [10_000, 10_000, 1_000]);
    assert_eq!(weights(50)[2], 5_500);
    assert_eq!(weights(100), [10_000; 3]);
}

#[test]
fn one_that_recovers_starts_slowly_and_one_that_stops_draining_does_not() {
    let later = Instant::now() + 1_000 * SECOND;
    for (health, expected) in [(Health::NotReady, 1_000), (Health::Down, 1_000), (Health::Draining, 10_000)] {
        let members = enter(&Book::new(), 3);
        let pool = build(Algorithm::RoundRobin, &members);
        members[1].set_health(health, later);
        members[1].set_health(Health::Usable, later);
        assert_eq!(pool.stands(later)[1].weight, expected, "after {health:?}");
    }
}

#[test]
fn a_bounded_table_heeds_it_through_the_bound_and_a_plain_one_not() {
    let owned = |factor: Option<u32>| {
        let (book, start) = (Book::new(), Instant::now());
        let mut members = enter(&book, 3);
        let later = start + 1_000 * SECOND;
        members.push(book.enter(spec(3), later));
        let pool = build(ring(factor), &members);
        let leases: Vec<_> = (0..40u64)
            .map(|n| PickArgs { key: Some(evenkeel_balance::key_hash(&n.to_le_bytes())), ..PickArgs::default() })
            .map(|args| pool.pick(args, later, &mut SmallRng::new(3)).unwrap().lease)
            .collect();
        leases.iter().filter(|lease| number(lease.endpoint()) == 3).count()
    };
    // ⌈1.25 · 40 · 1,000 ÷ 31,000⌉ = 2.
    assert!(owned(Some(125)) <= 2);
    assert!(owned(None) > 4);
}

#[test]
fn it_is_off_while_all_are_new() {
    let members = enter(&Book::new(), 10);
    for algorithm in algorithms() {
        let share = share(&build(algorithm.clone(), &members), 9, Instant::now());
        assert!((share - 1.0).abs() < 0.12, "{algorithm:?}: {share}");
    }
}

#[test]
fn a_new_endpoint_is_taken_where_nobody_else_is_left() {
    let (book, start) = (Book::new(), Instant::now());
    let mut members = enter(&book, 2);
    let later = start + 1_000 * SECOND;
    members.push(book.enter(spec(2), later));
    for algorithm in algorithms() {
        let pool = build(algorithm.clone(), &members);
        let args = PickArgs { tried: &members[..2], ..PickArgs::default() };
        let pick = pool.pick(args, later, &mut SmallRng::new(1)).unwrap();
        assert_eq!(number(pick.lease.endpoint()), 2, "{algorithm:?}");
    }
}
