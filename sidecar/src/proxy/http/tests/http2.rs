//! HTTP/2 on either side and across, with another implementation at both ends: what arrives, what comes back, and whom it costs.

mod reach;

use super::*;
use crate::proxy::fixture::Fixture;
use bytes::Bytes;
use evenkeel_wire::UpstreamProtocol;
use h2::{Reason, RecvStream, client, server};
use http::{HeaderMap, Request, Response};
use tokio::time::Instant as Moment;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What a client of HTTP/1.1 gets of an [`answer`] of "ok".
const ANSWERED: &str = "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

/// A proxy before these endpoints, which are spoken to so.
struct Front {
    worker: Rc<Worker>,
    table: Arc<ArcSwap<Table>>,
    address: SocketAddr,
}

impl Front {
    async fn start(endpoints: &[SocketAddr], protocol: UpstreamProtocol) -> Self {
        Self::start_with(endpoints, protocol, Limits::default()).await
    }

    async fn start_with(endpoints: &[SocketAddr], protocol: UpstreamProtocol, limits: Limits) -> Self {
        let listener = TcpListener::bind((V4, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut policy = Policy {
            listeners: vec![Listener::new("http", address.port(), Protocol::Http)],
            retry: Retry { max_retries: 1, on: vec![RetryOn::ConnectFailure, RetryOn::StaleConnection] },
            connect_timeout_ms: CONNECT_TIMEOUT.as_millis() as u64,
            limits,
            ..crate::control::tests::policy()
        };
        policy.upstream.protocol = protocol;
        let fixture = Fixture::new(policy, endpoints);
        let worker = Rc::new(fixture.worker());
        let accepting = worker.clone();
        tokio::task::spawn_local(async move {
            while let Ok((client, peer)) = listener.accept().await {
                tokio::task::spawn_local(serve(accepting.clone(), client, peer, address.port()));
            }
        });
        Self { worker, table: fixture.table, address }
    }

    /// A client of HTTP/2; its connection ends when the handle is dropped. One stream that isn't read holds up no other.
    async fn client(&self) -> client::SendRequest<Bytes> {
        let socket = TcpStream::connect(self.address).await.expect("the proxy listens");
        let builder = client::Builder::new().initial_connection_window_size(1 << 20).handshake(socket);
        let (client, connection) = builder.await.expect("a handshake");
        tokio::task::spawn_local(async move { drop(connection.await) });
        client.ready().await.expect("room for a stream")
    }

    /// A client of HTTP/1.1 that another worker of the same process serves.
    async fn client_of_another_worker(&self) -> Peer {
        let shared = Shared { table: self.table.clone(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
        let listener = TcpListener::bind((V4, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (accepted, peer) = accepted.expect("a connection");
        tokio::task::spawn_local(serve(Rc::new(Worker::new(1, shared, 8)), accepted, peer, self.address.port()));
        Peer(client.expect("connects"))
    }

    /// Requests that have an endpoint.
    fn in_flight(&self) -> u32 {
        let pool = crate::proxy::http::find_pool(&self.worker, self.address.port()).expect("a pool");
        pool.members().map(|member| member.endpoint().in_flight()).sum()
    }

    async fn client_of_http1(&self) -> Peer {
        Peer(TcpStream::connect(self.address).await.expect("the proxy listens"))
    }
}

/// An endpoint that speaks HTTP/2.
struct Endpoint2(TcpListener);

impl Endpoint2 {
    async fn start() -> Self {
        Self(TcpListener::bind((V4, 0)).await.expect("a free port"))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    async fn accept(&self, streams: u32) -> server::Connection<TcpStream, Bytes> {
        let socket = self.0.accept().await.expect("a connection").0;
        server::Builder::new().max_concurrent_streams(streams).handshake(socket).await.expect("a handshake")
    }
}

type Asked = (Request<RecvStream>, server::SendResponse<Bytes>);

/// The next request; the connection goes on in the background.
async fn next(connection: &mut server::Connection<TcpStream, Bytes>) -> Asked {
    connection.accept().await.expect("a request").expect("a good one")
}

fn go_on(mut connection: server::Connection<TcpStream, Bytes>) {
    tokio::task::spawn_local(async move { while connection.accept().await.is_some() {} });
}

/// Answers with a body and an end.
fn answer(mut respond: server::SendResponse<Bytes>, body: &'static str) {
    let mut stream = respond.send_response(Response::new(()), false).expect("is sent");
    stream.send_data(Bytes::from_static(body.as_bytes()), true).expect("is sent");
}

async fn read(body: &mut RecvStream) -> (String, Option<HeaderMap>) {
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("is whole");
        let _ = body.flow_control().release_capacity(data.len());
        text.extend_from_slice(&data);
    }
    (show(&text), body.trailers().await.expect("are whole"))
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a{path}")).body(()).expect("a request")
}

fn run(test: impl AsyncFn()) {
    on_both_families(async |ip| {
        if ip == V4 {
            test().await
        }
    });
}

#[test]
fn a_request_of_http2_is_one_of_http1_to_the_endpoint() {
    run(async || {
        let server = Server::start(V4).await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let request = Request::post("http://a/x?y").header("cookie", "a=1").header("cookie", "b=2").body(()).expect("a request");
        let (response, mut body) = client.send_request(request, false).expect("is sent");
        body.send_data("hello".into(), false).expect("is sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("t", "1".parse().expect("a value"));
        body.send_trailers(trailers).expect("is sent");
        let mut upstream = server.accept().await;
        upstream.expect("POST /x?y HTTP/1.1\r\nHost: a\r\ncookie: a=1; b=2\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        upstream.expect("5\r\nhello\r\n0\r\nt: 1\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nu: 2\r\n\r\n").await;
        let mut response = response.await.expect("an answer");
        assert_eq!((response.status().as_u16(), response.headers()["x"].as_bytes()), (200, &b"y"[..]));
        let (text, trailers) = read(response.body_mut()).await;
        assert_eq!((text.as_str(), trailers.expect("trailers")["u"].as_bytes()), ("ok", &b"2"[..]));
        // The connection to the endpoint is kept for the next stream.
        let (response, _) = client.ready().await.expect("room").send_request(get("/z"), true).expect("is sent");
        upstream.expect("GET /z HTTP/1.1\r\nHost: a\r\n\r\n").await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        let response = response.await.expect("an answer");
        assert!(response.status() == 204 && response.body().is_end_stream());
    });
}

#[test]
fn streams_of_one_connection_are_balanced_one_by_one() {
    run(async || {
        let servers = [Server::start(V4).await, Server::start(V4).await];
        let front = Front::start(&[servers[0].address(), servers[1].address()], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let (first, _) = client.send_request(get("/"), true).expect("is sent");
        let (second, _) = client.ready().await.expect("room").send_request(get("/"), true).expect("is sent");
        for server in &servers {
            let mut upstream = server.accept().await;
            upstream.expect(GET).await;
            upstream.send(OK).await;
        }
        assert!(first.await.is_ok() && second.await.is_ok());
    });
}

#[test]
fn a_request_of_http1_is_a_stream_to_an_endpoint_of_http2() {
    run(async || {
        let server = Endpoint2::start().await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Http2).await;
        let mut client = front.client_of_http1().await;
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n").await;
        let mut connection = server.accept(10).await;
        let (mut request, respond) = next(&mut connection).await;
        go_on(connection);
        assert_eq!((request.uri().path(), request.uri().authority().map(|a| a.as_str())), ("/x", Some("a")));
        let (text, trailers) = read(request.body_mut()).await;
        assert_eq!((text.as_str(), trailers.expect("trailers")["t"].as_bytes()), ("abc", &b"1"[..]));
        answer(respond, "ok");
        client.expect(ANSWERED).await;
    });
}

#[test]
fn a_request_that_was_turned_away_unread_goes_again_with_its_body() {
    run(async || {
        let server = Endpoint2::start().await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Http2).await;
        let mut client = front.client().await;
        let post = Request::post("http://a/").body(()).expect("a request");
        let (response, mut body) = client.send_request(post, false).expect("is sent");
        body.send_data("hello".into(), true).expect("is sent");
        let mut connection = server.accept(10).await;
        let (_request, mut respond) = next(&mut connection).await;
        respond.send_reset(Reason::REFUSED_STREAM);
        let (mut request, respond) = next(&mut connection).await;
        go_on(connection);
        assert_eq!(read(request.body_mut()).await.0, "hello");
        answer(respond, "ok");
        assert_eq!(response.await.expect("an answer").status(), 200);
    });
}

#[test]
fn a_reset_that_says_nothing_of_the_kind_is_no_reason_to_post_twice() {
    run(async || {
        let server = Endpoint2::start().await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Http2).await;
        let mut client = front.client_of_http1().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab").await;
        let mut connection = server.accept(10).await;
        let (_request, mut respond) = next(&mut connection).await;
        respond.send_reset(Reason::INTERNAL_ERROR);
        go_on(connection);
        client.expect_status(502).await;
    });
}

/// Else the rest of the body would be read as its next request.
#[test]
fn a_client_that_owes_the_rest_of_a_body_is_not_kept_when_the_request_is_turned_away_again() {
    run(async || {
        let server = Endpoint2::start().await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Http2).await;
        let mut client = front.client_of_http1().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nab").await;
        let mut connection = server.accept(10).await;
        for _ in 0..2 {
            let (_request, mut respond) = next(&mut connection).await;
            respond.send_reset(Reason::REFUSED_STREAM);
        }
        go_on(connection);
        let answer = client.expect_status(502).await;
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    });
}

#[test]
fn an_endpoint_that_takes_one_stream_at_a_time_gets_a_second_connection() {
    run(async || {
        let server = Endpoint2::start().await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Http2).await;
        let (mut one, mut two) = (front.client_of_http1().await, front.client_of_http1().await);
        one.send(GET).await;
        let mut first = server.accept(1).await;
        let (_request, respond) = next(&mut first).await;
        go_on(first);
        two.send(GET).await;
        let mut second = server.accept(1).await;
        let (_request, other) = next(&mut second).await;
        go_on(second);
        answer(respond, "1");
        answer(other, "2");
        one.expect("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n").await;
        two.expect("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n").await;
    });
}

#[test]
fn an_endpoint_that_says_goodbye_finishes_what_it_has_and_gets_nothing_new() {
    run(async || {
        let server = Endpoint2::start().await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Http2).await;
        let (mut one, mut two) = (front.client_of_http1().await, front.client_of_http1().await);
        one.send(GET).await;
        let mut leaving = server.accept(10).await;
        let (_request, respond) = next(&mut leaving).await;
        leaving.graceful_shutdown();
        go_on(leaving);
        // By the time that this is answered, the goodbye has been read: it was written before.
        answer(respond, "1");
        one.expect("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n").await;
        two.send(GET).await;
        let mut connection = server.accept(10).await;
        let (_request, respond) = next(&mut connection).await;
        go_on(connection);
        answer(respond, "2");
        two.expect("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n").await;
    });
}

#[test]
fn a_call_goes_as_http2_unasked_and_its_deadline_is_passed_on_reduced() {
    run(async || {
        let server = Endpoint2::start().await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let call = Request::post("http://a/s/M").header("content-type", "application/grpc").header("grpc-timeout", "5S");
        let (response, _) = client.send_request(call.body(()).expect("a request"), true).expect("is sent");
        let mut connection = server.accept(10).await;
        let (request, mut respond) = next(&mut connection).await;
        go_on(connection);
        let left = crate::grpc::read_timeout(request.headers()["grpc-timeout"].as_bytes()).expect("a timeout");
        assert!(left < Duration::from_secs(5) && left > Duration::from_secs(2), "{left:?}");
        assert_eq!(request.headers()["te"], "trailers");
        let only = Response::builder().header("grpc-status", "5").body(()).expect("an answer");
        respond.send_response(only, true).expect("is sent");
        let response = response.await.expect("an answer");
        assert!(response.headers()["grpc-status"] == "5" && response.body().is_end_stream(), "trailers only stays so");
    });
}

#[test]
fn a_call_whose_time_is_up_ends_by_grpcs_own_rules() {
    run(async || {
        let server = Endpoint2::start().await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let call = || Request::post("http://a/s/M").header("content-type", "application/grpc").header("grpc-timeout", "50m");
        let (silent, _) = client.send_request(call().body(()).expect("a request"), true).expect("is sent");
        let mut connection = server.accept(10).await;
        let (_request, _never) = next(&mut connection).await;
        let (begun, _) = client.ready().await.expect("room").send_request(call().body(()).expect("one"), true).expect("is sent");
        let (_request, mut respond) = next(&mut connection).await;
        go_on(connection);
        let mut stream = respond.send_response(Response::new(()), false).expect("is sent");
        stream.send_data("half".into(), false).expect("is sent");
        let silent = silent.await.expect("an answer");
        assert_eq!((silent.status().as_u16(), silent.headers()["grpc-status"].as_bytes()), (200, &b"4"[..]));
        let mut begun = begun.await.expect("an answer");
        let (text, trailers) = read(begun.body_mut()).await;
        assert_eq!((text.as_str(), trailers.expect("trailers")["grpc-status"].as_bytes()), ("half", &b"4"[..]));
    });
}

#[test]
fn a_call_that_nobody_can_take_is_unavailable() {
    run(async || {
        let front = Front::start(&[], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let call = Request::post("http://a/s/M").header("content-type", "application/grpc+proto").body(()).expect("a request");
        let response = client.send_request(call, true).expect("is sent").0.await.expect("an answer");
        assert_eq!((response.status().as_u16(), response.headers()["grpc-status"].as_bytes()), (200, &b"14"[..]));
        assert!(response.headers()["grpc-message"].to_str().is_ok_and(|text| text.contains("Empty")));
    });
}

#[test]
fn what_a_client_cancels_is_cancelled_upstream() {
    run(async || {
        let server = Server::start(V4).await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let (response, mut body) = client.send_request(get("/"), true).expect("is sent");
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        body.send_reset(Reason::CANCEL);
        drop(response);
        assert!(!upstream.read_all().await.1, "a reset, not an end");
    });
}

#[test]
fn an_answer_that_breaks_off_is_a_reset_stream_and_the_others_go_on() {
    run(async || {
        let server = Server::start(V4).await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let (broken, _) = client.send_request(get("/"), true).expect("is sent");
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab").await;
        let mut broken = broken.await.expect("an answer");
        drop(upstream);
        let end = loop {
            match broken.body_mut().data().await.expect("no end of the body") {
                Ok(data) => drop(data),
                Err(error) => break error,
            }
        };
        assert_eq!(end.reason(), Some(Reason::INTERNAL_ERROR));
        let (whole, _) = client.ready().await.expect("room").send_request(get("/"), true).expect("is sent");
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send(OK).await;
        assert_eq!(whole.await.expect("an answer").status(), 200);
    });
}

#[test]
fn a_reader_that_takes_nothing_holds_back_its_own_answer_alone() {
    run(async || {
        let server = Server::start(V4).await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let (slow, _) = client.send_request(get("/"), true).expect("is sent");
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let _unread = slow.await.expect("an answer");
        // Until the sockets are full: what the proxy holds is bounded, so that writing stops.
        let piece = vec![0; 1 << 20];
        let mut sent = 0;
        while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), upstream.0.write(&piece)).await {
            sent += written.expect("is sent");
        }
        assert!(sent < 30 << 20, "{sent} bytes were taken");
        let (other, _) = client.ready().await.expect("room").send_request(get("/"), true).expect("is sent");
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send(OK).await;
        let mut other = other.await.expect("an answer");
        assert_eq!(read(other.body_mut()).await.0, "ok");
    });
}

#[test]
fn a_stream_that_is_refused_is_not_reset_while_its_body_may_come() {
    run(async || {
        let front = Front::start(&[], UpstreamProtocol::Auto).await;
        for kind in ["text/plain", "application/grpc"] {
            let post = Request::post("http://a/").header("content-type", kind).body(()).expect("a request");
            let (response, mut body) = front.client().await.send_request(post, false).expect("is sent");
            let mut response = response.await.expect("an answer");
            assert_eq!(response.status(), if kind == "text/plain" { 503 } else { 200 });
            read(response.body_mut()).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            body.send_data("x".into(), true).expect("may still be sent");
        }
    });
}

/// A request that the proxy refuses by itself.
fn large() -> Request<()> {
    let large = (0..40).fold(Request::get("http://a/"), |large, at| large.header(format!("h{at}"), "x".repeat(1000)));
    large.body(()).expect("a request")
}

#[test]
fn a_head_that_is_too_large_is_answered_as_in_http1_and_the_connection_goes_on() {
    run(async || {
        let server = Server::start(V4).await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Auto).await;
        let mut client = front.client().await;
        let (refused, _) = client.send_request(large(), true).expect("is sent");
        assert_eq!(refused.await.expect("an answer").status(), 431);
        let (good, _) = client.ready().await.expect("room").send_request(get("/"), true).expect("is sent");
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send(OK).await;
        assert_eq!(good.await.expect("an answer").status(), 200);
    });
}

#[test]
fn draining_says_goodbye_twice_and_lets_streams_finish() {
    run(async || {
        let server = Server::start(V4).await;
        let front = Front::start(&[server.address()], UpstreamProtocol::Auto).await;
        let socket = TcpStream::connect(front.address).await.expect("the proxy listens");
        let (mut client, connection) = client::handshake(socket).await.expect("a handshake");
        let ended = tokio::task::spawn_local(connection);
        let (response, _) = client.send_request(get("/"), true).expect("is sent");
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        let lifecycle = front.worker.lifecycle().clone();
        let draining = tokio::task::spawn_local(async move { lifecycle.drain(PATIENCE).await });
        let still = async {
            // Refused as soon as the goodbye is there.
            while client.clone().ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        still.await;
        upstream.send(OK).await;
        let mut response = response.await.expect("an answer");
        assert_eq!(read(response.body_mut()).await.0, "ok");
        ended.await.expect("no panic").expect("a proper end");
        draining.abort();
    });
}
