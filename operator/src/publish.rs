//! What the sidecars are told: the newest state of each pool, encoded once, read by every session without a lock.
//! There is one writer (the reconcile loop) and no queue: a reader that is slow finds the newest state later.
//! Revisions grow over all pools of one lineage, so a pool that is deleted and made again never goes back.

use arc_swap::ArcSwap;
use bytes::Bytes;
use evenkeel_wire::{Endpoint, Policy, PoolName, ServerFrame};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;

/// The labels of one object.
pub type Labels = BTreeMap<String, String>;
/// The newest state of every pool.
pub type Snapshot = BTreeMap<PoolName, Arc<Published>>;

/// What the sessions go by, as one.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The newest state of every pool.
    pub pools: Arc<Snapshot>,
    /// Pools that exist, but of which this operator has nothing to tell: see [`Change::Withhold`].
    pub withheld: BTreeSet<PoolName>,
}

/// One pool as the sidecars are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Grows with each change, within the lineage.
    pub revision: u64,
    /// When the resource was made, in seconds since 1970: where two want one port, the older has it.
    pub created: i64,
    /// The generation of the resource that this was compiled from.
    pub generation: i64,
    /// Its lines: policy, endpoints in parts, commit.
    pub lines: Bytes,
    /// Whose pods may have it.
    pub consumers: ConsumerRule,
}

/// The namespaces whose pods may use a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerRule {
    /// The pool's own.
    Same,
    /// All.
    All,
    /// The pool's own, and those that have all of these labels.
    Selector(Labels),
}

impl ConsumerRule {
    /// Whether pods of `namespace`, whose labels are `labels` where it is known, may use a pool of `owner`.
    pub fn allows(&self, owner: &str, namespace: &str, labels: Option<&Labels>) -> bool {
        owner == namespace
            || match self {
                Self::Same => false,
                Self::All => true,
                Self::Selector(wanted) => labels.is_some_and(|labels| wanted.iter().all(|(k, v)| labels.get(k) == Some(v))),
            }
    }
}

/// One change of what is published.
#[derive(Debug)]
pub enum Change {
    /// A pool's new state.
    Put {
        /// The pool.
        pool: PoolName,
        /// When it was made, in seconds since 1970.
        created: i64,
        /// Its policy.
        policy: Arc<Policy>,
        /// Its endpoints.
        endpoints: Arc<[Endpoint]>,
        /// Whose pods may have it.
        consumers: ConsumerRule,
    },
    /// The pool was there before this operator started, and its newest spec is refused: whoever has an earlier one in use
    /// is to keep it, since the spec that it came from is known to nobody any more.
    Withhold(PoolName),
    /// The pool is gone.
    Remove(PoolName),
}

/// Holds what is published and wakes the sessions when it changes.
#[derive(Debug)]
pub struct Publisher {
    lineage: String,
    told: ArcSwap<Told>,
    namespaces: ArcSwap<BTreeMap<String, Labels>>,
    next_revision: AtomicU64,
    synced: AtomicBool,
    changes: watch::Sender<u64>,
}

impl Publisher {
    /// Publishes nothing yet. The lineage is random, a new one each time the operator starts.
    pub fn new(lineage: String) -> Self {
        Self {
            lineage,
            told: ArcSwap::default(),
            namespaces: ArcSwap::default(),
            next_revision: AtomicU64::new(1),
            synced: AtomicBool::new(false),
            changes: watch::channel(0).0,
        }
    }

    /// Revisions are compared within it only.
    pub fn lineage(&self) -> &str {
        &self.lineage
    }

