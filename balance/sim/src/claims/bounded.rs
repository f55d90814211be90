//! Bounded loads under keys of Zipf's law: the bound itself, and how far it keeps keys where they are.

use std::sync::Arc;
use std::time::Instant;

use evenkeel_balance::{
    Algorithm, Book, Endpoint, InFlight, PickArgs, PickReason, Pool, Rng, SmallRng, Table as Consistent, key_hash,
};

use super::tables::{build, spec};
use crate::claim::{Claim, FLEETS, Seeds, Verdict};
use crate::events::Queue;
use crate::law::{Law, Purpose, nanos, stream, unit};
use crate::maths::pow;
use crate::outcome::{mean, median};
use crate::report::table::{Table, figure, percent};

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "bounded",
    title: "Bounded load under popular keys",
    source: "Mirrokni, Thorup, Zadimoghaddam, \"Consistent hashing with bounded loads\", SODA 2018, for the bound; Breslau et al., \"Web \
             caching and Zipf-like distributions\", INFOCOM 1999, for the law: exponents of 0.64 to 0.83 in six traces.",
    setup: "20 endpoints, factor 1.25, keys by Zipf's law with exponent 0.8 among 10,000. The bound: open loop, Poisson, 4,000 requests/s \
            for 3 s, exponential work of 100 ms, slots unlimited. What moves: 2,000 requests in one order that never end, while 2,000 are \
            in flight at each pick (work from elsewhere on an endpoint of next to no weight goes as the requests come), at 20 endpoints \
            and at one more or less; then with one more key, at 20 % of the requests.",
    run,
};

const ENDPOINTS: usize = 20;
const KEYS: usize = 10_000;
const EXPONENT: f64 = 0.8;
const PERCENT: u32 = 125;
const REQUESTS: usize = 2_000;
/// The weight of an endpoint: that of the one that only holds work from elsewhere is 1.
const WEIGHT: u16 = 1_000;
/// The exponents for which the moves are printed.
const EXPONENTS: [f64; 4] = [0.0, EXPONENT, 1.0, 1.2];

const TABLES: [(&str, Consistent); 3] =
    [("ring", Consistent::Ring { virtual_nodes: 15 }), ("Maglev", Consistent::MAGLEV), ("rendezvous", Consistent::Rendezvous)];

fn run(seeds: &Seeds) -> Verdict {
    let mut verdict = Verdict::default();
    bound(seeds, &mut verdict);
    moves(seeds, &mut verdict);
    verdict.note(
        "The bound is each balancer's own: with many balancers each sees few requests, ⌈c·(m + 1)·wᵢ/W⌉ is rounded up from less than one \
         or two, and a key leaves its owner more often.",
    );
    verdict.note(
        "The steeper the law, the more the first keys weigh: at exponent 1 the first alone is a tenth of the requests, where an endpoint \
         may take a sixteenth, so that it spills over endpoints of other keys, and more than 15 % of the requests leave their first owner.",
    );
    verdict
}

fn bound(seeds: &Seeds, verdict: &mut Verdict) {
    let arms: Vec<_> = TABLES.iter().flat_map(|&(name, table)| FLEETS.map(|balancers| (name, table, balancers))).collect();
    let runs = seeds.grid(&arms, |&(_, table, balancers), seed| {
        [Some(PERCENT), None].map(|factor| traffic(hashing(table, factor), balancers, seed))
    });
    let title = "Open loop; the busiest endpoint's requests in flight, all balancers together, ÷ the mean: averages over picks and seeds.";
    let columns = ["table", "balancers", "picks over the bound", "overflow", "busiest ÷ mean", "the same without a bound"];
    let mut table = Table::new(title, &columns);
    let mut over = 0;
    for ((name, _, balancers), runs) in arms.iter().zip(&runs) {
        let of = |arm: usize, figure: fn(&Traffic) -> f64| mean(&runs.iter().map(|run| figure(&run[arm])).collect::<Vec<f64>>());
        let passed: u64 = runs.iter().map(|run| run[0].over).sum();
        over += passed;
        table.row([
            (*name).to_owned(),
            balancers.to_string(),
            passed.to_string(),
            percent(of(0, |run| 100.0 * run.overflow)),
            figure(of(0, |run| run.busiest)),
            figure(of(1, |run| run.busiest)),
        ]);
    }
    verdict.at_most("picks over the bound, all tables, numbers of balancers and seeds", over as f64, 0.0);
    verdict.tables.push(table);
}

/// What a run of open-loop traffic shows.
struct Traffic {
    over: u64,
    overflow: f64,
    busiest: f64,
}

