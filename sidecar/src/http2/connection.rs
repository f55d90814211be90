//! One connection: takes frames and tells what they mean, writes frames. Nothing here waits; whoever owns the socket
//! moves the bytes, gives back what it has taken, and stops reading while much is pending. What a frame does stands in
//! `receive` and `control`; this is what holds it together.

use super::budget::Budget;
use super::fault::{Code, Fatal, Reason, StreamFault};
use super::frame::{self, FrameHead, Kind};
use super::head::Head;
use super::hpack::{Decoder, Encoder};
use super::settings::{self, FIRST_WINDOW};
use super::stream::{Ended, Inbound, Streams, Window};
use super::{Event, Limits, PREFACE, Role, Scheme, Step, StreamId, budget::Cost};
use std::time::Instant;

/// Buffers that are larger than this are given back when there is no stream.
const KEPT: usize = 4096;
/// As much as this may have been written and still be held: what is moved to forget it, is paid for by what was written.
const WRITTEN: usize = 32 * 1024;

/// One HTTP/2 connection. Stop calling [`Connection::advance`] while over 64 KiB are pending: what is queued in answer
/// to the peer's frames stays bounded that way.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) role: Role,
    pub(super) scheme: Scheme,
    pub(super) limits: Limits,
    pub(super) phase: Phase,
    /// The part of a frame that hasn't arrived.
    pub(super) partial: Partial,
    /// A header block that goes on in CONTINUATION.
    pub(super) block: Option<Box<Block>>,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) head: Head,
    pub(super) trailers: Head,
    /// Trailers were read last.
    pub(super) at_trailers: bool,
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// The stream of the last DATA frame in `out`, and where that is.
    pub(super) last_data: Option<(u32, usize)>,
    pub(super) streams: Streams,
    /// The highest number that was used: server: by the client; client: by this side.
    pub(super) last: u32,
    pub(super) outbound: Window,
    pub(super) inbound: Inbound,
    pub(super) peer: Peer,
    pub(super) budget: Budget,
    pub(super) ending: Ending,
    failed: Option<Fatal>,
}

/// How far the connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client's preface is awaited.
    Preface,
    /// The first SETTINGS is awaited.
    Settings,
    /// Any frame may come.
    Open,
}

/// What is left to come of a frame that is taken in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial {
    /// Nothing.
    None,
    /// So many bytes of no interest.
    Skip(usize),
    /// So many bytes of a stream's data, and then padding.
    Data { stream: u32, left: usize, padding: usize, end: bool },
}

/// A header block, until it is whole.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end: bool,
    pub(super) depends_on_itself: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u32,
}

/// What the peer has asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) initial_window: u32,
    /// None: it hasn't said.
    pub(super) max_streams: Option<u32>,
}

/// How the connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It doesn't yet.
    Open,
    /// Server: the client has been told; streams are taken until it must have heard.
    Announced,
    /// No new streams are taken or opened.
    Closing,
}

impl Connection {
    /// The server's end; queues SETTINGS.
    pub(crate) fn server(limits: &Limits, now: Instant) -> Self {
        Self::new(Role::Server, Scheme::Http, limits, now)
    }

    /// The client's end; queues the preface and SETTINGS. Streams may be opened at once.
    pub(crate) fn client(limits: &Limits, scheme: Scheme, now: Instant) -> Self {
        Self::new(Role::Client, scheme, limits, now)
    }

    fn new(role: Role, scheme: Scheme, limits: &Limits, now: Instant) -> Self {
        // Less than the first window would have to be enforced before the peer can know of it.
        let stream_window = limits.stream_window.clamp(FIRST_WINDOW, i32::MAX as u32);
        let connection_window = limits.connection_window.clamp(FIRST_WINDOW, i32::MAX as u32);
        let limits = Limits { stream_window, connection_window, ..*limits };
        let mut out = Vec::new();
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        frame::settings(&mut out, &settings::own(role, &limits));
        if connection_window > FIRST_WINDOW {
            frame::window_update(&mut out, 0, connection_window - FIRST_WINDOW);
        }
        Self {
            role,
            scheme,
            limits,
            phase: if role == Role::Server { Phase::Preface } else { Phase::Settings },
            partial: Partial::None,
            block: None,
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            head: Head::default(),
            trailers: Head::default(),
            at_trailers: false,
            out,
            written: 0,
            last_data: None,
            streams: Streams::default(),
            last: 0,
            outbound: Window::new(FIRST_WINDOW),
            inbound: Inbound::new(connection_window),
            peer: Peer { initial_window: FIRST_WINDOW, max_streams: None },
            budget: Budget::new(now),
            ending: Ending::Open,
            failed: None,
        }
    }

    /// Reads on in `buf`, which starts where the last step stopped: one frame at most, or a part of a DATA frame. A frame
    /// other than DATA is taken when it is there as a whole: `buf` must be able to hold 16 KiB and 9 bytes.
    pub(crate) fn advance(&mut self, buf: &[u8], now: Instant) -> Result<Step, Fatal> {
        if let Some(fatal) = self.failed {
            return Err(fatal);
        }
        self.step(buf, now).map_err(|reason| {
            let fatal = reason.fatal();
            self.close(fatal.code);
            self.failed = Some(fatal);
            fatal
        })
    }

