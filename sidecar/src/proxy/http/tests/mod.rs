//! The proxy over real sockets: the test is client and upstream at once and says, byte by byte, what each of them saw.

mod continues;
mod damage;
mod ends;
mod framing;
mod http2;
mod limits;
mod passing;
mod retries;
mod timeouts;
mod tunnel;

use crate::metrics::Registry;
use crate::proxy::turned_away::Caller;
use crate::table::{Member, PoolEntry, Table};
use crate::worker::{Shared, Worker};
use arc_swap::ArcSwap;
use evenkeel_balance::{Book, Config, Endpoint, EndpointSpec, Health, Passive};
use evenkeel_wire::{ClientConnections, HashKey, Limits, Listener, Policy, PoolName, Protocol, Retry, RetryOn, Timeouts};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything here takes; a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(10);
const NAME: &str = "test/pool";
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Runs a test on one thread, as a worker does, on IPv4 and then on IPv6.
fn on_both_families(test: impl AsyncFn(IpAddr)) {
    for address in [V4, V6] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        let runtime = runtime.expect("a runtime");
        let tested = runtime.block_on(async { tokio::time::timeout(PATIENCE, test(address)).await });
        tested.unwrap_or_else(|_| panic!("the test hangs on {address}"));
    }
}

/// The clock stands still until nothing else happens, then jumps to the next timer.
fn with_paused_clock(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(async {
        tokio::time::pause();
        test.await;
    });
}

/// A proxy for one pool.
struct Proxy {
    address: SocketAddr,
    endpoints: Vec<Arc<Endpoint>>,
    worker: Rc<Worker>,
    table: Arc<ArcSwap<Table>>,
    book: Book,
}

/// What a pool does about failures and keys.
#[derive(Default)]
struct Shape {
    max_retries: u32,
    keys: Vec<HashKey>,
    passive: Option<Passive>,
    limits: Limits,
    timeouts: Timeouts,
    client_connections: ClientConnections,
}

impl Proxy {
    async fn start(endpoints: &[SocketAddr]) -> Self {
        Self::start_with(endpoints, Shape { max_retries: 1, ..Shape::default() }).await
    }

    async fn start_with(endpoints: &[SocketAddr], shape: Shape) -> Self {
        let ip = endpoints.first().map_or(V4, SocketAddr::ip);
        let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let book = Book::new();
        let endpoints: Vec<_> = endpoints.iter().map(|at| book.enter(spec(*at), Instant::now())).collect();
        let pool = pool(&endpoints.iter().map(member).collect::<Vec<_>>(), shape, address.port());
        let table = Arc::new(ArcSwap::from_pointee(table([pool])));
        let shared = Shared { table: table.clone(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
        let worker = Rc::new(Worker::new(0, shared, 7));
        let accepting = worker.clone();
        tokio::task::spawn_local(async move {
            while let Ok((client, peer)) = listener.accept().await {
                tokio::task::spawn_local(serve(accepting.clone(), client, peer, address.port()));
            }
        });
        Self { address, endpoints, worker, table, book }
    }

    async fn connect(&self) -> Peer {
        let socket = TcpStream::connect(self.address).await.expect("the proxy listens");
        // Else a small write waits for the word on the one before, on a clock that no test can stop.
        socket.set_nodelay(true).expect("is set");
        Peer(socket)
    }

    /// A client and the other end of its connection, for a test that serves it itself.
    async fn connect_raw(&self) -> (Peer, TcpStream) {
        let listener = TcpListener::bind((self.address.ip(), 0)).await.expect("a free port");
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().expect("an address")), listener.accept());
        (Peer(client.expect("connects")), accepted.expect("a connection").0)
    }

    fn pool(&self) -> Arc<PoolEntry> {
        super::find_pool(&self.worker, self.address.port()).expect("a pool")
    }

    /// The pool's next list: those that stay keep their membership, the others leave, then the new ones are there.
    fn relist(&self, stay: &[&Server], come: &[&Server]) {
        let (before, book) = (self.pool(), &self.book);
        let stays = |member: &&Arc<Member>| stay.iter().any(|server| server.address() == member.endpoint().address());
        let (stayed, left): (Vec<_>, Vec<_>) = before.members().partition(stays);
        let came = come.iter().map(|server| member(&book.enter(spec(server.address()), Instant::now())));
        let members: Vec<_> = stayed.into_iter().cloned().chain(came).collect();
        let Policy { retry, limits, .. } = &**before.policy();
        let shape = Shape { max_retries: retry.max_retries, limits: *limits, ..Shape::default() };
        let now = pool(&members, shape, self.address.port()).with_capacity(before.capacity().clone());
        self.table.store(Arc::new(table([now])));
        left.into_iter().for_each(|member| member.retire());
    }

    fn in_flight(&self) -> u32 {
        self.endpoints.iter().map(|endpoint| endpoint.in_flight()).sum()
    }
}

fn table<const N: usize>(pools: [PoolEntry; N]) -> Table {
    Table::new(pools.into_iter().map(|pool| (pool.name().clone(), Arc::new(pool))).collect(), |_| true)
}

/// What a worker does with a connection on this port.
async fn serve(worker: Rc<Worker>, client: TcpStream, peer: SocketAddr, port: u16) {
    let pool = super::find_pool(&worker, port).expect("a pool");
    client.set_nodelay(true).expect("is set");
    let destination = client.local_addr().expect("an address");
    super::serve(worker, client.into(), Caller { port, peer, destination }, pool).await;
}

