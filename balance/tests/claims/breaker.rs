//! The passive breaker: rows, ejections, probing requests, caps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, Config, EjectReason, Ejection, Endpoint, Health, Outcome, Passive, PickArgs, PickReason, Pool, SmallRng,
    Transition,
};

use crate::world::{algorithms, config, enter, least, number, passive, pool};

struct World {
    pool: Pool,
    members: Vec<Arc<Endpoint>>,
    now: Instant,
    _book: Book,
}

impl World {
    fn new(count: usize) -> Self {
        Self::with(config(least(0)), count)
    }

    fn with(config: Config, count: usize) -> Self {
        let book = Book::new();
        let members = enter(&book, count);
        Self { pool: Pool::try_new(config, members.clone(), 1).unwrap(), members, now: Instant::now(), _book: book }
    }

    fn report(&self, member: usize, outcome: Outcome) -> Option<Transition> {
        self.pool.judge(&self.members[member], outcome, self.now)
    }

    /// Five errors in a row; what the last one changed.
    fn fail(&self, member: usize) -> Option<Transition> {
        (0..5).map(|_| self.report(member, Outcome::ConnectError)).last().unwrap()
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
    }

    fn pick(&self) -> evenkeel_balance::Pick {
        self.pool.pick(PickArgs::default(), self.now, &mut SmallRng::new(7)).unwrap()
    }

    /// How long the ejection lasts from now.
    fn lasts(&self, transition: Option<Transition>) -> Duration {
        let Some(Transition::Ejected { until, .. }) = transition else { panic!("not ejected: {transition:?}") };
        until - self.now
    }
}

fn between(duration: Duration, low: f64, high: f64) -> bool {
    (low..=high).contains(&duration.as_secs_f64())
}

#[test]
fn five_errors_in_a_row_eject_and_a_success_resets_the_row() {
    let world = World::new(4);
    for _ in 0..3 {
        (0..4).for_each(|_| assert_eq!(world.report(0, Outcome::GatewayError), None));
        assert_eq!(world.report(0, Outcome::Success), None);
    }
    (0..4).for_each(|_| assert_eq!(world.report(0, Outcome::ServerError), None));
    assert_eq!(world.report(0, Outcome::Cancelled), None);
    let Some(Transition::Ejected { reason, .. }) = world.report(0, Outcome::GatewayError) else { panic!("not ejected") };
    assert_eq!(reason, EjectReason::GatewayErrors);
    assert!((0..100).all(|_| number(world.pick().lease.endpoint()) != 0));
}

#[test]
fn a_row_that_takes_longer_than_the_window_does_not_eject() {
    let mut world = World::new(4);
    (0..4).for_each(|_| assert_eq!(world.report(0, Outcome::ConnectError), None));
    world.wait(Duration::from_secs(61));
    (0..4).for_each(|_| assert_eq!(world.report(0, Outcome::ConnectError), None));
    assert!(world.report(0, Outcome::ConnectError).is_some());
}

#[test]
fn an_open_breaker_gets_one_probing_request_and_two_good_ones_close_it() {
    for algorithm in algorithms() {
        let mut world = World::with(config(algorithm.clone()), 2);
        assert!(between(world.lasts(world.fail(0)), 0.8, 1.0));
        let pick = |world: &World, n: u64| {
            let args = PickArgs { key: Some(n << 55), tried: &[], class: None };
            world.pool.pick(args, world.now, &mut SmallRng::new(n)).unwrap()
        };
        assert!((0..100).all(|n| number(pick(&world, n).lease.endpoint()) == 1));
        world.wait(Duration::from_secs(1));
        for good in 0..2 {
            let probe = (0..200).map(|n| pick(&world, n)).find(|pick| number(pick.lease.endpoint()) == 0).unwrap();
            assert_eq!(probe.reason, PickReason::Probe, "{algorithm:?}");
            assert_eq!(world.members[0].ejection(), Ejection::Probing);
            assert!((0..100).all(|n| number(pick(&world, n).lease.endpoint()) == 1), "one at a time");
            let change = world.report(0, Outcome::Success);
            assert_eq!(change, (good == 1).then_some(Transition::Restored));
            world.wait(Duration::from_millis(1));
        }
        assert_eq!(world.members[0].ejection(), Ejection::Closed);
        assert!((0..200).any(|n| number(pick(&world, n).lease.endpoint()) == 0));
    }
}

#[test]
fn each_failed_probe_doubles_the_ejection_up_to_the_longest() {
    let mut world = World::new(4);
    let mut expected = 1.0;
    let mut change = world.fail(0);
    for _ in 0..9 {
        let lasts = world.lasts(change);
        assert!(between(lasts, 0.8 * expected, expected), "{lasts:?} of {expected}");
        world.wait(lasts);
        let probe = world.pick();
        assert_eq!((number(probe.lease.endpoint()), probe.reason), (0, PickReason::Probe));
        change = world.report(0, Outcome::GatewayError);
        assert!(matches!(change, Some(Transition::Ejected { reason: EjectReason::ProbeFailed, .. })));
        expected = f64::min(expected * 2.0, 60.0);
    }
}

