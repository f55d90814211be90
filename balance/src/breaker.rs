//! The passive breaker of one endpoint: closed → open (base·2ⁿ) → one probing request at a time → closed after two good ones.
//! Picks read and claim it by atomics alone; the row of errors behind it has a lock that a good request on a closed breaker never touches.
//! Times are nanoseconds of its book's clock.

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// When a row of errors ejects an endpoint, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive {
    /// Errors in a row that eject.
    pub consecutive_errors: u32,
    /// How long such a row may take.
    pub window: Duration,
    /// The first ejection; each failed probing request doubles it.
    pub base_ejection: Duration,
    /// The longest ejection.
    pub max_ejection: Duration,
    /// The most of a pool that may be ejected at once, in percent; one always may where there are two.
    pub max_ejection_percent: u8,
}

/// How a request went, as far as the endpoint's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// An answer that doesn't speak against the endpoint.
    Success,
    /// No connection: refused, unreachable, timed out.
    ConnectError,
    /// 502, 503, 504, a reset, or no head in time.
    GatewayError,
    /// Another 5xx: says as much about the request as about the endpoint, but a row of nothing else is a broken endpoint.
    ServerError,
    /// The client went away: says nothing.
    Cancelled,
}

/// Why an endpoint was ejected: what its last error was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EjectReason {
    /// A row that ended in a connect error.
    ConnectErrors,
    /// A row that ended in a gateway error.
    GatewayErrors,
    /// A row that ended in another server error.
    ServerErrors,
    /// The probing request failed.
    ProbeFailed,
}

impl EjectReason {
    /// The word for labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectErrors => "ConnectErrors",
            Self::GatewayErrors => "GatewayErrors",
            Self::ServerErrors => "ServerErrors",
            Self::ProbeFailed => "ProbeFailed",
        }
    }
}

/// What a report changed; for the log and for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Out until then.
    Ejected {
        /// Why.
        reason: EjectReason,
        /// When the next probing request is due.
        until: Instant,
    },
    /// Two probing requests in a row were good.
    Restored,
}

/// The breaker as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ejection {
    /// Requests flow.
    Closed,
    /// No requests; from `until` on one probing request is due.
    Open {
        /// When it is due.
        until: Instant,
    },
    /// The one probing request is out.
    Probing,
}

/// Good probing requests in a row that close the breaker.
const GOOD_TO_CLOSE: u32 = 2;
/// The most that a row of errors adds to an endpoint's load.
const MAX_PENALTY: u32 = 1_000;

/// No ejection is longer, whatever a policy says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const PROBING: u64 = 2;
const TAG: u64 = 3;

/// [`Ejection`] with its time as a number.
pub(crate) enum View {
    Closed,
    Open { until: u64 },
    Probing,
}

/// A claimed probing request; its word says which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim(NonZeroU64);

/// What the breaker wants after an error.
pub(crate) enum Wish {
    /// Nothing.
    Stay,
    /// To open for the first time: the pool's cap decides.
    Open(EjectReason),
}

/// What picks read comes first, so that it lies beside the rest of what they read of an endpoint.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Breaker {
    /// `CLOSED`, or the time when the probe is due, shifted left by two, plus `OPEN` or `PROBING`.
    word: AtomicU64,
    /// Until when the row weighs on the endpoint's load.
    penalty_until: AtomicU64,
    /// Errors in a row, as picks see them.
    row: AtomicU32,
    /// Made by the first error: most endpoints never have one.
    book: OnceLock<Box<Mutex<Row>>>,
}

#[derive(Debug, Default)]
struct Row {
    started: Option<u64>,
    /// The n of base·2ⁿ: openings so far. It outlives a restoration by one window, so that flapping ejects for longer each time.
    openings: u32,
    restored: Option<u64>,
    /// Good probing requests in a row.
    good: u32,
}

impl Breaker {
    pub(crate) fn is_closed(&self) -> bool {
        self.word.load(Acquire) == CLOSED
    }

    /// Whether it is open or probing, and when its next probing request is due.
    pub(crate) fn view(&self) -> View {
        let word = self.word.load(Acquire);
        match word & TAG {
            OPEN => View::Open { until: word >> 2 },
            PROBING => View::Probing,
            _ => View::Closed,
        }
    }

    /// What the errors of late add to the in-flight count, so that failing fast never looks like being idle.
    pub(crate) fn penalty(&self, now: u64) -> u32 {
        let row = self.row.load(Relaxed);
        if row == 0 || now >= self.penalty_until.load(Relaxed) { 0 } else { row.min(MAX_PENALTY) }
    }

