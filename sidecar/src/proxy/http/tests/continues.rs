//! `Expect: 100-continue`: the endpoint decides, the body comes when it is asked for, and nothing half-used is used again.

use super::*;

const LENGTH: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn the_body_comes_once_the_endpoint_says_100() {
    on_both_families(async |ip| {
        for (head, body) in [(LENGTH, "hello"), (CHUNKED, "5\r\nhello\r\n0\r\nX: y\r\n\r\n")] {
            let (server, proxy, mut client) = opened(ip).await;
            client.send(head).await;
            let mut upstream = server.accept().await;
            upstream.expect(head).await;
            upstream.send(CONTINUE).await;
            client.expect(CONTINUE).await;
            client.send(body).await;
            upstream.expect(body).await;
            upstream.send(OK).await;
            client.expect(OK).await;
            assert_eq!(proxy.in_flight(), 0);
            client.send(GET).await;
            upstream.expect(GET).await;
            server.saw_nobody().await;
        }
    });
}

#[test]
fn an_answer_in_the_place_of_100_ends_both_connections() {
    on_both_families(async |ip| {
        for (head, status) in [(LENGTH, "401 No"), (CHUNKED, "417 No"), (LENGTH, "200 OK")] {
            let (server, proxy, mut client) = opened(ip).await;
            client.send(head).await;
            let mut upstream = server.accept().await;
            upstream.expect(head).await;
            upstream.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno")).await;
            client.expect(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")).await;
            client.expect_end().await;
            let (rest, _) = upstream.read_all().await;
            assert_eq!(rest, "");
            server.saw_nobody().await;
            assert_eq!(proxy.in_flight(), 0);
        }
    });
}

#[test]
fn a_client_that_does_not_wait_is_served_but_its_upstream_connection_is_not_used_again() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        client.send(LENGTH.to_owned() + "hello").await;
        let mut upstream = server.accept().await;
        upstream.expect(LENGTH.to_owned() + "hello").await;
        upstream.send(OK).await;
        client.expect(OK).await;
        upstream.expect_end().await;
        client.send(GET).await;
        server.accept().await.expect(GET).await;
    });
}

#[test]
fn an_http_1_0_client_is_never_sent_a_100() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        client.send("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello").await;
        let mut upstream = server.accept().await;
        upstream.expect("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
        upstream.send(CONTINUE.to_owned() + OK).await;
        client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        client.expect_end().await;
    });
}

#[test]
fn a_client_that_waits_is_refused_without_its_body() {
    on_both_families(async |_| {
        let proxy = Proxy::start(&[]).await;
        let mut client = proxy.connect().await;
        client.send(LENGTH).await;
        client.expect_last_status(503).await;
    });
}

#[test]
fn a_body_that_is_bad_after_the_100_aborts_upstream() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        client.send(CHUNKED).await;
        let mut upstream = server.accept().await;
        upstream.expect(CHUNKED).await;
        upstream.send(CONTINUE).await;
        client.expect(CONTINUE).await;
        client.send("+5\r\nhello\r\n0\r\n\r\n").await;
        client.expect_last_status(400).await;
        let (rest, proper) = upstream.read_all().await;
        assert!(rest.is_empty() && !proper, "{rest:?}");
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn an_endpoint_that_never_says_100_is_to_blame_for_the_wait() {
    with_paused_clock(async {
        for (says, status) in [("", 504), (CONTINUE, 408)] {
            let server = Server::start(V4).await;
            let proxy = Proxy::start(&[server.address()]).await;
            let mut client = proxy.connect().await;
            client.send(LENGTH).await;
            let mut upstream = server.accept().await;
            upstream.expect(LENGTH).await;
            upstream.send(says).await;
            client.expect(says).await;
            client.expect_last_status(status).await;
            assert_eq!(proxy.in_flight(), 0);
        }
    });
}
