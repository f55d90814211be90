//! Zones of 2, 3 and 10 endpoints whose callers are as many in each (FEATURES A21): the small ones must spill, the large one must not,
//! and nobody is told who calls from where.

use std::time::Duration;

use evenkeel_balance::{Algorithm, Config};

use crate::arm::Arm;
use crate::claim::{Claim, FLEETS, Score, Seeds, Verdict};
use crate::law::Law;
use crate::outcome::{Outcome, median};
use crate::report::table::{Table, figure, percent};
use crate::scenario::{BalancerSpec, Change, Event, Scenario, ServerSpec};
use crate::world::run as play;

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "zones",
    title: "Zones of 2, 3 and 10 endpoints",
    source: "FEATURES A21. What is possible: a zone of demand D and capacity C can keep min(C, D) ÷ D of its requests.",
    setup: "15 servers of 4 slots, exponential work of 40 ms, Poisson; 0.1 ms one way within a zone, 0.5 ms between zones; loads of all \
            capacity; 20 s warm-up, 20 s measured. The balancers stand in the three zones in turn and each zone has a third of the \
            requests; one balancer alone stands in the smallest. No timeouts, no retries. Where something happens, it happens 5 s into \
            the measured time.",
    run,
};

const ZONES: [usize; 3] = [2, 3, 10];
const LOADS: [f64; 4] = [0.3, 0.6, 0.8, 0.95];
const SLOTS: u32 = 4;
const MEAN: f64 = 0.04;
const WARM_UP: f64 = 20.0;

fn zone_of(server: usize) -> usize {
    [2, 5].partition_point(|&first| first <= server)
}

fn scenario(balancers: usize, load: f64) -> Scenario {
    let servers: Vec<ServerSpec> = (0..ZONES.iter().sum())
        .map(|server| ServerSpec { slots: SLOTS, zone: Some(zone_of(server) as u32), ..ServerSpec::default() })
        .collect();
    let rate = load * f64::from(SLOTS) * servers.len() as f64 / MEAN;
    let mut scenario = Scenario::new(balancers, servers, rate, Law::Exponential { mean: MEAN });
    let in_zone = |zone: usize| (0..balancers).filter(|number| number % 3 == zone).count();
    let spec = |number: usize| BalancerSpec { share: 1.0 / in_zone(number % 3) as f64, zone: Some((number % 3) as u32) };
    scenario.balancers = (0..balancers).map(spec).collect();
    (scenario.network.local, scenario.network.across) = (Duration::from_micros(100), Duration::from_micros(500));
    (scenario.warm_up, scenario.length) = (WARM_UP, WARM_UP + 20.0);
    scenario
}

/// The part of a zone's requests that it could serve itself.
fn possible(balancers: usize, load: f64, zone: usize) -> f64 {
    let demand = load * 15.0 / balancers.min(3) as f64;
    (ZONES[zone] as f64 / demand).min(1.0)
}

/// What one run shows: for each zone the part of its requests that stayed, what it was asked for, of its capacity, and how busy it was.
#[derive(Debug, Clone, Copy)]
struct Seen {
    stayed: [f64; 3],
    asked: [f64; 3],
    busy: [f64; 3],
    p99: f64,
}

impl Seen {
    /// Of the requests that came within these seconds, and of the whole measured time for what servers show.
    fn of(outcome: &Outcome, from: f64) -> Self {
        let (mut stayed, mut all) = ([0.0; 3], [0.0f64; 3]);
        for record in outcome.between(from, f64::from(u16::MAX)) {
            let zone = record.balancer as usize % 3;
            all[zone] += 1.0;
            stayed[zone] += f64::from(u8::from(zone_of(record.server as usize) == zone));
        }
        let (mut busy, mut asked, mut slots) = ([0.0; 3], [0.0; 3], [0.0f64; 3]);
        for server in 0..outcome.busy_time.len() {
            let zone = zone_of(server);
            busy[zone] += outcome.busy_time[server] as f64;
            asked[zone] += outcome.attempts[server] as f64 * MEAN * 1e9;
            slots[zone] += outcome.slot_time[server] as f64;
        }
        let part = |part: [f64; 3], whole: [f64; 3]| [0, 1, 2].map(|zone| part[zone] / whole[zone].max(1.0));
        let p99 = outcome.latencies().percentile(99.0);
        Self { stayed: part(stayed, all), asked: part(asked, slots), busy: part(busy, slots), p99 }
    }
}

