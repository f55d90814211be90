//! Everything that is known of the cluster, and what a new fact touches. Pure: the time is an argument.
//! A pod that was seen deleted stays known as gone while a slice still lists it, because slices come later than pods.

use super::cache::{Cache, Changed, Seen};
use super::facts::{Key, Pod, Service, Slice};
use crate::publish::Labels;
use evenkeel_crds::endpoints::EndpointsSpec;
use evenkeel_crds::pool::PoolSpec;
use evenkeel_crds::status::PoolStatus;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a deleted pod is remembered at least.
const GONE_FOR: Duration = Duration::from_secs(60);

/// A `BalancerPool`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its UID.
    pub uid: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its generation.
    pub generation: i64,
    /// Its spec, or why it can't be read.
    pub spec: Result<Arc<PoolSpec>, String>,
    /// Its status as written last.
    pub status: PoolStatus,
}

/// A `BalancerEndpoints`.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The UID of the pool that owns it.
    pub owner: Option<String>,
    /// What it says.
    pub spec: EndpointsSpec,
}

/// A fact of some kind.
#[derive(Debug)]
pub enum Observation {
    /// Of a `BalancerPool`.
    Pool(Seen<Pool>),
    /// Of a Service.
    Service(Seen<Service>),
    /// Of an EndpointSlice.
    Slice(Seen<Slice>),
    /// Of a pod.
    Pod(Seen<Pod>),
    /// Of a namespace.
    Namespace(Seen<Labels>),
    /// Of a `BalancerEndpoints`.
    Listing(Seen<Listing>),
}

/// What a fact touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// A pool is new, has another spec, or is gone.
    Pool(Key),
    /// Only what has been written of a pool: its status or its listings.
    Written(Key),
    /// The endpoints of a Service.
    Service(Key),
    /// A pod of this namespace is gone, whether or not a slice still lists it.
    Gone(String),
    /// The labels of some namespace.
    Namespaces,
}

/// Everything that is known of the cluster.
#[derive(Debug, Default)]
pub struct World {
    /// `BalancerPool`s.
    pub pools: Cache<Pool>,
    /// Services.
    pub services: Cache<Service>,
    /// EndpointSlices.
    pub slices: Cache<Slice>,
    /// Pods.
    pub pods: Cache<Pod>,
    /// Namespaces.
    pub namespaces: Cache<Labels>,
    /// `BalancerEndpoints`.
    pub listings: Cache<Listing>,
    slices_of_pod: HashMap<String, BTreeSet<Key>>,
    slices_of_service: HashMap<Key, BTreeSet<Key>>,
    gone: HashMap<String, Instant>,
}

impl World {
    /// Takes in one fact.
    pub fn observe(&mut self, observation: Observation, now: Instant) -> Vec<Touched> {
        match observation {
            Observation::Pool(seen) => {
                let changed = self.pools.observe(seen);
                changed.into_iter().map(|c| self.pool_changed(c)).collect()
            }
            Observation::Service(seen) => {
                let changed = self.services.observe(seen);
                changed.into_iter().map(|c| Touched::Service(c.key)).collect()
            }
            Observation::Slice(seen) => {
                let changed = self.slices.observe(seen);
                changed.into_iter().flat_map(|c| self.slice_changed(c)).collect()
            }
            Observation::Pod(seen) => {
                let changed = self.pods.observe(seen);
                changed.into_iter().flat_map(|c| self.pod_changed(c, now)).collect()
            }
            Observation::Namespace(seen) => match self.namespaces.observe(seen) {
                changed if changed.is_empty() => Vec::new(),
                _ => vec![Touched::Namespaces],
            },
            Observation::Listing(seen) => {
                let changed = self.listings.observe(seen);
                changed.into_iter().flat_map(|c| self.listing_changed(c)).collect()
            }
        }
    }

