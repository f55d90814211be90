//! A client that sends exactly these bytes, cut exactly so, and keeps what comes back.

use super::process::local;
use super::recorder::write_parts;
use super::request::{Extent, Kind, extent, status};
use anyhow::Result;
use socket2::SockRef;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// The proxy ended the connection.
    pub ended: bool,
    /// The proxy reset it.
    pub reset: bool,
}

impl Heard {
    /// The status of the first final answer; 0 if there is none.
    pub fn status(&self) -> u16 {
        self.statuses(&[]).first().copied().unwrap_or(0)
    }

    /// The statuses of all final answers; `to_head` says which of them answer a HEAD.
    pub fn statuses(&self, to_head: &[bool]) -> Vec<u16> {
        answers(&self.bytes, to_head).into_iter().map(status).filter(|status| *status >= 200 || *status == 101).collect()
    }
}

/// The answers in these bytes, the last one perhaps cut off.
pub fn answers<'a>(bytes: &'a [u8], to_head: &[bool]) -> Vec<&'a [u8]> {
    let (mut rest, mut found, mut finals) = (bytes, Vec::new(), 0);
    while !rest.is_empty() {
        let kind = Kind::Answer { to_head: to_head.get(finals).copied().unwrap_or(false) };
        let length = match extent(rest, kind) {
            Extent::Complete(length) => length,
            Extent::Partial | Extent::UntilClose => rest.len(),
        };
        let (answer, after) = rest.split_at(length);
        finals += usize::from(status(answer) >= 200);
        found.push(answer);
        rest = after;
    }
    found
}

/// What to say.
#[derive(Debug, Clone, Default)]
pub struct Say<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Where they are cut.
    pub cuts: &'a [usize],
}

/// Says it on a new connection, then listens until what was heard will do, the proxy ends, or the time is over.
pub fn say(port: u16, say: &Say<'_>, limit: Duration, mut will_do: impl FnMut(&[u8]) -> bool) -> Result<Heard> {
    let mut stream = TcpStream::connect(local(port))?;
    stream.set_nodelay(true)?;
    // What is refused early may be reset under the rest of the bytes: what was heard until then counts.
    let _ = write_parts(&stream, say.bytes, say.cuts);
    let mut heard = Heard::default();
    let deadline = Instant::now() + limit;
    let mut buffer = vec![0; 64 * 1024];
    while !heard.ended && !will_do(&heard.bytes) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => heard.ended = true,
            Ok(count) => heard.bytes.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => (heard.ended, heard.reset) = (true, true),
        }
    }
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?; // no TIME_WAIT: there are thousands of connections
    Ok(heard)
}

/// Whether so many final answers are complete.
pub fn has_answers(bytes: &[u8], to_head: &[bool], finals: usize) -> bool {
    let (mut rest, mut found) = (bytes, 0);
    while found < finals {
        let kind = Kind::Answer { to_head: to_head.get(found).copied().unwrap_or(false) };
        let Extent::Complete(length) = extent(rest, kind) else { return false };
        found += usize::from(status(rest) >= 200);
        rest = &rest[length..];
    }
    true
}
