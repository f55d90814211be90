//! The ring: what is its own beside the claims on all tables.

use evenkeel_balance::Book;

use crate::tables::{key, pick};
use crate::world::{enter, number, pool, ring};

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
