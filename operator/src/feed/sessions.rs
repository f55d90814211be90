//! Who is connected, which pools each was told of, and what each answered. Indexed by pool, because the status asks by
//! pool. One lock, held for map operations only. Bounded in sessions, over all and per caller.

use evenkeel_wire::PoolName;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The most sessions at once.
pub const MAX_SESSIONS: usize = 10_000;
/// The most sessions of one caller at once: the old and the new one of a reconnect, and some room.
pub const MAX_PER_CALLER: usize = 4;
/// The most of a sidecar's reason that is kept, in characters.
const MAX_REASON: usize = 200;

/// How far the connected sidecars have followed a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncCounts {
    /// Sidecars that have been offered the pool.
    pub connected: u32,
    /// Of these, those that use the asked revision or a newer one.
    pub in_sync: u32,
    /// One of the refusals of that revision: who and why.
    pub nack: Option<String>,
}

/// No room for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Over all callers.
    #[error("{MAX_SESSIONS} sessions are open, which is the most: try again later, or run fewer sidecars per operator")]
    Operator,
    /// Of this caller.
    #[error("{MAX_PER_CALLER} sessions of this caller are open, which is the most: end one first")]
    Caller,
}

#[derive(Debug)]
struct Standing {
    caller: Arc<str>,
    acked: u64,
    nacked: Option<(u64, String)>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: usize,
    callers: HashMap<Arc<str>, usize>,
    pools: HashMap<PoolName, HashMap<u64, Standing>>,
    /// Pools whose counts have changed and that nobody has asked for since.
    changed: BTreeSet<PoolName>,
}

/// All sessions of this operator.
#[derive(Debug)]
pub struct Sessions {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { inner: Mutex::default(), changes: watch::channel(0).0 }
    }
}

impl Sessions {
    /// Nobody is connected.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many sessions are open.
    pub fn open(&self) -> usize {
        self.lock().open
    }

    /// How far the sidecars have followed the pool to the revision.
    pub fn counts(&self, pool: &PoolName, revision: u64) -> SyncCounts {
        let inner = self.lock();
        let mut counts = SyncCounts::default();
        for standing in inner.pools.get(pool).into_iter().flat_map(HashMap::values) {
            counts.connected += 1;
            counts.in_sync += u32::from(standing.acked >= revision);
            if let Some((nacked, reason)) = &standing.nacked
                && *nacked >= revision
            {
                counts.nack.get_or_insert_with(|| format!("{}: {reason}", standing.caller));
            }
        }
        counts
    }

    /// The pools whose counts may have changed since this was asked last.
    pub fn take_changed(&self) -> BTreeSet<PoolName> {
        std::mem::take(&mut self.lock().changed)
    }

