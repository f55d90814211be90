//! Turns by learned weights: by how quickly endpoints answer (FEATURES A7), or by what they say of their load (A19, gRFC A58). Whoever
//! picks first after a period works the weights out anew, for all; no lock, no timer, and no memory after the pool is built.

use std::sync::Arc;
use std::time::Duration;

use super::{Choice, Hunt, stride};
use crate::endpoint::Endpoint;
use crate::load::decay;
use crate::rng::Rng;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};

/// What weights are learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The configured weight by the mean response time.
    ResponseTime,
    /// Reported queries a second by utilization.
    Reported,
}

impl Source {
    fn period(self) -> u64 {
        match self {
            // Long enough to see what the last weights did.
            Self::ResponseTime => Duration::from_secs(2).as_nanos() as u64,
            // A58's weight_update_period.
            Self::Reported => Duration::from_secs(1).as_nanos() as u64,
        }
    }

    /// A member's worth in any unit, and how far it is to be believed, 0–1.
    fn worth(self, member: &Endpoint, nanos: u64) -> Option<(f32, f32)> {
        match self {
            Self::ResponseTime => {
                let (micros, age) = member.load().mean(nanos)?;
                Some((1.0 / micros, decay(age, STALE)))
            }
            Self::Reported => member.reported_weight(nanos).map(|weight| (weight, 1.0)),
        }
    }
}

/// Time constant in which a response time that is no longer confirmed fades to the mean of all.
const STALE: u64 = Duration::from_secs(10).as_nanos() as u64;
/// The weight of the mean.
const MEAN: f32 = 1_000.0;
/// Nobody weighs under a tenth of the mean, so that it is heard of again, nor over ten times the mean (as in gRPC's static stride).
const BOUNDS: (f32, f32) = (MEAN / 10.0, MEAN * 10.0);

#[derive(Debug)]
pub(crate) struct Learned {
    source: Source,
    /// By member; 0: not learned yet.
    weights: Box<[AtomicU32]>,
    heaviest: AtomicU32,
    /// When they are to be learned anew, in nanoseconds of the clock.
    due: AtomicU64,
}

impl Learned {
    pub(crate) fn new(source: Source, members: usize) -> Self {
        let weights = (0..members).map(|_| AtomicU32::new(0)).collect();
        Self { source, weights, heaviest: AtomicU32::new(0), due: AtomicU64::new(0) }
    }

    /// The next in turn. O(largest ÷ mean weight), and once a period O(members).
    pub(crate) fn pick(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> Option<Choice> {
        let due = self.due.load(Relaxed);
        if hunt.nanos >= due && self.due.compare_exchange(due, hunt.nanos + self.source.period(), AcqRel, Relaxed).is_ok() {
            self.learn(hunt.members, hunt.nanos);
        }
        stride::pick(hunt, hunt.turn()?, u64::from(self.heaviest.load(Relaxed)), |index| self.weight(index), rng)
    }

    fn weight(&self, index: usize) -> u64 {
        u64::from(self.weights[index].load(Relaxed))
    }

    fn learn(&self, members: &[Arc<Endpoint>], nanos: u64) {
        let known = members.iter().filter_map(|member| self.source.worth(member, nanos));
        let (count, sum) = known.fold((0u32, 0.0), |(count, sum), (worth, _)| (count + 1, sum + worth));
        let mean = sum / count.max(1) as f32;
        let mut heaviest = 0;
        for (member, stored) in members.iter().zip(&self.weights) {
            let learned =
                self.source.worth(member, nanos).map_or(MEAN, |(worth, belief)| MEAN + (worth / mean * MEAN - MEAN) * belief);
            let before = stored.load(Relaxed);
            let weight = self.settle(learned.clamp(BOUNDS.0, BOUNDS.1), member.weight(), before);
            stored.store(weight, Relaxed);
            heaviest = heaviest.max(weight);
        }
        self.heaviest.store(heaviest, Relaxed);
    }

    /// Response times follow the traffic that the weights make: half a step at a time they settle instead of swinging. What is
    /// reported is what an endpoint can do, whatever it gets.
    fn settle(&self, learned: f32, configured: u16, before: u32) -> u32 {
        match self.source {
            Source::Reported => learned as u32,
            Source::ResponseTime => {
                let weight = (learned * f32::from(configured) / 100.0).max(1.0) as u32;
                if before == 0 { weight } else { before.midpoint(weight) }
            }
        }
    }
}
