//! Work so uneven that counts say little: what costs per class are worth, and where they aren't.

use evenkeel_balance::Algorithm;

use crate::arm::Arm;
use crate::claim::{Claim, FLEETS, Seeds, Verdict};
use crate::law::Law;
use crate::report::table::figure;
use crate::scenario::{Scenario, ServerSpec};

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "pareto",
    title: "Heavy-tailed work in known classes",
    source: "Our own scenario; the law is that of Crovella and Harchol-Balter's task assignment.",
    setup: "20 servers of 1 slot (then of 4), Poisson, bounded Pareto work (α = 1.1) from 1 ms to 10 s, mean 6.6 ms, load 0.85; each \
            request's class says its work's power of ten, four classes; 4 s of \
            warm-up, then 20 s (with 4 slots a quarter of both: as many requests).",
    run,
};

/// Seconds: the work of one unit.
const UNIT: f64 = 0.001;
/// A15's p99 ÷ that of least connections.
const LIMIT: f64 = 0.7;

fn scenario(balancers: usize, slots: u32) -> Scenario {
    let law = Law::BoundedPareto { shape: 1.1, low: UNIT, high: 10_000.0 * UNIT };
    let rate = 0.85 * 20.0 * f64::from(slots) / law.mean();
    let servers = vec![ServerSpec { slots, ..ServerSpec::default() }; 20];
    let mut scenario = Scenario::new(balancers, servers, rate, law);
    scenario.classes = vec![10.0 * UNIT, 100.0 * UNIT, 1_000.0 * UNIT];
    scenario.warm_up = 4.0 / f64::from(slots);
    scenario.length = 24.0 / f64::from(slots);
    scenario
}

fn run(seeds: &Seeds) -> Verdict {
    let arms = [
        Arm::ours("least connections, all", Algorithm::LeastConnections { choice_count: 0 }),
        Arm::ours("least cost, all", Algorithm::LeastCost { choice_count: 0 }),
        Arm::ours("least connections, 2", Algorithm::LeastConnections { choice_count: 2 }),
        Arm::ours("least cost, 2", Algorithm::LeastCost { choice_count: 2 }),
        Arm::clairvoyant(),
    ];
    let mut verdict = Verdict::default();
    let mut elsewhere = Vec::new();
    for slots in [1, 4] {
        for balancers in FLEETS {
            let comparison = seeds.compare(&arms, |_| scenario(balancers, slots));
            let ratio = comparison.ratio(1, 0, |run| run.p99);
            if (slots, balancers) == (1, 1) {
                verdict.at_most("p99 of least cost ÷ least connections, all endpoints, one balancer", ratio, LIMIT);
            } else {
                elsewhere.push(format!("{} with {slots} slots and {balancers} balancers", figure(ratio)));
            }
            verdict.tables.push(comparison.table(format!("Slots: {slots}, balancers: {balancers}."), 0));
        }
    }
    verdict.note(format!(
        "Where it isn't made for, its p99 is this part of least connections': {}. With several slots a server, a large request takes one \
         of them and blocks nobody, but its cost keeps all small ones away; with many balancers each knows too few of the large ones.",
        elsewhere.join(", ")
    ));
    verdict
}
