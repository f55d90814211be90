//! Consistent hashing, over each of the three tables alike: who owns a key, and the bound on loads.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, BuildError, Config, Endpoint, EndpointSpec, Health, InFlight, Loads, Pick, PickArgs, PickReason, Pool, Rng,
    SlowStart, SmallRng, Table, key_hash,
};
use proptest::prelude::*;

use crate::world::{config, enter, least, number, pool, spec};

/// Small ones, that are built quickly: for properties that try many lists.
const TABLES: [Table; 3] = [Table::Ring { virtual_nodes: 20 }, Table::Maglev { size: 251 }, Table::Rendezvous];

/// Of the size that users have.
const LARGE: [Table; 3] = [Table::Ring { virtual_nodes: 150 }, Table::MAGLEV, Table::Rendezvous];

pub(crate) fn hash_over(table: Table, hash_balance_factor: Option<u32>) -> Algorithm {
    Algorithm::ConsistentHash { table, hash_balance_factor }
}

pub(crate) fn key(n: u64) -> u64 {
    key_hash(format!("user-{n}").as_bytes())
}

pub(crate) fn owner(pool: &Pool, key: u64) -> usize {
    number(pool.owners(key).next().unwrap())
}

pub(crate) fn pick(pool: &Pool, key: u64, tried: &[Arc<Endpoint>]) -> Pick {
    pool.pick(PickArgs { key: Some(key), tried, class: None }, Instant::now(), &mut SmallRng::new(key)).unwrap()
}

/// inᵢ + 1 ≤ ⌈c·(m + 1)·wᵢ/W⌉ over the usable ones, written down as the catalogue has it.
fn fits(members: &[Arc<Endpoint>], percent: u32, of: &Endpoint, weight: impl Fn(&Endpoint) -> u64) -> bool {
    let usable = || members.iter().filter(|member| member.health() == Health::Usable);
    let in_flight: u64 = usable().map(|member| u64::from(member.in_flight())).sum();
    let total: u64 = usable().map(|member| weight(member)).sum();
    u64::from(of.in_flight()) < (u64::from(percent) * (in_flight + 1) * weight(of)).div_ceil(100 * total)
}

fn configured(endpoint: &Endpoint) -> u64 {
    u64::from(endpoint.weight())
}

fn shuffle<T>(list: &mut [T], rng: &mut SmallRng) {
    (1..list.len()).rev().for_each(|at| list.swap(at, rng.below(at + 1)));
}

