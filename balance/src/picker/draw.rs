//! The lowest score of all candidates, or of d distinct random ones: the machinery of every algorithm that compares endpoints. Draws
//! are without replacement, so that with two candidates the better one always wins; of equals each wins as often.

use super::{Choice, Hunt};
use crate::pick::PickReason;
use crate::rng::{Rng, SmallRng};

/// Up to as many distinct draws are made by rejection; more go through a scan.
const MAX_DRAWS: usize = 16;

/// A score as a fraction, compared without dividing: lower is better. `under` isn't 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Score {
    pub(crate) over: u64,
    pub(crate) under: u32,
}

impl Score {
    #[inline]
    fn cmp(self, other: Self) -> std::cmp::Ordering {
        if self.under == other.under {
            return self.over.cmp(&other.over);
        }
        let product = |a: u64, b: u32| u128::from(a) * u128::from(b);
        product(self.over, other.under).cmp(&product(other.over, self.under))
    }
}

#[derive(Clone, Copy)]
struct Best {
    index: usize,
    score: Score,
    /// Equals so far.
    ties: usize,
    /// The equal that takes its place.
    next: usize,
}

impl Best {
    fn new(index: usize, score: Score, ties: usize, rng: &mut impl Rng) -> Self {
        Self { index, score, ties, next: successor(ties, rng) }
    }

    /// After one more, if that isn't worse.
    #[inline]
    fn met(self, index: usize, score: Score, rng: &mut impl Rng) -> Self {
        let ties = if score.cmp(self.score).is_lt() { 1 } else { self.ties + 1 };
        if ties == 1 || ties == self.next { Self::new(index, score, ties, rng) } else { Self { ties, ..self } }
    }
}

/// The best of `choices` distinct draws; 0: of all. Those in slow start take part by chance.
pub(crate) fn pick(
    hunt: &Hunt<'_>,
    choices: usize,
    reason: PickReason,
    score: impl Fn(&Hunt<'_>, usize) -> Score,
    rng: &mut impl Rng,
) -> Option<Choice> {
    if hunt.slow_start.is_some() {
        pick_sparing(hunt, choices, reason, score, |_, _| false, rng)
    } else {
        pick_any(hunt, choices, reason, score, rng)
    }
}

/// The same, and those that are `new` take part by chance too: with the chance that gives them their share, and in slow start their
/// part of it, if they win whenever they take part. Balancers that learn of an endpoint at once would all run to it else, for an idle
/// one looks best to all of them; and by its small weight alone it would look worst to all of them, and get nothing while it grows.
pub(crate) fn pick_sparing(
    hunt: &Hunt<'_>,
    choices: usize,
    reason: PickReason,
    score: impl Fn(&Hunt<'_>, usize) -> Score,
    is_new: impl Fn(&Hunt<'_>, usize) -> bool,
    rng: &mut impl Rng,
) -> Option<Choice> {
    let salt = rng.next_u64();
    let drawn = if choices == 0 { hunt.count() } else { choices.min(hunt.count()) } as f32;
    let mean = hunt.standing.weight as f32 / hunt.standing.candidates.max(1) as f32;
    let grown = Hunt { slow_start: None, scope: hunt.scope.clone(), ..*hunt };
    let spared = |hunt: &Hunt<'_>, index: usize| {
        let Score { over, under } = score(&grown, index);
        let part = hunt.weight(index) as f32 / grown.weight(index).max(1) as f32;
        if part >= 1.0 && !is_new(hunt, index) {
            return Score { over, under };
        }
        let chance = part * grown.weight(index) as f32 / mean / drawn;
        let takes_part = ((SmallRng::new(salt ^ index as u64).next_u64() >> 40) as f32) < chance * (1 << 24) as f32;
        // By a hair the best of equals: where most are idle it would have its share of a share else.
        if takes_part { Score { over, under: under + 1 } } else { Score { over: over.saturating_mul(SPARED), under } }
    };
    pick_any(hunt, choices, reason, spared, rng)
}

/// What the score of one that doesn't take part is multiplied with: it is chosen where the others don't take part either.
const SPARED: u64 = 1 << 20;

fn pick_any(
    hunt: &Hunt<'_>,
    choices: usize,
    reason: PickReason,
    score: impl Fn(&Hunt<'_>, usize) -> Score,
    rng: &mut impl Rng,
) -> Option<Choice> {
    let count = hunt.count();
    let best = if choices == 0 || choices >= count {
        of_all(hunt, &score, rng)
    } else if choices == 2 {
        of_two(hunt, &score, rng).or_else(|| of_two_left(hunt, &score, rng))
    } else if choices <= MAX_DRAWS {
        by_rejection(hunt, choices, &score, rng).or_else(|| of_sample(hunt, choices, &score, rng))
    } else {
        of_sample(hunt, choices, &score, rng)
    };
    best.map(|index| hunt.take(index, reason))
}

/// All candidates, the best first; equals in canonical order.
pub(crate) fn order(hunt: &Hunt<'_>, score: impl Fn(&Hunt<'_>, usize) -> Score) -> Vec<usize> {
    let admitted = (0..hunt.count()).map(|n| hunt.nth(n)).filter(|&index| hunt.admits(index));
    let mut scored: Vec<(Score, usize)> = admitted.map(|index| (score(hunt, index), index)).collect();
    scored.sort_by(|(a, _), (b, _)| a.cmp(*b));
    scored.into_iter().map(|(_, index)| index).collect()
}

/// O(candidates). The list is taken at its word for all but the winner: asking each one's health again costs more than the scores do.
pub(crate) fn of_all(hunt: &Hunt<'_>, score: &impl Fn(&Hunt<'_>, usize) -> Score, rng: &mut impl Rng) -> Option<usize> {
    let listed = || (0..hunt.count()).map(|n| hunt.nth(n));
    if hunt.args.tried.is_empty()
        && let Some(index) = best_of(hunt, listed(), score, rng)
        && hunt.admits(index)
    {
        return Some(index);
    }
    best_of(hunt, listed().filter(|&index| hunt.admits(index)), score, rng)
}

pub(crate) fn best_of(
    hunt: &Hunt<'_>,
    mut members: impl Iterator<Item = usize>,
    score: &impl Fn(&Hunt<'_>, usize) -> Score,
    rng: &mut impl Rng,
) -> Option<usize> {
    let first = members.next()?;
    let mut best = Best::new(first, score(hunt, first), 1, rng);
    for index in members {
        let score = score(hunt, index);
        if score.cmp(best.score) != std::cmp::Ordering::Greater {
            best = best.met(index, score, rng);
        }
    }
    Some(best.index)
}

/// Two distinct ones, if both may be picked.
fn of_two(hunt: &Hunt<'_>, score: &impl Fn(&Hunt<'_>, usize) -> Score, rng: &mut impl Rng) -> Option<usize> {
    let count = hunt.count();
    // One random number makes both: each half is below 2³², and so is any list.
    let random = rng.next_u64();
    let scaled = |half: u64, n: usize| (((half & 0xffff_ffff) * n as u64) >> 32) as usize;
    let first = scaled(random >> 32, count);
    let second = scaled(random, count - 1);
    let second = second + usize::from(second >= first);
    let (first, second) = (hunt.nth(first), hunt.nth(second));
    if !hunt.admits(first) || !hunt.admits(second) {
        return None;
    }
    match score(hunt, first).cmp(score(hunt, second)) {
        // Which of the two was drawn first is chance already.
        std::cmp::Ordering::Less | std::cmp::Ordering::Equal => Some(first),
        std::cmp::Ordering::Greater => Some(second),
    }
}

/// Two of those that may be picked, where a first draw met others. At a limit many draws meet such, and a pass over all is dear.
#[cold]
fn of_two_left(hunt: &Hunt<'_>, score: &impl Fn(&Hunt<'_>, usize) -> Score, rng: &mut impl Rng) -> Option<usize> {
    let drawn = if hunt.is_limited() { by_rejection(hunt, 2, score, rng) } else { None };
    drawn.or_else(|| of_sample(hunt, 2, score, rng))
}

