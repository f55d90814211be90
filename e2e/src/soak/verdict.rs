//! Flat or not: the median of the last third of the samples against the median of the middle third, which the first third's
//! warming up doesn't touch. Pure.

use super::sample::Sample;
use serde::Serialize;

/// What is watched.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// Where it stands in a sample.
    pub of: fn(&Sample) -> u64,
    /// It may grow by this share …
    share: f64,
    /// … or by this much, whichever is more: load and faults are random.
    least: f64,
}

/// All that is watched.
pub const MEASURES: [Measure; 3] = [
    Measure { name: "RSS (KiB)", of: |sample| sample.rss_kib, share: 0.05, least: 1024.0 },
    Measure { name: "descriptors", of: |sample| sample.descriptors, share: 0.1, least: 32.0 },
    Measure { name: "tasks", of: |sample| sample.tasks, share: 0.1, least: 32.0 },
];

/// The fewest samples that say something: three in each third.
pub const FEWEST: usize = 9;

/// What became of one measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Of what.
    pub name: &'static str,
    /// The median of the middle third.
    pub middle: f64,
    /// The median of the last third.
    pub last: f64,
    /// What the last may be at most.
    pub bound: f64,
    /// The growth between the two, as if it went on for an hour.
    pub per_hour: f64,
    /// Whether it stayed within the bound.
    pub flat: bool,
}

/// Judges samples in the order of their times; `None` if there are too few.
pub fn judge(samples: &[Sample]) -> Option<[Verdict; 3]> {
    let third = samples.len() / 3;
    if samples.len() < FEWEST {
        return None;
    }
    let (middle, last) = (&samples[samples.len() - 2 * third..samples.len() - third], &samples[samples.len() - third..]);
    let hours = (last[0].second - middle[0].second) as f64 / 3600.0;
    Some(MEASURES.map(|measure| {
        let [before, after] = [middle, last].map(|part| median(part, measure.of));
        let bound = before + (before * measure.share).max(measure.least);
        let per_hour = (after - before) / hours;
        Verdict { name: measure.name, middle: before, last: after, bound, per_hour, flat: after <= bound }
    }))
}

fn median(samples: &[Sample], of: fn(&Sample) -> u64) -> f64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] as f64 } else { (values[half - 1] + values[half]) as f64 / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 240 samples in 20 minutes.
    fn samples(of: impl Fn(u64) -> (u64, u64, u64)) -> Vec<Sample> {
        let sample = |n| {
            let (rss_kib, descriptors, tasks) = of(n);
            Sample { second: n * 5, rss_kib, descriptors, sockets: 0, tasks }
        };
        (0..240).map(sample).collect()
    }

    fn flat(of: impl Fn(u64) -> (u64, u64, u64)) -> [bool; 3] {
        judge(&samples(of)).expect("enough samples").map(|verdict| verdict.flat)
    }

    #[test]
    fn what_warms_up_and_then_only_wavers_is_flat() {
        let warm = |n: u64| (8000 + n.min(60) * 200 + n % 7 * 150, 100 + n % 11 * 9, 80 + n % 5 * 20);
        assert_eq!(flat(warm), [true; 3]);
        // A burst, such as a restart of everything, is no growth.
        assert_eq!(flat(|n| if n == 200 { (90_000, 9_000, 9_000) } else { warm(n) }), [true; 3]);
    }

    #[test]
    fn what_leaks_slowly_is_found_each_by_itself() {
        // 20 KiB, and one descriptor or task in 10 seconds.
        assert_eq!(flat(|n| (20_000 + n * 20, 100, 80)), [false, true, true]);
        assert_eq!(flat(|n| (20_000, 100 + n / 2, 80)), [true, false, true]);
        assert_eq!(flat(|n| (20_000, 100, 80 + n / 2)), [true, true, false]);
    }

    #[test]
    fn the_bound_is_a_share_and_at_least_so_much() {
        let step = |rss: u64| move |n: u64| (if n < 160 { rss } else { rss + 2048 }, 1, 1);
        let [small, large] = [10_240, 102_400].map(|rss| judge(&samples(step(rss))).expect("enough")[0].clone());
        assert_eq!((small.middle, small.last, small.bound, small.flat), (10_240.0, 12_288.0, 11_264.0, false));
        assert_eq!((large.bound, large.flat), (107_520.0, true));
        assert_eq!(large.per_hour, 2048.0 * 9.0);
    }

    #[test]
    fn too_few_samples_say_nothing() {
        let all = samples(|_| (1, 1, 1));
        assert!(judge(&all[..FEWEST - 1]).is_none());
        assert!(judge(&all[..FEWEST]).is_some());
    }
}
