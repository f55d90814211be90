//! In turn (FEATURES A1), and where weights differ in turn by weight (A2): 5, 1, 1 give a a b a c a a, shares over a cycle are exact. It
//! starts at a random place and stays where it is when lists and weights change. Whoever is out is passed over, and the next one has
//! no second turn for it.

use super::{Choice, Hunt, stride};
use crate::rng::Rng;

#[derive(Debug)]
pub(crate) struct RoundRobin;

impl RoundRobin {
    pub(crate) fn pick(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> Option<Choice> {
        let turn = hunt.turn()?;
        stride::pick(hunt, turn, u64::from(hunt.standing.heaviest), |index| u64::from(hunt.members[index].weight()), rng)
    }
}
