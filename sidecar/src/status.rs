//! What the control plane says of itself: synced or waiting, for what, and when the feed was last heard.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A sidecar that has waited this long lets its pod start: a pod must not hang on the operator.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// A feed that has been silent this long is stale.
pub(crate) const STALE: Duration = Duration::from_secs(30);

/// Shared by control plane, probes and metrics.
#[derive(Debug)]
pub(crate) struct Status {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    synced: bool,
    waits_for: String,
    feed: Option<Instant>,
}

/// What a readiness probe is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// Whether the pod may start.
    pub(crate) ready: bool,
    /// In words.
    pub(crate) text: String,
}

impl Status {
    /// At the start of the process, waiting for `what`.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let state = State { waits_for: what.into(), ..State::default() };
        Self { started: Instant::now(), state: Mutex::new(state) }
    }

    /// What is being waited for now.
    pub(crate) fn waits_for(&self, what: impl Into<String>) {
        self.lock().waits_for = what.into();
    }

    /// All wanted pools are here. Stays true: the last good lists stay in use.
    pub(crate) fn synced(&self) {
        self.lock().synced = true;
    }

    /// The feed has just said something.
    pub(crate) fn heard(&self) {
        self.lock().feed = Some(Instant::now());
    }

    /// Since when the feed is silent; since the start if it has never spoken; `None` without a feed.
    pub(crate) fn feed_age(&self) -> Option<Duration> {
        self.lock().feed.map(|heard| heard.elapsed())
    }

    /// While never synced: what is waited for.
    pub(crate) fn pending(&self) -> Option<String> {
        let state = self.lock();
        (!state.synced).then(|| state.waits_for.clone())
    }

    /// Synced, or waiting for too long to hold up the pod.
    pub(crate) fn readiness(&self) -> Readiness {
        let waited = self.started.elapsed();
        match self.pending() {
            None => Readiness { ready: true, text: "ready\n".into() },
            Some(what) if waited < PATIENCE => Readiness { ready: false, text: format!("waiting for {what}\n") },
            Some(what) => {
                let text = format!("let through after {} s without pools, still waiting for {what}\n", waited.as_secs());
                Readiness { ready: true, text }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_unsynced_sidecar_lets_its_pod_start_after_ten_seconds_and_says_what_it_waits_for() {
        let status = Status::new("the operator");
        assert_eq!(status.readiness(), Readiness { ready: false, text: "waiting for the operator\n".into() });
        tokio::time::advance(PATIENCE).await;
        let readiness = status.readiness();
        assert!(readiness.ready && readiness.text.contains("still waiting for the operator"), "{readiness:?}");
        status.synced();
        assert_eq!(status.readiness().text, "ready\n");
    }
}
