//! What a pool may use at once, and for how long. Counts are per sidecar; an absent one is unlimited. Times are milliseconds.

use serde::{Deserialize, Serialize};

/// When a client's connection has served long enough; absent members: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConnections {
    /// Its age, give or take a tenth by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// Requests on it, give or take a tenth by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
}

impl ClientConnections {
    /// Whether nothing is limited.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What may be in use at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Requests of one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_requests_per_endpoint: Option<u32>,
    /// Requests of the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_requests: Option<u32>,
    /// Connections to one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections_per_endpoint: Option<u32>,
    /// Connections to all endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests that wait for one of the above.
    pub max_pending_requests: u32,
    /// The longest that one waits.
    pub pending_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_parallel_requests_per_endpoint: None,
            max_parallel_requests: None,
            max_connections_per_endpoint: None,
            max_connections: None,
            max_pending_requests: 100,
            pending_timeout_ms: 1_000,
        }
    }
}

/// How long things may take; a connect has its own field in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// From the whole request sent to the head of the answer.
    pub response_head_ms: u64,
    /// A client connection without a request.
    pub idle_ms: u64,
    /// The whole request, retries included; absent: as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_ms: Option<u64>,
    /// Nothing moves either way in a body or a connection of TCP; not in a gRPC call or a WebSocket.
    pub stream_idle_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { response_head_ms: 60_000, idle_ms: 60_000, request_ms: None, stream_idle_ms: 300_000 }
    }
}
