//! A bounded load: so many workers, so many requests or so much time. With a rate each request has its due time (an open
//! loop as far as there are free workers) and latency counts from then; without, each worker sends as soon as it may.

use super::client::{Connection, Failure, tcp_exchange};
use super::now_ns;
use super::summary::{Summary, Tally};
use super::text::{HeaderTemplate, Url};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

/// The most requests of one run.
pub const MAX_REQUESTS: u64 = 10_000_000;

/// Where the load goes.
#[derive(Debug, Clone)]
pub enum Target {
    /// A request per exchange.
    Http {
        /// Where to.
        url: Url,
        /// Further request headers.
        headers: Vec<HeaderTemplate>,
        /// Use connections again.
        keep: bool,
    },
    /// A connection per exchange.
    Tcp {
        /// `host:port`.
        authority: String,
        /// How many bytes go there and back.
        bytes: usize,
    },
}

/// How much load, and for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where the load goes.
    pub target: Target,
    /// Workers: the most exchanges at once.
    pub concurrency: usize,
    /// Requests a second over all workers; absent: as fast as the answers come.
    pub rate: Option<u32>,
    /// Stop after so many.
    pub requests: Option<u64>,
    /// Stop after so long.
    pub duration: Option<Duration>,
    /// Keys in turn: request n has key n modulo this.
    pub keys: Option<u64>,
    /// Note each key's backend.
    pub out_keys: bool,
    /// The longest an exchange may take.
    pub limit: Duration,
}

/// Runs the load to its end.
pub async fn run(load: Load) -> Summary {
    let noted = load.keys.filter(|_| load.out_keys).unwrap_or(0);
    let start_ns = now_ns();
    let shared =
        Rc::new(Shared { tally: RefCell::new(Tally::new(noted as usize)), next: Cell::new(0), start: Instant::now(), load });
    let workers = LocalSet::new();
    for _ in 0..shared.load.concurrency {
        workers.spawn_local(worker(Rc::clone(&shared)));
    }
    workers.await;
    shared.tally.take().finish(start_ns, now_ns())
}

struct Shared {
    load: Load,
    tally: RefCell<Tally>,
    next: Cell<u64>,
    start: Instant,
}

impl Shared {
    /// The next request's number and due time, unless the run is over.
    fn ticket(&self) -> Option<(u64, Instant)> {
        let number = self.next.get();
        let due = match self.load.rate {
            Some(rate) => self.start + Duration::from_nanos(number * 1_000_000_000 / u64::from(rate)),
            None => Instant::now(),
        };
        let enough = number >= self.load.requests.unwrap_or(MAX_REQUESTS)
            || self.load.duration.is_some_and(|duration| due.max(Instant::now()) >= self.start + duration);
        if enough {
            return None;
        }
        self.next.set(number + 1);
        Some((number, due))
    }
}

async fn worker(shared: Rc<Shared>) {
    let load = &shared.load;
    let authority = match &load.target {
        Target::Http { url, .. } => url.authority.clone(),
        Target::Tcp { authority, .. } => authority.clone(),
    };
    let mut connection = Connection::new(authority);
    while let Some((number, due)) = shared.ticket() {
        sleep_until(due).await;
        let key = load.keys.map_or(number, |keys| number % keys);
        shared.tally.borrow_mut().sent();
        let outcome = exchange(load, &mut connection, key).await;
        let mut tally = shared.tally.borrow_mut();
        for _ in 0..connection.take_opened() {
            tally.connected();
        }
        match outcome {
            Ok(backend) => tally.answered(&backend, key, due.elapsed().as_micros() as u64),
            Err(Failure { kind, words }) => tally.failed(kind, || format!("request {number} at {}: {kind:?}: {words}", now_ns())),
        }
    }
}

/// One exchange; the name of the backend that answered.
async fn exchange(load: &Load, connection: &mut Connection, key: u64) -> Result<String, Failure> {
    match &load.target {
        Target::Tcp { authority, bytes } => tcp_exchange(authority, &vec![b'x'; *bytes], load.limit).await,
        Target::Http { url, headers, keep } => {
            let mut request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n", url.path, url.authority).into_bytes();
            if !keep {
                request.extend_from_slice(b"connection: close\r\n");
            }
            for header in headers {
                header.write(key, &mut request);
            }
            request.extend_from_slice(b"\r\n");
            let response = connection.exchange(&request, false, *keep, load.limit).await?.successful()?;
            Ok(response.backend.unwrap_or_else(|| "unnamed".into()))
        }
    }
}
