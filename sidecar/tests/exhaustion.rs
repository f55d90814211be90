//! What happens when the process runs out of descriptors. Alone in its file: the limit is the whole process's.

mod common;

use common::web::{AT_ONCE, Caller, Web};
use common::{PATIENCE, Sidecar, config, eventually, free_port, pool_yaml};
use evenkeel_sidecar::app::Source;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

const PASSIVE: &str = "  healthCheck: {passive: {consecutiveErrors: 1}}\n  retry: {maxRetries: 0, retryOn: []}\n";

/// From now until it is dropped the process gets no new descriptor.
struct Exhausted(Rlimit);

impl Exhausted {
    fn begin() -> Self {
        let before = getrlimit(Resource::Nofile);
        let next = File::open("/dev/null").expect("one is left").as_raw_fd();
        let none = Rlimit { current: u64::try_from(next).ok(), ..before };
        setrlimit(Resource::Nofile, none).expect("is lowered");
        assert!(File::open("/dev/null").is_err(), "none is left");
        Self(before)
    }
}

impl Drop for Exhausted {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("is raised again");
    }
}

/// The processor time that this process has used.
fn used() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).expect("nanoseconds"))
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("is sent");
    let mut answer = vec![0; 16_384];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await.expect("is answered").expect("bytes");
    String::from_utf8_lossy(&answer[..read]).into()
}

#[tokio::test]
async fn without_descriptors_requests_are_refused_nobody_is_ejected_and_who_is_connected_goes_on() {
    let (folder, port, web) = (tempfile::tempdir().expect("a folder"), free_port().await, Web::start(AT_ONCE).await);
    let text = pool_yaml("web", port, &[web.address], PASSIVE).replace("protocol: TCP", "protocol: HTTP");
    let path = folder.path().join("pools.yaml");
    std::fs::write(&path, text).expect("writes");
    let sidecar = Sidecar::start(config(Source::Files(vec![path]))).await.expect("starts");
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let mut connected = Vec::new();
    for _ in 0..8 {
        connected.push(TcpStream::connect(address).await.expect("connects"));
    }
    // All of them are accepted once none is left in the backlog: what comes later finds no descriptor.
    let accepted = || async { (sidecar.metric("evenkeel_connections", &["downstream"]).await >= 8.0).then_some(()) };
    eventually("8 clients accepted", accepted).await;
    let late: Vec<_> = (0..4).map(|_| TcpSocket::new_v4().expect("a socket")).collect();

    let exhausted = Exhausted::begin();
    for client in &mut connected {
        let answer = ask(client).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("evenkeel: LocalExhaustion: "), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    }
    let mut waiting = Vec::new();
    for socket in late {
        waiting.push(socket.connect(address).await.expect("the backlog takes it"));
    }
    // Only what is spent without need is measured, so that a busy machine cannot fail it.
    let before = used();
    sleep(Duration::from_secs(1)).await;
    let spent = used() - before;
    assert!(spent < Duration::from_millis(200), "{spent:?} in a second in which nothing could be done");
    drop(exhausted);

    for client in connected.iter_mut().chain(&mut waiting) {
        let answer = ask(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(Caller::connect(port).await.ask("/again", "u").await, web.port());
    assert_eq!(sidecar.metric("evenkeel_requests_total", &["flags=\"LocalExhaustion\""]).await, 8.0);
    assert_eq!(sidecar.metric("evenkeel_ejections_total", &[]).await, 0.0, "no endpoint is to blame");
}
