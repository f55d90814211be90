//! The consistent ring (Karger et al., "Consistent hashing and random trees", STOC 1997) with bounded loads (Mirrokni, Thorup,
//! Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018). Points follow from ring keys and weights alone;
//! health and load only move the walk, and the walk is a key's own sequence owner(hash(key, 0)), owner(hash(key, 1)), …

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Hunt, least};
use crate::endpoint::Endpoint;
use crate::hash::{point_hash, rehash};
use crate::pool::{BuildError, Pick, PickReason};
use crate::rng::Rng;

/// Rehashes before the walk takes the remaining members in order. With a load factor of 1.25 a fifth of the weight has room:
/// the chance that 64 places all miss it is 0.8⁶⁴ < 10⁻⁶.
const REHASHES: u32 = 64;
/// The most points of a ring: 64 MiB of tables.
pub(crate) const MAX_POINTS: u64 = 1 << 22;

#[derive(Debug)]
pub(crate) struct Ring {
    /// Ascending.
    hashes: Vec<u64>,
    /// The member that each point belongs to: the first of its ring key.
    owners: Vec<u32>,
    /// For each member that is the first of its ring key, how many share it. A pod that drains beside its successor of the same
    /// name does; they share points too, and a walk asks them one after the other.
    sharers: Vec<u32>,
    /// For each value of a hash's upper bits the first point with at least these: a lookup starts a step or two from its end.
    starts: Vec<u32>,
    shift: u32,
    factor: Option<u32>,
}

/// How many points a ring of members with these ring keys and weights has; those of one ring key share the most that one of them
/// asks for.
pub(super) fn count_points<'a>(
    members: impl IntoIterator<Item = (&'a str, u16)>,
    virtual_nodes: u32,
    factor: Option<u32>,
) -> Result<u64, BuildError> {
    if let Some(percent) = factor.filter(|&percent| percent < 100) {
        return Err(BuildError::BalanceFactor { percent });
    }
    if virtual_nodes == 0 {
        return Err(BuildError::RingPoints { points: 0 });
    }
    let mut weights = BTreeMap::new();
    for (ring_key, weight) in members {
        let most = weights.entry(ring_key).or_insert(weight);
        *most = weight.max(*most);
    }
    let points = weights.into_values().map(|weight| points_of(Some(weight), virtual_nodes)).sum();
    if points > MAX_POINTS { Err(BuildError::RingPoints { points }) } else { Ok(points) }
}

fn points_of(weight: Option<u16>, virtual_nodes: u32) -> u64 {
    (u64::from(virtual_nodes) * u64::from(weight.unwrap_or(0)) / 100).max(1)
}

impl Ring {
    /// `members` in canonical order, by (ring key, id): equal hashes are ordered by index.
    pub(crate) fn try_new(members: &[Arc<Endpoint>], virtual_nodes: u32, factor: Option<u32>) -> Result<Self, BuildError> {
        let total = count_points(members.iter().map(|member| (member.ring_key(), member.weight())), virtual_nodes, factor)?;
        let count = |group: &[Arc<Endpoint>]| points_of(group.iter().map(|member| member.weight()).max(), virtual_nodes);
        let mut points = Vec::with_capacity(total as usize);
        let mut sharers = vec![0; members.len()];
        let mut first = 0;
        for group in members.chunk_by(|a, b| a.ring_key() == b.ring_key()) {
            points.extend((0..count(group) as u32).map(|number| (point_hash(group[0].ring_key(), number), first as u32)));
            sharers[first] = group.len() as u32;
            first += group.len();
        }
        points.sort_unstable();
        let bits = (total.max(2)).next_power_of_two().trailing_zeros();
        let mut ring = Self {
            hashes: points.iter().map(|&(hash, _)| hash).collect(),
            owners: points.iter().map(|&(_, owner)| owner).collect(),
            sharers,
            starts: Vec::with_capacity(1 << bits),
            shift: 64 - bits,
            factor,
        };
        ring.starts.extend((0..1u64 << bits).map(|top| ring.hashes.partition_point(|&hash| hash < top << ring.shift) as u32));
        Ok(ring)
    }

    /// The members that own a place: those of the first point at or after it, around the end.
    fn owners_of(&self, hash: u64) -> Range<usize> {
        self.first_owner(hash).map_or(0..0, |first| first..first + self.sharers[first] as usize)
    }

