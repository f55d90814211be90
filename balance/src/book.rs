//! Identity → live record. For the control plane: it locks, and nothing on the request path may touch it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::by_id::ById;
use crate::endpoint::{Endpoint, EndpointSpec, Shared, Spec};
use crate::load::Loads;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The endpoints whose verdicts belong together: one book a pool (ADR 3). Their loads may belong to a whole process (ADR 4).
#[derive(Debug)]
pub struct Book {
    records: Mutex<Records>,
    loads: Arc<Loads>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Records {
    by_id: HashSet<ById<Endpoint>>,
    /// Each name once: a zone has many endpoints.
    zones: BTreeSet<Arc<str>>,
}

impl Default for Book {
    fn default() -> Self {
        Self::sharing(&Arc::default())
    }
}

impl Book {
    /// An empty book with loads of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty book whose endpoints have one load with those of the same identity in other books of these `loads`.
    pub fn sharing(loads: &Arc<Loads>) -> Self {
        let shared = Arc::new(Shared::new(Arc::clone(loads.clock())));
        Self { records: Mutex::default(), loads: Arc::clone(loads), shared }
    }

    /// The record of this identity, its weight, priority and health brought up to date. An identity that comes back at another
    /// address, with another ring key or zone is a new endpoint: requests on the old record end there and don't weigh on the new one.
    pub fn enter(&self, spec: EndpointSpec, now: Instant) -> Arc<Endpoint> {
        let EndpointSpec { id, ring_key, address, weight, zone, priority, health } = spec;
        let mut records = self.lock();
        if let Some(ById(known)) = records.by_id.get(id.as_str())
            && known.address() == address
            && known.ring_key() == ring_key
            && known.zone() == zone.as_deref()
        {
            known.set_weight(weight);
            known.set_priority(priority);
            known.set_health(health, now);
            return Arc::clone(known);
        }
        let id: Arc<str> = id.into();
        let ring_key = if *ring_key == *id { Arc::clone(&id) } else { ring_key.into() };
        let zone = zone.map(|zone| records.zone(&zone));
        let load = self.loads.enter(&id, address);
        let spec = Spec { id, ring_key, address, weight, zone, priority, health };
        let record = Arc::new(Endpoint::new(spec, load, Arc::clone(&self.shared), self.shared.clock.nanos(now)));
        records.by_id.replace(ById(Arc::clone(&record)));
        record
    }

    /// Drops the records that no pool and no request uses.
    pub fn sweep(&self) {
        let mut records = self.lock();
        records.by_id.retain(|record| Arc::strong_count(&record.0) > 1);
        records.zones.retain(|zone| Arc::strong_count(zone) > 1);
        drop(records);
        self.loads.sweep();
    }

    /// The record of an identity.
    pub fn find(&self, id: &str) -> Option<Arc<Endpoint>> {
        self.lock().by_id.get(id).map(|known| Arc::clone(&known.0))
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn zone(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.zones.get(name) {
            return Arc::clone(known);
        }
        let zone: Arc<str> = name.into();
        self.zones.insert(Arc::clone(&zone));
        zone
    }
}
