//! What may be in use at once, and for how long.

use crate::common::example::{Example, backends, port};
use crate::common::http2::Http2Client;
use crate::common::web::{AT_ONCE, Law, Web, arrived};
use crate::common::{Client, PATIENCE, eventually, free_port, read_head};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct Scene {
    example: Example,
    webs: [Web; 4],
    at: u16,
}

/// The second law is how long the body takes after the head.
async fn scene(name: &str, from: u16, laws: [Law; 2], more: &[(String, String)]) -> Scene {
    let start = || Web::start_streaming(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), laws);
    let webs = [start().await, start().await, start().await, start().await];
    let at = free_port().await;
    let changes = [backends(webs.each_ref().map(Web::port)), vec![port(from, at)], more.to_vec()].concat();
    Scene { example: Example::start(name, &changes).await, webs, at }
}

async fn ask(port: u16) -> TcpStream {
    let mut client = Client::connect(port).await.0;
    client.write_all(ASK).await.expect("is sent");
    client
}

/// The head of an answer, in lower case; how long it took.
async fn head(client: &mut TcpStream) -> (String, Duration) {
    let start = Instant::now();
    let head = timeout(PATIENCE, read_head(client)).await.expect("is answered in time").expect("is answered");
    (head.to_ascii_lowercase(), start.elapsed())
}

#[tokio::test]
async fn so_many_at_once_so_many_wait_and_the_rest_is_told_to_come_again() {
    let half = ("pendingTimeout: 500ms".into(), "pendingTimeout: 2s".into());
    let scene = scene("limits", 18105, [AT_ONCE; 2], &[half]).await;
    scene.webs.iter().for_each(Web::hold);
    let mut served = Vec::new();
    for n in 1..=8 {
        served.push(ask(scene.at).await);
        arrived(&scene.webs, "/", n).await;
    }
    assert_eq!(scene.webs.each_ref().map(|web| web.count("/")), [2; 4], "two each");
    let mut later = Vec::new();
    for _ in 0..8 {
        later.push(ask(scene.at).await);
    }
    let mut took = Vec::new();
    for client in &mut later {
        let (head, time) = head(client).await;
        assert!(head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: "), "{head}");
        took.push(time);
    }
    // They are read one after the other: the first that waited takes the time of all that did.
    let waited = took.iter().filter(|time| **time > Duration::from_secs(1)).count();
    assert_eq!(waited, 1, "{took:?}");
    let shed = || async {
        let count = scene.example.sidecar.metric("evenkeel_shed_total", &["pool=\"default/limits\""]).await;
        (count == 8.0).then_some(())
    };
    eventually("all eight counted", shed).await;
    assert_eq!(scene.webs.iter().map(|web| web.count("/")).sum::<usize>(), 8, "no backend heard of them");
}

#[tokio::test]
async fn who_waits_is_served_once_there_is_room() {
    let slow: Law = |_| Duration::from_millis(100);
    let scene = scene("limits", 18105, [slow, AT_ONCE], &[]).await;
    let mut asking = Vec::new();
    for _ in 0..12 {
        asking.push(ask(scene.at).await);
    }
    for mut client in asking {
        assert!(head(&mut client).await.0.starts_with("http/1.1 200 "));
    }
}

#[tokio::test]
async fn a_backend_that_does_not_begin_to_answer_costs_a_second() {
    let scene = scene("timeouts", 18106, [|_| Duration::from_secs(30), AT_ONCE], &[]).await;
    let (head, took) = head(&mut ask(scene.at).await).await;
    assert!(head.starts_with("http/1.1 504 "), "{head}");
    assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn an_answer_that_stops_moving_ends() {
    let scene = scene("timeouts", 18106, [AT_ONCE, |_| Duration::from_secs(30)], &[]).await;
    let mut client = ask(scene.at).await;
    assert!(head(&mut client).await.0.starts_with("http/1.1 200 "));
    let (start, mut rest) = (Instant::now(), Vec::new());
    let end = timeout(PATIENCE, client.read_to_end(&mut rest)).await.expect("ends");
    assert!(rest.is_empty(), "{rest:?} {end:?}");
    assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_request_as_a_whole_may_take_two_seconds() {
    // Neither the head nor any part of the body takes too long by itself.
    let longer = [("responseHead: 1s", "responseHead: 20s"), ("streamIdle: 1s", "streamIdle: 20s")];
    let longer = longer.map(|(from, to)| (from.to_owned(), to.to_owned()));
    let scene = scene("timeouts", 18106, [|_| Duration::from_secs(30), AT_ONCE], &longer).await;
    let (head, took) = head(&mut ask(scene.at).await).await;
    assert!(head.starts_with("http/1.1 504 "), "{head}");
    assert!((Duration::from_millis(1_900)..Duration::from_secs(15)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_is_let_go() {
    let idle = ("idle: 5s".to_owned(), "idle: 1s".to_owned());
    let scene = scene("timeouts", 18106, [AT_ONCE; 2], &[idle]).await;
    let (start, mut silent) = (Instant::now(), Client::connect(scene.at).await.0);
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("ends");
    assert!(rest.is_empty() && start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());
}

/// How many requests one connection serves.
async fn requests_of(scene: &Scene) -> usize {
    let mut client = Client::connect(scene.at).await.0;
    for n in 1.. {
        client.write_all(ASK).await.expect("is sent");
        let (head, _) = head(&mut client).await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        client.read_exact(&mut body).await.expect("a body");
        if head.contains("\r\nconnection: close\r\n") {
            assert_eq!(client.read(&mut [0]).await.ok(), Some(0), "then it ends");
            return n;
        }
        assert!(n < 50, "it goes on for ever");
    }
    unreachable!("the loop returns")
}

#[tokio::test]
async fn a_connection_ends_after_about_twenty_requests_and_not_all_after_the_same() {
    let scene = scene("connection-age", 18107, [AT_ONCE; 2], &[]).await;
    let mut counts = Vec::new();
    for _ in 0..12 {
        counts.push(requests_of(&scene).await);
    }
    assert!(counts.iter().all(|count| (18..=22).contains(count)), "{counts:?}");
    // Twelve draws of five alike: once in fifty million.
    assert!(counts.iter().any(|count| *count != counts[0]), "{counts:?}");
}

#[tokio::test]
async fn an_old_connection_is_told_to_go_between_two_requests() {
    let sooner = ("maxAge: 10s".to_owned(), "maxAge: 1s".to_owned());
    let scene = scene("connection-age", 18107, [AT_ONCE; 2], &[sooner]).await;
    let (start, client) = (Instant::now(), Http2Client::connect(scene.at).await);
    client.ended().await.expect("ends well");
    assert!(start.elapsed() > Duration::from_millis(850), "{:?}", start.elapsed());
}
