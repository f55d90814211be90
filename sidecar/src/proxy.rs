//! The data path: accept → match → pool → pick → connect → forward → record. Everything before connect is pure.
//! Here: accept and match.

pub(crate) mod age;
mod announced;
pub(crate) mod attempt;
pub(crate) mod capacity;
#[cfg(test)]
mod fixture;
pub(crate) mod flag;
pub(crate) mod http;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod tcp;
pub(crate) mod turned_away;
pub(crate) mod udp;

use crate::listen::{Slot, Slots};
use crate::proxy::turned_away::Caller;
use crate::proxy_protocol::Addresses;
use crate::stream::{Stream, reset};
use crate::table::PoolEntry;
use crate::tls::{self, Offer};
use crate::worker::Worker;
use evenkeel_wire::Protocol;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The pauses of a listener that has no descriptors left: doubling from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accepts for as long as the port is open. Each connection takes a slot of its port and one of the process; without them,
/// and without descriptors, clients wait in the backlog.
pub(crate) async fn accept(worker: Rc<Worker>, listener: TcpListener, port: u16, slots: Slots) {
    let mut pause = PAUSE.0;
    while let Some(slot) = slots.of_port().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE.0;
                // Only now: a listener that waits for clients must not keep a slot from the other ports.
                let Some(slot) = slots.of_process(slot, port).await else { return };
                tokio::task::spawn_local(serve(worker.clone(), stream, peer, port, slot));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if pause == PAUSE.0 {
                    tracing::warn!(port, %error, "cannot accept; clients wait until resources are free");
                }
                drop(slot);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// The client went away before it was accepted: nothing to do with the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}

async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, port: u16, _slot: Slot) {
    let _open = worker.lifecycle().enter();
    let _ = stream.set_nodelay(true);
    if let Some((stream, caller, pool)) = find_http(&worker, stream, peer, port).await {
        http::serve(worker, stream, caller, pool).await;
    }
}

