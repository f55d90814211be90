//! What limits let through, what waits and in which order, and what is turned away and when. On a clock that stands still while
//! anything is to do, so that what takes no time takes none.

use super::*;
use crate::proxy::tcp;
use crate::proxy_protocol::Addresses;
use crate::tls::Offer;
use std::cell::Cell;
use tokio::sync::Semaphore;
use tokio::time::{Instant as Moment, sleep, timeout};

/// Runs a test on a worker's runtime whose clock stands still until nothing else happens.
pub(super) fn on_still_clock(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(async {
        tokio::time::pause();
        timeout(Duration::from_secs(600), test()).await.expect("the test doesn't hang");
    });
}

async fn proxy_with(servers: &[&Server], limits: Limits) -> Proxy {
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    Proxy::start_with(&addresses, Shape { max_retries: 1, limits, ..Shape::default() }).await
}

fn one_each() -> Limits {
    Limits { max_parallel_requests_per_endpoint: Some(1), ..Limits::default() }
}

/// A client that has sent this request.
async fn asking(proxy: &Proxy, path: &str) -> Peer {
    let mut client = proxy.connect().await;
    client.send(get(path)).await;
    client
}

fn get(path: &str) -> String {
    GET.replace("GET /", &format!("GET /{path}"))
}

/// Until so many wait. The clock stands still meanwhile, so that patience is counted in turns.
async fn pending(proxy: &Proxy, count: usize) {
    for _ in 0..100_000 {
        if proxy.pool().capacity().queue().pending() == count {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} wait, not {count}", proxy.pool().capacity().queue().pending());
}

#[test]
fn what_is_over_the_limit_of_an_endpoint_waits_and_goes_in_the_order_of_arrival() {
    on_still_clock(async || {
        let server = Server::start(V4).await;
        let proxy = proxy_with(&[&server], one_each()).await;
        let mut first = asking(&proxy, "first").await;
        let mut upstream = server.accept().await;
        upstream.expect(get("first")).await;
        let mut second = asking(&proxy, "second").await;
        pending(&proxy, 1).await;
        let mut third = asking(&proxy, "third").await;
        pending(&proxy, 2).await;
        server.saw_nobody().await;
        let start = Moment::now();
        upstream.send(OK).await;
        first.expect(OK).await;
        upstream.expect(get("second")).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "it is called, and doesn't look for itself");
        assert_eq!((proxy.in_flight(), proxy.pool().capacity().queue().pending()), (1, 1), "one end lets in one");
        upstream.send(OK).await;
        second.expect(OK).await;
        upstream.expect(get("third")).await;
        upstream.send(OK).await;
        third.expect(OK).await;
        assert_eq!((proxy.in_flight(), proxy.pool().capacity().queue().pending()), (0, 0));
    });
}

#[test]
fn the_limit_of_a_pool_is_over_all_its_endpoints() {
    on_still_clock(async || {
        let servers = [Server::start(V4).await, Server::start(V4).await];
        let limits = Limits { max_parallel_requests: Some(1), ..Limits::default() };
        let proxy = proxy_with(&[&servers[0], &servers[1]], limits).await;
        let mut first = asking(&proxy, "first").await;
        let accepted = tokio::select! { up = servers[0].accept() => (up, 1), up = servers[1].accept() => (up, 0) };
        let (mut upstream, other) = accepted;
        upstream.expect(get("first")).await;
        let mut second = asking(&proxy, "second").await;
        pending(&proxy, 1).await;
        servers[other].saw_nobody().await;
        upstream.send(OK).await;
        first.expect(OK).await;
        let mut upstream = servers[other].accept().await;
        upstream.expect(get("second")).await;
        upstream.send(OK).await;
        second.expect(OK).await;
    });
}

#[test]
fn at_its_deadline_a_request_gets_503_and_when_to_come_again() {
    on_still_clock(async || {
        let server = Server::start(V4).await;
        let proxy = proxy_with(&[&server], Limits { pending_timeout_ms: 700, ..one_each() }).await;
        let _first = asking(&proxy, "first").await;
        let _upstream = server.accept().await;
        let start = Moment::now();
        let mut second = asking(&proxy, "second").await;
        let answer = second.expect_status(503).await;
        let took = start.elapsed();
        assert!(answer.contains("\r\nRetry-After: 1\r\n") && answer.contains("evenkeel: QueueTimeout: "), "{answer}");
        assert!(took >= Duration::from_millis(700) && took <= Duration::from_millis(710), "{took:?}");
        assert_eq!(proxy.pool().capacity().queue().pending(), 0);
        second.send(get("again")).await;
        pending(&proxy, 1).await;
    });
}

