//! WebSocket: a tunnel after the 101 to a request that asked for it, and not a byte earlier.

use super::*;

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const ASKED: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A client and an endpoint with a tunnel between them.
async fn tunnelled(server: &Server, proxy: &Proxy) -> (Peer, Peer) {
    let mut client = proxy.connect().await;
    client.send(ASK).await;
    let mut upstream = server.accept().await;
    upstream.expect(ASKED).await;
    upstream.send(SWITCH).await;
    client.expect(SWITCHED).await;
    (client, upstream)
}

#[test]
fn after_the_101_bytes_pass_both_ways_whatever_they_look_like() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        client.send(ASK).await;
        let mut upstream = server.accept().await;
        upstream.expect(ASKED).await;
        upstream.send(SWITCH.to_owned() + "greeting").await;
        client.expect(SWITCHED.to_owned() + "greeting").await;
        let raw = "GET / HTTP/1.1\r\nHost : a\r\n\r\n\0\x01\n";
        client.send(raw).await;
        upstream.expect(raw).await;
        upstream.send("HTTP/1.1 500 No\n\n").await;
        client.expect("HTTP/1.1 500 No\n\n").await;
        assert_eq!(proxy.in_flight(), 1);
        server.saw_nobody().await;
    });
}

#[test]
fn what_the_client_sends_before_the_101_waits_for_it() {
    on_both_families(async |ip| {
        for accepted in [true, false] {
            let (server, _proxy, mut client) = opened(ip).await;
            client.send(ASK.to_owned() + GET).await;
            let mut upstream = server.accept().await;
            upstream.expect(ASKED).await;
            if accepted {
                upstream.send(SWITCH).await;
                client.expect(SWITCHED).await;
                upstream.expect(GET).await;
            } else {
                // It was the next request, not a tunnel's first bytes: only this answer makes it go on.
                assert!(upstream.0.try_read(&mut [0]).is_err());
                upstream.send("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await;
                client.expect("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await;
                upstream.expect(GET).await;
                upstream.send(OK).await;
                client.expect(OK).await;
            }
        }
    });
}

#[test]
fn each_side_ends_on_its_own() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        for client_first in [true, false] {
            let (client, upstream) = tunnelled(&server, &proxy).await;
            let (mut first, mut second) = if client_first { (client, upstream) } else { (upstream, client) };
            first.send("bye").await;
            first.0.shutdown().await.expect("ends its side");
            second.expect("bye").await;
            second.expect_end().await;
            assert_eq!(proxy.in_flight(), 1);
            second.send("and bye").await;
            first.expect("and bye").await;
            drop(second);
            first.expect_end().await;
            assert_eq!(proxy.in_flight(), 0);
        }
    });
}

#[test]
fn a_reset_of_either_side_is_one_for_the_other() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        for by_client in [true, false] {
            let (client, upstream) = tunnelled(&server, &proxy).await;
            let (resets, mut sees) = if by_client { (client, upstream) } else { (upstream, client) };
            resets.reset();
            let (rest, proper) = sees.read_all().await;
            assert!(rest.is_empty() && !proper, "{rest:?}");
            assert_eq!(proxy.in_flight(), 0);
        }
    });
}

#[test]
fn bulk_passes_both_ways() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (client, upstream) = tunnelled(&server, &proxy).await;
        let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let pass = async |peer: Peer| {
            let (mut read, mut write) = peer.0.into_split();
            let mut got = Vec::new();
            let sending = async {
                write.write_all(&body).await.expect("is sent");
                write.shutdown().await.expect("ends its side");
            };
            let (_, received) = tokio::join!(sending, read.read_to_end(&mut got));
            received.expect("is received");
            assert!(got == body);
        };
        tokio::join!(pass(client), pass(upstream));
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn a_tunnel_whose_endpoint_leaves_is_cut() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (mut client, mut upstream) = tunnelled(&server, &proxy).await;
        proxy.relist(&[], &[]);
        assert!(!client.read_all().await.1);
        assert!(!upstream.read_all().await.1);
    });
}

#[test]
fn a_tunnel_goes_on_while_draining() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (mut client, mut upstream) = tunnelled(&server, &proxy).await;
        let lifecycle = proxy.worker.lifecycle().clone();
        tokio::task::spawn_local(async move { lifecycle.drain(PATIENCE).await });
        tokio::task::yield_now().await;
        client.send("up").await;
        upstream.expect("up").await;
        upstream.send("down").await;
        client.expect("down").await;
    });
}

#[test]
fn a_tunnel_that_waits_holds_no_buffer() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        let buffers = &proxy.worker.http().buffers;
        client.send(ASK.to_owned() + "early").await;
        let mut upstream = server.accept().await;
        upstream.expect(ASKED).await;
        upstream.send(SWITCH.to_owned() + "greeting").await;
        client.expect(SWITCHED.to_owned() + "greeting").await;
        upstream.expect("early").await;
        for _ in 0..3 {
            client.send("up").await;
            upstream.expect("up").await;
            upstream.send("down").await;
            client.expect("down").await;
            assert_eq!(buffers.taken(), 0);
        }
    });
}

#[test]
fn a_tunnel_may_be_silent_for_hours_but_not_once_one_side_has_ended() {
    with_paused_clock(async {
        let server = Server::start(V4).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (mut client, mut upstream) = tunnelled(&server, &proxy).await;
        tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
        upstream.send("still here").await;
        client.expect("still here").await;
        client.0.shutdown().await.expect("ends its side");
        upstream.expect_end().await;
        let start = tokio::time::Instant::now();
        assert!(!client.read_all().await.1);
        assert!((300..=600).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        assert_eq!(proxy.in_flight(), 0);
    });
}