    /// The names of the kinds whose first list isn't through yet.
    pub fn missing(&self) -> Vec<&'static str> {
        let kinds = [
            ("balancerpools", self.pools.is_synced()),
            ("services", self.services.is_synced()),
            ("endpointslices", self.slices.is_synced()),
            ("pods", self.pods.is_synced()),
            ("namespaces", self.namespaces.is_synced()),
            ("balancerendpoints", self.listings.is_synced()),
        ];
        let missing = kinds.into_iter().filter(|(_, synced)| !synced);
        missing.map(|(kind, _)| kind).collect()
    }

    /// The slices of a Service, by name.
    pub fn find_slices(&self, service: &Key) -> impl Iterator<Item = &Slice> {
        let keys = self.slices_of_service.get(service).into_iter().flatten();
        keys.filter_map(|key| self.slices.find(key))
    }

    /// Whether the pod of this UID was seen deleted.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains_key(uid)
    }

    fn pool_changed(&self, change: Changed<Pool>) -> Touched {
        let only_written = match (&change.before, self.pools.find(&change.key)) {
            (Some(before), Some(after)) => {
                before.uid == after.uid && before.generation == after.generation && before.spec == after.spec
            }
            _ => false,
        };
        if only_written { Touched::Written(change.key) } else { Touched::Pool(change.key) }
    }

    fn listing_changed(&self, change: Changed<Listing>) -> Vec<Touched> {
        let after = self.listings.find(&change.key);
        let pools = after.into_iter().chain(&change.before).map(|l| &l.spec.pool);
        let keys = pools.map(|pool| Key::new(&change.key.namespace, pool));
        let distinct: BTreeSet<Key> = keys.collect();
        distinct.into_iter().map(Touched::Written).collect()
    }

    fn slice_changed(&mut self, change: Changed<Slice>) -> Vec<Touched> {
        let Changed { key, before } = change;
        let mut services = BTreeSet::new();
        if let Some(before) = &before {
            let service = Key::new(&key.namespace, &before.service);
            unlink(&mut self.slices_of_service, &service, &key);
            services.insert(service);
            for uid in uids(before) {
                unlink(&mut self.slices_of_pod, uid, &key);
            }
        }
        if let Some(after) = self.slices.find(&key) {
            let service = Key::new(&key.namespace, &after.service);
            self.slices_of_service.entry(service.clone()).or_default().insert(key.clone());
            services.insert(service);
            for uid in uids(after) {
                let slices = self.slices_of_pod.entry(uid.clone()).or_default();
                slices.insert(key.clone());
            }
        }
        services.into_iter().map(Touched::Service).collect()
    }

    fn pod_changed(&mut self, change: Changed<Pod>, now: Instant) -> Vec<Touched> {
        let Changed { key, before } = change;
        let after = self.pods.find(&key);
        let mut touched = BTreeSet::new();
        if let Some(before) = &before
            && after.is_none_or(|after| after.uid != before.uid)
        {
            touched.insert(Touched::Gone(key.namespace.clone()));
            self.slices_of(&before.uid, &mut touched);
        }
        if let Some(after) = after {
            self.slices_of(&after.uid, &mut touched);
        }
        if let Some(before) = before
            && after.is_none_or(|after| after.uid != before.uid)
        {
            self.forget_the_gone(now);
            self.gone.insert(before.uid, now);
        }
        touched.into_iter().collect()
    }

    fn slices_of(&self, uid: &str, touched: &mut BTreeSet<Touched>) {
        for key in self.slices_of_pod.get(uid).into_iter().flatten() {
            if let Some(slice) = self.slices.find(key) {
                touched.insert(Touched::Service(Key::new(&key.namespace, &slice.service)));
            }
        }
    }

    fn forget_the_gone(&mut self, now: Instant) {
        let listed = &self.slices_of_pod;
        self.gone.retain(|uid, since| now.saturating_duration_since(*since) < GONE_FOR || listed.contains_key(uid));
    }
}

fn uids(slice: &Slice) -> impl Iterator<Item = &String> {
    let pods = slice.endpoints.iter().filter_map(|e| e.pod.as_ref());
    pods.map(|pod| &pod.uid)
}

/// Takes `value` out of the set at `key`, and the set with it when it was the last.
fn unlink<K: Hash + Eq>(sets: &mut HashMap<K, BTreeSet<Key>>, key: &K, value: &Key) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{PodRef, SliceEndpoint};
    use super::*;

    fn slice(service: &str, uids: &[&str]) -> Slice {
        let endpoints = uids.iter().map(|uid| SliceEndpoint {
            address: [10, 0, 0, 1].into(),
            zone: None,
            node: None,
            pod: Some(PodRef { name: format!("pod-{uid}"), uid: (*uid).into() }),
            ready: true,
            serving: true,
            terminating: false,
        });
        Slice { service: service.into(), ports: Vec::new(), endpoints: endpoints.collect() }
    }

    fn pod(uid: &str, terminating: bool) -> Pod {
        Pod { uid: uid.into(), stateful: false, terminating }
    }

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    fn put_slice(name: &str, slice: Slice) -> Observation {
        Observation::Slice(Seen::Put(key(name), slice))
    }

    #[test]
    fn a_terminating_pod_touches_the_services_whose_slices_list_it() {
        let (mut world, now) = (World::default(), Instant::now());
        world.observe(put_slice("cart-1", slice("cart", &["a", "b"])), now);
        world.observe(put_slice("pay-1", slice("pay", &["c"])), now);
        world.observe(Observation::Pod(Seen::Put(key("pod-a"), pod("a", false))), now);
        let touched = world.observe(Observation::Pod(Seen::Put(key("pod-a"), pod("a", true))), now);
        assert_eq!(touched, [Touched::Service(key("cart"))]);
    }

    #[test]
    fn a_pod_replaced_under_its_name_is_gone_at_once() {
        let (mut world, now) = (World::default(), Instant::now());
        world.observe(put_slice("db-1", slice("db", &["a"])), now);
        world.observe(Observation::Pod(Seen::Put(key("db-0"), pod("a", false))), now);
        let touched = world.observe(Observation::Pod(Seen::Put(key("db-0"), pod("b", false))), now);
        assert!(touched.contains(&Touched::Service(key("db"))));
        assert!(touched.contains(&Touched::Gone("shop".into())));
        assert!(world.is_gone("a") && !world.is_gone("b"));
    }

    #[test]
    fn a_gone_pod_is_remembered_while_a_slice_lists_it() {
        let (mut world, now) = (World::default(), Instant::now());
        world.observe(put_slice("cart-1", slice("cart", &["a"])), now);
        for uid in ["a", "b"] {
            world.observe(Observation::Pod(Seen::Put(key(uid), pod(uid, false))), now);
            world.observe(Observation::Pod(Seen::Deleted(key(uid))), now);
        }
        let later = now + 2 * GONE_FOR;
        world.observe(Observation::Pod(Seen::Put(key("c"), pod("c", false))), later);
        world.observe(Observation::Pod(Seen::Deleted(key("c"))), later);
        assert!(world.is_gone("a") && !world.is_gone("b") && world.is_gone("c"));
    }

    #[test]
    fn a_slice_that_changes_its_service_touches_both() {
        let (mut world, now) = (World::default(), Instant::now());
        world.observe(put_slice("x", slice("cart", &["a"])), now);
        let touched = world.observe(put_slice("x", slice("pay", &["a"])), now);
        assert_eq!(touched.len(), 2);
        assert_eq!(world.find_slices(&key("cart")).count(), 0);
        assert_eq!(world.find_slices(&key("pay")).count(), 1);
    }
}
