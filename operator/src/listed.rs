//! A pool's list as `BalancerEndpoints` objects of at most 100 endpoints. Pure. An endpoint stays in the object that it was
//! first put into, so that a change rewrites the one object that it concerns and no other.

use crate::gather::facts::Key;
use crate::gather::world::Listing;
use crate::reconcile::pool::PoolState;
use evenkeel_crds::endpoints::{EndpointState, EndpointsSpec, ListedEndpoint, MAX_ENDPOINTS, TargetRef};
use evenkeel_probe::CheckReason;
use evenkeel_wire::{Endpoint, Health};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The label that names the pool.
pub const POOL_LABEL: &str = "evenkeel.dev/pool";

/// An object to be written or deleted.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Create it or bring it up to date.
    Put(String, EndpointsSpec),
    /// It lists nothing any more.
    Delete(String),
}

/// Since when endpoints have been in their state; kept between steps, since the objects are written later than it happens.
#[derive(Debug, Default)]
pub struct Since(HashMap<String, (EndpointState, &'static str, String)>);

impl Since {
    /// Notes states that have changed; another reason for the same state is no change of it. What an object says already is believed, so that a restart changes nothing.
    pub fn note(&mut self, pool: &PoolState, listed: &Objects<'_>, now: &str) {
        let endpoints = pool.view().map_or(&[][..], |view| &view.endpoints);
        let ids: BTreeSet<&str> = endpoints.iter().map(|e| e.id.as_str()).collect();
        self.0.retain(|id, _| ids.contains(id.as_str()));
        for endpoint in endpoints {
            let (state, reason) = (state(endpoint.health), pool.reason(endpoint));
            match self.0.get_mut(&endpoint.id) {
                Some((s, r, _)) if *s == state => *r = reason,
                known => {
                    let written =
                        listed.places.get(endpoint.id.as_str()).filter(|(_, written)| known.is_none() && written.state == state);
                    let since = written.map_or(now, |(_, written)| &written.since).into();
                    self.0.insert(endpoint.id.clone(), (state, reason, since));
                }
            }
        }
    }
}

/// The objects that are there for one pool, by number, and where each endpoint is in them.
#[derive(Debug)]
pub struct Objects<'a> {
    by_number: BTreeMap<u32, &'a Listing>,
    places: HashMap<&'a str, (u32, &'a ListedEndpoint)>,
}

impl<'a> Objects<'a> {
    /// Picks a pool's objects out of all whose names begin as theirs do.
    pub fn of(pool: &Key, all: impl Iterator<Item = (&'a Key, &'a Listing)>) -> Self {
        let own = all.filter(|(_, listing)| listing.spec.pool == pool.name);
        let by_number: BTreeMap<u32, &Listing> =
            own.filter_map(|(key, listing)| Some((number(&pool.name, &key.name)?, listing))).collect();
        let mut places = HashMap::new();
        for (n, listing) in &by_number {
            for endpoint in listing.spec.endpoints.iter().take(MAX_ENDPOINTS) {
                places.entry(endpoint.id.as_str()).or_insert((*n, endpoint));
            }
        }
        Self { by_number, places }
    }
}

/// What the objects say is down, and why; those of another owner say nothing.
pub fn down<'a>(uid: &'a str, objects: &'a Objects<'a>) -> impl Iterator<Item = (String, CheckReason)> + 'a {
    let own = objects.by_number.values().filter(move |listing| listing.owner.as_deref() == Some(uid));
    let endpoints = own.flat_map(|listing| &listing.spec.endpoints);
    endpoints.filter(|endpoint| endpoint.state == EndpointState::Down).filter_map(|endpoint| {
        let reason = CheckReason::ALL.into_iter().find(|reason| reason.as_str() == endpoint.reason)?;
        Some((endpoint.id.clone(), reason))
    })
}

/// The edits that make the objects say what the pool's state is.
pub fn edits(pool: &Key, state: &PoolState, since: &Since, objects: &Objects<'_>) -> Vec<Edit> {
    // Nothing in force lists nothing, though sidecars may use what they had: a list that nobody keeps up would lie.
    let endpoints = state.view().map_or(&[][..], |view| &view.endpoints);
    let mut wanted: BTreeMap<u32, Vec<ListedEndpoint>> = BTreeMap::new();
    for (n, endpoint) in allot(endpoints, objects) {
        let listed = listed(endpoint, since);
        wanted.entry(n).or_default().push(listed);
    }
    let mut edits = Vec::new();
    for n in objects.by_number.keys().filter(|n| !wanted.contains_key(n)) {
        edits.push(Edit::Delete(name(&pool.name, *n)));
    }
    for (n, mut endpoints) in wanted {
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        let spec = spec(&pool.name, endpoints);
        let there = objects.by_number.get(&n);
        let same = there.is_some_and(|there| there.spec == spec && there.owner.as_deref() == Some(state.uid()));
        if !same {
            edits.push(Edit::Put(name(&pool.name, n), spec));
        }
    }
    edits
}

