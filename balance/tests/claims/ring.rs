//! Consistent hashing and bounded loads.

use std::sync::Arc;
use std::time::Instant;

use evenkeel_balance::{Book, Endpoint, Health, InFlight, PickArgs, PickReason, Pool, Rng, SmallRng, key_hash};
use proptest::prelude::*;

use crate::world::{config, enter, number, pool, ring, small_ring, spec};

fn key(n: u64) -> u64 {
    key_hash(format!("user-{n}").as_bytes())
}

fn owner(pool: &Pool, key: u64) -> usize {
    number(pool.owners(key).next().unwrap())
}

fn pick(pool: &Pool, key: u64, tried: &[Arc<Endpoint>]) -> evenkeel_balance::Pick {
    pool.pick(PickArgs { key: Some(key), tried, class: None }, Instant::now(), &mut SmallRng::new(key)).unwrap()
}

/// ⌈c·(m + 1)·wᵢ/W⌉ over the usable ones, written down as the page has it.
fn limit(members: &[Arc<Endpoint>], percent: u64, of: &Endpoint) -> u64 {
    let usable = || members.iter().filter(|member| member.health() == Health::Usable);
    let in_flight: u64 = usable().map(|member| u64::from(member.in_flight())).sum();
    let weight: u64 = usable().map(|member| u64::from(member.weight())).sum();
    (percent * (in_flight + 1) * u64::from(of.weight())).div_ceil(100 * weight)
}

fn fits(members: &[Arc<Endpoint>], percent: u64, of: &Endpoint) -> bool {
    u64::from(of.in_flight()) < limit(members, percent, of)
}

#[test]
fn owners_of_golden_keys_stay() {
    let book = Book::new();
    let pool = pool(ring(None), &enter(&book, 5));
    let sequences: Vec<Vec<usize>> = (0..4).map(|n| pool.owners(key(n)).map(|owner| number(owner)).collect()).collect();
    assert_eq!(sequences, [[0, 1, 3, 2, 4], [2, 3, 4, 1, 0], [1, 4, 0, 3, 2], [3, 1, 0, 4, 2]]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_key_has_the_same_owners_whatever_the_list_order_and_the_health(
        count in 1usize..24, seed: u64, weights in prop::collection::vec(1u16..=1000, 24), keys in prop::collection::vec(any::<u64>(), 1..20)
    ) {
        let mut rng = SmallRng::new(seed);
        let views: Vec<_> = (0..2).map(|_| {
            let book = Book::new();
            let mut members: Vec<_> = (0..count).map(|n| book.enter(evenkeel_balance::EndpointSpec { weight: weights[n], ..spec(n) }, Instant::now())).collect();
            for at in (1..count).rev() {
                members.swap(at, rng.below(at + 1));
            }
            let pool = pool(small_ring(None), &members);
            for member in members.iter().skip(1).filter(|_| rng.below(3) == 0) {
                member.set_health(Health::Draining, Instant::now());
            }
            (pool, book)
        }).collect();
        for key in keys {
            let mut sequences = views.iter().map(|(pool, _)| pool.owners(key).map(|owner| number(owner)).collect::<Vec<_>>());
            let first = sequences.next().unwrap();
            prop_assert_eq!(&first, &sequences.next().unwrap());
            let mut all = first.clone();
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>(), "each owner once");
            for (pool, _) in &views {
                let expected = pool.owners(key).find(|owner| owner.health() == Health::Usable).unwrap();
                let picked = pick(pool, key, &[]);
                prop_assert_eq!(picked.lease.endpoint().id(), expected.id());
                prop_assert_eq!(picked.reason, PickReason::Owner);
            }
        }
    }

    #[test]
    fn the_bound_holds_at_each_pick_and_overflow_follows_the_keys_own_sequence(
        count in 1usize..10, percent in 100u32..200, weights in prop::collection::vec(1u16..=1000, 10),
        down in prop::collection::vec(prop::bool::weighted(0.2), 10), steps in prop::collection::vec((0u64..3, 0usize..6), 1..150)
    ) {
        let book = Book::new();
        let members: Vec<_> = (0..count).map(|n| {
            let health = if n > 0 && down[n] { Health::Draining } else { Health::Usable };
            book.enter(evenkeel_balance::EndpointSpec { weight: weights[n], health, ..spec(n) }, Instant::now())
        }).collect();
        let pool = pool(small_ring(Some(percent)), &members);
        let percent = u64::from(percent);
        let mut leases: Vec<InFlight> = Vec::new();
        for (user, end) in steps {
            if end == 0 && !leases.is_empty() {
                leases.swap_remove(user as usize % leases.len());
                continue;
            }
            if end == 1 {
                // What is in flight on an endpoint that drains no longer counts, until it is back.
                if let Some(member) = members.get(1 + user as usize) {
                    let drains = member.health() == Health::Draining;
                    member.set_health(if drains { Health::Usable } else { Health::Draining }, Instant::now());
                }
                continue;
            }
            let usable: Vec<_> = pool.owners(key(user)).filter(|owner| owner.health() == Health::Usable).cloned().collect();
            let expected = usable.iter().find(|owner| fits(&members, percent, owner)).unwrap();
            let picked = pick(&pool, key(user), &[]);
            prop_assert_eq!(picked.lease.endpoint().id(), expected.id());
            let reason = if Arc::ptr_eq(expected, &usable[0]) { PickReason::Owner } else { PickReason::Overflow };
            prop_assert_eq!(picked.reason, reason);
            leases.push(picked.lease);
        }
    }
}

