//! Least response time (FEATURES A6): Peak-EWMA × (in flight + 1) ÷ weight, lowest of d distinct draws or of all (Finagle's and
//! Linkerd's load metric). A slower answer counts at once and fades over ten seconds; failures count as slow.

use super::draw::{self, Score};
use super::{Choice, Hunt};
use crate::load::{PEAK_DECAY, decay};
use crate::pool::PickReason;
use crate::rng::Rng;

/// What an endpoint without an answer yet counts for, in microseconds: Linkerd's default.
const UNKNOWN: f32 = 30_000.0;

#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseTime {
    /// Distinct draws; 0: all.
    choices: usize,
}

impl ResponseTime {
    pub(crate) fn new(choice_count: u32) -> Self {
        Self { choices: choice_count as usize }
    }

    pub(crate) fn pick(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> Option<Choice> {
        draw::pick(hunt, self.choices, PickReason::LeastLoaded, score, rng)
    }
}

/// The time that this request would wait for those before it and take itself, in nanoseconds, by weight.
pub(crate) fn score(hunt: &Hunt<'_>, index: usize) -> Score {
    let member = &hunt.members[index];
    let unknown = || {
        // It fades like an answer: else one that nobody asked for long would never be asked where the others are quicker.
        UNKNOWN * decay(hunt.nanos.saturating_sub(member.ready_at()), PEAK_DECAY)
    };
    let peak = member.load().peak(hunt.nanos).unwrap_or_else(unknown);
    let nanos = (peak * 1_000.0) as u64;
    Score { over: nanos.max(1).saturating_mul(member.burden(hunt.nanos) + 1), under: hunt.weight(index) }
}
