//! TLS on the data path: client connections that end here, connections to endpoints that begin here, and the stream that both
//! are once the handshake is done. What is made of files is made by the control plane, never here.

#![allow(dead_code, unused_imports, reason = "the accept path and the connect path come to it with the listeners' settings")]

mod certificate;
mod client;
mod files;
mod pool;
mod refusal;
mod server;
mod session;
mod stream;

pub(crate) use client::{Connector, TlsFailure};
pub(crate) use files::{Files, Shown};
pub(crate) use pool::PoolTls;
pub(crate) use refusal::TlsRefusal;
pub(crate) use server::{Acceptor, HANDSHAKE_TIMEOUT, accept};
pub(crate) use stream::{Alpn, TlsStream};

#[cfg(test)]
mod tests;

use evenkeel_wire::UpstreamProtocol;
use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// What is spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// HTTP of whatever version the other side chooses.
    Http,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
    /// It isn't known, and nothing is offered.
    Bytes,
}

impl Kind {
    /// To endpoints.
    fn of(protocol: UpstreamProtocol) -> Self {
        match protocol {
            UpstreamProtocol::Auto => Self::Http,
            UpstreamProtocol::Http1 => Self::Http1,
            UpstreamProtocol::Http2 => Self::Http2,
        }
    }

    /// The names of the protocols, the best first.
    fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http => &[b"h2", b"http/1.1"],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Bytes => &[],
        }
    }
}

/// The one implementation of ciphers.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}
