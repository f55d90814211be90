//! Good requests: what arrives upstream and what comes back.

use super::*;
use crate::proxy::http::buffer::Input;
use crate::proxy::http::outbox::KEPT;
use crate::proxy::http::{Connection, Next, Terms};

#[test]
fn requests_and_answers_pass_and_both_connections_are_kept() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        client.send(GET).await;
        let mut upstream = server.accept().await;
        for round in 0..3 {
            upstream.expect(GET).await;
            assert_eq!(proxy.in_flight(), 1);
            upstream.send(OK).await;
            client.expect(OK).await;
            if round < 2 {
                client.send(GET).await;
            }
        }
        assert_eq!(proxy.in_flight(), 0);
        server.saw_nobody().await;
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        let head = |n: usize, length: usize| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let all: String = (0..5).map(|n| head(n, n) + &"x".repeat(n)).collect();
        client.send(all).await;
        let mut upstream = server.accept().await;
        for n in 0..5 {
            upstream.expect(head(n, n) + &"x".repeat(n)).await;
            upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}")).await;
        }
        for n in 0..5 {
            client.expect(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}")).await;
        }
    });
}

#[test]
fn pipelined_requests_of_every_kind_are_answered_in_order() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        let chunks = "5\r\nhello\r\n0\r\nX: y\r\n\r\n";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned() + chunks;
        let post = |line: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n{body}");
        let exchanges = [
            (GET.to_owned(), chunked.clone()),
            (GET.replace("GET", "HEAD"), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_owned()),
            (post("Transfer-Encoding: chunked", chunks), "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n".to_owned() + OK),
            (GET.to_owned(), "HTTP/1.1 204 No\r\n\r\n".to_owned()),
            (post("Content-Length: 5", GET.split_at(5).0), OK.to_owned()),
            (GET.to_owned(), "HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n".to_owned()),
            (post("Expect: 100-continue\r\nContent-Length: 2", "hi"), "HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &chunked),
            (GET.to_owned(), OK.to_owned()),
        ];
        for twice in [false, true] {
            let all: String = exchanges.iter().map(|(request, _)| request.as_str()).collect();
            let (first, second) = all.split_at(if twice { all.len() / 2 } else { all.len() });
            client.send(first).await;
            let mut upstream = server.accept().await;
            let answering = async {
                for (request, answer) in &exchanges {
                    upstream.expect(request).await;
                    upstream.send(answer).await;
                }
            };
            let receiving = async {
                client.send(second).await;
                for (_, answer) in &exchanges {
                    client.expect(answer).await;
                }
            };
            tokio::join!(answering, receiving);
        }
    });
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answers() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        client.send(GET.repeat(3)).await;
        client.0.shutdown().await.expect("ends its side");
        let mut upstream = server.accept().await;
        for _ in 0..3 {
            upstream.expect(GET).await;
            upstream.send(OK).await;
            client.expect(OK).await;
        }
        client.expect_end().await;
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(head.to_owned() + "3;x=y\r\nabc\r\n2\r\nde").await;
        let mut upstream = server.accept().await;
        upstream.expect(head.to_owned() + "3\r\nabc\r\n2\r\nde\r\n").await;
        client.send("\r\n0\r\nX-Sum: 1\r\n\r\n").await;
        upstream.expect("0\r\nX-Sum: 1\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        upstream.send(answer).await;
        client.expect(answer).await;
        upstream.send("1\r\nb\r\n0\r\nX-Sum: 2\r\n\r\n").await;
        client.expect("1\r\nb\r\n0\r\nX-Sum: 2\r\n\r\n").await;
        client.send(GET).await;
        upstream.expect(GET).await;
    });
}

#[test]
fn head_and_bodiless_answers_have_no_body() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        let get = GET.to_owned();
        let head = get.replace("GET", "HEAD");
        client.send(&head).await;
        let mut upstream = server.accept().await;
        for (request, sent, received) in [
            (&head, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
            (&head, "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
            (&get, "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n"),
            (&get, "HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n"),
        ] {
            upstream.expect(request).await;
            upstream.send(sent).await;
            client.expect(received).await;
            let next = if received.contains("200 OK\r\nContent") { &head } else { &get };
            client.send(next).await;
        }
        upstream.expect(&get).await;
        server.saw_nobody().await;
    });
}

#[test]
fn an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let mut upstream = server.accept().await;
        upstream.expect(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address)).await;
        upstream.send("HTTP/1.1 103 Early\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n").await;
        client.expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc").await;
        client.expect_end().await;
    });
}

