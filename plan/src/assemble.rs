//! One list from what the sources found: each endpoint once, with its identity, its ring key and its verdict, in an order
//! that depends on the endpoints alone.

use evenkeel_crds::pool::{StaticEndpoint, StaticSource};
use evenkeel_wire as wire;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};

/// What one source found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The source's priority.
    pub priority: u8,
    /// Its candidates.
    pub candidates: Vec<Candidate>,
}

/// What a source found at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Percent of a normal endpoint.
    pub weight: u16,
    /// The zone, where known.
    pub zone: Option<String>,
    /// The node, where known.
    pub node: Option<String>,
    /// The pod behind it, if it is one.
    pub pod: Option<Pod>,
    /// It takes new work.
    pub ready: bool,
    /// It still answers, even if it terminates.
    pub serving: bool,
    /// It has been told to end.
    pub terminating: bool,
}

/// The pod behind a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// It is a StatefulSet's: its name outlives it.
    pub stateful: bool,
}

/// The endpoints that a source names itself: always ready.
pub fn static_candidates(source: &StaticSource) -> Vec<Candidate> {
    let candidate = |endpoint: &StaticEndpoint| Candidate {
        address: endpoint.address,
        port: endpoint.port,
        weight: endpoint.weight,
        zone: endpoint.zone.clone(),
        node: None,
        pod: None,
        ready: true,
        serving: true,
        terminating: false,
    };
    source.endpoints.iter().map(candidate).collect()
}

/// One list of all sources, given in the spec's order: the earlier wins where two name the same endpoint, with its priority and
/// all. What terminates and no longer serves is left out; what checks say comes later. Sorted by ring key, then id.
pub fn assemble(sources: Vec<Found>) -> Vec<wire::Endpoint> {
    let mut by_key = BTreeMap::new();
    let mut claimed = std::collections::BTreeSet::new();
    let of_source = |Found { priority, candidates }| candidates.into_iter().map(move |candidate| (priority, candidate));
    for (priority, candidate) in sources.into_iter().flat_map(of_source) {
        let id = id(&candidate);
        if claimed.insert(id.clone())
            && let Some(health) = health(&candidate)
            && let Entry::Vacant(slot) = by_key.entry((ring_key(&candidate, &id), id))
        {
            let (ring_key, id) = slot.key().clone();
            slot.insert(endpoint(candidate, priority, (id, ring_key), health));
        }
    }
    by_key.into_values().collect()
}

/// An address and port as the identity of what is no pod; a v4 address written as v6 is the same host.
pub(crate) fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

fn id(candidate: &Candidate) -> String {
    match &candidate.pod {
        Some(pod) => format!("{}:{}", pod.uid, candidate.port),
        None => socket(candidate.address, candidate.port).to_string(),
    }
}

fn ring_key(candidate: &Candidate, id: &str) -> String {
    match &candidate.pod {
        Some(pod) if pod.stateful => format!("{}/{}:{}", pod.namespace, pod.name, candidate.port),
        _ => id.to_owned(),
    }
}

fn health(candidate: &Candidate) -> Option<wire::Health> {
    match *candidate {
        Candidate { terminating: true, serving: false, .. } => None,
        Candidate { terminating: true, .. } => Some(wire::Health::Draining),
        Candidate { ready: false, .. } => Some(wire::Health::NotReady),
        _ => Some(wire::Health::Usable),
    }
}

fn endpoint(candidate: Candidate, priority: u8, (id, ring_key): (String, String), health: wire::Health) -> wire::Endpoint {
    let Candidate { address, port, weight, zone, node, pod, ready: _, serving: _, terminating: _ } = candidate;
    let target = pod.map(|Pod { namespace, name, uid, stateful: _ }| wire::Target { namespace, name, uid });
    wire::Endpoint { id, ring_key, address: address.to_canonical(), port, weight, priority, zone, node, target, health }
}
