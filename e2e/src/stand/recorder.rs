//! A backend that keeps every byte it gets, connection by connection, and answers each request as it has been told to.

use super::PATIENCE;
use super::diag::Diag;
use super::process::local;
use super::request::{Extent, Kind, extent, find, head_length};
use anyhow::{Result, bail};
use socket2::SockRef;
use std::collections::{BTreeMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What happens after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The connection stays.
    Keep,
    /// It is closed.
    Close,
}

/// What each request gets.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The bytes; none: nothing is answered.
    pub bytes: Vec<u8>,
    /// Where they are cut; each part goes out when the one before has been read.
    pub cuts: Vec<usize>,
    /// What follows.
    pub then: Then,
}

impl Answer {
    /// In one piece, on a connection that stays.
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), cuts: Vec::new(), then: Then::Keep }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The proxy ended its side.
    Fin,
    /// The proxy reset it.
    Reset,
    /// The answer's [`Then::Close`].
    Ours,
}

/// What came on one connection since the last look.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whole requests among them.
    pub requests: usize,
    /// How it ended; `None`: it is open.
    pub end: Option<End>,
    /// The bytes end within a request, or its answer is still being written.
    pub busy: bool,
    /// Which connection this is, counted from 0 over the recorder's life.
    pub connection: usize,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, requests, end, busy, connection } = self;
        let text = bytes[..bytes.len().min(600)].escape_ascii();
        let length = bytes.len();
        write!(f, "#{connection} {length} bytes \"{text}\" ({requests} requests, end {end:?}, busy {busy})")
    }
}

/// The backend. Its threads end with its connections.
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// By number: those that are open, and those that ended since the last look.
    connections: BTreeMap<usize, Connection>,
    accepted: usize,
    /// The other ends' ports of what has been accepted since the last look; see [`Recorder::settle`].
    accepted_from: HashSet<u16>,
    answer: Answer,
    stopped: bool,
}

struct Connection {
    seen: Seen,
    stream: Arc<TcpStream>,
}

