//! What a pick goes by and what comes of it: an endpoint with its reason, or the reason why there is none.

use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::lease::InFlight;

/// What a pick may go by.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickArgs<'a> {
    /// The hash of the request's key, by [`crate::key_hash`].
    pub key: Option<u64>,
    /// The hash of the request's cost class, by [`crate::key_hash`]: requests of one class cost about the same.
    pub class: Option<u64>,
    /// Endpoints that this request tried; none is picked again.
    pub tried: &'a [Arc<Endpoint>],
}

/// A choice.
#[derive(Debug)]
pub struct Pick {
    /// Counts 1 on the endpoint until dropped.
    pub lease: InFlight,
    /// Why this one.
    pub reason: PickReason,
}

/// Why an endpoint was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PickReason {
    /// Its turn.
    RoundRobin,
    /// Drawn at random.
    Random,
    /// The first with room.
    Packed,
    /// By replies to probes.
    Probed,
    /// Less loaded than the others drawn.
    LeastLoaded,
    /// Owns the key: the first usable one of the key's sequence.
    Owner,
    /// A later one of the key's sequence: the owner is over its bound or at its limit.
    Overflow,
    /// The request has no key.
    Fallback,
    /// Too few usable ones, or all ejected: all are used.
    Panic,
    /// The own zone is preferred, but has nobody, or is slower than others: it goes to another.
    Spill,
    /// The one probing request of an open breaker.
    Probe,
    /// Only draining ones are left.
    LastResort,
}

impl PickReason {
    /// The word for labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "RoundRobin",
            Self::Random => "Random",
            Self::Packed => "Packed",
            Self::Probed => "Probed",
            Self::LeastLoaded => "LeastLoaded",
            Self::Owner => "Owner",
            Self::Overflow => "Overflow",
            Self::Fallback => "Fallback",
            Self::Panic => "Panic",
            Self::Spill => "Spill",
            Self::Probe => "Probe",
            Self::LastResort => "LastResort",
        }
    }
}

/// Why there is no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoEndpoint {
    /// The pool has no members.
    Empty,
    /// None of its members may be used.
    NoneUsable,
    /// This request has tried all that may be used.
    AllTried,
    /// Those that may be used, and that this request hasn't tried, are at their limit: there is one as soon as a request ends.
    Saturated,
}

impl NoEndpoint {
    /// The word for labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::NoneUsable => "NoneUsable",
            Self::AllTried => "AllTried",
            Self::Saturated => "Saturated",
        }
    }
}
