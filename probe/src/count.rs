//! How a check went, and how many went how.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CheckReason {
    /// As expected.
    Passing,
    /// Nobody listens there.
    Refused,
    /// Not done in time.
    Timeout,
    /// The connection ended before the answer did.
    Reset,
    /// The answer's status isn't one of the expected.
    Status,
    /// No way there: no route, no address, no socket left here.
    Unreachable,
    /// The answer isn't HTTP, or its head is too long.
    Protocol,
}

impl CheckReason {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Passing, Self::Refused, Self::Timeout, Self::Reset, Self::Status, Self::Unreachable, Self::Protocol];

    /// The word for labels, logs and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "Passing",
            Self::Refused => "Refused",
            Self::Timeout => "Timeout",
            Self::Reset => "Reset",
            Self::Status => "Status",
            Self::Unreachable => "Unreachable",
            Self::Protocol => "Protocol",
        }
    }
}

/// Checks made since the start, by how they went.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; CheckReason::ALL.len()]);

impl Counts {
    /// How many went this way.
    pub fn get(&self, reason: CheckReason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (CheckReason, u64)> {
        CheckReason::ALL.into_iter().map(|reason| (reason, self.get(reason)))
    }

    pub(crate) fn count(&self, reason: CheckReason) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }
}
