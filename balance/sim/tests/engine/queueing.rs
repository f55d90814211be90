//! Mean waiting times of single queues against the formulas.

use evenkeel_sim::arm::Arm;
use evenkeel_sim::claim::Seeds;
use evenkeel_sim::law::Law;
use evenkeel_sim::plain::Rule;
use evenkeel_sim::scenario::{Scenario, ServerSpec};
use evenkeel_sim::world::run;

/// Mean and half the 99.9 % confidence interval of the mean latency in milliseconds, over independent seeds.
fn mean_latency(slots: u32, rate: f64, work: &Law) -> (f64, f64) {
    let means = Seeds::new(24, 2, "test").each(|seed| {
        let mut scenario = Scenario::new(1, vec![ServerSpec { slots, ..ServerSpec::default() }], rate, work.clone());
        (scenario.warm_up, scenario.length) = (20.0, 220.0);
        run(&scenario, &Arm::plain(Rule::Random), seed).latencies().mean()
    });
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let variance = means.iter().map(|one| (one - mean) * (one - mean)).sum::<f64>() / (means.len() - 1) as f64;
    // Student's t for 23 degrees of freedom.
    (mean, 3.77 * (variance / means.len() as f64).sqrt())
}

fn agrees(slots: u32, rate: f64, work: Law, expected: f64) {
    let (mean, error) = mean_latency(slots, rate, &work);
    assert!((mean - expected).abs() <= error, "{work:?}, {slots} slots, {rate}/s: {mean} ± {error} ms, theory {expected} ms");
    assert!(error < 0.06 * expected, "too rough to tell: {mean} ± {error} ms");
}

#[test]
fn one_server_with_exponential_work_waits_as_m_m_1_does() {
    // 1/(μ − λ).
    agrees(1, 70.0, Law::Exponential { mean: 0.01 }, 1_000.0 / (100.0 - 70.0));
}

#[test]
fn four_slots_wait_as_m_m_4_does() {
    // Erlang C with a = 3.2, c = 4, plus the service itself.
    let (a, c): (f64, f64) = (3.2, 4.0);
    let terms = [1.0, a, a * a / 2.0, a * a * a / 6.0];
    let last = a.powi(4) / 24.0 * c / (c - a);
    let waits = last / (terms.iter().sum::<f64>() + last);
    agrees(4, 320.0, Law::Exponential { mean: 0.01 }, 10.0 + waits * 10.0 / (c - a));
}

#[test]
fn constant_work_waits_half_as_long() {
    // M/D/1, Pollaczek–Khinchine: ρ/(2(1 − ρ)) services of waiting.
    agrees(1, 70.0, Law::Constant(0.01), 10.0 + 10.0 * 0.7 / (2.0 * 0.3));
}