    /// Changes whenever a count may have.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Lets a caller in. `caller` is what its sessions are counted by and what people see.
    pub(crate) fn enter(self: &Arc<Self>, caller: &str) -> Result<Membership, Full> {
        let mut inner = self.lock();
        if inner.open >= MAX_SESSIONS {
            return Err(Full::Operator);
        }
        let caller: Arc<str> = caller.into();
        let mine = inner.callers.entry(caller.clone()).or_default();
        if *mine >= MAX_PER_CALLER {
            return Err(Full::Caller);
        }
        *mine += 1;
        inner.open += 1;
        inner.next += 1;
        Ok(Membership { sessions: self.clone(), id: inner.next, caller, pools: BTreeSet::new() })
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changes.send_modify(|n| *n += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's entry; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    sessions: Arc<Sessions>,
    id: u64,
    caller: Arc<str>,
    pools: BTreeSet<PoolName>,
}

impl Membership {
    /// The session is told of these pools from now on.
    pub(crate) fn offered<'a>(&mut self, pools: impl Iterator<Item = &'a PoolName>) {
        let Self { sessions, id, caller, pools: mine } = self;
        let new: Vec<_> = pools.filter(|pool| mine.insert((*pool).clone())).cloned().collect();
        if !new.is_empty() {
            sessions.change(|inner| {
                for pool in new {
                    inner.changed.insert(pool.clone());
                    let standing = Standing { caller: caller.clone(), acked: 0, nacked: None };
                    inner.pools.entry(pool).or_default().insert(*id, standing);
                }
            });
        }
    }

    /// The session is no longer told of this pool.
    pub(crate) fn withdrawn(&mut self, pool: &PoolName) {
        if self.pools.remove(pool) {
            self.sessions.change(|inner| inner.forget(pool, self.id));
        }
    }

    /// The sidecar uses a revision. One that it was never offered is nothing.
    pub(crate) fn acked(&self, pool: &PoolName, revision: u64) {
        self.answered(pool, |standing| {
            standing.acked = standing.acked.max(revision);
            standing.nacked.take_if(|(nacked, _)| *nacked <= revision);
        });
    }

    /// The sidecar refuses a revision.
    pub(crate) fn nacked(&self, pool: &PoolName, revision: u64, reason: &str) {
        let reason = reason.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
        self.answered(pool, |standing| standing.nacked = Some((revision, reason)));
    }

    fn answered(&self, pool: &PoolName, answer: impl FnOnce(&mut Standing)) {
        if self.pools.contains(pool) {
            self.sessions.change(|inner| {
                if let Some(standing) = inner.pools.get_mut(pool).and_then(|sessions| sessions.get_mut(&self.id)) {
                    answer(standing);
                    inner.changed.insert(pool.clone());
                }
            });
        }
    }
}

impl Inner {
    fn forget(&mut self, pool: &PoolName, id: u64) {
        if let Some(sessions) = self.pools.get_mut(pool) {
            sessions.remove(&id);
            self.changed.insert(pool.clone());
            if sessions.is_empty() {
                self.pools.remove(pool);
            }
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.sessions.change(|inner| {
            for pool in &self.pools {
                inner.forget(pool, self.id);
            }
            inner.open -= 1;
            if let Some(mine) = inner.callers.get_mut(&self.caller) {
                *mine -= 1;
                if *mine == 0 {
                    inner.callers.remove(&self.caller);
                }
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pool(name: &str) -> PoolName {
        format!("shop/{name}").parse().unwrap()
    }

    #[test]
    fn counts_follow_offers_answers_and_departures() {
        let sessions = Sessions::new();
        let (cart, pay) = (pool("cart"), pool("pay"));
        let mut one = sessions.enter("shop/a").unwrap();
        let mut two = sessions.enter("shop/b").unwrap();
        one.offered([&cart, &pay].into_iter());
        two.offered([&cart].into_iter());
        one.acked(&cart, 7);
        two.nacked(&cart, 7, "port 18080 is in use\n");
        let nack = Some("shop/b: port 18080 is in use".into());
        assert_eq!(sessions.counts(&cart, 7), SyncCounts { connected: 2, in_sync: 1, nack });
        assert_eq!(sessions.counts(&cart, 8), SyncCounts { connected: 2, in_sync: 0, nack: None });
        two.acked(&cart, 8);
        assert_eq!(sessions.counts(&cart, 7), SyncCounts { connected: 2, in_sync: 2, nack: None });
        two.acked(&pay, 1);
        one.withdrawn(&cart);
        assert_eq!(sessions.counts(&cart, 1).connected, 1);
        assert_eq!(sessions.counts(&pay, 1).in_sync, 0);
        drop((one, two));
        assert_eq!((sessions.counts(&cart, 1), sessions.open()), (SyncCounts::default(), 0));
        assert_eq!(sessions.take_changed().len(), 2);
        assert!(sessions.take_changed().is_empty());
        assert!(sessions.lock().pools.is_empty() && sessions.lock().callers.is_empty());
    }

    #[test]
    fn a_caller_with_too_many_sessions_shuts_out_itself_only() {
        let sessions = Sessions::new();
        let mut mine: Vec<_> = (0..MAX_PER_CALLER).map(|_| sessions.enter("shop/a").unwrap()).collect();
        assert_eq!(sessions.enter("shop/a").unwrap_err(), Full::Caller);
        assert!(sessions.enter("shop/b").is_ok());
        mine.pop();
        assert!(sessions.enter("shop/a").is_ok());
    }
}
