//! Least cost (FEATURES A15): what the requests in flight are expected to cost, with this one, ÷ weight; the lowest of d distinct draws
//! or of all. Where work is heavy-tailed, counts put small requests behind large ones; costs don't.

use std::sync::Arc;

use super::draw::{self, Score};
use super::{Choice, Hunt};
use crate::cost::Costs;
use crate::endpoint::Endpoint;
use crate::pick::PickReason;
use crate::rng::Rng;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Distinct draws; 0: all.
    choices: usize,
}

impl Cost {
    pub(crate) fn new(choice_count: u32, members: &[Arc<Endpoint>]) -> Self {
        if let Some(first) = members.first() {
            first.shared().costs.get_or_init(|| Box::new(Costs::new()));
        }
        Self { choices: choice_count as usize }
    }

    pub(crate) fn pick(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> Option<Choice> {
        let mean = mean(hunt);
        draw::pick(hunt, self.choices, PickReason::LeastLoaded, |hunt, index| score(hunt, index, mean), rng)
    }

    pub(crate) fn order(&self, hunt: &Hunt<'_>) -> Vec<usize> {
        let mean = mean(hunt);
        draw::order(hunt, |hunt, index| score(hunt, index, mean))
    }
}

fn mean(hunt: &Hunt<'_>) -> u64 {
    hunt.members.first().and_then(|first| first.shared().costs.get()).map_or(1, |costs| costs.mean().into())
}

/// Requests that came through pools of other algorithms, and the errors of late, count the mean each.
fn score(hunt: &Hunt<'_>, index: usize, mean: u64) -> Score {
    let member = &hunt.members[index];
    let uncounted = member.load().uncosted() + u64::from(member.breaker().penalty(hunt.nanos));
    Score { over: member.load().cost() + uncounted * mean + u64::from(hunt.cost), under: hunt.weight(index) }
}