#[test]
fn owners_of_golden_keys_stay() {
    let equal = [
        [[0, 1, 3, 2, 4], [2, 3, 4, 1, 0], [1, 4, 0, 3, 2], [3, 1, 0, 4, 2]],
        [[2, 4, 3, 1, 0], [0, 1, 4, 3, 2], [0, 2, 3, 1, 4], [2, 4, 0, 1, 3]],
        [[3, 0, 4, 2, 1], [1, 3, 4, 2, 0], [0, 4, 2, 1, 3], [2, 3, 4, 1, 0]],
    ];
    let weighted = [
        [[3, 2, 1, 4, 0], [3, 2, 4, 1, 0], [3, 1, 4, 0, 2], [3, 2, 4, 1, 0]],
        [[2, 4, 3, 1, 0], [3, 4, 2, 1, 0], [3, 2, 1, 0, 4], [3, 0, 2, 1, 4]],
        [[3, 2, 4, 0, 1], [3, 1, 2, 4, 0], [3, 0, 4, 2, 1], [3, 2, 4, 1, 0]],
    ];
    for (weights, golden) in [([100; 5], equal), ([30, 100, 250, 1_000, 100], weighted)] {
        for (table, golden) in LARGE.into_iter().zip(golden) {
            let book = Book::new();
            let specs = weights.into_iter().enumerate().map(|(n, weight)| EndpointSpec { weight, ..spec(n) });
            let members: Vec<_> = specs.map(|spec| book.enter(spec, Instant::now())).collect();
            let pool = pool(hash_over(table, None), &members);
            let sequences: Vec<Vec<usize>> = (0..4).map(|n| pool.owners(key(n)).map(|owner| number(owner)).collect()).collect();
            assert_eq!(sequences, golden, "{table:?}, {weights:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_key_has_the_same_owners_whatever_the_list_order_and_the_health(
        count in 1usize..24, seed: u64, weights in prop::collection::vec(1u16..=1000, 24), sharing in 1usize..24,
        keys in prop::collection::vec(any::<u64>(), 1..20)
    ) {
        for table in TABLES {
            let mut rng = SmallRng::new(seed);
            let views: Vec<_> = (0..2).map(|_| {
                let book = Book::new();
                // Some have a ring key in common.
                let spec = |n| EndpointSpec { weight: weights[n], ring_key: spec(n % sharing).ring_key, ..spec(n) };
                let mut members: Vec<_> = (0..count).map(|n| book.enter(spec(n), Instant::now())).collect();
                shuffle(&mut members, &mut rng);
                let pool = pool(hash_over(table, None), &members);
                for member in members.iter().skip(1).filter(|_| rng.below(3) == 0) {
                    member.set_health(Health::Draining, Instant::now());
                }
                (pool, book)
            }).collect();
            for &key in &keys {
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
    }

    #[test]
    fn the_bound_holds_at_each_pick_and_overflow_follows_the_keys_own_sequence(
        count in 1usize..10, percent in 100u32..200, weights in prop::collection::vec(1u16..=1000, 10),
        down in prop::collection::vec(prop::bool::weighted(0.2), 10),
        steps in prop::collection::vec((0usize..4, prop::sample::select(STEPS)), 1..200)
    ) {
        for table in TABLES {
            let loads = Arc::new(Loads::new());
            let (book, other_book) = (Book::sharing(&loads), Book::sharing(&loads));
            let now = Instant::now();
            let spec = |n: usize| {
                let health = if n > 0 && down[n] { Health::Draining } else { Health::Usable };
                EndpointSpec { weight: weights[n], health, ..spec(n) }
            };
            let members: Vec<_> = (0..count).map(|n| book.enter(spec(n), now)).collect();
            let others = (0..count).map(|n| other_book.enter(EndpointSpec { health: Health::Usable, ..spec(n) }, now)).collect();
            let other = Pool::try_new(config(least(1)), others, 3).unwrap();
            let mut pool = pool(hash_over(table, Some(percent)), &members);
            let (mut leases, mut foreign): (Vec<InFlight>, Vec<InFlight>) = (vec![], vec![]);
            for &(at, step) in &steps {
                match step {
                    Step::End if !leases.is_empty() => drop(leases.swap_remove(at % leases.len())),
                    Step::EndElsewhere if !foreign.is_empty() => drop(foreign.swap_remove(at % foreign.len())),
                    // Work that comes through another pool counts in this one.
                    Step::PickElsewhere => foreign.push(pick(&other, key(at as u64), &[]).lease),
                    // A new list or policy: what is in flight stays in flight.
                    Step::Rebuild => pool = crate::world::pool(hash_over(table, Some(percent)), &members),
                    // What is in flight on an endpoint that drains no longer counts, until it is back.
                    Step::Turn => if let Some(member) = members.get(1 + at) {
                        let drains = member.health() == Health::Draining;
                        member.set_health(if drains { Health::Usable } else { Health::Draining }, now);
                    },
                    Step::Pick | Step::End | Step::EndElsewhere => {
                        let owners = pool.owners(key(at as u64));
                        let usable: Vec<_> = owners.filter(|owner| owner.health() == Health::Usable).collect();
                        // In a pool that shares its endpoints all may be over the bound; then it is the least loaded's turn.
                        let Some(&expected) = usable.iter().find(|owner| fits(&members, percent, owner, configured)) else {
                            let picked = pick(&pool, key(at as u64), &[]);
                            prop_assert_eq!(picked.reason, PickReason::Overflow);
                            continue;
                        };
                        let picked = pick(&pool, key(at as u64), &[]);
                        prop_assert_eq!(picked.lease.endpoint().id(), expected.id());
                        let reason = if Arc::ptr_eq(expected, usable[0]) { PickReason::Owner } else { PickReason::Overflow };
                        prop_assert_eq!(picked.reason, reason);
                        leases.push(picked.lease);
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_the_settings_a_table_is_built_or_refused_and_the_check_says_the_same(
        setting in prop_oneof![
            (0u32..3_000).prop_map(|virtual_nodes| Table::Ring { virtual_nodes }),
            any::<u32>().prop_map(|virtual_nodes| Table::Ring { virtual_nodes }),
            (0u32..300).prop_map(|size| Table::Maglev { size }),
            any::<u32>().prop_map(|size| Table::Maglev { size }),
            Just(Table::Rendezvous),
        ],
        factor in prop::option::of(0u32..400), weights in prop::collection::vec(0u16..1_100, 0..40), keys in any::<[u64; 4]>()
    ) {
        let algorithm = hash_over(setting, factor);
        let book = Book::new();
        let specs = weights.iter().enumerate().map(|(n, &weight)| EndpointSpec { weight, ..spec(n) });
        let members: Vec<_> = specs.map(|spec| book.enter(spec, Instant::now())).collect();
        let checked = algorithm.check(members.iter().map(|member| (member.ring_key(), member.weight())));
        match Pool::try_new(config(algorithm), members, 1) {
            Ok(pool) => {
                prop_assert_eq!(checked, Ok(()));
                for key in keys {
                    prop_assert_eq!(pool.owners(key).count(), weights.len());
                    let args = PickArgs { key: Some(key), ..PickArgs::default() };
                    let picked = pool.pick(args, Instant::now(), &mut SmallRng::new(1));
                    prop_assert_eq!(picked.is_ok(), !weights.is_empty());
                }
            }
            Err(BuildError::Weight { weight, .. }) => prop_assert!(weight == 0 || weight > 1_000),
            Err(error) => {
                prop_assert!(!error.to_string().is_empty());
                prop_assert_eq!(checked, Err(error));
            }
        }
    }
}

/// What may happen between two picks.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pick,
    End,
    PickElsewhere,
    EndElsewhere,
    Turn,
    Rebuild,
}

const STEPS: &[Step] = &[
    Step::Pick,
    Step::Pick,
    Step::Pick,
    Step::Pick,
    Step::End,
    Step::End,
    Step::PickElsewhere,
    Step::EndElsewhere,
    Step::Turn,
    Step::Rebuild,
];

#[test]
fn racing_workers_never_pass_the_bound_together() {
    const WORKERS: usize = 4;
    const HELD: usize = 40;
    for table in TABLES {
        let members = enter(&Book::new(), 10);
        let pool = pool(hash_over(table, Some(125)), &members);
        // Nobody knows how many are in flight at an instant, but never more than this.
        let limit = (125 * (WORKERS * HELD) as u32).div_ceil(100 * 10);
        let (highest, together) = (AtomicU32::new(0), Barrier::new(WORKERS));
        std::thread::scope(|scope| {
            for worker in 0..WORKERS as u64 {
                let (pool, highest, together) = (&pool, &highest, &together);
                scope.spawn(move || {
                    let mut rng = SmallRng::new(worker);
                    let mut leases = Vec::new();
                    for turn in 0..10_000 {
                        if turn == HELD {
                            together.wait();
                        }
                        if leases.len() == HELD {
                            leases.swap_remove(rng.below(HELD));
                        }
                        // Half of the requests are for one key.
                        let args = PickArgs { key: Some(key(rng.below(40).saturating_sub(20) as u64)), ..PickArgs::default() };
                        let lease = pool.pick(args, Instant::now(), &mut rng).unwrap().lease;
                        highest.fetch_max(lease.endpoint().in_flight(), Relaxed);
                        leases.push(lease);
                    }
                    together.wait();
                });
            }
        });
        let highest = highest.into_inner();
        assert!((limit - 4..=limit).contains(&highest), "{table:?}: {highest} of {limit}");
        assert_eq!(members.iter().map(|member| member.in_flight()).sum::<u32>(), 0);
    }
}

#[test]
fn slow_start_takes_room_from_the_new_and_moves_no_key() {
    let start = Instant::now();
    let slow_start = SlowStart { window: Duration::from_secs(10), min_weight_percent: 10 };
    for table in TABLES {
        let book = Book::new();
        let mut members: Vec<_> = (0..4).map(|n| book.enter(spec(n), start)).collect();
        let new = start + Duration::from_secs(100);
        members.push(book.enter(spec(4), new));
        let config = |slow_start| Config { slow_start, ..Config::new(hash_over(table, Some(125))) };
        let build = |slow_start| Pool::try_new(config(slow_start), members.clone(), 1).unwrap();
        let (slow, quick) = (build(Some(slow_start)), build(None));
        for n in 0..500 {
            assert_eq!(owner(&slow, key(n)), owner(&quick, key(n)));
        }
        let mine = (0..).find(|&n| owner(&slow, key(n)) == 4).unwrap();
        let mut leases = Vec::new();
        for (seconds, percent) in [(0, 10), (2, 28), (5, 55), (8, 82), (10, 100), (60, 100)] {
            let now = new + Duration::from_secs(seconds);
            let weight = |of: &Endpoint| if number(of) == 4 { percent } else { 100 };
            for _ in 0..40 {
                let expected = slow.owners(key(mine)).find(|owner| fits(&members, 125, owner, weight)).unwrap().id();
                let args = PickArgs { key: Some(key(mine)), ..PickArgs::default() };
                leases.push(slow.pick(args, now, &mut SmallRng::new(1)).unwrap().lease);
                assert_eq!(leases[leases.len() - 1].endpoint().id(), expected, "{table:?} after {seconds} s");
            }
        }
    }
}

#[test]
fn a_new_endpoint_takes_its_share_of_keys_and_no_others_move() {
    for table in LARGE {
        let book = Book::new();
        let (four, five) = (enter(&book, 4), enter(&book, 5));
        let (four, five) = (pool(hash_over(table, None), &four), pool(hash_over(table, None), &five));
        let moved: Vec<_> = (0..10_000).map(|n| (owner(&four, key(n)), owner(&five, key(n)))).filter(|(a, b)| a != b).collect();
        let (to_new, among_others): (Vec<_>, Vec<_>) = moved.into_iter().partition(|&(_, to)| to == 4);
        assert!((1_500..=2_500).contains(&to_new.len()), "{table:?}: {} moved", to_new.len());
        // Maglev trades some of that for evenness.
        let allowed = if table == Table::MAGLEV { 80 } else { 0 };
        assert!(among_others.len() <= allowed, "{table:?}: {} moved among others", among_others.len());
    }
}

#[test]
fn keys_follow_weights_and_a_live_weight_moves_none() {
    for table in LARGE {
        let book = Book::new();
        let specs = [50, 100, 150].into_iter().enumerate().map(|(n, weight)| EndpointSpec { weight, ..spec(n) });
        let members: Vec<_> = specs.map(|spec| book.enter(spec, Instant::now())).collect();
        let pool = pool(hash_over(table, None), &members);
        let owners = || (0..30_000).map(|n| owner(&pool, key(n))).collect::<Vec<_>>();
        let before = owners();
        let share = |of| before.iter().filter(|&&owner| owner == of).count();
        assert!((4_000..6_000).contains(&share(0)), "{table:?}: {}", share(0));
        assert!((8_500..11_500).contains(&share(1)), "{table:?}: {}", share(1));
        members[0].set_weight(1_000);
        assert_eq!(before, owners());
    }
}

#[test]
fn a_restarted_pod_with_the_same_ring_key_gets_its_keys_back() {
    for table in LARGE {
        let book = Book::new();
        let members = enter(&book, 4);
        let before = pool(hash_over(table, None), &members);
        let mut after = members.clone();
        after[2] = book.enter(EndpointSpec { id: "uid-9:80".into(), ..spec(2) }, Instant::now());
        let after = pool(hash_over(table, None), &after);
        for n in 0..2_000 {
            let (old, new) = (owner(&before, key(n)), owner(&after, key(n)));
            assert_eq!(new, if old == 2 { 9 } else { old });
        }
    }
}

#[test]
fn while_the_old_pod_drains_beside_the_new_one_of_its_name_the_new_one_has_the_keys() {
    for table in LARGE {
        let book = Book::new();
        let mut members = enter(&book, 4);
        let before = pool(hash_over(table, None), &members);
        members[2].set_health(Health::Draining, Instant::now());
        members.push(book.enter(EndpointSpec { id: "uid-9:80".into(), ..spec(2) }, Instant::now()));
        let both = pool(hash_over(table, None), &members);
        for n in 0..2_000 {
            let old = owner(&before, key(n));
            let picked = pick(&both, key(n), &[]);
            assert_eq!(number(picked.lease.endpoint()), if old == 2 { 9 } else { old });
        }
    }
}

#[test]
fn where_none_fits_the_least_loaded_takes_it() {
    for table in TABLES {
        let pool = pool(hash_over(table, Some(100)), &enter(&Book::new(), 3));
        let owners: Vec<_> = pool.owners(key(1)).cloned().collect();
        // Nine requests spread evenly, then one ends: only its endpoint has room, and this request has tried it.
        let mut leases: Vec<_> = (0..9).map(|_| pick(&pool, key(1), &[]).lease).collect();
        let mut end = |of: &Arc<Endpoint>| {
            let at = leases.iter().position(|lease| Arc::ptr_eq(lease.endpoint(), of)).unwrap();
            leases.swap_remove(at)
        };
        drop(end(&owners[0]));
        let moved = end(&owners[2]);
        assert_eq!(pick(&pool, key(1), &[]).lease.endpoint().id(), owners[0].id());
        let picked = pick(&pool, key(1), &[owners[0].clone(), owners[2].clone()]);
        assert_eq!((picked.lease.endpoint().id(), picked.reason), (owners[1].id(), PickReason::Overflow));
        drop(moved);
    }
}

#[test]
fn one_endpoint_owns_everything_none_owns_nothing_and_a_request_without_a_key_falls_back() {
    for table in LARGE {
        let only = pool(hash_over(table, Some(100)), &enter(&Book::new(), 1));
        assert_eq!([owner(&only, 0), owner(&only, u64::MAX)], [0, 0]);
        let picked = only.pick(PickArgs::default(), Instant::now(), &mut SmallRng::new(1)).unwrap();
        assert_eq!(picked.reason, PickReason::Fallback);
        assert_eq!(pool(hash_over(table, Some(100)), &[]).owners(7).count(), 0);
    }
}

#[test]
fn settings_without_sense_are_told_apart() {
    let members = enter(&Book::new(), 1_001);
    let refusal = |table, factor, members: &[Arc<Endpoint>]| {
        Pool::try_new(config(hash_over(table, factor)), members.to_vec(), 1).unwrap_err()
    };
    let two = &members[..2];
    for size in [0, 1, 4, 65_536, 5_000_012, u32::MAX] {
        assert_eq!(refusal(Table::Maglev { size }, None, two), BuildError::TableSize { size });
    }
    assert_eq!(
        refusal(Table::Maglev { size: 65_536 }, None, two).to_string(),
        "the table size is 65536: use a prime up to 5000011, for example 65537"
    );
    let small = BuildError::TableTooSmall { size: 997, endpoints: 1_001 };
    assert_eq!(refusal(Table::Maglev { size: 997 }, None, &members), small);
    assert_eq!(refusal(Table::Rendezvous, None, &members), BuildError::TooManyForRendezvous { endpoints: 1_001 });
    assert_eq!(refusal(Table::Ring { virtual_nodes: 0 }, None, two), BuildError::RingPoints { points: 0 });
    let points = 1_001 * 4_191;
    assert_eq!(refusal(Table::Ring { virtual_nodes: 4_191 }, None, &members), BuildError::RingPoints { points });
    for table in LARGE {
        assert_eq!(refusal(table, Some(99), two), BuildError::BalanceFactor { percent: 99 });
        let twice = [members[0].clone(), members[1].clone(), members[0].clone()];
        assert_eq!(refusal(table, None, &twice), BuildError::DuplicateId { id: "uid-0:80".into() });
    }
}
