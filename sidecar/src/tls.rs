//! TLS on the data path: client connections that end here, connections to endpoints that begin here, and the stream that both
//! are once the handshake is done. What is made of files is made by the control plane, never here.

mod certificate;
mod client;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hello;
mod passthrough;
mod pool;
mod refusal;
mod server;
mod session;
mod stream;

pub(crate) use client::{Connector, TlsFailure};
pub(crate) use files::Files;
pub(crate) use passthrough::{Told, find_pool, refuse};
pub(crate) use pool::PoolTls;
pub(crate) use refusal::TlsRefusal;
pub(crate) use server::{Acceptor, accept};
pub(crate) use stream::{Alpn, TlsStream};

#[cfg(test)]
mod tests;

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// What is said to be spoken inside (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP of whatever version the other side chooses.
    Http,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
    /// It isn't known, and nothing is said.
    Nothing,
    /// It is TLS already, and none begins here.
    Tls,
}

impl Offer {
    /// The names of the protocols, the best first.
    fn alpn(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http => &[b"h2", b"http/1.1"],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Nothing | Self::Tls => &[],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// The one implementation of ciphers.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}
