//! How endpoints are spoken to.

use serde::{Deserialize, Serialize};

/// How endpoints are spoken to; the default is what it was before this could be set: bytes as they come, no header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// The version of HTTP.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// TLS begins here; absent: it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// A PROXY header goes first on each connection, which then serves one client connection alone; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
}

impl Upstream {
    /// Whether it says nothing but the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The version of HTTP that endpoints are spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamProtocol {
    /// gRPC as HTTP/2; with TLS what ALPN chooses; all else as HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2, without TLS by prior knowledge.
    #[serde(rename = "HTTP2")]
    Http2,
}

/// TLS to endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// The name that is asked for and verified; always there with [`Verification::Full`]. Absent: no name is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The authorities that are believed, PEM, on the sidecar's own file system; absent: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// What is verified.
    #[serde(default)]
    pub verification: Verification,
}

/// What is verified of an endpoint's certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verification {
    /// Its chain and its name.
    #[default]
    Full,
    /// Its chain; any name will do.
    ChainOnly,
    /// Nothing: encrypted, but anyone may be at the other end.
    Off,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}