    /// The newest state of every pool; empty until [`Self::is_synced`].
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.told.load().pools.clone()
    }

    /// The newest state of every pool, and which pools are withheld.
    pub fn told(&self) -> Arc<Told> {
        self.told.load_full()
    }

    /// Changes each time that the snapshot, a namespace's labels or the sync does.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether every cache has been filled and every pool been published since; before it nobody may be told anything.
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// The labels of a namespace that exists.
    pub fn namespace_labels(&self, namespace: &str) -> Option<Labels> {
        self.namespaces.load().get(namespace).cloned()
    }

    /// Applies changes as one and returns the revision that each `Put` got. Only the reconcile loop calls it.
    pub fn apply(&self, changes: Vec<Change>) -> Vec<(PoolName, u64)> {
        if changes.is_empty() {
            return Vec::new();
        }
        let before = self.told.load();
        let (mut snapshot, mut withheld) = (Snapshot::clone(&before.pools), before.withheld.clone());
        let mut revisions = Vec::new();
        for change in changes {
            match change {
                Change::Put { pool, created, policy, endpoints, consumers } => {
                    let revision = self.next_revision.fetch_add(1, Ordering::Relaxed);
                    let lines = ServerFrame::encode_pool(&pool, revision, &policy, &endpoints);
                    let published =
                        Published { revision, created, generation: policy.generation, lines: lines.into(), consumers };
                    withheld.remove(&pool);
                    snapshot.insert(pool.clone(), Arc::new(published));
                    revisions.push((pool, revision));
                }
                Change::Withhold(pool) => {
                    withheld.insert(pool);
                }
                Change::Remove(pool) => {
                    withheld.remove(&pool);
                    snapshot.remove(&pool);
                }
            }
        }
        self.told.store(Arc::new(Told { pools: Arc::new(snapshot), withheld }));
        self.wake();
        revisions
    }

    /// Replaces the labels of all namespaces. Only the reconcile loop calls it.
    pub fn set_namespaces(&self, namespaces: BTreeMap<String, Labels>) {
        self.namespaces.store(Arc::new(namespaces));
        self.wake();
    }

    /// Says that what is published is whole. Never taken back: a cache that is stale is still the best there is.
    pub fn set_synced(&self) {
        self.synced.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.changes.send_modify(|n| *n += 1);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use evenkeel_wire::{Algorithm, Retry};

    /// The least that a policy says.
    pub(crate) fn policy() -> Arc<Policy> {
        Arc::new(Policy {
            requires: Vec::new(),
            generation: 3,
            listeners: Vec::new(),
            algorithm: Algorithm::RoundRobin,
            slow_start: None,
            zone_aware: false,
            subset: None,
            active: None,
            passive: None,
            panic_threshold: 50,
            retry: Retry { max_retries: 0, on: Vec::new() },
            connect_timeout_ms: 1_000,
            upstream: Default::default(),
            client_connections: Default::default(),
            limits: Default::default(),
            timeouts: Default::default(),
        })
    }

    fn pool(name: &str) -> PoolName {
        format!("shop/{name}").parse().unwrap()
    }

    fn put(name: &str) -> Change {
        Change::Put { pool: pool(name), created: 0, policy: policy(), endpoints: Arc::new([]), consumers: ConsumerRule::Same }
    }

    #[test]
    fn a_pool_made_again_never_goes_back_in_revision() {
        let publisher = Publisher::new("a".into());
        let first = publisher.apply(vec![put("cart")])[0].1;
        publisher.apply(vec![Change::Remove(pool("cart"))]);
        assert!(publisher.snapshot().is_empty());
        let second = publisher.apply(vec![put("cart")])[0].1;
        assert!(second > first);
    }

    #[test]
    fn changes_applied_as_one_wake_readers_once_and_touch_no_other_pool() {
        let publisher = Publisher::new("a".into());
        publisher.apply(vec![put("cart"), put("pay")]);
        let before = publisher.snapshot();
        let mut changes = publisher.subscribe();
        publisher.apply(vec![put("cart"), put("new")]);
        assert!(changes.has_changed().unwrap());
        changes.borrow_and_update();
        assert!(!changes.has_changed().unwrap());
        let after = publisher.snapshot();
        assert!(Arc::ptr_eq(&before[&pool("pay")], &after[&pool("pay")]));
        assert!(after[&pool("cart")].revision > before[&pool("cart")].revision);
        assert!(!publisher.is_synced());
    }

    #[test]
    fn a_selector_needs_all_its_labels_and_never_shuts_out_the_owner() {
        let wanted = Labels::from([("team".into(), "a".into()), ("tier".into(), "web".into())]);
        let rule = ConsumerRule::Selector(wanted.clone());
        let part = Labels::from([("team".into(), "a".into())]);
        assert!(rule.allows("shop", "other", Some(&wanted)));
        assert!(!rule.allows("shop", "other", Some(&part)));
        assert!(!rule.allows("shop", "other", None));
        assert!(rule.allows("shop", "shop", None));
        assert!(!ConsumerRule::Same.allows("shop", "other", Some(&wanted)));
        assert!(ConsumerRule::All.allows("shop", "other", None));
    }
}
