//! Places for the sessions of one UDP port, shared by the workers: as many as a listener may have, as many as the process has
//! descriptors for, and as many as one source may have. Looked at when a session begins and ends, never for a datagram.

use super::Dropped;
use crate::listen::{Full, Slot, Slots};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of one port.
#[derive(Clone)]
pub(crate) struct Places {
    slots: Slots,
    /// Sessions by source; a source without one isn't in it.
    sources: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// A session's place; free again when dropped.
pub(super) struct Place {
    source: IpAddr,
    sources: Arc<Mutex<HashMap<IpAddr, u32>>>,
    _slot: Slot,
}

impl Places {
    /// Those of a new port.
    pub(crate) fn new(slots: Slots) -> Self {
        Self { slots, sources: Arc::default() }
    }

    /// Those of all sources together.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// One for a session of `source`, which may have `most`.
    pub(super) fn take(&self, source: IpAddr, most: u32) -> Result<Place, Dropped> {
        let mut sources = lock(&self.sources);
        if sources.get(&source).is_some_and(|count| *count >= most) {
            return Err(Dropped::SourceLimit);
        }
        let slot = self.slots.try_take().map_err(|full| match full {
            Full::Port => Dropped::ListenerLimit,
            Full::Process => Dropped::LocalExhaustion,
        })?;
        *sources.entry(source).or_default() += 1;
        Ok(Place { source, sources: self.sources.clone(), _slot: slot })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = lock(&self.sources).entry(self.source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn lock(sources: &Mutex<HashMap<IpAddr, u32>>) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
    // A count is whole after each statement.
    sources.lock().unwrap_or_else(PoisonError::into_inner)
}
