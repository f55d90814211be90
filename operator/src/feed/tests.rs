//! The feed in process: real TLS and HTTP/2 over loopback, an API server that is a function.

use super::*;
use crate::auth::tests::{FakeReviewer, token};
use crate::certs::Certs;
use crate::listen::{Listen, serve};
use crate::publish::tests::policy;
use crate::publish::{Change, ConsumerRule};
use crate::zones::tests::FakeNodes;
use bytes::{Bytes, BytesMut};
use evenkeel_wire::{ClientFrame, ClientHello, Endpoint, Health, PoolName, ServerFrame};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::collections::BTreeMap;
use tokio::net::{TcpListener, TcpStream};

const NAME: &str = "evenkeel-operator.evenkeel-system.svc";

struct Server {
    address: std::net::SocketAddr,
    ca: String,
    publisher: Arc<Publisher>,
    sessions: Arc<Sessions>,
    stop: watch::Sender<bool>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let certs = Certs::make(vec![NAME.into()], SystemTime::now()).unwrap();
        let (stop, stopped) = watch::channel(false);
        let (publisher, sessions) = (Arc::new(Publisher::new("first".into())), Sessions::new());
        let gate = (Authenticator::new(Arc::new(FakeReviewer::default())), Zones::new(Arc::new(FakeNodes::default())));
        let feed = Feed::new(publisher.clone(), sessions.clone(), gate, limits, stopped.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = certs.server_config(&["h2"]).unwrap();
        let listen = Listen { listener, tls, max_connections: 10, max_per_address: 10, http2_only: true, stop: stopped };
        tokio::spawn(serve(listen, router(feed)));
        Self { address, ca: certs.ca_pem(), publisher, sessions, stop }
    }

    async fn started() -> Self {
        let server = Self::start(Limits::default()).await;
        server.publisher.apply(vec![put("shop/cart", 1, ConsumerRule::Same), put("stock/list", 1, ConsumerRule::Same)]);
        server.publisher.set_synced();
        server
    }

    async fn connect(&self, window: u32) -> SendRequest<Bytes> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap();
        let (send, connection) = h2::client::Builder::new().initial_window_size(window).handshake(stream).await.unwrap();
        tokio::spawn(connection);
        send.ready().await.unwrap()
    }

    async fn post(&self, authorization: Option<&str>, window: u32) -> (SendStream<Bytes>, http::Response<RecvStream>) {
        let mut request = http::Request::post(format!("https://{NAME}/v1/feed"));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let mut connection = self.connect(window).await;
        // The body stays open: the answer's head must come without it.
        let (response, body) = connection.send_request(request.body(()).unwrap(), false).unwrap();
        (body, response.await.unwrap())
    }

    async fn open(&self, namespace: &str, hello: ClientFrame) -> Client {
        self.open_slowly(namespace, hello, 1 << 20).await
    }

    async fn open_slowly(&self, namespace: &str, hello: ClientFrame, window: u32) -> Client {
        let token = token(namespace, SystemTime::now() + Duration::from_secs(600));
        let (body, response) = self.post(Some(&format!("Bearer {token}")), window).await;
        assert_eq!(response.status(), 200);
        let mut client = Client { body, answer: response.into_body(), unread: BytesMut::new() };
        client.write(hello.encode());
        client
    }
}

struct Client {
    body: SendStream<Bytes>,
    answer: RecvStream,
    unread: BytesMut,
}

impl Client {
    fn write(&mut self, line: Vec<u8>) {
        self.body.send_data(line.into(), false).unwrap();
    }

    /// The next frame; `None` once the stream has ended.
    async fn next(&mut self) -> Option<ServerFrame> {
        loop {
            if let Some(at) = self.unread.iter().position(|&byte| byte == b'\n') {
                return Some(ServerFrame::decode(&self.unread.split_to(at + 1)).unwrap());
            }
            let data = self.answer.data().await?.unwrap();
            self.answer.flow_control().release_capacity(data.len()).unwrap();
            self.unread.extend_from_slice(&data);
        }
    }

