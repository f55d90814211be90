//! An HTTP backend that says its port, counts what it gets, and takes as long as it is told; a client that asks it through a sidecar.

use super::{PATIENCE, eventually};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// How long a request for this path takes.
pub(crate) type Law = fn(&str) -> Duration;

/// Answers at once.
pub(crate) const AT_ONCE: Law = |_| Duration::ZERO;

/// A backend; gone when dropped, with all its connections.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    gate: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Web {
    pub(crate) async fn start(law: Law) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), law).await
    }

    /// Where another one was before, say.
    pub(crate) async fn start_at(address: SocketAddr, law: Law) -> Self {
        Self::start_streaming(address, [law, AT_ONCE]).await
    }

    /// The second law is how long the body takes after the head.
    pub(crate) async fn start_streaming(address: SocketAddr, laws: [Law; 2]) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let counts = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let (gate, open) = watch::channel(true);
        let counting = counts.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, address.port(), laws, counting.clone(), open.clone()));
            }
        });
        Self { address, counts, gate, serving }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Requests that it has been asked for paths beginning so.
    pub(crate) fn count(&self, path: &str) -> usize {
        let counts = self.counts.lock().expect("whole");
        counts.iter().filter(|(asked, _)| asked.starts_with(path)).map(|(_, count)| count).sum()
    }

    /// From here on requests are taken and not answered.
    pub(crate) fn hold(&self) {
        self.gate.send_replace(false);
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    port: u16,
    [law, streaming]: [Law; 2],
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    mut open: watch::Receiver<bool>,
) {
    stream.set_nodelay(true).expect("sets");
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8_lossy(&head);
        let path = text.split(' ').nth(1).expect("a path").to_owned();
        *counts.lock().expect("whole").entry(path.clone()).or_default() += 1;
        sleep(law(&path)).await;
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        let body = port.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        sleep(streaming(&path)).await;
        if stream.write_all(body.as_bytes()).await.is_err() {
            return;
        }
        head.clear();
    }
}

/// A client's kept connection to a sidecar.
pub(crate) struct Caller(TcpStream);

impl Caller {
    pub(crate) async fn connect(port: u16) -> Self {
        Self(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connects"))
    }

    /// Sends a request and doesn't wait.
    pub(crate) async fn send(&mut self, path: &str, user: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.expect("writes");
    }

    /// Which backend answers with 200; anything else is the test's end.
    pub(crate) async fn ask(&mut self, path: &str, user: &str) -> u16 {
        self.send(path, user).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, self.0.read_u8()).await.expect("is answered").expect("goes on"));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.0.read_exact(&mut body).await.expect("a body");
        String::from_utf8(body).expect("text").parse().expect("a port")
    }
}

/// Who answers `requests` of so many callers at once, each asking again as soon as it is answered.
pub(crate) async fn load(port: u16, callers: usize, requests: usize) -> BTreeMap<u16, usize> {
    let mut calling = JoinSet::new();
    for _ in 0..callers {
        calling.spawn(async move {
            let mut caller = Caller::connect(port).await;
            let mut seen = Vec::new();
            for _ in 0..requests / callers {
                seen.push(caller.ask("/", "ada").await);
            }
            seen
        });
    }
    let mut shares = BTreeMap::new();
    for backend in calling.join_all().await.into_iter().flatten() {
        *shares.entry(backend).or_default() += 1;
    }
    shares
}

/// Waits until requests that are held have arrived.
pub(crate) async fn arrived(webs: &[Web], path: &str, count: usize) {
    let all = || async { (webs.iter().map(|web| web.count(path)).sum::<usize>() == count).then_some(()) };
    eventually(&format!("{count} requests for {path}"), all).await;
}

/// Four backends of which the test accepts and answers itself.
pub(crate) struct Raw([TcpListener; 4]);

impl Raw {
    /// On free ports.
    pub(crate) async fn start() -> Self {
        let bind = async || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        Self([bind().await, bind().await, bind().await, bind().await])
    }

    /// Their ports.
    pub(crate) fn ports(&self) -> [u16; 4] {
        self.0.each_ref().map(|listener| listener.local_addr().expect("an address").port())
    }

    /// The next connection to any of them.
    pub(crate) async fn accept(&self) -> TcpStream {
        let [first, second, third, fourth] = &self.0;
        let accepted = tokio::select! {
            accepted = first.accept() => accepted,
            accepted = second.accept() => accepted,
            accepted = third.accept() => accepted,
            accepted = fourth.accept() => accepted,
        };
        accepted.expect("a connection").0
    }
}
