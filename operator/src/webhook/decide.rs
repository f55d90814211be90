//! Whether and how a pod gets its sidecar. Pure: a pod, its namespace and the namespace's pools go in, a decision that
//! names everything comes out. The pod names the pools it uses; what could break the app is left out and said.

use evenkeel_crds::bounds::RESERVED_PORTS;
use evenkeel_plan::is_dns_name;
use evenkeel_wire::{PoolName, TransportPort};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names the pools that a pod uses.
pub const POOLS: &str = "evenkeel.dev/pools";
/// Names a Secret of the pod's namespace whose files the sidecar gets, for `certificateFile` and its like.
pub const TLS_SECRET: &str = "evenkeel.dev/tls-secret";
/// Says which listeners were left out, and why.
pub const EXCLUDED: &str = "evenkeel.dev/excluded";
/// The sidecar's name in the pod.
pub const CONTAINER: &str = "evenkeel-sidecar";
/// Set by the kubelet on what it mirrors; such pods can't be changed.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The most pools that a pod may name; the feed's own limit.
const MAX_POOLS: usize = 1_000;

/// The pools of the pod's namespace.
pub type Pools = BTreeMap<PoolName, PoolView>;

/// What matters of a pool here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolView {
    /// Name and port.
    pub listeners: Vec<(String, TransportPort)>,
    /// The selectors of the Services that it is made of.
    pub selectors: Vec<BTreeMap<String, String>>,
}

/// What to do with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It gets the sidecar.
    Inject(Injection),
    /// It passes as it is.
    Skip(Skip),
    /// It is refused.
    Refuse(Refusal),
}

/// What the sidecar must know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injection {
    /// `namespace/name`, or `namespace/*`, sorted.
    pub pools: Vec<String>,
    /// Ports that are the app's; the sidecar leaves them alone, now and later.
    pub exclude_ports: BTreeSet<TransportPort>,
    /// Listeners that are left out for it.
    pub excluded: Vec<Excluded>,
    /// Pools of the pod's own namespace that aren't there (yet).
    pub missing: Vec<PoolName>,
    /// The Secret whose files it gets.
    pub tls_secret: Option<String>,
}

/// A listener that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// Its pool.
    pub pool: PoolName,
    /// Its name there.
    pub listener: String,
    /// Its port.
    pub port: TransportPort,
    /// Why.
    pub collision: Collision,
}

/// Why a listener would break the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collision {
    /// A container declares the port.
    ContainerPort,
    /// The pod is one of the pool's own endpoints, so its app may well listen there.
    OwnEndpoint,
}

/// Why a pod passes as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It doesn't say which pools it uses.
    NoPools,
    /// Its listeners would be the node's.
    HostNetwork,
    /// A container of its own has the sidecar's name.
    NameTaken,
    /// A container declares a port that the sidecar needs for itself, and would bind first.
    PortTaken(u16),
    /// The kubelet's mirror of a static pod.
    Mirror,
}

/// Why a pod is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An entry that names no pool.
    #[error("annotation {POOLS}: `{0}` names no pool; write NAME, NAMESPACE/NAME, or * for all of the pod's namespace")]
    Name(String),
    /// Too many entries.
    #[error("annotation {POOLS} names {0} pools; {MAX_POOLS} are the most, or write * for all of the pod's namespace")]
    TooMany(usize),
    /// What no Secret can be called.
    #[error("annotation {TLS_SECRET}: `{0}` names no Secret; write the name of one of the pod's namespace")]
    Secret(String),
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.collision {
            Collision::ContainerPort => "a container's port",
            Collision::OwnEndpoint => "the pod is an endpoint of the pool",
        };
        write!(f, "{}/{}:{} ({why})", self.pool, self.listener, self.port)
    }
}

impl Skip {
    /// What the person who creates the pod is told.
    pub fn warning(self) -> Option<String> {
        let why = match self {
            Self::NoPools => format!("add the annotation {POOLS}: \"NAME, NAMESPACE/NAME\" to name the pools it uses"),
            Self::HostNetwork => "with hostNetwork its listeners would be the node's".into(),
            Self::NameTaken => format!("a container named {CONTAINER} is there already; rename it"),
            Self::PortTaken(port) => {
                format!("a container declares port {port}, which the sidecar needs; move the app to another")
            }
            Self::Mirror => return None,
        };
        Some(format!("evenkeel: this pod gets no sidecar: {why}"))
    }
}

impl Injection {
    /// What the person who creates the pod is told.
    pub fn warnings(&self) -> Vec<String> {
        let excluded = self.excluded.iter().map(|excluded| format!("evenkeel: listener left out: {excluded}"));
        let missing =
            self.missing.iter().map(|pool| format!("evenkeel: pool {pool} isn't there yet; its listeners open once it is"));
        excluded.chain(missing).take(10).collect()
    }
}