    fn step(&mut self, buf: &[u8], now: Instant) -> Result<Step, Reason> {
        if self.partial != Partial::None {
            return Ok(self.go_on(buf));
        }
        if self.phase == Phase::Preface {
            return self.preface(buf);
        }
        let Some(head) = FrameHead::read(buf) else { return Ok(Step::MORE) };
        self.check(&head)?;
        match head.kind {
            Kind::Data => return self.data(&head, buf, now),
            Kind::Unknown => {
                self.budget.spend(Cost::Unknown, now)?;
                self.partial = Partial::Skip(head.length);
                return Ok(Step { consumed: frame::HEAD, event: Event::None });
            }
            _ => {}
        }
        let Some(payload) = buf.get(frame::HEAD..frame::HEAD + head.length) else { return Ok(Step::MORE) };
        let event = match head.kind {
            Kind::Headers => self.headers(&head, payload, now)?,
            Kind::Continuation => self.continuation(&head, payload, now)?,
            Kind::WindowUpdate => self.window_update(&head, payload, now)?,
            Kind::Reset => self.peer_reset(&head, payload, now)?,
            Kind::Settings => self.settings(&head, payload, now)?,
            Kind::Ping => self.peer_ping(&head, payload, now)?,
            Kind::GoAway => self.go_away(payload),
            Kind::Priority => self.priority(&head, payload, now)?,
            Kind::Data | Kind::Unknown | Kind::PushPromise => Event::None,
        };
        Ok(Step { consumed: frame::HEAD + head.length, event })
    }

    fn preface(&mut self, buf: &[u8]) -> Result<Step, Reason> {
        let there = buf.len().min(PREFACE.len());
        if buf[..there] != PREFACE[..there] {
            return Err(Reason::Preface);
        }
        if there < PREFACE.len() {
            return Ok(Step::MORE);
        }
        self.phase = Phase::Settings;
        Ok(Step { consumed: PREFACE.len(), event: Event::None })
    }

    /// What can be refused before the payload is there.
    fn check(&self, head: &FrameHead) -> Result<(), Reason> {
        if self.phase == Phase::Settings && (head.kind != Kind::Settings || head.has(frame::ACK)) {
            return Err(Reason::Preface);
        }
        if let Some(block) = &self.block
            && (head.kind != Kind::Continuation || head.stream != block.stream)
        {
            return Err(Reason::Continuation);
        }
        head.check()
    }

    /// The text of the head or of the trailers that were read last.
    pub(crate) fn text(&self) -> &[u8] {
        if self.at_trailers { self.trailers.text() } else { self.head.text() }
    }

    /// What is to be written to the socket.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// The first `count` bytes of what was pending have been written.
    pub(crate) fn sent(&mut self, count: usize) {
        self.written += count;
        debug_assert!(self.written <= self.out.len());
        if self.written >= self.out.len() {
            self.written = 0;
            self.last_data = None;
            self.out.clear();
            if self.is_idle() {
                self.head.trim(KEPT);
                self.trailers.trim(KEPT);
                if self.out.capacity() > KEPT {
                    self.out = Vec::new();
                }
            }
        } else if self.written >= WRITTEN.max(self.pending().len()) {
            // The peer may never be quick enough for all to be written at once.
            self.out.drain(..self.written);
            self.last_data = self.last_data.and_then(|(id, at)| Some((id, at.checked_sub(self.written)?)));
            self.written = 0;
        }
    }

    /// The reader is done with `count` bytes of the stream's data: the peer may send as many again.
    pub(crate) fn release(&mut self, stream: StreamId, count: usize) {
        self.release_connection(count);
        let whole = self.limits.stream_window;
        if let Some(found) = self.streams.get_mut(stream.0)
            && !found.remote_ended
            && let Some(increment) = found.inbound.release(count, whole)
        {
            frame::window_update(&mut self.out, stream.0, increment);
        }
    }

    pub(super) fn release_connection(&mut self, count: usize) {
        if let Some(increment) = self.inbound.release(count, self.limits.connection_window) {
            frame::window_update(&mut self.out, 0, increment);
        }
    }

    /// Resets the stream; it is gone. NO_ERROR after a whole answer tells a client to stop sending its request.
    pub(crate) fn reset(&mut self, stream: StreamId, code: Code) {
        if self.streams.get(stream.0).is_some() {
            frame::reset(&mut self.out, stream.0, code);
            self.end(stream.0, Ended::Reset);
        }
    }

    /// Resets a stream that broke a rule. Streams that the peer has opened are counted: it must not make this side work
    /// by breaking rules.
    pub(super) fn fail(&mut self, stream: u32, fault: StreamFault, now: Instant) -> Result<Event, Reason> {
        if self.role == Role::Server {
            self.budget.spend(Cost::Fault, now)?;
        }
        frame::reset(&mut self.out, stream, fault.code());
        self.end(stream, Ended::Reset);
        Ok(Event::Failed { stream: StreamId(stream), fault })
    }

    pub(super) fn end(&mut self, stream: u32, how: Ended) {
        self.streams.end(stream, how);
    }

    /// Whether nobody has opened this stream so far.
    pub(super) fn is_idle_stream(&self, stream: u32) -> bool {
        stream.is_multiple_of(2) || stream > self.last
    }

    /// How many streams are open.
    #[cfg(test)]
    pub(crate) fn active(&self) -> usize {
        self.streams.len()
    }

    /// Whether no stream is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.len() == 0
    }

    /// Whether no new streams are taken or opened: once it is idle, too, the connection is done.
    pub(crate) fn is_closing(&self) -> bool {
        self.ending == Ending::Closing
    }
}

#[cfg(any(test, fuzzing))]
impl Connection {
    /// Bytes that the connection holds beside itself.
    pub(super) fn held(&self) -> usize {
        let block = self.block.as_ref().map_or(0, |block| block.bytes.capacity());
        self.out.capacity()
            + block
            + self.head.held()
            + self.trailers.held()
            + self.streams.held()
            + self.decoder.held()
            + self.encoder.held()
    }
}

impl Step {
    pub(super) const MORE: Self = Self { consumed: 0, event: Event::More };
}
