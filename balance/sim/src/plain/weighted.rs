//! Weighted round robin as Google ran it before Prequal: a server's weight is its goodput ÷ its utilisation, both smoothed over seconds
//! (Wydrowski et al., NSDI 2024, §2). FROZEN, see the parent.

use evenkeel_balance::{Rng, SmallRng};

use crate::events::Nanos;
use crate::law::unit;
use crate::server::Server;

const PERIOD: Nanos = 1_000_000_000;
/// Weight of the newest period: a time constant of ten.
const NEWEST: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Weights {
    due: Nanos,
    known: Vec<Known>,
    /// Where each server stands in turns already given, each turn as long as 1 ÷ its relative weight; the lowest is next.
    stands: Vec<f64>,
    mean: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    good: u64,
    worked: Nanos,
    goodput: f64,
    utilisation: f64,
}

impl Weights {
    pub(super) fn new(servers: usize, rng: &mut SmallRng) -> Self {
        Self {
            due: rng.below(PERIOD as usize) as Nanos,
            known: vec![Known::default(); servers],
            stands: (0..servers).map(|_| unit(rng)).collect(),
            mean: 1.0,
        }
    }

    /// Reads the servers' counts, once a period.
    pub(super) fn refresh(&mut self, members: &[usize], servers: &[Server], now: Nanos) {
        if now < self.due {
            return;
        }
        self.due = now + PERIOD;
        for &index in members {
            let (server, known) = (&servers[index], &mut self.known[index]);
            known.goodput += NEWEST * ((server.good - known.good) as f64 - known.goodput);
            known.utilisation += NEWEST * ((server.worked - known.worked) as f64 / PERIOD as f64 - known.utilisation);
            (known.good, known.worked) = (server.good, server.worked);
        }
        let known: Vec<f64> = members.iter().filter_map(|&index| self.of(index)).collect();
        if !known.is_empty() {
            self.mean = known.iter().sum::<f64>() / known.len() as f64;
        }
    }

    /// Who comes later starts beside the lowest of those who were there, not with all the turns that it missed.
    pub(super) fn join(&mut self, members: &[usize], before: &[usize]) {
        let lowest = before.iter().map(|&server| self.stands[server]).fold(f64::INFINITY, f64::min);
        if lowest.is_finite() {
            for &new in members.iter().filter(|new| !before.contains(new)) {
                self.stands[new] = self.stands[new].fract() + lowest;
            }
        }
    }

    /// The next in turn among the open ones.
    pub(super) fn next(&mut self, open: impl Iterator<Item = usize>) -> Option<usize> {
        let next = open.min_by(|&a, &b| self.stands[a].total_cmp(&self.stands[b]))?;
        self.stands[next] += self.mean / self.of(next).unwrap_or(self.mean);
        Some(next)
    }

    /// Goodput ÷ utilisation; nothing where a server has shown neither: it weighs as much as the mean of the others.
    fn of(&self, server: usize) -> Option<f64> {
        let known = &self.known[server];
        (known.utilisation > 0.0 && known.goodput > 0.0).then(|| known.goodput / known.utilisation)
    }
}