    fn first_owner(&self, hash: u64) -> Option<usize> {
        let start = *self.starts.get((hash >> self.shift) as usize)? as usize;
        let ahead = self.hashes[start..].iter().position(|&point| point >= hash);
        self.owners.get(ahead.map_or(0, |ahead| start + ahead)).map(|&owner| owner as usize)
    }

    /// The key's whole walk: rehashed places, then all members from a place of the key's own. Repeats are left in; whom a walk
    /// passed once it passes again.
    fn walk(&self, key: u64, members: usize) -> impl Iterator<Item = usize> {
        let places = (0..REHASHES).flat_map(move |n| self.owners_of(rehash(key, n)));
        let first = if members == 0 { 0 } else { (key % members as u64) as usize };
        places.chain((0..members).map(move |n| (first + n) % members))
    }

    /// The key's owners, each once, in the order in which picks, overflow and retries ask them.
    pub(crate) fn owners<'a>(&'a self, members: &'a [Arc<Endpoint>], key: u64) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        let mut seen = vec![false; members.len()];
        self.walk(key, members.len())
            .filter(move |&index| !std::mem::replace(&mut seen[index], true))
            .map(|index| &members[index])
    }

    pub(crate) fn pick(&self, hunt: &Hunt<'_>, key: u64, rng: &mut impl Rng) -> Option<Pick> {
        let bound = self.factor.map(|percent| Bound::new(hunt, percent));
        let mut first = None;
        for index in self.walk(key, hunt.members.len()) {
            if !hunt.admits(index) {
                match hunt.probe(index) {
                    Some(probe) => return Some(probe),
                    None => continue,
                }
            }
            let owner = *first.get_or_insert(index);
            let reason = if owner == index { PickReason::Owner } else { PickReason::Overflow };
            let Some(bound) = &bound else { return Some(hunt.take(index, reason)) };
            if let Some(pick) = bound.take(hunt, index, reason) {
                return Some(pick);
            }
        }
        // Nobody fits: other requests took the room meanwhile, or what has room was tried already.
        first.and_then(|_| least::Least::new(0).pick(hunt, PickReason::Overflow, rng))
    }

    /// The candidates in the order in which the key asks them.
    pub(crate) fn order(&self, hunt: &Hunt<'_>, key: u64) -> Vec<usize> {
        let mut seen = vec![false; hunt.members.len()];
        let fresh = |&index: &usize| !std::mem::replace(&mut seen[index], true);
        self.walk(key, hunt.members.len()).filter(fresh).filter(|&index| hunt.admits(index)).collect()
    }
}

/// The bound of one pick: endpoint i may take a request only if inᵢ + 1 ≤ ⌈c·(m + 1)·wᵢ/W⌉, m and W over the candidates.
/// In whole numbers: ⌈x⌉ ≥ inᵢ + 1 just when x > inᵢ, so 100·W·inᵢ < percent·(m + 1)·wᵢ.
struct Bound {
    percent: u128,
    weight: u128,
    /// m + 1, summed when an endpoint that isn't idle is asked for the first time: an idle one always fits. O(members), once a pick.
    total: OnceCell<u128>,
}

impl Bound {
    fn new(hunt: &Hunt<'_>, percent: u32) -> Self {
        let weight = if hunt.slow_start.is_none() {
            hunt.standing.weight
        } else {
            admitted(hunt).map(|at| u64::from(hunt.weight(at))).sum()
        };
        Self { percent: u128::from(percent), weight: u128::from(weight.max(1)), total: OnceCell::new() }
    }

    fn take(&self, hunt: &Hunt<'_>, index: usize, reason: PickReason) -> Option<Pick> {
        let weight = u128::from(hunt.weight(index));
        hunt.take_if(index, reason, |in_flight| {
            let total = || *self.total.get_or_init(|| total(hunt) + 1);
            in_flight == 0 || 100 * self.weight * u128::from(in_flight) < self.percent * total() * weight
        })
    }
}

fn admitted(hunt: &Hunt<'_>) -> impl Iterator<Item = usize> {
    (0..hunt.members.len()).filter(|&index| hunt.standing.mode.admits(&hunt.members[index]))
}

/// The requests in flight on all candidates.
fn total(hunt: &Hunt<'_>) -> u128 {
    admitted(hunt).map(|index| u128::from(hunt.members[index].in_flight())).sum()
}
