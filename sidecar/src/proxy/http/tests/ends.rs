//! Ends that come too early: truncation is always seen, cancellation is passed on, nothing half-used is used again.

use super::*;
use evenkeel_balance::{Ejection, Outcome};

#[test]
fn a_truncated_answer_never_looks_complete() {
    on_both_families(async |ip| {
        for (head, reset) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", true),
            ("HTTP/1.1 200 OK\r\n", true),
        ] {
            let (server, proxy, mut client) = opened(ip).await;
            client.send(GET).await;
            let mut upstream = server.accept().await;
            upstream.expect(GET).await;
            let chunked = head.contains("chunked");
            upstream.send(format!("{head}\r\n{}", if chunked { "4\r\nabcd\r\n" } else { "abcd" })).await;
            client.expect(head).await;
            if reset {
                upstream.reset();
            } else {
                drop(upstream);
            }
            let (text, proper) = client.read_all().await;
            assert!(!proper, "{head:?} {reset}: {text:?}");
            assert_eq!(proxy.in_flight(), 0);
        }
    });
}

#[test]
fn a_bad_chunk_in_an_answer_cuts_it_off() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        upstream.send(head).await;
        client.expect(head).await;
        upstream.send("0\r\nHost: b\r\n\r\n").await;
        let (text, proper) = client.read_all().await;
        assert!(text.is_empty() && !proper, "{text:?}");
    });
}

#[test]
fn an_answer_that_the_connection_ends_ends_the_clients_too() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send("HTTP/1.0 200 OK\r\n\r\nabc").await;
        client.expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc").await;
        upstream.send("def").await;
        client.expect("def").await;
        drop(upstream);
        client.expect_end().await;
    });
}

#[test]
fn a_client_that_goes_cancels_upstream() {
    on_both_families(async |ip| {
        for reset in [false, true] {
            for request in [GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"] {
                let (server, proxy, mut client) = opened(ip).await;
                client.send(request).await;
                let mut upstream = server.accept().await;
                upstream.expect(request).await;
                assert_eq!(proxy.in_flight(), 1);
                if reset {
                    client.reset();
                } else {
                    drop(client);
                }
                let (rest, _) = upstream.read_all().await;
                assert_eq!(rest, "");
                assert_eq!(proxy.in_flight(), 0);
            }
        }
    });
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends_and_ends_both_connections() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc";
        client.send(request).await;
        let mut upstream = server.accept().await;
        upstream.expect(request).await;
        upstream.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await;
        client.expect("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
        // What it still sends is taken from it and goes nowhere.
        client.send("x".repeat(50_000)).await;
        client.expect_end().await;
        let (rest, _) = upstream.read_all().await;
        assert_eq!(rest, "");
        server.saw_nobody().await;
    });
}

#[test]
fn an_early_answer_is_seen_though_the_endpoint_takes_no_more() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
        client.send(request).await;
        let mut upstream = server.accept().await;
        upstream.expect(request).await;
        upstream.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
        client.expect_last_status(413).await;
    });
}

#[test]
fn no_answer_is_a_502_and_the_client_may_go_on() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        for (request, partial) in [(post, ""), (post, "H"), (GET, "HTTP/1.1 200 OK\r\nConte")] {
            client.send(request).await;
            let mut upstream = server.accept().await;
            upstream.expect(request).await;
            upstream.send(partial).await;
            drop(upstream);
            client.expect_status(502).await;
        }
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send(OK).await;
        client.expect(OK).await;
    });
}

#[test]
fn while_draining_each_answer_is_the_last() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        upstream.send(OK).await;
        client.expect(OK).await;
        let lifecycle = proxy.worker.lifecycle().clone();
        tokio::task::spawn_local(async move { lifecycle.drain(PATIENCE).await });
        tokio::task::yield_now().await;
        client.send(GET).await;
        upstream.expect(GET).await;
        upstream.send(OK).await;
        client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        client.expect_end().await;
    });
}

#[test]
fn a_request_whose_pool_has_gone_gets_503_and_the_end() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (mut client, _upstream) = kept(&server, &proxy).await;
        proxy.table.store(Arc::default());
        client.send(GET).await;
        let (text, proper) = client.read_all().await;
        assert!(proper && text.starts_with("HTTP/1.1 503 ") && text.contains("evenkeel: NoPool: "), "{text:?}");
        server.saw_nobody().await;
    });
}

