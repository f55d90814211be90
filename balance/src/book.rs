//! Identity → live record. For the control plane: it locks, and nothing on the request path may touch it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::endpoint::{Endpoint, EndpointSpec, Epoch};

/// The endpoints whose live state belongs together. A pool is built from the records of one book; which pools share a book is the
/// caller's choice, and so is whether they share verdicts and counts.
#[derive(Debug, Default)]
pub struct Book {
    records: Mutex<HashMap<String, Arc<Endpoint>>>,
    epoch: Arc<Epoch>,
}

impl Book {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// The record of this identity, its weight and health brought up to date. An identity that comes back at another address, with
    /// another ring key or zone is a new endpoint: requests on the old record end there and don't weigh on the new one.
    pub fn enter(&self, spec: EndpointSpec) -> Arc<Endpoint> {
        let mut records = self.lock();
        if let Some(known) = records.get(&spec.id)
            && known.address() == spec.address
            && known.ring_key() == spec.ring_key
            && known.zone() == spec.zone.as_deref()
        {
            known.set_weight(spec.weight);
            known.set_health(spec.health);
            return Arc::clone(known);
        }
        let id = spec.id.clone();
        let record = Arc::new(Endpoint::new(spec, Arc::clone(&self.epoch)));
        records.insert(id, Arc::clone(&record));
        record
    }

    /// Drops the records that no pool and no request uses.
    pub fn sweep(&self) {
        self.lock().retain(|_, record| Arc::strong_count(record) > 1);
    }

    /// The record of an identity.
    pub fn find(&self, id: &str) -> Option<Arc<Endpoint>> {
        self.lock().get(id).cloned()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Endpoint>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
