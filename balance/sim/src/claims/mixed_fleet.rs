//! A fleet of two kinds of servers under antagonists: what probes are worth where nobody sees more than a twentieth of the traffic.

use std::time::Duration;

use evenkeel_balance::{Algorithm, Rng};

use crate::arm::Arm;
use crate::claim::{Claim, Comparison, FLEETS, Seeds, Verdict};
use crate::law::{Law, Purpose, stream, unit};
use crate::plain::Rule;
use crate::scenario::{Antagonist, Scenario, ServerSpec, Target};

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "mixed_fleet",
    title: "A mixed fleet",
    source: "Our own scenario; another balancer's authors publish p99s of 257, 272 and 345 ms for theirs against 368, 447 and 662 ms for \
             two-choice Peak-EWMA. Judged inside this run only.",
    setup: "20 servers of 4 slots, half of them at half speed; each is, once per seed, quiet (70 %) or noisy; every 0.7–1.3 s its factor \
            is drawn anew, quiet U(1.2, 2.0), noisy half U(0.3, 0.7) and half U(0.9, 1.3), and a service keeps the factor that it began \
            with; exponential work of 40 ms, 1,500 requests/s nominal (load 1), Poisson; 3 s of warm-up, then 15 s; no network delay; a \
            probe costs 40 µs of server time, responses carry along what a probe would be told.",
    run,
};

/// Loads, and the most of two-choice Peak-EWMA's p99 that ours may have.
const LIMITS: [(f64, f64); 3] = [(0.7, 0.70), (0.9, 0.65), (1.05, 0.60)];
/// Of 20 seeds, in how many full-scan Peak-EWMA has to be behind.
const SEEDS_AHEAD: f64 = 0.75;

/// The fleet of a seed at a part of its nominal 1,500 requests/s.
pub(super) fn fleet(balancers: usize, load: f64, seed: u64) -> Scenario {
    let mut rng = stream(seed, Purpose::Scenario, 0);
    let servers = (0..20).map(|number| server(number, &mut rng)).collect();
    let mut scenario = Scenario::new(balancers, servers, 1_500.0 * load, Law::Exponential { mean: 0.04 });
    scenario.probe_cost = Duration::from_micros(40);
    scenario.warm_up = 3.0;
    scenario.length = 18.0;
    scenario
}

fn server(number: usize, rng: &mut impl Rng) -> ServerSpec {
    let quiet = vec![(1.0, (1.2, 2.0))];
    let noisy = vec![(0.5, (0.3, 0.7)), (0.5, (0.9, 1.3))];
    let leaves = if unit(rng) <= 0.7 { quiet } else { noisy };
    let antagonist = Antagonist { pause: (0.7, 1.3), leaves, of: Target::Speed };
    let speed = if number.is_multiple_of(2) { 1.0 } else { 0.5 };
    ServerSpec { slots: 4, speed, antagonist: Some(antagonist), ..ServerSpec::default() }
}

/// The place of our best among the arms.
const OURS: usize = 2;

fn run(seeds: &Seeds) -> Verdict {
    let arms = [
        Arm::plain(Rule::PeakEwma(2)),
        Arm::plain(Rule::PeakEwma(0)),
        Arm::ours("least expected time", Algorithm::LeastExpectedTime),
        Arm::ours("Prequal", Algorithm::Prequal),
        Arm::ours("least response time, all", Algorithm::LeastResponseTime { choice_count: 0 }),
        Arm::plain(Rule::C3),
        Arm::clairvoyant(),
    ];
    let mut verdict = Verdict::default();
    for (load, limit) in LIMITS {
        for balancers in FLEETS {
            let comparison = seeds.compare(&arms, |seed| fleet(balancers, load, seed));
            if balancers == 20 {
                let ratio = comparison.ratio(OURS, 0, |run| run.p99);
                verdict.at_most(format!("p99 ÷ that of two-choice Peak-EWMA at load {load}, 20 balancers"), ratio, limit);
                let least = (SEEDS_AHEAD * seeds.count() as f64).ceil();
                let ahead = ahead(&comparison, OURS, 1);
                verdict.at_least(format!("seeds with a p99 below full-scan Peak-EWMA's at load {load}"), ahead, least);
            }
            verdict.tables.push(comparison.table(format!("Load {load}, balancers: {balancers}."), 0));
        }
    }
    verdict
}

/// In how many seeds an arm's p99 is below another's.
fn ahead(comparison: &Comparison, arm: usize, other: usize) -> f64 {
    let pairs = comparison.runs[arm].iter().zip(&comparison.runs[other]);
    pairs.filter(|(ours, theirs)| ours.p99 < theirs.p99).count() as f64
}
