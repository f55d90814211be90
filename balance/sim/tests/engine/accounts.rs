//! Every request ends once, counts come back to nothing, and a seed says it all.

use std::time::Duration;

use evenkeel_balance::Algorithm;
use evenkeel_sim::arm::Arm;
use evenkeel_sim::claim::{Seeds, Summary};
use evenkeel_sim::law::Law;
use evenkeel_sim::outcome::End;
use evenkeel_sim::plain::Rule;
use evenkeel_sim::scenario::{Antagonist, Arrivals, Change, Conduct, Event, Network, Scenario, ServerSpec, Target};
use evenkeel_sim::world::run;

/// Everything at once: zones, antagonists of both kinds, a hung, a failing and a slow server, churn, timeouts and retries.
fn trouble() -> Scenario {
    let antagonist = |of| Some(Antagonist { pause: (0.2, 0.4), leaves: vec![(0.5, (0.4, 0.6)), (0.5, (1.0, 2.0))], of });
    let servers = (0..8).map(|n| ServerSpec {
        slots: 3,
        zone: Some(n % 2),
        antagonist: antagonist(if n < 4 { Target::Speed } else { Target::Slots }),
        present: n != 7,
        ..ServerSpec::default()
    });
    let mut scenario = Scenario::new(5, servers.collect(), 500.0, Law::Exponential { mean: 0.03 });
    for (number, balancer) in scenario.balancers.iter_mut().enumerate() {
        balancer.zone = Some(number as u32 % 2);
    }
    let change = |at, server, what| Change { at, server, what };
    scenario.changes = vec![
        change(1.0, 0, Event::Conduct(Conduct::Hung)),
        change(1.5, 1, Event::Conduct(Conduct::Failing(Duration::from_millis(1)))),
        change(2.0, 2, Event::Takes(Some(Law::Constant(0.4)))),
        change(2.5, 7, Event::Join),
        change(3.0, 3, Event::Leave),
        change(4.0, 0, Event::Conduct(Conduct::Serving)),
        change(4.0, 1, Event::Speed(0.5)),
    ];
    scenario.timeout = Some(Duration::from_millis(250));
    scenario.retries = 2;
    scenario.network = Network { local: Duration::from_micros(200), across: Duration::from_millis(2) };
    scenario.length = 6.0;
    scenario
}

fn arms() -> Vec<Arm> {
    let rules = [
        Rule::RoundRobin,
        Rule::Random,
        Rule::TwoChoices,
        Rule::PeakEwma(0),
        Rule::PeakEwma(2),
        Rule::C3,
        Rule::WeightedRoundRobin,
    ];
    let mut arms: Vec<Arm> = rules.map(Arm::plain).into();
    arms.push(Arm::clairvoyant());
    arms.push(Arm::ours("round robin", Algorithm::RoundRobin));
    arms.push(Arm::ours("least connections", Algorithm::LeastConnections { choice_count: 2 }));
    arms
}

#[test]
fn every_request_ends_once_and_leaves_no_count_behind() {
    let scenario = trouble();
    for arm in arms() {
        let outcome = run(&scenario, &arm, 11);
        assert!(outcome.arrived > 2_500, "{}", outcome.arrived);
        assert_eq!(outcome.ended, outcome.arrived, "{}", arm.name);
        assert_eq!(outcome.records.len() as u64, outcome.arrived, "{}", arm.name);
        assert_eq!(outcome.left_in_flight, 0, "{}", arm.name);
        let attempts: u64 = outcome.records.iter().map(|record| u64::from(record.attempts)).sum();
        assert_eq!(attempts, outcome.attempts.iter().sum::<u64>(), "{}", arm.name);
        assert!(outcome.records.iter().all(|record| record.attempts <= 3 && record.end != End::Unanswered), "{}", arm.name);
    }
}

#[test]
fn arms_of_a_seed_meet_the_same_requests() {
    let scenario = trouble();
    let arrivals = |arm: &Arm| {
        let mut arrivals: Vec<(u64, u32)> =
            run(&scenario, arm, 5).records.iter().map(|one| (one.arrived, one.balancer)).collect();
        arrivals.sort_unstable();
        arrivals
    };
    let first = arrivals(&arms()[0]);
    for arm in &arms()[1..] {
        assert!(arrivals(arm) == first, "{}", arm.name);
    }
}

#[test]
fn a_seed_says_it_all_whatever_the_number_of_jobs() {
    let figures = |jobs| Seeds::new(6, jobs, "test").grid(&arms(), |arm, seed| Summary::of(&run(&trouble(), arm, seed)));
    let alone = figures(1);
    assert_eq!(alone, figures(4));
    assert_ne!(alone[0][0], alone[0][1], "seeds differ");
}

