//! Bad framing: heads that must not send a byte upstream, bodies that must not end there, answers that must not pass.

use super::*;

/// Sends a head that is refused, in two pieces, and sees that nobody connects.
async fn refuse(ip: IpAddr, text: &str, status: u16) {
    let (server, _proxy, mut client) = opened(ip).await;
    let (first, second) = text.as_bytes().split_at(text.len() / 2);
    client.send(first).await;
    tokio::task::yield_now().await;
    // The proxy may already have refused the first piece and closed.
    let _ = client.0.write_all(second).await;
    client.expect_last_status(status).await;
    server.saw_nobody().await;
}

#[test]
fn bad_heads_send_not_one_byte_upstream() {
    on_both_families(async |ip| {
        for (text, status) in [
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 4\r\n\r\nbody", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 200-ok\r\n\r\n", 417),
            (&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8192)), 414),
            (&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100)), 431),
            (&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(40_000)), 431),
        ] {
            refuse(ip, text, status).await;
        }
    });
}

#[test]
fn a_bad_body_behind_a_good_head_in_one_piece_sends_nothing_upstream() {
    on_both_families(async |ip| {
        refuse(ip, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n", 400).await
    });
}

#[test]
fn requests_before_a_bad_one_are_answered_and_those_after_it_are_not() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        client.send(GET.to_owned() + "GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send(OK).await;
        client.expect(OK).await;
        client.expect_last_status(400).await;
        server.saw_nobody().await;
    });
}

#[test]
fn a_bad_chunk_aborts_upstream_and_nothing_of_it_arrives_there() {
    on_both_families(async |ip| {
        for bad in ["-1\r\nx\r\n", "1;\0\r\nx\r\n", "1\r\nxyz", "0\r\nContent-Length: 5\r\n\r\n", "0\r\nX : y\r\n\r\n"] {
            let (server, proxy, mut client) = opened(ip).await;
            let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            client.send(head.to_owned() + "2\r\nab\r\n").await;
            let mut upstream = server.accept().await;
            upstream.expect(head.to_owned() + "2\r\nab\r\n").await;
            client.send(bad.to_owned() + GET).await;
            client.expect_last_status(400).await;
            let (rest, proper) = upstream.read_all().await;
            assert!(rest.is_empty() && !proper, "{bad:?}: {rest:?}");
            server.saw_nobody().await;
            assert_eq!(proxy.in_flight(), 0);
        }
    });
}

#[test]
fn bad_answers_become_502_and_their_connection_is_not_used_again() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nX: \x01\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n".to_owned(),
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n".to_owned(),
            "SSH-2.0-OpenSSH\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(40_000)),
        ] {
            client.send(GET).await;
            let mut upstream = server.accept().await;
            upstream.expect(GET).await;
            let _ = upstream.0.write_all(answer.as_bytes()).await;
            client.expect_status(502).await;
            let (rest, _) = upstream.read_all().await;
            assert_eq!(rest, "");
        }
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn both_framings_in_an_answer_drop_the_length_and_the_connection() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").await;
        client.expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").await;
        upstream.expect_end().await;
        client.send(GET).await;
        server.accept().await.expect(GET).await;
    });
}

#[test]
fn bytes_after_an_answer_spoil_its_connection() {
    on_both_families(async |ip| {
        for late in [false, true] {
            let (server, _proxy, mut client) = opened(ip).await;
            client.send(GET).await;
            let mut upstream = server.accept().await;
            upstream.expect(GET).await;
            if late {
                upstream.send(OK).await;
                client.expect(OK).await;
                upstream.send("HTTP/1.1 200 Poison\r\n").await;
                tokio::task::yield_now().await;
            } else {
                upstream.send(OK.to_owned() + "HTTP/1.1 200 Poison\r\n").await;
                client.expect(OK).await;
            }
            client.send(GET).await;
            let mut second = server.accept().await;
            second.expect(GET).await;
            second.send(OK).await;
            client.expect(OK).await;
        }
    });
}

#[test]
fn upgrade_and_hop_by_hop_headers_stop_here() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-Hop\r\nUpgrade: h2c\r\nX-Hop: 1\r\nX-Forwarded-For: f\r\n\r\n")
            .await;
        let mut upstream = server.accept().await;
        upstream.expect("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: f\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nContent-Length: 0\r\n\r\n").await;
        client.expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        client.send(GET).await;
        upstream.expect(GET).await;
    });
}
