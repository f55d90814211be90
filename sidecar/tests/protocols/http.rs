//! HTTP of every version on one port, and to backends that speak one alone.

use crate::common::example::{Example, backends, port};
use crate::common::http2::{Http2Backend, Http2Client};
use crate::common::web::{AT_ONCE, Caller, Raw, Web};
use crate::common::{Client, PATIENCE, free_port, read_head};
use std::collections::{BTreeMap, BTreeSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

async fn webs() -> [Web; 4] {
    [Web::start(AT_ONCE).await, Web::start(AT_ONCE).await, Web::start(AT_ONCE).await, Web::start(AT_ONCE).await]
}

async fn http2_backends() -> [Http2Backend; 4] {
    [Http2Backend::start().await, Http2Backend::start().await, Http2Backend::start().await, Http2Backend::start().await]
}

#[tokio::test]
async fn requests_of_one_http2_connection_reach_all_backends_which_speak_http1() {
    let (webs, at) = (webs().await, free_port().await);
    let changes = [backends(webs.each_ref().map(Web::port)), vec![port(18100, at)]].concat();
    let _example = Example::start("http", &changes).await;
    let (mut client, mut seen) = (Http2Client::connect(at).await, BTreeMap::<String, usize>::new());
    for _ in 0..12 {
        let answer = client.get("/").await;
        assert_eq!(answer.status, 200);
        *seen.entry(answer.body).or_default() += 1;
    }
    assert_eq!(seen.values().copied().collect::<Vec<_>>(), [3; 4], "{seen:?}");
    let mut caller = Caller::connect(at).await;
    let backend = caller.ask("/", "ada").await;
    assert!(webs.iter().any(|web| web.port() == backend), "HTTP/1.1 on the same port");
}

#[tokio::test]
async fn http_1_0_is_answered_on_the_same_port_and_its_connection_ends() {
    let (webs, at) = (webs().await, free_port().await);
    let changes = [backends(webs.each_ref().map(Web::port)), vec![port(18100, at)]].concat();
    let _example = Example::start("http", &changes).await;
    let mut client = Client::connect(at).await.0;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("is sent");
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer)).await.expect("ends").expect("ends well");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(webs.iter().any(|web| answer.ends_with(&format!("\r\n\r\n{}", web.port()))), "{answer}");
}

#[tokio::test]
async fn after_101_a_websocket_is_bytes_both_ways() {
    let (raw, at) = (Raw::start().await, free_port().await);
    let _example = Example::start("http", &[backends(raw.ports()), vec![port(18100, at)]].concat()).await;
    let serving = async {
        let mut stream = raw.accept().await;
        let head = read_head(&mut stream).await.expect("a head").to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst";
        stream.write_all(answer.as_bytes()).await.expect("is sent");
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.expect("is told");
        stream.write_all(&heard).await.expect("is sent");
        stream.shutdown().await.expect("ends");
    };
    let asking = async {
        let mut client = Client::connect(at).await.0;
        let ask = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(ask.as_bytes()).await.expect("is sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nfirst") {
            answer.push(client.read_u8().await.expect("goes on"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        client.write_all(b"\x00\xffraw").await.expect("is sent");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("ends well");
        assert_eq!(rest, b"\x00\xffraw");
    };
    timeout(PATIENCE, async { tokio::join!(serving, asking) }).await.expect("both end");
}

#[tokio::test]
async fn grpc_goes_to_the_backends_as_http2_with_its_message_and_its_trailers() {
    let (servers, at) = (http2_backends().await, free_port().await);
    let changes = [backends(servers.each_ref().map(Http2Backend::port)), vec![port(18100, at)]].concat();
    let _example = Example::start("http", &changes).await;
    let mut client = Http2Client::connect(at).await;
    for _ in 0..4 {
        let answer = client.call("/shop.Cart/Add", b"\0\0\0\0\x04item").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "\0\0\0\0\x04item"));
        assert_eq!(answer.trailers.get("grpc-status").map(|status| status.as_bytes()), Some(&b"0"[..]));
    }
}

#[tokio::test]
async fn backends_that_speak_http2_alone_serve_clients_of_every_version() {
    let (servers, at) = (http2_backends().await, free_port().await);
    let ports = servers.each_ref().map(Http2Backend::port);
    let _example = Example::start("http2", &[backends(ports), vec![port(18101, at)]].concat()).await;
    let (mut old, mut new) = (Client::connect(at).await.0, Http2Client::connect(at).await);
    let known = |body: &str| ports.iter().any(|port| body == port.to_string());
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        old.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("is sent");
        let body = answer(&mut old).await;
        assert!(known(&body), "{body}");
        let answer = new.get("/").await;
        assert!(answer.status == 200 && known(&answer.body), "{answer:?}");
        seen.extend([body, answer.body]);
    }
    assert!(seen.len() > 1, "all from one backend");
}

/// The body of a 200 of known length or in chunks.
async fn answer(stream: &mut tokio::net::TcpStream) -> String {
    let read = async {
        let (head, mut bytes) = (read_head(stream).await.expect("is answered"), Vec::new());
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let head = head.to_ascii_lowercase();
        if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            let mut body = vec![0; length.parse().expect("a number")];
            stream.read_exact(&mut body).await.expect("a body");
            return body;
        }
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        while !bytes.ends_with(b"0\r\n\r\n") {
            bytes.push(stream.read_u8().await.expect("goes on"));
        }
        let text = String::from_utf8(bytes).expect("text");
        text.split("\r\n").skip(1).step_by(2).collect::<String>().into_bytes()
    };
    String::from_utf8(timeout(PATIENCE, read).await.expect("is answered in time")).expect("text")
}
