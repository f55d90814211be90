//! From a spec's sources to candidates: the union of a Service's EndpointSlices, one entry for each pod. Without a client:
//! it reads the caches. Where two slices list the same pod (slices move), the worse word counts, because a pod that isn't
//! ready must be out at once and one that is can wait for the next event.

use crate::gather::World;
use crate::gather::facts::{Family, Key, NamedPort, Service, SliceEndpoint};
use evenkeel_crds::pool::{PoolSpec, PortRef, ServiceSource};
use evenkeel_plan::{Candidate, Pod};
use std::collections::BTreeMap;

/// The weight of an endpoint that nobody gave one.
const NORMAL_WEIGHT: u16 = 100;

/// The candidates of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered {
    /// The source's name in the pool.
    pub source: String,
    /// The source's priority.
    pub priority: u8,
    /// Its candidates.
    pub candidates: Vec<Candidate>,
}

/// A reference that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// The source's name in the pool.
    pub source: String,
    /// The Service that it names.
    pub service: Key,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Why a reference leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No such Service.
    #[error("there is no such Service in the pool's namespace; create it or correct the name")]
    ServiceNotFound,
    /// A Service that is only a DNS name.
    #[error("its type is ExternalName, which has no endpoints; name a Service that selects pods")]
    ServiceIsExternal,
    /// The Service has no such port.
    #[error("it has no TCP port {wanted}; it has {has}")]
    PortNotFound {
        /// The port asked for.
        wanted: String,
        /// Those there are.
        has: String,
    },
    /// The Service has several ports and the source names none.
    #[error("it has several TCP ports ({has}); say which in `port`")]
    PortNotNamed {
        /// Those there are.
        has: String,
    },
}

impl Problem {
    /// The reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ServiceNotFound => "ServiceNotFound",
            Self::ServiceIsExternal => "ServiceIsExternal",
            Self::PortNotFound { .. } => "PortNotFound",
            Self::PortNotNamed { .. } => "PortNotNamed",
        }
    }
}

/// The Services that a spec names.
pub fn services<'a>(namespace: &'a str, spec: &'a PoolSpec) -> impl Iterator<Item = Key> + 'a {
    let sources = spec.sources.iter().filter_map(|s| s.service.as_ref());
    sources.map(move |service| Key::new(namespace, &service.name))
}

/// All sources of a spec, in its order. A source that leads nowhere has no candidates.
pub fn dereference(world: &World, namespace: &str, spec: &PoolSpec) -> (Vec<Gathered>, Vec<Unresolved>) {
    let (mut gathered, mut unresolved) = (Vec::new(), Vec::new());
    for source in &spec.sources {
        let mut candidates = Vec::new();
        if let Some(service) = &source.service {
            match service_candidates(world, namespace, service) {
                Ok(found) => candidates = found,
                Err(problem) => unresolved.push(Unresolved {
                    source: source.name.clone(),
                    service: Key::new(namespace, &service.name),
                    problem,
                }),
            }
        } else if let Some(fixed) = &source.fixed {
            candidates = evenkeel_plan::static_candidates(fixed);
        }
        gathered.push(Gathered { source: source.name.clone(), priority: source.priority, candidates });
    }
    (gathered, unresolved)
}

fn service_candidates(world: &World, namespace: &str, source: &ServiceSource) -> Result<Vec<Candidate>, Problem> {
    let key = Key::new(namespace, &source.name);
    let service = world.services.find(&key).ok_or(Problem::ServiceNotFound)?;
    if service.external {
        return Err(Problem::ServiceIsExternal);
    }
    let port = find_port(service, source.port.as_ref())?;
    let mut union = Union::new(service.primary);
    for slice in world.find_slices(&key) {
        let Some(target) = slice.ports.iter().find(|p| p.name == port.name) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            if let Some(candidate) = candidate(world, namespace, endpoint, target.port) {
                union.add(candidate);
            }
        }
    }
    Ok(union.finish())
}

