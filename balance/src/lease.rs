//! One request on an endpoint, from pick to drop: it counts while it lives, takes the response time when the answer begins, and a
//! probing one that ends unreported gives its turn back.

use std::sync::Arc;
use std::time::Instant;

use crate::breaker::Claim;
use crate::endpoint::Endpoint;

/// What a request weighs (FEATURES A15).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weighed {
    /// The hash of its cost class, if it has one.
    #[expect(dead_code, reason = "read by LeastCost")]
    pub(crate) class: Option<u64>,
    /// What its class is expected to cost.
    pub(crate) cost: u32,
}

/// A request in flight: counts 1 until dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    claim: Option<Claim>,
    weighed: Weighed,
    /// When it was picked, in nanoseconds of the clock.
    since: u64,
    /// Its response time has been taken.
    sampled: bool,
}

impl InFlight {
    pub(crate) fn take(endpoint: &Arc<Endpoint>, weighed: Weighed, nanos: u64) -> Self {
        endpoint.load().add(weighed.cost);
        Self::counted(endpoint, weighed, nanos, None)
    }

    /// Only if it may, given what is in flight now; racing workers cannot pass a bound together.
    pub(crate) fn take_if(endpoint: &Arc<Endpoint>, weighed: Weighed, nanos: u64, may: impl Fn(u32) -> bool) -> Option<Self> {
        endpoint.load().add_if(weighed.cost, may).then(|| Self::counted(endpoint, weighed, nanos, None))
    }

    /// The one probing request of an open breaker, if it is due and nobody has it.
    pub(crate) fn probe(endpoint: &Arc<Endpoint>, weighed: Weighed, nanos: u64) -> Option<Self> {
        let claim = endpoint.breaker().claim(nanos)?;
        endpoint.load().add(weighed.cost);
        Some(Self::counted(endpoint, weighed, nanos, Some(claim)))
    }

    fn counted(endpoint: &Arc<Endpoint>, weighed: Weighed, since: u64, claim: Option<Claim>) -> Self {
        Self { endpoint: Arc::clone(endpoint), claim, weighed, since, sampled: false }
    }

    /// Makes this request the probing one, if one is due and nobody has it.
    pub(crate) fn claim(&mut self, nanos: u64) {
        self.claim = self.endpoint.breaker().claim(nanos);
    }

    /// Whom it is for.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The answer has begun: its time since the pick is the response time. Only the first call counts, so that an answer that
    /// streams for an hour tells how quickly it came when it came.
    pub fn answered(&mut self, now: Instant) {
        let nanos = self.endpoint.shared().clock.nanos(now);
        self.sample(nanos.saturating_sub(self.since), nanos);
    }

    /// Takes the response time, unless it has been taken.
    pub(crate) fn sample(&mut self, took: u64, nanos: u64) {
        if !std::mem::replace(&mut self.sampled, true) {
            self.endpoint.load().observe(took as f32 / 1_000.0, nanos);
        }
    }

    /// How long ago it was picked.
    pub(crate) fn age(&self, nanos: u64) -> u64 {
        nanos.saturating_sub(self.since)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.load().remove(self.weighed.cost);
        if let Some(claim) = self.claim {
            self.endpoint.breaker().release(claim);
        }
    }
}
