//! Requests and connections through the whole data path, with TLS on either side, on both, and passed through.

use super::*;
use crate::listen::Slots;
use evenkeel_wire::{Retry, RetryOn, UpstreamProtocol};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Accepts for the stand at a free port; which it is must be known before its policy is made.
async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

fn serve(stand: &Stand, listener: TcpListener) -> SocketAddr {
    let address = listener.local_addr().expect("an address");
    let slots = Slots::new(Arc::new(Semaphore::new(99)));
    tokio::task::spawn_local(crate::proxy::accept(stand.worker.clone(), listener, address.port(), slots));
    address
}

fn policy(listeners: impl IntoIterator<Item = Listener>) -> Policy {
    Policy { listeners: listeners.into_iter().collect(), ..crate::control::tests::policy() }
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut read = vec![0; text.len()];
    stream.read_exact(&mut read).await.expect("as much as that");
    assert_eq!(String::from_utf8_lossy(&read), text);
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), text: impl AsRef<[u8]>) {
    stream.write_all(text.as_ref()).await.expect("is sent");
    stream.flush().await.expect("is sent");
}

/// A port of `protocol` where TLS ends, before one endpoint that the test plays.
async fn terminating(authority: &Authority, protocol: Protocol) -> (Stand, SocketAddr, TcpListener) {
    authority.write(&authority.issue(NAME, (2020, 2090)));
    let ((listener, port), (endpoint, at)) = (listener().await, listener_at().await);
    let listens = Listener { tls: Some(authority.listener(TlsVersion::V1_2)), ..Listener::new("a", port, protocol) };
    let stand = Stand::with([("test/pool", policy([listens]), vec![at])]);
    let address = serve(&stand, listener);
    (stand, address, endpoint)
}

async fn listener_at() -> (TcpListener, SocketAddr) {
    let (listener, _) = listener().await;
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connects")
}

#[test]
fn requests_over_tls_reach_an_endpoint_in_the_clear_and_share_their_connection() {
    run(async {
        let authority = Authority::new();
        let (_stand, address, endpoint) = terminating(&authority, Protocol::Http).await;
        for version in [&TLS12, &TLS13] {
            let client = authority.client(&[version], &["http/1.1"]);
            let mut client = client.connect(name(), connect(address).await).await.expect("a handshake");
            let mut upstream = None;
            for _ in 0..2 {
                say(&mut client, GET).await;
                let mut taken = match upstream.take() {
                    Some(upstream) => upstream,
                    None => endpoint.accept().await.expect("a connection").0,
                };
                expect(&mut taken, GET).await;
                say(&mut taken, OK).await;
                expect(&mut client, OK).await;
                upstream = Some(taken);
            }
            let close = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
            say(&mut client, &close).await;
            let mut upstream = upstream.expect("a connection");
            expect(&mut upstream, GET).await;
            say(&mut upstream, OK).await;
            let mut last = String::new();
            client.read_to_string(&mut last).await.expect("the end is said, or it could be a truncation");
            assert!(last.ends_with("\r\n\r\nok"), "{last}");
            drop(upstream);
        }
    });
}

#[test]
fn large_bodies_pass_both_ways_over_tls() {
    run(async {
        let authority = Authority::new();
        let (_stand, address, endpoint) = terminating(&authority, Protocol::Http).await;
        let client = authority.client(&[&TLS13], &["http/1.1"]);
        let client = client.connect(name(), connect(address).await).await.expect("a handshake");
        let body: Vec<u8> = (0..2_000_000u32).map(|at| (at / 7) as u8).collect();
        let (mut from_proxy, mut to_proxy) = tokio::io::split(client);
        let asking = async {
            say(&mut to_proxy, format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).await;
            say(&mut to_proxy, &body).await;
        };
        let answered = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(from_proxy.read_u8().await.expect("a head"));
            }
            let mut read = vec![0; body.len()];
            from_proxy.read_exact(&mut read).await.expect("a body");
            assert!(read == body, "others came back");
        };
        let echoing = async {
            let (upstream, _) = endpoint.accept().await.expect("a connection");
            let (mut input, mut output) = upstream.into_split();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(input.read_u8().await.expect("a head"));
            }
            say(&mut output, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
            tokio::io::copy(&mut input.take(body.len() as u64), &mut output).await.expect("copies");
            output
        };
        tokio::join!(asking, answered, echoing);
    });
}