fn find_port<'a>(service: &'a Service, wanted: Option<&PortRef>) -> Result<&'a NamedPort, Problem> {
    let has = || {
        let ports = service.ports.iter().map(|p| match p.name.as_str() {
            "" => p.port.to_string(),
            name => format!("{name} ({})", p.port),
        });
        match ports.collect::<Vec<_>>() {
            ports if ports.is_empty() => "none".into(),
            ports => ports.join(", "),
        }
    };
    let (found, wanted) = match (wanted, service.ports.as_slice()) {
        (None, [only]) => return Ok(only),
        (None, []) => (None, "at all".into()),
        (None, _) => return Err(Problem::PortNotNamed { has: has() }),
        (Some(PortRef::Number(n)), ports) => (ports.iter().find(|p| p.port == *n), n.to_string()),
        (Some(PortRef::Name(n)), ports) => (ports.iter().find(|p| p.name == *n), n.clone()),
    };
    found.ok_or_else(|| Problem::PortNotFound { wanted, has: has() })
}

/// `None` when the endpoint's pod was seen deleted.
fn candidate(world: &World, namespace: &str, endpoint: &SliceEndpoint, port: u16) -> Option<Candidate> {
    let mut terminating = endpoint.terminating;
    let pod = match &endpoint.pod {
        Some(target) if world.is_gone(&target.uid) => return None,
        Some(target) => {
            let known = world.pods.find(&Key::new(namespace, &target.name));
            let known = known.filter(|pod| pod.uid == target.uid);
            terminating |= known.is_some_and(|pod| pod.terminating);
            Some(Pod {
                namespace: namespace.into(),
                name: target.name.clone(),
                uid: target.uid.clone(),
                stateful: known.is_some_and(|pod| pod.stateful),
            })
        }
        None => None,
    };
    Some(Candidate {
        address: endpoint.address,
        port,
        weight: NORMAL_WEIGHT,
        zone: endpoint.zone.clone(),
        node: endpoint.node.clone(),
        pod,
        ready: endpoint.ready,
        serving: endpoint.serving,
        terminating,
    })
}

/// Candidates of one Service, one for each pod (and port, where slices of one Service map its name differently).
struct Union {
    primary: Option<Family>,
    by_identity: BTreeMap<(String, u16), Candidate>,
}

impl Union {
    fn new(primary: Option<Family>) -> Self {
        Self { primary, by_identity: BTreeMap::new() }
    }

    fn is_primary(&self, candidate: &Candidate) -> bool {
        self.primary.is_none_or(|family| family == Family::of(candidate.address))
    }

    fn add(&mut self, candidate: Candidate) {
        let who = match &candidate.pod {
            Some(pod) => pod.uid.clone(),
            None => candidate.address.to_string(),
        };
        let key = (who, candidate.port);
        let Some(known) = self.by_identity.get(&key) else {
            self.by_identity.insert(key, candidate);
            return;
        };
        let (ready, serving) = (known.ready && candidate.ready, known.serving && candidate.serving);
        let terminating = known.terminating || candidate.terminating;
        let best = match self.is_primary(&candidate) && !self.is_primary(known) {
            true => candidate,
            false => known.clone(),
        };
        self.by_identity.insert(key, Candidate { ready, serving, terminating, ..best });
    }

