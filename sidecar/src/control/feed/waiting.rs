//! Revisions that were refused only because somebody else has their port. A port may go from one pool to another, in any
//! order of frames: so they are tried again when another pool has changed, and now and then.

use super::super::{Control, Incoming};
use evenkeel_wire::PoolName;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The most that wait; beyond it a pool waits for the next revision or stream.
const MAX: usize = 64;
/// How often they are tried even if nothing has changed here.
const AGAIN: Duration = Duration::from_secs(5);

/// What waits for a port.
pub(super) struct Waiting {
    pools: BTreeMap<PoolName, Incoming>,
    next: Instant,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { pools: BTreeMap::new(), next: Instant::now() + AGAIN }
    }

    /// Keeps a revision for later.
    pub(super) fn add(&mut self, incoming: Incoming) {
        if self.pools.len() < MAX {
            self.pools.insert(incoming.name.clone(), incoming);
        }
    }

    /// There is newer word of this pool.
    pub(super) fn forget(&mut self, pool: &PoolName) {
        self.pools.remove(pool);
    }

    /// A new stream says everything anew.
    pub(super) fn clear(&mut self) {
        self.pools.clear();
    }

    /// The ports that they wait for.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        let listeners = self.pools.values().flat_map(|incoming| &incoming.policy.listeners);
        listeners.map(|listener| listener.port).collect()
    }

    /// Ends when it is time to try again; never if nothing waits.
    pub(super) async fn due(&self) {
        if self.pools.is_empty() {
            std::future::pending::<()>().await;
        }
        sleep_until(self.next).await;
    }

    /// Tries all; those that are in use now.
    pub(super) fn try_again(&mut self, control: &mut Control) -> Vec<(PoolName, u64)> {
        self.next = Instant::now() + AGAIN;
        let in_use = self.pools.extract_if(.., |_, incoming| control.apply(incoming).is_ok());
        in_use.map(|(pool, incoming)| (pool, incoming.revision)).collect()
    }
}
