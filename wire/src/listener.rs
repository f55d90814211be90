//! A listener as a sidecar needs it: its port, what is spoken on it, and what a connection must bring. Defaults are filled in
//! by whoever compiles; those of [`Default`] are for frames that were written before a field was there.

use crate::cidr::Cidr;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One port on the sidecar's loopback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// The listener's name in the pool.
    pub name: String,
    /// The port.
    pub port: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// TLS ends here; HTTP and TCP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Each connection begins with a PROXY header; not UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocolIn>,
    /// The server names that are led to this pool: lower case, the first label may be `*`; TLS only, where there is at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// UDP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<UdpSettings>,
}

impl Listener {
    /// One that asks nothing of a connection.
    pub fn new(name: impl Into<String>, port: u16, protocol: Protocol) -> Self {
        Self { name: name.into(), port, protocol, tls: None, proxy_protocol: None, hostnames: Vec::new(), udp: None }
    }

    /// Where it listens.
    pub fn transport_port(&self) -> TransportPort {
        TransportPort { number: self.port, transport: self.protocol.transport() }
    }
}

impl Protocol {
    /// What carries it.
    pub fn transport(self) -> Transport {
        match self {
            Self::Http | Self::Tcp | Self::Tls => Transport::Tcp,
            Self::Udp => Transport::Udp,
        }
    }
}

/// What carries a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of one transport: those of TCP and of UDP are apart. Written `18080`, `5353/UDP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportPort {
    /// Its number.
    pub number: u16,
    /// Its transport.
    pub transport: Transport,
}

impl TransportPort {
    /// A port of TCP.
    pub const fn tcp(number: u16) -> Self {
        Self { number, transport: Transport::Tcp }
    }

    /// A port of UDP.
    pub const fn udp(number: u16) -> Self {
        Self { number, transport: Transport::Udp }
    }
}

impl fmt::Display for TransportPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Tcp => write!(f, "{}", self.number),
            Transport::Udp => write!(f, "{}/UDP", self.number),
        }
    }
}

impl FromStr for TransportPort {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.strip_suffix("/UDP") {
            Some(number) => number.parse().map(Self::udp),
            None => s.strip_suffix("/TCP").unwrap_or(s).parse().map(Self::tcp),
        }
    }
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.0, 1.1 and 2, told apart by their first bytes; balanced per request.
    #[serde(rename = "HTTP")]
    Http,
    /// Bytes, balanced per connection.
    #[serde(rename = "TCP")]
    Tcp,
    /// Datagrams, balanced per session.
    #[serde(rename = "UDP")]
    Udp,
    /// TLS that is passed through, by the name that the client asks for; balanced per connection.
    #[serde(rename = "TLS")]
    Tls,
}

/// How TLS ends at a listener. Paths are of the sidecar's own file system; the files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// The certificate and its chain, PEM.
    pub certificate_file: String,
    /// Its key, PEM.
    pub key_file: String,
    /// The oldest version that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Each connection begins with a PROXY header, version 1 or 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocolIn {
    /// Who may connect, and is believed; at least one.
    pub trusted: Vec<Cidr>,
}

/// The sessions of a UDP listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UdpSettings {
    /// A session without a datagram for so long ends, in milliseconds.
    pub idle_timeout_ms: u64,
    /// The most sessions of one source address at once.
    pub max_sessions_per_source: u32,
}

impl Default for UdpSettings {
    fn default() -> Self {
        Self { idle_timeout_ms: 60_000, max_sessions_per_source: 100 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_two_transports_are_told_apart_in_writing() {
        for (text, port) in [("18080", TransportPort::tcp(18_080)), ("5353/UDP", TransportPort::udp(5353))] {
            assert_eq!((text.parse(), port.to_string().as_str()), (Ok(port), text));
        }
        assert_eq!("5353/TCP".parse(), Ok(TransportPort::tcp(5353)));
        for text in ["", "/UDP", "5353/udp", "5353/SCTP", "70000", "-1"] {
            assert!(text.parse::<TransportPort>().is_err(), "{text}");
        }
    }
}