/// Gives each endpoint the number of its object: where it is already, else the first with room.
fn allot<'e>(endpoints: &'e [Endpoint], objects: &Objects<'_>) -> Vec<(u32, &'e Endpoint)> {
    let mut filled: BTreeMap<u32, usize> = BTreeMap::new();
    let (placed, new): (Vec<_>, Vec<_>) = endpoints
        .iter()
        .map(|endpoint| (objects.places.get(endpoint.id.as_str()), endpoint))
        .partition(|(place, _)| place.is_some());
    let mut allotted = Vec::with_capacity(endpoints.len());
    for (place, endpoint) in placed {
        let n = place.map_or(1, |(n, _)| *n);
        *filled.entry(n).or_default() += 1;
        allotted.push((n, endpoint));
    }
    let mut n = 1;
    for (_, endpoint) in new {
        while filled.get(&n).is_some_and(|count| *count >= MAX_ENDPOINTS) {
            n += 1;
        }
        *filled.entry(n).or_default() += 1;
        allotted.push((n, endpoint));
    }
    allotted
}

fn spec(pool: &str, endpoints: Vec<ListedEndpoint>) -> EndpointsSpec {
    let usable = endpoints.iter().filter(|e| e.state == EndpointState::Usable);
    EndpointsSpec { pool: pool.into(), summary: format!("{}/{}", usable.count(), endpoints.len()), endpoints }
}

fn listed(endpoint: &Endpoint, since: &Since) -> ListedEndpoint {
    let (state, reason, since) = match since.0.get(&endpoint.id) {
        Some((state, reason, since)) => (*state, *reason, since.clone()),
        None => (state(endpoint.health), "Unknown", String::new()),
    };
    let Endpoint { id, ring_key, address, port, weight, priority, zone, node, target, health: _ } = endpoint.clone();
    ListedEndpoint {
        id,
        ring_key,
        address: address.to_string(),
        port,
        weight,
        priority,
        zone,
        node,
        target_ref: target.map(|t| TargetRef { name: t.name, uid: t.uid }),
        state,
        reason: reason.into(),
        since,
    }
}

fn state(health: Health) -> EndpointState {
    match health {
        Health::Usable => EndpointState::Usable,
        Health::Draining => EndpointState::Draining,
        Health::NotReady => EndpointState::NotReady,
        Health::Down => EndpointState::Down,
    }
}

/// How the names of a pool's objects begin.
pub fn prefix(pool: &Key) -> Key {
    Key::new(&pool.namespace, name_prefix(&pool.name))
}

fn name_prefix(pool: &str) -> String {
    format!("{pool}-")
}

fn name(pool: &str, n: u32) -> String {
    format!("{}{n}", name_prefix(pool))
}

