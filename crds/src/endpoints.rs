//! `BalancerEndpoints`: a pool's list as people and scripts read it. Written on transitions; nobody's data path watches it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most endpoints that one object lists.
pub const MAX_ENDPOINTS: usize = 100;

/// A part of one pool's list; at most [`MAX_ENDPOINTS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsSpec {
    /// The pool.
    pub pool: String,
    /// The endpoints, by id.
    #[schemars(length(max = 100))]
    pub endpoints: Vec<ListedEndpoint>,
    /// `usable/listed`, for the eye.
    #[serde(default)]
    pub summary: String,
}

/// One endpoint with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedEndpoint {
    /// Pod UID and port, else address and port.
    pub id: String,
    /// What the consistent table hashes.
    pub ring_key: String,
    /// The address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Percent of a normal endpoint.
    pub weight: u16,
    /// Its source's priority; absent: 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub priority: u8,
    /// The zone, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The node, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The pod behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Whether it is used.
    pub state: EndpointState,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
}

fn is_first(priority: &u8) -> bool {
    *priority == 0
}

/// The pod behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetRef {
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
}

/// Whether an endpoint is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EndpointState {
    /// Used.
    Usable,
    /// Terminating, still serving: no new work.
    Draining,
    /// Kubernetes says it isn't ready.
    NotReady,
    /// Its checks fail.
    Down,
}
