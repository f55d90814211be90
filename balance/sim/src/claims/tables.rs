//! How even the three tables are, and what a removal costs them: the comparison in the Maglev paper.

use std::sync::Arc;
use std::time::Instant;

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, EndpointSpec, Health, Pool, Table as Consistent};

use crate::claim::{Claim, Seeds, Verdict};
use crate::outcome::median;
use crate::report::table::{Table, figure, percent};

/// The claim.
pub(super) const CLAIM: Claim = Claim {
    name: "tables",
    title: "Evenness of ring, Maglev and rendezvous",
    source: "Eisenbud et al., \"Maglev\", NSDI 2016, §5.3: with 1,000 backends and tables of 65,537 slots, a ring of 1,000 views and a \
             rendezvous need 29.7 % and 49.5 % more capacity than the mean, in one run each; Maglev next to nothing.",
    setup: "1,000 equal backends with other names in each seed; 65,537 key hashes at equal distances, so that each meets one slot of the \
            Maglev table and the others are read as tables of so many slots; ring of 1,000 points a backend. Then one backend goes. \
            Nothing is drawn and nothing is in flight: one balancer or 200, all have the same table.",
    run,
};

const BACKENDS: usize = 1_000;
const SLOTS: u32 = 65_537;
/// Who goes.
const GONE: usize = 500;

const TABLES: [(&str, Consistent); 3] = [
    ("ring", Consistent::Ring { virtual_nodes: 1_000 }),
    ("Maglev", Consistent::Maglev { size: SLOTS }),
    ("rendezvous", Consistent::Rendezvous),
];

/// What a seed shows of a table.
struct Seen {
    /// The largest share of slots ÷ the mean.
    largest: f64,
    /// The smallest.
    smallest: f64,
    /// Slots of the backend that went.
    moved: f64,
    /// Slots of others that changed hands all the same.
    moved_beside: f64,
}

fn run(seeds: &Seeds) -> Verdict {
    let runs = seeds.grid(&TABLES, |(_, table), seed| look(*table, seed));
    let figures = |table: usize, of: fn(&Seen) -> f64| runs[table].iter().map(of).collect::<Vec<f64>>();
    let worst = |table: usize, of: fn(&Seen) -> f64| figures(table, of).into_iter().fold(0.0, f64::max);
    let above = |table: usize| 100.0 * (median(&figures(table, |seen| seen.largest)) - 1.0);
    let mut verdict = Verdict::default();
    verdict.at_most("Maglev: largest share ÷ mean, worst seed", worst(1, |seen| seen.largest), 1.01);
    verdict.within("ring: largest share above the mean, percent (paper: 29.7)", above(0), 30.0, 52.0);
    verdict.within("rendezvous: largest share above the mean, percent (paper: 49.5)", above(2), 30.0, 52.0);
    for table in [0, 2] {
        let what = format!("{}: slots moved among the others, worst seed", TABLES[table].0);
        verdict.at_most(what, worst(table, |seen| seen.moved_beside), 0.0);
    }
    let title =
        "Shares of 65,537 slots by 1,000 backends, and slots that change hands when one backend goes; medians of the seeds.";
    let columns = [
        "table",
        "paper",
        "largest ÷ mean",
        "highest of the seeds",
        "smallest ÷ mean",
        "moved from who went",
        "moved among the others",
    ];
    let mut table = Table::new(title, &columns);
    for (number, (name, _)) in TABLES.iter().enumerate() {
        let middle = |of: fn(&Seen) -> f64| median(&figures(number, of));
        let beside = middle(|seen| seen.moved_beside);
        table.row([
            (*name).to_owned(),
            ["1.297", "–", "1.495"][number].to_owned(),
            format!("{:.3}", middle(|seen| seen.largest)),
            format!("{:.3}", worst(number, |seen| seen.largest)),
            format!("{:.3}", middle(|seen| seen.smallest)),
            figure(middle(|seen| seen.moved)),
            format!("{} ({})", figure(beside), percent(100.0 * beside / f64::from(SLOTS))),
        ]);
    }
    verdict.tables.push(table);
    verdict.note(
        "At 65 slots a backend most of the unevenness of ring and rendezvous is that of throwing 65,537 slots at 1,000 backends: both \
         come out alike, between the paper's two single runs. Maglev deals the slots out in turns and pays with moves among backends \
         that stay.",
    );
    verdict
}

fn look(table: Consistent, seed: u64) -> Seen {
    let before = slots(table, seed, None);
    let after = slots(table, seed, Some(GONE));
    let mut counts = [0u32; BACKENDS];
    before.iter().for_each(|&owner| counts[owner] += 1);
    let mean = f64::from(SLOTS) / BACKENDS as f64;
    let (moved, moved_beside): (Vec<usize>, Vec<usize>) =
        before.iter().zip(&after).filter(|(old, new)| old != new).map(|(&old, _)| old).partition(|&old| old == GONE);
    Seen {
        largest: f64::from(counts.into_iter().max().unwrap_or(0)) / mean,
        smallest: f64::from(counts.into_iter().min().unwrap_or(0)) / mean,
        moved: moved.len() as f64,
        moved_beside: moved_beside.len() as f64,
    }
}

/// For each slot the backend that owns it.
fn slots(table: Consistent, seed: u64, gone: Option<usize>) -> Vec<usize> {
    let now = Instant::now();
    let book = Book::new();
    let enter = |number| book.enter(spec(format!("pod-{seed}-{number}"), number, 100), now);
    let members = (0..BACKENDS).filter(|&number| gone != Some(number)).map(enter).collect();
    let pool = build(Algorithm::ConsistentHash { table, hash_balance_factor: None }, members, seed);
    let place = |slot: u32| (u128::from(slot) << 64).div_ceil(u128::from(SLOTS)) as u64;
    let owner = |slot| pool.owners(place(slot)).next().and_then(|owner| owner.id().parse().ok());
    let owners: Vec<usize> = (0..SLOTS).filter_map(owner).collect();
    assert_eq!(owners.len(), SLOTS as usize, "every slot has an owner");
    owners
}

/// An endpoint of this name that does nothing but be chosen.
pub(super) fn spec(ring_key: String, number: usize, weight: u16) -> EndpointSpec {
    let address = ([127, 0, 0, 1], 1 + number as u16).into();
    EndpointSpec { id: number.to_string(), ring_key, address, weight, zone: None, priority: 0, health: Health::Usable }
}

/// A pool of settings that are legal.
pub(super) fn build(algorithm: Algorithm, members: Vec<Arc<Endpoint>>, seed: u64) -> Pool {
    match Pool::try_new(Config::new(algorithm), members, seed) {
        Ok(pool) => pool,
        Err(error) => unreachable!("a claim's own settings: {error}"),
    }
}
