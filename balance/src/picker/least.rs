//! The least loaded per weight: of all candidates (A4), or of d distinct random ones (A5; Mitzenmacher, "The power of two choices in
//! randomized load balancing", IEEE TPDS 2001).

use super::draw::{self, Score};
use super::{Choice, Hunt};
use crate::pick::PickReason;
use crate::rng::Rng;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Least {
    /// Distinct draws; 0: all.
    choices: usize,
}

impl Least {
    pub(crate) fn new(choice_count: u32) -> Self {
        Self { choices: choice_count as usize }
    }

    pub(crate) fn pick(&self, hunt: &Hunt<'_>, reason: PickReason, rng: &mut impl Rng) -> Option<Choice> {
        draw::pick(hunt, self.choices, reason, score, rng)
    }
}

/// The load that a member would have with this request: (in flight + 1) ÷ weight. Without the one, idle endpoints of all weights
/// would be equals. The errors of late add to it, so that failing fast never looks like being idle.
#[inline]
pub(crate) fn score(hunt: &Hunt<'_>, index: usize) -> Score {
    Score { over: hunt.members[index].burden(hunt.nanos) + 1, under: hunt.weight(index) }
}
