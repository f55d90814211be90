//! The limit of an endpoint: what it does to picks, and what it leaves alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Book, Config, Endpoint, EndpointSpec, Health, InFlight, NoEndpoint, Outcome, Passive, Pick, PickArgs, PickReason, Pool,
    SmallRng,
};

use crate::world::{algorithms, config, enter, least, passive, ring, spec};

fn limited(base: Config, limit: u32, members: &[Arc<Endpoint>]) -> Pool {
    Pool::try_new(Config { endpoint_limit: Some(limit), ..base }, members.to_vec(), 1).unwrap()
}

/// Picks until nobody has room; what is held then, and why it ended.
fn fill(pool: &Pool, args: PickArgs<'_>) -> (Vec<InFlight>, NoEndpoint) {
    let (mut held, mut rng) = (Vec::new(), SmallRng::new(1));
    loop {
        match pool.pick(args, Instant::now(), &mut rng) {
            Ok(Pick { lease, .. }) => held.push(lease),
            Err(none) => return (held, none),
        }
    }
}

#[test]
fn each_algorithm_fills_every_endpoint_to_its_limit_and_no_further() {
    for algorithm in algorithms() {
        for count in [1, 2, 7] {
            let members = enter(&Book::new(), count);
            let pool = limited(config(algorithm.clone()), 3, &members);
            for key in [None, Some(9)] {
                let (mut held, end) = fill(&pool, PickArgs { key, ..PickArgs::default() });
                assert_eq!((held.len(), end), (3 * count, NoEndpoint::Saturated), "{algorithm:?}");
                assert!(members.iter().all(|member| member.in_flight() == 3), "{algorithm:?}");
                let freed = held.swap_remove(count);
                let endpoint = Arc::clone(freed.endpoint());
                drop(freed);
                let again = pool.pick(PickArgs { key, ..PickArgs::default() }, Instant::now(), &mut SmallRng::new(2)).unwrap();
                assert!(Arc::ptr_eq(again.lease.endpoint(), &endpoint), "{algorithm:?}: the one with room");
            }
        }
    }
}

#[test]
fn work_of_another_pool_counts_towards_the_limit() {
    let members = enter(&Book::new(), 2);
    let (unlimited, limited) = (crate::world::pool(least(2), &members), limited(config(least(2)), 2, &members));
    let mut rng = SmallRng::new(1);
    let held: Vec<_> = (0..6).map(|_| unlimited.pick(PickArgs::default(), Instant::now(), &mut rng).unwrap()).collect();
    assert_eq!(limited.pick(PickArgs::default(), Instant::now(), &mut rng).err(), Some(NoEndpoint::Saturated));
    drop(held);
    assert_eq!(fill(&limited, PickArgs::default()).0.len(), 4);
}

#[test]
fn a_key_overflows_along_its_owners_and_comes_home_when_there_is_room() {
    for factor in [None, Some(125)] {
        let members = enter(&Book::new(), 5);
        let pool = limited(config(ring(factor)), 1, &members);
        let args = PickArgs { key: Some(77), ..PickArgs::default() };
        let owners: Vec<_> = pool.owners(77).cloned().collect();
        let mut rng = SmallRng::new(1);
        let mut held = Vec::new();
        for (at, owner) in owners.iter().enumerate() {
            let pick = pool.pick(args, Instant::now(), &mut rng).unwrap();
            let reason = if at == 0 { PickReason::Owner } else { PickReason::Overflow };
            assert_eq!((pick.lease.endpoint().id(), pick.reason), (owner.id(), reason), "{factor:?}");
            held.push(pick.lease);
        }
        assert_eq!(pool.pick(args, Instant::now(), &mut rng).err(), Some(NoEndpoint::Saturated));
        held.remove(0);
        let home = pool.pick(args, Instant::now(), &mut rng).unwrap();
        assert_eq!((home.lease.endpoint().id(), home.reason), (owners[0].id(), PickReason::Owner));
    }
}

#[test]
fn primaries_at_their_limit_are_not_unhealthy_so_backups_stay_idle() {
    let book = Book::new();
    let group = |number, priority| book.enter(EndpointSpec { priority, ..spec(number) }, Instant::now());
    let members = [group(0, 0), group(1, 0), group(2, 1)];
    let pool = limited(config(least(2)), 2, &members);
    let (_held, end) = fill(&pool, PickArgs::default());
    assert_eq!((end, members[2].in_flight(), pool.is_panicking()), (NoEndpoint::Saturated, 0, false));
    assert!(pool.stands(Instant::now())[..2].iter().all(|stand| stand.candidate), "at its limit it is a candidate all the same");
}

#[test]
fn the_own_zone_at_its_limit_spills_into_others() {
    let book = Book::new();
    let in_zone = |number, zone: &str| book.enter(EndpointSpec { zone: Some(zone.into()), ..spec(number) }, Instant::now());
    let members = [in_zone(0, "a"), in_zone(1, "b")];
    let pool = limited(Config { zone: Some("a".into()), ..config(least(2)) }, 4, &members);
    let (held, end) = fill(&pool, PickArgs::default());
    assert_eq!((held.len(), end), (8, NoEndpoint::Saturated));
}

#[test]
fn a_subset_at_its_limit_lets_nobody_else_in() {
    let members = enter(&Book::new(), 9);
    let subset = Some(evenkeel_balance::Subset { size: 3, seed: 5 });
    let pool = limited(Config { subset, ..config(least(2)) }, 2, &members);
    let (held, end) = fill(&pool, PickArgs::default());
    assert_eq!((held.len(), end), (6, NoEndpoint::Saturated));
    assert_eq!(members.iter().filter(|member| member.in_flight() > 0).count(), 3);
}

#[test]
fn a_retry_tells_tried_ones_from_full_ones() {
    let members = enter(&Book::new(), 2);
    let pool = limited(config(least(2)), 1, &members);
    let (held, _) = fill(&pool, PickArgs::default());
    let pick = |tried: &[Arc<Endpoint>]| {
        pool.pick(PickArgs { tried, ..PickArgs::default() }, Instant::now(), &mut SmallRng::new(1)).err()
    };
    assert_eq!(pick(&members[..1]), Some(NoEndpoint::Saturated));
    assert_eq!(pick(&members), Some(NoEndpoint::AllTried));
    drop(held);
    members.iter().for_each(|member| member.set_health(Health::NotReady, Instant::now()));
    assert_eq!(pick(&[]), Some(NoEndpoint::NoneUsable));
}

#[test]
fn an_ejected_endpoint_at_its_limit_gets_no_probing_request() {
    let members = enter(&Book::new(), 2);
    let base = Config { passive: Some(Passive { consecutive_errors: 1, ..passive() }), ..config(least(2)) };
    let pool = limited(base, 1, &members);
    let (mut held, now) = (fill(&pool, PickArgs::default()).0, Instant::now());
    assert!(pool.judge(&members[0], Outcome::ConnectError, now).is_some());
    let later = now + Duration::from_secs(60);
    let pick = || pool.pick(PickArgs::default(), later, &mut SmallRng::new(1));
    assert_eq!(pick().err(), Some(NoEndpoint::Saturated));
    held.retain(|lease| !Arc::ptr_eq(lease.endpoint(), &members[0]));
    let probe = pick().unwrap();
    assert_eq!((probe.reason, probe.lease.endpoint().id()), (PickReason::Probe, members[0].id()));
}
