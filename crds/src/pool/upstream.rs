//! How endpoints are spoken to. Types only.

use crate::bounds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How endpoints are spoken to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstream {
    /// The version of HTTP.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// TLS begins here; absent: it isn't spoken. Active checks don't speak it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// A PROXY header of this version goes first on each connection, which then serves one client connection alone; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
}

/// The version of HTTP that endpoints are spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpstreamProtocol {
    /// gRPC as HTTP/2; with `tls` whatever the endpoint chooses (ALPN); all else as HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 for all requests.
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2 for all requests, without `tls` by prior knowledge.
    #[serde(rename = "HTTP2")]
    Http2,
}

/// TLS to endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name that is asked for (SNI) and verified. `Full` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = bounds::HOST_LENGTH.min, max = bounds::HOST_LENGTH.max), regex(pattern = bounds::DNS_NAME_PATTERN)
    )]
    pub hostname: Option<String>,
    /// The authorities that are believed, PEM, a file of the sidecar's own file system; absent: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = bounds::FILE_LENGTH.min, max = bounds::FILE_LENGTH.max), regex(pattern = bounds::FILE_PATTERN))]
    pub ca_file: Option<String>,
    /// What is verified of an endpoint's certificate.
    #[serde(default)]
    pub verification: Verification,
}

// Not `Off`, which readers of YAML 1.1 take for `false`.
/// What is verified of an endpoint's certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verification {
    /// Its chain and its name.
    #[default]
    Full,
    /// Its chain; any name will do.
    ChainOnly,
    /// Nothing: encrypted, but anyone may be at the other end.
    None,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}
