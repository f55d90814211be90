//! One endpoint of a pool as the operator sees it. Its identity never changes meaning: another pod at the same address
//! is another endpoint.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// An endpoint with the operator's verdict. A sidecar may only use fewer than this allows (ADR 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Pod UID and port (`uid:port`), else `address:port`. Live state belongs to it.
    pub id: String,
    /// What the consistent table hashes: `namespace/name:port` of a StatefulSet's pod, else the id.
    pub ring_key: String,
    /// The address to connect to.
    pub address: IpAddr,
    /// The port to connect to.
    pub port: u16,
    /// Percent of a normal endpoint, 1 to 1000.
    pub weight: u16,
    /// The group that it is in, 0 to 7: a higher one is used only when too few of the lower ones are usable.
    #[serde(default, skip_serializing_if = "is_first")]
    pub priority: u8,
    /// The zone, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The node, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The pod behind it, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether it may be used.
    pub health: Health,
}

fn is_first(priority: &u8) -> bool {
    *priority == 0
}

/// The pod behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// The verdict on an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Health {
    /// Ready, and its checks pass or there are none.
    Usable,
    /// Terminating but still serving: no new work, unless nothing else is left; work in flight finishes.
    Draining,
    /// Kubernetes says it isn't ready: never used, not counted by the panic threshold, keeps its place in the tables.
    NotReady,
    /// Ready, but its active checks fail: not used, unless the pool panics.
    Down,
}
