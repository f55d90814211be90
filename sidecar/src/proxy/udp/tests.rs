//! Sessions over real sockets: the test is client and endpoint at once.

use super::*;
use crate::metrics::Direction;
use crate::proxy::fixture::Fixture;
use crate::table::PoolEntry;
use evenkeel_balance::Ejection;
use evenkeel_wire::{Algorithm, HashKey, Listener as Listens, Policy, Protocol, Table, UdpSettings};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Longer than anything here takes; a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let tested = runtime.expect("a runtime").block_on(async { tokio::time::timeout(PATIENCE * 100, test()).await });
    tested.expect("the test hangs");
}

/// Waits without letting a clock that stands still move on: the kernel's word on a socket may come late.
async fn until(mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it never is so");
        tokio::task::yield_now().await;
    }
}

/// A client or an endpoint.
struct Peer(UdpSocket);

impl Peer {
    async fn new() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    async fn send(&self, to: SocketAddr, datagram: &[u8]) {
        assert_eq!(self.0.send_to(datagram, to).await.expect("is sent"), datagram.len());
    }

    /// The next datagram, and who sent it.
    async fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 65_536];
        let mut received = None;
        until(|| {
            received = self.0.try_recv_from(&mut buffer).ok();
            received.is_some()
        })
        .await;
        let (length, from) = received.expect("one came");
        buffer.truncate(length);
        (buffer, from)
    }

    fn has_nothing(&self) -> bool {
        self.0.try_recv(&mut [0; 16]).is_err()
    }
}

/// A listener of a pool.
struct Proxy {
    address: SocketAddr,
    fixture: Fixture,
    worker: Rc<Worker>,
    serving: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn start(endpoints: &[SocketAddr]) -> Self {
        Self::start_with(endpoints, UdpSettings::default(), Algorithm::RoundRobin).await
    }

    async fn start_with(endpoints: &[SocketAddr], udp: UdpSettings, algorithm: Algorithm) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("an address");
        let listens = Listens { udp: Some(udp), ..Listens::new("udp", address.port(), Protocol::Udp) };
        let policy = Policy { listeners: vec![listens], algorithm, ..crate::control::tests::policy() };
        let fixture = Fixture::new(policy, endpoints);
        let worker = Rc::new(fixture.worker());
        let places = Places::new(crate::listen::Slots::new(Arc::new(Semaphore::new(1000))));
        let serving = tokio::task::spawn_local(serve(worker.clone(), socket, address.port(), places, Arc::default()));
        Self { address, fixture, worker, serving }
    }

    fn pool(&self) -> Arc<PoolEntry> {
        self.fixture.pool()
    }

    fn in_flight(&self) -> u32 {
        self.pool().members().map(|member| member.endpoint().in_flight()).sum()
    }

    fn dropped(&self, reason: Dropped) -> u64 {
        self.pool().metrics().shard(0).dropped(reason)
    }

    /// A datagram there and its answer back.
    async fn exchange(&self, client: &Peer, endpoint: &Peer) {
        client.send(self.address, b"?").await;
        let (asked, session) = endpoint.receive().await;
        endpoint.send(session, b"!").await;
        assert_eq!((asked, client.receive().await), (b"?".to_vec(), (b"!".to_vec(), self.address)));
    }
}

#[test]
fn datagrams_of_any_length_pass_both_ways_whole_and_answers_come_from_the_listener() {
    run(async || {
        let (client, endpoint) = (Peer::new().await, Peer::new().await);
        let proxy = Proxy::start(&[endpoint.address()]).await;
        for length in [1, 0, 1472, 65_507] {
            let datagram: Vec<u8> = (0..length).map(|at: u32| (at * 7 % 251) as u8).collect();
            client.send(proxy.address, &datagram).await;
            let (there, session) = endpoint.receive().await;
            assert!(there == datagram, "{} of {length} bytes", there.len());
            endpoint.send(session, &datagram).await;
            let (back, from) = client.receive().await;
            assert!(back == datagram && from == proxy.address, "{} of {length} bytes from {from}", back.len());
        }
        let shard = proxy.pool();
        let shard = shard.metrics().shard(0);
        assert_eq!((shard.datagrams(Direction::Upstream), shard.datagrams(Direction::Downstream)), (4, 4));
    });
}