#[test]
fn ejections_of_different_sidecars_end_at_different_times() {
    let book = Book::new();
    let now = Instant::now();
    let lasts: std::collections::BTreeSet<_> = (0..50)
        .map(|seed| {
            let members = vec![
                book.enter(crate::world::spec(seed), Instant::now()),
                book.enter(crate::world::spec(seed + 50), Instant::now()),
            ];
            let pool = Pool::try_new(config(least(0)), members.clone(), seed as u64).unwrap();
            let change = (0..5).find_map(|_| pool.judge(&members[0], Outcome::ConnectError, now));
            let Some(Transition::Ejected { until, .. }) = change else { panic!("not ejected") };
            until - now
        })
        .collect();
    assert!(lasts.len() > 30, "{lasts:?}");
}

#[test]
fn flapping_is_ejected_for_longer_each_time_until_a_quiet_window() {
    let mut world = World::new(4);
    let flap = |world: &mut World| {
        let lasts = world.lasts(world.fail(0));
        world.wait(lasts);
        for _ in 0..2 {
            let probe = world.pick();
            assert_eq!(probe.reason, PickReason::Probe);
            world.report(0, Outcome::Success);
            world.wait(Duration::from_millis(1));
        }
        assert_eq!(world.members[0].ejection(), Ejection::Closed);
        lasts
    };
    assert!(between(flap(&mut world), 0.8, 1.0));
    assert!(between(flap(&mut world), 1.6, 2.0));
    assert!(between(flap(&mut world), 3.2, 4.0));
    world.wait(Duration::from_secs(61));
    assert!(between(flap(&mut world), 0.8, 1.0));
}

#[test]
fn a_probing_request_that_ends_without_a_word_gives_its_turn_back() {
    let mut world = World::new(4);
    world.fail(0);
    world.wait(Duration::from_secs(1));
    let probe = world.pick();
    assert_eq!(probe.reason, PickReason::Probe);
    world.report(0, Outcome::Cancelled);
    assert_eq!(world.pick().reason, PickReason::LeastLoaded);
    drop(probe);
    assert_eq!(world.pick().reason, PickReason::Probe);
}

#[test]
fn an_answered_probe_that_lives_on_does_not_disturb_the_next() {
    let mut world = World::new(4);
    world.fail(0);
    world.wait(Duration::from_secs(1));
    let first = world.pick();
    // The clock hasn't moved between the answer and the second claim: the words must differ all the same.
    world.report(0, Outcome::Success);
    world.wait(Duration::from_nanos(1));
    let second = world.pick();
    assert_eq!((first.reason, second.reason), (PickReason::Probe, PickReason::Probe));
    drop(first);
    assert_eq!(world.members[0].ejection(), Ejection::Probing);
    assert_eq!(world.report(0, Outcome::Success), Some(Transition::Restored));
}

#[test]
fn answers_from_before_the_ejection_change_nothing() {
    let world = World::new(4);
    world.fail(0);
    (0..3).for_each(|_| assert_eq!(world.report(0, Outcome::Success), None));
    assert_eq!(world.fail(0), None);
    assert!(matches!(world.members[0].ejection(), Ejection::Open { .. }));
}

#[test]
fn ejection_never_takes_the_last_endpoint() {
    let passive = Some(Passive { max_ejection_percent: 100, ..passive() });
    let world = World::with(Config { panic_threshold: 0, passive, ..Config::new(least(0)) }, 3);
    assert!(world.fail(0).is_some() && world.fail(1).is_some());
    (0..10).for_each(|_| assert_eq!(world.fail(2), None));
    assert_eq!(World::new(1).fail(0), None);

    // A down one beside it is no other.
    let world = World::with(Config { panic_threshold: 0, passive, ..Config::new(least(0)) }, 2);
    world.members[1].set_health(Health::Down, Instant::now());
    assert_eq!(world.fail(0), None);
}

#[test]
fn the_cap_holds_and_one_is_always_allowed_of_two() {
    let world = World::new(5);
    let out = (0..5).filter(|&member| world.fail(member).is_some()).count();
    assert_eq!(out, 2, "50 % of 5");
    let passive = Some(Passive { max_ejection_percent: 0, ..passive() });
    let world = World::with(Config { passive, ..config(least(0)) }, 2);
    assert_eq!((0..2).filter(|&member| world.fail(member).is_some()).count(), 1);
}

#[test]
fn a_row_that_the_cap_spared_ejects_once_there_is_room() {
    let mut world = World::new(2);
    assert!(world.fail(0).is_some());
    assert_eq!(world.fail(1), None);
    world.wait(Duration::from_secs(1));
    for _ in 0..2 {
        let _probe = world.pick();
        world.report(0, Outcome::Success);
        world.wait(Duration::from_millis(1));
    }
    assert!(world.fail(1).is_some());
}

