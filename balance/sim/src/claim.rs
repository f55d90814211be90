//! What a claim is and how it is judged: paired seeds (each arm of a seed meets the same requests), run in parallel, judged in a fixed
//! order, so that the number of jobs never shows in the result.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::arm::Arm;
use crate::outcome::{Outcome, median};
use crate::report::plot::Plot;
use crate::report::table::{Table, figure, percent};
use crate::scenario::Scenario;
use crate::world::run;

/// Balancers that a claim is run with beside the number that it names.
pub const FLEETS: [usize; 3] = [1, 20, 200];
/// Paired figures nearer than this, of one another, are a tie.
const TIE: f64 = 0.01;

/// A claim: a figure, its source, and a run that shows whether it holds.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// As in `--claim`; the name of its file, and of its CSV files and plots.
    pub name: &'static str,
    /// A heading.
    pub title: &'static str,
    /// Where the figure comes from.
    pub source: &'static str,
    /// Arrival law, service law, slots, and whatever else the figure hangs on.
    pub setup: &'static str,
    /// Runs it.
    pub run: fn(&Seeds) -> Verdict,
}

/// What a claim's run shows.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Each must hold.
    pub checks: Vec<Check>,
    /// Printed whatever they say.
    pub tables: Vec<Table>,
    /// Likewise.
    pub plots: Vec<Plot>,
    /// What it means, losses too: a paragraph each.
    pub notes: Vec<String>,
}

/// One figure and its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is measured.
    pub what: String,
    /// What it must be.
    pub limit: String,
    /// What it is.
    pub seen: String,
    /// What that means.
    pub judged: Judged,
}

/// What a figure means for its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It is what it must be.
    Holds,
    /// It isn't, and that is news: the run fails.
    Broken,
    /// It isn't, and was never: a goal that is missed in the open.
    Missed,
}

impl Judged {
    /// As pages and logs say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Broken => "broken",
            Self::Missed => "missed",
        }
    }
}

impl Verdict {
    /// A figure that may not be greater.
    pub fn at_most(&mut self, what: impl Into<String>, seen: f64, limit: f64) {
        self.check(what, format!("≤ {}", figure(limit)), figure(seen), seen <= limit);
    }

    /// A figure that may not be less.
    pub fn at_least(&mut self, what: impl Into<String>, seen: f64, limit: f64) {
        self.check(what, format!("≥ {}", figure(limit)), figure(seen), seen >= limit);
    }

    /// A figure that must lie between two.
    pub fn within(&mut self, what: impl Into<String>, seen: f64, low: f64, high: f64) {
        self.check(what, format!("{}–{}", figure(low), figure(high)), figure(seen), (low..=high).contains(&seen));
    }

    /// Anything else.
    pub fn check(&mut self, what: impl Into<String>, limit: impl Into<String>, seen: impl Into<String>, holds: bool) {
        let judged = if holds { Judged::Holds } else { Judged::Broken };
        self.checks.push(Check { what: what.into(), limit: limit.into(), seen: seen.into(), judged });
    }

    /// A figure that should not be greater and is known to be: said with the others, and no reason for the run to fail.
    pub fn known_above(&mut self, what: impl Into<String>, seen: f64, limit: f64) {
        let judged = if seen <= limit { Judged::Holds } else { Judged::Missed };
        self.checks.push(Check { what: what.into(), limit: format!("≤ {}", figure(limit)), seen: figure(seen), judged });
    }

    /// A paragraph of what it means.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Whether no figure is broken; a claim without figures is.
    pub fn holds(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.judged != Judged::Broken)
    }
}

/// The seeds of a run, and the threads that share them.
#[derive(Debug)]
pub struct Seeds {
    count: u64,
    jobs: usize,
    /// What stands before the progress, on a terminal.
    label: String,
}

impl Seeds {
    /// Seeds 1 to `count`, on `jobs` threads.
    pub fn new(count: u64, jobs: usize, label: &str) -> Self {
        Self { count: count.max(1), jobs: jobs.max(1), label: label.to_owned() }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Runs every item with every seed: for each item, in order, the results by seed.
    pub fn grid<I: Sync, R: Send>(&self, items: &[I], each: impl Fn(&I, u64) -> R + Sync) -> Vec<Vec<R>> {
        let seeds = self.count as usize;
        let total = items.len() * seeds;
        let results: Mutex<Vec<Option<R>>> = Mutex::new((0..total).map(|_| None).collect());
        let next = AtomicUsize::new(0);
        let line = std::io::stderr().is_terminal();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(total) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Relaxed);
                        if at >= total {
                            return;
                        }
                        let result = each(&items[at / seeds], (at % seeds) as u64 + 1);
                        results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
                        if line {
                            let _ = write!(std::io::stderr(), "\r{}: {}/{total}\x1b[K", self.label, at + 1);
                        }
                    }
                });
            }
        });
        if line {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten();
        items.iter().map(|_| results.by_ref().take(seeds).collect()).collect()
    }

    /// One result a seed.
    pub fn each<R: Send>(&self, each: impl Fn(u64) -> R + Sync) -> Vec<R> {
        self.grid(&[()], |(), seed| each(seed)).pop().unwrap_or_default()
    }

    /// Runs every arm over every seed's scenario and keeps the figures.
    pub fn compare(&self, arms: &[Arm], scenario: impl Fn(u64) -> Scenario + Sync) -> Comparison {
        let runs = self.grid(arms, |arm, seed| Summary::of(&run(&scenario(seed), arm, seed)));
        Comparison { names: arms.iter().map(|arm| arm.name.clone()).collect(), runs }
    }
}

