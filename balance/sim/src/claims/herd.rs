//! Many balancers that learn of a new list at once must not all run to the same endpoint.

use evenkeel_balance::Algorithm;

use crate::arm::Arm;
use crate::claim::{Claim, Comparison, FLEETS, Seeds, Summary, Verdict};
use crate::law::Law;
use crate::outcome::{Outcome, median};
use crate::report::table::{Table, figure, percent};
use crate::scenario::{Change, Event, Scenario, ServerSpec};
use crate::world::run;

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "herd",
    title: "A list change and 200 balancers",
    source: "Our own figure: no endpoint over twice its share in the second after a change.",
    setup: "20 servers × 4 slots, exponential work with a mean of 28 ms, 2,000 requests/s, Poisson, load 0.7: 100 requests are expected per \
            endpoint and second. Cost classes by work, parted at 10, 30 and 100 ms. One server joins at second 4, one leaves at second 7, half of them are replaced at once at second 10. \
            No slow start, no timeout, no retries. Shares are of the second after each change; 1 is fair.",
    run: run_claim,
};

/// The number of balancers that the claim names.
const NAMED: usize = 200;
const SERVERS: usize = 20;
/// When the list changes, in seconds.
const CHANGES: [f64; 3] = [4.0, 7.0, 10.0];

/// Round robin and every algorithm that goes by load.
fn arms() -> Vec<Arm> {
    vec![
        Arm::ours("round robin", Algorithm::RoundRobin),
        Arm::ours("least connections, 2", Algorithm::LeastConnections { choice_count: 2 }),
        Arm::ours("least connections, all", Algorithm::LeastConnections { choice_count: 0 }),
        Arm::ours("least response time, 2", Algorithm::LeastResponseTime { choice_count: 2 }),
        Arm::ours("least response time, all", Algorithm::LeastResponseTime { choice_count: 0 }),
        Arm::ours("response-time weighted", Algorithm::ResponseTimeWeighted),
        Arm::ours("least cost, 2", Algorithm::LeastCost { choice_count: 2 }),
        Arm::ours("Prequal", Algorithm::Prequal),
        Arm::ours("least expected time", Algorithm::LeastExpectedTime),
    ]
}

/// Servers 0–18 from the start; 19 joins; 0 leaves; 1–10 are replaced by 20–29.
fn scenario(balancers: usize) -> Scenario {
    let server = |present| ServerSpec { slots: 4, present, ..ServerSpec::default() };
    let servers = (0..30).map(|number| server(number < SERVERS - 1)).collect();
    let mut scenario = Scenario::new(balancers, servers, 2_000.0, Law::Exponential { mean: 0.028 });
    let [join, leave, replace] = CHANGES;
    scenario.changes =
        vec![Change { at: join, server: 19, what: Event::Join }, Change { at: leave, server: 0, what: Event::Leave }];
    let replaced = (1..11).map(|server| Change { at: replace, server, what: Event::Leave });
    let fresh = (20..30).map(|server| Change { at: replace, server, what: Event::Join });
    scenario.changes.extend(replaced.chain(fresh));
    scenario.classes = vec![0.01, 0.03, 0.1];
    scenario.warm_up = 3.0;
    scenario.length = 11.0;
    scenario
}

/// The busiest endpoint's part of the requests in the second after each change, times the number of endpoints.
fn busiest(outcome: &Outcome) -> [f64; 3] {
    let members = [SERVERS, SERVERS - 1, SERVERS - 1];
    std::array::from_fn(|change| {
        let mut counts = vec![0u32; outcome.attempts.len()];
        outcome.between(CHANGES[change], CHANGES[change] + 1.0).for_each(|record| counts[record.server as usize] += 1);
        let most = counts.iter().copied().max().unwrap_or(0);
        f64::from(most) * members[change] as f64 / f64::from(counts.iter().sum::<u32>().max(1))
    })
}

/// Part of the slot time of those on the list that was at work; the same number all the time, but for the second or two of a leave.
fn utilisation(outcome: &Outcome, scenario: &Scenario) -> f64 {
    let seconds = (scenario.length - scenario.warm_up) * 1e9;
    outcome.busy_time.iter().map(|&busy| busy as f64).sum::<f64>() / (seconds * (SERVERS * 4) as f64)
}

fn run_claim(seeds: &Seeds) -> Verdict {
    let arms = arms();
    let mut verdict = Verdict::default();
    for balancers in FLEETS {
        let runs = seeds.grid(&arms, |arm, seed| {
            let scenario = scenario(balancers);
            let outcome = run(&scenario, arm, seed);
            (busiest(&outcome), utilisation(&outcome, &scenario), Summary::of(&outcome))
        });
        let names = arms.iter().map(|arm| arm.name.clone()).collect();
        let whole = Comparison { names, runs: runs.iter().map(|runs| runs.iter().map(|&(.., whole)| whole).collect()).collect() };
        let columns = [
            "arm",
            "one joins",
            "one leaves",
            "half replaced",
            "worst of all seeds",
            "utilisation",
            "p99 ms",
            "p99 ÷ round robin",
            "won–lost–tied",
        ];
        let title =
            format!("Balancers: {balancers}. Busiest endpoint's share in the second after a change, and p99 of the whole run.");
        let mut table = Table::new(title, &columns);
        for (number, (arm, runs)) in arms.iter().zip(&runs).enumerate() {
            let after = |change: usize| figure(median(&runs.iter().map(|(busiest, ..)| busiest[change]).collect::<Vec<f64>>()));
            let worst = runs.iter().flat_map(|(busiest, ..)| *busiest).fold(0.0, f64::max);
            table.row([
                arm.name.clone(),
                after(0),
                after(1),
                after(2),
                figure(worst),
                percent(100.0 * median(&runs.iter().map(|&(_, used, _)| used).collect::<Vec<f64>>())),
                figure(whole.median(number, |run| run.p99)),
                figure(whole.ratio(number, 0, |run| run.p99)),
                if number == 0 { "–".to_owned() } else { whole.score(number, 0, |run| run.p99).to_string() },
            ]);
            if balancers == NAMED {
                verdict.at_most(
                    format!("{}: the largest share of all changes and seeds, {NAMED} balancers", arm.name),
                    worst,
                    2.0,
                );
            }
        }
        verdict.tables.push(table);
    }
    verdict.note(
        "Utilisation is of the servers on the list. An endpoint that nobody has measured, or few have, looks alike to all balancers: \
         least response time lets it take part in a choice of d only with the chance 1/d for its first ten seconds and until its first \
         answer, else 200 full scans would send it over twice its share.",
    );
    verdict
}
