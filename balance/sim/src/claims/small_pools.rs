//! Two, three and four endpoints: the usual size of a pool, where clever rules have the least to choose from and the most to lose.

use std::time::Duration;

use evenkeel_balance::Algorithm;

use crate::arm::Arm;
use crate::claim::{Claim, FLEETS, Seeds, Verdict};
use crate::law::Law;
use crate::plain::Rule;
use crate::scenario::{Scenario, ServerSpec};

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "small_pools",
    title: "Two, three and four endpoints",
    source: "Our own scenario: no rule may be worse than the plainest where there is little to choose.",
    setup: "2, 3 and 4 equal servers of 4 slots, exponential work of 40 ms, Poisson, load 0.7; 3 s of warm-up, then 60 s; a probe costs \
            40 µs of server time.",
    run,
};

/// The most of two choices' p99.
const LIMIT: f64 = 1.05;

fn scenario(balancers: usize, count: usize) -> Scenario {
    let servers = vec![ServerSpec { slots: 4, ..ServerSpec::default() }; count];
    let rate = 0.7 * 4.0 * count as f64 / 0.04;
    let mut scenario = Scenario::new(balancers, servers, rate, Law::Exponential { mean: 0.04 });
    scenario.probe_cost = Duration::from_micros(40);
    scenario.warm_up = 3.0;
    scenario.length = 63.0;
    scenario
}

fn run(seeds: &Seeds) -> Verdict {
    let arms = [
        Arm::plain(Rule::TwoChoices),
        Arm::ours("A4: least connections, all", Algorithm::LeastConnections { choice_count: 0 }),
        Arm::ours("A5: least connections, 2", Algorithm::LeastConnections { choice_count: 2 }),
        Arm::ours("A13: Prequal", Algorithm::Prequal),
        Arm::ours("A6: least response time, all", Algorithm::LeastResponseTime { choice_count: 0 }),
        Arm::ours("least expected time", Algorithm::LeastExpectedTime),
    ];
    let mut verdict = Verdict::default();
    for count in [2, 3, 4] {
        for balancers in FLEETS {
            let comparison = seeds.compare(&arms, |_| scenario(balancers, count));
            if balancers == 1 {
                for (arm, name) in comparison.names.iter().enumerate().skip(1) {
                    let ratio = comparison.ratio(arm, 0, |run| run.p99);
                    verdict.at_most(format!("p99 ÷ that of two choices, {count} endpoints, {name}"), ratio, LIMIT);
                }
            }
            verdict.tables.push(comparison.table(format!("Endpoints: {count}, balancers: {balancers}."), 0));
        }
    }
    verdict
}