#[test]
fn each_source_has_a_session_of_its_own_and_keeps_its_endpoint() {
    run(async || {
        let (first, second, one, other) = (Peer::new().await, Peer::new().await, Peer::new().await, Peer::new().await);
        let proxy = Proxy::start(&[one.address(), other.address()]).await;
        let (mut sessions, mut seen) = ([None, None], 0);
        for _ in 0..3 {
            for (client, session) in [&first, &second].into_iter().zip(&mut sessions) {
                client.send(proxy.address, b"?").await;
                let mut came = None;
                let mut buffer = [0; 4];
                until(|| {
                    came = [&one, &other].into_iter().find_map(|endpoint| {
                        endpoint.0.try_recv_from(&mut buffer).ok().map(|(_, from)| (endpoint.address(), from))
                    });
                    came.is_some()
                })
                .await;
                assert_eq!(*session.get_or_insert(came), came, "another endpoint or another socket");
                seen += 1;
            }
        }
        assert_eq!((seen, proxy.in_flight()), (6, 2));
        assert_ne!(sessions[0].flatten().map(|(at, _)| at), sessions[1].flatten().map(|(at, _)| at), "in turn");
    });
}

#[test]
fn a_pool_that_hashes_sources_sends_all_sessions_of_one_to_one_endpoint() {
    run(async || {
        let endpoints = [Peer::new().await, Peer::new().await, Peer::new().await];
        let keys = vec![HashKey::SourceIp];
        let algorithm = Algorithm::ConsistentHash { table: Table::Ring { virtual_nodes: 10 }, keys, hash_balance_factor: None };
        let addresses: Vec<_> = endpoints.iter().map(Peer::address).collect();
        let proxy = Proxy::start_with(&addresses, UdpSettings::default(), algorithm).await;
        let clients = [Peer::new().await, Peer::new().await, Peer::new().await, Peer::new().await];
        for client in &clients {
            client.send(proxy.address, b"?").await;
        }
        until(|| proxy.in_flight() == 4).await;
        let pool = proxy.pool();
        assert_eq!(pool.members().map(|member| member.endpoint().in_flight()).max(), Some(4));
    });
}

