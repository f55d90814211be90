//! Groups by priority: backups only when too few primaries are usable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, EndpointSpec, Health, PickArgs, PickReason, Pool, SmallRng};

use crate::world::{algorithms, config, least, number, spec};

/// So many of each priority, in order.
fn groups(book: &Book, sizes: &[(usize, u8)]) -> Vec<Arc<Endpoint>> {
    let priorities = sizes.iter().flat_map(|&(size, priority)| std::iter::repeat_n(priority, size));
    priorities.enumerate().map(|(at, priority)| book.enter(EndpointSpec { priority, ..spec(at) }, Instant::now())).collect()
}

/// Who is picked, and why last.
fn picked(pool: &Pool) -> (BTreeSet<usize>, Option<PickReason>) {
    let mut rng = SmallRng::new(1);
    let mut reason = None;
    let seen = (0..400u64).map(|n| {
        let args = PickArgs { key: Some(n << 55), ..PickArgs::default() };
        let pick = pool.pick(args, Instant::now(), &mut rng).unwrap();
        reason = Some(pick.reason);
        number(pick.lease.endpoint())
    });
    (seen.collect(), reason)
}

fn down(members: &[Arc<Endpoint>]) {
    members.iter().for_each(|member| member.set_health(Health::Down, Instant::now()));
}

#[test]
fn backups_get_nothing_while_enough_primaries_are_usable_whatever_the_algorithm() {
    for algorithm in algorithms() {
        let book = Book::new();
        let members = groups(&book, &[(4, 0), (2, 1)]);
        let pool = Pool::try_new(config(algorithm.clone()), members.clone(), 1).unwrap();
        down(&members[..2]);
        let (seen, _) = picked(&pool);
        assert!(seen.is_subset(&BTreeSet::from([2, 3])), "{algorithm:?}, half of them is enough: {seen:?}");
        down(&members[2..3]);
        let (seen, reason) = picked(&pool);
        // Packing fills one before it goes to the next.
        let spread = seen.len() > 1 || matches!(algorithm, Algorithm::Packing { .. });
        assert!(seen.is_subset(&BTreeSet::from([3, 4, 5])) && spread, "{algorithm:?}: {seen:?}");
        assert_ne!(reason, Some(PickReason::Panic), "{algorithm:?}");
        members[0].set_health(Health::Usable, Instant::now());
        let (seen, _) = picked(&pool);
        assert!(seen.is_subset(&BTreeSet::from([0, 3])), "{algorithm:?}, and back: {seen:?}");
    }
}

#[test]
fn groups_are_added_in_order_and_it_is_panic_only_when_none_is_well() {
    let book = Book::new();
    let members = groups(&book, &[(4, 0), (1, 1), (1, 3)]);
    let pool = Pool::try_new(config(least(0)), members.clone(), 1).unwrap();
    down(&members[..3]);
    assert_eq!(picked(&pool).0, BTreeSet::from([3, 4]));
    down(&members[3..4]);
    assert_eq!(picked(&pool).0, BTreeSet::from([4, 5]));
    down(&members[4..5]);
    let (seen, reason) = picked(&pool);
    assert_eq!(seen, BTreeSet::from([5]), "less than half of 4, but all of its own group");
    assert_ne!(reason, Some(PickReason::Panic));
    down(&members[5..]);
    assert_eq!(picked(&pool), (BTreeSet::from_iter(0..6), Some(PickReason::Panic)));
}

#[test]
fn with_threshold_0_backups_serve_when_no_primary_does() {
    let book = Book::new();
    let members = groups(&book, &[(4, 2), (2, 5)]);
    let pool = Pool::try_new(Config { panic_threshold: 0, ..config(least(0)) }, members.clone(), 1).unwrap();
    down(&members[..3]);
    assert_eq!(picked(&pool).0, BTreeSet::from([3]));
    down(&members[3..4]);
    assert_eq!(picked(&pool).0, BTreeSet::from([4, 5]));
}

#[test]
fn a_change_of_priority_takes_effect_at_once() {
    let book = Book::new();
    let members = groups(&book, &[(2, 0)]);
    let pool = Pool::try_new(config(least(0)), members.clone(), 1).unwrap();
    assert_eq!(picked(&pool).0.len(), 2);
    members[1].set_priority(1);
    assert_eq!(picked(&pool).0, BTreeSet::from([0]));
}
