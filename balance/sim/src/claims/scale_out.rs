//! A server that starts cold: slow start keeps its share small while it is slow, and the pool doesn't pay for it.

use std::time::Duration;

use evenkeel_balance::{Algorithm, Config, SlowStart};

use crate::arm::Arm;
use crate::claim::{Claim, Comparison, FLEETS, Seeds, Summary, Verdict};
use crate::law::Law;
use crate::outcome::{Latencies, Outcome, median};
use crate::report::table::{Table, figure, percent};
use crate::scenario::{Change, Event, Scenario, ServerSpec};
use crate::world::run;

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "scale_out",
    title: "A cold endpoint joins",
    source: "Our own figures; the p99 of a server at half speed is at least twice that of the others.",
    setup: "Ten servers × 4 slots, exponential work with a mean of 40 ms, 700 requests/s, Poisson, load 0.7 of all ten. The tenth joins at \
            second 38 and runs at half speed until second 58; these 20 s are measured. Slow start 30 s from 10 %. Until second 32 there \
            is one request a second: a balancer to which all endpoints are new has nobody to spare a new one for. Cost classes by work, parted at 10, 30 and \
            100 ms. No timeout, no retries.",
    run: run_claim,
};

const SERVERS: usize = 10;
const SLOTS: u32 = 4;
const RATE: f64 = 700.0;
/// The server that joins.
const COLD: usize = SERVERS - 1;
const JOINS: f64 = 38.0;
const WARM: f64 = 58.0;

/// Every algorithm that goes by load.
const ALGORITHMS: [(&str, Algorithm); 8] = [
    ("least connections, 2", Algorithm::LeastConnections { choice_count: 2 }),
    ("least connections, all", Algorithm::LeastConnections { choice_count: 0 }),
    ("least response time, 2", Algorithm::LeastResponseTime { choice_count: 2 }),
    ("least response time, all", Algorithm::LeastResponseTime { choice_count: 0 }),
    ("response-time weighted", Algorithm::ResponseTimeWeighted),
    ("least cost, 2", Algorithm::LeastCost { choice_count: 2 }),
    ("Prequal", Algorithm::Prequal),
    ("least expected time", Algorithm::LeastExpectedTime),
];

/// For each algorithm without slow start and with.
fn arms() -> Vec<Arm> {
    let slow_start = Some(SlowStart { window: Duration::from_secs(30), min_weight_percent: 10 });
    let pair = |(name, algorithm): (&str, Algorithm)| {
        let config = Config::new(algorithm);
        [Arm::configured(name, config.clone()), Arm::configured(&format!("{name}, slow start"), Config { slow_start, ..config })]
    };
    ALGORITHMS.into_iter().flat_map(pair).collect()
}

fn scenario(balancers: usize) -> Scenario {
    let server = |number| ServerSpec { slots: SLOTS, present: number != COLD, ..ServerSpec::default() };
    let servers = (0..SERVERS).map(server).collect();
    let mut scenario = Scenario::new(balancers, servers, RATE, Law::Exponential { mean: 0.04 });
    scenario.rate = vec![(0.0, 1.0), (32.0, RATE)];
    let change = |at, what| Change { at, server: COLD, what };
    scenario.changes = vec![change(JOINS, Event::Speed(0.5)), change(JOINS, Event::Join), change(WARM, Event::Speed(1.0))];
    scenario.classes = vec![0.01, 0.03, 0.1];
    scenario.warm_up = JOINS;
    scenario.length = WARM;
    scenario
}

/// What the cold server had.
#[derive(Debug, Clone, Copy)]
struct Cold {
    /// Its part of the requests, times the number of servers: 1 is fair.
    share: f64,
    /// The p99 of its requests by that of the others'.
    p99: f64,
    /// Slot time at work of all slot time.
    utilisation: f64,
}

impl Cold {
    fn of(outcome: &Outcome) -> Self {
        let latencies = |cold: bool| -> Latencies {
            outcome.records.iter().filter(|record| (record.server == COLD as u32) == cold).map(|record| record.latency).collect()
        };
        let (own, others) = (latencies(true), latencies(false));
        let slots = (WARM - JOINS) * 1e9 * (SERVERS as u32 * SLOTS) as f64;
        Self {
            share: outcome.share(COLD) * SERVERS as f64,
            p99: own.percentile(99.0) / others.percentile(99.0),
            utilisation: outcome.busy_time.iter().map(|&busy| busy as f64).sum::<f64>() / slots,
        }
    }
}

fn run_claim(seeds: &Seeds) -> Verdict {
    let arms = arms();
    let mut verdict = Verdict::default();
    for balancers in FLEETS {
        let runs = seeds.grid(&arms, |arm, seed| {
            let outcome = run(&scenario(balancers), arm, seed);
            (Cold::of(&outcome), Summary::of(&outcome))
        });
        let names = arms.iter().map(|arm| arm.name.clone()).collect();
        let whole = Comparison { names, runs: runs.iter().map(|runs| runs.iter().map(|&(_, whole)| whole).collect()).collect() };
        let columns = [
            "arm",
            "its share",
            "its p99 ÷ others'",
            "pool p99 ms",
            "÷ without",
            "won–lost–tied",
            "pool p99.9 ms",
            "utilisation",
        ];
        let mut table = Table::new(format!("Balancers: {balancers}. Medians over seeds."), &columns);
        for (number, (arm, runs)) in arms.iter().zip(&runs).enumerate() {
            let of = |figure: fn(&Cold) -> f64| median(&runs.iter().map(|(cold, _)| figure(cold)).collect::<Vec<f64>>());
            let (share, p99) = (of(|cold| cold.share), of(|cold| cold.p99));
            let (without, slow) = (number & !1, number % 2 == 1);
            let ratio = whole.ratio(number, without, |run| run.p99);
            table.row([
                arm.name.clone(),
                figure(share),
                figure(p99),
                figure(whole.median(number, |run| run.p99)),
                if slow { figure(ratio) } else { "1".to_owned() },
                if slow { whole.score(number, without, |run| run.p99).to_string() } else { "–".to_owned() },
                figure(whole.median(number, |run| run.p999)),
                percent(100.0 * of(|cold| cold.utilisation)),
            ]);
            if slow && balancers == 1 {
                verdict.at_most(format!("{}: the cold endpoint's share of fair", arm.name), share, 0.4);
                verdict.at_most(format!("{}: its p99 by the others'", arm.name), p99, 2.5);
                verdict.at_most(format!("{}: the pool's p99 by that without", arm.name), ratio, 1.05);
            }
        }
        verdict.tables.push(table);
    }
    verdict.note(
        "Under the algorithms that compare endpoints, one in slow start takes part in a choice of d with the chance of its part ÷ d and \
         then counts in full. Were its weight divided instead, many balancers with few requests each would give it nothing at all until \
         the window ends: each has an idle endpoint of full weight. Prequal and the least expected time weigh replies to probes by the \
         reduced weight and do give it next to nothing for most of the window.",
    );
    verdict
}