#[test]
fn a_full_queue_turns_away_without_any_wait() {
    on_still_clock(async || {
        for most in [0, 2] {
            let server = Server::start(V4).await;
            let proxy = proxy_with(&[&server], Limits { max_pending_requests: most, ..one_each() }).await;
            let _first = asking(&proxy, "first").await;
            let _upstream = server.accept().await;
            let mut waiting = Vec::new();
            for _ in 0..most {
                waiting.push(asking(&proxy, "waits").await);
                pending(&proxy, waiting.len()).await;
            }
            let start = Moment::now();
            let mut last = asking(&proxy, "last").await;
            let answer = last.expect_status(503).await;
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert!(answer.contains("\r\nRetry-After: 1\r\n") && answer.contains("evenkeel: QueueFull: "), "{answer}");
        }
    });
}

#[test]
fn a_client_that_goes_away_leaves_the_queue_to_the_next() {
    on_still_clock(async || {
        for resets in [false, true] {
            let server = Server::start(V4).await;
            let proxy = proxy_with(&[&server], one_each()).await;
            let mut first = asking(&proxy, "first").await;
            let mut upstream = server.accept().await;
            upstream.expect(get("first")).await;
            let second = asking(&proxy, "second").await;
            pending(&proxy, 1).await;
            let mut third = asking(&proxy, "third").await;
            pending(&proxy, 2).await;
            if resets {
                second.reset()
            } else {
                drop(second)
            }
            pending(&proxy, 1).await;
            upstream.send(OK).await;
            first.expect(OK).await;
            upstream.expect(get("third")).await;
            upstream.send(OK).await;
            third.expect(OK).await;
        }
    });
}

#[test]
fn an_endpoint_that_joins_takes_what_waits_and_not_who_comes_later() {
    on_still_clock(async || {
        let (server, other) = (Server::start(V4).await, Server::start(V4).await);
        let proxy = proxy_with(&[&server], one_each()).await;
        let _first = asking(&proxy, "first").await;
        let _upstream = server.accept().await;
        let start = Moment::now();
        let _second = asking(&proxy, "second").await;
        pending(&proxy, 1).await;
        proxy.relist(&[&server], &[&other]);
        let _third = asking(&proxy, "third").await;
        pending(&proxy, 2).await;
        other.accept().await.expect(get("second")).await;
        assert!(start.elapsed() <= Duration::from_millis(60), "{:?}", start.elapsed());
    });
}

#[test]
fn a_refused_connect_waits_for_room_elsewhere_rather_than_fail() {
    on_still_clock(async || {
        let (server, dead) = (Server::start(V4).await, Server::start(V4).await.address());
        let shape = Shape { max_retries: 1, limits: one_each(), ..Shape::default() };
        let proxy = Proxy::start_with(&[dead, server.address()], shape).await;
        let mut clients = [asking(&proxy, "x").await, asking(&proxy, "x").await];
        pending(&proxy, 1).await;
        let mut upstream = server.accept().await;
        for _ in 0..2 {
            upstream.expect(get("x")).await;
            upstream.send(OK).await;
        }
        for client in &mut clients {
            client.expect(OK).await;
        }
    });
}

#[test]
fn a_kept_connection_is_closed_for_another_endpoint_where_the_pool_may_have_one() {
    on_still_clock(async || {
        let servers = [Server::start(V4).await, Server::start(V4).await];
        let proxy = proxy_with(&[&servers[0], &servers[1]], Limits { max_connections: Some(1), ..Limits::default() }).await;
        let mut client = asking(&proxy, "first").await;
        let (mut upstream, other) = tokio::select! { up = servers[0].accept() => (up, 1), up = servers[1].accept() => (up, 0) };
        upstream.expect(get("first")).await;
        upstream.send(OK).await;
        client.expect(OK).await;
        let start = Moment::now();
        client.send(get("second")).await;
        let mut second = servers[other].accept().await;
        upstream.expect_end().await;
        second.expect(get("second")).await;
        assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    });
}