    /// Frames up to and including the first that is as asked, in short.
    async fn until(&mut self, last: impl Fn(&ServerFrame) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let frame = self.next().await.expect("the stream goes on");
            seen.push(short(&frame));
            if last(&frame) {
                return seen;
            }
        }
    }

    async fn goodbye(&mut self) -> String {
        match self.next().await {
            Some(ServerFrame::Goodbye(goodbye)) => {
                assert!(self.next().await.is_none(), "nothing comes after a goodbye");
                goodbye.reason
            }
            other => panic!("{other:?}"),
        }
    }
}

fn short(frame: &ServerFrame) -> String {
    match frame {
        ServerFrame::Hello(hello) => format!("hello {}", hello.lineage),
        ServerFrame::Pool { pool, .. } => format!("pool {pool}"),
        ServerFrame::Endpoints { pool, endpoints, .. } => format!("endpoints {pool} {}", endpoints.len()),
        ServerFrame::Commit { pool, revision } => format!("commit {pool} {revision}"),
        ServerFrame::Remove { pool, .. } => format!("remove {pool}"),
        ServerFrame::Synced => "synced".into(),
        ServerFrame::Heartbeat => "heartbeat".into(),
        ServerFrame::Goodbye(goodbye) => format!("goodbye {}", goodbye.reason),
        ServerFrame::Unknown => "unknown".into(),
    }
}

fn hello(pools: &[&str]) -> ClientFrame {
    hello_with(vec![1], None, pools, &[])
}

fn hello_with(versions: Vec<u32>, lineage: Option<&str>, pools: &[&str], have: &[(&str, u64)]) -> ClientFrame {
    let have: BTreeMap<_, _> = have.iter().map(|&(name, revision)| (name.into(), revision)).collect();
    let pools = pools.iter().map(|&pool| pool.into()).collect();
    ClientFrame::Hello(ClientHello { versions, lineage: lineage.map(Into::into), pools, have })
}

fn name(pool: &str) -> PoolName {
    pool.parse().unwrap()
}

fn put(pool: &str, endpoints: u16, consumers: ConsumerRule) -> Change {
    let endpoint = |port| Endpoint {
        id: format!("10.0.0.1:{port}"),
        ring_key: format!("10.0.0.1:{port}"),
        address: [10, 0, 0, 1].into(),
        port,
        weight: 100,
        priority: 0,
        zone: None,
        node: None,
        target: None,
        health: Health::Usable,
    };
    Change::Put { pool: name(pool), created: 0, policy: policy(), endpoints: (1..=endpoints).map(endpoint).collect(), consumers }
}

#[tokio::test]
async fn a_session_greets_then_tells_every_pool_then_syncs_then_tells_changes() {
    let server = Server::started().await;
    let mut client = server.open("shop", hello(&["shop/cart", "shop/gone", "stock/list"])).await;
    let seen = client.until(|frame| *frame == ServerFrame::Synced).await;
    assert_eq!(seen, ["hello first", "pool shop/cart", "endpoints shop/cart 1", "commit shop/cart 1", "synced"]);
    server.publisher.apply(vec![put("shop/cart", 2, ConsumerRule::Same), put("shop/other", 1, ConsumerRule::Same)]);
    let seen = client.until(|frame| matches!(frame, ServerFrame::Commit { .. })).await;
    assert_eq!(seen, ["pool shop/cart", "endpoints shop/cart 2", "commit shop/cart 3"]);
    server.publisher.apply(vec![Change::Remove(name("shop/cart")), put("shop/gone", 0, ConsumerRule::Same)]);
    let seen = client.until(|frame| matches!(frame, ServerFrame::Commit { .. })).await;
    assert_eq!(seen, ["remove shop/cart", "pool shop/gone", "commit shop/gone 5"]);
}

#[tokio::test]
async fn a_sidecar_is_told_the_zone_of_its_node() {
    let server = Server::started().await;
    let mut client = server.open("shop", hello(&["shop/cart"])).await;
    let Some(ServerFrame::Hello(hello)) = client.next().await else { panic!("no hello") };
    assert_eq!(hello.zone.as_deref(), Some("zone-of-shop"));
}