#[test]
fn ejected_ones_count_as_unusable_for_panic_and_good_answers_in_panic_restore_them() {
    let mut world = World::new(4);
    world.fail(0);
    world.fail(1);
    assert!(!world.pool.is_panicking());
    world.members[2].set_health(Health::Down, Instant::now());
    assert!(world.pool.is_panicking());
    world.wait(Duration::from_secs(1));
    let mut rng = SmallRng::new(7);
    for _ in 0..200 {
        let picked = world.pool.pick(PickArgs::default(), world.now, &mut rng).unwrap();
        if world.pool.is_panicking() {
            assert_eq!(picked.reason, PickReason::Panic);
        }
        world.pool.judge(picked.lease.endpoint(), Outcome::Success, world.now);
        world.now += Duration::from_millis(1);
    }
    assert!(world.members.iter().all(|member| member.ejection() == Ejection::Closed));
}

#[test]
fn ejection_and_restoration_alone_move_a_pool_into_panic_and_out() {
    let mut world = World::with(Config { panic_threshold: 60, ..config(least(0)) }, 2);
    assert_eq!(world.pick().reason, PickReason::LeastLoaded);
    world.fail(0);
    assert!(world.pool.is_panicking());
    for _ in 0..2 {
        world.wait(Duration::from_secs(1));
        let mut rng = SmallRng::new(7);
        let leases: Vec<_> = (0..2).map(|_| world.pool.pick(PickArgs::default(), world.now, &mut rng).unwrap()).collect();
        assert!(leases.iter().all(|pick| pick.reason == PickReason::Panic));
        world.report(0, Outcome::Success);
    }
    assert!(!world.pool.is_panicking());
    assert_eq!(world.pick().reason, PickReason::LeastLoaded);
}

#[test]
fn an_error_weighs_until_a_good_answer_or_for_one_base_ejection() {
    let mut world = World::new(2);
    let mut rng = SmallRng::new(7);
    let mut wins = |world: &World| {
        (0..100)
            .filter(|_| number(world.pool.pick(PickArgs::default(), world.now, &mut rng).unwrap().lease.endpoint()) == 0)
            .count()
    };
    world.report(0, Outcome::GatewayError);
    assert_eq!(wins(&world), 0);
    world.report(0, Outcome::Success);
    assert!(wins(&world) > 30);
    world.report(0, Outcome::GatewayError);
    assert_eq!(wins(&world), 0);
    world.wait(Duration::from_secs(1));
    assert!(wins(&world) > 30);
}

#[test]
fn ejections_alone_never_empty_a_pool() {
    let world = World::with(Config { panic_threshold: 0, ..config(least(0)) }, 2);
    world.fail(0);
    // Then the operator takes the other one.
    world.members[1].set_health(Health::Down, Instant::now());
    let picked = world.pick();
    assert_eq!((number(picked.lease.endpoint()), picked.reason), (0, PickReason::Panic));
}

#[test]
fn a_retry_is_no_guinea_pig_unless_nothing_else_is_left() {
    let mut world = World::new(3);
    world.fail(0);
    world.wait(Duration::from_secs(1));
    let retry = |world: &World, tried: &[Arc<Endpoint>]| {
        world.pool.pick(PickArgs { key: None, tried, class: None }, world.now, &mut SmallRng::new(1)).unwrap()
    };
    for _ in 0..50 {
        assert_eq!(number(retry(&world, &world.members[1..2]).lease.endpoint()), 2);
    }
    let last = retry(&world, &world.members[1..]);
    assert_eq!((number(last.lease.endpoint()), last.reason), (0, PickReason::Probe));
}

#[test]
fn a_pool_without_passive_checks_neither_ejects_nor_heeds_ejections() {
    let world = World::new(2);
    world.fail(0);
    let other = Pool::try_new(Config { passive: None, ..config(Algorithm::RoundRobin) }, world.members.clone(), 1).unwrap();
    let seen: Vec<_> = (0..2)
        .map(|_| number(other.pick(PickArgs::default(), world.now, &mut SmallRng::new(1)).unwrap().lease.endpoint()))
        .collect();
    assert!(seen.contains(&0) && seen.contains(&1));
    (0..20).for_each(|_| assert_eq!(other.judge(&world.members[1], Outcome::ConnectError, world.now), None));
    assert_eq!(world.members[1].ejection(), Ejection::Closed);
}

#[test]
fn absurd_durations_do_not_overflow_the_clock() {
    let passive = Passive { base_ejection: Duration::MAX, max_ejection: Duration::MAX, ..passive() };
    let world = World::with(Config { passive: Some(passive), ..config(least(0)) }, 2);
    assert!(between(world.lasts(world.fail(0)), 0.8 * 86_400.0, 86_400.0));
    let _ = pool(least(2), &world.members);
}
