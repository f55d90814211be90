//! The consistent ring (Karger et al., "Consistent hashing and random trees", STOC 1997). Points follow from ring keys and
//! weights alone; health and load only move the walk.

use std::collections::BTreeMap;
use std::ops::Range;

use super::owners::{Firsts, Group, Walk, groups};
use crate::config::BuildError;
use crate::hash::point_hash;

/// The most points of a ring: 36 MiB of tables.
pub(crate) const MAX_POINTS: u64 = 1 << GROUP_BITS;
/// A point is one word: the upper bits of its hash and below them the number of its group, so that a lookup meets both at once.
/// Each group has a point, so its number fits; what is left of the hash tells 2⁴² places apart.
const GROUP_BITS: u32 = 22;
/// Points are first dealt by their upper bits into parts of about so many: what is sorted at once stays in the nearest cache.
const PART: u64 = 1 << 10;
/// So many points have a start in common, or up to twice as many: few starts stay in a near cache, few points are passed quickly.
const STRIDE: u64 = 4;

#[derive(Debug)]
pub(crate) struct Ring {
    /// Ascending: by place, then by ring key.
    points: Vec<u64>,
    /// For each value of a hash's upper bits the first point with at least these.
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
    /// `members` as (ring key, weight), in canonical order: of points at one place the first ring key's owns it.
    pub(crate) fn try_new<'a>(members: impl IntoIterator<Item = (&'a str, u16)>, virtual_nodes: u32) -> Result<Self, BuildError> {
        let groups = groups(members);
        let total = total(groups.iter().map(|group| group.weight), virtual_nodes)?;
        let points = points(&groups, virtual_nodes, total as usize);
        let shift = 64 - (total / STRIDE).max(2).ilog2();
        let starts = starts(&points, shift);
        Ok(Self { points, starts, shift, firsts: Firsts::new(&groups) })
    }

    /// The members that own a place: those of the first point at or after it, around the end.
    pub(crate) fn owners_of(&self, hash: u64) -> Range<usize> {
        let Some(&start) = self.starts.get((hash >> self.shift) as usize) else { return 0..0 };
        let place = hash >> GROUP_BITS << GROUP_BITS;
        let ahead = self.points[start as usize..].iter().find(|&&point| point >= place);
        let Some(point) = ahead.or(self.points.first()) else { return 0..0 };
        self.firsts.members((point & ((1 << GROUP_BITS) - 1)) as usize)
    }

    pub(crate) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        Walk::new(key, self.firsts.count(), |hash| self.owners_of(hash))
    }
}

/// All points in order.
fn points(groups: &[Group<'_>], virtual_nodes: u32, total: usize) -> Vec<u64> {
    let shift = 64 - (total as u64 / PART).max(2).ilog2();
    let part = |point: u64| (point >> shift) as usize;
    let mut ends = vec![0usize; part(u64::MAX) + 2];
    let mut drawn = Vec::with_capacity(total);
    for (number, group) in (0..).zip(groups) {
        for point in 0..points_of(group.weight, virtual_nodes) as u32 {
            let point = point_hash(group.ring_key, point) >> GROUP_BITS << GROUP_BITS | number;
            ends[part(point) + 1] += 1;
            drawn.push(point);
        }
    }
    for part in 1..ends.len() {
        ends[part] += ends[part - 1];
    }
    // Where each part starts and, once the points are dealt, where it ends.
    let mut points = vec![0; total];
    for point in drawn {
        let end = &mut ends[part(point)];
        points[*end] = point;
        *end += 1;
    }
    let mut start = 0;
    for &end in &ends {
        points[start..end].sort_unstable();
        start = end;
    }
    points
}

fn starts(points: &[u64], shift: u32) -> Vec<u32> {
    let mut starts = Vec::with_capacity(1 << (64 - shift));
    for (index, point) in (0..).zip(points) {
        let upper = (point >> shift) as usize;
        if starts.len() <= upper {
            starts.resize(upper + 1, index);
        }
    }
    starts.resize(1 << (64 - shift), points.len() as u32);
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
                .map(|(at, number)| (point_hash(&names[at], number) >> GROUP_BITS, at))
                .collect();
            points.sort_unstable();
            let edges = points
                .iter()
                .flat_map(|&(place, _)| [place.wrapping_sub(1), place, place + 1].map(|place| place << GROUP_BITS | 5));
            for hash in edges.chain([0, 1, u64::MAX]) {
                let (_, owner) = points.iter().find(|&&(place, _)| place >= hash >> GROUP_BITS).unwrap_or(&points[0]);
                assert_eq!(ring.owners_of(hash), *owner..owner + 1);
            }
        }
    }

    #[test]
    fn a_point_takes_at_most_9_bytes() {
        for (count, virtual_nodes) in [(1, 100), (10, 103), (300, 150), (1_000, 150), (1_000, 131), (70_000, 15)] {
            let names = names(count);
            let ring = Ring::try_new(names.iter().map(|name| (name.as_str(), 100)), virtual_nodes).unwrap();
            let points = count * virtual_nodes as usize;
            assert_eq!(ring.points.len(), points);
            let bytes = 8 * ring.points.capacity() + 4 * ring.starts.capacity();
            assert!(bytes <= 9 * points, "{bytes} bytes for {points} points");
        }
    }
}
