//! In turn over the candidates, from a random start so that sidecars don't march in step.
//! The cursor moves past whom it skips: the one after an endpoint that is out doesn't get two turns.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Hunt;
use crate::pool::{Pick, PickReason};
use crate::rng::{Rng, SmallRng};

/// Lost races after which a turn is taken without moving the cursor.
const RACES: usize = 8;

#[derive(Debug)]
pub(crate) struct RoundRobin {
    /// Where the next turn starts looking.
    cursor: AtomicUsize,
}

impl RoundRobin {
    pub(crate) fn new(members: usize, seed: u64) -> Self {
        Self { cursor: AtomicUsize::new(SmallRng::new(seed).below(members)) }
    }

    pub(crate) fn pick(&self, hunt: &Hunt<'_>) -> Option<Pick> {
        let count = hunt.members.len();
        for race in 1..=RACES {
            let start = self.cursor.load(Relaxed);
            let at = (start..start + count).map(|at| at % count).find(|&at| hunt.admits(at))?;
            let moved = self.cursor.compare_exchange(start, (at + 1) % count, Relaxed, Relaxed).is_ok();
            if moved || race == RACES {
                return Some(hunt.take(at, PickReason::RoundRobin));
            }
        }
        None
    }
}
