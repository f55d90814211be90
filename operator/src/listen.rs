//! Accepts connections, does TLS and serves a router on them: shared by feed and webhook. Bounded in connections, over all
//! and by address, in handshake time, in silence and in what one connection may hold; ends gracefully when told to.
//! Each request carries its [`Peer`].

mod activity;

use activity::{Activity, Counted};
use axum::Router;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADER_LIST: u32 = 32 * 1024;
const MAX_STREAMS: u32 = 32;
/// What a connection may send ahead of being read: with the most connections it must fit into the operator's memory.
const WINDOW: u32 = 256 * 1024;
/// A connection without a request ends after this. An API server keeps idle ones, and opens another when it needs one.
const IDLE: Duration = Duration::from_secs(30);
/// How long connections may take to end after the stop.
const GRACE: Duration = Duration::from_secs(10);

/// A port with TLS.
pub struct Listen {
    /// Where connections come in.
    pub listener: TcpListener,
    /// The certificate and the protocols on offer.
    pub tls: Arc<rustls::ServerConfig>,
    /// The most connections at once; others wait in the backlog.
    pub max_connections: usize,
    /// The most of one address, so that nobody takes them all.
    pub max_per_address: usize,
    /// HTTP/2 only, else HTTP/1.1 too.
    pub http2_only: bool,
    /// Turns true when it is time to end.
    pub stop: watch::Receiver<bool>,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Waits until told to stop, or until nobody is left who could tell.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves until told to stop, then until the last connection has ended, ten seconds at most.
pub async fn serve(listen: Listen, router: Router) {
    let Listen { listener, tls, max_connections, max_per_address, http2_only, mut stop } = listen;
    let slots = Arc::new(Semaphore::new(max_connections));
    let addresses = Arc::new(Addresses { most: max_per_address, counts: Mutex::default() });
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots, &addresses) => accepted,
            () = stopped(&mut stop) => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            let (_slot, address) = place;
            connection(stream, Peer(address.address), &acceptor, router, http2_only, stop).await;
        });
    }
    drop(listener);
    let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GRACE, slots.acquire_many(all)).await;
}

/// How many connections each address has.
struct Addresses {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<AddressGuard> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        (*count < self.most).then(|| {
            *count += 1;
            AddressGuard { addresses: self.clone(), address }
        })
    }
}

/// One connection of an address; leaves when dropped.
struct AddressGuard {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for AddressGuard {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What a connection holds while it lives.
type Place = (OwnedSemaphorePermit, AddressGuard);

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>, addresses: &Arc<Addresses>) -> Option<(TcpStream, Place)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => {
            let guard = addresses.enter(from.ip().to_canonical());
            if guard.is_none() {
                tracing::debug!(%from, "refused: {} connections are open from there", addresses.most);
            }
            Some((stream, (slot, guard?)))
        }
        Err(error) => {
            // Out of file descriptors, mostly: a pause instead of a spin.
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    acceptor: &TlsAcceptor,
    router: Router,
    http2_only: bool,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake took too long"),
    };
    let activity = Activity::default();
    let routes = TowerToHyperService::new(router);
    let service = service_fn(|mut request| {
        request.extensions_mut().insert(peer);
        let (busy, answer) = (activity.enter(), routes.call(request));
        async move { answer.await.map(|response| response.map(|body| Counted::new(body, busy))) }
    });
    let builder = builder(http2_only);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = stopped(&mut stop) => None,
        () = activity.idle(IDLE) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn builder(http2_only: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADER_LIST);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    if http2_only { builder.http2_only() } else { builder }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::certs::Certs;
    use axum::Extension;
    use axum::routing::get;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use std::time::SystemTime;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn an_address_with_too_many_connections_shuts_out_itself_only() {
        let addresses = Arc::new(Addresses { most: 3, counts: Mutex::default() });
        let [greedy, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let mut guards: Vec<_> = (0..3).map(|_| addresses.enter(greedy).unwrap()).collect();
        assert!(addresses.enter(greedy).is_none());
        assert!(addresses.enter(other).is_some());
        guards.pop();
        assert!(addresses.enter(greedy).is_some());
        drop(guards);
        assert!(addresses.counts.lock().unwrap().is_empty());
    }

    /// A server with one route; the client's side of a connection that has done its handshake.
    async fn connected() -> (tokio_rustls::client::TlsStream<TcpStream>, watch::Sender<bool>) {
        let name = "evenkeel-operator.evenkeel-system.svc";
        let certs = Certs::make(vec![name.into()], SystemTime::now()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, stop) = watch::channel(false);
        let tls = certs.server_config(&["h2", "http/1.1"]).unwrap();
        let listen = Listen { listener, tls, max_connections: 2, max_per_address: 1, http2_only: false, stop };
        tokio::spawn(serve(listen, Router::new().route("/", get(async |Extension(Peer(peer))| peer.to_string()))));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certs.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        (connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap(), tell)
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_is_ended_and_leaves_its_place() {
        let (mut stream, _stop) = connected().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1_024];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..read]).ends_with("127.0.0.1"), "{answer:?}");
        let (mut silent, _stop) = connected().await;
        tokio::time::pause();
        let start = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(2 * IDLE, silent.read_to_end(&mut rest)).await.expect("it is ended");
        assert!((IDLE..=IDLE + GRACE).contains(&start.elapsed()), "{:?}", start.elapsed());
    }
}
