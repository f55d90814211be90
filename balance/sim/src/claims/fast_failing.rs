//! The mixed fleet with two servers that fail at once: whoever is blind to failures takes them for the quickest.

use std::time::Duration;

use evenkeel_balance::Algorithm;

use super::mixed_fleet::fleet;
use crate::arm::Arm;
use crate::claim::{Claim, Comparison, FLEETS, Seeds, Verdict};
use crate::outcome::mean;
use crate::plain::Rule;
use crate::report::table::{Table, figure};
use crate::scenario::{Change, Conduct, Event, Scenario};

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "fast_failing",
    title: "Two servers that fail fast",
    source: "Our own scenario; another balancer's authors publish 15 % of the failures of two-choice Peak-EWMA for theirs.",
    setup: "The mixed fleet at load 0.8. Two of its ten fast servers answer every request with an error, at once, from the start; they \
            answer probes like healthy ones. 3 s of warm-up, then 15 s. An error takes no slot and no work.",
    run,
};

/// Percent of the failures of who is blind to them.
const LIMIT: f64 = 4.0;

fn scenario(balancers: usize, retries: u32, seed: u64) -> Scenario {
    let mut scenario = fleet(balancers, 0.8, seed);
    let fails = |server| Change { at: 0.0, server, what: Event::Conduct(Conduct::Failing(Duration::ZERO)) };
    scenario.changes = vec![fails(0), fails(10)];
    scenario.retries = retries;
    scenario
}

fn run(seeds: &Seeds) -> Verdict {
    let blind = Arm::plain(Rule::PeakEwma(2));
    let ours = [
        Arm::ours("least expected time", Algorithm::LeastExpectedTime),
        Arm::watched("least expected time, passive checks", Algorithm::LeastExpectedTime),
        Arm::ours("Prequal", Algorithm::Prequal),
        Arm::ours("least response time, 2", Algorithm::LeastResponseTime { choice_count: 2 }),
        Arm::watched("least connections, 2, passive checks", Algorithm::LeastConnections { choice_count: 2 }),
    ];
    let arms: Vec<Arm> = std::iter::once(blind).chain(ours).collect();
    let mut verdict = Verdict::default();
    for balancers in FLEETS {
        let without = seeds.compare(&arms, |seed| scenario(balancers, 0, seed));
        let with = seeds.compare(&arms, |seed| scenario(balancers, 1, seed));
        if balancers == 20 {
            // The best of ours as it is, and with the passive checks that pools have by default.
            for arm in [1, 2] {
                let name = &without.names[arm];
                let part = 100.0 * failures(&without, arm) / failures(&without, 0).max(1.0);
                verdict.at_most(format!("failures of {name}, percent of two-choice Peak-EWMA's"), part, LIMIT);
                verdict.at_most(format!("failures of {name} with one retry, most of any seed"), most(&with, arm), 0.0);
            }
        }
        verdict.tables.push(table(balancers, &without, &with));
    }
    verdict
}

fn failures(comparison: &Comparison, arm: usize) -> f64 {
    mean(&comparison.figures(arm, |run| run.failures))
}

fn most(comparison: &Comparison, arm: usize) -> f64 {
    comparison.figures(arm, |run| run.failures).into_iter().fold(0.0, f64::max)
}

fn table(balancers: usize, without: &Comparison, with: &Comparison) -> Table {
    let columns = [
        "arm",
        "failures, mean",
        "percent of the first",
        "won–lost–tied",
        "with one retry, mean",
        "most of any seed",
        "p99 ms with it",
    ];
    let mut table = Table::new(format!("Balancers: {balancers}. Failures in 15 s of some 18,000 requests."), &columns);
    for (arm, name) in without.names.iter().enumerate() {
        table.row([
            name.clone(),
            figure(failures(without, arm)),
            figure(100.0 * failures(without, arm) / failures(without, 0).max(1.0)),
            without.score(arm, 0, |run| run.failures).to_string(),
            figure(failures(with, arm)),
            figure(most(with, arm)),
            figure(with.median(arm, |run| run.p99)),
        ]);
    }
    table
}
