//! Instants as numbers that fit an atomic: nanoseconds from the first instant seen. It never asks for the time itself.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The origin of all stamps that are compared with each other.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    origin: OnceLock<Instant>,
}

/// Nanoseconds from an origin; 0 for what was before it.
#[inline]
pub(crate) fn nanos_since(origin: Instant, now: Instant) -> u64 {
    let since = now.saturating_duration_since(origin);
    since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos())).min(LATEST)
}

/// The latest stamp, some 73 years on: three bits stay free for tags.
const LATEST: u64 = u64::MAX >> 3;

impl Clock {
    /// Nanoseconds from the origin; 0 for what was before it. The first instant ever passed is the origin.
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        nanos_since(*self.origin.get_or_init(|| now), now)
    }

    /// The origin; `None` before the first call of [`Clock::nanos`].
    pub(crate) fn origin(&self) -> Option<Instant> {
        self.origin.get().copied()
    }

    /// The instant of a stamp; `None` before the first call of [`Clock::nanos`].
    pub(crate) fn instant(&self, nanos: u64) -> Option<Instant> {
        self.origin.get().map(|&origin| origin + Duration::from_nanos(nanos))
    }
}