#[test]
fn tls_on_a_plain_http_port_gets_an_alert_and_a_reason_and_others_go_on() {
    run(async {
        let authority = Authority::new();
        let ((listener, port), (endpoint, at)) = (listener().await, listener_at().await);
        let stand = Stand::with([("test/pool", policy([Listener::new("a", port, Protocol::Http)]), vec![at])]);
        let address = serve(&stand, listener);
        let mut other = connect(address).await;
        say(&mut other, &GET[..9]).await;
        let told = authority.client(&[&TLS13], &[]).connect(name(), connect(address).await).await.expect_err("no TLS");
        assert!(told.to_string().contains("HandshakeFailure"), "{told}");
        assert_eq!(stand.refused(), ["TlsUnexpected 1"]);
        say(&mut other, &GET[9..]).await;
        let mut upstream = endpoint.accept().await.expect("a connection").0;
        expect(&mut upstream, GET).await;
        say(&mut upstream, OK).await;
        expect(&mut other, OK).await;
    });
}

/// A port in the clear before endpoints that are spoken to in TLS.
async fn originating(protocol: Protocol, tls: UpstreamTls, endpoints: Vec<SocketAddr>) -> (Stand, SocketAddr) {
    let (listener, port) = listener().await;
    let mut policy = policy([Listener::new("a", port, protocol)]);
    policy.upstream.tls = Some(tls);
    policy.upstream.protocol = UpstreamProtocol::Http1;
    policy.retry = Retry { max_retries: 1, on: vec![RetryOn::ConnectFailure] };
    let stand = Stand::with([("test/pool", policy, endpoints)]);
    let address = serve(&stand, listener);
    (stand, address)
}

#[test]
fn an_endpoint_over_tls_keeps_its_connection_though_tickets_come() {
    run(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
        let (endpoint, at) = listener_at().await;
        let tls = authority.upstream(Some(NAME), Verification::Full);
        let (_stand, address) = originating(Protocol::Http, tls, vec![at]).await;
        let mut client = connect(address).await;
        say(&mut client, GET).await;
        let (socket, _) = endpoint.accept().await.expect("a connection");
        let mut upstream = server::shake(&acceptor, socket).await.expect("a handshake");
        assert_eq!(upstream.alpn(), Alpn::Http1);
        for _ in 0..3 {
            expect(&mut upstream, GET).await;
            say(&mut upstream, OK).await;
            expect(&mut client, OK).await;
            say(&mut client, GET).await;
        }
        expect(&mut upstream, GET).await;
    });
}

