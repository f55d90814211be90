//! What a pool does, apart from whom it has, and why such a pool cannot be built. Checked once, when the pool is.

use std::fmt;

use crate::breaker::Passive;
use crate::picker::Algorithm;
use crate::slow_start::SlowStart;
use crate::subset::Subset;

/// What a pool does, apart from whom it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// Below this percentage of usable members all are used; exactly at it, not. 0: never.
    pub panic_threshold: u8,
    /// Passive ejection; absent: off, and breakers that other pools opened are ignored.
    pub passive: Option<Passive>,
    /// How new endpoints grow into their weight; absent: they have it at once.
    pub slow_start: Option<SlowStart>,
    /// The balancer's own zone, if it is to be preferred. Consistent tables and probing ignore it.
    pub zone: Option<String>,
    /// Which part of the members this balancer uses; absent: all. Not with a consistent table.
    pub subset: Option<Subset>,
    /// An endpoint that has so many requests in flight, from all workers and pools, isn't picked; absent: no limit.
    pub endpoint_limit: Option<u32>,
}

impl Config {
    /// This algorithm; panic below 50 %, all else off.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, panic_threshold: 50, passive: None, slow_start: None, zone: None, subset: None, endpoint_limit: None }
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let within = |setting: &'static str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) { Ok(()) } else { Err(BuildError::Setting { setting, value, least, most }) }
        };
        within("panic threshold", self.panic_threshold.into(), 0, 100)?;
        if let Some(passive) = &self.passive {
            within("ejection cap", passive.max_ejection_percent.into(), 0, 100)?;
        }
        if let Some(slow_start) = &self.slow_start {
            within("least weight in slow start", slow_start.min_weight_percent.into(), 1, 100)?;
        }
        if let Algorithm::Packing { limit } = self.algorithm {
            within("packing limit", limit, 1, u32::MAX)?;
        }
        if let Some(limit) = self.endpoint_limit {
            within("limit of an endpoint", limit, 1, u32::MAX - 1)?;
        }
        if let Some(subset) = &self.subset {
            within("subset size", subset.size, 1, u32::MAX)?;
            if matches!(self.algorithm, Algorithm::ConsistentHash { .. }) {
                return Err(BuildError::SubsetOfTable);
            }
        }
        Ok(())
    }
}

/// Why a pool cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildError {
    /// Two members are the same endpoint.
    DuplicateId {
        /// Which.
        id: String,
    },
    /// A weight outside 1–1000.
    Weight {
        /// Whose.
        id: String,
        /// What it says.
        weight: u16,
    },
    /// Members from different books.
    TwoBooks,
    /// A setting out of its range.
    Setting {
        /// Which.
        setting: &'static str,
        /// What it says.
        value: u32,
        /// The least that it may be.
        least: u32,
        /// The most.
        most: u32,
    },
    /// A subset for a consistent table: balancers with different subsets couldn't agree on owners.
    SubsetOfTable,
    /// No points, or too many.
    RingPoints {
        /// How many there would be.
        points: u64,
    },
    /// A Maglev table's size that isn't a prime, or too big.
    TableSize {
        /// What it says.
        size: u32,
    },
    /// More ring keys than slots: some endpoints would own nothing.
    TableTooSmall {
        /// Slots.
        size: u32,
        /// Distinct ring keys.
        endpoints: usize,
    },
    /// A rendezvous asks every member at each pick: too many.
    TooManyForRendezvous {
        /// How many members there are.
        endpoints: usize,
    },
    /// A load factor below 100 %: not even an even spread would fit.
    BalanceFactor {
        /// What it says.
        percent: u32,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateId { id } => write!(f, "endpoint {id} is in the list twice: leave one out"),
            Self::Weight { id, weight } => write!(f, "endpoint {id} has weight {weight}: use 1 to 1000"),
            Self::TwoBooks => write!(f, "members come from different books: build a pool from one"),
            Self::Setting { setting, value, least, most } => write!(f, "{setting} is {value}: use {least} to {most}"),
            Self::SubsetOfTable => {
                write!(f, "a consistent table needs all endpoints: leave the subset out, or take another algorithm")
            }
            Self::RingPoints { points } => {
                let most = crate::picker::ring::MAX_POINTS;
                write!(f, "the ring would have {points} points: use 1 to {most}, by virtualNodes and weights")
            }
            Self::TableSize { size } => {
                let (prime, most) = (crate::picker::maglev::next_prime(*size), crate::picker::maglev::MAX_SIZE);
                write!(f, "the table size is {size}: use a prime up to {most}, for example {prime}")
            }
            Self::TableTooSmall { size, endpoints } => {
                write!(f, "{endpoints} endpoints don't fit a table of {size} slots: use a larger prime, best 100 times as many")
            }
            Self::TooManyForRendezvous { endpoints } => {
                let most = crate::picker::rendezvous::MAX_MEMBERS;
                write!(f, "{endpoints} endpoints are too many for a rendezvous: over {most} use a ring or Maglev table")
            }
            Self::BalanceFactor { percent } => write!(f, "hashBalanceFactor is {percent}: use at least 100"),
        }
    }
}

impl std::error::Error for BuildError {}
