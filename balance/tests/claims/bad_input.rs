//! Bad input: lists and settings that cannot be are refused with a reason that says what and why, for every algorithm; never a panic.

use std::sync::Arc;
use std::time::Instant;

use evenkeel_balance::{
    Algorithm, Book, BuildError, Config, Endpoint, EndpointSpec, NoEndpoint, PickArgs, Pool, SmallRng, Table,
};
use proptest::prelude::*;

use crate::world::{algorithms, enter, small_ring, spec};

fn hash(table: Table) -> Algorithm {
    Algorithm::ConsistentHash { table, hash_balance_factor: Some(125) }
}

/// One of each kind, every table among them.
fn all() -> Vec<Algorithm> {
    let mut all = algorithms();
    all.extend([Algorithm::Prequal, Algorithm::LeastExpectedTime, hash(Table::Maglev { size: 101 }), hash(Table::Rendezvous)]);
    all
}

fn weighted(weights: &[u16]) -> Vec<Arc<Endpoint>> {
    let (book, now) = (Book::new(), Instant::now());
    weights.iter().enumerate().map(|(number, &weight)| book.enter(EndpointSpec { weight, ..spec(number) }, now)).collect()
}

fn build(algorithm: Algorithm, members: &[Arc<Endpoint>]) -> Result<Pool, BuildError> {
    Pool::try_new(Config::new(algorithm), members.to_vec(), 1)
}

fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor: &u32| divisor.saturating_mul(*divisor) <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[test]
fn a_pool_without_endpoints_is_legal_and_says_so_at_each_pick() {
    for algorithm in all() {
        let pool = build(algorithm.clone(), &[]).unwrap();
        for key in [None, Some(0), Some(u64::MAX)] {
            let error = pool.pick(PickArgs { key, ..PickArgs::default() }, Instant::now(), &mut SmallRng::new(1)).unwrap_err();
            assert_eq!(error, NoEndpoint::Empty, "{algorithm:?}");
        }
        assert!(pool.candidates(PickArgs::default(), Instant::now()).is_empty());
    }
}

#[test]
fn weights_of_zero_alone_are_refused_by_name() {
    let members = weighted(&[0, 0, 0]);
    for algorithm in all() {
        let error = build(algorithm, &members).unwrap_err();
        assert!(matches!(&error, BuildError::Weight { weight: 0, .. }), "{error}");
        assert!(error.to_string().contains("use 1 to 1000"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_weight_outside_1_to_1000_is_refused_with_the_endpoint_that_has_it(
        mut weights in prop::collection::vec(1u16..=1_000, 1..12), bad in prop_oneof![Just(0u16), Just(1_001), 1_001..=u16::MAX], at: prop::sample::Index
    ) {
        let at = at.index(weights.len());
        weights[at] = bad;
        let members = weighted(&weights);
        for algorithm in all() {
            let id = members[at].id().to_owned();
            prop_assert_eq!(build(algorithm, &members).unwrap_err(), BuildError::Weight { id, weight: bad });
        }
    }

    #[test]
    fn an_identity_that_is_there_twice_is_refused_by_name(count in 1usize..12, at: prop::sample::Index, moved: bool) {
        let (book, now) = (Book::new(), Instant::now());
        let mut members = enter(&book, count);
        let at = at.index(count);
        // The same record twice, or an older one of the same identity beside the one that replaced it.
        let address = if moved { "10.9.9.9:80".parse().unwrap() } else { members[at].address() };
        members.push(book.enter(EndpointSpec { address, ..spec(at) }, now));
        for algorithm in all() {
            let id = members[at].id().to_owned();
            prop_assert_eq!(build(algorithm, &members).unwrap_err(), BuildError::DuplicateId { id });
        }
    }

    #[test]
    fn a_table_size_is_taken_just_when_it_is_a_prime_in_range_with_room(size in prop_oneof![0u32..300, 5_000_000u32..5_000_020, Just(u32::MAX)], count in 1usize..20) {
        let built = build(hash(Table::Maglev { size }), &enter(&Book::new(), count));
        let expected = match size {
            _ if !is_prime(size) || size > 5_000_011 => Some(BuildError::TableSize { size }),
            _ if (size as usize) < count => Some(BuildError::TableTooSmall { size, endpoints: count }),
            _ => None,
        };
        prop_assert_eq!(built.err(), expected);
    }

    #[test]
    fn what_check_says_of_a_list_is_what_building_it_says(
        weights in prop::collection::vec(1u16..=1_000, 0..20), size in 0u32..120, virtual_nodes in prop_oneof![0u32..200, 2_000_000_000..=u32::MAX],
        factor in prop::option::of(0u32..300)
    ) {
        let members = weighted(&weights);
        let tables = [Table::Ring { virtual_nodes }, Table::Maglev { size }, Table::Rendezvous];
        let hashes = tables.map(|table| Algorithm::ConsistentHash { table, hash_balance_factor: factor });
        for algorithm in all().into_iter().chain(hashes) {
            let said = algorithm.check(members.iter().map(|member| (member.ring_key(), member.weight())));
            let built = build(algorithm.clone(), &members);
            prop_assert_eq!(said.err(), built.err(), "{:?}", algorithm);
        }
    }

    #[test]
    fn choices_and_limits_of_any_size_still_choose(choice_count: u32, limit: u32, count in 1usize..12, key: u64) {
        let members = enter(&Book::new(), count);
        let extremes = [
            Algorithm::LeastConnections { choice_count },
            Algorithm::LeastResponseTime { choice_count },
            Algorithm::Packing { limit },
            Algorithm::ConsistentHash { table: Table::Rendezvous, hash_balance_factor: Some(choice_count.max(100)) },
            small_ring(Some(u32::MAX)),
        ];
        for algorithm in extremes {
            let pool = build(algorithm, &members).unwrap();
            let mut rng = SmallRng::new(key);
            let leases: Vec<_> = (0..30).map(|_| pool.pick(PickArgs { key: Some(key), ..PickArgs::default() }, Instant::now(), &mut rng)).collect();
            prop_assert!(leases.iter().all(Result::is_ok));
            drop(leases);
            prop_assert!(members.iter().all(|member| member.in_flight() == 0));
        }
    }
}
