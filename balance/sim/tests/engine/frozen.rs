//! The plain arms are frozen: their outcome for a seed stands here. Where one of these figures moves, a yardstick has moved, and every
//! comparison with it.

use std::time::Duration;

use evenkeel_sim::arm::Arm;
use evenkeel_sim::law::Law;
use evenkeel_sim::plain::Rule;
use evenkeel_sim::scenario::{Antagonist, Change, Conduct, Event, Scenario, ServerSpec, Target};
use evenkeel_sim::world::run;

fn scenario() -> Scenario {
    let servers = (0..10).map(|n| ServerSpec {
        slots: 2,
        speed: if n < 5 { 1.0 } else { 0.5 },
        antagonist: Some(Antagonist { pause: (0.7, 1.3), leaves: vec![(1.0, (0.6, 1.8))], of: Target::Speed }),
        ..ServerSpec::default()
    });
    let mut scenario = Scenario::new(4, servers.collect(), 320.0, Law::Exponential { mean: 0.04 });
    scenario.changes = vec![Change { at: 4.0, server: 9, what: Event::Conduct(Conduct::Failing(Duration::from_millis(2))) }];
    scenario.timeout = Some(Duration::from_secs(2));
    (scenario.warm_up, scenario.length) = (1.0, 9.0);
    scenario
}

#[test]
fn plain_arms_do_what_they_always_did() {
    let rules = [
        Rule::RoundRobin,
        Rule::Random,
        Rule::TwoChoices,
        Rule::PeakEwma(2),
        Rule::PeakEwma(0),
        Rule::C3,
        Rule::WeightedRoundRobin,
    ];
    let mut arms: Vec<Arm> = rules.map(Arm::plain).into();
    arms.push(Arm::clairvoyant());
    let seen: Vec<(u64, usize)> = arms
        .iter()
        .map(|arm| {
            let outcome = run(&scenario(), arm, 42);
            (outcome.records.iter().map(|record| record.latency).sum(), outcome.failures())
        })
        .collect();
    let frozen = [
        (891_428_114_784, 189),
        (1_214_879_172_950, 257),
        (200_097_092_716, 239),
        (188_376_311_292, 237),
        (115_170_348_347, 395),
        (140_906_896_962, 286),
        (420_218_678_121, 121),
        (119_348_570_892, 0),
    ];
    assert_eq!(seen, frozen);
}
