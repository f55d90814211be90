//! How long each side may take, and how long a connection lasts. On a clock that stands still while anything is to do.

use super::limits::on_still_clock;
use super::*;
use tokio::time::{Instant as Moment, sleep};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
const BEGUN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";

fn seconds(count: u64) -> u64 {
    count * 1_000
}

/// Four limits that no test can confuse.
fn timeouts() -> Timeouts {
    Timeouts { response_head_ms: seconds(20), idle_ms: seconds(30), request_ms: None, stream_idle_ms: seconds(50) }
}

async fn proxy_with(server: &Server, timeouts: Timeouts, client_connections: ClientConnections) -> Proxy {
    let shape = Shape { timeouts, client_connections, ..Shape::default() };
    Proxy::start_with(&[server.address()], shape).await
}

async fn opened_with(timeouts: Timeouts, client_connections: ClientConnections) -> (Server, Proxy, Peer) {
    let server = Server::start(V4).await;
    let proxy = proxy_with(&server, timeouts, client_connections).await;
    let client = proxy.connect().await;
    (server, proxy, client)
}

/// One request that is answered at once.
async fn exchange(server: &Server, client: &mut Peer) {
    client.send(GET).await;
    let mut upstream = server.accept().await;
    upstream.expect(GET).await;
    upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    client.expect(OK).await;
}

/// It took this long, or up to ten milliseconds more.
fn expect_elapsed(since: Moment, count: u64) {
    let took = since.elapsed();
    let expected = Duration::from_secs(count);
    assert!(took >= expected && took <= expected + Duration::from_millis(10), "{took:?}, not {expected:?}");
}

#[test]
fn a_client_without_a_request_is_let_go_after_the_idle_timeout() {
    on_still_clock(async || {
        let (server, _proxy, mut client) = opened_with(timeouts(), ClientConnections::default()).await;
        let start = Moment::now();
        exchange(&server, &mut client).await;
        client.expect_end().await;
        expect_elapsed(start, 30);
        let mut silent = _proxy.connect().await;
        silent.expect_end().await;
        expect_elapsed(start, 60);
    });
}

#[test]
fn a_head_that_does_not_end_is_refused_after_ten_seconds() {
    on_still_clock(async || {
        let (_server, _proxy, mut client) = opened_with(timeouts(), ClientConnections::default()).await;
        let start = Moment::now();
        for part in ["GET / HT", "TP/1.1\r\n", "Host: a\r\n"] {
            client.send(part).await;
            sleep(Duration::from_secs(3)).await;
        }
        client.expect_last_status(408).await;
        expect_elapsed(start, 10);
    });
}

#[test]
fn an_answer_is_waited_for_from_the_end_of_the_request_however_slowly_that_came() {
    on_still_clock(async || {
        let (server, _proxy, mut client) = opened_with(timeouts(), ClientConnections::default()).await;
        client.send(POST).await;
        let mut upstream = server.accept().await;
        for byte in ["a", "b", "c", "d"] {
            sleep(Duration::from_secs(40)).await;
            client.send(byte).await;
        }
        let start = Moment::now();
        upstream.expect(format!("{POST}abcd")).await;
        let answer = client.expect_status(504).await;
        assert!(answer.contains("evenkeel: UpstreamTimeout: "), "{answer}");
        expect_elapsed(start, 20);
        assert_eq!(_proxy.in_flight(), 0);
    });
}

#[test]
fn a_body_that_stands_still_ends_the_request_whoever_stopped() {
    on_still_clock(async || {
        let (server, _proxy, mut client) = opened_with(timeouts(), ClientConnections::default()).await;
        let start = Moment::now();
        client.send(format!("{POST}ab")).await;
        let mut upstream = server.accept().await;
        let (answer, _) = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("evenkeel: ClientTimeout: "), "{answer}");
        expect_elapsed(start, 50);
        assert!(!upstream.read_all().await.1, "what has begun must not look whole");

        let mut client = _proxy.connect().await;
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send(format!("{BEGUN}a")).await;
        client.expect(format!("{BEGUN}a")).await;
        sleep(Duration::from_secs(45)).await;
        upstream.send("b").await;
        client.expect("b").await;
        let start = Moment::now();
        assert_eq!(client.read_all().await, (String::new(), false));
        expect_elapsed(start, 50);
    });
}

#[test]
fn bytes_either_way_keep_an_exchange_alive() {
    on_still_clock(async || {
        let (server, _proxy, mut client) = opened_with(timeouts(), ClientConnections::default()).await;
        client.send(POST).await;
        let mut upstream = server.accept().await;
        upstream.expect(POST).await;
        upstream.send(BEGUN).await;
        for byte in ["a", "b", "c", "d"] {
            sleep(Duration::from_secs(40)).await;
            client.send(byte).await;
            upstream.expect(byte).await;
        }
        upstream.send("abcd").await;
        client.expect("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd").await;
    });
}

#[test]
fn a_request_as_a_whole_has_its_own_limit_which_the_next_one_does_not_inherit() {
    on_still_clock(async || {
        let limited = Timeouts { request_ms: Some(seconds(15)), ..timeouts() };
        let (server, _proxy, mut client) = opened_with(limited, ClientConnections::default()).await;
        exchange(&server, &mut client).await;
        sleep(Duration::from_secs(20)).await;
        exchange(&server, &mut client).await;
        let start = Moment::now();
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        let answer = client.expect_status(504).await;
        assert!(answer.contains("evenkeel: RequestTimeout: "), "{answer}");
        expect_elapsed(start, 15);

        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        let start = Moment::now();
        upstream.send(format!("{BEGUN}a")).await;
        sleep(Duration::from_secs(10)).await;
        upstream.send("b").await;
        client.expect(format!("{BEGUN}ab")).await;
        assert_eq!(client.read_all().await, (String::new(), false), "the client sees that it isn't whole");
        expect_elapsed(start, 15);
    });
}

