//! The little that the operator keeps of each object, read once at the edge: an object that makes no sense yields no
//! fact, never an error later. No IO here.

use evenkeel_plan::Mode;
use evenkeel_plan::address::refusal;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::fmt;
use std::net::IpAddr;

/// The label that names a slice's Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Names one object of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace; empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Of an object from the API server, which always has a name.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A Service's TCP ports and which family it prefers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its TCP ports.
    pub ports: Vec<NamedPort>,
    /// The first of its families.
    pub primary: Option<Family>,
    /// It only stands for a DNS name and has no endpoints.
    pub external: bool,
}

/// A port with its name, which is empty for the only port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// Its number.
    pub port: u16,
}

impl NamedPort {
    /// A TCP port; `None` for anything else.
    fn read(name: Option<String>, port: Option<i32>, protocol: Option<&str>) -> Option<Self> {
        match (protocol.unwrap_or("TCP"), u16::try_from(port?)) {
            ("TCP", Ok(port)) if port > 0 => Some(Self { name: name.unwrap_or_default(), port }),
            _ => None,
        }
    }
}

impl From<core::Service> for Service {
    fn from(service: core::Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        let ports = spec.ports.unwrap_or_default().into_iter();
        Self {
            ports: ports.filter_map(|p| NamedPort::read(p.name, Some(p.port), p.protocol.as_deref())).collect(),
            primary: match spec.ip_families.unwrap_or_default().first().map(String::as_str) {
                Some("IPv4") => Some(Family::V4),
                Some("IPv6") => Some(Family::V6),
                _ => None,
            },
            external: spec.type_.as_deref() == Some("ExternalName"),
        }
    }
}

/// A part of a Service's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The Service, in the slice's own namespace.
    pub service: String,
    /// The ports of every endpoint in it.
    pub ports: Vec<NamedPort>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One endpoint as a slice tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// The zone, where known.
    pub zone: Option<String>,
    /// The node, where known.
    pub node: Option<String>,
    /// The pod behind it.
    pub pod: Option<PodRef>,
    /// Ready; nil means it is.
    pub ready: bool,
    /// Serving; nil means the same as ready.
    pub serving: bool,
    /// Terminating.
    pub terminating: bool,
}

/// A pod as a slice refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// Its name, in the slice's own namespace.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Slice {
    /// `None` for a slice of no Service, which no pool can name.
    pub fn read(slice: discovery::EndpointSlice) -> Option<Self> {
        let service = slice.metadata.labels?.remove(SERVICE_LABEL)?;
        let ports = slice.ports.unwrap_or_default().into_iter();
        Some(Self {
            service,
            ports: ports.filter_map(|p| NamedPort::read(p.name, p.port, p.protocol.as_deref())).collect(),
            endpoints: slice.endpoints.into_iter().filter_map(SliceEndpoint::read).collect(),
        })
    }
}

impl SliceEndpoint {
    /// `None` where the address is a DNS name, or one that no pool may use. Only the first address counts, as the API's
    /// documentation says.
    fn read(endpoint: discovery::Endpoint) -> Option<Self> {
        let address = endpoint.addresses.first()?.parse().ok()?;
        if refusal(address, Mode::Cluster).is_some() {
            return None;
        }
        let conditions = endpoint.conditions.unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        Some(Self {
            address,
            zone: endpoint.zone,
            node: endpoint.node_name,
            pod: endpoint.target_ref.and_then(|target| match target.kind {
                Some(kind) if kind == "Pod" => Some(PodRef { name: target.name?, uid: target.uid? }),
                _ => None,
            }),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
        })
    }
}

/// What a pod's metadata says before any slice does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its UID.
    pub uid: String,
    /// A StatefulSet owns it: its successor has the same name.
    pub stateful: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
}

impl From<ObjectMeta> for Pod {
    fn from(meta: ObjectMeta) -> Self {
        let owners = meta.owner_references.unwrap_or_default();
        Self {
            uid: meta.uid.unwrap_or_default(),
            stateful: owners.iter().any(|o| o.controller == Some(true) && o.kind == "StatefulSet"),
            terminating: meta.deletion_timestamp.is_some(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(endpoint: Value) -> Slice {
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "a", "namespace": "shop", "labels": {SERVICE_LABEL: "cart"}},
            "endpoints": [endpoint],
            "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "none"}],
        });
        Slice::read(serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn nil_ready_is_ready_and_nil_serving_is_as_ready() {
        let bare = &slice(json!({"addresses": ["10.0.0.1"]})).endpoints[0];
        assert!(bare.ready && bare.serving && !bare.terminating);
        let conditions = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": false}});
        let unready = &slice(conditions).endpoints[0];
        assert!(!unready.ready && !unready.serving);
    }

    #[test]
    fn only_tcp_ports_with_a_number_and_ip_addresses_are_kept() {
        let read = slice(json!({"addresses": ["db.example.org"]}));
        assert!(read.endpoints.is_empty());
        assert_eq!(read.ports.len(), 1);
        assert_eq!(read.ports[0].port, 8080);
    }

    #[test]
    fn a_slice_of_no_service_yields_nothing() {
        let object = json!({"addressType": "IPv4", "endpoints": [], "metadata": {"name": "a"}});
        assert_eq!(Slice::read(serde_json::from_value(object).unwrap()), None);
    }
}
