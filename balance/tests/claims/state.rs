//! State by identity: what lives on the endpoint outlives lists, weights and policies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, BuildError, Config, Ejection, EndpointSpec, Health, InFlight, Outcome, Passive, PickArgs, Pool, SlowStart,
    SmallRng, Subset,
};
use proptest::prelude::*;

use crate::world::{algorithms, config, enter, least, number, passive, pool, ring, spec};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn counts_are_exact_across_rebuilt_pools_and_return_to_zero(steps in prop::collection::vec((0usize..4, any::<u64>()), 1..200)) {
        let book = Book::new();
        let mut members = enter(&book, 6);
        let all = members.clone();
        let mut current = pool(least(2), &members);
        let mut leases: Vec<InFlight> = Vec::new();
        for (kind, seed) in steps {
            match kind {
                0 if !leases.is_empty() => drop(leases.swap_remove(seed as usize % leases.len())),
                1 => {
                    // Another list, another weight, another algorithm: a new snapshot over the same records.
                    let first = seed as usize % 5;
                    members = (first..6).map(|n| book.enter(EndpointSpec { weight: 1 + (seed % 1000) as u16, ..spec(n) }, Instant::now())).collect();
                    let kinds = algorithms();
                    current = pool(kinds[seed as usize % kinds.len()].clone(), &members);
                }
                _ => {
                    let args = PickArgs { key: Some(seed), tried: &[], class: None };
                    leases.push(current.pick(args, Instant::now(), &mut SmallRng::new(seed)).unwrap().lease);
                }
            }
            for member in &all {
                let held = leases.iter().filter(|lease| Arc::ptr_eq(lease.endpoint(), member)).count();
                prop_assert_eq!(member.in_flight() as usize, held);
            }
        }
        leases.clear();
        prop_assert!(all.iter().all(|member| member.in_flight() == 0));
    }
}

#[test]
fn counts_and_ejections_survive_a_change_of_list_weight_and_policy() {
    let book = Book::new();
    let members = enter(&book, 4);
    let now = Instant::now();
    let before = pool(least(0), &members);
    let lease = before.pick(PickArgs::default(), now, &mut SmallRng::new(1)).unwrap().lease;
    let held = number(lease.endpoint());
    let bad = (held + 1) % 4;
    let ejected = (0..5).find_map(|_| before.judge(&members[bad], Outcome::ConnectError, now));
    assert!(ejected.is_some());
    drop(before);

    let again: Vec<_> = (0..5).map(|n| book.enter(EndpointSpec { weight: 300, ..spec(n) }, Instant::now())).collect();
    let after = pool(ring(Some(125)), &again);
    assert!(Arc::ptr_eq(&again[held], &members[held]));
    assert_eq!((again[held].in_flight(), again[held].weight()), (1, 300));
    assert!(matches!(again[bad].ejection(), Ejection::Open { .. }));
    for key in 0..500 {
        let picked = after.pick(PickArgs { key: Some(key << 54), tried: &[], class: None }, now, &mut SmallRng::new(1)).unwrap();
        assert_ne!(number(picked.lease.endpoint()), bad);
    }
}

#[test]
fn a_reused_identity_at_another_address_is_a_new_endpoint() {
    let book = Book::new();
    let old = book.enter(spec(1), Instant::now());
    let new = book.enter(EndpointSpec { address: "10.9.9.9:80".parse().unwrap(), ..spec(1) }, Instant::now());
    assert!(!Arc::ptr_eq(&old, &new));
    assert!(Arc::ptr_eq(&new, &book.find("uid-1:80").unwrap()));
}

#[test]
fn sweep_drops_only_what_nobody_uses() {
    let book = Book::new();
    let members = enter(&book, 3);
    let pool = pool(Algorithm::RoundRobin, &members[..1]);
    let lease = {
        let other = crate::world::pool(Algorithm::RoundRobin, &members[1..2]);
        other.pick(PickArgs::default(), Instant::now(), &mut SmallRng::new(1)).unwrap().lease
    };
    drop(members);
    book.sweep();
    assert!(book.find("uid-0:80").is_some() && book.find("uid-1:80").is_some() && book.find("uid-2:80").is_none());
    drop((lease, pool));
    book.sweep();
    assert!(book.is_empty());
}

fn pick_report_and_drop(pool: &Pool, worker: u64, start: Instant) {
    let mut rng = SmallRng::new(worker);
    let mut leases = Vec::new();
    for n in 0..5_000u64 {
        let now = start + Duration::from_millis(n);
        let lease = pool.pick(PickArgs { key: Some(n << 50), tried: &[], class: None }, now, &mut rng).unwrap().lease;
        let outcome = if n % 3 == 0 || n % 100 < 20 { Outcome::GatewayError } else { Outcome::Success };
        pool.judge(lease.endpoint(), outcome, now);
        leases.push(lease);
        if leases.len() > 8 {
            leases.swap_remove(n as usize % 8);
        }
    }
}