#[test]
fn neighbours_on_the_ring_overflow_to_owners_of_their_own() {
    let book = Book::new();
    let pool = pool(ring(None), &enter(&book, 5));
    let pair = |key: u64| pool.owners(key).take(2).map(|owner| number(owner)).collect::<Vec<_>>();
    let pairs: Vec<_> = (0..400).map(|n| (pair(key(n)), pair(key(n).wrapping_add(5)))).filter(|(a, b)| a[0] == b[0]).collect();
    assert!(pairs.len() > 390);
    let together = pairs.iter().filter(|(a, b)| a[1] == b[1]).count();
    assert!((60..140).contains(&together), "{together} of 400: by chance a quarter");
}

#[test]
fn a_fifth_backend_takes_its_share_of_keys_and_no_key_moves_elsewhere() {
    let book = Book::new();
    let (four, five) = (pool(ring(None), &enter(&book, 4)), pool(ring(None), &enter(&book, 5)));
    let moved: Vec<_> = (0..10_000).map(|n| (owner(&four, key(n)), owner(&five, key(n)))).filter(|(a, b)| a != b).collect();
    assert!((1_500..=2_500).contains(&moved.len()), "{} moved", moved.len());
    assert!(moved.iter().all(|&(_, to)| to == 4));
}

#[test]
fn a_hot_key_spreads_10_10_10_2_at_factor_125_with_32_in_flight() {
    let book = Book::new();
    let members = enter(&book, 4);
    let pool = pool(ring(Some(125)), &members);
    let mut leases: Vec<_> = (0..32).map(|_| pick(&pool, key(1), &[]).lease).collect();
    let mut counts: Vec<_> = pool.owners(key(1)).map(|owner| owner.in_flight()).collect();
    for turn in 0..10_000 {
        let at = turn * 7 % leases.len();
        drop(leases.swap_remove(at));
        leases.push(pick(&pool, key(1), &[]).lease);
        assert!(members.iter().all(|member| member.in_flight() <= 10));
    }
    assert_eq!(counts.iter().sum::<u32>(), 32);
    counts.sort_unstable();
    assert_eq!(counts, [2, 10, 10, 10]);
}