/// Decides on a pod that is about to be created in `namespace`, whose pools are `pools`.
pub fn decide(pod: &Pod, namespace: &str, pools: &Pools) -> Decision {
    let spec = pod.spec.as_ref();
    if annotation(pod, MIRROR).is_some() {
        return Decision::Skip(Skip::Mirror);
    }
    let wanted = match annotation(pod, POOLS).map(|text| read_pools(text, namespace)) {
        None => return Decision::Skip(Skip::NoPools),
        Some(Err(refusal)) => return Decision::Refuse(refusal),
        Some(Ok(wanted)) if wanted.is_empty() => return Decision::Skip(Skip::NoPools),
        Some(Ok(wanted)) => wanted,
    };
    let tls_secret = match annotation(pod, TLS_SECRET).map(read_secret).transpose() {
        Ok(name) => name,
        Err(refusal) => return Decision::Refuse(refusal),
    };
    if spec.and_then(|spec| spec.host_network) == Some(true) {
        return Decision::Skip(Skip::HostNetwork);
    }
    if spec.is_some_and(|spec| spec.containers.iter().any(|container| container.name == CONTAINER)) {
        return Decision::Skip(Skip::NameTaken);
    }
    let container_ports = container_ports(spec);
    if let Some(port) = RESERVED_PORTS.into_iter().find(|port| container_ports.contains(&TransportPort::tcp(*port))) {
        return Decision::Skip(Skip::PortTaken(port));
    }
    Decision::Inject(Injection { tls_secret, ..plan(pod, namespace, pools, wanted, container_ports) })
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn read_pools(text: &str, namespace: &str) -> Result<BTreeSet<String>, Refusal> {
    let entries: Vec<_> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if entries.len() > MAX_POOLS {
        return Err(Refusal::TooMany(entries.len()));
    }
    let mut pools = BTreeSet::new();
    for entry in entries {
        let full = if entry.contains('/') { entry.to_owned() } else { format!("{namespace}/{entry}") };
        let all_own = full.strip_suffix("/*") == Some(namespace);
        if !all_own && full.parse::<PoolName>().is_err() {
            return Err(Refusal::Name(entry.chars().take(80).collect()));
        }
        pools.insert(full);
    }
    Ok(pools)
}

/// As Kubernetes names its objects.
fn read_secret(text: &str) -> Result<String, Refusal> {
    let name = text.trim();
    let is_name = name.len() <= 253 && is_dns_name(name);
    if is_name { Ok(name.into()) } else { Err(Refusal::Secret(name.chars().take(80).collect())) }
}

fn plan(
    pod: &Pod,
    namespace: &str,
    pools: &Pools,
    wanted: BTreeSet<String>,
    container_ports: BTreeSet<TransportPort>,
) -> Injection {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let all_own = wanted.contains(&format!("{namespace}/*"));
    let mut injection = Injection { exclude_ports: container_ports.clone(), ..Injection::default() };
    for (name, pool) in pools {
        if !all_own && !wanted.contains(&name.to_string()) {
            continue;
        }
        let own_endpoint = pool.selectors.iter().any(|selector| selects(selector, &labels));
        for (listener, port) in &pool.listeners {
            let collision = match (container_ports.contains(port), own_endpoint) {
                (true, _) => Collision::ContainerPort,
                (false, true) => Collision::OwnEndpoint,
                (false, false) => continue,
            };
            injection.exclude_ports.insert(*port);
            injection.excluded.push(Excluded { pool: name.clone(), listener: listener.clone(), port: *port, collision });
        }
    }
    let named = wanted.iter().filter_map(|entry| entry.parse::<PoolName>().ok());
    injection.missing = named.filter(|name| name.namespace == namespace && !pools.contains_key(name)).collect();
    injection.pools = wanted.into_iter().collect();
    injection
}

/// The ports of TCP and UDP that the pod's own containers declare.
fn container_ports(spec: Option<&PodSpec>) -> BTreeSet<TransportPort> {
    let own = |container: &&Container| container.name != CONTAINER;
    let containers = spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let ports = containers.filter(own).flat_map(|container| container.ports.iter().flatten());
    let known = ports.filter_map(|port| {
        let number = u16::try_from(port.container_port).ok()?;
        match port.protocol.as_deref() {
            None | Some("TCP") => Some(TransportPort::tcp(number)),
            Some("UDP") => Some(TransportPort::udp(number)),
            Some(_) => None,
        }
    });
    known.collect()
}

/// A Service without a selector selects nothing.
fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}
