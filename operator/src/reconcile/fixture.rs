//! For tests: a small cluster in memory, namespace `shop`, and a pool `web` over its Service `web`.

use super::pool::{PoolState, Step};
use crate::gather::cache::Seen;
use crate::gather::facts::{Family, Key, NamedPort, Pod, PodRef, Service, Slice, SliceEndpoint};
use crate::gather::world::{Observation, Pool, World};
use evenkeel_crds::status::PoolStatus;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

pub(crate) fn key(name: &str) -> Key {
    Key::new("shop", name)
}

pub(crate) fn port(name: &str, port: u16) -> NamedPort {
    NamedPort { name: name.into(), port }
}

/// A ready endpoint of pod `pod-<uid>` at `10.0.0.<n>`.
pub(crate) fn endpoint(uid: &str, n: u8) -> SliceEndpoint {
    SliceEndpoint {
        address: [10, 0, 0, n].into(),
        zone: None,
        node: None,
        pod: Some(PodRef { name: format!("pod-{uid}"), uid: uid.into() }),
        ready: true,
        serving: true,
        terminating: false,
    }
}

pub(crate) fn slice(service: &str, endpoints: Vec<SliceEndpoint>) -> Slice {
    Slice { service: service.into(), ports: vec![port("http", 8080), port("admin", 9090)], endpoints }
}

/// A cluster and one pool in it.
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) now: Instant,
}

impl Cluster {
    /// Service `web` with the ports `http` (80) and `admin` (81), no slices.
    pub(crate) fn new() -> Self {
        let mut cluster = Self { world: World::default(), now: Instant::now() };
        cluster.service("web", vec![port("http", 80), port("admin", 81)]);
        cluster
    }

    pub(crate) fn service(&mut self, name: &str, ports: Vec<NamedPort>) {
        let service = Service { ports, primary: Some(Family::V4), external: false };
        self.world.observe(Observation::Service(Seen::Put(key(name), service)), self.now);
    }

    /// A slice of Service `web`; the pods that it lists are there, unless something else is known of them.
    pub(crate) fn slice(&mut self, name: &str, endpoints: Vec<SliceEndpoint>) {
        for pod in endpoints.iter().filter_map(|e| e.pod.as_ref()) {
            if self.world.pods.find(&key(&pod.name)).is_none() && !self.world.is_gone(&pod.uid) {
                self.pod(&pod.uid, false, false);
            }
        }
        let seen = Seen::Put(key(name), slice("web", endpoints));
        self.world.observe(Observation::Slice(seen), self.now);
    }

    pub(crate) fn pod(&mut self, uid: &str, stateful: bool, terminating: bool) {
        let pod = Pod { uid: uid.into(), stateful, terminating };
        self.world.observe(Observation::Pod(Seen::Put(key(&format!("pod-{uid}")), pod)), self.now);
    }

    pub(crate) fn pod_deleted(&mut self, uid: &str) {
        self.world.observe(Observation::Pod(Seen::Deleted(key(&format!("pod-{uid}")))), self.now);
    }

    /// A step that answers an event of this moment.
    pub(crate) fn step(&self, state: &mut PoolState) -> Step {
        state.step(&key("web"), &self.world, self.now, self.now)
    }
}

/// The pool `web` of that generation; `more` is laid over the spec.
pub(crate) fn pool(generation: i64, more: Value) -> Pool {
    let mut spec = json!({"sources": [{"name": "svc", "service": {"name": "web", "port": "http"}}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    Pool {
        uid: "pool-uid".into(),
        created: 0,
        generation,
        spec: serde_json::from_value(spec).map(Arc::new).map_err(|error| error.to_string()),
        status: PoolStatus::default(),
    }
}
