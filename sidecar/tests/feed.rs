//! Claims on a sidecar that follows a feed: what it is told it does, what it cannot use it refuses alone, and what it has it
//! keeps while the feed is broken or away.

mod common;

use common::operator::{Operator, Stream, endpoint, policy, pool_name};
use common::tls::Authority;
use common::{Backend, Client, Sidecar, config, eventually, free_port, get, reach};
use evenkeel_sidecar::app::Source;
use evenkeel_wire::{Goodbye, Health, ListenerTls, ServerFrame, TlsVersion, TransportPort, feature};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

async fn follow(operator: &Operator, pools: &[&str]) -> Sidecar {
    let settings = operator.settings(pools);
    Sidecar::start(config(Source::Feed(Box::new(settings)))).await.expect("starts")
}

/// A sidecar in step: one pool `shop/a` of one backend, revision 5 of lineage `one`.
async fn in_step(operator: &mut Operator, port: u16, backend: &Backend) -> (Sidecar, Stream) {
    let sidecar = follow(operator, &["shop/*"]).await;
    let mut stream = operator.greeted("one").await;
    stream.pool("shop/a", 5, &policy(port), &[endpoint("uid", backend.address)]);
    stream.send(ServerFrame::Synced);
    stream.expect_ack("shop/a", 5).await;
    let ready = || async { (get(sidecar.metrics, "/readyz").await.0 == 200).then_some(()) };
    eventually("ready", ready).await;
    (sidecar, stream)
}

#[tokio::test]
async fn a_good_pool_is_acknowledged_and_served() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let sidecar = follow(&operator, &["shop/a", "other/b"]).await;
    let mut stream = operator.stream().await;
    assert_eq!(stream.hello.pools, ["shop/a", "other/b"]);
    assert_eq!((stream.hello.lineage.clone(), stream.hello.have.len()), (None, 0));
    let told = || async {
        let (status, text) = get(sidecar.metrics, "/readyz").await;
        text.contains("waiting for shop/a, other/b from the operator").then_some(status)
    };
    assert_eq!(eventually("what is waited for in /readyz", told).await, 503);
    stream.send(ServerFrame::Hello(evenkeel_wire::ServerHello { version: 1, lineage: "one".into(), zone: None }));
    stream.pool("shop/a", 5, &policy(port), &[endpoint("uid", backend.address)]);
    stream.expect_ack("shop/a", 5).await;
    assert_eq!(reach(port).await, Some(backend.port()));
    assert_eq!(sidecar.metric("evenkeel_feed_revision", &["shop/a"]).await, 5.0);
    assert!(sidecar.metric("evenkeel_feed_age_seconds", &[]).await < 10.0);
}

#[tokio::test]
async fn the_zone_that_the_operator_says_is_preferred_and_stays_unless_another_was_given() {
    let (mut operator, near, far) = (Operator::start().await, Backend::start().await, Backend::start().await);
    let mut zoned = policy(free_port().await);
    zoned.zone_aware = true;
    let listed = [("a", &near), ("b", &far)].map(|(zone, backend)| {
        let zone = Some(zone.to_owned());
        evenkeel_wire::Endpoint { zone, ..endpoint(&format!("uid-{}", backend.port()), backend.address) }
    });
    let sidecar = follow(&operator, &["shop/*"]).await;
    let endless = "z".repeat(64);
    for zone in [Some("a"), None, Some(""), Some(&*endless)] {
        let mut stream = operator.stream().await;
        stream.greet("one", zone);
        stream.pool("shop/a", 5, &zoned, &listed);
        stream.send(ServerFrame::Synced);
        stream.expect_ack("shop/a", 5).await;
        assert_eq!(sidecar.pool("shop/a").await.expect("is in use")["zone"], "a", "told {zone:?}");
    }
    drop(sidecar);
    let mut given = config(Source::Feed(Box::new(operator.settings(&["shop/*"]))));
    given.zone = Some("b".into());
    let sidecar = Sidecar::start(given).await.expect("starts");
    let mut stream = operator.stream().await;
    stream.greet("one", Some("a"));
    let mut elsewhere = zoned.clone();
    elsewhere.listeners[0].port = free_port().await;
    stream.pool("shop/a", 5, &elsewhere, &listed);
    stream.expect_ack("shop/a", 5).await;
    assert_eq!(sidecar.pool("shop/a").await.expect("is in use")["zone"], "b");
}

