//! Round robin: in turn, by weight where weights differ, and on from where it was when lists and weights change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, EndpointSpec, Health, PickArgs, Pool, SlowStart, SmallRng};
use proptest::prelude::*;

use crate::world::{enter, number, spec};

fn build(members: &[Arc<Endpoint>], seed: u64) -> Pool {
    Pool::try_new(Config::new(Algorithm::RoundRobin), members.to_vec(), seed).unwrap()
}

fn turns(pool: &Pool, count: usize) -> Vec<usize> {
    let mut rng = SmallRng::new(5);
    let mut pick = || pool.pick(PickArgs::default(), Instant::now(), &mut rng).unwrap();
    (0..count).map(|_| number(pick().lease.endpoint())).collect()
}

fn weighted(book: &Book, weights: &[u16]) -> Vec<Arc<Endpoint>> {
    let entry = |(number, &weight)| book.enter(EndpointSpec { weight, ..spec(number) }, Instant::now());
    weights.iter().enumerate().map(entry).collect()
}

fn shares(turns: &[usize], members: usize) -> Vec<usize> {
    (0..members).map(|member| turns.iter().filter(|&&turn| turn == member).count()).collect()
}

#[test]
fn weights_5_1_1_go_a_a_b_a_c_a_a_from_a_random_place_on() {
    for unit in [1, 20, 100] {
        let mut starts = [0; 7];
        for seed in 0..200 {
            let pool = build(&weighted(&Book::new(), &[5 * unit, unit, unit]), seed);
            let cycle = [0, 0, 1, 0, 2, 0, 0];
            let turns = turns(&pool, 21);
            let start = (0..7).find(|start| (0..21).all(|turn| turns[turn] == cycle[(start + turn) % 7]));
            starts[start.unwrap_or_else(|| panic!("seed {seed}: {turns:?}"))] += 1;
        }
        assert!(starts.iter().filter(|&&count| count > 0).count() >= 5, "{starts:?}");
        assert!(starts[0] > 0, "one of them is a fresh start: {starts:?}");
    }
}

