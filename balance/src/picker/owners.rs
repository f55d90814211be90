//! What the consistent tables share: who owns a place, in few bytes, and a key's own sequence of owners over any table.
//! Members of one ring key (a pod that drains beside its successor of the same name) own their places together.

use std::ops::Range;

use crate::hash::rehash;

/// Rehashes before a walk takes the remaining members in order. With a load factor of 1.25 a fifth of the weight has room:
/// the chance that 64 places all miss it is 0.8⁶⁴ < 10⁻⁶.
const REHASHES: u32 = 64;

/// Neighbours in canonical order, by (ring key, id), that share one ring key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) ring_key: &'a str,
    /// The greatest of theirs.
    pub(crate) weight: u16,
    members: u32,
}

/// The groups of members with these ring keys and weights, in canonical order.
pub(crate) fn groups<'a>(members: impl IntoIterator<Item = (&'a str, u16)>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (ring_key, weight) in members {
        match groups.last_mut().filter(|last| last.ring_key == ring_key) {
            Some(last) => {
                last.weight = last.weight.max(weight);
                last.members += 1;
            }
            None => groups.push(Group { ring_key, weight, members: 1 }),
        }
    }
    groups
}

/// For each group its first member, and the end.
#[derive(Debug)]
pub(crate) struct Firsts(Vec<u32>);

impl Firsts {
    pub(crate) fn new(groups: &[Group<'_>]) -> Self {
        let mut end = 0;
        let ends = groups.iter().map(|group| {
            end += group.members;
            end
        });
        Self(std::iter::once(0).chain(ends).collect())
    }

    /// The members of a group.
    pub(crate) fn members(&self, group: usize) -> Range<usize> {
        self.0[group] as usize..self.0[group + 1] as usize
    }

    /// How many members all groups have.
    pub(crate) fn count(&self) -> usize {
        self.0.last().map_or(0, |&end| end as usize)
    }
}

/// A list of group numbers in as few bytes each as the greatest needs.
#[derive(Debug)]
pub(crate) enum Numbers {
    Bytes(Box<[u8]>),
    Words(Box<[u16]>),
    Longs(Box<[u32]>),
}

impl Numbers {
    /// Of numbers below `groups`.
    pub(crate) fn new(numbers: impl Iterator<Item = u32>, groups: usize) -> Self {
        // Every number fits: it is below `groups`.
        match groups {
            0..=0x100 => Self::Bytes(numbers.map(|number| number as u8).collect()),
            0x101..=0x1_0000 => Self::Words(numbers.map(|number| number as u16).collect()),
            _ => Self::Longs(numbers.collect()),
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<usize> {
        match self {
            Self::Bytes(numbers) => numbers.get(at).map(|&number| usize::from(number)),
            Self::Words(numbers) => numbers.get(at).map(|&number| usize::from(number)),
            Self::Longs(numbers) => numbers.get(at).map(|&number| number as usize),
        }
    }

    /// Bytes of all of them.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Bytes(numbers) => numbers.len(),
            Self::Words(numbers) => 2 * numbers.len(),
            Self::Longs(numbers) => 4 * numbers.len(),
        }
    }
}

/// A key's whole walk: the owners of its rehashed places, then all members from a place of the key's own. Repeats are left in;
/// whom a walk passed once it passes again.
pub(crate) struct Walk<F> {
    key: u64,
    members: usize,
    owners_of: F,
    /// Places looked up so far; after the last, those of the members' two ranges that were begun.
    steps: u32,
    /// What is left of the last step.
    left: Range<usize>,
}

impl<F: Fn(u64) -> Range<usize>> Walk<F> {
    pub(crate) fn new(key: u64, members: usize, owners_of: F) -> Self {
        Self { key, members, owners_of, steps: 0, left: 0..0 }
    }

    fn step(&mut self) -> Option<Range<usize>> {
        let first = || (self.key % self.members.max(1) as u64) as usize;
        let range = match self.steps {
            ..REHASHES => (self.owners_of)(rehash(self.key, self.steps)),
            REHASHES => first()..self.members,
            LAST => 0..first(),
            _ => return None,
        };
        self.steps += 1;
        Some(range)
    }
}

/// The step after which a walk ends.
const LAST: u32 = REHASHES + 1;

impl<F: Fn(u64) -> Range<usize>> Iterator for Walk<F> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            if let Some(index) = self.left.next() {
                return Some(index);
            }
            self.left = self.step()?;
        }
    }
}
