//! Subsetting: a sidecar uses k of n endpoints, and a change of one endpoint changes at most one of the k.

use std::collections::BTreeSet;
use std::time::Instant;

use evenkeel_balance::{Algorithm, Book, Config, Health, PickArgs, Pool, SmallRng, Subset, key_hash};
use proptest::prelude::*;

use crate::world::{enter, number, spec};

/// Whom a sidecar's picks reach.
fn reached(pool: &Pool, size: u32) -> BTreeSet<usize> {
    let mut rng = SmallRng::new(1);
    let mut pick = || number(pool.pick(PickArgs::default(), Instant::now(), &mut rng).unwrap().lease.endpoint());
    (0..2 * size).map(|_| pick()).collect()
}

fn config(size: u32, seed: u64) -> Config {
    Config { subset: Some(Subset { size, seed }), ..Config::new(Algorithm::RoundRobin) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn one_endpoints_change_alters_at_most_one_entry(count in 2usize..40, size in 1u32..20, seed: u64, which: prop::sample::Index) {
        let book = Book::new();
        let mut members = enter(&book, count);
        let pool = Pool::try_new(config(size, seed), members.clone(), 1).unwrap();
        let before = reached(&pool, size);
        prop_assert_eq!(before.len(), count.min(size as usize));
        let check = |after: BTreeSet<usize>, what: &str| {
            let (gone, new) = (before.difference(&after).count(), after.difference(&before).count());
            prop_assert!(gone <= 1 && new <= 1, "{what}: {before:?}, then {after:?}");
            prop_assert_eq!(after.len(), (size as usize).min(if what == "joins" { count + 1 } else { count - 1 }));
            Ok(())
        };
        let changed = which.index(count);
        for health in [Health::Draining, Health::NotReady] {
            members[changed].set_health(health, Instant::now());
            check(reached(&pool, size), "fails")?;
        }
        members[changed].set_health(Health::Usable, Instant::now());
        prop_assert_eq!(&reached(&pool, size), &before);
        let joined = [members.clone(), vec![book.enter(spec(count), Instant::now())]].concat();
        check(reached(&Pool::try_new(config(size, seed), joined, 1).unwrap(), size), "joins")?;
        members.remove(changed);
        check(reached(&Pool::try_new(config(size, seed), members, 1).unwrap(), size), "leaves")?;
    }
}

#[test]
fn sidecars_use_different_endpoints_and_together_all_of_them() {
    let members = enter(&Book::new(), 60);
    let mut users = [0u32; 60];
    for sidecar in 0..300 {
        let seed = key_hash(format!("shop/checkout-{sidecar}").as_bytes());
        reached(&Pool::try_new(config(10, seed), members.clone(), 1).unwrap(), 10)
            .into_iter()
            .for_each(|member| users[member] += 1);
    }
    // 300 sidecars × 10 of 60: binomial with mean 50 and deviation 6.5.
    assert!(users.iter().all(|users| (25..=75).contains(users)), "{users:?}");
    assert_eq!(users.iter().sum::<u32>(), 3_000);
}

#[test]
fn a_subset_of_more_than_there_are_is_all() {
    let members = enter(&Book::new(), 5);
    assert_eq!(reached(&Pool::try_new(config(20, 1), members, 1).unwrap(), 20).len(), 5);
}