/// A probing request that the first of two endpoints has begun to answer, 8 of 9 bytes.
async fn begin_probe(proxy: &Proxy, probed: &Server, other: &Server) -> (Peer, Peer) {
    loop {
        let mut client = proxy.connect().await;
        client.send(GET).await;
        let mut upstream = tokio::select! {
            upstream = probed.accept() => upstream,
            mut upstream = other.accept() => {
                upstream.send(OK).await;
                client.expect(OK).await;
                continue;
            }
        };
        assert_eq!(proxy.endpoints[0].ejection(), Ejection::Probing);
        let part = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nunfinish";
        upstream.send(part).await;
        client.expect(part).await;
        return (client, upstream);
    }
}

#[test]
fn a_probed_endpoint_is_judged_by_its_answers_head_and_again_by_a_bad_end() {
    on_both_families(async |ip| {
        let (probed, other) = (Server::start(ip).await, Server::start(ip).await);
        let passive = Passive {
            consecutive_errors: 1,
            window: PATIENCE,
            base_ejection: Duration::ZERO,
            max_ejection: Duration::ZERO,
            max_ejection_percent: 50,
        };
        let shape = Shape { passive: Some(passive), ..Shape::default() };
        let proxy = Proxy::start_with(&[probed.address(), other.address()], shape).await;
        let endpoint = proxy.endpoints[0].clone();
        proxy.pool().balance().judge(&endpoint, Outcome::GatewayError, std::time::Instant::now()).expect("is ejected");
        let _first = begin_probe(&proxy, &probed, &other).await;
        assert_ne!(endpoint.ejection(), Ejection::Probing, "the next may probe though this answer goes on");
        let (mut client, upstream) = begin_probe(&proxy, &probed, &other).await;
        assert_eq!(endpoint.ejection(), Ejection::Closed, "back while both answers go on");
        upstream.reset();
        assert!(!client.read_all().await.1);
        assert_ne!(endpoint.ejection(), Ejection::Closed, "the truncation is an error all the same");
    });
}

#[test]
fn a_head_that_does_not_end_gets_408_and_an_idle_client_nothing() {
    with_paused_clock(async {
        let proxy = Proxy::start(&[]).await;
        let start = tokio::time::Instant::now();
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\n").await;
        client.expect_last_status(408).await;
        assert_eq!(start.elapsed().as_secs(), 10);
        let start = tokio::time::Instant::now();
        proxy.connect().await.expect_end().await;
        assert_eq!(start.elapsed().as_secs(), 60);
    });
}

#[test]
fn an_endpoint_that_does_not_answer_gets_504_after_a_minute() {
    with_paused_clock(async {
        let server = Server::start(V4).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let mut client = proxy.connect().await;
        let start = tokio::time::Instant::now();
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        client.expect_status(504).await;
        assert_eq!(start.elapsed().as_secs(), 60);
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn an_idle_upstream_connection_is_closed_after_four_seconds_or_sooner_if_the_server_says_so() {
    with_paused_clock(async {
        for (keep_alive, seconds) in [("", 4..=5), ("Keep-Alive: timeout=3\r\n", 2..=3), ("Keep-Alive: timeout=1\r\n", 0..=0)] {
            let server = Server::start(V4).await;
            let proxy = Proxy::start(&[server.address()]).await;
            let mut client = proxy.connect().await;
            client.send(GET).await;
            let mut upstream = server.accept().await;
            upstream.expect(GET).await;
            upstream.send(format!("HTTP/1.1 200 OK\r\n{keep_alive}Content-Length: 0\r\n\r\n")).await;
            client.expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            let start = tokio::time::Instant::now();
            upstream.expect_end().await;
            assert!(seconds.contains(&start.elapsed().as_secs()), "{keep_alive} {:?}", start.elapsed());
        }
    });
}

#[test]
fn connections_kept_for_an_endpoint_that_leaves_are_closed_within_a_second() {
    with_paused_clock(async {
        let server = Server::start(V4).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (_client, mut upstream) = kept(&server, &proxy).await;
        let start = tokio::time::Instant::now();
        proxy.relist(&[], &[]);
        upstream.expect_end().await;
        assert!(start.elapsed() < Duration::from_millis(1100), "{:?}", start.elapsed());
    });
}
