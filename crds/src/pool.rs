//! The spec of a `BalancerPool`. Words are those of Gateway API and Envoy Gateway where they have one; unions are told
//! apart by `type`; absent means the default. Unknown fields are refused. Types only: no decision is made here.

mod algorithm;
mod health;
mod limits;
mod listener;
mod source;
mod spread;
mod upstream;

pub use algorithm::{
    Algorithm, AlgorithmType, Choices, ConsistentHash, CostClass, CostClassType, CostRoute, HashKey, HashKeyType, HashTable,
    HashTableType, HeaderKey, LeastCost, Maglev, Ring,
};
pub use health::{ActiveCheck, ActiveCheckType, HealthCheck, HttpCheck, PassiveCheck, StatusRange};
pub use limits::{ClientConnections, Limits, Timeouts};
pub use listener::{Listener, ListenerTls, Protocol, ProxyProtocol, TlsVersion, Udp};
pub use source::{PortRef, ServiceSource, Source, StaticEndpoint, StaticSource};
pub use spread::{SlowStart, Subsetting, ZoneAware};
pub use upstream::{ProxyVersion, Upstream, UpstreamProtocol, UpstreamTls, Verification};

use crate::bounds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A set of endpoints and how requests are spread over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// Where each sidecar that asks for the pool listens, on loopback.
    #[serde(default)]
    #[schemars(length(max = bounds::LISTENERS.max))]
    pub listeners: Vec<Listener>,
    /// Whose pods may use the pool.
    #[serde(default)]
    pub consumers: Consumers,
    /// Where the endpoints come from. The earlier source wins when two name the same endpoint.
    #[schemars(length(min = bounds::SOURCES.min, max = bounds::SOURCES.max))]
    pub sources: Vec<Source>,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How an endpoint that has just become ready is spared; absent: it isn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// Prefer endpoints of the caller's own zone; absent: zones don't count. Not with `ConsistentHash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_aware: Option<ZoneAware>,
    /// Let each sidecar use a part of the endpoints; absent: all. Not with `ConsistentHash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsetting: Option<Subsetting>,
    /// How sick endpoints are found.
    #[serde(default)]
    pub health_check: HealthCheck,
    /// When a request may be tried again.
    #[serde(default)]
    pub retry: Retry,
    /// How endpoints are spoken to.
    #[serde(default)]
    pub upstream: Upstream,
    /// When a client's connection has served long enough.
    #[serde(default)]
    pub client_connections: ClientConnections,
    /// What may be in use at once, in each sidecar.
    #[serde(default)]
    pub limits: Limits,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// Whose pods may use the pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Consumers {
    /// The namespaces whose pods may use the pool.
    #[serde(default)]
    pub namespaces: ConsumerNamespaces,
}

/// The namespaces whose pods may use the pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerNamespaces {
    /// Which namespaces.
    #[serde(default)]
    pub from: FromNamespaces,
    /// With `Selector`: the labels that a namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Which namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromNamespaces {
    /// The pool's own.
    #[default]
    Same,
    /// All.
    All,
    /// Those whose labels match the selector.
    Selector,
}

/// The labels that a namespace must have, all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Label and value.
    #[schemars(extend("minProperties" = bounds::MATCH_LABELS.min, "maxProperties" = bounds::MATCH_LABELS.max))]
    pub match_labels: BTreeMap<String, String>,
}

/// When a request may be tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Further attempts, each on another endpoint.
    #[serde(default = "max_retries")]
    #[schemars(range(min = bounds::MAX_RETRIES.min, max = bounds::MAX_RETRIES.max))]
    pub max_retries: u32,
    /// What may be retried.
    #[serde(default = "retry_on")]
    #[schemars(length(max = bounds::RETRY_ON.max))]
    pub retry_on: Vec<RetryOn>,
}

fn max_retries() -> u32 {
    1
}

fn retry_on() -> Vec<RetryOn> {
    vec![RetryOn::ConnectFailure, RetryOn::StaleConnection]
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_retries: max_retries(), retry_on: retry_on() }
    }
}

/// What may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetryOn {
    /// The connect failed: another endpoint.
    ConnectFailure,
    /// The connection ended before the first byte of the answer: a request without body and of an idempotent method goes once
    /// more, on a new connection to the same endpoint.
    StaleConnection,
}
