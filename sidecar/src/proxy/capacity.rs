//! What a pool has in use of what its policy limits: requests, and connections to endpoints; over all workers, and across revisions.
//! Counted only where there is a limit, so that a pool without any pays nothing; a limit that is new counts from then on.

use super::queue::Queue;
use crate::table::Member;
use evenkeel_wire::Limits;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, SeqCst},
};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// One pool's.
#[derive(Debug, Default)]
pub(crate) struct Capacity {
    requests: Padded,
    connections: Connections,
    queue: Arc<Queue>,
    /// Waiting connections are to be looked through for one to close.
    relief: Notify,
}

#[derive(Debug, Default)]
struct Count(AtomicU32);

/// Written by every worker at every request, so in cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(Count);

/// Connections to one endpoint, or to all of a pool.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Count,
    /// The number, from 1, of the worker that looked for room last and found none; 0: nobody.
    wanted_by: AtomicUsize,
}

/// A request's place in its pool. Dropped after the request's lease: it calls the next one in the queue.
#[derive(Debug)]
pub(crate) struct Place {
    capacity: Arc<Capacity>,
    counted: bool,
    calls: bool,
}

/// A connection's place at its endpoint and in its pool.
pub(crate) struct Permit {
    capacity: Arc<Capacity>,
    member: Arc<Member>,
    of_endpoint: bool,
    of_pool: bool,
}

impl Count {
    fn take(&self, most: u32) -> bool {
        self.0.fetch_update(SeqCst, Acquire, |now| (now < most).then(|| now + 1)).is_ok()
    }

    fn give(&self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Connections {
    /// Takes one; if there is none left, this worker is known to want it.
    fn take(&self, most: u32, worker: usize) -> bool {
        let taken = self.open.take(most);
        if !taken {
            self.wanted_by.store(worker + 1, Relaxed);
        }
        taken
    }

    /// Whether a connection that isn't in use should be closed for another worker than this one, which would use it itself for what it
    /// wants: yes once for each that is wanted.
    fn grant(&self, worker: usize) -> bool {
        let wanted_by = self.wanted_by.load(Relaxed);
        wanted_by != 0 && wanted_by != worker + 1 && self.wanted_by.compare_exchange(wanted_by, 0, Relaxed, Relaxed).is_ok()
    }
}

impl Capacity {
    /// Who waits for some of it.
    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Takes a place for a request; `None` if the pool has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, limits: &Limits) -> Option<Place> {
        let counted = limits.max_parallel_requests.is_some();
        let fits = limits.max_parallel_requests.is_none_or(|most| self.requests.0.take(most));
        fits.then(|| Place { capacity: self.clone(), counted, calls: true })
    }

    /// Takes a place for a connection of `worker` to `member`; `Err` if there is none. Then waiting ones are looked through for one that
    /// can be closed: whoever closes it calls the queue.
    pub(crate) fn connect(
        self: &Arc<Self>,
        limits: &Limits,
        member: &Arc<Member>,
        worker: usize,
    ) -> Result<Option<Permit>, Full> {
        let (per_endpoint, in_all) = (limits.max_connections_per_endpoint, limits.max_connections);
        if per_endpoint.is_none() && in_all.is_none() {
            return Ok(None);
        }
        let permit = |of_endpoint, of_pool| Permit { capacity: self.clone(), member: member.clone(), of_endpoint, of_pool };
        if per_endpoint.is_some_and(|most| !member.connections().take(most, worker)) {
            self.relief.notify_waiters();
            return Err(Full::AtEndpoint);
        }
        if in_all.is_some_and(|most| !self.connections.take(most, worker)) {
            if per_endpoint.is_some() {
                member.connections().open.give();
            }
            self.relief.notify_waiters();
            return Err(Full::InPool);
        }
        Ok(Some(permit(per_endpoint.is_some(), in_all.is_some())))
    }

    /// Ends when somebody looks for room for a connection, from now on, and finds none.
    pub(crate) fn relief(&self) -> Notified<'_> {
        self.relief.notified()
    }
}

/// There are as many connections as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// To this endpoint; to others there may be more.
    AtEndpoint,
    /// In the whole pool.
    InPool,
}

impl Place {
    /// Gives it back without calling anybody: what made it useless does so for others too.
    pub(crate) fn give_back(mut self) {
        self.calls = false;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.counted {
            self.capacity.requests.0.give();
        }
        if self.calls {
            self.capacity.queue.call();
        }
    }
}

impl Permit {
    /// Whether its connection, which `worker` would keep for later, is to be closed for another.
    pub(crate) fn is_wanted(&self, worker: usize) -> bool {
        self.is_wanted_at_endpoint(worker) || self.is_wanted_in_pool(worker)
    }

    /// The same for one that wants a connection to the same endpoint.
    pub(crate) fn is_wanted_at_endpoint(&self, worker: usize) -> bool {
        self.of_endpoint && self.member.connections().grant(worker)
    }

    /// The same for one that wants a connection in the same pool.
    pub(crate) fn is_wanted_in_pool(&self, worker: usize) -> bool {
        self.of_pool && self.capacity.connections.grant(worker)
    }

    /// What it is a place of.
    pub(crate) fn capacity(&self) -> &Arc<Capacity> {
        &self.capacity
    }

    /// Whether it is this pool's.
    pub(crate) fn is_of(&self, capacity: &Arc<Capacity>) -> bool {
        Arc::ptr_eq(&self.capacity, capacity)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.of_endpoint {
            self.member.connections().open.give();
        }
        if self.of_pool {
            self.capacity.connections.open.give();
        }
        self.capacity.queue.call();
    }
}