fn traffic(algorithm: Algorithm, balancers: usize, seed: u64) -> Traffic {
    let pools: Vec<_> = (0..balancers).map(|_| Balancer::new(&algorithm, seed, ENDPOINTS, false)).collect();
    let (mut arrivals, mut work) = (stream(seed, Purpose::Arrivals, 0), stream(seed, Purpose::Work, 0));
    let mut picks = stream(seed, Purpose::Picks, 0);
    let (law, service) = (Zipf::new(KEYS, EXPONENT), Law::Exponential { mean: 0.1 });
    let mut in_service: Queue<(usize, InFlight)> = Queue::new();
    let mut held = [0u32; ENDPOINTS];
    let (mut now, mut count, mut over, mut overflow, mut busiest) = (0.0, 0u32, 0, 0u32, 0.0);
    loop {
        now += Law::Exponential { mean: 1.0 / 4_000.0 }.draw(&mut arrivals);
        if now > 3.0 {
            break;
        }
        while in_service.next_at() <= nanos(now)
            && let Some((_, (endpoint, lease))) = in_service.pop()
        {
            held[endpoint] -= 1;
            drop(lease);
        }
        let balancer = &pools[arrivals.below(balancers)];
        let requests = balancer.endpoints.iter().map(|endpoint| endpoint.in_flight()).sum::<u32>() + 1;
        let (lease, reason) = balancer.pick(key(seed, law.draw(&mut arrivals)), &mut picks);
        let endpoint = lease.endpoint();
        over += u64::from(endpoint.in_flight() > (PERCENT * requests).div_ceil(100 * ENDPOINTS as u32));
        overflow += u32::from(reason == PickReason::Overflow);
        let number = balancer.number(endpoint);
        held[number] += 1;
        let (most, all) = held.iter().fold((0, 0), |(most, all), &held| (held.max(most), all + held));
        busiest += f64::from(most) * ENDPOINTS as f64 / f64::from(all);
        count += 1;
        in_service.push(nanos(now + service.draw(&mut work)), (number, lease));
    }
    Traffic { over, overflow: f64::from(overflow) / f64::from(count), busiest: busiest / f64::from(count) }
}

fn moves(seeds: &Seeds, verdict: &mut Verdict) {
    let arms: Vec<_> = TABLES.iter().flat_map(|&(name, table)| EXPONENTS.map(|exponent| (name, table, exponent))).collect();
    let runs = seeds.grid(&arms, |&(_, table, exponent), seed| moved(table, exponent, seed));
    let title = "2,000 requests in one order, 2,000 in flight: medians of the seeds, and the highest.";
    let columns =
        ["table", "exponent", "moved by one endpoint more", "by one less", "left their first owner", "beside a key of 20 %"];
    let mut table = Table::new(title, &columns);
    for ((name, _, exponent), runs) in arms.iter().zip(&runs) {
        let figures = |of: fn(&Moved) -> f64| runs.iter().map(of).collect::<Vec<f64>>();
        let cell = |of: fn(&Moved) -> f64| {
            let highest = figures(of).into_iter().fold(0.0, f64::max);
            format!("{}, {}", percent(100.0 * median(&figures(of))), percent(100.0 * highest))
        };
        table.row([
            (*name).to_owned(),
            figure(*exponent),
            cell(|run| run.more),
            cell(|run| run.less),
            cell(|run| run.left),
            cell(|run| run.left_beside),
        ]);
        if *exponent == EXPONENT {
            let limit = 2.0 / ENDPOINTS as f64;
            verdict.at_most(
                format!("{name}: part that changes place with one endpoint more (2/n)"),
                median(&figures(|run| run.more)),
                limit,
            );
            verdict.at_most(
                format!("{name}: part that changes place with one endpoint less (2/n)"),
                median(&figures(|run| run.less)),
                limit,
            );
            let what = format!("{name}: part of the others that leave their first owner beside a key at 20 % of the requests");
            verdict.at_most(what, median(&figures(|run| run.left_beside)), 0.15);
        }
    }
    verdict.tables.push(table);
}

/// Parts of the requests.
struct Moved {
    more: f64,
    less: f64,
    left: f64,
    left_beside: f64,
}

