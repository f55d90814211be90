//! At random by weight (FEATURES A3): drawn evenly and kept with the chance weight ÷ largest weight, so that a weight that changes,
//! or grows in slow start, counts for the very next pick and equal weights cost one draw.

use super::{Choice, Hunt};
use crate::pick::PickReason;
use crate::rng::Rng;

/// Draws before the weights are summed up: as many as a few heavy ones among many light ones need.
const DRAWS: usize = 32;

#[derive(Debug)]
pub(crate) struct Random;

impl Random {
    pub(crate) fn pick(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> Option<Choice> {
        let (count, most) = (hunt.count(), usize::from(hunt.standing.heaviest) * 100);
        let draws = if count == 0 { 0 } else { DRAWS };
        let drawn = (0..draws).find_map(|_| {
            let index = hunt.nth(rng.below(count));
            let weight = hunt.weight(index) as usize;
            (hunt.admits(index) && (weight >= most || rng.below(most) < weight)).then_some(index)
        });
        let index = drawn.or_else(|| of_all(hunt, |index| u64::from(hunt.weight(index)), rng))?;
        Some(hunt.take(index, PickReason::Random))
    }
}

/// One of all that may be picked, by weight, in two passes. O(candidates).
pub(crate) fn of_all(hunt: &Hunt<'_>, weight: impl Fn(usize) -> u64, rng: &mut impl Rng) -> Option<usize> {
    let admitted = || (0..hunt.count()).map(|n| hunt.nth(n)).filter(|&index| hunt.admits(index));
    let total: u64 = admitted().map(&weight).sum();
    let mut left = rng.below(total as usize) as u64;
    let mut last = None;
    for index in admitted() {
        let weight = weight(index);
        if left < weight {
            return Some(index);
        }
        left -= weight;
        last = Some(index);
    }
    // Weights or health changed between the passes.
    last
}