#[test]
fn where_none_fits_the_least_loaded_takes_it() {
    let book = Book::new();
    let members = enter(&book, 3);
    let pool = pool(ring(Some(100)), &members);
    let owners: Vec<_> = pool.owners(key(1)).cloned().collect();
    // Nine requests spread evenly, then one ends: only its endpoint has room, and this request has tried it.
    let mut leases: Vec<_> = (0..9).map(|_| pick(&pool, key(1), &[]).lease).collect();
    let at = leases.iter().position(|lease| Arc::ptr_eq(lease.endpoint(), &owners[0])).unwrap();
    drop(leases.swap_remove(at));
    let at = leases.iter().position(|lease| Arc::ptr_eq(lease.endpoint(), &owners[2])).unwrap();
    let moved = leases.swap_remove(at);
    assert_eq!(pick(&pool, key(1), &[]).lease.endpoint().id(), owners[0].id());
    let picked = pick(&pool, key(1), &[owners[0].clone(), owners[2].clone()]);
    assert_eq!((picked.lease.endpoint().id(), picked.reason), (owners[1].id(), PickReason::Overflow));
    drop(moved);
}

#[test]
fn weight_gives_points_and_keys_in_proportion() {
    let book = Book::new();
    let members: Vec<_> = [50, 100, 150]
        .iter()
        .enumerate()
        .map(|(n, &weight)| book.enter(evenkeel_balance::EndpointSpec { weight, ..spec(n) }, Instant::now()))
        .collect();
    let pool = pool(ring(None), &members);
    let mut shares = [0u32; 3];
    (0..30_000).for_each(|n| shares[owner(&pool, key(n))] += 1);
    assert!((4_000..6_000).contains(&shares[0]), "{shares:?}");
    assert!((8_500..11_500).contains(&shares[1]), "{shares:?}");
}

#[test]
fn a_restarted_pod_with_the_same_ring_key_gets_its_keys_back() {
    let book = Book::new();
    let members = enter(&book, 4);
    let before = pool(ring(None), &members);
    let mut after = members.clone();
    after[2] = book.enter(evenkeel_balance::EndpointSpec { id: "uid-9:80".into(), ..spec(2) }, Instant::now());
    let after = pool(ring(None), &after);
    for n in 0..2_000 {
        let (old, new) = (owner(&before, key(n)), owner(&after, key(n)));
        assert_eq!(new, if old == 2 { 9 } else { old });
    }
}

#[test]
fn while_the_old_pod_drains_beside_the_new_one_of_its_name_the_new_one_has_the_keys() {
    let book = Book::new();
    let mut members = enter(&book, 4);
    let before = pool(ring(None), &members);
    members[2].set_health(Health::Draining, Instant::now());
    members.push(book.enter(evenkeel_balance::EndpointSpec { id: "uid-9:80".into(), ..spec(2) }, Instant::now()));
    let both = pool(ring(None), &members);
    for n in 0..2_000 {
        let old = owner(&before, key(n));
        let picked = pick(&both, key(n), &[]);
        assert_eq!(number(picked.lease.endpoint()), if old == 2 { 9 } else { old });
    }
}

#[test]
fn a_live_weight_moves_no_points() {
    let book = Book::new();
    let members = enter(&book, 4);
    let pool = pool(ring(None), &members);
    let before: Vec<_> = (0..500).map(|n| owner(&pool, key(n))).collect();
    members[0].set_weight(10);
    assert_eq!(before, (0..500).map(|n| owner(&pool, key(n))).collect::<Vec<_>>());
}

#[test]
fn one_endpoint_owns_everything_and_a_request_without_a_key_falls_back() {
    let book = Book::new();
    let members = enter(&book, 1);
    let pool = pool(ring(Some(100)), &members);
    assert_eq!(owner(&pool, u64::MAX), 0);
    assert_eq!(owner(&pool, 0), 0);
    let picked = pool.pick(PickArgs::default(), Instant::now(), &mut SmallRng::new(1)).unwrap();
    assert_eq!(picked.reason, PickReason::Fallback);
    assert_eq!(Pool::try_new(config(ring(None)), vec![], 1).unwrap().owners(7).count(), 0);
}
