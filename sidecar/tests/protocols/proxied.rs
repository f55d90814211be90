//! PROXY headers, in and out.

use crate::common::example::{Example, backends, port};
use crate::common::web::{AT_ONCE, Caller, Web};
use crate::common::{Client, PATIENCE, eventually, free_port};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

struct Scene {
    example: Example,
    webs: [Web; 4],
    /// The ports of the two pools.
    out: u16,
    within: u16,
}

async fn scene() -> Scene {
    let webs = [Web::start(AT_ONCE).await, Web::start(AT_ONCE).await, Web::start(AT_ONCE).await, Web::start(AT_ONCE).await];
    let (out, within) = (free_port().await, free_port().await);
    let changes = [backends(webs.each_ref().map(Web::port)), vec![port(18104, out), port(18099, within)]].concat();
    let example = Example::start("proxy-protocol", &changes).await;
    Scene { example, webs, out, within }
}

/// Everything that comes for these bytes, until the connection ends; none if it is reset.
async fn talk(port: u16, bytes: &str) -> Option<String> {
    let mut client = Client::connect(port).await.0;
    client.write_all(bytes.as_bytes()).await.expect("is sent");
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer)).await.expect("ends").ok().map(|_| answer)
}

const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_header_of_the_sidecars_own_is_taken_by_the_next_one() {
    let scene = scene().await;
    let mut caller = Caller::connect(scene.out).await;
    for _ in 0..3 {
        let backend = caller.ask("/", "ada").await;
        assert!(scene.webs.iter().any(|web| web.port() == backend));
    }
}

#[tokio::test]
async fn the_source_that_a_header_tells_is_the_key() {
    let scene = scene().await;
    let (mut seen, mut body) = (BTreeSet::new(), String::new());
    for n in 0..16 {
        let ask = format!("PROXY TCP4 198.51.100.{n} 203.0.113.1 5000 80\r\n{ASK}");
        let answers = [talk(scene.within, &ask).await, talk(scene.within, &ask).await].map(|answer| answer.expect("is answered"));
        let bodies = answers.map(|answer| answer.rsplit("\r\n").next().expect("a body").to_owned());
        assert_eq!(bodies[0], bodies[1], "one source, one backend");
        body.clone_from(&bodies[0]);
        seen.insert(body.clone());
    }
    assert!(seen.len() > 1, "all sources went to {body}");
}

#[tokio::test]
async fn without_a_header_a_connection_is_turned_away_and_counted() {
    let scene = scene().await;
    for bytes in [ASK, "PROXY TCP4 nonsense\r\n", "PROXY TCP4 198.51.100.1 203.0.113.1 5000 80 \r\n"] {
        let answer = talk(scene.within, bytes).await.unwrap_or_default();
        assert_eq!(answer, "", "{bytes}");
    }
    let counted = || async {
        let name = "evenkeel_connections_refused_total";
        let count = scene.example.sidecar.metric(name, &["pool=\"default/proxy-protocol-in\""]).await;
        (count == 3.0).then_some(())
    };
    eventually("three connections counted", counted).await;
    let quiet = TcpStream::connect(("127.0.0.1", scene.within)).await.expect("connects");
    assert_eq!(scene.webs.iter().map(|web| web.count("/")).sum::<usize>(), 0, "nobody heard of them");
    drop(quiet);
}