#[test]
fn two_threads_that_pick_report_and_drop_keep_counts_exact() {
    for algorithm in algorithms() {
        let book = Book::new();
        let members = enter(&book, 4);
        let pool = pool(algorithm, &members);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let pool = &pool;
                scope.spawn(move || pick_report_and_drop(pool, worker, start));
            }
            // Health flips under their feet meanwhile.
            scope.spawn(|| {
                for _ in 0..2_000 {
                    members[0].set_health(Health::Draining, Instant::now());
                    members[0].set_health(Health::Usable, Instant::now());
                    std::thread::yield_now();
                }
            });
        });
        assert!(members.iter().all(|member| member.in_flight() == 0));
        assert!(members.iter().any(|member| member.ejection() == Ejection::Closed), "the last is never ejected");
        assert!(members.iter().all(|member| member.ejection() != Ejection::Probing), "no probing request is lost");
    }
}

#[test]
fn racing_picks_of_one_hot_key_stay_within_the_bound() {
    let book = Book::new();
    let members = enter(&book, 4);
    let pool = pool(ring(Some(125)), &members);
    let now = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (pool, members) = (&pool, &members);
            scope.spawn(move || {
                let mut rng = SmallRng::new(worker);
                let mut leases = std::collections::VecDeque::new();
                for _ in 0..20_000 {
                    leases.push_back(pool.pick(PickArgs { key: Some(1), tried: &[], class: None }, now, &mut rng).unwrap().lease);
                    if leases.len() > 15 {
                        leases.pop_front();
                    }
                    // At most 32 in flight: ⌈1.25·32/4⌉ = 10.
                    assert!(members.iter().all(|member| member.in_flight() <= 10));
                }
            });
        }
    });
}

#[test]
fn lists_that_cannot_be_are_refused_with_a_reason() {
    let (book, other) = (Book::new(), Book::new());
    let members = enter(&book, 2);
    let build = |algorithm, members| Pool::try_new(config(algorithm), members, 1).err();
    let twice = vec![members[0].clone(), members[1].clone(), members[0].clone()];
    assert_eq!(build(least(2), twice), Some(BuildError::DuplicateId { id: "uid-0:80".into() }));
    assert_eq!(build(least(2), vec![members[0].clone(), other.enter(spec(5), Instant::now())]), Some(BuildError::TwoBooks));
    assert_eq!(build(ring(Some(99)), members.clone()), Some(BuildError::BalanceFactor { percent: 99 }));
    let none = Algorithm::ConsistentHash { table: evenkeel_balance::Table::Ring { virtual_nodes: 0 }, hash_balance_factor: None };
    assert_eq!(build(none, members.clone()), Some(BuildError::RingPoints { points: 0 }));
    let many =
        Algorithm::ConsistentHash { table: evenkeel_balance::Table::Ring { virtual_nodes: u32::MAX }, hash_balance_factor: None };
    assert!(matches!(build(many, members.clone()), Some(BuildError::RingPoints { .. })));
    members[0].set_weight(0);
    let error = build(least(2), members).unwrap();
    assert_eq!(error, BuildError::Weight { id: "uid-0:80".into(), weight: 0 });
    assert!(error.to_string().contains("use 1 to 1000"));
}

#[test]
fn settings_out_of_range_are_refused_with_a_reason() {
    let members = enter(&Book::new(), 2);
    let base = || config(least(2));
    let slow = |min_weight_percent| SlowStart { window: Duration::from_secs(30), min_weight_percent };
    let bad = [
        (Config { panic_threshold: 101, ..base() }, "panic threshold is 101"),
        (Config { passive: Some(Passive { max_ejection_percent: 101, ..passive() }), ..base() }, "ejection cap is 101"),
        (Config { slow_start: Some(slow(0)), ..base() }, "least weight in slow start is 0"),
        (Config { slow_start: Some(slow(101)), ..base() }, "least weight in slow start is 101"),
        (Config { subset: Some(Subset { size: 0, seed: 1 }), ..base() }, "subset size is 0"),
        (Config { endpoint_limit: Some(0), ..base() }, "limit of an endpoint is 0"),
        (config(Algorithm::Packing { limit: 0 }), "packing limit is 0"),
        (Config { subset: Some(Subset { size: 1, seed: 1 }), ..config(ring(None)) }, "leave the subset out"),
    ];
    for (config, expected) in bad {
        let error = Pool::try_new(config, members.clone(), 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_weight_of_zero_under_a_running_pool_panics_nobody() {
    for algorithm in algorithms() {
        let members = enter(&Book::new(), 6);
        let pool = pool(algorithm.clone(), &members);
        members.iter().for_each(|member| member.set_weight(0));
        for n in 0..20u64 {
            let args = PickArgs { key: Some(n << 55), ..PickArgs::default() };
            assert!(pool.pick(args, Instant::now(), &mut SmallRng::new(n)).is_ok(), "{algorithm:?}");
        }
    }
}