/// The arms' runs, seed by seed.
struct Runs(Vec<Vec<Seen>>);

impl Runs {
    fn median(&self, arm: usize, figure: impl Fn(&Seen) -> f64) -> f64 {
        median(&self.0[arm].iter().map(figure).collect::<Vec<f64>>())
    }

    fn most(&self, arm: usize, figure: impl Fn(&Seen) -> f64) -> f64 {
        self.0[arm].iter().map(figure).fold(0.0, f64::max)
    }

    fn p99_ratio(&self, arm: usize) -> f64 {
        median(&self.0[arm].iter().zip(&self.0[BLIND]).map(|(ours, blind)| ours.p99 / blind.p99).collect::<Vec<f64>>())
    }

    fn score(&self, arm: usize) -> String {
        let mut score = Score::default();
        for (ours, blind) in self.0[arm].iter().zip(&self.0[BLIND]) {
            match ours.p99 / blind.p99 {
                0.99..=1.01 => score.ties += 1,
                ratio if ratio < 1.0 => score.wins += 1,
                _ => score.losses += 1,
            }
        }
        score.to_string()
    }
}

/// Places of the arms that are judged.
const BLIND: usize = 0;
const AWARE: usize = 1;

fn arms() -> [Arm; 2] {
    let two = Algorithm::LeastConnections { choice_count: 2 };
    let aware = Config { zone: Some(String::new()), ..Config::new(two.clone()) };
    [Arm::ours("zone-blind", two), Arm::configured("zones preferred", aware)]
}

const COLUMNS: [&str; 8] =
    ["load", "arm", "stayed", "of possible", "asked of capacity", "busy", "p99 ÷ zone-blind", "won–lost–tied"];

fn row(table: &mut Table, what: &str, arm: (usize, &Arm), runs: &Runs, possible: &dyn Fn(usize) -> Option<f64>) {
    let (arm, about) = arm;
    let each = |of: &dyn Fn(usize) -> Option<f64>| {
        [0, 1, 2].map(|zone| of(zone).map_or("–".to_owned(), |part| percent(100.0 * part))).join(" / ")
    };
    let stayed = |zone: usize| possible(zone).map(|_| runs.median(arm, |seen| seen.stayed[zone]));
    table.row([
        what.to_owned(),
        about.name.clone(),
        each(&stayed),
        each(&|zone| Some(stayed(zone)? / possible(zone)?)),
        each(&|zone| Some(runs.median(arm, |seen| seen.asked[zone]))),
        each(&|zone| Some(runs.median(arm, |seen| seen.busy[zone]))),
        figure(runs.p99_ratio(arm)),
        if arm == BLIND { "–".to_owned() } else { runs.score(arm) },
    ]);
}

fn run(seeds: &Seeds) -> Verdict {
    let mut verdict = Verdict::default();
    let arms = arms();
    for balancers in FLEETS {
        let mut table = Table::new(format!("Balancers: {balancers}. Zones of 2 / 3 / 10."), &COLUMNS);
        for load in LOADS {
            let runs = Runs(seeds.grid(&arms, |arm, seed| Seen::of(&play(&scenario(balancers, load), arm, seed), 0.0)));
            let possible = |zone: usize| (zone < balancers).then(|| possible(balancers, load, zone));
            for arm in arms.iter().enumerate() {
                row(&mut table, &figure(load), arm, &runs, &possible);
            }
            judge(&mut verdict, balancers, load, &runs, &possible);
        }
        verdict.tables.push(table);
    }
    events(seeds, &arms, &mut verdict);
    NOTES.iter().for_each(|note| verdict.note(*note));
    verdict
}

