//! Upstream connections that wait for their next request: one worker's own, by member of a pool. They are short-lived,
//! since a server that closes while a request is on its way makes the proxy guess; and none outlives its membership, since
//! a stranger may have the address next.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Upstream;
use crate::table::Member;
use tokio::time::Instant;

/// How long a connection waits where the server doesn't say.
const IDLE: Duration = Duration::from_secs(4);
/// The longest it waits whatever the server says.
const MAX_IDLE: Duration = Duration::from_secs(55);
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

/// The waiting connections.
#[derive(Default)]
pub(super) struct Idle {
    members: HashMap<usize, Waiting, BuildHasherDefault<AddressHasher>>,
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
