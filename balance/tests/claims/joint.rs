//! Joint load: an endpoint in several pools has one load and as many verdicts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{Book, Ejection, EndpointSpec, Loads, Outcome, PickArgs, SmallRng};

use crate::world::{enter, least, number, pool, spec};

#[test]
fn work_given_through_one_pool_counts_in_all() {
    let loads = Arc::new(Loads::new());
    let (one, two) = (Book::sharing(&loads), Book::sharing(&loads));
    let (first, second) = (pool(least(0), &enter(&one, 3)), pool(least(0), &enter(&two, 3)));
    let now = Instant::now();
    let mut rng = SmallRng::new(1);
    let held: Vec<_> = (0..2).map(|_| first.pick(PickArgs::default(), now, &mut rng).unwrap().lease).collect();
    let busy: Vec<usize> = held.iter().map(|lease| number(lease.endpoint())).collect();
    for _ in 0..50 {
        let other = second.pick(PickArgs::default(), now, &mut rng).unwrap().lease;
        assert!(!busy.contains(&number(other.endpoint())), "{busy:?}");
    }
    drop(held);
    assert!(second.members().iter().all(|member| member.in_flight() == 0));
}

#[test]
fn response_times_are_joint_and_verdicts_are_not() {
    let loads = Arc::new(Loads::new());
    let (one, two) = (Book::sharing(&loads), Book::sharing(&loads));
    let (mine, others) = (enter(&one, 2), enter(&two, 2));
    let first = pool(least(0), &mine);
    let now = Instant::now();
    let mut lease = first.pick(PickArgs::default(), now, &mut SmallRng::new(1)).unwrap().lease;
    lease.answered(now + Duration::from_millis(70));
    let at = number(lease.endpoint());
    assert_eq!(others[at].response_time(now + Duration::from_millis(70)), Some(Duration::from_millis(70)));
    assert!((0..5).any(|_| first.judge(&mine[at], Outcome::ConnectError, now).is_some()));
    assert!(matches!(mine[at].ejection(), Ejection::Open { .. }));
    assert_eq!(others[at].ejection(), Ejection::Closed);
}

#[test]
fn books_without_common_loads_and_identities_at_another_address_share_nothing() {
    let loads = Arc::new(Loads::new());
    let now = Instant::now();
    let hold = |book: &Book, spec: EndpointSpec| {
        let members = [book.enter(spec, now)];
        let lease = pool(least(0), &members).pick(PickArgs::default(), now, &mut SmallRng::new(1)).unwrap().lease;
        (members, lease)
    };
    let (_here, _lease) = hold(&Book::sharing(&loads), spec(1));
    let elsewhere = EndpointSpec { address: "10.9.9.9:80".parse().unwrap(), ..spec(1) };
    assert_eq!(Book::sharing(&loads).enter(elsewhere.clone(), now).in_flight(), 0);
    assert_eq!(Book::new().enter(spec(1), now).in_flight(), 0);
    // Both pools hear of the move, one after the other: it is one new place for both.
    let (moved, _lease) = hold(&Book::sharing(&loads), elsewhere.clone());
    assert_eq!(Book::sharing(&loads).enter(elsewhere, now).in_flight(), moved[0].in_flight());
}
