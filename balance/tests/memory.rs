//! Memory, counted by the allocator: a pick takes none, whatever the algorithm, and endpoints and ring points stay small.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../benches/fleet/mod.rs"]
mod fleet;

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, Outcome, Passive, PickArgs, PickReason, Pool, SmallRng};

use fleet::{RING, algorithms, enter, hash, pool};

fn watched(algorithm: Algorithm) -> Config {
    let passive = Passive {
        consecutive_errors: 1,
        window: Duration::from_secs(60),
        base_ejection: Duration::from_secs(1),
        max_ejection: Duration::from_secs(60),
        max_ejection_percent: 50,
    };
    Config { passive: Some(passive), ..Config::new(algorithm) }
}

/// What `picks` allocates, in count and bytes.
fn allocated(picks: impl FnOnce()) -> (u64, u64) {
    let info = allocation_counter::measure(picks);
    (info.count_total, info.bytes_total)
}

/// Picks with and without a key, alone and after others were tried; leases are kept so that loads and bounds come into play.
fn pick_much(pool: &Pool, tried: &[Arc<Endpoint>], now: Instant) -> Vec<PickReason> {
    let mut rng = SmallRng::new(5);
    let (mut leases, mut reasons) = (Vec::with_capacity(3_000), Vec::with_capacity(3_000));
    let none = allocated(|| {
        for n in 0..1_000u64 {
            let hot = PickArgs { key: Some(n % 3), tried: &[], ..PickArgs::default() };
            let again = PickArgs { key: Some(n), tried, ..PickArgs::default() };
            for args in [hot, again, PickArgs::default()] {
                let picked = pool.pick(args, now, &mut rng).unwrap();
                reasons.push(picked.reason);
                leases.push(picked.lease);
            }
        }
    });
    assert_eq!(none, (0, 0), "{:?}", pool.config().algorithm);
    assert_eq!(allocated(|| leases.clear()), (0, 0), "the end of a request");
    reasons
}

#[test]
fn a_pick_takes_no_memory() {
    for (_, algorithm) in algorithms() {
        let members = enter(&Book::new(), 100);
        let reasons = pick_much(&pool(algorithm.clone(), &members), &members[..3], Instant::now());
        let overflows = reasons.contains(&PickReason::Overflow);
        let bounded = matches!(algorithm, Algorithm::ConsistentHash { hash_balance_factor: Some(_), .. });
        assert_eq!(overflows, bounded, "three hot keys pass their owners' bounds: {algorithm:?}");
    }
}

#[test]
fn a_pick_takes_no_memory_where_endpoints_are_ejected_and_due_a_probe() {
    for (_, algorithm) in algorithms() {
        let members = enter(&Book::new(), 20);
        let pool = Pool::try_new(watched(algorithm), members.clone(), 1).unwrap();
        let start = Instant::now();
        let ejected = members.iter().step_by(3).filter(|bad| pool.judge(bad, Outcome::ConnectError, start).is_some()).count();
        assert_eq!(ejected, 7);
        let reasons = pick_much(&pool, &members[..3], start + Duration::from_secs(2));
        assert_eq!(reasons.iter().filter(|reason| **reason == PickReason::Probe).count(), 7, "{:?}", pool.config().algorithm);
    }
}

#[test]
fn an_endpoint_with_its_names_takes_at_most_512_bytes() {
    const COUNT: i64 = 1_000;
    let specs: Vec<_> = (0..COUNT as usize).map(fleet::spec).collect();
    let mut kept = None;
    // What the specs own is handed over, so it is counted by hand; the rest is counted as it comes.
    let names: usize = specs
        .iter()
        .map(|spec| spec.id.capacity() + spec.ring_key.capacity() + spec.zone.as_ref().map_or(0, String::capacity))
        .sum();
    let info = allocation_counter::measure(|| {
        let (book, now) = (Book::new(), Instant::now());
        let members: Vec<_> = specs.into_iter().map(|spec| book.enter(spec, now)).collect();
        kept = Some((book, pool(Algorithm::LeastConnections { choice_count: 2 }, &members)));
    });
    let each = (info.bytes_current + names as i64) / COUNT;
    assert!((100..=512).contains(&each), "{each} bytes an endpoint");
    drop(kept);
}

#[test]
fn a_ring_point_takes_at_most_16_bytes() {
    const POINTS: i64 = 1_000 * 150;
    let members = enter(&Book::new(), 1_000);
    let measure = |algorithm| {
        let mut kept = None;
        let info = allocation_counter::measure(|| kept = Some(pool(algorithm, &members)));
        drop(kept);
        info.bytes_current
    };
    let each = (measure(hash(RING, Some(125))) - measure(Algorithm::RoundRobin)) as f64 / POINTS as f64;
    assert!((1.0..=16.0).contains(&each), "{each:.2} bytes a point");
}
