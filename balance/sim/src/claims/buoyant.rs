//! Buoyant's experiment of 2016, "Beyond round robin: load balancing for latency": one of eleven backends slows down for half a minute.

use std::time::Duration;

use evenkeel_balance::Algorithm;

use crate::arm::Arm;
use crate::claim::{Claim, FLEETS, Seeds, Verdict};
use crate::law::Law;
use crate::plain::Rule;
use crate::scenario::{Change, Event, Scenario, ServerSpec, UNLIMITED};

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "buoyant",
    title: "One slow backend of eleven",
    source: "Jenson, Oanta, \"Beyond Round Robin: Load Balancing for Latency\", Buoyant 2016; success rates 95, 99 and 99.9 %.",
    setup: "11 backends that wait and never queue (slots unlimited), log-normal response times with a median of 167 ms; 1,000 requests/s, \
            Poisson; one backend takes 2 s from second 15 to second 45 of 60; 1 s timeout, no retries. The source states medians, rates and \
            the fault, and no law: σ = 0.4 and the 60 s are ours, chosen so that healthy backends hardly ever reach the timeout.",
    run,
};

fn scenario(balancers: usize) -> Scenario {
    let server = ServerSpec { slots: UNLIMITED, ..ServerSpec::default() };
    let mut scenario = Scenario::new(balancers, vec![server; 11], 1_000.0, Law::LogNormal { median: 0.167, sigma: 0.4 });
    scenario.timeout = Some(Duration::from_secs(1));
    scenario.length = 60.0;
    let takes = |at, law| Change { at, server: 3, what: Event::Takes(law) };
    scenario.changes = vec![takes(15.0, Some(Law::Constant(2.0))), takes(45.0, None)];
    scenario
}

fn run(seeds: &Seeds) -> Verdict {
    let least = Algorithm::LeastConnections { choice_count: 2 };
    let arms = [
        Arm::ours("round robin", Algorithm::RoundRobin),
        Arm::ours("least connections, 2", least.clone()),
        Arm::plain(Rule::PeakEwma(2)),
        Arm::plain(Rule::PeakEwma(0)),
        Arm::watched("round robin, passive checks", Algorithm::RoundRobin),
        Arm::watched("least connections, 2, passive checks", least),
        Arm::clairvoyant(),
    ];
    let mut verdict = Verdict::default();
    for balancers in FLEETS {
        let comparison = seeds.compare(&arms, |_| scenario(balancers));
        if balancers == 1 {
            let success = |arm: usize| 100.0 - comparison.median(arm, |run| run.failed_percent);
            verdict.within("success of round robin, one balancer, percent", success(0), 94.4, 95.6);
            verdict.within("success of least connections, one balancer, percent", success(1), 98.4, 99.6);
        }
        verdict.tables.push(comparison.table(format!("Balancers: {balancers}."), 0));
    }
    verdict
}
