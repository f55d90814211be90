//! A backend that says who it is and counts what reaches it. Control paths (`/healthz`, `/stats`, `/reset`) answer on
//! every port and are not counted. It ends as an ordinary server does: what runs is finished, what idles is closed.

use super::message::{MessageError, Reader};
use super::now_ns;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};

/// How long connections that are still busy at the end are waited for.
const FINISH: Duration = Duration::from_secs(10);

/// What to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in every answer.
    pub name: String,
    /// Where to listen.
    pub address: SocketAddr,
    /// A second port for the control paths; the only one for them with `tcp` and `udp`.
    pub control: Option<SocketAddr>,
    /// The time that each request takes.
    pub delay: Duration,
    /// How long serving goes on after the end was asked for.
    pub drain: Duration,
    /// Speak bare TCP: the name and a newline, then what comes in goes back.
    pub tcp: bool,
    /// Speak UDP: each datagram goes back behind the name and a newline.
    pub udp: bool,
}

/// What has been counted, as `/stats` and the last line of the log say it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// The server's name.
    pub name: String,
    /// Requests, TCP connections or datagrams.
    pub requests: u64,
    /// Connections accepted on the main port.
    pub connections: u64,
    /// Requests being worked on.
    pub in_flight: u32,
    /// The most that were worked on at once.
    pub peak: u32,
    /// Wall clock of the first request's arrival, nanoseconds since 1970; 0: none.
    pub first_request_ns: u64,
    /// Wall clock of the last request's arrival; 0: none.
    pub last_request_ns: u64,
    /// Wall clock when the end was asked for; 0: not yet.
    pub asked_to_end_ns: u64,
}

/// A bound server.
pub struct Bound {
    /// The main address.
    pub address: SocketAddr,
    /// The control address, where there is one.
    pub control: Option<SocketAddr>,
    main: Main,
    control_listener: Option<TcpListener>,
    config: Config,
}

/// The main port.
enum Main {
    Stream(TcpListener),
    Datagrams(UdpSocket),
}

/// Binds all ports of the server.
pub async fn bind(config: Config) -> io::Result<Bound> {
    let main = if config.udp {
        Main::Datagrams(UdpSocket::bind(config.address).await?)
    } else {
        Main::Stream(TcpListener::bind(config.address).await?)
    };
    let control_listener = match config.control {
        Some(address) => Some(TcpListener::bind(address).await?),
        None => None,
    };
    Ok(Bound {
        address: match &main {
            Main::Stream(listener) => listener.local_addr()?,
            Main::Datagrams(socket) => socket.local_addr()?,
        },
        control: control_listener.as_ref().map(TcpListener::local_addr).transpose()?,
        main,
        control_listener,
        config,
    })
}

impl Bound {
    /// Serves until `end` completes, goes on for the drain time, finishes what runs, and returns what was counted.
    pub async fn run(self, end: impl Future<Output = ()>) -> Stats {
        let counters = Arc::new(Counters::new(&self.config.name));
        let (stop, stopping) = watch::channel(false);
        // Each connection holds a sender: the channel closes when the last of them is done.
        let (alive, mut all_done) = mpsc::channel::<()>(1);
        let served = Served {
            counters: Arc::clone(&counters),
            delay: self.config.delay,
            stopping,
            _alive: alive,
            kind: if self.config.tcp { Kind::Tcp } else { Kind::Http },
        };
        let main = serve_main(self.main, served.clone());
        let control = accept_if(self.control_listener, served.for_control());
        drop(served);
        let ended = async {
            end.await;
            counters.asked_to_end_ns.store(now_ns(), Relaxed);
            tokio::time::sleep(self.config.drain).await;
        };
        // Leaving this select drops the listeners, before anything else is closed.
        tokio::select! {
            () = ended => {}
            () = main => {}
            () = control => {}
        }
        let _ = stop.send(true);
        let _ = tokio::time::timeout(FINISH, all_done.recv()).await;
        counters.stats()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Tcp,
    Control,
}

/// What each connection of a port gets.
#[derive(Clone)]
struct Served {
    counters: Arc<Counters>,
    delay: Duration,
    stopping: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
    kind: Kind,
}

impl Served {
    fn for_control(&self) -> Self {
        Self { kind: Kind::Control, ..self.clone() }
    }
}

async fn serve_main(main: Main, served: Served) {
    match main {
        Main::Stream(listener) => accept(listener, served).await,
        Main::Datagrams(socket) => datagrams(socket, served).await,
    }
}

/// One after the other: the delay of one holds up the next.
async fn datagrams(socket: UdpSocket, served: Served) {
    let name = format!("{}\n", served.counters.name).into_bytes();
    let mut answer = name.clone();
    answer.resize(name.len() + (64 << 10), 0);
    loop {
        // An error is of an answer that nobody took, and its client counts that.
        let Ok((length, from)) = socket.recv_from(&mut answer[name.len()..]).await else { continue };
        let _working = served.counters.begin();
        if !served.delay.is_zero() {
            tokio::time::sleep(served.delay).await;
        }
        let _ = socket.send_to(&answer[..name.len() + length], from).await;
    }
}

async fn accept_if(listener: Option<TcpListener>, served: Served) {
    match listener {
        Some(listener) => accept(listener, served).await,
        None => std::future::pending().await,
    }
}

async fn accept(listener: TcpListener, served: Served) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: the others may finish meanwhile.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        if !matches!(served.kind, Kind::Control) {
            served.counters.connections.fetch_add(1, Relaxed);
        }
        tokio::spawn(connection(stream, served.clone()));
    }
}

