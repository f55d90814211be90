//! Prequal's load ramp (Wydrowski et al., NSDI 2024, §5.1): a hundred clients and servers go from 0.75 to 1.74 of what they are allotted,
//! on machines whose spare capacity others may take.

use std::time::Duration;

use evenkeel_balance::{Algorithm, Rng};

use crate::arm::Arm;
use crate::claim::{Claim, FLEETS, Seeds, Summary, Verdict};
use crate::law::{Law, Purpose, stream};
use crate::outcome::{End, Latencies, Outcome, median};
use crate::plain::Rule;
use crate::report::plot::Plot;
use crate::report::table::{Table, figure};
use crate::scenario::{Antagonist, Network, Scenario, ServerSpec, Target};
use crate::world::run as simulate;

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "prequal_ramp",
    title: "A ramp past the allocation",
    source: "Wydrowski, Kleinberg, Rumble, Archer, \"Load is not what you should balance: introducing Prequal\", NSDI 2024, §5.",
    setup: "100 balancers, 100 servers, Poisson; work normal with mean and deviation 100 ms, cut at zero (as in the paper); 5 s timeout, no \
            retries, 0.25 ms of network one way, 40 µs of server time a probe. A server's allocation is one slot up the ramp and four in the steady runs at 70 and 90 %; it always has that. On 80 \
            machines antagonists leave 1.5–3 times that, in whole slots, drawn anew every 1–5 s; 20 machines are full: the allocation \
            and nothing more. Load goes from 0.75 of all allocations up by 10/9 in nine steps of 60 s; the last 30 s of each are judged. \
            The paper gives no number of full machines, no spare capacity and no length of a step: these are ours.",
    run,
};

const SERVERS: usize = 100;
const FULL: usize = 20;
const STEPS: i32 = 9;
const STEP: f64 = 60.0;
const SETTLING: f64 = 30.0;
const TIMEOUT: f64 = 5_000.0;
/// The step from which the paper's weighted round robin hits the timeout: 0.75 · (10/9)³ = 1.03.
const FROM: usize = 3;

fn loads() -> Vec<f64> {
    (0..STEPS).map(|step| (0..step).fold(0.75, |load, _| load * 10.0 / 9.0)).collect()
}

fn fleet(seed: u64, balancers: usize, slots: u32) -> Scenario {
    let mut rng = stream(seed, Purpose::Scenario, 0);
    let mut places: Vec<usize> = (0..SERVERS).collect();
    (1..SERVERS).rev().for_each(|place| places.swap(place, rng.below(place + 1)));
    let servers = places.iter().map(|&place| {
        let leaves = if place < FULL { (1.0, 1.0) } else { (1.5, 3.0) };
        let antagonist = Antagonist { pause: (1.0, 5.0), leaves: vec![(1.0, leaves)], of: Target::Slots };
        ServerSpec { slots, antagonist: Some(antagonist), ..ServerSpec::default() }
    });
    let mut scenario = Scenario::new(balancers, servers.collect(), 0.0, Law::Normal { mean: 0.1, deviation: 0.1 });
    scenario.timeout = Some(Duration::from_secs(5));
    scenario.network = Network { local: Duration::from_micros(250), ..Network::default() };
    scenario.probe_cost = Duration::from_micros(40);
    scenario
}

/// Requests a second that are all allocations at once.
fn allocation(scenario: &Scenario) -> f64 {
    scenario.servers.iter().map(|server| f64::from(server.slots)).sum::<f64>() / scenario.work.mean()
}

fn ramp(seed: u64) -> Scenario {
    let mut scenario = fleet(seed, 100, 1);
    let all = allocation(&scenario);
    scenario.rate = loads().iter().enumerate().map(|(step, load)| (step as f64 * STEP, load * all)).collect();
    scenario.length = f64::from(STEPS) * STEP;
    scenario
}

fn steady(seed: u64, balancers: usize, slots: u32, load: f64) -> Scenario {
    let mut scenario = fleet(seed, balancers, slots);
    scenario.rate = vec![(0.0, load * allocation(&scenario))];
    // About as many requests whatever the slots; the start, when nobody is known, doesn't count.
    (scenario.warm_up, scenario.length) = if slots == 1 { (20.0, 50.0) } else { (8.0, 18.0) };
    scenario
}

/// One step of a ramp: percentiles in milliseconds, and requests that ended without a good answer.
#[derive(Debug, Clone, Copy)]
struct Step {
    p50: f64,
    p99: f64,
    p999: f64,
    errors: f64,
}

fn steps(outcome: &Outcome) -> Vec<Step> {
    let step = |number: i32| {
        let from = f64::from(number) * STEP;
        let records = outcome.between(from + SETTLING, from + STEP);
        let latencies: Latencies = records.clone().map(|record| record.latency).collect();
        // Errors count over the whole step: a ramp has no settling that excuses them.
        let errors = outcome.between(from, from + STEP).filter(|record| record.end != End::Good).count() as f64;
        let percentile = |percent| latencies.percentile(percent);
        Step { p50: percentile(50.0), p99: percentile(99.0), p999: percentile(99.9), errors }
    };
    (0..STEPS).map(step).collect()
}

