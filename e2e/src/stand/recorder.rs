//! A backend that keeps every byte it gets, connection by connection, and answers each request as it has been told to.

use super::PATIENCE;
use super::diag::Diag;
use super::process::local;
use super::request::{Extent, Kind, extent};
use anyhow::{Result, bail};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whole requests among them.
    pub requests: usize,
    /// How it ended; `None`: it is open.
    pub end: Option<End>,
    /// The bytes end within a request.
    pub within: bool,
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
    connections: Vec<Seen>,
    answer: Answer,
    stopped: bool,
}

/// What a backend says if nothing else is asked for.
pub const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Recorder {
    /// Starts to listen.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(local(0))?;
        let address = listener.local_addr()?;
        let state = State { connections: Vec::new(), answer: Answer::of(PLAIN), stopped: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.lock().stopped {
                    return;
                }
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Self { address, shared })
    }

    /// What requests get from now on.
    pub fn set_answer(&self, answer: Answer) {
        self.shared.lock().answer = answer;
    }

    /// Waits until no connection is within a request, then takes what has come. What has come at the deadline is an error.
    pub fn take(&self) -> Result<Vec<Seen>> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while state.connections.iter().any(|seen| seen.within && seen.end.is_none()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let open: Vec<_> = state
                    .connections
                    .iter()
                    .filter(|seen| seen.within)
                    .map(|seen| seen.bytes.escape_ascii().to_string())
                    .collect();
                bail!("requests that are neither ended nor aborted after {PATIENCE:?}: {open:?}");
            }
            state = self.shared.wait(state, left);
        }
        Ok(state.take())
    }

    /// Takes what has come so far.
    pub fn take_now(&self) -> Vec<Seen> {
        self.shared.lock().take()
    }

    /// Waits until so many whole requests have come since the last look.
    pub fn wait_for_requests(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while state.connections.iter().map(|seen| seen.requests).sum::<usize>() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("not {count} requests after {PATIENCE:?}: {:?}", state.connections);
            }
            state = self.shared.wait(state, left);
        }
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn take(&mut self) -> Vec<Seen> {
        let taken = self.connections.iter().filter(|seen| !seen.bytes.is_empty()).cloned().collect();
        for seen in &mut self.connections {
            (seen.bytes, seen.requests) = (Vec::new(), 0);
        }
        taken
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// One connection: records first, then answers, so that who has the answer finds the request recorded.
    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut state = self.lock();
        let index = state.connections.len();
        state.connections.push(Seen::default());
        drop(state);
        let end = self.converse(&mut stream, index);
        // No TIME_WAIT: there are thousands of connections.
        let _ = SockRef::from(&stream).set_linger(if end == End::Ours { None } else { Some(Duration::ZERO) });
        self.lock().connections[index].end = Some(end);
        drop(stream);
        self.changed.notify_all();
    }

    fn converse(&self, stream: &mut TcpStream, index: usize) -> End {
        let mut pending = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => return End::Fin,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return End::Reset,
            };
            pending.extend_from_slice(&buffer[..count]);
            let mut answers = Vec::new();
            let mut state = self.lock();
            while let Extent::Complete(length) = extent(&pending, Kind::Request) {
                pending.drain(..length);
                answers.push(state.answer.clone());
            }
            let seen = &mut state.connections[index];
            seen.bytes.extend_from_slice(&buffer[..count]);
            seen.requests += answers.len();
            seen.within = !pending.is_empty();
            drop(state);
            self.changed.notify_all();
            for answer in answers {
                if write_parts(stream, &answer.bytes, &answer.cuts).is_err() {
                    return End::Reset;
                }
                if answer.then == Then::Close {
                    return End::Ours;
                }
            }
        }
    }
}

/// Writes bytes cut at these places; each part goes out when the one before has been read.
pub fn write_parts(stream: &mut TcpStream, bytes: &[u8], cuts: &[usize]) -> Result<()> {
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
