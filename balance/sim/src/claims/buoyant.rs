//! Buoyant's experiment of 2016, "Beyond round robin: load balancing for latency": one of eleven backends slows down for half a minute.

use std::time::Duration;

use evenkeel_balance::Algorithm;

use crate::arm::Arm;
use crate::claim::{Claim, Comparison, FLEETS, Seeds, Summary, Verdict};
use crate::law::Law;
use crate::outcome::{End, Outcome, mean};
use crate::plain::Rule;
use crate::report::plot::Plot;
use crate::report::table::percent;
use crate::scenario::{Change, Event, Scenario, ServerSpec, UNLIMITED};
use crate::world::run as simulate;

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

/// Of arrivals.
const SECONDS: usize = 60;

fn scenario(balancers: usize) -> Scenario {
    let server = ServerSpec { slots: UNLIMITED, ..ServerSpec::default() };
    let mut scenario = Scenario::new(balancers, vec![server; 11], 1_000.0, Law::LogNormal { median: 0.167, sigma: 0.4 });
    scenario.timeout = Some(Duration::from_secs(1));
    scenario.length = SECONDS as f64;
    let takes = |at, law| Change { at, server: 3, what: Event::Takes(law) };
    scenario.changes = vec![takes(15.0, Some(Law::Constant(2.0))), takes(45.0, None)];
    scenario
}

fn arms() -> Vec<Arm> {
    let least = Algorithm::LeastConnections { choice_count: 2 };
    let quickest = |choice_count| Algorithm::LeastResponseTime { choice_count };
    vec![
        Arm::ours("round robin", Algorithm::RoundRobin),
        Arm::ours("least connections, 2", least.clone()),
        Arm::ours("least response time, 2", quickest(2)),
        Arm::ours("least response time, all", quickest(0)),
        Arm::ours("response time weighted", Algorithm::ResponseTimeWeighted),
        Arm::plain(Rule::PeakEwma(2)),
        Arm::watched("round robin, passive checks", Algorithm::RoundRobin),
        Arm::watched("least connections, 2, passive checks", least),
        Arm::watched("least response time, 2, passive checks", quickest(2)),
        Arm::clairvoyant(),
    ]
}

fn run(seeds: &Seeds) -> Verdict {
    let arms = arms();
    let mut verdict = Verdict::default();
    for balancers in FLEETS {
        let runs = seeds.grid(&arms, |arm, seed| {
            let outcome = simulate(&scenario(balancers), arm, seed);
            (Summary::of(&outcome), by_second(&outcome))
        });
        let summaries = runs.iter().map(|runs| runs.iter().map(|run| run.0).collect()).collect();
        let comparison = Comparison { names: arms.iter().map(|arm| arm.name.clone()).collect(), runs: summaries };
        if balancers == 1 {
            let success = |arm: usize| 100.0 - comparison.median(arm, |run| run.failed_percent);
            let mut near = |what: &str, arm, low: f64, high: f64, limit: &str| {
                let seen = success(arm);
                verdict.check(format!("success of {what}, one balancer"), limit, percent(seen), (low..=high).contains(&seen));
            };
            near("round robin", 0, 94.4, 95.6, "95 ± 0.6 %");
            near("least connections", 1, 98.4, 99.6, "99 ± 0.6 %");
            near("least response time", 2, 99.7, 100.0, "≥ 99.7 %");
            let line = |arm: usize| {
                let points = (0..SECONDS).map(|second| {
                    let seen: Vec<f64> = runs[arm].iter().map(|run| run.1[second]).collect();
                    (second as f64, mean(&seen))
                });
                (arms[arm].name.clone(), points.collect())
            };
            verdict.plots.push(Plot {
                title: "Requests answered within a second, one balancer".to_owned(),
                x: "second of arrival".to_owned(),
                y: "success, %".to_owned(),
                logarithmic: false,
                lines: vec![line(0), line(1), line(2)],
            });
        }
        verdict.tables.push(comparison.table(format!("Balancers: {balancers}."), 0));
    }
    verdict.note(
        "Round robin sends an eleventh of the requests to the slow backend for half of the minute and loses them all. Least connections \
         sees its queue and sends a fifth as many; least response time sees the first timeouts and sends hardly any, one every few \
         seconds to look again. Each balancer has to find out alone, so that many balancers with few requests each lose more: with 200 \
         of them, least connections has hardly a request out when the next comes, and little to compare. Passive checks take the slow \
         backend out altogether and help every algorithm, as long as a balancer sees five errors in a row.",
    );
    verdict
}

/// Success in percent of the requests of each second.
fn by_second(outcome: &Outcome) -> Vec<f64> {
    let (mut good, mut all) = (vec![0.0; SECONDS], vec![0.0; SECONDS]);
    for record in &outcome.records {
        let second = (record.arrived / 1_000_000_000) as usize;
        all[second] += 1.0;
        good[second] += f64::from(u8::from(record.end == End::Good));
    }
    good.iter().zip(&all).map(|(good, all)| 100.0 * good / f64::max(*all, 1.0)).collect()
}
