//! What a backend says of its own load, and the weight that follows (FEATURES A19; gRFC A58): queries per second by utilization,
//! errors counted as utilization. Pure: who receives reports (ORCA trailers, headers, agents) is elsewhere. Atomics only.

use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

/// How much an error rate of 100 % adds to the utilization; A58's default.
const ERROR_PENALTY: f64 = 1.0;
/// An endpoint's reports count when they have come for as long, so that a fresh one doesn't take all; A58's default.
const BLACKOUT: u64 = Duration::from_secs(10).as_nanos() as u64;
/// A report that is older doesn't count, and the next one begins a new blackout; A58's default.
const EXPIRY: u64 = Duration::from_secs(180).as_nanos() as u64;

/// One report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReportedLoad {
    /// Requests a second that the backend serves, from all its clients, whatever their result.
    pub queries_per_second: f64,
    /// How many of these fail.
    pub errors_per_second: f64,
    /// The part of its capacity in use: the application's figure where there is one, else that of the CPU. 1 is full; may be more.
    pub utilization: f64,
}

impl ReportedLoad {
    /// qps ÷ (utilization + eps/qps · penalty): the queries a second that it would serve at full use. `None` where that says
    /// nothing: no traffic, no utilization, or no number.
    pub fn weight(&self) -> Option<f32> {
        let Self { queries_per_second: queries, errors_per_second: errors, utilization } = *self;
        if !(queries > 0.0 && utilization > 0.0 && errors >= 0.0) {
            return None;
        }
        let weight = (queries / (utilization + errors / queries * ERROR_PENALTY)) as f32;
        (weight.is_finite() && weight > 0.0).then_some(weight)
    }
}

/// The latest weight that one endpoint reported; times are nanoseconds of one clock.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    /// The bits of an `f32`.
    weight: AtomicU32,
    /// When the reports began that have come without a gap; 0: never.
    since: AtomicU64,
    /// When the last came; 0: never. Stored after the others and read before them.
    last: AtomicU64,
}

impl Reported {
    /// Takes a report; one that says nothing is passed over.
    pub(crate) fn update(&self, report: &ReportedLoad, nanos: u64) {
        let Some(weight) = report.weight() else { return };
        let nanos = nanos.max(1);
        let last = self.last.load(Acquire);
        if last == 0 || nanos.saturating_sub(last) >= EXPIRY {
            self.since.store(nanos, Relaxed);
        }
        self.weight.store(weight.to_bits(), Relaxed);
        self.last.store(nanos, Release);
    }

    /// The weight, in queries a second; `None` in the blackout and after expiry.
    pub(crate) fn weight(&self, nanos: u64) -> Option<f32> {
        let last = self.last.load(Acquire);
        let age = |stamp: u64| nanos.saturating_sub(stamp);
        let counts = last > 0 && age(last) < EXPIRY && age(self.since.load(Relaxed)) >= BLACKOUT;
        counts.then(|| f32::from_bits(self.weight.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn load(queries_per_second: f64, errors_per_second: f64, utilization: f64) -> ReportedLoad {
        ReportedLoad { queries_per_second, errors_per_second, utilization }
    }

    #[test]
    fn the_weight_is_what_it_would_serve_at_full_use() {
        assert_eq!(load(100.0, 0.0, 0.5).weight(), Some(200.0));
        // A tenth fails: as if a tenth more were in use.
        assert_eq!(load(100.0, 10.0, 0.4).weight(), Some(200.0));
        assert_eq!(load(100.0, 0.0, 1.25).weight(), Some(80.0));
    }

    #[test]
    fn a_report_that_says_nothing_has_no_weight() {
        for (queries, errors, utilization) in [
            (0.0, 0.0, 0.5),
            (100.0, 0.0, 0.0),
            (-1.0, 0.0, 0.5),
            (1.0, -1.0, 0.5),
            (f64::NAN, 0.0, 0.5),
            (1.0, f64::NAN, 0.5),
            (1.0, 0.0, f64::NAN),
            (1.0, f64::INFINITY, 0.5),
            (f64::MAX, 0.0, 0.1),
        ] {
            assert_eq!(load(queries, errors, utilization).weight(), None, "{queries} {errors} {utilization}");
        }
    }

    #[test]
    fn reports_count_after_ten_seconds_and_for_three_minutes() {
        let reported = Reported::default();
        assert_eq!(reported.weight(SECOND), None);
        reported.update(&load(100.0, 0.0, 0.5), SECOND);
        assert_eq!(reported.weight(11 * SECOND - 1), None, "blackout");
        assert_eq!(reported.weight(11 * SECOND), Some(200.0));
        reported.update(&load(100.0, 0.0, 1.0), 60 * SECOND);
        assert_eq!(reported.weight(60 * SECOND), Some(100.0), "a new report counts at once");
        reported.update(&load(0.0, 0.0, 1.0), 100 * SECOND);
        assert_eq!(reported.weight(240 * SECOND - 1), Some(100.0));
        assert_eq!(reported.weight(240 * SECOND), None, "the empty report didn't keep it alive");
    }

    #[test]
    fn after_expiry_the_blackout_begins_again() {
        let reported = Reported::default();
        reported.update(&load(100.0, 0.0, 0.5), SECOND);
        reported.update(&load(100.0, 0.0, 0.5), 200 * SECOND);
        assert_eq!(reported.weight(205 * SECOND), None);
        assert_eq!(reported.weight(210 * SECOND), Some(200.0));
    }
}