#[test]
fn what_an_endpoint_chooses_by_alpn_is_spoken_where_the_pool_leaves_it_open() {
    run(async {
        let authority = Authority::new();
        for (chooses, choice) in [(Protocol::Http, Alpn::Http2), (Protocol::Tcp, Alpn::None)] {
            let acceptor = authority.acceptor(chooses, TlsVersion::V1_2);
            let ((listener, port), (endpoint, at)) = (listener().await, listener_at().await);
            let mut policy = policy([Listener::new("a", port, Protocol::Http)]);
            policy.upstream.tls = Some(authority.upstream(Some(NAME), Verification::Full));
            let stand = Stand::with([("test/pool", policy, vec![at])]);
            let mut client = connect(serve(&stand, listener)).await;
            say(&mut client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
            let (socket, _) = endpoint.accept().await.expect("a connection");
            let mut upstream = server::shake(&acceptor, socket).await.expect("a handshake");
            assert_eq!(upstream.alpn(), choice);
            if choice == Alpn::None {
                expect(&mut upstream, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
                say(&mut upstream, OK).await;
                expect(&mut client, OK).await;
                // The connection is kept, and nobody waits for a shared one.
                say(&mut client, GET).await;
                expect(&mut upstream, GET).await;
                continue;
            }
            let mut upstream = h2::server::handshake(upstream).await.expect("HTTP/2");
            let (request, mut respond) = upstream.accept().await.expect("a request").expect("a good one");
            tokio::task::spawn_local(async move { while upstream.accept().await.is_some() {} });
            assert_eq!(request.uri().scheme_str(), Some("https"));
            let mut body = request.into_body();
            assert_eq!(body.data().await.expect("data").expect("is whole"), "hi");
            respond.send_response(http::Response::builder().status(204).body(()).expect("an answer"), true).expect("is sent");
            expect(&mut client, "HTTP/1.1 204 \r\n\r\n").await;
        }
    });
}

#[test]
fn an_endpoint_that_is_not_believed_is_passed_over_and_a_last_one_is_told_of() {
    run(async {
        let (ours, other) = (Authority::new(), Authority::new());
        let [good, bad] = [&ours, &other].map(|authority| authority.acceptor(Protocol::Http, TlsVersion::V1_2));
        let ((first, first_at), (second, second_at)) = (listener_at().await, listener_at().await);
        let tls = ours.upstream(Some(NAME), Verification::Full);
        let (stand, address) = originating(Protocol::Http, tls, vec![first_at, second_at]).await;
        // In turn: one of two requests comes to the other's endpoint first.
        for _ in 0..2 {
            let mut client = connect(address).await;
            say(&mut client, GET).await;
            let serving = async |listener: &TcpListener, acceptor: &Acceptor| {
                let (socket, _) = listener.accept().await.expect("a connection");
                server::shake(acceptor, socket).await
            };
            let unbelieved = async {
                loop {
                    assert!(serving(&first, &bad).await.is_err(), "isn't believed");
                }
            };
            let mut upstream = tokio::select! {
                upstream = serving(&second, &good) => upstream.expect("is believed"),
                () = unbelieved => unreachable!("it goes on"),
            };
            expect(&mut upstream, GET).await;
            say(&mut upstream, OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
            let mut answer = [0; 15];
            client.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
        }
        let retried = stand.counted("evenkeel_retries_total{pool=\"test/pool\",reason=\"Tls\"} ");
        assert!(!retried.is_empty(), "none was turned to another endpoint");
        let tls = ours.upstream(Some(NAME), Verification::Full);
        let (stand, address) = originating(Protocol::Http, tls, vec![first_at, second_at]).await;
        let mut client = connect(address).await;
        say(&mut client, GET).await;
        for _ in 0..2 {
            let (socket, _) = tokio::select! {
                accepted = first.accept() => accepted.expect("a connection"),
                accepted = second.accept() => accepted.expect("a connection"),
            };
            assert!(server::shake(&bad, socket).await.is_err());
        }
        let mut head = [0; 12];
        client.read_exact(&mut head).await.expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 502");
        drop(client);
        let counted = stand.counted("evenkeel_requests_total");
        assert!(counted.iter().any(|line| line.contains("flags=\"UpstreamTls\"")), "{counted:?}");
    });
}

#[test]
fn bytes_and_their_end_pass_from_tls_to_tls() {
    run(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor(Protocol::Tcp, TlsVersion::V1_2);
        let ((listener, port), (endpoint, at)) = (listener().await, listener_at().await);
        let tls = Some(authority.listener(TlsVersion::V1_2));
        let mut policy = policy([Listener { tls, ..Listener::new("a", port, Protocol::Tcp) }]);
        policy.upstream.tls = Some(authority.upstream(Some(NAME), Verification::Full));
        let stand = Stand::with([("test/pool", policy, vec![at])]);
        let address = serve(&stand, listener);
        let mut client = authority.client(&[&TLS13], &[]).connect(name(), connect(address).await).await.expect("a handshake");
        let (socket, _) = endpoint.accept().await.expect("a connection");
        let mut upstream = server::shake(&acceptor, socket).await.expect("a handshake");
        let bytes = vec![9; 300_000];
        let asking = async {
            say(&mut client, &bytes).await;
            client.shutdown().await.expect("ends its side");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("a proper end");
            assert_eq!(answer, "all of it");
        };
        let answering = async {
            let mut read = Vec::new();
            upstream.read_to_end(&mut read).await.expect("the end passes");
            assert!(read == bytes);
            say(&mut upstream, "all of it").await;
            upstream.shutdown().await.expect("ends its side");
        };
        tokio::join!(asking, answering);
    });
}

/// A pool that TLS for these names is passed through to.
fn passing(port: u16, hostnames: &[&str]) -> Policy {
    let hostnames = hostnames.iter().map(|&name| name.into()).collect();
    let mut policy = policy([Listener { hostnames, ..Listener::new("tls", port, Protocol::Tls) }]);
    // Has no meaning for what is TLS already.
    policy.upstream.tls = Some(UpstreamTls { hostname: None, ca_file: None, verification: Verification::Off });
    policy
}

#[test]
fn tls_is_passed_through_by_the_name_that_is_asked_for() {
    run(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor(Protocol::Tcp, TlsVersion::V1_2);
        let ((listener, port), (one, one_at), (other, other_at)) = (listener().await, listener_at().await, listener_at().await);
        let stand = Stand::with([
            ("test/pool", passing(port, &["a.example"]), vec![one_at]),
            ("test/wild", passing(port, &["*.example"]), vec![other_at]),
        ]);
        let address = serve(&stand, listener);
        for (asked, endpoint) in [("a.example", &one), ("A.EXAMPLE", &one), ("b.example", &other), ("c.d.example", &other)] {
            authority.pair_for(asked, &acceptor);
            let asked = ServerName::try_from(asked.to_owned()).expect("a name");
            let client = authority.client(&[&TLS13], &[]);
            let serving = async {
                let (socket, _) = endpoint.accept().await.expect("a connection");
                let mut upstream = server::shake(&acceptor, socket).await.expect("a handshake");
                say(&mut upstream, "hello").await;
                upstream
            };
            let asking = async { client.connect(asked, connect(address).await).await.expect("a handshake") };
            let (mut client, _upstream) = tokio::join!(asking, serving);
            expect(&mut client, "hello").await;
        }
        for (asked, reason) in [("b.other", "UnknownServerName 1"), ("192.0.2.1", "NoServerName 1")] {
            let asked = ServerName::try_from(asked.to_owned()).expect("a name");
            let told = authority.client(&[&TLS13], &[]).connect(asked, connect(address).await).await.expect_err("is refused");
            assert!(told.to_string().contains("UnrecognisedName"), "{told}");
            assert!(stand.refused().contains(&reason.to_owned()), "{:?}", stand.refused());
        }
        let mut plain = connect(address).await;
        say(&mut plain, GET).await;
        let mut told = String::new();
        plain.read_to_string(&mut told).await.expect("a proper end");
        assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
        assert!(stand.refused().contains(&"PlainHttp 1".to_owned()), "{:?}", stand.refused());
    });
}

#[test]
fn a_hello_that_comes_in_pieces_is_passed_through_whole() {
    run(async {
        let ((listener, port), (endpoint, at)) = (listener().await, listener_at().await);
        let stand = Stand::with([("test/pool", passing(port, &["a.example"]), vec![at])]);
        let address = serve(&stand, listener);
        let hello = hellos::real("a.example");
        let mut client = connect(address).await;
        client.set_nodelay(true).expect("is set");
        for byte in &hello {
            client.write_u8(*byte).await.expect("is sent");
            tokio::task::yield_now().await;
        }
        let (mut upstream, _) = endpoint.accept().await.expect("a connection");
        let mut read = vec![0; hello.len()];
        upstream.read_exact(&mut read).await.expect("all of it");
        assert!(read == hello);
        // And one that ends before its hello does.
        let mut client = connect(address).await;
        client.write_all(&hello[..40]).await.expect("is sent");
        client.shutdown().await.expect("ends");
        let _ = client.read_to_end(&mut Vec::new()).await;
        assert_eq!(stand.refused(), ["TlsClosed 1"]);
    });
}