/// What a backend says if nothing else is asked for.
pub const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Recorder {
    /// Starts to listen.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(local(0))?;
        let address = listener.local_addr()?;
        let state = State {
            connections: BTreeMap::new(),
            accepted: 0,
            accepted_from: HashSet::new(),
            answer: Answer::of(PLAIN),
            stopped: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                if !serving.accept(stream, peer.port()) {
                    return;
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// What requests get from now on.
    pub fn set_answer(&self, answer: Answer) {
        self.shared.lock().answer = answer;
    }

    /// Waits until every request that has begun is answered or aborted, then takes all that was ever sent until now.
    pub fn take(&self) -> Result<Vec<Seen>> {
        self.settle("requests that are neither answered nor aborted", |seen| seen.end.is_some() || !seen.busy)
    }

    /// Takes all that was sent until now, though requests may be under way.
    pub fn take_now(&self) -> Result<Vec<Seen>> {
        self.settle("bytes that are not read", |_| true)
    }

    /// Waits until what has come since the last look is so; `what` is the error otherwise.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&[&Seen]) -> bool) -> Result<()> {
        self.shared.wait_until(what, |state| {
            let seen: Vec<&Seen> = state.connections.values().map(|connection| &connection.seen).collect();
            is_so(&seen).then_some(())
        })
    }

    /// What was sent before is recorded now: a connection that we make ourselves is accepted after those before it, and
    /// no socket holds unread bytes or an unseen end.
    fn settle(&self, what: &str, is_settled: impl Fn(&Seen) -> bool) -> Result<Vec<Seen>> {
        let fence = TcpStream::connect(self.address)?;
        let port = fence.local_addr()?.port();
        SockRef::from(&fence).set_linger(Some(Duration::ZERO))?;
        self.shared.wait_until("a connection that is not accepted", |state| state.accepted_from.contains(&port).then_some(()))?;
        drop(fence);
        self.shared.wait_until(what, |state| {
            let is_quiet = |connection: &Connection| {
                connection.seen.end.is_some() || is_settled(&connection.seen) && has_nothing_unread(&connection.stream)
            };
            state.connections.values().all(is_quiet).then(|| state.take())
        })
    }
}

/// Neither bytes nor an end wait to be read.
fn has_nothing_unread(stream: &TcpStream) -> bool {
    const PEEK_NOW: i32 = 0x02 | 0x40; // MSG_PEEK | MSG_DONTWAIT
    let peeked = SockRef::from(stream).recv_with_flags(&mut [MaybeUninit::uninit()], PEEK_NOW);
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn take(&mut self) -> Vec<Seen> {
        let all = self.connections.values_mut().map(|connection| &mut connection.seen);
        let taken = all.filter(|seen| !seen.bytes.is_empty()).map(|seen| {
            let left = Seen { bytes: Vec::new(), requests: 0, ..*seen };
            std::mem::replace(seen, left)
        });
        let taken = taken.collect();
        self.accepted_from.clear();
        self.connections.retain(|_, connection| connection.seen.end.is_none());
        taken
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whenever something has changed, and every few milliseconds for what changes in the kernel alone.
    fn wait_until<T>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lock();
        loop {
            if let Some(value) = look(&mut state) {
                return Ok(value);
            }
            if Instant::now() >= deadline {
                let all = state.connections.values().map(|connection| &connection.seen);
                let seen: Vec<_> = all.filter(|seen| !seen.bytes.is_empty() || seen.busy).collect();
                bail!("{what}, after {PATIENCE:?}: {seen:?}");
            }
            let waited = self.changed.wait_timeout(state, Duration::from_millis(2));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether to go on.
    fn accept(self: &Arc<Self>, stream: TcpStream, port: u16) -> bool {
        let mut state = self.lock();
        if state.stopped {
            return false;
        }
        let connection = state.accepted;
        state.accepted += 1;
        state.accepted_from.insert(port);
        let stream = Arc::new(stream);
        let seen = Seen { connection, ..Seen::default() };
        state.connections.insert(connection, Connection { seen, stream: Arc::clone(&stream) });
        drop(state);
        self.changed.notify_all();
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.serve(&stream, connection));
        true
    }

    /// One connection: records first, then answers, so that who has the answer finds the request recorded.
    fn serve(&self, stream: &TcpStream, connection: usize) {
        let _ = stream.set_nodelay(true);
        let end = self.converse(stream, connection);
        match end {
            End::Ours => drop(stream.shutdown(Shutdown::Both)),
            // No TIME_WAIT: there are thousands of connections.
            End::Fin | End::Reset => drop(SockRef::from(stream).set_linger(Some(Duration::ZERO))),
        }
        if let Some(connection) = self.lock().connections.get_mut(&connection) {
            connection.seen.end = Some(end);
        }
        self.changed.notify_all();
    }

    fn converse(&self, mut stream: &TcpStream, connection: usize) -> End {
        let mut pending = Pending::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // Bytes leave the socket and enter the record under one lock.
            if stream.peek(&mut [0]).is_err() {
                return End::Reset;
            }
            let mut state = self.lock();
            let count = match stream.read(&mut buffer) {
                Ok(0) => return End::Fin,
                Ok(count) => count,
                Err(_) => return End::Reset,
            };
            let (requests, answers) = pending.take(&buffer[..count]);
            let answer = state.answer.clone();
            if let Some(Connection { seen, .. }) = state.connections.get_mut(&connection) {
                seen.bytes.extend_from_slice(&buffer[..count]);
                seen.requests += requests;
                seen.busy = !pending.bytes.is_empty() || answers > 0;
            }
            drop(state);
            self.changed.notify_all();
            for _ in 0..answers {
                if write_parts(stream, &answer.bytes, &answer.cuts).is_err() {
                    return End::Reset;
                }
                if answer.then == Then::Close {
                    return End::Ours;
                }
            }
            if let (true, Some(Connection { seen, .. })) = (answers > 0, self.lock().connections.get_mut(&connection)) {
                seen.busy = !pending.bytes.is_empty();
            }
            self.changed.notify_all();
        }
    }
}

/// The request that is being read.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    answered: bool,
}

impl Pending {
    /// Takes more bytes: how many requests are complete, and how many answers are due. Who expects 100 Continue gets the
    /// answer after the head.
    fn take(&mut self, more: &[u8]) -> (usize, usize) {
        self.bytes.extend_from_slice(more);
        let (mut requests, mut answers) = (0, 0);
        while let Extent::Complete(length) = extent(&self.bytes, Kind::Request) {
            self.bytes.drain(..length);
            requests += 1;
            answers += usize::from(!std::mem::take(&mut self.answered));
        }
        let head = head_length(&self.bytes).map(|length| &self.bytes[..length]);
        if !self.answered && head.is_some_and(|head| find(head, "expect").is_some()) {
            self.answered = true;
            answers += 1;
        }
        (requests, answers)
    }
}

/// Writes bytes cut at these places; each part goes out when the one before has been read.
pub fn write_parts(mut stream: &TcpStream, bytes: &[u8], cuts: &[usize]) -> Result<()> {
    let mut from = 0;
    let mut diag = if cuts.is_empty() { None } else { Some(Diag::new()?) };
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        if let (Some(diag), true) = (&mut diag, from > 0) {
            diag.wait_until_read(stream)?;
        }
        stream.write_all(&bytes[from..cut])?;
        from = cut;
    }
    Ok(())
}