#[tokio::test]
async fn nothing_is_told_before_the_caches_are_synced() {
    let server = Server::start(Limits { heartbeat: Duration::from_millis(5), ..Limits::default() }).await;
    server.publisher.apply(vec![put("shop/cart", 1, ConsumerRule::Same)]);
    let mut client = server.open("shop", hello(&["shop/*"])).await;
    let seen = client.until(|frame| *frame == ServerFrame::Heartbeat).await;
    assert_eq!(seen, ["hello first", "heartbeat"]);
    server.publisher.set_synced();
    let seen = client.until(|frame| *frame == ServerFrame::Synced).await;
    assert!(seen.contains(&"commit shop/cart 1".to_string()), "{seen:?}");
}

#[tokio::test]
async fn a_foreign_pool_that_is_not_shared_looks_like_one_that_does_not_exist() {
    let server = Server::started().await;
    let mut hidden = server.open("shop", hello(&["stock/list"])).await;
    let mut absent = server.open("shop", hello(&["stock/none"])).await;
    let synced = |frame: &ServerFrame| *frame == ServerFrame::Synced;
    assert_eq!(hidden.until(synced).await, absent.until(synced).await);
    server.publisher.apply(vec![put("stock/list", 1, ConsumerRule::All)]);
    let seen = hidden.until(|frame| matches!(frame, ServerFrame::Commit { .. })).await;
    assert_eq!(seen.last().unwrap(), "commit stock/list 3");
    server.publisher.apply(vec![put("stock/list", 1, ConsumerRule::Same)]);
    let Some(ServerFrame::Remove { reason: withdrawn, .. }) = hidden.next().await else { panic!() };
    server.publisher.apply(vec![put("stock/list", 1, ConsumerRule::All)]);
    hidden.until(|frame| matches!(frame, ServerFrame::Commit { .. })).await;
    server.publisher.apply(vec![Change::Remove(name("stock/list"))]);
    let Some(ServerFrame::Remove { reason: deleted, .. }) = hidden.next().await else { panic!() };
    assert_eq!(withdrawn, deleted);
}

#[tokio::test]
async fn within_a_lineage_only_what_differs_is_told_and_what_is_gone_is_removed() {
    let server = Server::started().await;
    server.publisher.apply(vec![put("shop/pay", 1, ConsumerRule::Same)]);
    let have = [("shop/cart", 1), ("shop/pay", 2), ("shop/old", 1)];
    let synced = |frame: &ServerFrame| *frame == ServerFrame::Synced;
    let mut back = server.open("shop", hello_with(vec![1], Some("first"), &["shop/*"], &have)).await;
    let seen = back.until(synced).await;
    let told = ["pool shop/pay", "endpoints shop/pay 1", "commit shop/pay 3", "synced"];
    assert_eq!(seen, [&["hello first", "commit shop/cart 1", "remove shop/old"][..], &told].concat());
    let mut stranger = server.open("shop", hello_with(vec![1], Some("before"), &["shop/cart"], &have)).await;
    assert_eq!(stranger.until(synced).await[1], "pool shop/cart");
}

