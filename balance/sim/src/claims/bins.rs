//! Balls into bins: what the second of two draws is worth.

use std::time::Instant;

use evenkeel_balance::{Algorithm, Book, PickArgs, SmallRng};

use super::tables::{build, spec};
use crate::claim::{Claim, FLEETS, Seeds, Verdict};
use crate::report::table::{Table, figure};

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "bins",
    title: "Ten thousand balls in ten thousand bins",
    source: "Azar, Broder, Karlin, Upfal, \"Balanced allocations\", STOC 1994: the fullest bin has ln n ÷ ln ln n (1 + o(1)) balls by one \
             random draw and ln ln n ÷ ln 2 + O(1) by the better of two.",
    setup: "10,000 endpoints that start empty, 10,000 requests one after another that never end; no time passes. Several balancers share \
            the requests evenly, and each knows of its own alone.",
    run,
};

const BINS: usize = 10_000;

fn run(seeds: &Seeds) -> Verdict {
    let algorithms = [("random", Algorithm::Random), ("two distinct choices", Algorithm::LeastConnections { choice_count: 2 })];
    let runs = seeds.grid(&algorithms, |(_, algorithm), seed| largest(algorithm, seed));
    let mut verdict = Verdict::default();
    let mean = |arm: usize, fleet: usize| {
        let sum: u32 = runs[arm].iter().map(|by_fleet: &[u32; FLEETS.len()]| by_fleet[fleet]).sum();
        f64::from(sum) / runs[arm].len() as f64
    };
    verdict.within("largest bin by random draws, one balancer, mean of the seeds", mean(0, 0), 6.0, 8.0);
    verdict.within("largest bin by two distinct choices, one balancer, mean of the seeds", mean(1, 0), 3.0, 4.0);
    let mut table =
        Table::new("Balls in the largest bin, mean of the seeds.", &["arm", "1 balancer", "20 balancers", "200 balancers"]);
    for (arm, (name, _)) in algorithms.iter().enumerate() {
        table.row([(*name).to_owned(), figure(mean(arm, 0)), figure(mean(arm, 1)), figure(mean(arm, 2))]);
    }
    verdict.tables.push(table);
    verdict.note(
        "The second draw pays as far as a balancer sees the load: with many balancers each sees few of the balls, and two choices come \
         near to one.",
    );
    verdict
}

/// The fullest bin for each number of balancers.
fn largest(algorithm: &Algorithm, seed: u64) -> [u32; FLEETS.len()] {
    let now = Instant::now();
    let book = Book::new();
    let members = (0..BINS).map(|number| book.enter(spec(number.to_string(), number, 100), now)).collect();
    let pool = build(algorithm.clone(), members, seed);
    let mut rng = SmallRng::new(seed);
    FLEETS.map(|balancers| {
        let mut balls = vec![0; BINS];
        // Balancers know nothing of each other, so that they may as well come one after another, each to empty endpoints.
        for _ in 0..balancers {
            let picks = (0..BINS / balancers).filter_map(|_| pool.pick(PickArgs::default(), now, &mut rng).ok());
            let leases: Vec<_> = picks.map(|pick| pick.lease).collect();
            assert_eq!(leases.len(), BINS / balancers, "every ball finds a bin");
            balls.iter_mut().zip(pool.members()).for_each(|(balls, member)| *balls += member.in_flight());
        }
        balls.into_iter().max().unwrap_or(0)
    })
}
