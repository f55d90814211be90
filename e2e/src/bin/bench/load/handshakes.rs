//! TLS 1.3 connections one after the other, X25519 alone, each with a whole handshake and one request. The certificate is
//! verified against itself.

use super::client::Seen;
use super::paced::read_answer;
use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned};
use std::io::{Error, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// What every connection is made with.
pub(super) fn config(certificate: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).context("the bench's certificate")?)?;
    let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// One thread's part.
pub(super) fn run(config: &Arc<ClientConfig>, port: u16, seconds: u64) -> Seen {
    let mut seen = Seen::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let begun = Instant::now();
        if begun >= end {
            return seen;
        }
        match exchange(config, port) {
            Ok(bytes) => {
                seen.took_us.push(begun.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
                seen.bytes += bytes as u64;
            }
            Err(_) => seen.failed += 1,
        }
    }
}

fn exchange(config: &Arc<ClientConfig>, port: u16) -> Result<usize, Error> {
    let name = ServerName::try_from("localhost").map_err(Error::other)?;
    let connection = ClientConnection::new(config.clone(), name).map_err(Error::other)?;
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(REQUEST)?;
    let bytes = read_answer(&mut stream)?;
    let connection = &stream.conn;
    let whole = connection.handshake_kind() == Some(HandshakeKind::Full);
    if !whole || connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Err(Error::other("not a whole handshake of TLS 1.3"));
    }
    Ok(bytes)
}