#[tokio::test]
async fn what_is_withheld_after_a_restart_is_named_so_that_it_stays_and_goes_only_when_it_is_gone() {
    let server = Server::started().await;
    server.publisher.apply(vec![Change::Withhold(name("shop/bad")), Change::Withhold(name("stock/bad"))]);
    let wanted = ["shop/*", "stock/bad"];
    let synced = |frame: &ServerFrame| *frame == ServerFrame::Synced;
    let have = [("shop/bad", 7), ("stock/bad", 0)];
    let mut has = server.open("shop", hello_with(vec![1], Some("before"), &wanted, &have)).await;
    let told = ["pool shop/cart", "endpoints shop/cart 1", "commit shop/cart 1", "synced"];
    let seen = has.until(synced).await;
    assert_eq!(seen, [&["hello first", "commit shop/bad 0", "commit stock/bad 0"][..], &told].concat());
    let mut fresh = server.open("shop", hello(&wanted)).await;
    let seen = fresh.until(synced).await;
    assert_eq!(seen, [&["hello first", "commit shop/bad 0"][..], &told].concat(), "another's is named to who has it only");
    server.publisher.apply(vec![put("stock/bad", 1, ConsumerRule::All), Change::Remove(name("shop/bad"))]);
    let seen = has.until(|frame| matches!(frame, ServerFrame::Commit { .. })).await;
    assert_eq!(seen, ["remove shop/bad", "pool stock/bad", "endpoints stock/bad 1", "commit stock/bad 3"]);
}

#[tokio::test]
async fn a_slow_reader_skips_revisions_and_ends_with_the_newest() {
    let server = Server::started().await;
    let mut slow = server.open_slowly("shop", hello(&["shop/cart"]), 16).await;
    let mut quick = server.open("shop", hello(&["shop/cart"])).await;
    for round in 0..200 {
        server.publisher.apply(vec![put("shop/cart", 2 + round % 2, ConsumerRule::Same)]);
        // The quick reader has this revision, so the slow one has had its chance, too.
        let revision = server.publisher.snapshot()[&name("shop/cart")].revision;
        quick.until(|frame| matches!(frame, ServerFrame::Commit { revision: seen, .. } if *seen == revision)).await;
    }
    let newest = server.publisher.snapshot()[&name("shop/cart")].revision;
    let seen = slow.until(|frame| matches!(frame, ServerFrame::Commit { revision, .. } if *revision == newest)).await;
    let commits = seen.iter().filter(|frame| frame.starts_with("commit")).count();
    assert!(commits <= 6, "{commits} of 200 revisions were kept for a reader that took none");
}

#[tokio::test]
async fn answers_are_counted_and_a_session_that_leaves_is_not() {
    let server = Server::started().await;
    let mut client = server.open("shop", hello(&["shop/cart"])).await;
    client.until(|frame| *frame == ServerFrame::Synced).await;
    let mut changes = server.sessions.subscribe();
    client.write(ClientFrame::Ack { pool: name("shop/cart"), revision: 1 }.encode());
    let counts = |in_sync, connected| sessions::SyncCounts { connected, in_sync, nack: None };
    while server.sessions.counts(&name("shop/cart"), 1) != counts(1, 1) {
        changes.changed().await.unwrap();
    }
    drop(client);
    while server.sessions.counts(&name("shop/cart"), 1) != counts(0, 0) {
        changes.changed().await.unwrap();
    }
    assert_eq!(server.sessions.open(), 0);
}

#[tokio::test]
async fn a_bad_first_line_gets_a_goodbye_that_says_why() {
    let server = Server::started().await;
    let speaks = hello_with(vec![7, 8], None, &["shop/cart"], &[]);
    assert!(server.open("shop", speaks).await.goodbye().await.contains("[7, 8]"));
    assert!(server.open("shop", hello(&["stock/*"])).await.goodbye().await.contains("`stock/*`"));
    assert!(server.open("shop", hello(&["cart"])).await.goodbye().await.contains("NAMESPACE/NAME"));
    let ack = ClientFrame::Ack { pool: name("shop/cart"), revision: 1 };
    assert!(server.open("shop", ack).await.goodbye().await.contains("hello"));
}

#[tokio::test]
async fn garbage_and_endless_lines_end_their_own_stream_only() {
    let server = Server::started().await;
    let synced = |frame: &ServerFrame| *frame == ServerFrame::Synced;
    let mut good = server.open("shop", hello(&["shop/cart"])).await;
    good.until(synced).await;
    let mut garbage = server.open("shop", hello(&["shop/cart"])).await;
    garbage.until(synced).await;
    garbage.write(b"}{\n".to_vec());
    assert!(garbage.goodbye().await.contains("not a frame"));
    let mut endless = server.open("shop", hello(&["shop/cart"])).await;
    endless.until(synced).await;
    endless.write(vec![b'x'; evenkeel_wire::MAX_LINE]);
    assert!(endless.goodbye().await.contains("1048576 bytes"));
    server.publisher.apply(vec![put("shop/cart", 2, ConsumerRule::Same)]);
    good.until(|frame| matches!(frame, ServerFrame::Commit { .. })).await;
}

