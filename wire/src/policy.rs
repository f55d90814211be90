//! A pool's policy as a sidecar needs it: compiled from the spec, defaults filled in, nothing optional that has a default.
//! Durations are whole milliseconds, percentages whole percents.

use crate::limits::{ClientConnections, Limits, Timeouts};
use crate::listener::Listener;
use crate::upstream::Upstream;
use serde::{Deserialize, Serialize};

/// Everything a sidecar must know of a pool besides its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Features ([`feature`]) that a reader must know to serve this pool; one it doesn't know is a `nack`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// The generation of the resource that this was compiled from.
    #[serde(default)]
    pub generation: i64,
    /// Where the sidecar listens, on loopback.
    pub listeners: Vec<Listener>,
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// How an endpoint that has just become ready is spared; absent: it isn't. A reader that doesn't know it serves the pool well
    /// enough, so it is no required feature; nor are the next two (ADR 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// Endpoints of the reader's own zone are preferred.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zone_aware: bool,
    /// The reader uses a part of the endpoints; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Active checks; in the cluster the operator runs them, a sidecar only when its feed is stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCheck>,
    /// Passive ejection; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<PassiveCheck>,
    /// Below this percentage of usable endpoints all are used; exactly at it, not. 0: never.
    pub panic_threshold: u8,
    /// When a request may be tried again.
    pub retry: Retry,
    /// The longest a connect may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How endpoints are spoken to.
    #[serde(default, skip_serializing_if = "Upstream::is_default")]
    pub upstream: Upstream,
    /// When a client's connection has served long enough.
    #[serde(default, skip_serializing_if = "ClientConnections::is_default")]
    pub client_connections: ClientConnections,
    /// What may be in use at once.
    #[serde(default)]
    pub limits: Limits,
    /// How long the rest may take.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// What a reader must know where it is named in [`Policy::requires`]: without it, requests would go where they must not.
pub mod feature {
    /// [`crate::Endpoint::priority`]: to one that doesn't know it, backups are endpoints like any other.
    pub const PRIORITY: &str = "priority";
    /// [`crate::Listener::tls`]: to one that doesn't know it, the port would speak in the clear.
    pub const LISTENER_TLS: &str = "listenerTls";
    /// [`crate::Listener::proxy_protocol`]: anyone could connect, and the header would go upstream as bytes.
    pub const LISTENER_PROXY_PROTOCOL: &str = "listenerProxyProtocol";
    /// [`crate::Upstream::tls`]: requests would go in the clear.
    pub const UPSTREAM_TLS: &str = "upstreamTls";
    /// [`crate::Upstream::proxy_protocol`]: an endpoint would take the sidecar for the client.
    pub const UPSTREAM_PROXY_PROTOCOL: &str = "upstreamProxyProtocol";
    /// All that this version knows.
    pub const KNOWN: [&str; 5] = [PRIORITY, LISTENER_TLS, LISTENER_PROXY_PROTOCOL, UPSTREAM_TLS, UPSTREAM_PROXY_PROTOCOL];
}

/// A part of its weight for an endpoint that has just become ready, which grows to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowStart {
    /// How long it grows, in milliseconds.
    pub window_ms: u64,
    /// Percent of the weight at the beginning, 1 to 100.
    pub min_weight_percent: u8,
}

/// A part of the endpoints for each reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// How many endpoints one reader uses.
    pub size: u32,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Algorithm {
    /// In turn, by weight.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The least in-flight per weight among `choice_count` distinct draws; 0: among all.
    LeastConnections {
        /// Distinct draws; 0 means all.
        choice_count: u32,
    },
    /// The least response time × (in-flight + 1) per weight among `choice_count` distinct draws; 0: among all.
    LeastResponseTime {
        /// Distinct draws; 0 means all.
        choice_count: u32,
    },
    /// In turn, by weight ÷ mean response time.
    ResponseTimeWeighted,
    /// The least expected work in flight per weight among `choice_count` distinct draws; 0: among all.
    LeastCost {
        /// Distinct draws; 0 means all.
        choice_count: u32,
        /// Which requests are expected to cost the same.
        class: CostClass,
    },
    /// The owner of the request's key; a request without a key goes to the least loaded of two.
    ConsistentHash {
        /// The table that owns the keys.
        table: Table,
        /// Where the key comes from: the first that is present.
        keys: Vec<HashKey>,
        /// Bounded load, percent of the mean, ≥ 100; absent: off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash_balance_factor: Option<u32>,
    },
}

/// Which requests are expected to cost the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum CostClass {
    /// Those of one method and beginning of the path.
    Route {
        /// How many segments of the path count.
        segments: u32,
    },
    /// Those whose Content-Length is the same to the next power of two.
    BodyLength,
}

/// The consistent table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Table {
    /// A ring of points.
    Ring {
        /// Points of an endpoint of weight 100.
        virtual_nodes: u32,
    },
    /// A table of slots.
    Maglev {
        /// Slots; a prime.
        size: u32,
    },
    /// Highest random weight.
    Rendezvous,
}

/// Where a request's key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum HashKey {
    /// The value of a request header; its name is lower case here.
    Header {
        /// The header's name, lower case.
        name: String,
    },
    /// The client's address.
    #[serde(rename = "SourceIP")]
    SourceIp,
}

/// An active check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// From the start of one check to the next, before jitter, in milliseconds.
    pub interval_ms: u64,
    /// The longest one check may take, in milliseconds.
    pub timeout_ms: u64,
    /// Failures in a row that take an endpoint out.
    pub unhealthy_threshold: u32,
    /// Successes in a row that bring it back.
    pub healthy_threshold: u32,
}

/// What an active check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum CheckKind {
    /// A connect.
    #[serde(rename = "TCP")]
    Tcp,
    /// A GET whose status is in one of the ranges.
    #[serde(rename = "HTTP")]
    Http {
        /// The request target, starting with `/`.
        path: String,
        /// The Host header; absent: the endpoint's address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Good statuses.
        expected: Vec<StatusRange>,
    },
}

/// Statuses from `start` to `end`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusRange {
    /// The first status.
    pub start: u16,
    /// The last status.
    pub end: u16,
}

/// Passive ejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassiveCheck {
    /// Errors in a row, within the window, that eject.
    pub consecutive_errors: u32,
    /// How long a row of errors may take, in milliseconds.
    pub window_ms: u64,
    /// The first ejection lasts this long, each further one twice as long, in milliseconds.
    pub base_ejection_ms: u64,
    /// The longest ejection, in milliseconds.
    pub max_ejection_ms: u64,
    /// The most of the pool that may be ejected at once, in percent.
    pub max_ejection_percent: u8,
}

/// When a request may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Further attempts, each on another endpoint.
    pub max_retries: u32,
    /// What may be retried.
    pub on: Vec<RetryOn>,
}

/// What may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryOn {
    /// The connect failed: another endpoint.
    ConnectFailure,
    /// The connection ended before the first byte of the answer: a request without body and of an idempotent method goes once
    /// more, on a new connection to the same endpoint.
    StaleConnection,
}
