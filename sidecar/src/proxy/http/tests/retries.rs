//! What is sent again, and what never is.

use super::*;
use crate::proxy::attempt::{Attempts, ConnectError, Unreached};
use evenkeel_balance::NoEndpoint;

#[test]
fn a_refused_connect_moves_on_to_another_endpoint() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let dead = Server::start(ip).await.address();
        let proxy = Proxy::start(&[dead, server.address()]).await;
        for _ in 0..4 {
            let mut client = proxy.connect().await;
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
            let mut upstream = server.accept().await;
            upstream.expect("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
            upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
            client.expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn when_all_refuse_the_client_gets_503_and_its_body_is_not_taken_for_a_request() {
    on_both_families(async |ip| {
        let dead = [Server::start(ip).await.address(), Server::start(ip).await.address()];
        let proxy = Proxy::start(&dead).await;
        let mut client = proxy.connect().await;
        for length in [0, 10, 5000] {
            let body = GET.repeat(200)[..length].to_owned();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")).await;
            client.expect_status(503).await;
        }
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn that_no_other_endpoint_is_left_says_less_than_why_the_last_one_was() {
    on_both_families(async |ip| {
        let proxy = Proxy::start(&[Server::start(ip).await.address()]).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        assert!(client.expect_status(503).await.contains("ConnectFailure: no endpoint could be connected to"));
    });
}

#[test]
fn a_pool_without_endpoints_answers_503() {
    on_both_families(async |_| {
        let proxy = Proxy::start(&[]).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        assert!(client.expect_status(503).await.contains("Empty"));
        client.send(GET.replace("GET", "HEAD")).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.0.read_u8().await.expect("a head"));
        }
        client.send(GET).await;
        client.expect_status(503).await;
    });
}

/// The server ends the kept connection upon the next request, unanswered.
#[test]
fn a_stale_connection_is_replaced_once_for_a_bodiless_idempotent_request() {
    on_both_families(async |ip| {
        for reset in [false, true] {
            let server = Server::start(ip).await;
            let proxy = Proxy::start_with(&[server.address()], Shape::default()).await;
            let (mut client, mut stale) = kept(&server, &proxy).await;
            client.send(GET).await;
            stale.expect(GET).await;
            if reset {
                stale.reset()
            } else {
                drop(stale)
            }
            let mut second = server.accept().await;
            second.expect(GET).await;
            // Once is enough: a second silence is the answer.
            drop(second);
            client.expect_status(502).await;
            server.saw_nobody().await;
            assert_eq!(proxy.in_flight(), 0);
        }
    });
}

/// ADR 2: an endpoint that dies takes connections along that had just been opened.
#[test]
fn a_new_connection_that_ends_in_silence_is_replaced_once_too() {
    on_both_families(async |ip| {
        let (server, proxy, mut client) = opened(ip).await;
        client.send(GET).await;
        let mut first = server.accept().await;
        first.expect(GET).await;
        drop(first);
        let mut second = server.accept().await;
        second.expect(GET).await;
        second.send(OK).await;
        client.expect(OK).await;
        assert_eq!(proxy.in_flight(), 0);
    });
}

/// A dying listener still accepts what it will never read: after two silences another endpoint gets the request.
#[test]
fn after_two_silences_another_endpoint_gets_the_request() {
    on_both_families(async |ip| {
        let (a, b) = (Server::start(ip).await, Server::start(ip).await);
        let proxy = Proxy::start(&[a.address(), b.address()]).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        let (mut first, dying, other) = tokio::select! {
            first = a.accept() => (first, &a, &b),
            first = b.accept() => (first, &b, &a),
        };
        first.expect(GET).await;
        drop(first);
        let mut second = dying.accept().await;
        second.expect(GET).await;
        drop(second);
        let mut third = other.accept().await;
        third.expect(GET).await;
        third.send(OK).await;
        client.expect(OK).await;
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn a_stale_connection_is_not_replaced_for_other_requests() {
    on_both_families(async |ip| {
        for request in [
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        ] {
            let server = Server::start(ip).await;
            let proxy = Proxy::start(&[server.address()]).await;
            let (mut client, mut stale) = kept(&server, &proxy).await;
            client.send(request).await;
            stale.expect(request).await;
            drop(stale);
            client.expect_status(502).await;
            server.saw_nobody().await;
        }
    });
}

#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (mut client, mut stale) = kept(&server, &proxy).await;
        client.send(GET).await;
        stale.expect(GET).await;
        stale.send("H").await;
        drop(stale);
        client.expect_status(502).await;
        server.saw_nobody().await;
    });
}

#[test]
fn a_connection_known_to_have_ended_is_not_used() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (mut client, stale) = kept(&server, &proxy).await;
        drop(stale);
        client.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut second = server.accept().await;
        second.expect("POST / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        second.send(OK).await;
        client.expect(OK).await;
    });
}

#[test]
fn after_a_stale_connection_a_refused_connect_still_moves_on() {
    on_both_families(async |ip| {
        let first = Server::start(ip).await;
        let second = Server::start(ip).await;
        let proxy = Proxy::start(&[first.address(), second.address()]).await;
        let (mut client, mut at_first, mut at_second);
        client = proxy.connect().await;
        client.send(GET).await;
        // In turn, from a place that the seed decides.
        let (mut stale, dying, living) = tokio::select! {
            peer = first.accept() => (peer, first, second),
            peer = second.accept() => (peer, second, first),
        };
        stale.expect(GET).await;
        stale.send(OK).await;
        client.expect(OK).await;
        client.send(GET).await;
        at_second = living.accept().await;
        at_second.expect(GET).await;
        at_second.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        client.expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        client.send(GET).await;
        stale.expect(GET).await;
        drop((dying, stale));
        at_first = living.accept().await;
        at_first.expect(GET).await;
        at_first.send(OK).await;
        client.expect(OK).await;
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn what_is_sent_again_goes_to_the_pool_as_it_is_and_not_to_an_endpoint_that_has_left() {
    on_both_families(async |ip| {
        let (left, came) = (Server::start(ip).await, Server::start(ip).await);
        let proxy = Proxy::start_with(&[left.address()], Shape::default()).await;
        let (mut client, mut stale) = kept(&left, &proxy).await;
        client.send(GET).await;
        stale.expect(GET).await;
        proxy.relist(&[], &[&came]);
        drop(stale);
        let mut second = came.accept().await;
        second.expect(GET).await;
        second.send(OK).await;
        client.expect(OK).await;
        left.saw_nobody().await;
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn a_pick_passes_over_what_has_left_and_a_retry_sees_what_has_come() {
    on_both_families(async |ip| {
        let [first, second, came] = [Server::start(ip).await, Server::start(ip).await, Server::start(ip).await];
        // Either may be the one whose turn it is.
        for (left, stays) in [(&first, &second), (&second, &first)] {
            let proxy = Proxy::start(&[first.address(), second.address()]).await;
            let mut attempts = Attempts::new(proxy.pool(), None, None);
            proxy.relist(&[stays], &[]);
            let chosen = attempts.pick(&proxy.worker).expect("one is left");
            assert_ne!(chosen.address(), left.address());
            proxy.relist(&[stays], &[&came]);
            attempts.give_up(&proxy.worker, chosen, ConnectError::Refused).expect("a retry is left");
            assert_eq!(attempts.pick(&proxy.worker).expect("one has come").address(), came.address());
            let gone = attempts.pick(&proxy.worker).expect("again");
            proxy.table.store(Arc::default());
            let end = attempts.pass_over(&proxy.worker, gone).expect_err("the pool has gone");
            assert_eq!(end, Unreached::NoEndpoint(NoEndpoint::Empty));
        }
    });
}

#[test]
fn an_endpoint_that_comes_back_gets_a_new_connection() {
    on_both_families(async |ip| {
        let server = Server::start(ip).await;
        let proxy = Proxy::start(&[server.address()]).await;
        let (mut client, _kept) = kept(&server, &proxy).await;
        proxy.relist(&[], &[&server]);
        client.send(GET).await;
        let mut second = server.accept().await;
        second.expect(GET).await;
        second.send(OK).await;
        client.expect(OK).await;
    });
}
