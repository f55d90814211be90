//! One connection: takes frames and tells what they mean, writes frames. Nothing here waits; whoever owns the socket
//! moves the bytes, gives back what it has taken, and stops reading while much is pending.

use super::fault::{Code, Fatal};
use super::{Event, Limits, NoStream, Role, Scheme, Step, StreamId};
use std::time::Instant;

/// One HTTP/2 connection. Stop calling [`Connection::advance`] while over 64 KiB are pending: what is queued in answer
/// to the peer's frames stays bounded that way.
#[derive(Debug)]
pub(crate) struct Connection {
    role: Role,
    text: Vec<u8>,
    out: Vec<u8>,
}

impl Connection {
    /// The server's end; queues SETTINGS.
    pub(crate) fn server(limits: &Limits, now: Instant) -> Self {
        let _ = (limits, now);
        Self { role: Role::Server, text: Vec::new(), out: Vec::new() }
    }

    /// The client's end; queues the preface and SETTINGS. Streams may be opened at once.
    pub(crate) fn client(limits: &Limits, scheme: Scheme, now: Instant) -> Self {
        let _ = (limits, scheme, now);
        Self { role: Role::Client, text: Vec::new(), out: Vec::new() }
    }

    /// Reads on in `buf`, which starts where the last step stopped: one frame at most, or a part of a DATA frame. A frame
    /// other than DATA is taken when it is there as a whole: `buf` must be able to hold 16 KiB and 9 bytes.
    pub(crate) fn advance(&mut self, buf: &[u8], now: Instant) -> Result<Step, Fatal> {
        let _ = (buf, now);
        Ok(Step { consumed: 0, event: Event::More })
    }

    /// The text of the head or of the trailers that were read last.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// What is to be written to the socket.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.out
    }

    /// The first `count` bytes of what was pending have been written.
    pub(crate) fn sent(&mut self, count: usize) {
        self.out.drain(..count);
    }

    /// Client: opens a stream with a request head, HTTP/1.1 text with a Host line, with or without its empty line. Lines
    /// that concern one connection only are left out; `te: trailers` is added for gRPC.
    pub(crate) fn open(&mut self, head: &[u8], end: bool) -> Result<StreamId, NoStream> {
        let _ = (head, end);
        Err(NoStream::GoingAway)
    }

    /// Client: whether [`Connection::open`] would find room.
    pub(crate) fn may_open(&self) -> Result<(), NoStream> {
        Err(NoStream::GoingAway)
    }

    /// Server: sends an answer's head, HTTP/1.1 text, interim (1xx, never `end`) or final. Nothing if the stream is gone.
    pub(crate) fn send_head(&mut self, stream: StreamId, head: &[u8], end: bool) {
        let _ = (stream, head, end);
    }

    /// Sends as much of `data` as the windows allow, and says how much that was. `end`: the stream ends with it, if all
    /// was sent; an empty `data` always is. A stream that is gone takes everything.
    pub(crate) fn send_data(&mut self, stream: StreamId, data: &[u8], end: bool) -> usize {
        let _ = (stream, end);
        data.len()
    }

    /// How many bytes the windows allow to be sent on the stream now.
    pub(crate) fn capacity(&self, stream: StreamId) -> usize {
        let _ = stream;
        0
    }

    /// Ends the stream with trailer lines (`Name: value` CRLF each); without any, it just ends.
    pub(crate) fn send_trailers(&mut self, stream: StreamId, lines: &[u8]) {
        let _ = (stream, lines);
    }

    /// Resets the stream; it is gone. NO_ERROR after a whole answer tells a client to stop sending its request.
    pub(crate) fn reset(&mut self, stream: StreamId, code: Code) {
        let _ = (stream, code);
    }

    /// The reader is done with `count` bytes of the stream's data: the peer may send as many again.
    pub(crate) fn release(&mut self, stream: StreamId, count: usize) {
        let _ = (stream, count);
    }

    /// Server: begins to end the connection: the client is told to open no more streams, those under way when it hears of
    /// it are still served (RFC 9113, 6.8). Client: opens no more.
    pub(crate) fn shutdown(&mut self) {}

    /// Queues GOAWAY; nothing is read any more.
    pub(crate) fn close(&mut self, code: Code) {
        let _ = code;
    }

    /// Asks the peer for a sign of life: [`Event::Pong`] is its answer.
    pub(crate) fn ping(&mut self) {}

    /// How many streams are open.
    pub(crate) fn active(&self) -> usize {
        0
    }

    /// Whether no stream is open.
    pub(crate) fn is_idle(&self) -> bool {
        true
    }

    /// Whether no new streams are taken or opened: once it is idle, too, the connection is done.
    pub(crate) fn is_closing(&self) -> bool {
        self.role == Role::Client
    }
}