    /// Endpoints without a pod can't be matched across families: only those of the primary count, if it has any.
    fn finish(self) -> Vec<Candidate> {
        let bare = |c: &Candidate| c.pod.is_none();
        let primary = self.by_identity.values().any(|c| bare(c) && self.is_primary(c));
        let Self { primary: family, by_identity } = self;
        by_identity
            .into_values()
            .filter(|c| !bare(c) || !primary || family.is_none_or(|family| family == Family::of(c.address)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Cluster, endpoint, key, pool, port, slice};
    use super::*;
    use crate::gather::cache::Seen;
    use crate::gather::facts::Slice;
    use crate::gather::world::Observation;
    use serde_json::{Value, json};

    fn candidates(cluster: &Cluster, service: Value) -> Result<Vec<Candidate>, Problem> {
        let sources = json!({"sources": [{"name": "svc", "service": service}]});
        let spec = pool(1, sources).spec.expect("a spec");
        let (mut gathered, mut unresolved) = dereference(&cluster.world, "shop", &spec);
        match unresolved.pop() {
            Some(unresolved) => Err(unresolved.problem),
            None => Ok(gathered.remove(0).candidates),
        }
    }

    fn web(cluster: &Cluster) -> Vec<Candidate> {
        candidates(cluster, json!({"name": "web", "port": "http"})).expect("it resolves")
    }

    #[test]
    fn slices_are_united_and_a_pod_in_two_counts_once_with_the_worse_word() {
        let mut cluster = Cluster::new();
        cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2)]);
        let unready = SliceEndpoint { ready: false, ..endpoint("2", 2) };
        cluster.slice("b", vec![unready, endpoint("3", 3)]);
        let found = web(&cluster);
        assert_eq!(found.len(), 3);
        let ready: Vec<_> = found.iter().map(|c| c.ready).collect();
        assert_eq!(ready, [true, false, true]);
    }

    #[test]
    fn the_pod_watch_is_believed_before_the_slice() {
        let mut cluster = Cluster::new();
        cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2), endpoint("3", 3)]);
        cluster.pod("1", true, false);
        cluster.pod("2", false, true);
        cluster.pod("3", false, false);
        cluster.pod_deleted("3");
        let found = web(&cluster);
        let told: Vec<_> = found.iter().map(|c| (c.terminating, c.pod.as_ref().is_some_and(|p| p.stateful))).collect();
        assert_eq!(told, [(false, true), (true, false)]);
    }

    #[test]
    fn a_port_is_found_by_name_by_number_or_as_the_only_one() {
        let mut cluster = Cluster::new();
        cluster.slice("a", vec![endpoint("1", 1)]);
        let port_of = |service| candidates(&cluster, service).map(|found| found[0].port);
        assert_eq!(port_of(json!({"name": "web", "port": "admin"})), Ok(9090));
        assert_eq!(port_of(json!({"name": "web", "port": 81})), Ok(9090));
        let has = "http (80), admin (81)".to_string();
        assert_eq!(port_of(json!({"name": "web"})), Err(Problem::PortNotNamed { has: has.clone() }));
        let wanted = "8080".to_string();
        assert_eq!(port_of(json!({"name": "web", "port": 8080})), Err(Problem::PortNotFound { wanted, has }));
        assert_eq!(port_of(json!({"name": "none"})), Err(Problem::ServiceNotFound));
    }

    #[test]
    fn the_only_port_may_have_no_name() {
        let mut cluster = Cluster::new();
        cluster.service("db", vec![port("", 5432)]);
        let bare = Slice { ports: vec![port("", 15432)], ..slice("db", vec![endpoint("1", 1)]) };
        cluster.world.observe(Observation::Slice(Seen::Put(key("db-a"), bare)), cluster.now);
        let found = candidates(&cluster, json!({"name": "db"})).expect("it resolves");
        assert_eq!(found[0].port, 15432);
    }

    #[test]
    fn of_two_families_the_services_first_is_used_once_for_each_pod() {
        let mut cluster = Cluster::new();
        let v6 = |uid: &str| SliceEndpoint { address: "fd00::1".parse().expect("an address"), ..endpoint(uid, 1) };
        cluster.slice("a6", vec![v6("1"), v6("only6"), SliceEndpoint { pod: None, ..v6("x") }]);
        cluster.slice("b4", vec![endpoint("1", 1), SliceEndpoint { pod: None, ..endpoint("x", 9) }]);
        let found = web(&cluster);
        let v4: Vec<_> = found.iter().map(|c| c.address.is_ipv4()).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(v4.iter().filter(|v4| **v4).count(), 2, "{found:?}");
    }
}
