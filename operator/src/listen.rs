//! Accepts connections, does TLS and serves a router on them: shared by feed and webhook. Bounded in connections, over all
//! and by address, in handshake time and in what one connection may hold; ends gracefully when told to.

use axum::Router;
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
/// A pod needs one, a node behind which pods hide some; nobody may take them all.
const MAX_PER_ADDRESS: usize = 256;
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
    /// HTTP/2 only, else HTTP/1.1 too.
    pub http2_only: bool,
    /// Turns true when it is time to end.
    pub stop: watch::Receiver<bool>,
}

/// Waits until told to stop, or until nobody is left who could tell.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves until told to stop, then until the last connection has ended, ten seconds at most.
pub async fn serve(listen: Listen, router: Router) {
    let Listen { listener, tls, max_connections, http2_only, mut stop } = listen;
    let slots = Arc::new(Semaphore::new(max_connections));
    let addresses = Arc::new(Addresses::default());
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots, &addresses) => accepted,
            () = stopped(&mut stop) => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            connection(stream, &acceptor, router, http2_only, stop).await;
        });
    }
    drop(listener);
    let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GRACE, slots.acquire_many(all)).await;
}

/// How many connections each address has.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<AddressGuard> {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_default();
        (*count < MAX_PER_ADDRESS).then(|| {
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
        let mut addresses = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
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
                tracing::debug!(%from, "refused: {MAX_PER_ADDRESS} connections are open from there");
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
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    if http2_only {
        builder = builder.http2_only();
    }
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopped(&mut stop) => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, served).await {
                Ok(ended) => ended,
                Err(_) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_too_many_connections_shuts_out_itself_only() {
        let addresses = Arc::new(Addresses::default());
        let [greedy, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let mut guards: Vec<_> = (0..MAX_PER_ADDRESS).map(|_| addresses.enter(greedy).unwrap()).collect();
        assert!(addresses.enter(greedy).is_none());
        assert!(addresses.enter(other).is_some());
        guards.pop();
        assert!(addresses.enter(greedy).is_some());
        drop(guards);
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
