//! Claims on response times: what counts as one, whose slowness is no endpoint's, and how an end without an answer is taken.

mod common;

use common::{Backend, Client, PATIENCE, Sidecar, config, eventually, free_port, pool_yaml};
use evenkeel_sidecar::app::Source;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A server that reads a request with its body, takes a while, and answers with this status and its port.
async fn server(status: u16, law: Duration) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while message(&mut stream).await.is_some() {
                    sleep(law).await;
                    let body = address.port().to_string();
                    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A head and the body that it announces; `None` if the connection ends.
async fn message(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length =
        head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |length| length.parse().unwrap_or(0));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// A request whose body leaves that long after its head: the answer's status and who gave it.
async fn ask(stream: &mut TcpStream, pause: Duration) -> (u16, u16) {
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").await.expect("writes");
    sleep(pause).await;
    stream.write_all(b"x").await.expect("writes");
    let (head, body) = timeout(PATIENCE, message(stream)).await.expect("is answered").expect("goes on");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.parse().expect("a port"))
}

async fn start(folder: &TempDir, text: &str) -> Sidecar {
    let path = folder.path().join("pools.yaml");
    std::fs::write(&path, text).expect("writes");
    Sidecar::start(config(Source::Files(vec![path]))).await.expect("starts")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn who_fails_quickly_is_not_taken_for_quick() {
    let (folder, port) = (folder(), free_port().await);
    let [broken, good] = [server(500, Duration::ZERO).await, server(200, Duration::from_millis(50)).await];
    let more = "  algorithm: {type: ResponseTimeWeighted}\n  healthCheck: {passive: {maxEjectionPercent: 0}}\n";
    let text = pool_yaml("mixed", port, &[broken, good], more);
    let _sidecar = start(&folder, &text.replace("protocol: TCP", "protocol: HTTP")).await;
    let hardly_asked = || async {
        let mut asking = JoinSet::new();
        for _ in 0..10 {
            asking.spawn(async move {
                let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connects");
                let mut failed = 0;
                for _ in 0..10 {
                    failed += usize::from(ask(&mut client, Duration::ZERO).await.0 == 500);
                }
                failed
            });
        }
        (asking.join_all().await.into_iter().sum::<usize>() <= 12).then_some(())
    };
    eventually("twelve of 100 requests at most to who fails", hardly_asked).await;
}

#[tokio::test]
async fn a_client_that_uploads_slowly_makes_no_backend_slow() {
    let (folder, port) = (folder(), free_port().await);
    let [quick, slow] = [server(200, Duration::from_millis(2)).await, server(200, Duration::from_millis(60)).await];
    let more = "  algorithm: {type: LeastResponseTime, leastResponseTime: {choiceCount: 0}}\n";
    let text = pool_yaml("uploads", port, &[quick, slow], more);
    let _sidecar = start(&folder, &text.replace("protocol: TCP", "protocol: HTTP")).await;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connects");
    for _ in 0..10 {
        ask(&mut client, Duration::ZERO).await;
    }
    while ask(&mut client, Duration::from_millis(1_500)).await.1 != quick.port() {}
    let mut at_quick = 0;
    for _ in 0..20 {
        at_quick += usize::from(ask(&mut client, Duration::ZERO).await.1 == quick.port());
    }
    assert!(at_quick >= 15, "{at_quick} of 20");
}

#[tokio::test]
async fn who_takes_connections_and_never_answers_is_ejected() {
    let (folder, port) = (folder(), free_port().await);
    let hole = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let (address, good) = (hole.local_addr().expect("an address"), Backend::start().await);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = hole.accept().await {
            let _ = stream.read_u8().await;
        }
    });
    let more =
        "  algorithm: {type: RoundRobin}\n  healthCheck: {passive: {consecutiveErrors: 3, window: 10s, baseEjectionTime: 30s}}\n";
    let sidecar = start(&folder, &pool_yaml("hole", port, &[address, good.address], more)).await;
    let ejected = || async {
        let mut client = Client::connect(port).await;
        let _ = client.0.write_all(b"?").await;
        client.backend().await;
        let pool = sidecar.pool("default/hole").await.expect("is in use");
        let endpoints = pool["endpoints"].as_array().expect("a list").clone();
        let state = |of: SocketAddr| {
            let found = endpoints.iter().find(|endpoint| endpoint["address"] == of.to_string().as_str());
            found.expect("is listed")["ejection"]["state"].clone()
        };
        assert_eq!(state(good.address), "Closed");
        (state(address) != "Closed").then_some(())
    };
    eventually("the black hole ejected", ejected).await;
}