fn spec(address: SocketAddr) -> EndpointSpec {
    let id = address.to_string();
    EndpointSpec { ring_key: id.clone(), id, address, weight: 100, zone: None, priority: 0, health: Health::Usable }
}

/// A membership of its own, though not the first.
fn member(endpoint: &Arc<Endpoint>) -> Arc<Member> {
    let metrics = Registry::new(2).pool(&NAME.parse().expect("a name"));
    Arc::new(Member::new(endpoint.clone(), metrics.enter(endpoint.id(), endpoint.id())))
}

fn pool(members: &[Arc<Member>], shape: Shape, port: u16) -> PoolEntry {
    let name: PoolName = NAME.parse().expect("a name");
    let metrics = Registry::new(2).pool(&name);
    let (algorithm, wire) = if shape.keys.is_empty() {
        (evenkeel_balance::Algorithm::RoundRobin, evenkeel_wire::Algorithm::RoundRobin)
    } else {
        let virtual_nodes = 10;
        let table = evenkeel_balance::Table::Ring { virtual_nodes };
        let wire_table = evenkeel_wire::Table::Ring { virtual_nodes };
        (
            evenkeel_balance::Algorithm::ConsistentHash { table, hash_balance_factor: None },
            evenkeel_wire::Algorithm::ConsistentHash { table: wire_table, keys: shape.keys, hash_balance_factor: None },
        )
    };
    let policy = Policy {
        listeners: vec![Listener::new("http", port, Protocol::Http)],
        algorithm: wire,
        retry: Retry { max_retries: shape.max_retries, on: vec![RetryOn::ConnectFailure, RetryOn::StaleConnection] },
        limits: shape.limits,
        timeouts: shape.timeouts,
        client_connections: shape.client_connections,
        ..crate::control::tests::policy()
    };
    let endpoint_limit = shape.limits.max_parallel_requests_per_endpoint;
    let config = Config { panic_threshold: 0, passive: shape.passive, endpoint_limit, ..Config::new(algorithm) };
    let endpoints = members.iter().map(|member| member.endpoint().clone()).collect();
    let balance = evenkeel_balance::Pool::try_new(config, endpoints, 7).expect("a pool");
    PoolEntry::new(name, 1, Arc::new(policy), balance, members.to_vec(), metrics)
}

/// The upstream side, raw: the test accepts, reads and writes.
struct Server(TcpListener);

impl Server {
    async fn start(ip: IpAddr) -> Self {
        Self(TcpListener::bind((ip, 0)).await.expect("a free port"))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    async fn accept(&self) -> Peer {
        let socket = self.0.accept().await.expect("a connection").0;
        socket.set_nodelay(true).expect("is set");
        Peer(socket)
    }

    /// Nobody has connected (again). Only to be asked when the proxy is known to be done.
    async fn saw_nobody(&self) {
        let accepting = self.0.accept();
        tokio::select! {
            biased;
            _ = accepting => panic!("a connection came"),
            () = tokio::task::yield_now() => {}
        }
    }
}

/// One end of a connection with the proxy.
struct Peer(TcpStream);

impl Peer {
    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.expect("is sent");
    }

    /// Exactly this comes next.
    async fn expect(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let mut read = vec![0; text.len()];
        let mut at = 0;
        while at < read.len() {
            match self.0.read(&mut read[at..]).await {
                Ok(count) if count > 0 => at += count,
                end => panic!("{:?} ended with {end:?}, not {:?}", show(&read[..at]), show(text)),
            }
            assert_eq!(show(&read[..at]), show(&text[..at]));
        }
    }

    /// A proper end comes next.
    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let end = self.0.read_to_end(&mut rest).await;
        assert!(end.is_ok() && rest.is_empty(), "{end:?} after {:?}", show(&rest));
    }

    /// All that comes until the end, and whether that is a proper one.
    async fn read_all(&mut self) -> (String, bool) {
        let mut rest = Vec::new();
        let end = self.0.read_to_end(&mut rest).await;
        (show(&rest), end.is_ok())
    }

    /// The status of the answer that comes, whose connection then ends.
    async fn expect_last_status(&mut self, status: u16) {
        let (text, proper) = self.read_all().await;
        assert!(proper && text.starts_with(&format!("HTTP/1.1 {status} ")), "{text:?}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text:?}");
    }

    /// The status of the answer that comes, with its body.
    async fn expect_status(&mut self, status: u16) -> String {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(self.0.read_u8().await.expect("a head"));
        }
        let head = show(&text);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.0.read_exact(&mut body).await.expect("a body");
        head + &show(&body)
    }

    /// Resets the connection.
    fn reset(self) {
        self.0.set_zero_linger().expect("is set");
    }
}

/// One server, a proxy before it, and a client of that.
async fn opened(ip: IpAddr) -> (Server, Proxy, Peer) {
    let server = Server::start(ip).await;
    let proxy = Proxy::start(&[server.address()]).await;
    let client = proxy.connect().await;
    (server, proxy, client)
}

/// A client and an upstream connection that has carried one request and is kept.
async fn kept(server: &Server, proxy: &Proxy) -> (Peer, Peer) {
    let mut client = proxy.connect().await;
    client.send(GET).await;
    let mut upstream = server.accept().await;
    upstream.expect(GET).await;
    upstream.send(OK).await;
    client.expect(OK).await;
    (client, upstream)
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
