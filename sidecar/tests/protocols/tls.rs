//! TLS that is ended, passed through and begun.

use crate::common::example::{Example, backends, port};
use crate::common::http2::Http2Client;
use crate::common::tls::{Authority, Issued, TlsBackend};
use crate::common::web::{AT_ONCE, Raw, Web};
use crate::common::{Client, PATIENCE, eventually, free_port, get, read_head};
use std::net::Ipv4Addr;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// All that is answered.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<String> {
    stream.write_all(ASK).await?;
    let mut answer = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("ends");
    // Some close without saying so, which truncates nothing here: the answer has a length.
    end.map(|_| ()).or_else(|error| if answer.is_empty() { Err(error) } else { Ok(()) })?;
    Ok(String::from_utf8(answer).expect("text"))
}

fn write(folder: &Path, issued: &Issued) {
    // The key first: between the two the pair doesn't match, and the one before stays.
    std::fs::write(folder.join("tls.key"), &issued.key).expect("writes");
    std::fs::write(folder.join("tls.crt"), &issued.certificate).expect("writes");
}

struct Ending {
    example: Example,
    webs: [Web; 4],
    folder: TempDir,
    authority: Authority,
    at: u16,
}

async fn ending() -> Ending {
    let webs = [Web::start(AT_ONCE).await, Web::start(AT_ONCE).await, Web::start(AT_ONCE).await, Web::start(AT_ONCE).await];
    let (folder, authority, at) = (tempfile::tempdir().expect("a folder"), Authority::new(), free_port().await);
    write(folder.path(), &authority.issue("localhost"));
    let files = ("/tmp/evenkeel/".to_owned(), format!("{}/", folder.path().display()));
    let changes = [backends(webs.each_ref().map(Web::port)), vec![port(18443, at), files]].concat();
    let example = Example::start("tls-terminate", &changes).await;
    Ending { example, webs, folder, authority, at }
}

#[tokio::test]
async fn inside_of_tls_a_client_speaks_http1_or_http2_as_it_chose() {
    let scene = ending().await;
    let known = |text: &str| scene.webs.iter().any(|web| text.ends_with(&web.port().to_string()));
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = scene.authority.connect(scene.at, "localhost", alpn).await.expect("TLS");
        let answer = ask(stream).await.expect("is answered");
        assert!(answer.starts_with("HTTP/1.1 200 ") && known(&answer), "{answer}");
    }
    let stream = scene.authority.connect(scene.at, "localhost", &["h2", "http/1.1"]).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let answer = Http2Client::over(stream).await.get("/").await;
    assert!(answer.status == 200 && known(&answer.body), "{answer:?}");
}

#[tokio::test]
async fn a_websocket_inside_of_tls_is_bytes_both_ways_until_each_side_ends() {
    let (raw, at) = (Raw::start().await, free_port().await);
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    write(folder.path(), &authority.issue("localhost"));
    let files = ("/tmp/evenkeel/".to_owned(), format!("{}/", folder.path().display()));
    let _example = Example::start("tls-terminate", &[backends(raw.ports()), vec![port(18443, at), files]].concat()).await;
    let bulk = vec![7; 300_000];
    let serving = async {
        let mut stream = raw.accept().await;
        read_head(&mut stream).await.expect("a head");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst";
        stream.write_all(answer).await.expect("is sent");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("the client ends");
        assert!(heard == [b"early".as_slice(), &bulk].concat());
        stream.write_all(&bulk).await.expect("is sent");
    };
    let asking = async {
        let mut client = authority.connect(at, "localhost", &["http/1.1"]).await.expect("TLS");
        let ask = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly";
        client.write_all(ask).await.expect("is sent");
        let head = read_head(&mut client).await.expect("a head");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client.write_all(&bulk).await.expect("is sent");
        client.shutdown().await.expect("ends");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("ends well");
        assert!(rest == [b"first".as_slice(), &bulk].concat());
    };
    timeout(PATIENCE, async { tokio::join!(serving, asking) }).await.expect("both end");
}

#[tokio::test]
async fn what_is_no_tls_is_turned_away_and_counted() {
    let scene = ending().await;
    let answer = ask(Client::connect(scene.at).await.0).await.unwrap_or_default();
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let counted = || async {
        let count = scene.example.sidecar.metric("evenkeel_connections_refused_total", &["pool=\"default/tls-terminate\""]).await;
        (count == 1.0).then_some(())
    };
    eventually("the connection counted", counted).await;
    assert_eq!(scene.webs.iter().map(|web| web.count("/")).sum::<usize>(), 0);
}

