//! The least loaded per weight: of all candidates, or of d distinct random ones (Mitzenmacher, "The power of two choices in
//! randomized load balancing", 2001). Without replacement: with two candidates the less loaded one always wins.

use super::Hunt;
use crate::pool::{Pick, PickReason};
use crate::rng::Rng;

/// Up to as many distinct draws are made by rejection; more go through a scan.
const MAX_DRAWS: usize = 16;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Least {
    /// Distinct draws; 0: all.
    choices: usize,
}

/// The best so far: load and weight, compared as load ÷ weight without dividing.
#[derive(Clone, Copy)]
struct Best {
    index: usize,
    load: u64,
    weight: u64,
    ties: usize,
}

impl Least {
    pub(crate) fn new(choices: usize) -> Self {
        Self { choices }
    }

    pub(crate) fn pick(&self, hunt: &Hunt<'_>, reason: PickReason, rng: &mut impl Rng) -> Option<Pick> {
        if self.choices == 0 || self.choices >= hunt.standing.candidates {
            return of_all(hunt, reason, rng);
        }
        if self.choices <= MAX_DRAWS {
            match by_rejection(hunt, self.choices, reason, rng) {
                Draws::Done(pick) => return Some(pick),
                Draws::TooSparse => {}
            }
        }
        of_sample(hunt, self.choices, reason, rng)
    }
}

/// Of all candidates; ties at random. O(members).
pub(crate) fn of_all(hunt: &Hunt<'_>, reason: PickReason, rng: &mut impl Rng) -> Option<Pick> {
    let mut best = None;
    for index in 0..hunt.members.len() {
        if hunt.admits(index) {
            best = Some(better(hunt, best, index, rng));
        } else if let Some(probe) = hunt.probe(index) {
            return Some(probe);
        }
    }
    best.map(|best| hunt.take(best.index, reason))
}

enum Draws {
    Done(Pick),
    /// Candidates are so few among the members that drawing blindly doesn't find them.
    TooSparse,
}

/// Draws blindly among the members, again where the draw is a repeat or no candidate. O(d) while most members are candidates.
fn by_rejection(hunt: &Hunt<'_>, choices: usize, reason: PickReason, rng: &mut impl Rng) -> Draws {
    let mut drawn = [usize::MAX; MAX_DRAWS];
    let mut count = 0;
    let mut best = None;
    for _ in 0..8 * choices {
        let index = rng.below(hunt.members.len());
        if drawn[..count].contains(&index) {
            continue;
        }
        if !hunt.admits(index) {
            match hunt.probe(index) {
                Some(probe) => return Draws::Done(probe),
                None => continue,
            }
        }
        drawn[count] = index;
        count += 1;
        let leader = better(hunt, best, index, rng);
        if count == choices {
            return Draws::Done(hunt.take(leader.index, reason));
        }
        best = Some(leader);
    }
    Draws::TooSparse
}

/// Exactly d of the candidates, each set equally likely, in two passes without memory (Knuth, TAOCP 2, 3.4.2, algorithm S). O(members).
fn of_sample(hunt: &Hunt<'_>, choices: usize, reason: PickReason, rng: &mut impl Rng) -> Option<Pick> {
    let mut left = 0;
    for index in 0..hunt.members.len() {
        if hunt.admits(index) {
            left += 1;
        } else if let Some(probe) = hunt.probe(index) {
            return Some(probe);
        }
    }
    let mut needed = choices;
    let (mut best, mut passed) = (None, None);
    for index in (0..hunt.members.len()).filter(|&index| hunt.admits(index)) {
        if rng.below(left.max(1)) < needed {
            best = Some(better(hunt, best, index, rng));
            needed -= 1;
        } else {
            passed = Some(index);
        }
        left = usize::saturating_sub(left, 1);
    }
    // Where candidates went away between the passes, those that were counted on may be missing: then one that was passed over.
    best.map(|best| best.index).or(passed).map(|index| hunt.take(index, reason))
}

fn better(hunt: &Hunt<'_>, best: Option<Best>, index: usize, rng: &mut impl Rng) -> Best {
    let member = &hunt.members[index];
    let (load, weight) = (member.load(hunt.now), u64::from(member.weight()));
    let new = Best { index, load, weight, ties: 1 };
    let Some(best) = best else { return new };
    match (load * best.weight).cmp(&(best.load * weight)) {
        std::cmp::Ordering::Less => new,
        std::cmp::Ordering::Greater => best,
        // The k-th of equals replaces the others with chance 1/k: each of them wins equally often.
        std::cmp::Ordering::Equal => {
            let ties = best.ties + 1;
            if rng.below(ties) == 0 { Best { ties, ..new } } else { Best { ties, ..best } }
        }
    }
}
