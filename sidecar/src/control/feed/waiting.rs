//! Revisions that were refused only because somebody else has their port. A port may go from one pool to another, in any
//! order of frames: so they are tried again when another pool has changed, and now and then.

use super::super::refusal::Refusal;
use super::super::{Control, Incoming};
use evenkeel_wire::{Listener, PoolName, TransportPort};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The most that wait; beyond it a pool waits for the next revision or stream.
const MAX: usize = 64;
/// How often they are tried even if nothing has changed here.
const AGAIN: Duration = Duration::from_secs(5);

/// What waits for a port.
pub(super) struct Waiting {
    pools: BTreeMap<PoolName, Waits>,
    next: Instant,
}

struct Waits {
    incoming: Incoming,
    /// Another pool has its port.
    of_a_pool: bool,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { pools: BTreeMap::new(), next: Instant::now() + AGAIN }
    }

    /// Keeps for later what was refused because of its port.
    pub(super) fn add(&mut self, incoming: Incoming, refusal: &Refusal) {
        if self.pools.len() < MAX {
            self.pools.insert(incoming.name.clone(), Waits { incoming, of_a_pool: refusal.is_of_a_pool() });
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

    /// The ports that they wait for other pools to give up. One that waits for somebody outside keeps no port open meanwhile:
    /// that may last, and who connects there would be accepted for nothing.
    pub(super) fn ports(&self) -> BTreeSet<TransportPort> {
        let waits = self.pools.values().filter(|waits| waits.of_a_pool);
        let listeners = waits.flat_map(|waits| &waits.incoming.policy.listeners);
        listeners.map(Listener::transport_port).collect()
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
        let in_use = self.pools.extract_if(.., |_, waits| match control.apply(&waits.incoming) {
            Ok(()) => true,
            Err(refusal) => {
                waits.of_a_pool = refusal.is_of_a_pool();
                false
            }
        });
        in_use.map(|(pool, waits)| (pool, waits.incoming.revision)).collect()
    }
}