/// Up to where HTTP begins; connections that carry something else are served here. What not every connection comes to is boxed,
/// else each of them would set its place aside.
async fn find_http(
    worker: &Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    port: u16,
) -> Option<(Stream, Caller, Arc<PoolEntry>)> {
    // The port may have closed between accept and here: then the connection ends as if refused.
    let Some(route) = worker.table().route(port).cloned() else {
        reset(&stream);
        return None;
    };
    let destination = stream.local_addr().ok()?;
    let own = Addresses { source: peer, destination };
    let addresses = match &route.listener.proxy_protocol {
        None => own,
        Some(asked) => match Box::pin(announced::receive(worker, &stream, own, asked)).await {
            Ok(addresses) => addresses,
            Err(announced::Refused { reason, detail }) => {
                turned_away::note(worker, &route.pool, Caller { port, peer, destination }, reason, detail);
                reset(&stream);
                return None;
            }
        },
    };
    let Addresses { source: peer, destination } = addresses;
    let caller = Caller { port, peer, destination };
    if route.listener.protocol == Protocol::Tls {
        let (stream, pool) = Box::pin(tls::find_pool(worker, &route.pool, stream, caller)).await?;
        Box::pin(tcp::serve(worker.clone(), stream.into(), addresses, pool, Offer::Tls)).await;
        return None;
    }
    let mut stream = match (&route.listener.tls, &route.acceptor) {
        (None, _) => Stream::Plain(stream),
        (Some(_), Some(acceptor)) => Stream::Tls(Box::pin(tls::accept(worker, &route.pool, acceptor, stream, caller)).await?),
        // A port where TLS ends is never served without.
        (Some(_), None) => {
            reset(&stream);
            return None;
        }
    };
    match route.listener.protocol {
        Protocol::Http => return Some((stream, caller, route.pool)),
        Protocol::Tcp => Box::pin(tcp::serve(worker.clone(), stream, addresses, route.pool, Offer::Nothing)).await,
        Protocol::Tls | Protocol::Udp => stream.abort(),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Shared;
    use evenkeel_wire::{Listener, Policy, ProxyProtocolIn, ProxyVersion};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;

    /// On one thread, as a worker does.
    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.expect("a runtime").block_on(test);
    }

    /// A port that leads nowhere, and a client that has connected to it.
    async fn begin(slots: Slots) -> TcpStream {
        let shared = Shared { table: Arc::default(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::task::spawn_local(accept(Rc::new(Worker::new(0, shared, 7)), listener, address.port(), slots));
        TcpStream::connect(address).await.expect("connects")
    }

    /// A port of a pool with one endpoint; its listener takes PROXY headers from loopback, and its endpoint is sent them.
    async fn begin_announcing(protocol: Protocol, sent: ProxyVersion) -> (TcpListener, std::net::SocketAddr) {
        let (server, listener) = tokio::join!(TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
        let (server, listener) = (server.expect("a free port"), listener.expect("a free port"));
        let address = listener.local_addr().expect("an address");
        let trusted = vec!["127.0.0.0/8".parse().expect("a network")];
        let listens =
            Listener { proxy_protocol: Some(ProxyProtocolIn { trusted }), ..Listener::new("a", address.port(), protocol) };
        let mut policy = Policy { listeners: vec![listens], ..crate::control::tests::policy() };
        policy.upstream.proxy_protocol = Some(sent);
        let fixture = fixture::Fixture::new(policy, &[server.local_addr().expect("an address")]);
        let slots = Slots::new(Arc::new(Semaphore::new(9)));
        tokio::task::spawn_local(accept(Rc::new(fixture.worker()), listener, address.port(), slots));
        (server, address)
    }

    const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";

    #[test]
    fn whose_connection_it_is_comes_first_and_is_passed_on_first() {
        run(async {
            let (server, address) = begin_announcing(Protocol::Tcp, ProxyVersion::V1).await;
            let _client = announced(address, LINE, "hello").await;
            let (mut upstream, _) = server.accept().await.expect("a connection");
            expect(&mut upstream, &format!("{LINE}hello")).await;
        });
    }

    /// A client that has been announced as this one, and what it says.
    async fn announced(address: std::net::SocketAddr, line: &str, said: &str) -> TcpStream {
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(format!("{line}{said}").as_bytes()).await.expect("is sent");
        client
    }

    async fn expect(stream: &mut TcpStream, text: &str) {
        let mut read = vec![0; text.len()];
        stream.read_exact(&mut read).await.expect("all of it");
        assert_eq!(String::from_utf8_lossy(&read), text);
    }

    #[test]
    fn an_upstream_connection_that_was_told_whose_it_is_serves_that_client_alone() {
        run(async {
            let (get, ok) = ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            let other = LINE.replace("192.0.2.1", "192.0.2.9");
            let (server, address) = begin_announcing(Protocol::Http, ProxyVersion::V1).await;
            let mut first = announced(address, LINE, get).await;
            let (mut of_first, _) = server.accept().await.expect("a connection");
            expect(&mut of_first, &format!("{LINE}{get}")).await;
            of_first.write_all(ok.as_bytes()).await.expect("is sent");
            expect(&mut first, ok).await;
            let mut second = announced(address, &other, get).await;
            let (mut of_second, _) = server.accept().await.expect("a connection of its own");
            expect(&mut of_second, &format!("{other}{get}")).await;
            of_second.write_all(ok.as_bytes()).await.expect("is sent");
            expect(&mut second, ok).await;
            // The first one's next request finds its own connection again, without another header.
            first.write_all(get.as_bytes()).await.expect("is sent");
            expect(&mut of_first, get).await;
            of_first.write_all(ok.as_bytes()).await.expect("is sent");
            expect(&mut first, ok).await;
            drop(first);
            assert_eq!(of_first.read(&mut [0]).await.expect("its end"), 0, "it ends with its client");
        });
    }

    #[test]
    fn who_begins_without_the_header_that_is_asked_for_is_reset_and_counted() {
        run(async {
            let (server, address) = begin_announcing(Protocol::Tcp, ProxyVersion::V2).await;
            let mut client = TcpStream::connect(address).await.expect("connects");
            client.write_all(b"hello").await.expect("is sent");
            expect_reset(client).await;
            tokio::select! {
                biased;
                _ = server.accept() => panic!("an endpoint was bothered"),
                () = tokio::task::yield_now() => {}
            }
        });
    }

    async fn expect_reset(mut client: TcpStream) {
        let end = client.read(&mut [0]).await;
        assert_eq!(end.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn a_connection_that_no_route_takes_is_reset_as_if_refused() {
        run(async { expect_reset(begin(Slots::new(Arc::new(Semaphore::new(1)))).await).await });
    }

    #[test]
    fn a_connection_sets_little_aside() {
        run(async {
            let slots = Slots::new(Arc::new(Semaphore::new(1)));
            let slot = slots.of_port().await.expect("a slot");
            let slot = slots.of_process(slot, 1).await.expect("a slot");
            let shared = Shared { table: Arc::default(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("an address");
            let stream = TcpStream::connect(address).await.expect("connects");
            let task = serve(Rc::new(Worker::new(0, shared, 7)), stream, address, 1, slot);
            // Thousands wait at once; what few of them need is made when it is needed.
            assert!(size_of_val(&task) <= 2_784, "{} bytes", size_of_val(&task));
        });
    }

    #[test]
    fn who_comes_when_the_process_is_full_waits_for_a_slot() {
        run(async {
            let process = Arc::new(Semaphore::new(1));
            let taken = process.clone().acquire_owned().await.expect("a slot");
            let client = begin(Slots::new(process)).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(client.try_read(&mut [0]).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
            drop(taken);
            expect_reset(client).await;
        });
    }
}
