//! The Maglev table (Eisenbud et al., "Maglev: a fast and reliable software network load balancer", NSDI 2016, §3.4): each ring
//! key has its own order of the slots, and in turn each takes its next free one. Weights are turns taken less often, as the
//! paper proposes. The table follows from ring keys, weights and size alone, so that every process builds the same.

use std::ops::Range;

use super::owners::{Firsts, Group, Numbers, Walk, groups};
use crate::config::BuildError;
use crate::hash::turn_hashes;

/// The most slots: 10 MB, and the limit that others have.
pub(crate) const MAX_SIZE: u32 = 5_000_011;

#[derive(Debug)]
pub(crate) struct Maglev {
    /// For each slot its group.
    slots: Numbers,
    size: u32,
    firsts: Firsts,
}

/// Whether a table of this size can be built over so many ring keys.
pub(super) fn check(size: u32, ring_keys: usize) -> Result<(), BuildError> {
    if size > MAX_SIZE || !is_prime(size) {
        return Err(BuildError::TableSize { size });
    }
    if ring_keys > size as usize { Err(BuildError::TableTooSmall { size, endpoints: ring_keys }) } else { Ok(()) }
}

/// The least prime from `size` on, at most [`MAX_SIZE`].
pub(crate) fn next_prime(size: u32) -> u32 {
    (size..MAX_SIZE).find(|&size| is_prime(size)).unwrap_or(MAX_SIZE)
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|&divisor: &u32| u64::from(divisor).pow(2) <= u64::from(number))
            .all(|divisor| !number.is_multiple_of(divisor))
}

impl Maglev {
    /// `members` as (ring key, weight), in canonical order.
    pub(crate) fn try_new<'a>(members: impl IntoIterator<Item = (&'a str, u16)>, size: u32) -> Result<Self, BuildError> {
        let groups = groups(members);
        check(size, groups.len())?;
        let slots = if groups.is_empty() { Vec::new() } else { fill(&groups, size) };
        Ok(Self { slots: Numbers::new(slots.into_iter(), groups.len()), size, firsts: Firsts::new(&groups) })
    }

    /// The members that own a place.
    pub(crate) fn owners_of(&self, hash: u64) -> Range<usize> {
        // hash·size/2⁶⁴ instead of a remainder: as even, and without a division.
        let slot = (u128::from(hash) * u128::from(self.size)) >> 64;
        self.slots.get(slot as usize).map_or(0..0, |group| self.firsts.members(group))
    }

    pub(crate) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        Walk::new(key, self.firsts.count(), |hash| self.owners_of(hash))
    }
}

/// Where a group is in its order of the slots.
struct Turn {
    group: u32,
    slot: u32,
    step: u32,
}

/// The groups of one weight: they take their turns in the same rounds.
struct Class {
    weight: u32,
    /// Takes a turn in each round in which it reaches the greatest weight. Starts there: everyone has a slot.
    credit: u32,
    turns: Vec<Turn>,
}