fn moved(table: Consistent, exponent: f64, seed: u64) -> Moved {
    let mut rng = stream(seed, Purpose::Scenario, 0);
    let law = Zipf::new(KEYS, exponent);
    let keys: Vec<u64> = (0..REQUESTS).map(|_| key(seed, law.draw(&mut rng))).collect();
    let hot = key(seed, KEYS);
    let beside: Vec<u64> = keys.iter().map(|&key| if rng.below(5) == 0 { hot } else { key }).collect();
    let place = |keys: &[u64], endpoints: usize| placed(hashing(table, Some(PERCENT)), seed, endpoints, keys);
    let base = place(&keys, ENDPOINTS);
    let changed = |other: Vec<Placed>| part(base.iter().zip(&other).map(|(a, b)| a.endpoint != b.endpoint));
    let others = place(&beside, ENDPOINTS).into_iter().zip(&beside).filter(|&(_, &key)| key != hot);
    Moved {
        more: changed(place(&keys, ENDPOINTS + 1)),
        less: changed(place(&keys, ENDPOINTS - 1)),
        left: part(base.iter().map(|placed| placed.overflowed)),
        left_beside: part(others.map(|(placed, _)| placed.overflowed)),
    }
}

struct Placed {
    endpoint: usize,
    overflowed: bool,
}

/// Where each request goes while as many are in flight at each pick as there are requests.
fn placed(algorithm: Algorithm, seed: u64, endpoints: usize, keys: &[u64]) -> Vec<Placed> {
    let balancer = Balancer::new(&algorithm, seed, endpoints, true);
    let mut rng = SmallRng::new(seed);
    let elsewhere = build(Algorithm::RoundRobin, balancer.sink.iter().cloned().collect(), seed);
    let mut others: Vec<_> =
        keys.iter().filter_map(|_| elsewhere.pick(PickArgs::default(), balancer.now, &mut rng).ok()).collect();
    let mut leases = Vec::new();
    let place = |&key: &u64| {
        let (lease, reason) = balancer.pick(key, &mut rng);
        others.pop();
        let placed = Placed { endpoint: balancer.number(lease.endpoint()), overflowed: reason == PickReason::Overflow };
        leases.push(lease);
        placed
    };
    keys.iter().map(place).collect()
}

/// One balancer's view.
struct Balancer {
    endpoints: Vec<Arc<Endpoint>>,
    /// Has next to no weight, and holds work from elsewhere.
    sink: Option<Arc<Endpoint>>,
    pool: Pool,
    now: Instant,
}

impl Balancer {
    fn new(algorithm: &Algorithm, seed: u64, endpoints: usize, with_sink: bool) -> Self {
        let (book, now) = (Book::new(), Instant::now());
        let enter = |number: usize, weight| book.enter(spec(format!("pod-{seed}-{number}"), number, weight), now);
        let endpoints: Vec<_> = (0..endpoints).map(|number| enter(number, WEIGHT)).collect();
        let sink = with_sink.then(|| enter(endpoints.len(), 1));
        let pool = build(algorithm.clone(), endpoints.iter().chain(&sink).cloned().collect(), seed);
        Self { endpoints, sink, pool, now }
    }

    fn pick(&self, key: u64, rng: &mut SmallRng) -> (InFlight, PickReason) {
        match self.pool.pick(PickArgs { key: Some(key), ..PickArgs::default() }, self.now, rng) {
            Ok(pick) => (pick.lease, pick.reason),
            Err(none) => unreachable!("all endpoints are usable: {none:?}"),
        }
    }

    fn number(&self, endpoint: &Arc<Endpoint>) -> usize {
        match self.endpoints.iter().position(|known| Arc::ptr_eq(known, endpoint)) {
            Some(number) => number,
            None => unreachable!("the endpoint without weight is always over its bound"),
        }
    }
}

fn hashing(table: Consistent, hash_balance_factor: Option<u32>) -> Algorithm {
    Algorithm::ConsistentHash { table, hash_balance_factor }
}

fn key(seed: u64, number: usize) -> u64 {
    key_hash(format!("key-{seed}-{number}").as_bytes())
}

/// The part of them that holds.
fn part(of: impl Iterator<Item = bool>) -> f64 {
    let (holds, all) = of.fold((0u32, 0u32), |(holds, all), one| (holds + u32::from(one), all + 1));
    f64::from(holds) / f64::from(all.max(1))
}

/// Number k of n, from 0, as often as (k + 1) to the power of −exponent.
struct Zipf {
    /// Running sums.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(keys: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weigh = |number| {
            sum += pow(number as f64, -exponent);
            sum
        };
        Self { sums: (1..=keys).map(weigh).collect() }
    }

    fn draw(&self, rng: &mut impl Rng) -> usize {
        let all = self.sums.last().copied().unwrap_or(0.0);
        let at = unit(rng) * all;
        self.sums.partition_point(|&sum| sum < at).min(self.sums.len() - 1)
    }
}
