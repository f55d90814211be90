//! Who may be picked at all: floor, breakers and panic threshold of a pool boiled down to one mode and two sums.
//! Cached behind the book's epoch: O(members) once after a change of health, weight or ejection, else a few atomic reads.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};

use crate::endpoint::{Endpoint, Health};

/// Which members are candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Floor usable and breaker closed; open breakers get their one probing request.
    Normal = 0,
    /// The pool has no passive checks: floor usable, whatever breakers other pools opened.
    Unwatched = 5,
    /// Every floor-usable one is ejected: ejections alone never empty a pool, so they don't count.
    Spared = 1,
    /// Too few are usable: every usable and every down one.
    Panic = 2,
    /// Nothing but draining ones is left.
    LastResort = 3,
    /// Nobody.
    Nobody = 4,
}

impl Mode {
    fn from_u64(value: u64) -> Self {
        match value {
            0 => Self::Normal,
            1 => Self::Spared,
            2 => Self::Panic,
            3 => Self::LastResort,
            5 => Self::Unwatched,
            _ => Self::Nobody,
        }
    }

    /// Whether a member is a candidate. In `Normal`, one with an open breaker isn't, but may be due a probing request.
    pub(crate) fn admits(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Normal => endpoint.health() == Health::Usable && endpoint.is_closed(),
            Self::Unwatched | Self::Spared => endpoint.health() == Health::Usable,
            Self::Panic => matches!(endpoint.health(), Health::Usable | Health::Down),
            Self::LastResort => endpoint.health() == Health::Draining,
            Self::Nobody => false,
        }
    }
}

/// The mode, and the candidates' number and weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) mode: Mode,
    pub(crate) candidates: usize,
    pub(crate) weight: u64,
}

impl Standing {
    /// Counts anew; `watched`: the pool has passive checks. Panic: fewer than `threshold` percent of the usable and down ones are usable; exactly at it is no panic.
    pub(crate) fn count(members: &[Arc<Endpoint>], threshold: u8, watched: bool) -> Self {
        let (mut usable, mut floor, mut counted, mut draining) = (0usize, 0usize, 0usize, 0usize);
        for member in members {
            match member.health() {
                Health::Usable => {
                    counted += 1;
                    floor += 1;
                    usable += usize::from(!watched || member.is_closed());
                }
                Health::Down => counted += 1,
                Health::Draining => draining += 1,
                Health::NotReady => {}
            }
        }
        let mode = if counted == 0 {
            if draining > 0 { Mode::LastResort } else { Mode::Nobody }
        } else if usable * 100 < counted * usize::from(threshold) {
            Mode::Panic
        } else if usable > 0 {
            if watched { Mode::Normal } else { Mode::Unwatched }
        } else if floor > 0 {
            Mode::Spared
        } else {
            Mode::Nobody
        };
        let (mut candidates, mut weight) = (0, 0);
        for member in members.iter().filter(|member| mode.admits(member)) {
            candidates += 1;
            weight += u64::from(member.weight());
        }
        Self { mode, candidates, weight }
    }
}

/// The last count, as a sequence lock over plain atomics: readers never wait, a torn read is noticed and counts for itself.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Odd while being written.
    version: AtomicU64,
    epoch: AtomicU64,
    mode: AtomicU64,
    candidates: AtomicU64,
    weight: AtomicU64,
}

impl Cache {
    pub(crate) fn new() -> Self {
        // No epoch reaches the maximum, so the first reader counts.
        Self {
            version: AtomicU64::new(0),
            epoch: AtomicU64::new(u64::MAX),
            mode: AtomicU64::new(0),
            candidates: AtomicU64::new(0),
            weight: AtomicU64::new(0),
        }
    }

    /// The standing as of `epoch`, counted by `count` if the last one is older.
    pub(crate) fn get(&self, epoch: u64, count: impl FnOnce() -> Standing) -> Standing {
        let version = self.version.load(Acquire);
        let cached = (self.epoch.load(Relaxed) == epoch).then(|| Standing {
            mode: Mode::from_u64(self.mode.load(Relaxed)),
            candidates: self.candidates.load(Relaxed) as usize,
            weight: self.weight.load(Relaxed),
        });
        fence(Acquire);
        let whole = version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        if let (Some(standing), true) = (cached, whole) {
            return standing;
        }
        let standing = count();
        self.put(version, epoch, standing);
        standing
    }

    /// Stores unless someone else stores: then theirs is as good, or the next reader counts.
    fn put(&self, version: u64, epoch: u64, standing: Standing) {
        if !version.is_multiple_of(2) || self.version.compare_exchange(version, version + 1, AcqRel, Relaxed).is_err() {
            return;
        }
        fence(Release);
        self.epoch.store(epoch, Relaxed);
        self.mode.store(standing.mode as u64, Relaxed);
        self.candidates.store(standing.candidates as u64, Relaxed);
        self.weight.store(standing.weight, Relaxed);
        self.version.store(version + 2, Release);
    }
}
