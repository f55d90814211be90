//! HTTP/2 (RFC 9113) without IO and without a clock: bytes in, events and bytes out, in both roles. Heads go in and out
//! as HTTP/1.1 text, so that what a request means is decided in one place, by `http1`. Reject, never repair; memory and
//! work are bounded whatever the peer sends.

mod budget;
mod connection;
mod control;
pub(crate) mod fault;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod head;
mod hpack;
mod last;
mod pseudo;
mod receive;
mod send;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use connection::Connection;
pub(crate) use fault::{Code, Fatal, Reason, StreamFault};

use std::ops::Range;

/// What a client sends first (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest payload of a frame, in bytes, in both directions: the least that every peer must take.
pub(crate) const MAX_FRAME: usize = 16 * 1024;

/// What one connection may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Streams at a time: those that a client may open here, or those opened here at most, whatever the server allows.
    pub(crate) max_streams: u32,
    /// Bytes that one stream's peer may send ahead of [`Connection::release`].
    pub(crate) stream_window: u32,
    /// The same of all streams together; at least 65,535.
    pub(crate) connection_window: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_streams: 100, stream_window: 64 * 1024, connection_window: 1024 * 1024 }
    }
}

/// The number of a stream; it is never used twice on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(u32);

impl StreamId {
    /// The number.
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Requests come in.
    Server,
    /// Requests go out.
    Client,
}

/// What requests that go out have as `:scheme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

/// One step of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// So many bytes of the input are done with, once the event is.
    pub(crate) consumed: usize,
    /// What they were.
    pub(crate) event: Event,
}

/// What has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// More bytes are needed; those not consumed must be offered again.
    More,
    /// Something that concerns nobody else; go on.
    None,
    /// A head; its text stands in [`Connection::text`] until the next call of `advance` or `sent`. Server: the stream
    /// is new. Client: an answer, interim ones included. `end`: there is no body.
    Head { stream: StreamId, end: bool },
    /// A head of more than `http1::MAX_HEAD` bytes or `http1::MAX_FIELDS` lines. The stream is as after a head; a server
    /// answers 431, a client resets it.
    HeadTooLarge { stream: StreamId, end: bool },
    /// Bytes of a body, as a range of the input; may be empty if `end`. Each must be given back once by
    /// [`Connection::release`], even if the stream has gone meanwhile.
    Data { stream: StreamId, range: Range<usize>, end: bool },
    /// Trailer lines, in [`Connection::text`], without an empty line; the body has ended.
    Trailers { stream: StreamId },
    /// The peer has reset the stream; it is gone. Not `processed`: the peer has provably not looked at the request.
    Reset { stream: StreamId, code: Code, processed: bool },
    /// The stream broke a rule and was reset; it is gone. A stream that wasn't announced by `Head` may be named.
    Failed { stream: StreamId, fault: StreamFault },
    /// A client's stream over the limit, or after GOAWAY, that was turned away; it wasn't announced.
    Refused { stream: StreamId },
    /// Something may be sent again where nothing could: on this stream, or, `None`, on any.
    Window { stream: Option<StreamId> },
    /// The peer's settings have changed: how many streams may be opened, how much may be sent on any.
    PeerSettings,
    /// The peer takes no streams after `last`. Client: those above are gone here, and provably unprocessed; those up to
    /// it go on, no new ones may be opened.
    GoAway { last: StreamId, code: Code },
}

/// Why no stream can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoStream {
    /// As many are open as the server, or [`Limits::max_streams`], allows.
    AtLimit,
    /// The server takes no more, this side has closed, or the numbers are used up: another connection is needed.
    GoingAway,
    /// The head isn't HTTP/1.1 text as `http1::write` writes it.
    Head,
}
