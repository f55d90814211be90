//! Random: shares by weight, from the very pick on after which a weight changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{Algorithm, Book, Config, EndpointSpec, Health, PickArgs, PickReason, Pool, SlowStart, SmallRng};

use crate::world::{enter, number, pool, spec};

const PICKS: u32 = 100_000;

fn shares(pool: &Pool, members: usize, now: Instant, seed: u64) -> Vec<f64> {
    let mut rng = SmallRng::new(seed);
    let mut counts = vec![0u32; members];
    for _ in 0..PICKS {
        counts[number(pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease.endpoint())] += 1;
    }
    counts.into_iter().map(|count| f64::from(count) / f64::from(PICKS)).collect()
}

/// Within one percent of all traffic, and within four deviations of what chance allows.
fn assert_shares(found: &[f64], weights: &[u16]) {
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    for (found, &weight) in found.iter().zip(weights) {
        let share = f64::from(weight) / sum;
        let deviation = (share * (1.0 - share) / f64::from(PICKS)).sqrt();
        assert!((found - share).abs() < (4.0 * deviation).min(0.01), "{found} for {share} of {weights:?}");
    }
}

#[test]
fn shares_are_within_a_percent_of_the_weights_over_100_000_picks() {
    for weights in [vec![100; 7], vec![500, 100, 100], vec![1_000, 1, 300, 20], [vec![1_000], vec![1; 60]].concat()] {
        let book = Book::new();
        let entry = |(number, &weight): (usize, &u16)| book.enter(EndpointSpec { weight, ..spec(number) }, Instant::now());
        let members: Vec<_> = weights.iter().enumerate().map(entry).collect();
        let pool = pool(Algorithm::Random, &members);
        assert_shares(&shares(&pool, weights.len(), Instant::now(), 11), &weights);
    }
}

#[test]
fn a_changed_weight_counts_at_once() {
    let book = Book::new();
    let members = enter(&book, 3);
    let pool = pool(Algorithm::Random, &members);
    assert_shares(&shares(&pool, 3, Instant::now(), 1), &[100, 100, 100]);
    members[0].set_weight(400);
    assert_shares(&shares(&pool, 3, Instant::now(), 2), &[400, 100, 100]);
    members[0].set_weight(20);
    assert_shares(&shares(&pool, 3, Instant::now(), 3), &[20, 100, 100]);
}

#[test]
fn a_warming_endpoint_gets_its_part() {
    let (book, start) = (Book::new(), Instant::now());
    let mut members = enter(&book, 3);
    let later = start + Duration::from_secs(1_000);
    members.push(book.enter(spec(3), later));
    let slow_start = Some(SlowStart { window: Duration::from_secs(100), min_weight_percent: 10 });
    let pool = Pool::try_new(Config { slow_start, ..Config::new(Algorithm::Random) }, members, 4).unwrap();
    for (seconds, part) in [(0, 10), (50, 55), (100, 100)] {
        assert_shares(&shares(&pool, 4, later + Duration::from_secs(seconds), 6), &[100, 100, 100, part]);
    }
}

#[test]
fn whoever_is_out_or_tried_is_not_drawn_and_the_others_share_by_weight() {
    let book = Book::new();
    let members = enter(&book, 5);
    members[1].set_health(Health::NotReady, Instant::now());
    let pool = pool(Algorithm::Random, &members);
    let mut rng = SmallRng::new(2);
    let tried = [Arc::clone(&members[0])];
    let mut counts = [0u32; 5];
    for _ in 0..9_000 {
        let pick = pool.pick(PickArgs { tried: &tried, ..PickArgs::default() }, Instant::now(), &mut rng).unwrap();
        assert_eq!(pick.reason, PickReason::Random);
        counts[number(pick.lease.endpoint())] += 1;
    }
    assert_eq!((counts[0], counts[1]), (0, 0));
    assert!(counts[2..].iter().all(|count| (2_800..3_200).contains(count)), "{counts:?}");
}

#[test]
fn the_same_seed_draws_the_same() {
    let members = enter(&Book::new(), 9);
    let pool = pool(Algorithm::Random, &members);
    let draw = |seed| shares(&pool, 9, Instant::now(), seed);
    assert_eq!(draw(4), draw(4));
    assert_ne!(draw(4), draw(5));
}