#[test]
fn it_starts_elsewhere_in_each_sidecar() {
    let mut starts = [0u32; 10];
    (0..1_000).for_each(|seed| starts[turns(&build(&enter(&Book::new(), 10), seed), 1)[0]] += 1);
    assert!(starts.iter().all(|count| (60..140).contains(count)), "{starts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn shares_over_a_cycle_are_exact(weights in prop::collection::vec(1u16..=50, 1..12), unit in 1u16..=20, seed: u64) {
        let scaled: Vec<u16> = weights.iter().map(|weight| weight * unit).collect();
        let pool = build(&weighted(&Book::new(), &scaled), seed);
        let cycle = weights.iter().map(|&weight| usize::from(weight)).sum::<usize>();
        let shares = shares(&turns(&pool, cycle), weights.len());
        prop_assert_eq!(shares, weights.into_iter().map(usize::from).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_waits_for_more_than_a_turn_over_its_period(weights in prop::collection::vec(1u16..=20, 2..8), seed: u64) {
        let pool = build(&weighted(&Book::new(), &weights), seed);
        let (most, sum) = (*weights.iter().max().unwrap(), weights.iter().sum::<u16>());
        let turns = turns(&pool, 20 * usize::from(sum));
        for (member, weight) in weights.iter().enumerate() {
            let at: Vec<usize> = (0..turns.len()).filter(|&turn| turns[turn] == member).collect();
            let gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            // At most ⌈most ÷ weight⌉ laps of at most all members.
            prop_assert!(gap <= usize::from(most.div_ceil(*weight)) * weights.len(), "{member} of {weights:?} waits for {gap}");
        }
    }

    #[test]
    fn a_list_or_weight_change_keeps_the_position(count in 2usize..30, done in 0usize..40, seed: u64) {
        let book = Book::new();
        let members = enter(&book, count);
        let pool = build(&members, seed);
        let order: Vec<usize> = pool.members().iter().map(|member| number(member)).collect();
        let place = |turn: usize| order.iter().position(|&member| member == turn).unwrap();
        let last = *turns(&pool, done + 1).last().unwrap();
        // The same list again, from another seed: whoever would have been next is next.
        let again = turns(&build(&members, seed ^ 1), count);
        prop_assert_eq!(place(again[0]), (place(last) + 1) % count);
        // All weights doubled: still in turn.
        members.iter().for_each(|member| member.set_weight(200));
        let doubled = turns(&build(&members, seed ^ 2), count);
        prop_assert_eq!(place(doubled[0]), (place(last) + 1) % count);
    }
}

#[test]
fn a_heavier_weight_counts_from_the_next_turn_on_and_gives_nobody_two_turns_in_a_lap() {
    let book = Book::new();
    let members = enter(&book, 4);
    let pool = build(&members, 7);
    let first = turns(&pool, 2);
    members[3].set_weight(300);
    // The rest of the lap and three laps on: the old three have one turn in three laps, the heavy one has three.
    let after = turns(&pool, 18);
    let shares = shares(&after, 4);
    assert!((8..=10).contains(&shares[3]), "{first:?} {after:?}");
    assert!(shares[..3].iter().all(|share| (2..=4).contains(share)), "{first:?} {after:?}");
}

#[test]
fn the_one_after_a_missing_one_gets_no_second_turn() {
    for out in [Health::NotReady, Health::Draining] {
        let book = Book::new();
        let members = weighted(&book, &[100, 100, 100, 200, 100]);
        let pool = build(&members, 3);
        members[2].set_health(out, Instant::now());
        assert_eq!(shares(&turns(&pool, 500), 5), [100, 100, 0, 200, 100]);
    }
}

#[test]
fn a_retry_takes_the_next_turn_and_ends_when_all_were_tried() {
    let book = Book::new();
    let members = weighted(&book, &[1_000, 1, 1]);
    let pool = build(&members, 3);
    let mut rng = SmallRng::new(1);
    for _ in 0..50 {
        let mut tried = Vec::new();
        while let Ok(pick) = pool.pick(PickArgs { tried: &tried, ..PickArgs::default() }, Instant::now(), &mut rng) {
            tried.push(Arc::clone(pick.lease.endpoint()));
        }
        assert_eq!(tried.len(), 3);
    }
    // With the heavy one tried, the two light ones share its retries.
    let mut seconds = [0u32; 3];
    for _ in 0..400 {
        let args = PickArgs { tried: &members[..1], ..PickArgs::default() };
        seconds[number(pool.pick(args, Instant::now(), &mut rng).unwrap().lease.endpoint())] += 1;
    }
    assert!(seconds[0] == 0 && (150..250).contains(&seconds[1]), "{seconds:?}");
}

#[test]
fn workers_that_race_share_one_turn() {
    let book = Book::new();
    let members = weighted(&book, &[300, 100, 200]);
    let pool = build(&members, 3);
    let now = Instant::now();
    let counts: Vec<[usize; 3]> = std::thread::scope(|scope| {
        let worker = |seed| {
            let (pool, mut rng) = (&pool, SmallRng::new(seed));
            scope.spawn(move || {
                let mut counts = [0; 3];
                (0..30_000).for_each(|_| {
                    counts[number(pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease.endpoint())] += 1;
                });
                counts
            })
        };
        let workers = [worker(1), worker(2)];
        workers.map(|worker| worker.join().unwrap()).to_vec()
    });
    let sums: Vec<usize> = (0..3).map(|member| counts.iter().map(|counts| counts[member]).sum()).collect();
    assert!(sums.iter().zip([30_000, 10_000, 20_000]).all(|(sum, share)| sum.abs_diff(share) <= 2), "{sums:?}");
}

#[test]
fn a_warming_endpoint_takes_its_turn_with_the_chance_of_its_factor() {
    let (book, start) = (Book::new(), Instant::now());
    let mut members = enter(&book, 3);
    let config = Config {
        slow_start: Some(SlowStart { window: Duration::from_secs(100), min_weight_percent: 10 }),
        ..Config::new(Algorithm::RoundRobin)
    };
    let later = start + Duration::from_secs(1_000);
    members.push(book.enter(spec(3), later));
    let pool = Pool::try_new(config, members, 4).unwrap();
    let mut rng = SmallRng::new(8);
    for (seconds, factor) in [(0, 0.1), (50, 0.55), (100, 1.0)] {
        let now = later + Duration::from_secs(seconds);
        let picks = 8_000;
        let pick = |rng: &mut SmallRng| number(pool.pick(PickArgs::default(), now, rng).unwrap().lease.endpoint());
        let warming = (0..picks).filter(|_| pick(&mut rng) == 3).count() as f64;
        let share = factor / (3.0 + factor);
        assert!((warming / f64::from(picks) / share - 1.0).abs() < 0.15, "after {seconds} s: {warming} of {picks}");
    }
}
