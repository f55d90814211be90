//! Upstream connections that wait for their next request: one worker's own, by member of a pool. They are short-lived,
//! since a server that closes while a request is on its way makes the proxy guess; and none outlives its membership, since
//! a stranger may have the address next.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Upstream;
use crate::proxy::capacity::{Capacity, Permit};
use crate::table::Member;
use crate::worker::Worker;
use tokio::time::Instant;

/// How long a connection waits where the server doesn't say.
const IDLE: Duration = Duration::from_secs(4);
/// The longest it waits whatever the server says.
const MAX_IDLE: Duration = Duration::from_secs(55);
/// How often they are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// The most that wait for one member.
const MAX_PER_MEMBER: usize = 1024;

/// How long a connection may wait, given the seconds of the server's `Keep-Alive`: a second less than the server waits.
/// `None`: it may not.
pub(super) fn idle_time(server: Option<u64>) -> Option<Duration> {
    match server {
        None => Some(IDLE),
        Some(seconds) => Some(Duration::from_secs(seconds.saturating_sub(1)).min(MAX_IDLE)).filter(|t| !t.is_zero()),
    }
}

/// A connection that waits for the next request of one client alone.
pub(super) struct Own {
    member: Arc<Member>,
    free: Free,
}

impl Own {
    /// Keeps it until then.
    pub(super) fn new(member: Arc<Member>, upstream: Upstream, until: Instant) -> Self {
        Self { member, free: Free { upstream, until } }
    }

    /// The connection, if it leads to this member and is still good.
    pub(super) fn take(self, member: &Arc<Member>, now: Instant) -> Option<Upstream> {
        let Free { mut upstream, until } = self.free;
        let is_good = Arc::ptr_eq(&self.member, member) && !member.is_gone() && now < until && upstream.stream.is_silent();
        is_good.then_some(upstream)
    }
}

/// The waiting connections.
#[derive(Default)]
pub(super) struct Idle {
    members: HashMap<usize, Waiting, BuildHasherDefault<AddressHasher>>,
    /// The pools with a limit whose connections somebody closes on demand.
    relieved: Vec<Arc<Capacity>>,
}

struct Waiting {
    /// Kept alive, and with it the address that is its key.
    member: Arc<Member>,
    free: Vec<Free>,
}

struct Free {
    upstream: Upstream,
    until: Instant,
}

impl Free {
    fn permit(&self) -> Option<&Permit> {
        self.upstream.open.as_ref()?.permit()
    }
}

impl Idle {
    /// The connection that has waited least, if one is still good.
    pub(super) fn take(&mut self, member: &Arc<Member>, now: Instant) -> Option<Upstream> {
        let waiting = self.members.get_mut(&Arc::as_ptr(member).addr())?;
        if member.is_gone() {
            waiting.free.clear();
        }
        while let Some(Free { mut upstream, until }) = waiting.free.pop() {
            if now < until && upstream.stream.is_silent() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection until then. Whether it is the first: then someone should [`Idle::sweep`] from now on.
    pub(super) fn put(&mut self, member: &Arc<Member>, upstream: Upstream, until: Instant) -> bool {
        let first = self.members.is_empty();
        let key = Arc::as_ptr(member).addr();
        let waiting = self.members.entry(key).or_insert_with(|| Waiting { member: member.clone(), free: Vec::new() });
        debug_assert!(Arc::ptr_eq(&waiting.member, member));
        if waiting.free.len() < MAX_PER_MEMBER {
            waiting.free.push(Free { upstream, until });
        }
        first
    }

    /// Closes what has waited too long, was ended by its server, or leads to what has left its pool; whether some are left.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        self.members.retain(|_, waiting| {
            waiting.free.retain_mut(|free| !waiting.member.is_gone() && now < free.until && free.upstream.stream.is_silent());
            !waiting.free.is_empty()
        });
        !self.members.is_empty()
    }

    /// Whether somebody has to [`Idle::relieve`] this pool from now on.
    pub(super) fn needs_relief(&mut self, capacity: &Arc<Capacity>) -> bool {
        let known = self.relieved.iter().any(|known| Arc::ptr_eq(known, capacity));
        if !known {
            self.relieved.push(capacity.clone());
        }
        !known
    }

    /// Closes what has waited longest where other workers' requests of the pool want its place; whether some of the pool's are
    /// left.
    pub(super) fn relieve(&mut self, capacity: &Arc<Capacity>, worker: usize) -> bool {
        for waiting in self.of_pool(capacity) {
            if waiting.free[0].permit().is_some_and(|permit| permit.is_wanted_at_endpoint(worker)) {
                waiting.free.remove(0);
            }
        }
        let is_wanted = |waiting: &Waiting| waiting.free[0].permit().is_some_and(|permit| permit.is_wanted_in_pool(worker));
        let mut of_pool = self.of_pool(capacity).peekable();
        if of_pool.peek().is_none() {
            drop(of_pool);
            self.relieved.retain(|known| !Arc::ptr_eq(known, capacity));
            return false;
        }
        if of_pool.next().is_some_and(|waiting| is_wanted(waiting)) {
            drop(of_pool);
            self.close_oldest(capacity, None);
        }
        true
    }

    /// Closes what has waited longest of the pool, or of this member of it; whether there was anything.
    pub(super) fn close_oldest(&mut self, capacity: &Arc<Capacity>, member: Option<&Arc<Member>>) -> bool {
        let is_meant = |waiting: &&mut Waiting| member.is_none_or(|member| Arc::ptr_eq(member, &waiting.member));
        let oldest = self.of_pool(capacity).filter(is_meant).min_by_key(|waiting| waiting.free[0].until);
        oldest.map(|waiting| waiting.free.remove(0)).is_some()
    }

    /// Where connections of the pool wait that count towards its limits.
    fn of_pool(&mut self, capacity: &Arc<Capacity>) -> impl Iterator<Item = &mut Waiting> {
        let is_own = |waiting: &Waiting| waiting.free.first().and_then(Free::permit).is_some_and(|permit| permit.is_of(capacity));
        self.members.values_mut().filter(move |waiting| is_own(waiting))
    }
}

/// Closes what has waited too long or for an endpoint that has left, until nothing waits any more.
pub(super) async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if !worker.http().idle.borrow_mut().sweep(Instant::now()) {
            return;
        }
    }
}

/// Closes connections of a pool with a limit when other workers want their places, until none of them waits any more.
pub(super) async fn relieve(worker: Rc<Worker>, capacity: Arc<Capacity>) {
    loop {
        let wanted = capacity.relief();
        if !worker.http().idle.borrow_mut().relieve(&capacity, worker.index()) {
            return;
        }
        let _ = tokio::time::timeout(SWEEP, wanted).await;
    }
}

/// Hashes one address: the high bits of a product, since allocations share their low bits.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_usize(usize::from(*b)));
    }

    fn write_usize(&mut self, address: usize) {
        let product = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
