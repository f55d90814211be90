//! Packing (FEATURES A18; HAProxy's "first"): endpoints are filled in canonical order, each up to its limit, so that those at the end
//! stay idle and may be taken away.

use super::draw;
use super::{Choice, Hunt, least};
use crate::pick::PickReason;
use crate::rng::Rng;

#[derive(Debug)]
pub(crate) struct Packing {
    limit: u32,
}

impl Packing {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit }
    }

    /// The first with room; where all are full the least loaded. O(full ones).
    pub(crate) fn pick(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> Option<Choice> {
        let first = (0..hunt.count()).map(|n| hunt.nth(n)).filter(|&index| hunt.admits(index)).find_map(|index| {
            let room = self.room(hunt.weight(index));
            hunt.take_if(index, PickReason::Packed, |in_flight| in_flight < room)
        });
        first.or_else(|| draw::pick(hunt, 0, PickReason::LeastLoaded, least::score, rng))
    }

    /// How many requests an endpoint of this weight may have, weight 10,000 being a normal one; at least one.
    fn room(&self, weight: u32) -> u32 {
        let room = u64::from(self.limit) * u64::from(weight) / 10_000;
        room.clamp(1, u64::from(u32::MAX)) as u32
    }
}
