//! What may be in use at once, and for how long.

use crate::common::example::{Example, backends, port};
use crate::common::web::{AT_ONCE, Law, Web, arrived};
use crate::common::{Client, PATIENCE, eventually, free_port, read_head};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
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