/// Draws blindly among the candidates, again where the draw is a repeat or can't be picked. O(d) unless most were tried.
fn by_rejection(
    hunt: &Hunt<'_>,
    choices: usize,
    score: &impl Fn(&Hunt<'_>, usize) -> Score,
    rng: &mut impl Rng,
) -> Option<usize> {
    let mut drawn = [usize::MAX; MAX_DRAWS];
    let (mut count, mut best) = (0, None);
    for _ in 0..8 * choices {
        let index = hunt.nth(rng.below(hunt.count()));
        if drawn[..count].contains(&index) || !hunt.admits(index) {
            continue;
        }
        drawn[count] = index;
        count += 1;
        let leader = better(best, index, score(hunt, index), rng);
        if count == choices {
            return Some(leader.index);
        }
        best = Some(leader);
    }
    None
}

/// Exactly d of those that may be picked, each set equally likely, in two passes without memory (Knuth, TAOCP 2, 3.4.2, algorithm
/// S); all of them where there are fewer. O(candidates).
fn of_sample(hunt: &Hunt<'_>, choices: usize, score: &impl Fn(&Hunt<'_>, usize) -> Score, rng: &mut impl Rng) -> Option<usize> {
    let admitted = || (0..hunt.count()).map(|n| hunt.nth(n)).filter(|&index| hunt.admits(index));
    let mut left = admitted().count();
    let mut needed = choices.min(left);
    let (mut best, mut passed) = (None, None);
    for index in admitted() {
        if rng.below(left.max(1)) < needed {
            best = Some(better(best, index, score(hunt, index), rng));
            needed -= 1;
        } else {
            passed = Some(index);
        }
        left = left.saturating_sub(1);
    }
    // Where candidates went away between the passes, those that were counted on may be missing: then one that was passed over.
    best.map(|best| best.index).or(passed)
}

/// Which of the equals to come replaces the `ties`-th: the k-th of all is to win with chance 1/k, so that the next winner is beyond
/// s with chance ties/s (Vitter, "Random sampling with a reservoir", 1985). One draw a winner instead of one an equal.
fn successor(ties: usize, rng: &mut impl Rng) -> usize {
    let uniform = ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (ties as f64 / uniform) as usize + 1
}

fn better(best: Option<Best>, index: usize, score: Score, rng: &mut impl Rng) -> Best {
    match best {
        None => Best::new(index, score, 1, rng),
        Some(best) if score.cmp(best.score).is_gt() => best,
        Some(best) => best.met(index, score, rng),
    }
}
