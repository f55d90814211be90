//! Weighted rendezvous hashing (Thaler, Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN 1998;
//! weights: Schindelhauer, Schomaker, "Weighted distributed hash tables", SPAA 2005): each member draws −ln(u)/w from the key
//! and its own ring key, the least wins. In whole numbers throughout, so that every machine ranks alike bit for bit.

use std::cmp::{Ordering, Reverse};

use super::owners::{Firsts, groups};
use crate::config::BuildError;
use crate::hash::{member_hash, pair_hash};

/// The most members: a pick asks them all.
pub(crate) const MAX_MEMBERS: usize = 1_000;

/// What a member drew for a key. The greater one owns the key; equal draws are told apart by the members' canonical order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Score {
    hash: u64,
    /// −log₂(u) in units of 2⁻⁵⁶, below 2⁶³.
    surprise: u64,
    weight: u32,
}

/// The hash of a draw counts as lower than another where it is lower by so much: then the logarithms differ by more than their
/// errors.
const MARGIN: u64 = 1 << 26;

impl Score {
    /// Of what a member of this weight drew. It is the best of all with a chance of weight ÷ sum of weights; another member's
    /// coming, going or weight doesn't change it.
    fn new(hash: u64, weight: u32) -> Self {
        Self { hash, surprise: surprise(hash), weight }
    }

    /// Whether it is surely better than the score of this draw, told without a logarithm.
    fn beats(&self, hash: u64, weight: u32) -> bool {
        weight == self.weight && self.hash.checked_sub(MARGIN).is_some_and(|highest| hash <= highest)
    }
}

/// Whether so many members can be asked.
pub(super) fn check(members: usize) -> Result<(), BuildError> {
    if members > MAX_MEMBERS { Err(BuildError::TooManyForRendezvous { endpoints: members }) } else { Ok(()) }
}

#[derive(Debug)]
pub(crate) struct Rendezvous {
    /// For each ring key its hash and its weight.
    groups: Vec<(u64, u32)>,
    firsts: Firsts,
}

impl Rendezvous {
    /// `members` as (ring key, weight), in canonical order.
    pub(crate) fn try_new<'a>(members: impl IntoIterator<Item = (&'a str, u16)>) -> Result<Self, BuildError> {
        let groups = groups(members);
        let firsts = Firsts::new(&groups);
        check(firsts.count())?;
        let groups = groups.iter().map(|group| (member_hash(group.ring_key), u32::from(group.weight))).collect();
        Ok(Self { groups, firsts })
    }

    /// All members, the best for this key first.
    pub(crate) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        Ranks { groups: &self.groups, key, batch: [None; BATCH], next: BATCH }.flat_map(|group| self.firsts.members(group))
    }
}

/// So many ranks are found in one pass: a walk that ends early needs one, and none needs memory.
const BATCH: usize = 8;

/// The groups from the best to the worst.
struct Ranks<'a> {
    groups: &'a [(u64, u32)],
    key: u64,
    /// Descending.
    batch: [Option<Place>; BATCH],
    next: usize,
}

/// A rank: score, then canonical order.
type Place = (Score, Reverse<usize>);

impl Iterator for Ranks<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.next == BATCH {
            self.refill();
        }
        let (_, Reverse(group)) = (*self.batch.get(self.next)?)?;
        self.next += 1;
        Some(group)
    }
}

impl Ranks<'_> {
    /// The best of those that come after the last batch.
    fn refill(&mut self) {
        let after = self.batch[BATCH - 1];
        self.batch = [None; BATCH];
        self.next = 0;
        for (number, &(member, weight)) in self.groups.iter().enumerate() {
            let hash = pair_hash(self.key, member);
            if self.batch[BATCH - 1].is_some_and(|(worst, _)| worst.beats(hash, weight)) {
                continue;
            }
            let place = Some((Score::new(hash, weight), Reverse(number)));
            if after.is_some() && place >= after || place <= self.batch[BATCH - 1] {
                continue;
            }
            let rank = self.batch.partition_point(|held| *held >= place);
            self.batch[rank..].rotate_right(1);
            self.batch[rank] = place;
        }
    }
}

