//! C3's replica ranking: R − T + q̂³·T with q̂ = 1 + outstanding·balancers + q, where R is the response time that the balancer saw, T the
//! service time and q the queue that answers bring along, all moving averages (Suresh et al., NSDI 2015, §3.1). FROZEN, see the parent.

use super::Feedback;
use crate::events::Nanos;

/// Weight of the newest sample, as in the authors' code.
const NEWEST: f64 = 0.1;
/// The least service time, in nanoseconds: a server isn't infinitely fast because a request was empty.
const LEAST: f64 = 100e3;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rank {
    response: Option<f64>,
    service: f64,
    queue: f64,
}

impl Rank {
    pub(super) fn observe(&mut self, took: Nanos, feedback: Option<Feedback>) {
        let took = took as f64;
        let (service, queue) =
            feedback.map_or((self.service, self.queue), |known| ((known.service as f64).max(LEAST), f64::from(known.queue)));
        let newest = if self.response.is_some() { NEWEST } else { 1.0 };
        let mix = |old: f64, new: f64| old + newest * (new - old);
        self.response = Some(mix(self.response.unwrap_or(took), took));
        self.service = mix(self.service, service);
        self.queue = mix(self.queue, queue);
    }

    /// Lower is better; a server that never answered comes first, the fewer it was asked the earlier.
    pub(super) fn score(&self, outstanding: u32, balancers: u32) -> f64 {
        let Some(response) = self.response else { return f64::MIN + f64::from(outstanding) * 1e300 };
        let queue = 1.0 + f64::from(outstanding) * f64::from(balancers) + self.queue;
        response - self.service + queue * queue * queue * self.service
    }
}
