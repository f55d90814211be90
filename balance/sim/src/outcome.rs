//! What a run gives: a record per request of the measured window, and the figures that claims read from them. Percentiles are exact
//! (nearest rank).

use crate::events::Nanos;
use crate::law::nanos;
use crate::scenario::{Scenario, UNLIMITED};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Answered.
    Good,
    /// Its last attempt got an error.
    Error,
    /// Its last attempt ran into the timeout.
    TimedOut,
    /// Nobody could be picked.
    NoServer,
    /// Never answered, and there was no timeout.
    Unanswered,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// When it came.
    pub arrived: Nanos,
    /// From then to its end.
    pub latency: Nanos,
    /// Its last server; the maximum where there was none.
    pub server: u32,
    /// Its balancer.
    pub balancer: u32,
    /// How many it took.
    pub attempts: u32,
    /// How it ended.
    pub end: End,
}

/// What a run gives.
#[derive(Debug)]
pub struct Outcome {
    /// Requests that came in the measured window, in order of their ends.
    pub records: Vec<Record>,
    /// Attempts sent to each server in the measured window.
    pub attempts: Vec<u64>,
    /// Slot time at work of each server in the measured window.
    pub busy_time: Vec<Nanos>,
    /// Slot time that each server had in it.
    pub slot_time: Vec<u128>,
    /// All requests, warm-up included.
    pub arrived: u64,
    /// All ends, warm-up included.
    pub ended: u64,
    /// Requests that balancers still count when all have ended: 0, or an arm doesn't settle its counts.
    pub left_in_flight: u64,
    pub(crate) from: Nanos,
    unlimited: bool,
}

impl Outcome {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            records: Vec::new(),
            attempts: vec![0; scenario.servers.len()],
            busy_time: Vec::new(),
            slot_time: Vec::new(),
            arrived: 0,
            ended: 0,
            left_in_flight: 0,
            from: nanos(scenario.warm_up),
            unlimited: scenario.servers.iter().any(|server| server.slots == UNLIMITED),
        }
    }

    pub(crate) fn record(&mut self, record: Record) {
        self.ended += 1;
        if record.arrived >= self.from {
            self.records.push(record);
        }
    }

    /// The requests that came within these seconds.
    pub fn between(&self, from: f64, to: f64) -> impl Iterator<Item = &Record> + Clone {
        let (from, to) = (nanos(from), nanos(to));
        self.records.iter().filter(move |record| record.arrived >= from && record.arrived < to)
    }

    /// The latencies of all requests, failed ones by the time that they took.
    pub fn latencies(&self) -> Latencies {
        self.records.iter().map(|record| record.latency).collect()
    }

    /// Requests that ended without an answer that was good.
    pub fn failures(&self) -> usize {
        self.records.iter().filter(|record| record.end != End::Good).count()
    }

    /// Good answers, in percent.
    pub fn success_percent(&self) -> f64 {
        100.0 * (1.0 - self.failures() as f64 / self.records.len().max(1) as f64)
    }

    /// Part of all slot time that was at work; nothing where slots are unlimited.
    pub fn utilisation(&self) -> Option<f64> {
        let busy: u64 = self.busy_time.iter().sum();
        let slots: u128 = self.slot_time.iter().sum();
        (!self.unlimited && slots > 0).then(|| busy as f64 / slots as f64)
    }

    /// Jain's index of the attempts per server: 1 for even, 1/n for all on one.
    pub fn jain(&self) -> f64 {
        let (sum, squares) = self.attempts.iter().fold((0.0, 0.0), |(sum, squares), &count| {
            let count = count as f64;
            (sum + count, squares + count * count)
        });
        if squares == 0.0 { 1.0 } else { sum * sum / (self.attempts.len() as f64 * squares) }
    }

    /// A server's part of the attempts.
    pub fn share(&self, server: usize) -> f64 {
        self.attempts[server] as f64 / self.attempts.iter().sum::<u64>().max(1) as f64
    }

    /// The largest part of the attempts on one server, times the number of servers: 1 for even.
    pub fn largest_share(&self) -> f64 {
        let most = self.attempts.iter().copied().max().unwrap_or(0) as f64;
        most * self.attempts.len() as f64 / self.attempts.iter().sum::<u64>().max(1) as f64
    }
}

/// Latencies, sorted.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Nanos>);

impl FromIterator<Nanos> for Latencies {
    fn from_iter<T: IntoIterator<Item = Nanos>>(latencies: T) -> Self {
        let mut sorted: Vec<Nanos> = latencies.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }
}

impl Latencies {
    /// A percentile by nearest rank, in milliseconds; 0 where there are no requests.
    pub fn percentile(&self, percent: f64) -> f64 {
        // Less a hair, so that a product that falls on a rank stays on it.
        let rank = (percent * self.0.len() as f64 / 100.0 - 1e-9).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).map_or(0.0, |&latency| latency as f64 / 1e6)
    }

    /// The mean, in milliseconds.
    pub fn mean(&self) -> f64 {
        self.0.iter().map(|&latency| latency as f64).sum::<f64>() / self.0.len().max(1) as f64 / 1e6
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The median, of the lower two where their number is even; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// The mean; 0 of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latencies: Latencies = (1..=1_000u64).map(|n| n * 1_000_000).collect();
        assert_eq!([50.0, 99.0, 99.9, 100.0].map(|percent| latencies.percentile(percent)), [500.0, 990.0, 999.0, 1_000.0]);
        assert_eq!(Latencies::default().percentile(99.0), 0.0);
        assert_eq!(latencies.mean(), 500.5);
        assert_eq!(median(&[3.0, 1.0, 2.0, 9.0]), 2.0);
    }
}