#[tokio::test]
async fn a_sidecar_that_says_nothing_is_sent_away() {
    let server = Server::start(Limits { hello: Duration::from_millis(20), ..Limits::default() }).await;
    let token = format!("Bearer {}", token("shop", SystemTime::now() + Duration::from_secs(600)));
    let (body, response) = server.post(Some(&token), 1 << 20).await;
    let mut client = Client { body, answer: response.into_body(), unread: BytesMut::new() };
    assert!(client.goodbye().await.contains("no hello"));
}

#[tokio::test]
async fn a_stream_ends_before_its_token_and_at_shutdown_with_a_goodbye() {
    let server = Server::start(Limits { lifetime: Duration::from_millis(50), ..Limits::default() }).await;
    server.publisher.set_synced();
    let mut client = server.open("shop", hello(&["shop/cart"])).await;
    client.until(|frame| *frame == ServerFrame::Synced).await;
    assert!(client.goodbye().await.contains("token"));
    let server = Server::started().await;
    let mut client = server.open("shop", hello(&["shop/cart"])).await;
    client.until(|frame| *frame == ServerFrame::Synced).await;
    server.stop.send(true).unwrap();
    assert!(client.goodbye().await.contains("stopping"));
}

#[tokio::test]
async fn without_a_good_token_there_is_no_stream_but_a_reason() {
    let server = Server::started().await;
    let away = format!("Bearer {}", token("away", SystemTime::now() + Duration::from_secs(600)));
    let cases = [(None, 401, "NoToken"), (Some("Bearer nonsense"), 401, "InvalidToken"), (Some(away.as_str()), 503, "ApiServer")];
    for (authorization, status, reason) in cases {
        let (_body, response) = server.post(authorization, 1 << 20).await;
        assert_eq!(response.status(), status);
        let body = response.into_body().data().await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&body).contains(reason), "{body:?}");
    }
    let mut connection = server.connect(1 << 20).await;
    let request = http::Request::get(format!("https://{NAME}/livez")).body(()).unwrap();
    assert_eq!(connection.send_request(request, true).unwrap().0.await.unwrap().status(), 200);
}

#[tokio::test]
async fn who_tries_too_often_without_a_token_uses_up_its_own_turns() {
    let server = Server::started().await;
    let mut connection = server.connect(1 << 20).await;
    let mut statuses = BTreeMap::<u16, u32>::new();
    for _ in 0..=TRIES_AT_ONCE * 2 {
        let request = http::Request::post(format!("https://{NAME}/v1/feed")).body(()).unwrap();
        let response = connection.send_request(request, true).unwrap().0.await.unwrap();
        *statuses.entry(response.status().as_u16()).or_default() += 1;
        connection = connection.ready().await.unwrap();
    }
    assert!(statuses[&401] >= TRIES_AT_ONCE && statuses[&429] > 0, "{statuses:?}");
}

#[test]
fn a_lifetime_is_shorter_than_the_token_for_every_jitter() {
    let wall = SystemTime::now();
    let identity = Identity {
        namespace: "shop".into(),
        service_account: "default".into(),
        pod: None,
        node: None,
        expires: Some(wall + Duration::from_secs(100)),
    };
    for jitter in [0.0, 0.5, 1.0] {
        let span = lifetime(&identity, wall, jitter, Duration::from_secs(3_600));
        assert!(span >= Duration::from_secs(70) && span < Duration::from_secs(100), "{span:?}");
    }
    assert_eq!(lifetime(&identity, wall + Duration::from_secs(200), 1.0, Duration::from_secs(3_600)), Duration::ZERO);
}
