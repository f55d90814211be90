//! Bounded loads over any table (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018): endpoint
//! i may take a request only if inᵢ + 1 ≤ ⌈c·(m + 1)·wᵢ/W⌉, m requests and weight W over the candidates. Overflow follows the
//! key's own sequence of owners (Chen, Coleman, Shrivastava, "Revisiting consistent hashing with bounded loads", AAAI 2021).
//!
//! The sum m costs O(members). Mostly a lower bound of it is enough, as the bound only grows with m: the last sum less the
//! requests that have ended since, in the whole process. Only what doesn't fit by that is asked again by a new sum.

use std::sync::Arc;

use super::{Choice, Hunt, least};
use crate::config::BuildError;
use crate::endpoint::Endpoint;
use crate::load::Ended;
use crate::pick::PickReason;
use crate::rng::Rng;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};

/// The bound of a pool.
#[derive(Debug)]
pub(crate) struct Bound {
    /// 100·c.
    percent: u32,
    ended: Option<Arc<Ended>>,
    seen: Seen,
}

/// What one pick knows of m and W.
struct Room {
    known: Known,
    /// m + 1, or less.
    requests: u64,
    /// W in hundredths of a percent, or more.
    weight: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Least,
    Exact,
}

pub(super) fn check(percent: u32) -> Result<(), BuildError> {
    if percent < 100 { Err(BuildError::BalanceFactor { percent }) } else { Ok(()) }
}

/// The first of a walk that is a candidate and, where there is a bound, has room; if none has, the least loaded.
pub(super) fn pick(
    hunt: &Hunt<'_>,
    walk: impl Iterator<Item = usize>,
    bound: Option<&Bound>,
    rng: &mut impl Rng,
) -> Option<Choice> {
    let mut first = None;
    let mut room = Room { known: Known::Nothing, requests: 1, weight: hunt.standing.weight };
    for index in walk {
        if !hunt.is_eligible(index) {
            match hunt.probe(index) {
                Some(probe) => return Some(probe),
                None => continue,
            }
        }
        let owner = *first.get_or_insert(index);
        if !hunt.has_room(index) {
            continue;
        }
        let reason = if owner == index { PickReason::Owner } else { PickReason::Overflow };
        let Some(bound) = bound else { return Some(hunt.take(index, reason)) };
        if let Some(pick) = bound.take(hunt, index, reason, &mut room) {
            return Some(pick);
        }
    }
    // Nobody fits: other requests took the room meanwhile, or what has room was tried already.
    first.and_then(|_| least::Least::new(0).pick(hunt, PickReason::Overflow, rng))
}

impl Bound {
    pub(crate) fn try_new(percent: u32, members: &[Arc<Endpoint>]) -> Result<Self, BuildError> {
        check(percent)?;
        let ended = members.first().map(|member| Arc::clone(member.load().ended()));
        if let Some(ended) = &ended {
            ended.watch();
        }
        Ok(Self { percent, ended, seen: Seen::default() })
    }

    /// Takes a candidate if it has room by what is known, finding out more as long as that may help.
    fn take(&self, hunt: &Hunt<'_>, index: usize, reason: PickReason, room: &mut Room) -> Option<Choice> {
        let weight = hunt.weight(index);
        loop {
            if let Some(pick) = hunt.take_if(index, reason, |in_flight| room.fits(self.percent, in_flight, weight)) {
                return Some(pick);
            }
            *room = match room.known {
                Known::Nothing => self.remember(hunt).unwrap_or_else(|| self.count(hunt)),
                Known::Least => self.count(hunt),
                Known::Exact => return None,
            }
        }
    }

    /// By the last sum, if the candidates are the same.
    fn remember(&self, hunt: &Hunt<'_>) -> Option<Room> {
        let sum = self.seen.get(hunt.epoch())?;
        Some(Room { known: Known::Least, requests: self.left(sum) + 1, weight: hunt.standing.weight })
    }

    /// By a new sum over the candidates, exact unless requests end while it is taken: then it is the least that m was.
    fn count(&self, hunt: &Hunt<'_>) -> Room {
        let epoch = hunt.epoch();
        let mut weight = 0;
        let candidates = (0..hunt.count()).map(|n| hunt.nth(n)).filter(|&index| hunt.is_candidate(index));
        let in_flight = candidates.map(|index| {
            weight += u64::from(hunt.weight(index));
            hunt.members[index].in_flight()
        });
        let sum = self.ended.as_ref().map_or(0, |ended| ended.sum(in_flight));
        self.seen.put(epoch, sum);
        Room { known: Known::Exact, requests: self.left(sum) + 1, weight }
    }

    fn left(&self, sum: u64) -> u64 {
        self.ended.as_ref().map_or(0, |ended| ended.left(sum))
    }
}

impl Room {
    /// In whole numbers: ⌈x⌉ ≥ inᵢ + 1 just when x > inᵢ.
    fn fits(&self, percent: u32, in_flight: u32, weight: u32) -> bool {
        let needs = 100 * u128::from(self.weight) * u128::from(in_flight);
        needs < u128::from(percent) * u128::from(self.requests) * u128::from(weight)
    }
}

/// The last sum: requests in flight on the candidates, and, before they were counted, ended ever. A sequence lock over plain
/// atomics: nobody waits, and who meets a writer sums up for itself.
#[derive(Debug, Default)]
struct Seen {
    /// Odd while being written; 0: never yet.
    version: AtomicU64,
    epoch: AtomicU64,
    sum: AtomicU64,
}

impl Seen {
    /// The sum, if it was taken in this epoch.
    fn get(&self, epoch: u64) -> Option<u64> {
        let version = self.version.load(Acquire);
        let (of, sum) = (self.epoch.load(Relaxed), self.sum.load(Relaxed));
        fence(Acquire);
        let is_whole = version != 0 && version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        (is_whole && of == epoch).then_some(sum)
    }

    fn put(&self, epoch: u64, sum: u64) {
        let version = self.version.load(Relaxed);
        if !version.is_multiple_of(2) || self.version.compare_exchange(version, version + 1, AcqRel, Relaxed).is_err() {
            return;
        }
        fence(Release);
        self.epoch.store(epoch, Relaxed);
        self.sum.store(sum, Relaxed);
        self.version.store(version + 2, Release);
    }
}