#[tokio::test]
async fn a_bad_pool_is_refused_alone_and_its_last_good_revision_stays() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let (_sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    let listed = [endpoint("uid", backend.address)];
    let mut needs = policy(port);
    needs.requires = vec!["teleport".into()];
    stream.pool("shop/a", 6, &needs, &listed);
    assert!(stream.expect_nack("shop/a").await.contains("teleport"));
    stream.write(
        b"{\"type\":\"pool\",\"pool\":\"shop/bad\",\"revision\":1,\"body\":{\"algorithm\":{\"type\":\"Magic\"}}}\n".to_vec(),
    );
    assert!(stream.expect_nack("shop/bad").await.contains("Magic"));
    stream.pool("shop/twice", 1, &policy(free_port().await), &[listed[0].clone(), listed[0].clone()]);
    assert!(stream.expect_nack("shop/twice").await.contains("twice"));
    stream.pool("shop/thief", 1, &policy(port), &listed);
    assert!(stream.expect_nack("shop/thief").await.contains("shop/a"));
    let taken = Backend::start().await;
    stream.pool("shop/taken", 1, &policy(taken.port()), &listed);
    let reason = stream.expect_nack("shop/taken").await;
    assert!(reason.contains(&taken.port().to_string()) && reason.contains("`tcp`"), "{reason}");
    let second = free_port().await;
    stream.pool("shop/good", 1, &policy(second), &listed);
    stream.expect_ack("shop/good", 1).await;
    assert_eq!((reach(port).await, reach(second).await), (Some(backend.port()), Some(backend.port())));
}

#[tokio::test]
async fn garbage_ends_the_stream_and_the_last_good_list_stays() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let (_sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    stream.write(b"\x00\xffthis is not JSON\n".to_vec());
    assert!(stream.is_ended().await);
    assert_eq!(reach(port).await, Some(backend.port()));
    let mut stream = operator.greeted("one").await;
    assert_eq!(stream.hello.lineage.as_deref(), Some("one"));
    assert_eq!(stream.hello.have.get("shop/a"), Some(&5));
    stream.send(ServerFrame::Commit { pool: pool_name("shop/a"), revision: 5 });
    stream.expect_ack("shop/a", 5).await;
    stream.send(ServerFrame::Synced);
    stream.write(vec![b'x'; evenkeel_wire::MAX_LINE + 1]);
    assert!(stream.is_ended().await, "a line without end");
    assert_eq!(reach(port).await, Some(backend.port()));
}

#[tokio::test]
async fn a_stream_that_stops_in_the_middle_of_a_pool_changes_nothing() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let other = Backend::start().await;
    let (_sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    let whole = ServerFrame::encode_pool(&pool_name("shop/a"), 6, &policy(port), &[endpoint("new", other.address)]);
    stream.write(whole[..whole.len() - 10].to_vec());
    drop(stream);
    let mut stream = operator.greeted("one").await;
    assert_eq!(stream.hello.have.get("shop/a"), Some(&5));
    assert_eq!(reach(port).await, Some(backend.port()));
    stream.write(whole);
    stream.expect_ack("shop/a", 6).await;
    assert_eq!(reach(port).await, Some(other.port()));
}

