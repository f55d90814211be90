//! Learned weights: turns by response time and by reported load, worked out anew every few seconds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{
    Algorithm, Book, Config, Endpoint, EndpointSpec, InFlight, PickArgs, Pool, ReportedLoad, SlowStart, SmallRng,
};

use crate::world::{enter, number, spec};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn build(algorithm: Algorithm, members: &[Arc<Endpoint>]) -> Pool {
    Pool::try_new(Config::new(algorithm), members.to_vec(), 1).unwrap()
}

/// A request a millisecond from `start` on, answered by each endpoint in its own time: shares of the last `counted` ones.
fn run(pool: &Pool, took: &[u32], start: Instant, requests: u32, counted: u32) -> Vec<f64> {
    let mut rng = SmallRng::new(3);
    let mut counts = vec![0u32; took.len()];
    let mut flying: VecDeque<(Instant, InFlight)> = VecDeque::new();
    for tick in 0..requests {
        let now = start + tick * MS;
        let mut waiting = VecDeque::new();
        while let Some((end, mut lease)) = flying.pop_front() {
            if end <= now { lease.answered(end) } else { waiting.push_back((end, lease)) }
        }
        flying = waiting;
        let lease = pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease;
        let to = number(lease.endpoint());
        counts[to] += u32::from(tick + counted >= requests);
        flying.push_back((now + took[to] * MS, lease));
    }
    counts.into_iter().map(|count| f64::from(count) / f64::from(counted)).collect()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.02);
    assert!(near, "{found:?} for {expected:?}");
}

#[test]
fn shares_go_by_the_inverse_of_the_mean_response_time() {
    let members = enter(&Book::new(), 3);
    let pool = build(Algorithm::ResponseTimeWeighted, &members);
    let start = Instant::now();
    assert_near(&run(&pool, &[10, 20, 40], start, 1_500, 1_500), &[0.333, 0.333, 0.333]);
    let later = start + 2 * SECOND;
    assert_near(&run(&pool, &[10, 20, 40], later, 20_000, 5_000), &[4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0]);
}

#[test]
fn shares_go_by_configured_weight_too() {
    let book = Book::new();
    let weights = [100, 200, 100];
    let members: Vec<_> = (0..3).map(|n| book.enter(EndpointSpec { weight: weights[n], ..spec(n) }, Instant::now())).collect();
    let pool = build(Algorithm::ResponseTimeWeighted, &members);
    let start = Instant::now();
    assert_near(&run(&pool, &[10, 10, 10], start, 1_500, 1_500), &[0.25, 0.5, 0.25]);
    assert_near(&run(&pool, &[10, 20, 40], start + 2 * SECOND, 20_000, 5_000), &[4.0 / 9.0, 4.0 / 9.0, 1.0 / 9.0]);
}

#[test]
fn a_new_list_keeps_what_was_learned() {
    let members = enter(&Book::new(), 2);
    let start = Instant::now();
    run(&build(Algorithm::ResponseTimeWeighted, &members), &[10, 30], start, 20_000, 1);
    let again = build(Algorithm::ResponseTimeWeighted, &members);
    assert_near(&run(&again, &[10, 30], start + 20 * SECOND, 400, 400), &[0.75, 0.25]);
}

#[test]
fn what_is_not_confirmed_fades_towards_the_mean() {
    let members = enter(&Book::new(), 2);
    let start = Instant::now();
    run(&build(Algorithm::ResponseTimeWeighted, &members), &[10, 30], start, 20_000, 1);
    // A minute without a request; then both would be equals but for e⁻⁶ of what was known.
    let again = build(Algorithm::ResponseTimeWeighted, &members);
    assert_near(&run(&again, &[10, 30], start + 80 * SECOND, 400, 400), &[0.5, 0.5]);
}

#[test]
fn nobody_falls_under_a_tenth_of_the_mean() {
    let members = enter(&Book::new(), 4);
    let pool = build(Algorithm::ResponseTimeWeighted, &members);
    let shares = run(&pool, &[10, 10, 10, 900], Instant::now(), 40_000, 10_000);
    assert!((0.02..0.04).contains(&shares[3]), "a tenth of the mean weight is a fortieth here: {shares:?}");
}

fn report(endpoint: &Endpoint, queries_per_second: f64, errors_per_second: f64, utilization: f64, now: Instant) {
    endpoint.report_load(&ReportedLoad { queries_per_second, errors_per_second, utilization }, now);
}

fn shares(pool: &Pool, now: Instant) -> Vec<f64> {
    let (mut rng, mut counts) = (SmallRng::new(1), vec![0.0; pool.members().len()]);
    for _ in 0..10_000 {
        counts[number(pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease.endpoint())] += 1e-4;
    }
    counts
}

#[test]
fn reported_weights_count_after_the_blackout_and_end_with_expiry() {
    let members = enter(&Book::new(), 4);
    let pool = build(Algorithm::ReportedWeighted, &members);
    let start = Instant::now();
    // 200, 100 and (half of it errors) 100 queries a second at full use; the last says nothing and gets their mean.
    for seconds in [0, 5, 11] {
        let now = start + seconds * SECOND;
        report(&members[0], 100.0, 0.0, 0.5, now);
        report(&members[1], 100.0, 0.0, 1.0, now);
        report(&members[2], 100.0, 50.0, 0.5, now);
    }
    assert_near(&shares(&pool, start + 9 * SECOND), &[0.25; 4]);
    let (heavy, light, mean) = (200.0, 100.0, 400.0 / 3.0);
    let sum = heavy + 2.0 * light + mean;
    assert_near(&shares(&pool, start + 12 * SECOND), &[heavy / sum, light / sum, light / sum, mean / sum]);
    assert_near(&shares(&pool, start + 192 * SECOND), &[0.25; 4]);
}

#[test]
fn one_report_alone_changes_nothing() {
    let members = enter(&Book::new(), 3);
    let pool = build(Algorithm::ReportedWeighted, &members);
    let start = Instant::now();
    report(&members[0], 100.0, 0.0, 0.1, start);
    assert_near(&shares(&pool, start + 20 * SECOND), &[0.333; 3]);
}

#[test]
fn a_changed_report_counts_after_a_second() {
    let members = enter(&Book::new(), 2);
    let pool = build(Algorithm::ReportedWeighted, &members);
    let start = Instant::now();
    members.iter().for_each(|member| report(member, 100.0, 0.0, 0.5, start));
    assert_near(&shares(&pool, start + 10 * SECOND), &[0.5, 0.5]);
    report(&members[0], 300.0, 0.0, 0.5, start + 10 * SECOND);
    assert_near(&shares(&pool, start + 10 * SECOND + 999 * MS), &[0.5, 0.5]);
    assert_near(&shares(&pool, start + 11 * SECOND), &[0.75, 0.25]);
}

#[test]
fn a_warming_endpoint_takes_a_part_of_its_turns() {
    let (book, start) = (Book::new(), Instant::now());
    let mut members = enter(&book, 3);
    let later = start + 1_000 * SECOND;
    members.push(book.enter(spec(3), later));
    let slow_start = Some(SlowStart { window: 100 * SECOND, min_weight_percent: 10 });
    for algorithm in [Algorithm::ResponseTimeWeighted, Algorithm::ReportedWeighted] {
        let pool = Pool::try_new(Config { slow_start, ..Config::new(algorithm) }, members.clone(), 1).unwrap();
        assert_near(&shares(&pool, later), &[1.0 / 3.1, 1.0 / 3.1, 1.0 / 3.1, 0.1 / 3.1]);
    }
}
