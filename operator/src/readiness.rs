//! What the operator still waits for, by name and with the reason: the body of `/readyz`, and the log line on each change.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is waited for, each with the reason in words for people.
#[derive(Debug, Default)]
pub struct Readiness {
    waiting: Mutex<BTreeMap<&'static str, String>>,
}

impl Readiness {
    /// Says in silence that `what` will be waited for: the usual course of a start.
    pub fn expect(&self, what: &'static str, why: impl Into<String>) {
        self.lock().insert(what, why.into());
    }

    /// Says that `what` is waited for. The same reason said again is silent.
    pub fn wait_for(&self, what: &'static str, why: impl Into<String>) {
        let why = why.into();
        let mut waiting = self.lock();
        if waiting.get(what) != Some(&why) {
            tracing::warn!(what, why, "waiting");
            waiting.insert(what, why);
        }
    }

    /// Says that `what` is there.
    pub fn arrived(&self, what: &'static str) {
        if self.lock().remove(what).is_some() {
            tracing::info!(what, "no longer waiting");
        }
    }

    /// `what: why`, a line each; `None` when nothing is waited for.
    pub fn report(&self) -> Option<String> {
        let waiting = self.lock();
        if waiting.is_empty() {
            return None;
        }
        let lines = waiting.iter().map(|(what, why)| format!("{what}: {why}\n"));
        Some(lines.collect())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_all_that_was_waited_for_is_there() {
        let readiness = Readiness::default();
        readiness.expect("pods", "the list isn't whole");
        readiness.wait_for("feed", "no certificate");
        readiness.arrived("pods");
        assert_eq!(readiness.report().as_deref(), Some("feed: no certificate\n"));
        readiness.arrived("feed");
        assert_eq!(readiness.report(), None);
    }
}