#[tokio::test]
async fn another_ca_is_not_trusted_and_the_probe_says_so() {
    let (operator, stranger) = (Operator::start().await, Operator::start().await);
    let mut settings = operator.settings(&["shop/a"]);
    settings.ca = evenkeel_sidecar::control::feed::Ca::Pem(stranger.ca.clone());
    let sidecar = Sidecar::start(config(Source::Feed(Box::new(settings)))).await.expect("starts");
    let told = || async {
        let (status, text) = get(sidecar.metrics, "/readyz").await;
        (text.contains("TLS failed")).then_some((status, text))
    };
    let (status, text) = eventually("the reason in /readyz", told).await;
    assert!(status == 503 && text.contains("the CA given isn't the operator's"), "{status} {text}");
    assert_eq!(get(sidecar.metrics, "/livez").await.0, 200, "no reason to restart it");
}

#[tokio::test]
async fn a_refused_token_is_said_and_a_new_one_is_read() {
    let mut operator = Operator::start().await;
    operator.set_token("expired");
    let sidecar = follow(&operator, &["shop/a"]).await;
    let told = || async {
        let (_, text) = get(sidecar.metrics, "/readyz").await;
        (text.contains("401") && text.contains("who are you?")).then_some(())
    };
    eventually("the refusal in /readyz", told).await;
    operator.set_token(common::operator::TOKEN);
    operator.stream().await;
}

#[tokio::test]
async fn a_removed_pool_closes_its_port_and_connections_but_no_others() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let (sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    let second = free_port().await;
    stream.pool("shop/b", 1, &policy(second), &[endpoint("uid", backend.address)]);
    stream.expect_ack("shop/b", 1).await;
    let (mut at_a, mut at_b) = (Client::connect(port).await, Client::connect(second).await);
    assert_eq!((at_a.backend().await, at_b.backend().await), (Some(backend.port()), Some(backend.port())));
    stream.send(ServerFrame::Remove { pool: pool_name("shop/a"), reason: "deleted".into() });
    assert!(at_a.0.read_u8().await.is_err());
    let closed = || async { TcpStream::connect(("127.0.0.1", port)).await.is_err().then_some(()) };
    eventually("the port closed", closed).await;
    at_b.0.write_all(b"x").await.expect("goes on");
    assert_eq!(at_b.0.read_u8().await.expect("goes on"), b'x');
    assert!(sidecar.pool("shop/a").await.is_none());
}

#[tokio::test]
async fn another_lineage_is_a_full_resync_and_drops_what_it_does_not_name() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let (sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    let second = free_port().await;
    stream.pool("shop/b", 9, &policy(second), &[endpoint("uid", backend.address)]);
    stream.expect_ack("shop/b", 9).await;
    drop(stream);
    let mut stream = operator.greeted("two").await;
    assert_eq!(stream.hello.have.len(), 2);
    assert_eq!(reach(second).await, Some(backend.port()), "what is held stays until the new operator has spoken");
    stream.pool("shop/a", 1, &policy(port), &[endpoint("uid", backend.address)]);
    stream.expect_ack("shop/a", 1).await;
    assert!(sidecar.pool("shop/b").await.is_some(), "not before it is synced");
    stream.send(ServerFrame::Synced);
    let dropped = || async { sidecar.pool("shop/b").await.is_none().then_some(()) };
    eventually("the unnamed pool dropped", dropped).await;
    assert_eq!(reach(port).await, Some(backend.port()));
}

#[tokio::test]
async fn a_new_identity_at_an_old_address_ends_the_old_connections_and_draining_does_not() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let (sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    let mut client = Client::connect(port).await;
    assert_eq!(client.backend().await, Some(backend.port()));
    let mut draining = endpoint("uid", backend.address);
    draining.health = Health::Draining;
    stream.pool("shop/a", 6, &policy(port), &[draining]);
    stream.expect_ack("shop/a", 6).await;
    client.0.write_all(b"x").await.expect("goes on");
    assert_eq!(client.0.read_u8().await.expect("goes on"), b'x');
    stream.pool("shop/a", 7, &policy(port), &[endpoint("stranger", backend.address)]);
    stream.expect_ack("shop/a", 7).await;
    assert!(client.0.read_u8().await.is_err(), "the connection to the old identity ends");
    assert_eq!(reach(port).await, Some(backend.port()));
    assert_eq!(sidecar.metric("evenkeel_requests_total", &["flags=\"EndpointGone\""]).await, 1.0);
}