    /// Takes the one probing request of an open breaker whose time has come.
    pub(crate) fn claim(&self, now: u64) -> Option<Claim> {
        let word = self.word.load(Acquire);
        if word & TAG != OPEN || now < word >> 2 {
            return None;
        }
        let claimed = word & !TAG | PROBING;
        self.word.compare_exchange(word, claimed, AcqRel, Relaxed).ok().and_then(|_| NonZeroU64::new(claimed)).map(Claim)
    }

    /// Gives a claim back whose request ended without a word; a claim that was answered is spent and this does nothing.
    pub(crate) fn release(&self, claim: Claim) {
        let _ = self.word.compare_exchange(claim.0.get(), claim.0.get() & !TAG | OPEN, AcqRel, Relaxed);
    }

    /// A good answer. Resets the row; on a probing breaker it counts towards closing. True if it closed it.
    pub(crate) fn succeed(&self, now: u64) -> bool {
        let word = self.word.load(Acquire);
        if word == CLOSED && self.row.load(Relaxed) == 0 {
            return false;
        }
        let mut row = self.lock();
        let word = self.word.load(Acquire);
        match word & TAG {
            PROBING => {
                row.good += 1;
                if row.good < GOOD_TO_CLOSE {
                    self.store(OPEN, now, word);
                    return false;
                }
                row.started = None;
                row.restored = Some(now);
                self.row.store(0, Relaxed);
                self.word.store(CLOSED, Release);
                true
            }
            // An answer to a request from before the ejection: the probing request decides, not this one.
            OPEN => false,
            _ => {
                row.started = None;
                self.row.store(0, Relaxed);
                false
            }
        }
    }

    /// An error. A probing breaker opens again at once, for longer; a closed one asks when its row is full.
    pub(crate) fn fail(&self, reason: EjectReason, passive: &Passive, now: u64) -> Wish {
        let mut row = self.lock();
        match self.word.load(Acquire) & TAG {
            PROBING => Wish::Open(EjectReason::ProbeFailed),
            OPEN => Wish::Stay,
            _ => {
                let fresh = row.started.is_none_or(|started| now.saturating_sub(started) > nanos(passive.window));
                if fresh {
                    row.started = Some(now);
                }
                let errors = if fresh { 1 } else { self.row.load(Relaxed).saturating_add(1) };
                self.row.store(errors, Relaxed);
                self.penalty_until.store(now + nanos(passive.base_ejection), Relaxed);
                // A multiple, not "at least": a row that the cap spared asks again only after as many errors more.
                if errors % passive.consecutive_errors.max(1) == 0 { Wish::Open(reason) } else { Wish::Stay }
            }
        }
    }

    /// Opens, and tells until when. `jitter` is 0–255: the ejection lasts 80–100 % of base·2ⁿ (at most `max_ejection`), so that
    /// sidecars don't probe in step.
    pub(crate) fn open(&self, reason: EjectReason, passive: &Passive, now: u64, jitter: u8) -> Option<u64> {
        let mut row = self.lock();
        let word = self.word.load(Acquire);
        let expected = if reason == EjectReason::ProbeFailed { PROBING } else { CLOSED };
        if word & TAG != expected {
            return None;
        }
        if expected == CLOSED && row.restored.is_none_or(|at| now.saturating_sub(at) > nanos(passive.window)) {
            row.openings = 0;
        }
        let doubled = passive.base_ejection.saturating_mul(1u32.checked_shl(row.openings).unwrap_or(u32::MAX));
        let longest = nanos(doubled.min(passive.max_ejection));
        let lasts = longest - longest / 5 * u64::from(jitter) / 255;
        row.openings = (row.openings + 1).min(31);
        row.good = 0;
        row.started = None;
        Some(self.store(OPEN, now + lasts, word))
    }

    /// Writes a word whose time is later than that of `before`, so that a claim never fits a newer word.
    fn store(&self, tag: u64, at: u64, before: u64) -> u64 {
        let at = at.max((before >> 2) + 1);
        self.word.store(at << 2 | tag, Release);
        at
    }

    fn lock(&self) -> MutexGuard<'_, Row> {
        // A row is whole after each statement; a panic elsewhere cannot leave it half written.
        self.book.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No longer than a day, whatever a policy says.
fn nanos(duration: Duration) -> u64 {
    duration.min(LONGEST).as_nanos() as u64
}
