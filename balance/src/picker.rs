//! The algorithms behind one enum and one match. Each lives in its own file, sees a pool only through a [`Hunt`],
//! and takes neither a lock nor memory.

pub(crate) mod least;
pub(crate) mod ring;
pub(crate) mod round_robin;

use std::sync::Arc;
use std::time::Instant;

use crate::endpoint::{Endpoint, InFlight};
use crate::pool::{BuildError, Pick, PickReason};
use crate::rng::Rng;
use crate::standing::{Mode, Standing};

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn.
    RoundRobin,
    /// The least in-flight per weight among `choice_count` distinct draws; 0: among all.
    LeastConnections {
        /// Distinct draws; 0 means all.
        choice_count: u32,
    },
    /// The owner of the request's key; without a key the less loaded of two.
    ConsistentHash {
        /// Who owns what.
        table: Table,
        /// Bounded load, percent of the mean, at least 100; absent: off.
        hash_balance_factor: Option<u32>,
    },
}

impl Algorithm {
    /// What [`crate::Pool::try_new`] would say of this algorithm over members with these ring keys and weights, in any order.
    /// For who has to know before [`crate::Book::enter`] changes the live records.
    pub fn check<'a>(&self, members: impl IntoIterator<Item = (&'a str, u16)>) -> Result<(), BuildError> {
        match *self {
            Self::RoundRobin | Self::LeastConnections { .. } => Ok(()),
            Self::ConsistentHash { table: Table::Ring { virtual_nodes }, hash_balance_factor } => {
                ring::count_points(members, virtual_nodes, hash_balance_factor).map(|_| ())
            }
        }
    }
}

/// The consistent table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// A ring of points.
    Ring {
        /// Points of an endpoint of weight 100.
        virtual_nodes: u32,
    },
}

/// An algorithm with its derived tables.
#[derive(Debug)]
pub(crate) enum Picker {
    RoundRobin(round_robin::RoundRobin),
    Least(least::Least),
    Ring(ring::Ring),
}

impl Picker {
    /// `members` are in canonical order.
    pub(crate) fn try_new(algorithm: &Algorithm, members: &[Arc<Endpoint>], seed: u64) -> Result<Self, BuildError> {
        Ok(match *algorithm {
            Algorithm::RoundRobin => Self::RoundRobin(round_robin::RoundRobin::new(members.len(), seed)),
            Algorithm::LeastConnections { choice_count } => Self::Least(least::Least::new(choice_count as usize)),
            Algorithm::ConsistentHash { table: Table::Ring { virtual_nodes }, hash_balance_factor } => {
                Self::Ring(ring::Ring::try_new(members, virtual_nodes, hash_balance_factor)?)
            }
        })
    }

    /// The choice; `None` where every candidate was tried.
    pub(crate) fn pick(&self, hunt: &Hunt<'_>, key: Option<u64>, rng: &mut impl Rng) -> Option<Pick> {
        match (self, key) {
            (Self::RoundRobin(turn), _) => turn.pick(hunt),
            (Self::Least(least), _) => least.pick(hunt, PickReason::LeastLoaded, rng),
            (Self::Ring(ring), Some(key)) => ring.pick(hunt, key, rng),
            (Self::Ring(_), None) => least::Least::new(2).pick(hunt, PickReason::Fallback, rng),
        }
    }
}

/// One pick's view of its pool.
pub(crate) struct Hunt<'a> {
    pub(crate) members: &'a [Arc<Endpoint>],
    pub(crate) standing: Standing,
    pub(crate) tried: &'a [Arc<Endpoint>],
    pub(crate) now: Instant,
}

impl Hunt<'_> {
    /// Whether a member is a candidate that this request hasn't tried.
    pub(crate) fn admits(&self, index: usize) -> bool {
        let member = &self.members[index];
        self.standing.mode.admits(member) && !self.was_tried(member)
    }

    /// The probing request that a member is due. A request that has failed once already isn't made a guinea pig.
    pub(crate) fn probe(&self, index: usize) -> Option<Pick> {
        if self.tried.is_empty() { self.probe_at_last(index) } else { None }
    }

    /// The same when nothing else is left.
    pub(crate) fn probe_at_last(&self, index: usize) -> Option<Pick> {
        let member = &self.members[index];
        if self.standing.mode != Mode::Normal || member.is_closed() || !Mode::Spared.admits(member) || self.was_tried(member) {
            return None;
        }
        Some(Pick { lease: InFlight::probe(member, self.now)?, reason: PickReason::Probe })
    }

    /// Takes a candidate.
    pub(crate) fn take(&self, index: usize, reason: PickReason) -> Pick {
        self.call(InFlight::take(&self.members[index]), reason)
    }

    /// Names a pick: by what the algorithm says, unless the mode is the bigger news. An ejected endpoint that is used all the same
    /// gets its due probing request along, so that good answers restore it.
    pub(crate) fn call(&self, mut lease: InFlight, reason: PickReason) -> Pick {
        let reason = match self.standing.mode {
            Mode::Normal | Mode::Unwatched | Mode::Nobody => reason,
            Mode::LastResort => PickReason::LastResort,
            Mode::Spared | Mode::Panic => {
                lease.claim(self.now);
                PickReason::Panic
            }
        };
        Pick { lease, reason }
    }

    fn was_tried(&self, member: &Arc<Endpoint>) -> bool {
        self.tried.iter().any(|tried| Arc::ptr_eq(tried, member))
    }
}
