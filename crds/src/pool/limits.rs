//! What may be in use at once, and how long things may take. Types only.

use crate::bounds;
use crate::duration::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a client's connection has served long enough, so that clients that stay for long are spread anew. It ends after the
/// request at hand: `Connection: close` in HTTP/1, GOAWAY in HTTP/2. `HTTP` only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientConnections {
    /// Its age, give or take a tenth by chance; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// Requests on it, give or take a tenth by chance; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::MAX_REQUESTS.min, max = bounds::MAX_REQUESTS.max))]
    pub max_requests: Option<u32>,
}

/// What may be in use at once, in each sidecar. A connection of TCP and a session of UDP count as a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Requests of one endpoint; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::PARALLEL.min, max = bounds::PARALLEL.max))]
    pub max_parallel_requests_per_endpoint: Option<u32>,
    /// Requests of the pool; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::PARALLEL.min, max = bounds::PARALLEL.max))]
    pub max_parallel_requests: Option<u32>,
    /// Connections to one endpoint; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::PARALLEL.min, max = bounds::PARALLEL.max))]
    pub max_connections_per_endpoint: Option<u32>,
    /// Connections to all endpoints; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::PARALLEL.min, max = bounds::PARALLEL.max))]
    pub max_connections: Option<u32>,
    /// Requests that wait for one of these; what comes beyond is answered 503 at once, or reset. 0: none waits. Not UDP.
    #[serde(default = "max_pending_requests")]
    #[schemars(range(min = bounds::PENDING.min, max = bounds::PENDING.max))]
    pub max_pending_requests: u32,
    /// The longest that one waits; then it is answered 503, or reset.
    #[serde(default = "pending_timeout")]
    pub pending_timeout: Duration,
}

fn max_pending_requests() -> u32 {
    100
}

fn pending_timeout() -> Duration {
    Duration::from_millis(1_000)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_parallel_requests_per_endpoint: None,
            max_parallel_requests: None,
            max_connections_per_endpoint: None,
            max_connections: None,
            max_pending_requests: max_pending_requests(),
            pending_timeout: pending_timeout(),
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// The longest a connect may take.
    #[serde(default = "connect")]
    pub connect: Duration,
    /// From the end of a request to the head of its answer.
    #[serde(default = "response_head")]
    pub response_head: Duration,
    /// A client's connection without a request ends after so long.
    #[serde(default = "idle")]
    pub idle: Duration,
    /// A whole request, waiting and retries included; absent: as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// A body or a connection of TCP on which nothing moves either way ends after so long; a gRPC call or a WebSocket doesn't.
    #[serde(default = "stream_idle")]
    pub stream_idle: Duration,
}

fn connect() -> Duration {
    Duration::from_millis(1_000)
}

fn response_head() -> Duration {
    Duration::from_millis(60_000)
}

fn idle() -> Duration {
    Duration::from_millis(60_000)
}

fn stream_idle() -> Duration {
    Duration::from_millis(300_000)
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: connect(), response_head: response_head(), idle: idle(), request: None, stream_idle: stream_idle() }
    }
}
