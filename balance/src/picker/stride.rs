//! Turns by weight: the static stride of gRPC's weighted round robin (gRFC A58). The candidates are gone through in laps; whoever has
//! the largest weight takes its turn in each, all others in their part of the laps, evenly spaced. No table, no lock, and a weight
//! that changes changes the very next lap. What is kept between picks is one number, shared by all snapshots of a book.

use super::{Choice, Hunt, random};
use crate::pick::PickReason;
use crate::rng::{Rng, SmallRng};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Laps without a turn after which one is drawn: those that weigh something were tried or went away.
const FRUITLESS_LAPS: usize = 2;

/// Bits of a [`Turn`] for the part of the lap that is done; the others count laps.
const LAP_BITS: u32 = 40;

/// A start has so many of its bits clear, so that the laps don't run out soon.
const START: u32 = 8;

/// Whose turn it is: laps and the part of a lap, in 2⁻⁴⁰ laps. A part and not a number of endpoints, so that the turn stays where it is
/// when the list changes, and is as fair to picks that see different parts of it (zones, subsets). The steps of n picks make a lap but
/// for n/2 parts of 2⁴⁰: one endpoint of 1,000 gets one turn too many or too few in over 10⁹ picks.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// 0: not started.
    at: AtomicU64,
}

impl Turn {
    /// Sets where it starts, the first time only: at random, so that balancers don't march in step.
    pub(crate) fn start(&self, seed: u64) {
        let _ = self.at.compare_exchange(0, SmallRng::new(seed).next_u64() >> START | 1, Relaxed, Relaxed);
    }

    /// The lap and the place in it, below `count`, which isn't 0; the next call gets the next place.
    fn next(&self, count: usize) -> (u64, usize) {
        let count = count as u64;
        let at = self.at.fetch_add(((1 << LAP_BITS) + count / 2) / count, Relaxed);
        let part = at & ((1 << LAP_BITS) - 1);
        (at >> LAP_BITS, ((u128::from(part) * u128::from(count)) >> LAP_BITS) as usize)
    }
}

/// √3 − 1: multiples of it spread evenly over a lap, and put those of the smallest weights into different laps.
const SPREAD: f64 = 0.732_050_807_568_877_2;

/// Whether a member of this weight takes its turn in this lap, where the heaviest has `most`: in exactly `weight` of any `most` laps in
/// a row, as evenly spaced as whole laps allow.
fn takes_turn(weight: u64, most: u64, lap: u64, index: usize) -> bool {
    if weight >= most {
        return true;
    }
    let offset = ((index as f64 * SPREAD).fract() * most as f64) as u64;
    (weight * lap + offset) % most >= most - weight
}

/// The next in turn, by `weight` of a member where none weighs over `most`. During slow start a turn is taken with the chance that the
/// member has of its weight. O(heaviest ÷ mean weight).
pub(crate) fn pick(hunt: &Hunt<'_>, turn: &Turn, most: u64, weight: impl Fn(usize) -> u64, rng: &mut impl Rng) -> Option<Choice> {
    let count = hunt.count();
    for _ in 0..FRUITLESS_LAPS * count {
        let (lap, place) = turn.next(count);
        let index = hunt.nth(place);
        if takes_turn(weight(index), most, lap, index) && hunt.admits(index) && is_warm(hunt, index, rng) {
            return Some(hunt.take(index, PickReason::RoundRobin));
        }
    }
    random::of_all(hunt, weight, rng).map(|index| hunt.take(index, PickReason::RoundRobin))
}

/// By chance, as much as slow start leaves of the member's weight.
fn is_warm(hunt: &Hunt<'_>, index: usize, rng: &mut impl Rng) -> bool {
    let full = usize::from(hunt.members[index].weight()) * 100;
    hunt.slow_start.is_none() || rng.below(full) < hunt.weight(index) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The members in turn over so many laps.
    fn turns(weights: &[u64], laps: std::ops::Range<u64>) -> Vec<usize> {
        let most = *weights.iter().max().expect("weights");
        let members = || weights.iter().enumerate();
        laps.flat_map(|lap| {
            members().filter(move |&(index, &weight)| takes_turn(weight, most, lap, index)).map(|(index, _)| index)
        })
        .collect()
    }

    #[test]
    fn weights_5_1_1_interleave_as_a_a_b_a_c_a_a() {
        for unit in [1, 20, 100, 200] {
            assert_eq!(turns(&[5 * unit, unit, unit], 0..5), [0, 0, 1, 0, 2, 0, 0], "unit {unit}");
        }
    }

    proptest! {
        #[test]
        fn any_cycle_of_laps_has_exact_shares(weights in prop::collection::vec(1u64..=1_000, 1..20), first in 0u64..1 << 24) {
            let most = *weights.iter().max().expect("weights");
            let taken = turns(&weights, first..first + most);
            for (index, &weight) in weights.iter().enumerate() {
                prop_assert_eq!(taken.iter().filter(|&&turn| turn == index).count() as u64, weight);
            }
        }

        #[test]
        fn turns_are_evenly_spaced(weight in 1u64..=1_000, most in 1u64..=1_000, index in 0usize..50) {
            let laps: Vec<u64> = (0..4_000).filter(|&lap| takes_turn(weight.min(most), most, lap, index)).collect();
            let (shortest, longest) = (most / weight.min(most), most.div_ceil(weight.min(most)));
            prop_assert!(laps.windows(2).all(|pair| (shortest..=longest).contains(&(pair[1] - pair[0]))));
        }

        #[test]
        fn a_turn_visits_each_place_once_a_lap(seed: u64, count in 1usize..300) {
            let turn = Turn::default();
            turn.start(seed);
            let mut seen = vec![0; count];
            (0..3 * count).for_each(|_| seen[turn.next(count).1] += 1);
            prop_assert!(seen.iter().all(|&seen| seen == 3), "{seen:?}");
        }

        #[test]
        fn a_turn_stays_where_it_is_when_the_count_changes(seed: u64, before in 1usize..1_000, after in 1usize..1_000) {
            let turn = Turn::default();
            turn.start(seed);
            turn.start(seed + 1);
            let (_, place) = turn.next(before);
            let expected = (place as f64 + 1.0) * after as f64 / before as f64;
            let (_, place) = turn.next(after);
            let off = (place as f64 - expected).abs();
            prop_assert!(off.min(after as f64 - off) <= 1.0 + after as f64 / before as f64, "{place} for {expected}");
        }
    }
}