#[test]
fn an_http_1_0_client_may_keep_its_connection() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        let mut send = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
        client.send(send).await;
        let mut upstream = server.accept().await;
        for closing in [false, true] {
            upstream.expect(GET).await;
            upstream.send(OK).await;
            let connection = if closing { "close" } else { "keep-alive" };
            client.expect(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: {connection}\r\n\r\nok")).await;
            send = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
            if !closing {
                client.send(send).await;
            }
        }
        client.expect_end().await;
    });
}

#[test]
fn interim_answers_pass_up_to_ten() {
    on_both_families(async |ip| {
        let (server, _proxy, mut client) = opened(ip).await;
        client.send(GET).await;
        let mut upstream = server.accept().await;
        upstream.expect(GET).await;
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        upstream.send(interim.repeat(10) + OK).await;
        client.expect(interim.repeat(10) + OK).await;
        client.send(GET).await;
        upstream.expect(GET).await;
        upstream.send(interim.repeat(11) + OK).await;
        client.expect(interim.repeat(10)).await;
        client.expect_status(502).await;
    });
}

#[test]
fn large_bodies_pass_both_ways_at_once() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let (mut from_client, mut to_client) = proxy.connect().await.0.into_split();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len());
        let (answered, wait_for_answer) = tokio::sync::oneshot::channel();
        let sending = async {
            let (first, second) = body.split_at(1_000_000);
            to_client.write_all(head.as_bytes()).await.expect("is sent");
            to_client.write_all(first).await.expect("is sent");
            wait_for_answer.await.expect("an answer begins");
            to_client.write_all(second).await.expect("is sent");
        };
        let echoing = async {
            let mut upstream = server.accept().await;
            upstream.expect(&head).await;
            upstream.send(answer.clone() + "\r\n").await;
            let (mut read, mut write) = upstream.0.split();
            tokio::io::copy(&mut (&mut read).take(body.len() as u64), &mut write).await.expect("is copied");
        };
        let receiving = async {
            let early = answer.clone() + "Connection: close\r\n\r\n";
            let mut read = vec![0; early.len()];
            from_client.read_exact(&mut read).await.expect("a head");
            assert_eq!(show(&read), early);
            answered.send(()).expect("somebody waits");
            let mut read = Vec::new();
            from_client.read_to_end(&mut read).await.expect("a body");
            assert!(read == body);
        };
        tokio::join!(sending, echoing, receiving);
    });
}

#[test]
fn a_header_key_meets_the_same_endpoint_again() {
    on_both_families(async |ip| {
        let servers = [Server::start(ip).await, Server::start(ip).await, Server::start(ip).await];
        let addresses: Vec<_> = servers.iter().map(Server::address).collect();
        let keys = vec![HashKey::Header { name: "x-user".into() }, HashKey::SourceIp];
        let proxy = Proxy::start_with(&addresses, Shape { keys, ..Shape::default() }).await;
        let [first, second, third] = &servers;
        let mut used = std::collections::BTreeSet::new();
        for user in 0..24 {
            let mut met = std::collections::BTreeSet::new();
            for _ in 0..3 {
                let mut client = proxy.connect().await;
                client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\nConnection: close\r\n\r\n")).await;
                let (at, mut upstream) = tokio::select! {
                    peer = first.accept() => (0, peer),
                    peer = second.accept() => (1, peer),
                    peer = third.accept() => (2, peer),
                };
                met.insert(at);
                upstream.expect(format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n")).await;
                upstream.send("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n").await;
                client.expect("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n").await;
            }
            assert_eq!(met.len(), 1);
            used.extend(met);
        }
        assert_eq!(used.len(), 3);
    });
}

#[test]
fn a_connection_that_waits_keeps_room_for_a_head_and_no_more() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (mut client, from_proxy) = proxy.connect_raw().await;
        let peer = client.0.local_addr().expect("an address");
        let terms = Terms::new(&proxy.worker, &proxy.pool(), tokio::time::Instant::now());
        let mut connection = Connection::new(
            proxy.worker.clone(),
            from_proxy.into(),
            Input::default(),
            proxy.worker.http().take_parts(),
            Caller { port: proxy.address.port(), peer, destination: proxy.address },
            terms,
        );
        let chunks = format!("2000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x2000));
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let talk = async {
            client.send(&request).await;
            let mut upstream = server.accept().await;
            upstream.expect(&request).await;
            upstream.send(&answer).await;
            client.expect(&answer).await;
        };
        let (next, ()) = tokio::join!(connection.serve_request(), talk);
        assert_eq!(next, Next::Request);
        assert!(connection.down.capacity() > KEPT, "what is to be given back was never taken");
        tokio::select! {
            biased;
            next = connection.serve_request() => panic!("{next:?} of a request that wasn't sent"),
            () = tokio::task::yield_now() => {}
        }
        assert!(connection.up.capacity() <= KEPT && connection.down.capacity() <= KEPT);
        assert_eq!(proxy.worker.http().buffers.taken(), 0);
    });
}
