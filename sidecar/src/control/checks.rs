//! This process's own active checks: always in the embedded mode, with a feed only while it is stale.

use super::Control;
use evenkeel_probe::{Prober, Verdict};
use evenkeel_wire::PoolName;
use std::collections::BTreeSet;
use tokio::sync::mpsc::Receiver;

/// Keeps the checks in step with the pools in use.
pub(crate) struct Checks {
    prober: Prober,
    verdicts: Receiver<Verdict>,
    checked: BTreeSet<PoolName>,
}

impl Checks {
    /// None yet.
    pub(crate) fn new(seed: u64) -> Self {
        let (prober, verdicts) = Prober::new(seed);
        Self { prober, verdicts, checked: BTreeSet::new() }
    }

    /// Checks what the pools in use say, and no more.
    pub(crate) fn follow(&mut self, control: &Control) {
        let before = std::mem::take(&mut self.checked);
        for (name, policy) in control.policies().filter(|(_, policy)| policy.active.is_some()) {
            self.prober.set(name, policy.active.as_ref(), control.targets(name));
            self.checked.insert(name.clone());
        }
        before.difference(&self.checked).for_each(|name| self.prober.remove(name));
    }

    /// Checks nothing.
    pub(crate) fn stop(&mut self) {
        std::mem::take(&mut self.checked).iter().for_each(|name| self.prober.remove(name));
    }

    /// The next change of an endpoint's health. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Verdict {
        match self.verdicts.recv().await {
            Some(verdict) => verdict,
            // The prober holds the sender, so this isn't reached; waiting for ever is what "no more verdicts" means.
            None => std::future::pending().await,
        }
    }

    /// Lets a verdict take effect; one of a check that has ended since doesn't.
    pub(crate) fn heed(&self, control: &mut Control, verdict: &Verdict) {
        if self.prober.is_current(verdict) {
            control.judge(&verdict.pool, &verdict.id, verdict.healthy, verdict.reason.as_str());
        }
    }
}