fn number(pool: &str, name: &str) -> Option<u32> {
    name.strip_prefix(&name_prefix(pool))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::facts::SliceEndpoint;
    use crate::reconcile::fixture::{Cluster, endpoint, key, pool};
    use serde_json::json;

    type There = BTreeMap<Key, Listing>;

    struct Scene {
        cluster: Cluster,
        state: PoolState,
        since: Since,
        there: There,
    }

    impl Scene {
        fn new(endpoints: Vec<SliceEndpoint>) -> Self {
            let state = PoolState::new(&pool(1, json!({})));
            let mut scene = Self { cluster: Cluster::new(), state, since: Since::default(), there: There::new() };
            scene.slice(endpoints);
            scene
        }

        fn slice(&mut self, endpoints: Vec<SliceEndpoint>) {
            self.cluster.slice("a", endpoints);
            // Long enough for additions and absences alike.
            let seen = self.cluster.now;
            for _ in 0..2 {
                self.state.step(&key("web"), &self.cluster.world, seen, self.cluster.now);
                self.cluster.now += std::time::Duration::from_secs(2);
            }
        }

        /// Decides, and does as decided.
        fn settle(&mut self, now: &str) -> Vec<String> {
            let objects = Objects::of(&key("web"), self.there.iter());
            self.since.note(&self.state, &objects, now);
            let edits = edits(&key("web"), &self.state, &self.since, &objects);
            let mut touched = Vec::new();
            for edit in edits {
                match edit {
                    Edit::Put(name, spec) => {
                        let owner = Some(self.state.uid().to_string());
                        self.there.insert(key(&name), Listing { owner, spec });
                        touched.push(name);
                    }
                    Edit::Delete(name) => {
                        self.there.remove(&key(&name));
                        touched.push(format!("-{name}"));
                    }
                }
            }
            touched
        }
    }

    fn endpoints(ids: std::ops::Range<u8>) -> Vec<SliceEndpoint> {
        ids.map(|n| endpoint(&format!("{n:03}"), n)).collect()
    }

    #[test]
    fn an_object_lists_a_hundred_and_a_change_rewrites_only_its_own() {
        let mut scene = Scene::new(endpoints(0..150));
        assert_eq!(scene.settle("monday"), ["web-1", "web-2"]);
        assert!(scene.settle("tuesday").is_empty(), "nothing has changed");
        assert_eq!(scene.there[&key("web-1")].spec.endpoints.len(), MAX_ENDPOINTS);
        let mut fewer = endpoints(0..150);
        fewer.remove(3);
        scene.slice(fewer);
        assert_eq!(scene.settle("tuesday"), ["web-1"]);
        scene.slice(endpoints(0..150));
        assert_eq!(scene.settle("wednesday"), ["web-1"], "the gap is filled");
    }

    #[test]
    fn an_object_that_lists_nothing_any_more_is_deleted() {
        let mut scene = Scene::new(endpoints(0..120));
        scene.settle("monday");
        let first: Vec<_> = scene.there[&key("web-1")].spec.endpoints.iter().map(|e| e.id.clone()).collect();
        let kept = endpoints(0..120).into_iter().filter(|e| {
            let uid = e.pod.as_ref().map(|pod| format!("{}:8080", pod.uid));
            uid.is_some_and(|id| first.contains(&id))
        });
        scene.slice(kept.collect());
        assert_eq!(scene.settle("tuesday"), ["-web-2"]);
    }

    #[test]
    fn since_is_when_the_state_changed_and_survives_a_restart() {
        let mut scene = Scene::new(endpoints(1..3));
        scene.settle("monday");
        scene.since = Since::default();
        assert!(scene.settle("tuesday").is_empty(), "a restart changes nothing");
        let mut list = endpoints(1..3);
        list[0].ready = false;
        scene.slice(list);
        assert_eq!(scene.settle("wednesday"), ["web-1"]);
        let spec = &scene.there[&key("web-1")].spec;
        let told: Vec<_> = spec.endpoints.iter().map(|e| (e.state, e.reason.as_str(), e.since.as_str())).collect();
        assert_eq!(told[0], (EndpointState::NotReady, "NotReady", "wednesday"));
        assert_eq!(told[1], (EndpointState::Usable, "Ready", "monday"));
        assert_eq!(spec.summary, "1/2");
    }

    #[test]
    fn a_backup_is_listed_with_its_priority_and_its_change_is_written() {
        let mut scene = Scene::new(endpoints(1..2));
        scene.settle("monday");
        assert_eq!(scene.there[&key("web-1")].spec.endpoints[0].priority, 0);
        let sources = json!([{"name": "svc", "priority": 1, "service": {"name": "web", "port": "http"}}]);
        scene.state.respec(&pool(2, json!({"sources": sources})));
        scene.slice(endpoints(1..2));
        assert_eq!(scene.settle("tuesday"), ["web-1"]);
        assert_eq!(scene.there[&key("web-1")].spec.endpoints[0].priority, 1);
    }

    #[test]
    fn after_a_restart_with_a_refused_spec_no_object_says_usable_for_ever() {
        let mut scene = Scene::new(endpoints(1..2));
        scene.settle("monday");
        scene.state = PoolState::new(&pool(2, json!({"mirrors": {}})));
        assert_eq!(scene.settle("tuesday"), ["-web-1"]);
    }

    #[test]
    fn objects_of_a_pool_that_was_made_again_get_their_new_owner() {
        let mut scene = Scene::new(endpoints(1..2));
        scene.settle("monday");
        if let Some(listing) = scene.there.get_mut(&key("web-1")) {
            listing.owner = Some("another".into());
        }
        assert_eq!(scene.settle("tuesday"), ["web-1"]);
    }
}