/// The figures of one run that most tables show. Latencies in milliseconds, failed requests by the time that they took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Median latency.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Requests without a good answer.
    pub failures: f64,
    /// The same in percent.
    pub failed_percent: f64,
    /// Part of all slot time at work; nothing where slots are unlimited.
    pub utilisation: Option<f64>,
    /// The busiest server's share of the traffic, 1 is fair.
    pub largest_share: f64,
    /// Attempts a request.
    pub attempts: f64,
}

impl Summary {
    /// Of a run.
    pub fn of(outcome: &Outcome) -> Self {
        let latencies = outcome.latencies();
        let count = outcome.records.len().max(1) as f64;
        Self {
            p50: latencies.percentile(50.0),
            p99: latencies.percentile(99.0),
            p999: latencies.percentile(99.9),
            failures: outcome.failures() as f64,
            failed_percent: 100.0 - outcome.success_percent(),
            utilisation: outcome.utilisation(),
            largest_share: outcome.largest_share(),
            attempts: outcome.attempts.iter().sum::<u64>() as f64 / count,
        }
    }
}

/// Arms over the same seeds.
#[derive(Debug)]
pub struct Comparison {
    /// The arms.
    pub names: Vec<String>,
    /// For each arm its runs by seed.
    pub runs: Vec<Vec<Summary>>,
}

impl Comparison {
    /// A figure of an arm, by seed.
    pub fn figures(&self, arm: usize, figure: impl Fn(&Summary) -> f64) -> Vec<f64> {
        self.runs[arm].iter().map(figure).collect()
    }

    /// The median over seeds of an arm's figure.
    pub fn median(&self, arm: usize, figure: impl Fn(&Summary) -> f64) -> f64 {
        median(&self.figures(arm, figure))
    }

    /// The median over seeds of arm ÷ base.
    pub fn ratio(&self, arm: usize, base: usize, figure: impl Fn(&Summary) -> f64) -> f64 {
        let pairs = self.runs[arm].iter().zip(&self.runs[base]);
        median(&pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)).collect::<Vec<f64>>())
    }

    /// In how many seeds an arm's figure is lower than the base's, higher, and within 1 %.
    pub fn score(&self, arm: usize, base: usize, figure: impl Fn(&Summary) -> f64) -> Score {
        let mut score = Score::default();
        for (ours, theirs) in self.runs[arm].iter().zip(&self.runs[base]) {
            let (ours, theirs) = (figure(ours), figure(theirs));
            if (ours - theirs).abs() <= TIE * theirs.abs() {
                score.ties += 1;
            } else if ours < theirs {
                score.wins += 1;
            } else {
                score.losses += 1;
            }
        }
        score
    }

    /// The usual table: medians over seeds, and how the p99 compares with that of `base`, seed by seed.
    pub fn table(&self, title: impl Into<String>, base: usize) -> Table {
        let against = format!("p99 ÷ {}", self.names[base]);
        let columns =
            ["arm", "p50 ms", "p99 ms", "p99.9 ms", "failed", "utilisation", "busiest share", against.as_str(), "won–lost–tied"];
        let mut table = Table::new(title, &columns);
        for (arm, name) in self.names.iter().enumerate() {
            let utilisation: Vec<f64> = self.runs[arm].iter().filter_map(|run| run.utilisation).collect();
            let (ratio, score) = match arm == base {
                true => ("1".to_owned(), "–".to_owned()),
                false => (figure(self.ratio(arm, base, |run| run.p99)), self.score(arm, base, |run| run.p99).to_string()),
            };
            table.row([
                name.clone(),
                figure(self.median(arm, |run| run.p50)),
                figure(self.median(arm, |run| run.p99)),
                figure(self.median(arm, |run| run.p999)),
                percent(self.median(arm, |run| run.failed_percent)),
                if utilisation.is_empty() { "–".to_owned() } else { percent(100.0 * median(&utilisation)) },
                figure(self.median(arm, |run| run.largest_share)),
                ratio,
                score,
            ]);
        }
        table
    }
}

/// Seed by seed, lower is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// Lower than the base by more than 1 %.
    pub wins: usize,
    /// Higher by more than 1 %.
    pub losses: usize,
    /// Neither.
    pub ties: usize,
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}–{}–{}", self.wins, self.losses, self.ties)
    }
}
