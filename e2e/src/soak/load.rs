//! All clients at once, each in a loop until the runtime ends, at a pace: what is asked is whether things stay, not how much goes.

use super::client::{self, LIMIT};
use super::http2::{Client, Exchange};
use super::stage::Ports;
use super::tally::{Kind, Tally};
use crate::echo::client::{Connection, tcp_exchange};
use crate::stand::process::local;
use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What clients know.
#[derive(Clone)]
pub struct Load {
    /// Where to.
    pub ports: Ports,
    /// What counts.
    pub tally: Arc<Tally>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// How many clients of a kind there are, and the pause of each between two exchanges.
const CLIENTS: [(Kind, usize, Duration); Kind::ALL.len()] = [
    (Kind::Kept, 16, Duration::from_millis(20)),
    (Kind::Single, 4, Duration::from_millis(20)),
    (Kind::Tls, 2, Duration::from_millis(50)),
    (Kind::Http2, 4, Duration::from_millis(50)),
    (Kind::Http2Tls, 2, Duration::from_millis(50)),
    (Kind::Grpc, 4, Duration::from_millis(50)),
    (Kind::WebSocket, 4, Duration::from_millis(50)),
    (Kind::Tcp, 4, Duration::from_millis(50)),
    (Kind::Udp, 4, Duration::from_millis(50)),
    (Kind::Hang, 2, Duration::from_millis(200)),
    (Kind::Cut, 2, Duration::from_millis(100)),
    (Kind::Vanish, 2, Duration::from_millis(100)),
    (Kind::Slow, 4, Duration::from_millis(100)),
];
/// Streams at once on a connection of HTTP/2.
const STREAMS: usize = 5;
/// Rounds on a connection of HTTP/1 or HTTP/2 before it is left.
const ROUNDS: u64 = 100;

impl Load {
    /// With a certificate that is its own authority.
    pub fn new(ports: Ports, tally: Arc<Tally>, certificate: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).context("the soak's certificate")?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let http1 = builder.with_root_certificates(roots).with_no_client_auth();
        let mut http2 = http1.clone();
        http2.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { ports, tally, http1: http1.into(), http2: http2.into() })
    }

    /// Spawns all clients.
    pub fn spawn(&self) {
        for (kind, clients, pause) in CLIENTS {
            for _ in 0..clients {
                tokio::spawn(self.clone().repeat(kind, pause));
            }
        }
    }

    async fn repeat(self, kind: Kind, pause: Duration) {
        let mut kept = Connection::new(local(self.ports.http).to_string());
        let mut http2 = None;
        for number in 0u64.. {
            if number % ROUNDS == 0 {
                (kept, http2) = (Connection::new(local(self.ports.http).to_string()), None);
            }
            if let Some(exchange) = over_http2(kind) {
                let good = timeout(LIMIT, self.streams(kind, exchange, &mut http2)).await;
                let good = good.ok().and_then(Result::ok);
                if good.is_none() {
                    http2 = None;
                }
                for stream in 0..STREAMS {
                    self.tally.add(kind, stream < good.unwrap_or(0));
                }
            } else {
                let good = timeout(LIMIT, self.once(kind, number, &mut kept)).await;
                self.tally.add(kind, matches!(good, Ok(Ok(()))));
            }
            tokio::time::sleep(pause).await; // the pace
        }
    }

    async fn streams(&self, kind: Kind, exchange: Exchange, client: &mut Option<Client>) -> Result<usize> {
        let client = match client {
            Some(client) => client,
            None => {
                let made = match kind {
                    Kind::Http2Tls => Client::over(client::tls(&self.http2, self.ports.https).await?, "https").await?,
                    Kind::Grpc => Client::over(connect(self.ports.grpc).await?, "http").await?,
                    _ => Client::over(connect(self.ports.http).await?, "http").await?,
                };
                client.insert(made)
            }
        };
        client.exchange(exchange, STREAMS).await
    }

    async fn once(&self, kind: Kind, number: u64, kept: &mut Connection) -> Result<()> {
        let Ports { odd, https, tcp, udp, .. } = self.ports;
        match kind {
            Kind::Kept => client::get(kept, true).await,
            Kind::Single => client::get(kept, false).await,
            Kind::Tls => {
                client::fetch(client::tls(&self.http1, https).await?, "/").await?.successful()?;
                Ok(())
            }
            Kind::WebSocket => client::web_socket(odd).await,
            Kind::Tcp => {
                tcp_exchange(&local(tcp).to_string(), &[b'x'; 3000], LIMIT).await?;
                Ok(())
            }
            Kind::Udp => client::datagram(udp).await,
            Kind::Hang => {
                let answer = client::fetch(connect(odd).await?, "/hang").await?;
                anyhow::ensure!(answer.status >= 500, "status {}", answer.status);
                Ok(())
            }
            Kind::Cut => {
                let answer = client::fetch(connect(odd).await?, "/cut").await;
                anyhow::ensure!(!answer.is_ok_and(|answer| answer.status == 200), "a cut answer looks whole");
                Ok(())
            }
            Kind::Vanish => client::vanish(odd, number.is_multiple_of(2)).await,
            Kind::Slow => client::sip(odd, number.is_multiple_of(2)).await,
            Kind::Http2 | Kind::Http2Tls | Kind::Grpc => unreachable!("these have streams"),
        }
    }
}

fn over_http2(kind: Kind) -> Option<Exchange> {
    match kind {
        Kind::Http2 | Kind::Http2Tls => Some(Exchange::Get),
        Kind::Grpc => Some(Exchange::Call),
        _ => None,
    }
}

async fn connect(port: u16) -> Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(local(port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