#[test]
fn a_timeout_ends_an_attempt_once() {
    let mut scenario = Scenario::new(1, vec![ServerSpec::default(); 2], 40.0, Law::Constant(0.01));
    scenario.changes = (0..2).map(|server| Change { at: 0.0, server, what: Event::Conduct(Conduct::Hung) }).collect();
    scenario.timeout = Some(Duration::from_millis(100));
    scenario.retries = 1;
    let outcome = run(&scenario, &Arm::plain(Rule::RoundRobin), 1);
    assert!(outcome.records.iter().all(|record| record.end == End::TimedOut && record.attempts == 2));
    // Two attempts of 100 ms each, one after the other, on both servers.
    assert!(outcome.records.iter().all(|record| record.latency == 200_000_000));
    assert_eq!(outcome.attempts.iter().sum::<u64>(), 2 * outcome.arrived);
}

#[test]
fn without_a_timeout_a_hung_server_leaves_its_requests_unanswered() {
    let mut scenario = Scenario::new(1, vec![ServerSpec::default(); 2], 40.0, Law::Constant(0.001));
    scenario.changes = vec![Change { at: 0.0, server: 1, what: Event::Conduct(Conduct::Hung) }];
    let outcome = run(&scenario, &Arm::ours("round robin", Algorithm::RoundRobin), 1);
    let unanswered = outcome.records.iter().filter(|record| record.end == End::Unanswered).count();
    assert!(outcome.records.iter().all(|record| (record.end == End::Unanswered) == (record.server == 1)));
    assert!(unanswered.abs_diff(outcome.records.len() / 2) <= 1);
    assert_eq!(outcome.left_in_flight, 0);
}

#[test]
fn utilisation_is_the_work_over_the_slots() {
    let servers = vec![ServerSpec { slots: 4, speed: 2.0, ..ServerSpec::default() }; 10];
    let mut scenario = Scenario::new(3, servers, 600.0, Law::Constant(0.1));
    (scenario.warm_up, scenario.length) = (5.0, 105.0);
    let outcome = run(&scenario, &Arm::plain(Rule::TwoChoices), 3);
    // 600/s × 0.1 s ÷ 2 on 40 slots.
    let utilisation = outcome.utilisation().unwrap();
    assert!((utilisation - 0.75).abs() < 0.01, "{utilisation}");
}

#[test]
fn the_rate_follows_its_steps() {
    let mut scenario = Scenario::new(1, vec![ServerSpec { slots: 50, ..ServerSpec::default() }], 0.0, Law::Constant(0.001));
    scenario.rate = vec![(0.0, 1_000.0), (10.0, 0.0), (20.0, 3_000.0)];
    scenario.length = 30.0;
    let outcome = run(&scenario, &Arm::plain(Rule::Random), 9);
    let [first, none, last] = [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)].map(|(from, to)| outcome.between(from, to).count());
    assert!(first.abs_diff(10_000) < 400 && none == 0 && last.abs_diff(30_000) < 700, "{first} {none} {last}");
    scenario.arrivals = Arrivals::Even;
    let even = run(&scenario, &Arm::plain(Rule::Random), 9);
    assert!(even.records.len().abs_diff(40_000) <= 1, "{}", even.records.len());
}

#[test]
fn a_request_pays_the_way_to_its_zone_and_back() {
    let servers = (0..2).map(|zone| ServerSpec { slots: 10, zone: Some(zone), ..ServerSpec::default() });
    let mut scenario = Scenario::new(1, servers.collect(), 100.0, Law::Constant(0.01));
    scenario.balancers[0].zone = Some(0);
    scenario.network = Network { local: Duration::from_millis(1), across: Duration::from_millis(5) };
    for record in run(&scenario, &Arm::plain(Rule::RoundRobin), 1).records {
        assert_eq!(record.latency, [12_000_000, 20_000_000][record.server as usize]);
    }
}

#[test]
fn who_left_gets_nothing_more_and_who_joined_gets_its_part() {
    let mut servers = vec![ServerSpec { slots: 10, ..ServerSpec::default() }; 4];
    servers[3].present = false;
    let mut scenario = Scenario::new(3, servers, 400.0, Law::Constant(0.005));
    scenario.changes = vec![Change { at: 5.0, server: 0, what: Event::Leave }, Change { at: 5.0, server: 3, what: Event::Join }];
    for arm in arms() {
        let outcome = run(&scenario, &arm, 2);
        let sent = |server, from, to| outcome.between(from, to).filter(|record| record.server == server).count();
        assert_eq!((sent(0, 5.0, 10.0), sent(3, 0.0, 5.0)), (0, 0), "{}", arm.name);
        assert!(sent(0, 0.0, 5.0) > 200 && sent(3, 5.0, 10.0) > 200, "{}: {:?}", arm.name, outcome.attempts);
    }
}
