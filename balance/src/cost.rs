//! What requests of a class are expected to cost (FEATURES A15), in microseconds: learned from response times without a lock, in a
//! table of fixed size that belongs to the book, so that no list and no policy forgets it. Classes are hashes; two that meet in a place
//! of the table share it, which costs precision alone.
//!
//! A response time is service and queueing. Taken at its mean, a class that once met a queue would look dear, be spread thinner, and
//! the table would tell of the load and not of the work. So each class keeps a low quantile: its quarter of quickest answers hardly
//! waited while endpoints idle at times. Where every request waits, all classes grow by the same wait and costs draw near to counts.

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Relaxed},
};

/// Places of the table.
const PLACES: usize = 256;
/// The quantile of a class's response times that it is expected to cost.
const QUANTILE: f32 = 0.25;
/// The least part of itself by which an estimate moves with an answer; the first ones move it by more.
const STEP: f32 = 0.02;
/// The mean over classes looks back on so many answers.
const MEAN_OF: f32 = 256.0;
/// Nothing costs more, so that the costs of all that is in flight fit their field.
const MOST: f32 = (1u32 << 26) as f32;

/// The expected costs of a book.
#[derive(Debug)]
pub(crate) struct Costs {
    /// As [`Estimate`].
    classes: [AtomicU64; PLACES],
    /// Of all requests, as [`Estimate`].
    mean: AtomicU64,
}

/// A value and how many answers it comes from, in one word. Zero: nothing known.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    value: f32,
    answers: u32,
}

impl Estimate {
    fn unpack(word: u64) -> Option<Self> {
        (word != 0).then_some(Self { value: f32::from_bits((word >> 32) as u32), answers: word as u32 })
    }

    fn pack(self) -> u64 {
        u64::from(self.value.clamp(1.0, MOST).to_bits()) << 32 | u64::from(self.answers)
    }
}

impl Costs {
    pub(crate) fn new() -> Self {
        Self { classes: std::array::from_fn(|_| AtomicU64::new(0)), mean: AtomicU64::new(0) }
    }

    /// What a request of this class costs, at least 1: without a class, or with one never seen, the mean; 1 before any answer.
    pub(crate) fn expected(&self, class: Option<u64>) -> u32 {
        let known = class.and_then(|class| Estimate::unpack(self.place(class).load(Relaxed)));
        known.map_or_else(|| self.mean(), |known| known.value as u32)
    }

    /// The mean of what requests were expected to cost of late; 1 before any answer.
    pub(crate) fn mean(&self) -> u32 {
        Estimate::unpack(self.mean.load(Relaxed)).map_or(1, |mean| mean.value as u32)
    }

    /// Takes the response time of a good answer.
    pub(crate) fn learn(&self, class: u64, micros: f32) {
        let cost = revise(self.place(class), micros, |known| {
            let step = STEP.max(1.0 / (known.answers as f32 + 1.0));
            let up = micros > known.value;
            known.value * if up { 1.0 + step * QUANTILE } else { 1.0 - step * (1.0 - QUANTILE) }
        });
        revise(&self.mean, cost, |known| known.value + (cost - known.value) / (known.answers as f32 + 1.0).min(MEAN_OF));
    }

    fn place(&self, class: u64) -> &AtomicU64 {
        &self.classes[(class >> 56) as usize % PLACES]
    }
}

/// Moves an estimate on and says what it is now; the first answer is taken as it is.
fn revise(word: &AtomicU64, first: f32, next: impl Fn(Estimate) -> f32) -> f32 {
    let revised = |before: u64| match Estimate::unpack(before) {
        None => Estimate { value: first, answers: 1 },
        Some(known) => Estimate { value: next(known), answers: known.answers.saturating_add(1) },
    };
    let before = match word.fetch_update(AcqRel, Relaxed, |before| Some(revised(before).pack())) {
        Ok(before) | Err(before) => before,
    };
    revised(before).value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, SmallRng};

    /// A class of the n-th place.
    fn class(n: u64) -> u64 {
        n << 56
    }

    #[test]
    fn a_class_costs_what_its_quickest_quarter_takes() {
        let costs = Costs::new();
        let mut rng = SmallRng::new(1);
        (0..5_000).for_each(|_| costs.learn(class(1), 1_000.0 + rng.below(1_000) as f32));
        let cost = costs.expected(Some(class(1)));
        assert!((1_150..1_350).contains(&cost), "{cost}");
    }

    #[test]
    fn queues_that_half_the_requests_meet_hardly_change_a_cost() {
        let costs = Costs::new();
        let mut rng = SmallRng::new(2);
        for _ in 0..5_000 {
            let waited = if rng.below(2) == 0 { 0.0 } else { rng.below(50_000) as f32 };
            costs.learn(class(1), 100.0 + rng.below(20) as f32 + waited);
        }
        let cost = costs.expected(Some(class(1)));
        assert!((95..150).contains(&cost), "{cost}");
    }

    #[test]
    fn a_class_never_seen_costs_the_mean() {
        let costs = Costs::new();
        assert_eq!((costs.expected(Some(class(7))), costs.expected(None)), (1, 1));
        for _ in 0..2_000 {
            costs.learn(class(1), 100.0);
            costs.learn(class(2), 900.0);
        }
        let mean = costs.expected(Some(class(7)));
        assert!((450..550).contains(&mean), "{mean}");
        assert_eq!(costs.expected(None), mean);
    }

    #[test]
    fn a_cost_follows_a_class_that_changes() {
        let costs = Costs::new();
        (0..1_000).for_each(|_| costs.learn(class(1), 100.0));
        (0..2_000).for_each(|_| costs.learn(class(1), 10_000.0));
        let cost = costs.expected(Some(class(1)));
        assert!((8_500..=10_100).contains(&cost), "{cost}");
    }

    #[test]
    fn no_answer_makes_a_cost_that_overflows() {
        let costs = Costs::new();
        for micros in [0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY] {
            costs.learn(class(3), micros);
            assert!((1..=MOST as u32).contains(&costs.expected(Some(class(3)))));
        }
    }
}
