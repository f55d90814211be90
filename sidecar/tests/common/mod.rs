//! A sidecar in this process, backends on loopback, and small clients. What a test waits for, it asks for again and again
//! until a deadline; nothing sleeps to let something happen.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod example;
pub(crate) mod http2;
pub(crate) mod operator;
pub(crate) mod tls;
pub(crate) mod web;

use evenkeel_sidecar::app::{self, Bound, Config, Source, StartError};
use evenkeel_sidecar::lifecycle::Drained;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The longest that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A sidecar that runs until it is stopped or dropped.
pub(crate) struct Sidecar {
    pub(crate) admin: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) reload: mpsc::Sender<()>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Drained>,
}

pub(crate) fn config(source: Source) -> Config {
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    Config {
        source,
        admin: any,
        metrics: any,
        workers: 2,
        excluded: BTreeSet::new(),
        access_log: false,
        pod_ip: None,
        zone: None,
        name: "test".into(),
        drain_timeout: PATIENCE,
        seed: 1,
    }
}

impl Sidecar {
    pub(crate) async fn start(config: Config) -> Result<Self, StartError> {
        let bound: Bound = app::start(config).await?;
        let (admin, metrics, reload) = (bound.admin, bound.metrics, bound.reload.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(bound.run(async { drop(stopped.await) }));
        Ok(Self { admin, metrics, reload, stop: Some(stop), running })
    }

    /// What SIGTERM does.
    pub(crate) fn tell_to_stop(&mut self) {
        self.stop.take().expect("told once").send(()).expect("still runs");
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.running.is_finished()
    }

    pub(crate) async fn end(mut self) -> Drained {
        if self.stop.is_some() {
            self.tell_to_stop();
        }
        timeout(PATIENCE, self.running).await.expect("ends").expect("doesn't panic")
    }

    /// The live table.
    pub(crate) async fn table(&self) -> Value {
        let (_, body) = get(self.admin, "/table").await;
        serde_json::from_str(&body).expect("JSON")
    }

    /// One pool of the live table.
    pub(crate) async fn pool(&self, name: &str) -> Option<Value> {
        let table = self.table().await;
        table["pools"].as_array().expect("pools").iter().find(|pool| pool["name"] == name).cloned()
    }

    /// The sum of all series of a name whose labels include these.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, page) = get(self.metrics, "/metrics").await;
        let of_name = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let matching = of_name.filter(|line| labels.iter().all(|label| line.contains(label)));
        matching.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")).sum()
    }
}

/// GET: status and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
}

/// A head with its last line break; none if the connection ends before.
pub(crate) async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).expect("text"))
}

/// Asks until the answer is something; fails after [`PATIENCE`], naming what was waited for.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A server that says its port, then everything it hears, to everyone.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into()).await
    }

    pub(crate) async fn start_on(ip: IpAddr) -> Self {
        Self::start_late(ip, Duration::ZERO).await
    }

    /// Says its port that late.
    pub(crate) async fn start_late(ip: IpAddr, late: Duration) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("has an address");
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    sleep(late).await;
                    let _ = to.write_all(format!("{}\n", address.port()).as_bytes()).await;
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
            }
        });
        Self { address, serving }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A client connection through the sidecar.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn connect(port: u16) -> Self {
        Self::connect_to(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).await
    }

    pub(crate) async fn connect_to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("connects"))
    }

    /// The port of the backend that answers; `None` if the connection ends instead.
    pub(crate) async fn backend(&mut self) -> Option<u16> {
        let mut line = Vec::new();
        loop {
            match timeout(PATIENCE, self.0.read_u8()).await.expect("is answered") {
                Ok(b'\n') => return String::from_utf8(line).expect("text").parse().ok(),
                Ok(byte) => line.push(byte),
                Err(_) => return None,
            }
        }
    }
}

/// Which backend one new connection reaches; a reset may show at the connect already.
pub(crate) async fn reach(port: u16) -> Option<u16> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    Client(stream).backend().await
}

/// A port that nobody listens on. Below those that the system gives to clients, and no two tests of a run get the same: a sidecar
/// shares its ports, and would share one with another test's.
pub(crate) async fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 60) as u16 * 200;
    for _ in 0..200 {
        let port = first + NEXT.fetch_add(1, Relaxed) % 200;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            return port;
        }
    }
    panic!("no port from {first} on is free");
}

/// A pool's YAML: a TCP listener on this port, static endpoints, and more of the spec.
pub(crate) fn pool_yaml(name: &str, port: u16, endpoints: &[SocketAddr], more: &str) -> String {
    let listed: Vec<_> =
        endpoints.iter().map(|endpoint| format!("{{address: \"{}\", port: {}}}", endpoint.ip(), endpoint.port())).collect();
    format!(
        "apiVersion: evenkeel.dev/v1alpha1\nkind: BalancerPool\nmetadata: {{name: {name}}}\nspec:\n  listeners: [{{name: tcp, port: {port}, protocol: TCP}}]\n  sources: [{{name: all, static: {{endpoints: [{}]}}}}]\n{more}",
        listed.join(", ")
    )
}

/// A port that refuses.
pub(crate) async fn refusing() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port().await)
}
