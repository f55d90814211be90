//! One look at the sidecar from outside: what the kernel says of its process, and its gauge of tasks.

use super::stage::Stage;
use anyhow::{Context, Result};
use serde::Serialize;

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Since the load began.
    pub second: u64,
    /// Resident memory.
    pub rss_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Those of them that are sockets.
    pub sockets: u64,
    /// Tasks of all workers.
    pub tasks: u64,
}

impl Sample {
    /// Looks now. The scrape comes last, so that its own socket isn't counted.
    pub fn take(stage: &Stage, second: u64) -> Result<Self> {
        let (descriptors, sockets) = descriptors(stage.sidecar().id())?;
        let rss_kib = stage.sidecar().rss_kib()?;
        let metrics = stage.metrics()?;
        anyhow::ensure!(!metrics.values_of("evenkeel_tasks", "worker").is_empty(), "the sidecar has no gauge of tasks");
        let tasks = metrics.sum("evenkeel_tasks", &[]) as u64;
        Ok(Self { second, rss_kib, descriptors, sockets, tasks })
    }

    /// The least of two looks, at the later's time: what a burst of requests has isn't there all the time, what leaks is.
    pub fn least(self, later: Self) -> Self {
        Self {
            second: later.second,
            rss_kib: self.rss_kib.min(later.rss_kib),
            descriptors: self.descriptors.min(later.descriptors),
            sockets: self.sockets.min(later.sockets),
            tasks: self.tasks.min(later.tasks),
        }
    }
}

fn descriptors(id: u32) -> Result<(u64, u64)> {
    let folder = format!("/proc/{id}/fd");
    let (mut all, mut sockets) = (0, 0);
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // One that was closed in between is none.
        let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
        all += 1;
        sockets += u64::from(target.to_string_lossy().starts_with("socket:"));
    }
    Ok((all, sockets))
}