#[test]
fn another_workers_kept_connection_is_closed_at_once_where_its_place_is_wanted() {
    on_still_clock(async || {
        for limits in [
            Limits { max_connections: Some(1), ..Limits::default() },
            Limits { max_connections_per_endpoint: Some(1), ..Limits::default() },
        ] {
            let server = Server::start(V4).await;
            let proxy = proxy_with(&[&server], limits).await;
            let (_client, mut upstream) = kept(&server, &proxy).await;
            let shared = Shared { table: proxy.table.clone(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
            let other = Rc::new(Worker::new(1, shared, 8));
            let (mut client, accepted) = proxy.connect_raw().await;
            let peer = accepted.peer_addr().expect("a peer");
            tokio::task::spawn_local(super::serve(other, accepted, peer, proxy.address.port()));
            let start = Moment::now();
            client.send(get("other")).await;
            let mut second = server.accept().await;
            upstream.expect_end().await;
            second.expect(get("other")).await;
            second.send(OK).await;
            client.expect(OK).await;
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
    });
}

#[test]
fn an_endpoint_with_all_its_connections_in_use_is_passed_over_and_then_waited_for() {
    on_still_clock(async || {
        let servers = [Server::start(V4).await, Server::start(V4).await];
        let limits = Limits { max_connections_per_endpoint: Some(1), ..Limits::default() };
        let proxy = proxy_with(&[&servers[0], &servers[1]], limits).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(asking(&proxy, "x").await);
        }
        let mut upstreams = [servers[0].accept().await, servers[1].accept().await];
        pending(&proxy, 1).await;
        for upstream in &mut upstreams {
            upstream.expect(get("x")).await;
        }
        upstreams[1].send(OK).await;
        upstreams[1].expect(get("x")).await;
        for upstream in &mut upstreams {
            upstream.send(OK).await;
        }
        for client in &mut clients {
            client.expect(OK).await;
        }
        for server in &servers {
            server.saw_nobody().await;
        }
    });
}

#[test]
fn a_tcp_connection_without_room_is_reset_at_its_deadline_and_at_once_where_the_queue_is_full() {
    on_still_clock(async || {
        let server = Server::start(V4).await;
        let proxy = proxy_with(&[&server], Limits { max_pending_requests: 1, ..one_each() }).await;
        let connect = async || {
            let (client, accepted) = proxy.connect_raw().await;
            let (source, destination) = (accepted.peer_addr().expect("a peer"), accepted.local_addr().expect("an address"));
            let addresses = Addresses { source, destination };
            let serving = tcp::serve(proxy.worker.clone(), accepted.into(), addresses, proxy.pool(), Offer::Nothing);
            tokio::task::spawn_local(serving);
            client
        };
        let mut first = connect().await;
        let mut upstream = server.accept().await;
        let mut second = connect().await;
        pending(&proxy, 1).await;
        let start = Moment::now();
        let was_reset = |end: std::io::Result<usize>| end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(was_reset(connect().await.0.read(&mut [0]).await));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(was_reset(second.0.read(&mut [0]).await));
        assert!(start.elapsed() <= Duration::from_millis(1_010), "{:?}", start.elapsed());
        first.send("x").await;
        upstream.expect("x").await;
    });
}

/// FAULTS 49. Four requests at a time, 10 ms each, make 400 a second; whatever is given up on upstream costs as much. Offered are 800 a
/// second by clients of 200 ms patience; what they get, per second, once that has been going on for a while.
fn goodput(limits: Limits) -> f64 {
    const OFFERED: Duration = Duration::from_micros(1_250);
    const SECONDS: u64 = 3;
    let served = Rc::new(Cell::new(0));
    let counted = served.clone();
    on_still_clock(async move || {
        let server = Server::start(V4).await;
        let proxy = proxy_with(&[&server], limits).await;
        let slots = Rc::new(Semaphore::new(4));
        tokio::task::spawn_local(async move {
            loop {
                let (mut upstream, slots) = (server.accept().await, slots.clone());
                tokio::task::spawn_local(async move {
                    let mut request = vec![0; GET.len()];
                    while upstream.0.read_exact(&mut request).await.is_ok() {
                        let slot = slots.acquire().await;
                        sleep(Duration::from_millis(10)).await;
                        drop(slot);
                        let _ = upstream.0.write_all(OK.as_bytes()).await;
                    }
                });
            }
        });
        let start = Moment::now();
        let end = start + Duration::from_secs(SECONDS + 1);
        while Moment::now() < end {
            let (mut client, served) = (proxy.connect().await, served.clone());
            tokio::task::spawn_local(async move {
                let answer = async {
                    client.send(GET).await;
                    let mut answer = vec![0; OK.len()];
                    client.0.read_exact(&mut answer).await.is_ok_and(|_| answer == OK.as_bytes())
                };
                let in_time = timeout(Duration::from_millis(200), answer).await == Ok(true);
                if in_time && start.elapsed() >= Duration::from_secs(1) && Moment::now() < end {
                    served.set(served.get() + 1);
                }
            });
            sleep(OFFERED).await;
        }
    });
    f64::from(counted.get()) / SECONDS as f64
}

#[test]
fn twice_the_capacity_offered_keeps_nine_tenths_of_it_with_limits_and_next_to_nothing_without() {
    let limits = Limits { max_parallel_requests_per_endpoint: Some(4), pending_timeout_ms: 100, ..Limits::default() };
    let (with, without) = (goodput(limits), goodput(Limits::default()));
    assert!(with >= 360.0, "{with} a second of 400");
    assert!(without < 100.0, "{without} a second, so this says nothing");
}