#[test]
fn the_wait_for_room_counts_towards_the_request_as_a_whole() {
    on_still_clock(async || {
        let server = Server::start(V4).await;
        let limits = Limits { max_parallel_requests_per_endpoint: Some(1), pending_timeout_ms: seconds(60), ..Limits::default() };
        let timeouts = Timeouts { request_ms: Some(seconds(5)), ..timeouts() };
        let proxy = Proxy::start_with(&[server.address()], Shape { limits, timeouts, ..Shape::default() }).await;
        let mut first = proxy.connect().await;
        first.send(GET).await;
        let _upstream = server.accept().await;
        sleep(Duration::from_secs(1)).await;
        let mut second = proxy.connect().await;
        let start = Moment::now();
        second.send(GET).await;
        // The first one's end, after four seconds, lets it in; the rest of its time is one second.
        first.expect_status(504).await;
        expect_elapsed(start, 4);
        second.expect_status(504).await;
        expect_elapsed(start, 5);
        assert_eq!(proxy.pool().capacity().queue().pending(), 0);
    });
}

#[test]
fn the_last_request_that_a_connection_may_carry_says_so_in_its_answer() {
    on_still_clock(async || {
        let most = ClientConnections { max_requests: Some(2), ..ClientConnections::default() };
        let (server, _proxy, mut client) = opened_with(timeouts(), most).await;
        exchange(&server, &mut client).await;
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send(OK).await;
        client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        client.expect_end().await;
    });
}

#[test]
fn a_connection_of_its_age_ends_at_once_if_idle_and_else_with_its_next_answer() {
    on_still_clock(async || {
        let age = ClientConnections { max_age_ms: Some(seconds(20)), ..ClientConnections::default() };
        let (server, proxy, mut client) = opened_with(timeouts(), age).await;
        let start = Moment::now();
        exchange(&server, &mut client).await;
        client.expect_end().await;
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(18) && took <= Duration::from_millis(22_010), "{took:?}");

        let mut busy = proxy.connect().await;
        busy.send(POST).await;
        let mut upstream = server.accept().await;
        sleep(Duration::from_secs(25)).await;
        busy.send("abcd").await;
        upstream.expect(format!("{POST}abcd")).await;
        upstream.send(OK).await;
        busy.expect(OK).await;
        busy.expect_end().await;
    });
}

/// A client of HTTP/2 and the end of its connection.
async fn h2_client(proxy: &Proxy) -> (h2::client::SendRequest<bytes::Bytes>, tokio::task::JoinHandle<Moment>) {
    let socket = TcpStream::connect(proxy.address).await.expect("the proxy listens");
    let (client, connection) = h2::client::Builder::new().handshake(socket).await.expect("a handshake");
    let ended = tokio::task::spawn_local(async move {
        connection.await.expect("ends in good order");
        Moment::now()
    });
    (client, ended)
}

#[test]
fn a_connection_of_http2_that_has_served_enough_is_told_to_go_and_its_requests_end_well() {
    on_still_clock(async || {
        let most = ClientConnections { max_requests: Some(2), ..ClientConnections::default() };
        let (server, proxy, _) = opened_with(timeouts(), most).await;
        let (client, ended) = h2_client(&proxy).await;
        let mut client = client.ready().await.expect("room");
        let start = Moment::now();
        let ask = |client: &mut h2::client::SendRequest<bytes::Bytes>| {
            let request = http::Request::get("http://a/").body(()).expect("a request");
            client.send_request(request, true).expect("is sent").0
        };
        let answers = [ask(&mut client), ask(&mut client)];
        for _ in 0..2 {
            let mut upstream = server.accept().await;
            upstream.expect(GET).await;
            tokio::task::spawn_local(async move {
                sleep(Duration::from_secs(1)).await;
                upstream.send(OK).await;
            });
        }
        for answer in answers {
            assert_eq!(answer.await.expect("an answer").status(), 200);
        }
        let ended = ended.await.expect("is told to go");
        assert!(ended - start < Duration::from_secs(5), "{:?}", ended - start);
    });
}

#[test]
fn an_idle_connection_of_http2_is_told_to_go_at_its_age() {
    on_still_clock(async || {
        let age = ClientConnections { max_age_ms: Some(seconds(20)), ..ClientConnections::default() };
        let (_server, proxy, _) = opened_with(timeouts(), age).await;
        let start = Moment::now();
        let (_client, ended) = h2_client(&proxy).await;
        let took = ended.await.expect("is told to go") - start;
        assert!(took >= Duration::from_secs(18) && took <= Duration::from_secs(23), "{took:?}");
    });
}

#[test]
fn only_a_call_of_grpc_may_stand_still_for_days() {
    let of = |is_call| super::super::exchange::Patience::new(&timeouts(), is_call).stream_idle;
    assert_eq!(of(false), Duration::from_secs(50));
    assert!(of(true) > Duration::from_secs(30 * 24 * 3600));
}