fn run(seeds: &Seeds) -> Verdict {
    let mut verdict = Verdict::default();
    ramps(seeds, &mut verdict);
    let arms = [
        Arm::plain(Rule::C3),
        Arm::ours("least expected time", Algorithm::LeastExpectedTime),
        Arm::ours("Prequal", Algorithm::Prequal),
        Arm::plain(Rule::WeightedRoundRobin),
    ];
    let mut published = Vec::new();
    for load in [0.7, 0.9] {
        let named = seeds.compare(&arms, |seed| steady(seed, 100, 4, load));
        let percent = (load * 100.0).round();
        let what = format!("p99 of least expected time ÷ that of C3 at {percent} % of allocation (within 1 % is a tie)");
        verdict.at_most(what, named.ratio(1, 0, |run: &Summary| run.p99), 1.01);
        let prequal = named.ratio(2, 0, |run: &Summary| run.p99);
        verdict.known_above(format!("p99 of Prequal ÷ that of C3 at {percent} % of allocation"), prequal, 1.0);
        published.push(figure(prequal));
        let title = format!("Steady at {percent} % of allocation, four slots each, 100 balancers, from second 8 to 18.");
        verdict.tables.push(named.table(title, 0));
    }
    for balancers in FLEETS.into_iter().chain([100]) {
        let others = seeds.compare(&arms, |seed| steady(seed, balancers, 1, 0.9));
        let title = format!("Steady at 90 % of allocation, one slot each, balancers: {balancers}, from second 20 to 50.");
        verdict.tables.push(others.table(title, 0));
    }
    verdict.note(
        "Weighted round robin gives every server its part of the load. Above the allocation a full machine gets more than it can do, \
         second after second, and its queue grows to the timeout; its weight falls only when requests fail. Prequal asks before it sends: \
         full machines get what they can do.",
    );
    verdict.note(format!(
        "Where Prequal loses: C3 here scans all servers and each response brings its server's queue along; against it the published rule \
         over 16 replies has a p99 of {} times C3's at 70 and 90 %, and more with one slot a server, where in-flight counts of 0, 1 and 2 \
         tell hot from cold but roughly. The rule of our own over the same probes, least expected time, is held to the claim beside it; with \
         one slot and many balancers it too can lose to C3 by a little. C3 starts badly with many balancers of few requests, each of which \
         asks every server once before it ranks them: see 200 balancers.",
        published.join(" and ")
    ));
    verdict
}

fn ramps(seeds: &Seeds, verdict: &mut Verdict) {
    let arms = [Arm::plain(Rule::WeightedRoundRobin), Arm::ours("Prequal", Algorithm::Prequal)];
    let results = seeds.grid(&arms, |arm, seed| steps(&simulate(&ramp(seed), arm, seed)));
    let of = |arm: usize, step: usize, figure: fn(&Step) -> f64| -> Vec<f64> {
        results[arm].iter().map(|steps: &Vec<Step>| figure(&steps[step])).collect()
    };
    let count = loads().len();
    let least = (FROM..count).map(|step| median(&of(0, step, |step| step.p999))).fold(f64::INFINITY, f64::min);
    verdict.at_least("weighted round robin, lowest p99.9 of the steps from 1.03 on, ms", least, TIMEOUT);
    let errors: f64 = (0..count).flat_map(|step| of(1, step, |step| step.errors)).sum();
    verdict.check("errors of Prequal, all steps and seeds", "0", figure(errors), errors == 0.0);
    let columns = ["load", "arm", "p50 ms", "p99 ms", "p99.9 ms", "errors a step", "seeds with errors"];
    let mut table = Table::new("The ramp: medians over seeds.", &columns);
    for (step, load) in loads().iter().enumerate() {
        for (number, arm) in arms.iter().enumerate() {
            let errors = of(number, step, |step| step.errors);
            table.row([
                figure(*load),
                arm.name.clone(),
                figure(median(&of(number, step, |step| step.p50))),
                figure(median(&of(number, step, |step| step.p99))),
                figure(median(&of(number, step, |step| step.p999))),
                figure(median(&errors)),
                errors.iter().filter(|&&errors| errors > 0.0).count().to_string(),
            ]);
        }
    }
    verdict.tables.push(table);
    let line = |number: usize| {
        let points =
            loads().iter().enumerate().map(|(step, load)| (*load, median(&of(number, step, |step| step.p999)))).collect();
        (arms[number].name.clone(), points)
    };
    verdict.plots.push(Plot {
        title: "p99.9 up the ramp; the timeout is at 5,000 ms".to_owned(),
        x: "load, of all allocations".to_owned(),
        y: "p99.9, ms".to_owned(),
        logarithmic: true,
        lines: (0..arms.len()).map(line).collect(),
    });
}