/// What a zone keeps of what it could is judged where all zones have callers.
fn judge(verdict: &mut Verdict, balancers: usize, load: f64, runs: &Runs, possible: &dyn Fn(usize) -> Option<f64>) {
    let at = format!("balancers: {balancers}, load {load}");
    let kept = |zone: usize| Some(runs.median(AWARE, |seen| seen.stayed[zone]) / possible(zone)?);
    let least = (0..3).filter_map(kept).fold(1.0, f64::min);
    let limit = if balancers == 200 { 0.55 } else { 0.65 };
    verdict.at_least(format!("{at}: what the zone that keeps least keeps of what it could"), least, limit);
    let asked = (0..3).map(|zone| runs.most(AWARE, |seen| seen.asked[zone])).fold(0.0, f64::max);
    verdict.at_most(format!("{at}: the most asked of a zone in any seed, of its capacity"), asked, 1.03);
    verdict.at_most(format!("{at}: p99 ÷ zone-blind two choices"), runs.p99_ratio(AWARE), 1.1);
}

/// What may happen to the zone of ten, which all its callers stay in.
fn events(seeds: &Seeds, arms: &[Arm], verdict: &mut Verdict) {
    let happens =
        |at: usize, what: &Event| (0..at).map(|n| Change { at: WARM_UP + 5.0, server: 5 + n, what: what.clone() }).collect();
    let events: [(&str, Vec<Change>, f64); 3] = [
        ("the zone of 10 loses 9", happens(9, &Event::Leave), 0.3),
        ("the zone of 10 loses all", happens(10, &Event::Leave), 0.25),
        ("the zone of 10 runs at 0.4 of its speed", happens(10, &Event::Speed(0.4)), 0.4),
    ];
    for balancers in [20, 200] {
        let mut table = Table::new(
            format!("Balancers: {balancers}. Something happens; what stayed is of the last 10 s."),
            &["load, and what", "arm", "stayed", "p99 ÷ zone-blind", "won–lost–tied"],
        );
        for (what, changes, load) in &events {
            let scenario = || Scenario { changes: changes.clone(), ..scenario(balancers, *load) };
            let runs = Runs(seeds.grid(arms, |arm, seed| Seen::of(&play(&scenario(), arm, seed), WARM_UP + 10.0)));
            for (arm, about) in arms.iter().enumerate() {
                let stayed = [0, 1, 2].map(|zone| percent(100.0 * runs.median(arm, |seen| seen.stayed[zone])));
                table.row([
                    format!("{load}: {what}"),
                    about.name.clone(),
                    stayed.join(" / "),
                    figure(runs.p99_ratio(arm)),
                    if arm == BLIND { "–".to_owned() } else { runs.score(arm) },
                ]);
            }
            verdict.at_most(format!("balancers: {balancers}, {what}: p99 ÷ zone-blind two choices"), runs.p99_ratio(AWARE), 1.1);
        }
        verdict.tables.push(table);
    }
}

const NOTES: [&str; 2] = [
    "Both arms are least connections of two choices. Who knew how many callers each zone has and aimed at as much work for each endpoint \
     (as Envoy's zone-aware routing does) would keep 40 / 60 / 100 % whatever the load; staying wherever the zone has an endpoint, as \
     Kubernetes' traffic distribution does, would ask the zone of two for 1.5 times its capacity at load 0.6 and for twice at 0.8.",
    "What is lost: a balancer that spills doesn't choose among the other zones, so that at high load the middle zone gets some of what the \
     smallest sheds and keeps less of its own than it could. With 200 balancers each sees 2 to 7 requests a second, knows the zones' \
     response times only roughly, and spills some that could have stayed; p99 is up to a twentieth above zone-blind at middle loads, where \
     the small zones are far busier than the large one.",
];
