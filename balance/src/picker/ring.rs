//! The consistent ring (Karger et al., "Consistent hashing and random trees", STOC 1997). Points follow from ring keys and weights
//! alone; health and load only move the walk.

use std::collections::BTreeMap;
use std::ops::Range;

use super::owners::{Firsts, Group, Numbers, groups, walk};
use crate::hash::point_hash;
use crate::pool::BuildError;

/// The most points of a ring: 64 MiB of tables.
pub(crate) const MAX_POINTS: u64 = 1 << 22;
/// Points are first dealt by their upper bits into parts of about so many: what is sorted at once stays in the nearest cache.
const PART: u64 = 1 << 10;

#[derive(Debug)]
pub(crate) struct Ring {
    /// Ascending.
    hashes: Vec<u64>,
    /// The group that each point belongs to.
    owners: Numbers,
    /// For each value of a hash's upper bits the first point with at least these: a lookup starts a step or two from its end.
    starts: Vec<u32>,
    shift: u32,
    firsts: Firsts,
}

/// Whether a ring of members with these ring keys and weights, in any order, can be built.
pub(super) fn check<'a>(members: impl IntoIterator<Item = (&'a str, u16)>, virtual_nodes: u32) -> Result<(), BuildError> {
    let mut weights = BTreeMap::new();
    for (ring_key, weight) in members {
        let most = weights.entry(ring_key).or_insert(weight);
        *most = weight.max(*most);
    }
    total(weights.into_values(), virtual_nodes).map(|_| ())
}

/// How many points ring keys with these weights have.
fn total(weights: impl Iterator<Item = u16>, virtual_nodes: u32) -> Result<u64, BuildError> {
    if virtual_nodes == 0 {
        return Err(BuildError::RingPoints { points: 0 });
    }
    let points = weights.map(|weight| points_of(weight, virtual_nodes)).sum();
    if points > MAX_POINTS { Err(BuildError::RingPoints { points }) } else { Ok(points) }
}

fn points_of(weight: u16, virtual_nodes: u32) -> u64 {
    (u64::from(virtual_nodes) * u64::from(weight) / 100).max(1)
}

impl Ring {
    /// `members` as (ring key, weight), in canonical order: equal hashes are ordered by ring key.
    pub(crate) fn try_new<'a>(members: impl IntoIterator<Item = (&'a str, u16)>, virtual_nodes: u32) -> Result<Self, BuildError> {
        let groups = groups(members);
        let total = total(groups.iter().map(|group| group.weight), virtual_nodes)?;
        let points = points(&groups, virtual_nodes, total as usize);
        let hashes: Vec<u64> = points.iter().map(|&point| (point >> 64) as u64).collect();
        let owners = Numbers::new(points.iter().map(|&point| point as u32), groups.len());
        // At most one start a point: with these, the hash and a number of up to four bytes a point takes 16.
        let shift = 64 - total.max(2).ilog2();
        let starts = starts(&hashes, shift);
        Ok(Self { hashes, owners, starts, shift, firsts: Firsts::new(&groups) })
    }

    /// The members that own a place: those of the first point at or after it, around the end.
    pub(crate) fn owners_of(&self, hash: u64) -> Range<usize> {
        let Some(&start) = self.starts.get((hash >> self.shift) as usize) else { return 0..0 };
        let start = start as usize;
        let point = self.hashes[start..].iter().position(|&point| point >= hash).map_or(0, |ahead| start + ahead);
        self.owners.get(point).map_or(0..0, |group| self.firsts.members(group))
    }

    pub(crate) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        walk(key, self.firsts.count(), |hash| self.owners_of(hash))
    }
}

/// All points in order, each as its hash and below it the number of its group.
fn points(groups: &[Group<'_>], virtual_nodes: u32, total: usize) -> Vec<u128> {
    let shift = 64 - (total as u64 / PART).max(2).ilog2();
    let part = |hash: u64| (hash >> shift) as usize;
    let mut ends = vec![0usize; part(u64::MAX) + 2];
    let mut drawn = Vec::with_capacity(total);
    for group in groups {
        for number in 0..points_of(group.weight, virtual_nodes) as u32 {
            let hash = point_hash(group.ring_key, number);
            ends[part(hash) + 1] += 1;
            drawn.push(hash);
        }
    }
    for part in 1..ends.len() {
        ends[part] += ends[part - 1];
    }
    // Where each part starts and, once the points are dealt, where it ends.
    let mut points = vec![0; total];
    let mut drawn = drawn.into_iter();
    for (number, group) in (0..).zip(groups) {
        for hash in drawn.by_ref().take(points_of(group.weight, virtual_nodes) as usize) {
            let end = &mut ends[part(hash)];
            points[*end] = u128::from(hash) << 64 | number;
            *end += 1;
        }
    }
    let mut start = 0;
    for &end in &ends {
        points[start..end].sort_unstable();
        start = end;
    }
    points
}

fn starts(hashes: &[u64], shift: u32) -> Vec<u32> {
    let mut starts = Vec::with_capacity(1 << (64 - shift));
    for (index, hash) in (0..).zip(hashes) {
        let upper = (hash >> shift) as usize;
        if starts.len() <= upper {
            starts.resize(upper + 1, index);
        }
    }
    starts.resize(1 << (64 - shift), hashes.len() as u32);
    starts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("shop/web-{number:05}:80")).collect()
    }

    #[test]
    fn a_lookup_finds_what_a_search_through_all_points_finds() {
        for (count, virtual_nodes) in [(1, 1), (1, 3), (2, 1), (3, 150), (20, 7), (60, 20)] {
            let names = names(count);
            let ring = Ring::try_new(names.iter().map(|name| (name.as_str(), 100)), virtual_nodes).unwrap();
            let mut points: Vec<_> = (0..count)
                .flat_map(|at| (0..virtual_nodes).map(move |number| (at, number)))
                .map(|(at, number)| (point_hash(&names[at], number), at))
                .collect();
            points.sort_unstable();
            assert_eq!(ring.hashes, points.iter().map(|&(hash, _)| hash).collect::<Vec<_>>());
            let edges = points.iter().flat_map(|&(hash, _)| [hash.wrapping_sub(1), hash, hash.wrapping_add(1)]);
            for hash in edges.chain([0, 1, u64::MAX]) {
                let (_, owner) = points.iter().find(|&&(point, _)| point >= hash).unwrap_or(&points[0]);
                assert_eq!(ring.owners_of(hash), *owner..owner + 1);
            }
        }
    }

    #[test]
    fn a_point_takes_at_most_16_bytes() {
        for (count, virtual_nodes) in [(1, 100), (10, 103), (300, 150), (1_000, 150), (1_000, 131), (70_000, 15)] {
            let names = names(count);
            let ring = Ring::try_new(names.iter().map(|name| (name.as_str(), 100)), virtual_nodes).unwrap();
            let points = ring.hashes.len();
            assert_eq!(points, count * virtual_nodes as usize);
            let bytes = 8 * ring.hashes.capacity() + ring.owners.size() + 4 * ring.starts.capacity();
            assert!(bytes <= 16 * points, "{bytes} bytes for {points} points");
        }
    }
}