impl Ord for Score {
    /// surprise ÷ weight, the lower the better, without dividing.
    fn cmp(&self, other: &Self) -> Ordering {
        let mine = u128::from(self.surprise) * u128::from(other.weight);
        let theirs = u128::from(other.surprise) * u128::from(self.weight);
        theirs.cmp(&mine)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

/// The fraction bits of a surprise.
const FRACTION: u32 = 56;
/// The mantissa's range is cut in so many steps; within one, four terms of the series leave an error under 2⁻⁴¹.
const STEPS: usize = 256;
/// log₂(e)/n in units of 2⁻⁶², n = 1..4: the series of log₂(1 + r).
const SERIES: [u64; 4] = [0x5c55_1d94_ae0b_f85d, 0x2e2a_8eca_5705_fc2e, 0x1ec7_09dc_3a03_fd74, 0x1715_4765_2b82_fe17];
/// For each step its reciprocal, in units of 2⁻⁶³, and its log₂, in units of 2⁻⁵⁶.
const TABLE: [(u64, u64); STEPS] = table();

/// −log₂((hash + 1)/2⁶⁴) in units of 2⁻⁵⁶.
fn surprise(hash: u64) -> u64 {
    let Some(number) = hash.checked_add(1) else { return 0 };
    let zeros = number.leading_zeros();
    let mantissa = number << zeros;
    let (reciprocal, log) = TABLE[(mantissa >> 55) as usize % STEPS];
    // mantissa = step·(1 + r), r below 1/256 in units of 2⁻⁶³; the reciprocal is rounded down, so r may fall a hair under 0.
    let r = ((u128::from(mantissa) * u128::from(reciprocal)) >> 63) as u64;
    let r = r.saturating_sub(1 << 63);
    let times_r = |factor: u64| ((u128::from(factor) * u128::from(r)) >> 63) as u64;
    let tail = SERIES[1] - times_r(SERIES[2] - times_r(SERIES[3]));
    let rest = times_r(SERIES[0] - times_r(tail));
    (u64::from(zeros + 1) << FRACTION).saturating_sub(log + (rest >> (62 - FRACTION)))
}

const fn table() -> [(u64, u64); STEPS] {
    let mut table = [(0, 0); STEPS];
    let mut step = 0;
    while step < STEPS {
        let scaled = (STEPS + step) as u128;
        table[step] = (((STEPS as u128) << 63).div_euclid(scaled) as u64, log2((scaled << 55) as u64));
        step += 1;
    }
    table
}

/// log₂ of a number in [1, 2), given in units of 2⁻⁶³, by repeated squaring: a bit of the result each time.
const fn log2(mut number: u64) -> u64 {
    let (mut log, mut bit) = (0, FRACTION);
    while bit > 0 {
        bit -= 1;
        let square = number as u128 * number as u128;
        if square >> 127 == 1 {
            log |= 1 << bit;
            number = (square >> 64) as u64;
        } else {
            number = (square >> 63) as u64;
        }
    }
    log
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::hash::{key_hash, member_hash};
    use crate::rng::{Rng, SmallRng};

    fn exact(hash: u64) -> f64 {
        // Near u = 1 the difference from 1 counts, not u.
        let missing = (u64::MAX - hash) as f64 / 2f64.powi(64);
        if missing < 0.5 { -(-missing).ln_1p() / 2f64.ln() } else { 64.0 - (hash as f64 + 1.0).log2() }
    }

    #[test]
    fn a_surprise_is_the_logarithm_to_twelve_digits() {
        let mut rng = SmallRng::new(3);
        let edges = [0, 1, 2, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, (1 << 63) - 2];
        let near_one = (0..60).map(|shift| u64::MAX - (1 << shift));
        let draws: Vec<_> = (0..100_000).map(|_| rng.next_u64()).collect();
        for hash in edges.into_iter().chain(near_one).chain(draws) {
            let got = surprise(hash) as f64 / 2f64.powi(FRACTION as i32);
            assert!((got - exact(hash)).abs() < 1e-12, "{hash:#x}: {got} for {}", exact(hash));
        }
    }

    #[test]
    fn what_is_told_without_a_logarithm_is_what_the_logarithm_says() {
        let mut rng = SmallRng::new(5);
        let near = [0, 1, MARGIN - 1, MARGIN, MARGIN + 1, 3 * MARGIN];
        for hash in (0..100_000).map(|_| rng.next_u64()).chain([MARGIN, u64::MAX, (1 << 63) + MARGIN, 1 << 63]) {
            for lower in near.into_iter().filter_map(|less| hash.checked_sub(less)) {
                let (score, other) = (Score::new(hash, 7), Score::new(lower, 7));
                assert!(!score.beats(lower, 7) || score > other, "{hash:#x} {lower:#x}");
            }
        }
    }

    #[test]
    fn golden_scores_stay() {
        let member = member_hash("checkout-0");
        let scores = [0, 1, key_hash(b"user-42")].map(|key| Score::new(pair_hash(key, member), 100).surprise);
        assert_eq!(scores, [22_557_351_727_327_444, 73_892_718_325_885_092, 65_953_932_904_253_977]);
    }

    #[test]
    fn ranks_are_the_scores_sorted_whatever_the_number_of_members() {
        for (count, weights) in [(0u32, 1), (1, 1), (2, 2), (7, 3), (8, 1), (9, 1_000), (16, 1), (17, 2), (100, 1), (100, 1_000)]
        {
            let names: Vec<_> =
                (0..count).map(|number| (format!("web-{number:03}"), 1 + (number * 37 % weights) as u16)).collect();
            let table = Rendezvous::try_new(names.iter().map(|(name, weight)| (name.as_str(), *weight))).unwrap();
            for key in 0..50 {
                let mut sorted: Vec<_> = (0..names.len()).collect();
                sorted.sort_by_key(|&at| Reverse(Score::new(pair_hash(key, table.groups[at].0), table.groups[at].1)));
                assert_eq!(table.walk(key).collect::<Vec<_>>(), sorted);
            }
        }
    }

    #[test]
    fn each_is_best_as_often_as_its_weight_says() {
        let weights = [1, 10, 89, 100, 300, 500];
        let names = weights.map(|weight| (format!("web-{weight:03}"), weight));
        let table = Rendezvous::try_new(names.iter().map(|(name, weight)| (name.as_str(), *weight))).unwrap();
        let mut wins = [0u32; 6];
        let draws = 200_000;
        (0..draws).for_each(|n: u64| wins[table.walk(key_hash(&n.to_le_bytes())).next().unwrap()] += 1);
        for (count, weight) in wins.into_iter().zip(weights) {
            let expected = f64::from(weight) / 1_000.0 * draws as f64;
            assert!((f64::from(count) - expected).abs() < 4.0 * expected.sqrt(), "{wins:?}");
        }
    }
}
