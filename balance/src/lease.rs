//! One request on an endpoint, from pick to drop: it counts while it lives, takes the response time when the answer begins, and a
//! probing one that ends unreported gives its turn back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::breaker::Claim;
use crate::endpoint::Endpoint;
use crate::zone::Side;

/// A request in flight: counts 1 until dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    claim: Option<Claim>,
    /// The hash of its cost class, if it has one (FEATURES A15).
    class: Option<u64>,
    /// What its class is expected to cost: what it adds to the endpoint's cost until it ends.
    cost: u32,
    /// When it was picked, in nanoseconds of the clock.
    since: u64,
    /// Its response time has been taken.
    sampled: bool,
    /// Where its endpoint is, for a pool that prefers its own zone.
    side: Option<Side>,
}

impl InFlight {
    /// Of a request that has been counted on the endpoint, with its cost.
    pub(crate) fn counted(endpoint: &Arc<Endpoint>, class: Option<u64>, cost: u32, since: u64, claim: Option<Claim>) -> Self {
        Self { endpoint: Arc::clone(endpoint), claim, class, cost, since, sampled: false, side: None }
    }

    /// Counts it for its zone, too.
    pub(crate) fn enter(&mut self, side: Side) {
        self.endpoint.shared().zones.enter(side);
        self.side = Some(side);
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

    /// The same where the time since the pick isn't the endpoint's alone, because its client was waited for: the answer took so long.
    pub fn answered_after(&mut self, took: Duration, now: Instant) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sample(took, self.endpoint.shared().clock.nanos(now));
    }

    /// Takes the response time, unless it has been taken.
    pub(crate) fn sample(&mut self, took: u64, nanos: u64) {
        if !std::mem::replace(&mut self.sampled, true) {
            let micros = took as f32 / 1_000.0;
            self.endpoint.load().observe(micros, nanos);
            if let (Some(class), 1.., Some(costs)) = (self.class, self.cost, self.endpoint.shared().costs.get()) {
                costs.learn(class, micros);
            }
            if let Some(side) = self.side {
                self.endpoint.shared().zones.answered(side, took, nanos);
            }
        }
    }

    /// Takes a failure: it counts as slow.
    pub(crate) fn fail(&self, nanos: u64) {
        let took = self.age(nanos);
        self.endpoint.load().observe_failure(took, nanos);
        if let Some(side) = self.side {
            self.endpoint.shared().zones.failed(side, took, nanos);
        }
    }

    /// How long ago it was picked.
    pub(crate) fn age(&self, nanos: u64) -> u64 {
        nanos.saturating_sub(self.since)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.load().remove(self.cost);
        if let Some(side) = self.side {
            self.endpoint.shared().zones.leave(side);
        }
        if let Some(claim) = self.claim {
            self.endpoint.breaker().release(claim);
        }
    }
}