#[tokio::test]
async fn a_new_certificate_is_read_and_one_that_cannot_be_used_is_not() {
    let scene = ending().await;
    let next = Authority::new();
    write(scene.folder.path(), &next.issue("localhost"));
    let taken = || async { next.connect(scene.at, "localhost", &[]).await.ok() };
    eventually("the new certificate in use", taken).await;
    std::fs::write(scene.folder.path().join("tls.crt"), "no certificate").expect("writes");
    for _ in 0..3 {
        let stream = next.connect(scene.at, "localhost", &[]).await.expect("the one before stays");
        assert!(ask(stream).await.expect("is answered").starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_leads_to_its_backends() {
    let authority = Authority::new();
    let names = ["db.example.com", "db.example.com", "any.example.com", "any.example.com"];
    let mut servers = Vec::new();
    for name in names {
        servers.push(TlsBackend::start(&authority.issue(name), &[]).await);
    }
    let at = free_port().await;
    let ports = [0, 1, 2, 3].map(|n: usize| servers[n].port());
    let example = Example::start("tls-passthrough", &[backends(ports), vec![port(18444, at)]].concat()).await;
    for (name, own) in [("db.example.com", &ports[..2]), ("any.example.com", &ports[2..])] {
        for _ in 0..4 {
            // The backend's own certificate has come through: the name is verified.
            let stream = authority.connect(at, name, &[]).await.expect("TLS");
            let answer = ask(stream).await.expect("is answered");
            assert!(own.iter().any(|port| answer.ends_with(&port.to_string())), "{name}: {answer}");
        }
    }
    assert!(authority.connect(at, "db.example.org", &[]).await.is_err(), "a name that leads nowhere");
    let counted = || async {
        let count = example.sidecar.metric("evenkeel_connections_refused_total", &["reason=\"UnknownServerName\""]).await;
        (count == 1.0).then_some(())
    };
    eventually("the connection counted", counted).await;
}

/// The example with these four backends, and a port that leads to them.
async fn beginning(authority: &Authority, servers: &[TlsBackend; 4]) -> (Example, TempDir, u16) {
    let (folder, at) = (tempfile::tempdir().expect("a folder"), free_port().await);
    std::fs::write(folder.path().join("ca.crt"), authority.pem()).expect("writes");
    let files = ("/tmp/evenkeel/".to_owned(), format!("{}/", folder.path().display()));
    let changes = [backends(servers.each_ref().map(TlsBackend::port)), vec![port(18098, at), files]].concat();
    (Example::start("tls-upstream", &changes).await, folder, at)
}

async fn four(issued: &Issued, alpn: &[&str]) -> [TlsBackend; 4] {
    [
        TlsBackend::start(issued, alpn).await,
        TlsBackend::start(issued, alpn).await,
        TlsBackend::start(issued, alpn).await,
        TlsBackend::start(issued, alpn).await,
    ]
}

#[tokio::test]
async fn backends_that_expect_tls_are_spoken_to_in_the_version_that_they_choose() {
    let authority = Authority::new();
    for alpn in [&["h2", "http/1.1"][..], &["h2"], &["http/1.1"], &[]] {
        let servers = four(&authority.issue("api.example.com"), alpn).await;
        let (_example, _folder, at) = beginning(&authority, &servers).await;
        for _ in 0..4 {
            let (status, body) = get((Ipv4Addr::LOCALHOST, at).into(), "/").await;
            assert!(status == 200 && servers.iter().any(|server| body.contains(&server.port().to_string())), "{status} {body}");
        }
    }
}

#[tokio::test]
async fn backends_of_another_name_or_authority_get_no_request() {
    let authority = Authority::new();
    let (other_name, stranger) = (authority.issue("other.example.com"), Authority::new().issue("api.example.com"));
    for issued in [other_name, stranger] {
        let servers = four(&issued, &[]).await;
        let (_example, _folder, at) = beginning(&authority, &servers).await;
        let (status, body) = get((Ipv4Addr::LOCALHOST, at).into(), "/").await;
        assert!(status == 502 && body.starts_with("evenkeel: UpstreamTls: "), "{status} {body}");
    }
}
