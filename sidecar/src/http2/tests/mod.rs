//! The engine's claims: each rule of RFC 9113 and 7541 that a peer can break, what heads become, what flows, and what is
//! bounded. Then all of it against another implementation.

mod bounds;
mod peer;
mod rules;
mod sending;
mod text;

use super::{Code, Connection, Event, Fatal, Limits, NoStream, PREFACE, Reason, Role, Scheme, StreamFault, StreamId};
use std::time::Instant;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END: u8 = 0x1;
const ACK: u8 = 0x1;
const WHOLE: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// A frame's bytes.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of plain literals that aren't kept.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            super::hpack::write_string(&mut out, text.as_bytes());
        }
    }
    out
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

/// GET or POST with more fields.
fn with(head: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]) -> Vec<u8> {
    block(&[head, more].concat())
}

/// One end of a connection, and what has come of what it read.
struct End {
    connection: Connection,
    now: Instant,
    /// What was read and not consumed.
    input: Vec<u8>,
    /// The bodies and texts of all events.
    data: Vec<u8>,
    texts: Vec<String>,
}

impl End {
    /// A server whose client has said hello.
    fn server() -> Self {
        let mut end = Self::new(Role::Server);
        let hello = [PREFACE.as_slice(), &frame(SETTINGS, 0, 0, &[])].concat();
        assert_eq!(end.read(&hello), Ok(vec![Event::PeerSettings]));
        end.written();
        end
    }

    /// A client whose server has said hello.
    fn client() -> Self {
        let mut end = Self::new(Role::Client);
        assert_eq!(end.read(&frame(SETTINGS, 0, 0, &[])), Ok(vec![Event::PeerSettings]));
        end.written();
        end
    }

    fn new(role: Role) -> Self {
        let now = Instant::now();
        let connection = match role {
            Role::Server => Connection::server(&Limits::default(), now),
            Role::Client => Connection::client(&Limits::default(), Scheme::Http, now),
        };
        Self { connection, now, input: vec![], data: vec![], texts: vec![] }
    }

    /// Reads `bytes` to the end; the events that mean something.
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Fatal> {
        self.input.extend(bytes);
        let mut events = Vec::new();
        let mut at = 0;
        loop {
            let step = self.connection.advance(&self.input[at..], self.now)?;
            match &step.event {
                Event::Data { range, .. } => self.data.extend(&self.input[at..][range.clone()]),
                Event::Head { .. } | Event::Trailers { .. } => {
                    self.texts.push(String::from_utf8_lossy(self.connection.text()).into());
                }
                _ => {}
            }
            at += step.consumed;
            match step.event {
                Event::More => break,
                Event::None => {}
                event => events.push(event),
            }
        }
        self.input.drain(..at);
        Ok(events)
    }

    /// The frames that were written since: kind, flags, stream, payload.
    fn written(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let bytes = self.connection.pending().to_vec();
        self.connection.sent(bytes.len());
        let mut rest = bytes.strip_prefix(PREFACE.as_slice()).unwrap_or(&bytes);
        let mut frames = Vec::new();
        while let Some((head, after)) = rest.split_at_checked(9) {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]) | usize::from(head[0]) << 16;
            let (payload, after) = after.split_at(length);
            frames.push((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload.to_vec()));
            rest = after;
        }
        frames
    }
}
