//! A histogram of durations for one writer: fixed bounds, relaxed atomics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in microseconds; one bucket more has no bound.
const BOUNDS: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 60_000_000,
];

/// Counts by duration.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// The sum of some histograms at one moment.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Reading {
    buckets: [u64; BOUNDS.len() + 1],
    nanos: u64,
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let micros = took.as_micros();
        let at = BOUNDS.partition_point(|bound| u128::from(*bound) < micros);
        self.buckets[at].fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn add_to(&self, reading: &mut Reading) {
        for (sum, bucket) in reading.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Relaxed);
        }
        reading.nanos = reading.nanos.wrapping_add(self.nanos.load(Relaxed));
    }
}

impl Reading {
    /// The sum in seconds.
    pub(super) fn sum(&self) -> f64 {
        self.nanos as f64 / 1e9
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Bound in seconds and count of each bucket, not accumulated.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.buckets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_rest_to_the_last() {
        let histogram = Histogram::default();
        for took in [Duration::ZERO, Duration::from_micros(250), Duration::from_micros(251), Duration::from_secs(3600)] {
            histogram.observe(took);
        }
        let mut reading = Reading::default();
        histogram.add_to(&mut reading);
        let buckets = reading.buckets();
        assert_eq!((buckets[0].1, buckets[1].1, buckets[16].1, reading.count()), (2, 1, 1, 4));
        assert_eq!(buckets[0].0, 0.000_25);
        assert!(reading.sum() > 3600.0);
    }
}