#[tokio::test]
async fn a_goodbye_is_honoured() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let (_sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    let said = Instant::now();
    stream.send(ServerFrame::Goodbye(Goodbye { reason: "restarting".into(), retry_after_ms: 1500 }));
    let stream = operator.stream().await;
    assert!((Duration::from_millis(1500)..Duration::from_secs(5)).contains(&said.elapsed()), "{:?}", said.elapsed());
    assert_eq!(stream.hello.have.get("shop/a"), Some(&5));
}

#[tokio::test]
async fn listeners_on_excluded_ports_are_left_out_and_the_pool_is_taken() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let mut left_out = config(Source::Feed(Box::new(operator.settings(&["shop/a"]))));
    left_out.excluded.insert(TransportPort::tcp(port));
    let sidecar = Sidecar::start(left_out).await.expect("starts");
    let mut stream = operator.greeted("one").await;
    stream.pool("shop/a", 1, &policy(port), &[endpoint("uid", backend.address)]);
    stream.expect_ack("shop/a", 1).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    let pool = sidecar.pool("shop/a").await.expect("is in use");
    assert_eq!(pool["listeners"][0]["open"], false);
}

#[tokio::test]
async fn a_port_may_go_from_one_pool_to_another_in_any_order_of_frames() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let (sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    let listed = [endpoint("uid", backend.address)];
    stream.pool("shop/heir", 1, &policy(port), &listed);
    assert!(stream.expect_nack("shop/heir").await.contains("shop/a"));
    stream.pool("shop/a", 6, &policy(free_port().await), &listed);
    stream.expect_ack("shop/a", 6).await;
    stream.expect_ack("shop/heir", 1).await;
    assert_eq!(reach(port).await, Some(backend.port()));
    let pool = sidecar.pool("shop/heir").await.expect("is in use");
    assert_eq!(pool["listeners"][0]["open"], true);
}

#[tokio::test]
async fn a_pool_whose_certificate_is_not_there_is_refused_by_name_and_served_once_it_is() {
    let (mut operator, backend, port) = (Operator::start().await, Backend::start().await, free_port().await);
    let (_sidecar, mut stream) = in_step(&mut operator, port, &backend).await;
    let (folder, authority, at) = (tempfile::tempdir().expect("a folder"), Authority::new(), free_port().await);
    let [certificate_file, key_file] =
        ["tls.crt", "tls.key"].map(|name| folder.path().join(name).to_str().expect("text").to_owned());
    let mut ends_tls = policy(at);
    ends_tls.requires = vec![feature::LISTENER_TLS.into()];
    let files = [certificate_file.clone(), key_file.clone()];
    ends_tls.listeners[0].tls = Some(ListenerTls { certificate_file, key_file, min_version: TlsVersion::V1_2 });
    stream.pool("shop/secret", 1, &ends_tls, &[endpoint("uid", backend.address)]);
    let reason = stream.expect_nack("shop/secret").await;
    assert!(reason.contains("`tcp`") && files.iter().any(|file| reason.contains(file)), "{reason}");
    assert_eq!(reach(port).await, Some(backend.port()), "the other pool goes on");
    let issued = authority.issue("localhost");
    std::fs::write(&files[1], issued.key).expect("writes");
    std::fs::write(&files[0], issued.certificate).expect("writes");
    stream.expect_ack("shop/secret", 1).await;
    let mut client = authority.connect(at, "localhost", &[]).await.expect("TLS");
    assert_eq!(client.read_u8().await.ok(), backend.port().to_string().bytes().next(), "the backend says its port");
}
