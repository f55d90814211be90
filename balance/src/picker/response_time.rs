//! Least response time (FEATURES A6): Peak-EWMA × (in flight + 1) ÷ weight, lowest of d distinct draws or of all (Finagle's and
//! Linkerd's load metric). A slower answer counts at once and fades over ten seconds; failures count as slow.

use super::draw::{self, Score};
use super::{Choice, Hunt};
use crate::load::{PEAK_DECAY, decay};
use crate::pick::PickReason;
use crate::rng::Rng;

/// What an endpoint without an answer yet counts for, in microseconds: Linkerd's default.
const UNKNOWN: f32 = 30_000.0;

/// Endpoints that became ready within as long, in nanoseconds, are equally new.
const TOGETHER: u64 = 1_000_000_000;

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
        draw::pick_sparing(hunt, self.choices, PickReason::LeastLoaded, score, is_new, rng)
    }
}

/// Whether it looks alike to all balancers: it joined others, and few answers of it are known yet, or none.
fn is_new(hunt: &Hunt<'_>, index: usize) -> bool {
    let member = &hunt.members[index];
    let ready_at = member.ready_at();
    let joined = ready_at.saturating_sub(hunt.standing.oldest) > TOGETHER;
    joined && (hunt.nanos.saturating_sub(ready_at) < PEAK_DECAY || !member.load().is_known())
}

/// The time that this request would wait for those before it and take itself, in nanoseconds, by weight.
pub(crate) fn score(hunt: &Hunt<'_>, index: usize) -> Score {
    let member = &hunt.members[index];
    // What nobody asked fades like an answer: else it would never be asked where the others are quicker.
    let unknown = || UNKNOWN * decay(hunt.nanos.saturating_sub(member.ready_at()), PEAK_DECAY);
    let nanos = (member.load().peak(hunt.nanos).unwrap_or_else(unknown) * 1_000.0) as u64;
    Score { over: nanos.max(1).saturating_mul(member.burden(hunt.nanos) + 1), under: hunt.weight(index) }
}