async fn connection(stream: TcpStream, served: Served) {
    // A peer that goes away in the middle concerns only itself; its client counts the failure.
    let _ = match served.kind {
        Kind::Tcp => tcp(stream, &served).await,
        Kind::Http | Kind::Control => http(stream, &served).await,
    };
}

async fn http(stream: TcpStream, served: &Served) -> Result<(), MessageError> {
    let mut stopping = served.stopping.clone();
    let mut reader = Reader::new(stream);
    loop {
        tokio::select! {
            biased;
            more = reader.wait() => if !more? { return Ok(()) },
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        }
        let request = match reader.request().await {
            Err(error @ MessageError::Malformed(_)) => {
                let refusal = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                reader.stream().write_all(refusal).await?;
                return Err(error);
            }
            other => other?,
        };
        let answer = match control(&request.method, &request.target, &served.counters) {
            Some(answer) => answer,
            None if matches!(served.kind, Kind::Control) => Answer { status: 404, body: "\n".into() },
            None => work(&request.method, &request.target, served).await,
        };
        let keep = request.keep_alive && !*stopping.borrow();
        let bytes = answer.encode(&served.counters.name, keep, request.method == "HEAD");
        reader.stream().write_all(&bytes).await?;
        if !keep {
            return Ok(());
        }
    }
}

async fn work(method: &str, target: &str, served: &Served) -> Answer {
    let working = served.counters.begin();
    if !served.delay.is_zero() {
        tokio::time::sleep(served.delay).await;
    }
    let body = serde_json::json!({
        "name": served.counters.name,
        "method": method,
        "path": target,
        "inFlight": working.now,
        "peak": served.counters.peak.load(Relaxed),
    });
    Answer { status: 200, body: format!("{body}\n") }
    // `working` ends here, before the answer is written: no client can know it and still be counted.
}

async fn tcp(mut stream: TcpStream, served: &Served) -> Result<(), MessageError> {
    let mut stopping = served.stopping.clone();
    let _working = served.counters.begin();
    if !served.delay.is_zero() {
        tokio::time::sleep(served.delay).await;
    }
    stream.write_all(format!("{}\n", served.counters.name).as_bytes()).await?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = tokio::select! {
            biased;
            length = stream.read(&mut buffer) => length?,
            _ = stopping.wait_for(|stop| *stop) => 0,
        };
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn encode(&self, name: &str, keep: bool, bodiless: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            404 => "Not Found",
            503 => "Service Unavailable",
            _ => "Status",
        };
        let mut out = format!(
            "HTTP/1.1 {} {reason}\r\nx-backend: {name}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}\r\n",
            self.status,
            self.body.len(),
            if keep { "" } else { "connection: close\r\n" },
        )
        .into_bytes();
        if !bodiless {
            out.extend(self.body.as_bytes());
        }
        out
    }
}

/// The answer to a control path, `None` for all others.
fn control(method: &str, target: &str, counters: &Counters) -> Option<Answer> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match (method, path) {
        ("POST", "/healthz") => {
            let status = query.strip_prefix("status=").and_then(|status| status.parse().ok());
            let status = status.filter(|status| (200..600).contains(status));
            Some(match status {
                Some(status) => {
                    counters.health.store(status, Relaxed);
                    counters.answer(200)
                }
                None => counters.answer(400),
            })
        }
        (_, "/healthz") => Some(counters.answer(counters.health.load(Relaxed))),
        (_, "/stats") => Some(counters.answer(200)),
        ("POST", "/reset") => {
            counters.reset();
            Some(counters.answer(200))
        }
        _ => None,
    }
}

struct Counters {
    name: String,
    health: AtomicU16,
    requests: AtomicU64,
    connections: AtomicU64,
    in_flight: AtomicU32,
    peak: AtomicU32,
    // First and last arrival.
    arrivals: Mutex<(u64, u64)>,
    asked_to_end_ns: AtomicU64,
}

/// A request that is being worked on.
struct Working<'a> {
    counters: &'a Counters,
    now: u32,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.counters.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Counters {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            health: AtomicU16::new(200),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            arrivals: Mutex::new((0, 0)),
            asked_to_end_ns: AtomicU64::new(0),
        }
    }

    fn begin(&self) -> Working<'_> {
        self.requests.fetch_add(1, Relaxed);
        let now = self.in_flight.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(now, Relaxed);
        let arrival = now_ns();
        let mut arrivals = self.arrivals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if arrivals.0 == 0 {
            arrivals.0 = arrival;
        }
        arrivals.1 = arrival;
        Working { counters: self, now }
    }

    fn reset(&self) {
        self.requests.store(0, Relaxed);
        self.connections.store(0, Relaxed);
        self.peak.store(self.in_flight.load(Relaxed), Relaxed);
        *self.arrivals.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = (0, 0);
    }

    fn stats(&self) -> Stats {
        let (first_request_ns, last_request_ns) = *self.arrivals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Stats {
            name: self.name.clone(),
            requests: self.requests.load(Relaxed),
            connections: self.connections.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            peak: self.peak.load(Relaxed),
            first_request_ns,
            last_request_ns,
            asked_to_end_ns: self.asked_to_end_ns.load(Relaxed),
        }
    }

    fn answer(&self, status: u16) -> Answer {
        let stats = serde_json::to_string(&self.stats()).unwrap_or_default();
        Answer { status, body: stats + "\n" }
    }
}
