//! Packing: full in canonical order, never over the limit while another has room.

use std::time::Instant;

use evenkeel_balance::{Algorithm, Book, EndpointSpec, Health, PickArgs, PickReason, SmallRng};

use crate::world::{enter, number, pool, spec};

#[test]
fn endpoints_are_filled_in_order_and_the_last_stay_idle() {
    let book = Book::new();
    let members = enter(&book, 4);
    let pool = pool(Algorithm::Packing { limit: 3 }, &members);
    let mut rng = SmallRng::new(1);
    let mut pick = || pool.pick(PickArgs::default(), Instant::now(), &mut rng).unwrap();
    let mut leases: Vec<_> = (0..7).map(|_| pick().lease).collect();
    let order: Vec<_> = leases.iter().map(|lease| number(lease.endpoint())).collect();
    assert_eq!(order, [0, 0, 0, 1, 1, 1, 2]);
    // Room in front is used first.
    drop(leases.remove(1));
    leases.push(pick().lease);
    assert_eq!(members.iter().map(|member| member.in_flight()).collect::<Vec<_>>(), [3, 3, 1, 0]);
    leases.extend((0..5).map(|_| pick().lease));
    // All are full: over the limit, but evenly.
    let over: Vec<_> = (0..4).map(|_| pick()).collect();
    assert!(over.iter().all(|pick| pick.reason == PickReason::LeastLoaded));
    assert!(members.iter().all(|member| member.in_flight() == 4), "{members:?}");
}

#[test]
fn room_goes_by_weight_and_is_at_least_one() {
    let book = Book::new();
    let weights = [200, 50, 1, 100];
    let members: Vec<_> = (0..4).map(|n| book.enter(EndpointSpec { weight: weights[n], ..spec(n) }, Instant::now())).collect();
    let pool = pool(Algorithm::Packing { limit: 4 }, &members);
    let mut rng = SmallRng::new(1);
    let leases: Vec<_> = (0..15).map(|_| pool.pick(PickArgs::default(), Instant::now(), &mut rng).unwrap().lease).collect();
    assert_eq!(members.iter().map(|member| member.in_flight()).collect::<Vec<_>>(), [8, 2, 1, 4]);
    drop(leases);
}

#[test]
fn whoever_is_out_is_passed_over() {
    let book = Book::new();
    let members = enter(&book, 3);
    members[0].set_health(Health::Draining, Instant::now());
    let pool = pool(Algorithm::Packing { limit: 2 }, &members);
    let mut rng = SmallRng::new(1);
    let leases: Vec<_> = (0..3).map(|_| pool.pick(PickArgs::default(), Instant::now(), &mut rng).unwrap().lease).collect();
    assert_eq!(leases.iter().map(|lease| number(lease.endpoint())).collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn racing_workers_never_pass_the_limit_together() {
    let book = Book::new();
    let members = enter(&book, 8);
    let pool = pool(Algorithm::Packing { limit: 1 }, &members);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (pool, members) = (&pool, &members);
            scope.spawn(move || {
                let mut rng = SmallRng::new(worker);
                let mut leases = std::collections::VecDeque::new();
                for _ in 0..100_000 {
                    leases.push_back(pool.pick(PickArgs::default(), Instant::now(), &mut rng).unwrap().lease);
                    // At most six in flight on eight places, and both want the first that is free.
                    assert!(members.iter().all(|member| member.in_flight() <= 1));
                    if leases.len() > 2 {
                        leases.pop_front();
                    }
                }
            });
        }
    });
}
