//! Where a sidecar listens, what is spoken there, and what a connection must bring. Types only.

use crate::bounds;
use crate::duration::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A port on the loopback of each sidecar that asks for the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Its name in this pool.
    #[schemars(
        length(min = bounds::LABEL_LENGTH.min, max = bounds::LABEL_LENGTH.max), regex(pattern = bounds::LABEL_PATTERN)
    )]
    pub name: String,
    /// The port. One of UDP may have the number of another; pools may share one of `TLS` if their hostnames differ.
    #[schemars(range(min = bounds::LISTENER_PORT.min, max = bounds::LISTENER_PORT.max))]
    pub port: u16,
    /// What is spoken on it.
    #[serde(default)]
    pub protocol: Protocol,
    /// TLS ends here; absent: it isn't spoken. `HTTP` and `TCP` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Each connection begins with a PROXY header, version 1 or 2; absent: none may. Not with `UDP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The server names (SNI) that lead to this pool; a first label `*` stands for one label or more. `TLS` only, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = bounds::HOSTNAMES.min, max = bounds::HOSTNAMES.max),
        inner(length(min = bounds::HOST_LENGTH.min, max = bounds::HOST_LENGTH.max), regex(pattern = bounds::HOSTNAME_PATTERN))
    )]
    pub hostnames: Option<Vec<String>>,
    /// Settings of `UDP`; absent: its members' defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Udp>,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.0, 1.1 and 2, told apart by their first bytes; gRPC and WebSocket with them. Balanced per request.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// Bytes. Balanced per connection.
    #[serde(rename = "TCP")]
    Tcp,
    /// Datagrams. Balanced per session, which is a source's address and port.
    #[serde(rename = "UDP")]
    Udp,
    /// TLS that isn't ended here but passed through by the server name that is asked for. Balanced per connection.
    #[serde(rename = "TLS")]
    Tls,
}

/// How TLS ends here. The files are of the sidecar's own file system, and are read again when they change; what cannot be used
/// then is refused, and the one before stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// The certificate and its chain, PEM. In a pod the Secret of the annotation `evenkeel.dev/tls-secret` is in
    /// `/etc/evenkeel/tls`.
    #[schemars(length(min = bounds::FILE_LENGTH.min, max = bounds::FILE_LENGTH.max), regex(pattern = bounds::FILE_PATTERN))]
    pub certificate_file: String,
    /// Its key, PEM.
    #[schemars(length(min = bounds::FILE_LENGTH.min, max = bounds::FILE_LENGTH.max), regex(pattern = bounds::FILE_PATTERN))]
    pub key_file: String,
    /// The oldest version that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 alone.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Who tells of the client in a PROXY header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyProtocol {
    /// The networks that are believed, as `10.0.0.0/8`; who connects from elsewhere is turned away.
    #[schemars(
        length(min = bounds::TRUSTED.min, max = bounds::TRUSTED.max),
        inner(length(min = bounds::CIDR_LENGTH.min, max = bounds::CIDR_LENGTH.max), regex(pattern = bounds::CIDR_PATTERN))
    )]
    pub trusted: Vec<String>,
}

/// The sessions of a UDP listener: what comes from one address and port goes to one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Udp {
    /// A session without a datagram for so long ends.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Duration,
    /// The most sessions of one source address at once. One that has been silent for a second gives way to a new one; if none
    /// has, the datagram is dropped.
    #[serde(default = "max_sessions_per_source")]
    #[schemars(range(min = bounds::SESSIONS_PER_SOURCE.min, max = bounds::SESSIONS_PER_SOURCE.max))]
    pub max_sessions_per_source: u32,
}

fn idle_timeout() -> Duration {
    Duration::from_millis(60_000)
}

fn max_sessions_per_source() -> u32 {
    100
}

impl Default for Udp {
    fn default() -> Self {
        Self { idle_timeout: idle_timeout(), max_sessions_per_source: max_sessions_per_source() }
    }
}