fn fill(groups: &[Group<'_>], size: u32) -> Vec<u32> {
    let mut classes = classes(groups, size);
    let most = classes[0].weight;
    let mut table = Free::new(size);
    loop {
        for class in &mut classes {
            class.credit += class.weight;
            if class.credit < most {
                continue;
            }
            class.credit -= most;
            for turn in &mut class.turns {
                table.take(turn);
                if table.left == 0 {
                    return table.slots;
                }
            }
        }
    }
}

/// By weight, the greatest first.
fn classes(groups: &[Group<'_>], size: u32) -> Vec<Class> {
    let mut weights: Vec<u16> = groups.iter().map(|group| group.weight).collect();
    weights.sort_unstable_by(|a, b| b.cmp(a));
    weights.dedup();
    let most = weights.first().copied().map_or(0, u32::from);
    let class = |&weight: &u16| {
        let credit = most - u32::from(weight);
        Class { weight: u32::from(weight), credit, turns: Vec::new() }
    };
    let mut classes: Vec<Class> = weights.iter().map(class).collect();
    for (number, group) in (0..).zip(groups) {
        let (first, step) = turn_hashes(group.ring_key);
        let (first, step) = (first % u64::from(size), step % u64::from(size - 1) + 1);
        let class = weights.partition_point(|&weight| weight > group.weight);
        classes[class].turns.push(Turn { group: number, slot: first as u32, step: step as u32 });
    }
    classes
}

struct Free {
    slots: Vec<u32>,
    /// A bit a slot: the search reads these alone, and they stay in the nearest cache.
    taken: Vec<u64>,
    left: u32,
}

impl Free {
    fn new(size: u32) -> Self {
        Self { slots: vec![0; size as usize], taken: vec![0; (size as usize).div_ceil(64)], left: size }
    }

    /// Gives a group the next free slot of its order. The size is prime, so the order visits every slot.
    fn take(&mut self, turn: &mut Turn) {
        let size = self.slots.len() as u32;
        let mut slot = turn.slot;
        while self.taken[slot as usize / 64] >> (slot % 64) & 1 == 1 {
            slot += turn.step;
            slot = slot.min(slot.wrapping_sub(size));
        }
        self.taken[slot as usize / 64] |= 1 << (slot % 64);
        self.slots[slot as usize] = turn.group;
        turn.slot = slot;
        self.left -= 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        let mut names: Vec<_> = (0..count).map(|number| format!("shop/web-{number}:80")).collect();
        names.sort();
        names
    }

    fn table(names: &[String], weight: impl Fn(usize) -> u16, size: u32) -> Maglev {
        Maglev::try_new(names.iter().enumerate().map(|(at, name)| (name.as_str(), weight(at))), size).unwrap()
    }

    fn slots(table: &Maglev) -> Vec<usize> {
        (0..table.size as usize).map(|slot| table.slots.get(slot).unwrap()).collect()
    }

    fn counts(table: &Maglev, groups: usize) -> Vec<u32> {
        let mut counts = vec![0; groups];
        slots(table).into_iter().for_each(|group| counts[group] += 1);
        counts
    }

    #[test]
    fn everyone_has_its_share_of_slots_to_within_one_turn() {
        let names = names(1_000);
        let equal = counts(&table(&names, |_| 100, 65_537), 1_000);
        assert!(equal.iter().all(|count| (65..=66).contains(count)));
        let weight = |at: usize| [10, 100, 250, 1_000][at % 4];
        let total: u32 = (0..1_000).map(|at| u32::from(weight(at))).sum();
        for (at, count) in counts(&table(&names, weight, 65_537), 1_000).into_iter().enumerate() {
            let share = 65_537.0 * f64::from(weight(at)) / f64::from(total);
            assert!((f64::from(count) - share).abs() <= 1.5, "{count} for {share}");
        }
    }

    #[test]
    fn the_lightest_of_all_still_has_a_slot() {
        let names = names(500);
        let table = table(&names, |at| if at == 7 { 1 } else { 1_000 }, 503);
        assert!(counts(&table, 500).into_iter().all(|count| count >= 1));
    }

    #[test]
    fn each_slot_goes_by_the_papers_order() {
        // Written down as in the paper's pseudocode: permutation[i][j] = (offset + j·skip) mod M, everyone in turn.
        let (names, size) = (names(7), 31u64);
        let order = |name: &str, turn: u64| {
            let (offset, skip) = turn_hashes(name);
            (offset % size + turn * (skip % (size - 1) + 1)) % size
        };
        let mut expected = vec![None; size as usize];
        let mut next = vec![0; names.len()];
        for group in (0..names.len()).cycle() {
            while expected[order(&names[group], next[group]) as usize].is_some() {
                next[group] += 1;
            }
            expected[order(&names[group], next[group]) as usize] = Some(group);
            if expected.iter().all(Option::is_some) {
                break;
            }
        }
        let expected: Vec<usize> = expected.into_iter().flatten().collect();
        assert_eq!(slots(&table(&names, |_| 100, 31)), expected);
    }

    #[test]
    fn every_hash_finds_a_slot_and_every_slot_is_found() {
        let table = table(&names(5), |_| 100, 251);
        let found: Vec<usize> = (0..251u128).map(|slot| table.owners_of(((slot << 64).div_ceil(251)) as u64).start).collect();
        assert_eq!(found, slots(&table));
        assert_eq!([table.owners_of(0).len(), table.owners_of(u64::MAX).len()], [1, 1]);
    }

    #[test]
    fn a_pool_of_1000_takes_128_kib_and_a_small_one_half_of_that() {
        assert_eq!(table(&names(1_000), |_| 100, 65_537).slots.size(), 2 * 65_537);
        assert_eq!(table(&names(256), |_| 100, 65_537).slots.size(), 65_537);
    }

    #[test]
    fn primes_are_told_from_other_numbers() {
        let primes: Vec<u32> = (0..60).filter(|&number| is_prime(number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59]);
        assert!([65_537, 655_373, MAX_SIZE].into_iter().all(is_prime));
        assert!(!is_prime(4_999_999 / 7 * 7) && !is_prime(2_237 * 2_237) && !is_prime(u32::MAX));
        assert_eq!([next_prime(0), next_prime(14), next_prime(65_536), next_prime(u32::MAX)], [2, 17, 65_537, MAX_SIZE]);
    }

    #[test]
    fn a_change_of_one_weight_moves_few_slots_of_others() {
        let names = names(100);
        let before = slots(&table(&names, |_| 100, 65_537));
        for changed in [1, 50, 101, 200] {
            let after = slots(&table(&names, |at| if at == 50 { changed } else { 100 }, 65_537));
            let others = before.iter().zip(&after).filter(|&(a, b)| a != b && *a != 50 && *b != 50).count();
            assert!(others < 656, "weight {changed}: {others} of 65,537");
        }
    }
}