#[test]
fn a_session_that_is_silent_for_the_idle_time_ends_and_datagrams_put_that_off() {
    run(async || {
        let (client, endpoint) = (Peer::new().await, Peer::new().await);
        let proxy = Proxy::start(&[endpoint.address()]).await;
        tokio::time::pause();
        for _ in 0..2 {
            proxy.exchange(&client, &endpoint).await;
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            assert_eq!(proxy.in_flight(), 1);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(proxy.in_flight(), 0);
        proxy.exchange(&client, &endpoint).await;
        assert_eq!(proxy.in_flight(), 1, "and begins anew");
    });
}

#[test]
fn once_the_process_is_told_to_stop_five_silent_seconds_end_a_session() {
    run(async || {
        let (client, endpoint) = (Peer::new().await, Peer::new().await);
        let proxy = Proxy::start(&[endpoint.address()]).await;
        tokio::time::pause();
        proxy.exchange(&client, &endpoint).await;
        let start = Instant::now();
        let drained = proxy.worker.lifecycle().drain(IDLE).await;
        assert_eq!(drained, crate::lifecycle::Drained::Idle);
        assert!((5..12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    });
}

#[test]
fn where_nobody_listens_is_a_failed_connect_and_the_next_datagram_finds_another_endpoint() {
    run(async || {
        let (client, dead, alive) = (Peer::new().await, Peer::new().await.address(), Peer::new().await);
        let proxy = Proxy::start(&[dead, alive.address()]).await;
        proxy.fixture.eject_at_once();
        // In turn: one of two sources meets the dead one.
        let other = Peer::new().await;
        for client in [&client, &other] {
            client.send(proxy.address, b"1").await;
        }
        assert_eq!(alive.receive().await.0, b"1");
        let failed = || proxy.pool().members().any(|member| matches!(member.endpoint().ejection(), Ejection::Open { .. }));
        until(failed).await;
        for client in [&client, &other] {
            client.send(proxy.address, b"2").await;
            assert_eq!(alive.receive().await.0, b"2");
        }
        assert_eq!(proxy.in_flight(), 2);
    });
}

#[test]
fn a_lone_endpoint_that_refused_is_tried_again_for_it_may_have_come_back() {
    run(async || {
        let (client, endpoint) = (Peer::new().await, Peer::new().await);
        let address = endpoint.address();
        let proxy = Proxy::start(&[address]).await;
        proxy.exchange(&client, &endpoint).await;
        drop(endpoint);
        client.send(proxy.address, b"lost").await;
        until(|| proxy.in_flight() == 0).await;
        let endpoint = Peer(UdpSocket::bind(address).await.expect("the same port"));
        proxy.exchange(&client, &endpoint).await;
    });
}

#[test]
fn an_endpoint_that_leaves_the_pool_takes_its_sessions_along() {
    run(async || {
        let (client, old, new) = (Peer::new().await, Peer::new().await, Peer::new().await);
        let proxy = Proxy::start(&[old.address()]).await;
        proxy.exchange(&client, &old).await;
        let before = proxy.pool();
        proxy.fixture.list(&[new.address()]);
        until(|| before.members().all(|member| member.endpoint().in_flight() == 0)).await;
        proxy.exchange(&client, &new).await;
        assert!(old.has_nothing());
    });
}

#[test]
fn a_source_at_its_limit_gives_up_its_own_longest_silent_session_but_none_at_work() {
    run(async || {
        let clients = [Peer::new().await, Peer::new().await, Peer::new().await];
        let endpoint = Peer::new().await;
        let udp = UdpSettings { max_sessions_per_source: 2, ..UdpSettings::default() };
        let proxy = Proxy::start_with(&[endpoint.address()], udp, Algorithm::RoundRobin).await;
        tokio::time::pause();
        proxy.exchange(&clients[0], &endpoint).await;
        tokio::time::advance(listener::GIVES_WAY / 2).await;
        proxy.exchange(&clients[1], &endpoint).await;
        clients[2].send(proxy.address, b"?").await;
        until(|| proxy.dropped(Dropped::SourceLimit) == 1).await;
        tokio::time::advance(listener::GIVES_WAY / 2).await;
        proxy.exchange(&clients[2], &endpoint).await;
        assert_eq!(proxy.in_flight(), 2);
        // The second kept its session, and so its socket; the first's is gone, and now it is the second's turn to give way.
        proxy.exchange(&clients[1], &endpoint).await;
        clients[0].send(proxy.address, b"?").await;
        until(|| proxy.dropped(Dropped::SourceLimit) == 2).await;
    });
}

#[test]
fn without_an_endpoint_datagrams_are_dropped_and_counted() {
    run(async || {
        let client = Peer::new().await;
        let proxy = Proxy::start(&[]).await;
        client.send(proxy.address, b"?").await;
        until(|| proxy.dropped(Dropped::NoEndpoint) == 1).await;
    });
}

#[test]
fn a_port_that_closes_ends_its_sessions_and_frees_its_socket() {
    run(async || {
        let (client, endpoint) = (Peer::new().await, Peer::new().await);
        let proxy = Proxy::start(&[endpoint.address()]).await;
        proxy.exchange(&client, &endpoint).await;
        proxy.serving.abort();
        until(|| proxy.in_flight() == 0 && std::net::UdpSocket::bind(proxy.address).is_ok()).await;
    });
}
