//! Frames that carry messages: heads and trailers, which must be decoded whatever becomes of them, and data.

use super::budget::Cost;
use super::connection::{Block, Connection, Ending, Partial};
use super::fault::{Code, Reason, StreamFault};
use super::frame::{self, END_HEADERS, END_STREAM, FrameHead, PADDED, PRIORITY, number};
use super::head::{Shape, Summary, Unfit};
use super::stream::{Ended, Stream, Window};
use super::{Event, Role, Step, StreamId};
use std::time::Instant;

/// The most bytes and frames of one header block.
const MAX_BLOCK: usize = 2 * crate::http1::MAX_HEAD;
const MAX_BLOCK_FRAMES: u32 = 32;

/// A head that is whole, or why it isn't handed on.
type Finished = Result<Summary, Unfit>;

/// What a header block is, by the state of its stream.
enum Place {
    /// A request's head.
    New,
    /// An answer's head.
    Answer { to_head: bool },
    /// The end of a body.
    Trailers,
    /// A stream that isn't taken.
    Refused,
    /// A stream that was reset here; the peer may not have known.
    Gone,
    /// Its sender has ended it.
    Ended,
}

/// What a head over the bound costs in faults: to read it is as much work as many resets are.
const TOO_LARGE_COSTS: u32 = 10;

impl Connection {
    pub(super) fn headers(&mut self, head: &FrameHead, payload: &[u8], now: Instant) -> Result<Event, Reason> {
        let mut start = 0;
        let mut padding = 0;
        if head.has(PADDED) {
            padding = payload.first().map_or(0, |b| usize::from(*b));
            start = 1;
        }
        let mut depends_on_itself = false;
        if head.has(PRIORITY) {
            depends_on_itself = number(payload, start) & 0x7fff_ffff == head.stream;
            start += 5;
        }
        if start > payload.len() {
            return Err(Reason::FrameSize);
        }
        let fragment = payload.get(start..payload.len().saturating_sub(padding)).ok_or(Reason::Padding)?;
        let block = |bytes| Block { stream: head.stream, end: head.has(END_STREAM), depends_on_itself, bytes, frames: 1 };
        if head.has(END_HEADERS) {
            return self.whole_block(&block(Vec::new()), fragment, now);
        }
        self.block = Some(Box::new(block(fragment.to_vec())));
        Ok(Event::None)
    }

    pub(super) fn continuation(&mut self, head: &FrameHead, payload: &[u8], now: Instant) -> Result<Event, Reason> {
        let mut block = self.block.take().ok_or(Reason::Continuation)?;
        block.frames += 1;
        if block.frames > MAX_BLOCK_FRAMES || block.bytes.len() + payload.len() > MAX_BLOCK {
            return Err(Reason::ContinuationFlood);
        }
        if payload.is_empty() {
            self.budget.spend(Cost::Empty, now)?;
        }
        block.bytes.extend_from_slice(payload);
        if head.has(END_HEADERS) {
            let bytes = std::mem::take(&mut block.bytes);
            return self.whole_block(&block, &bytes, now);
        }
        self.block = Some(block);
        Ok(Event::None)
    }

    fn whole_block(&mut self, block: &Block, fragment: &[u8], now: Instant) -> Result<Event, Reason> {
        let place = self.place(block.stream)?;
        let shape = match place {
            Place::New => Shape::Request,
            Place::Answer { to_head } => Shape::Response { to_head },
            Place::Trailers => Shape::Trailers,
            Place::Refused | Place::Gone | Place::Ended => Shape::Ignored,
        };
        self.at_trailers = shape == Shape::Trailers;
        let head = if self.at_trailers { &mut self.trailers } else { &mut self.head };
        let finished = self.decoder.read(fragment, (shape, block.end), head).map_err(|_| Reason::Compression)?;
        match place {
            Place::New => self.new_stream(block, finished, now),
            Place::Answer { to_head } => self.answer(block, finished, to_head, now),
            Place::Trailers => self.trailers(block, finished, now),
            Place::Refused => self.refuse(block.stream, now),
            Place::Ended => self.fail(block.stream, StreamFault::StreamClosed, now),
            Place::Gone => {
                self.budget.spend(Cost::Unknown, now)?;
                Ok(Event::None)
            }
        }
    }

    fn place(&mut self, id: u32) -> Result<Place, Reason> {
        if let Some(stream) = self.streams.get(id) {
            return Ok(match stream {
                Stream { remote_ended: true, .. } => Place::Ended,
                Stream { has_head: true, .. } => Place::Trailers,
                Stream { to_head, .. } => Place::Answer { to_head: *to_head },
            });
        }
        if id.is_multiple_of(2) {
            return Err(Reason::StreamId);
        }
        if id > self.last {
            if self.role == Role::Client {
                return Err(Reason::IdleStream);
            }
            self.last = id;
            let closing = self.ending == Ending::Closing;
            return Ok(match closing || self.streams.len() >= self.limits.max_streams as usize {
                true => Place::Refused,
                false => Place::New,
            });
        }
        match (self.streams.how_ended(id), self.role) {
            (Some(Ended::Reset), _) | (None, Role::Client) => Ok(Place::Gone),
            (Some(Ended::Closed), _) => Err(Reason::ClosedStream),
            (None, Role::Server) => Err(Reason::StreamId),
        }
    }

    fn refuse(&mut self, stream: u32, now: Instant) -> Result<Event, Reason> {
        self.budget.spend(Cost::Fault, now)?;
        frame::reset(&mut self.out, stream, Code::REFUSED_STREAM);
        self.streams.remember(stream, Ended::Reset);
        Ok(Event::Refused { stream: StreamId(stream) })
    }

    fn new_stream(&mut self, block: &Block, finished: Finished, now: Instant) -> Result<Event, Reason> {
        let Block { stream: id, end, .. } = *block;
        let (length, too_large) = match finished {
            Err(Unfit::Fault(fault)) => return self.fail(id, fault, now),
            _ if block.depends_on_itself => return self.fail(id, StreamFault::Priority, now),
            Ok(Summary { length: Some(1..), .. }) if end => return self.fail(id, StreamFault::ContentLength, now),
            Ok(Summary { length, .. }) => (length, false),
            Err(Unfit::TooLarge) => (None, true),
        };
        match too_large {
            // A few bytes may mean a head of any size (RFC 7541, section 7.3): that isn't had for nothing.
            true => (0..TOO_LARGE_COSTS).try_for_each(|_| self.budget.spend(Cost::Fault, now))?,
            false => self.budget.earn_by_stream(),
        }
        let windows = (Window::new(self.peer.initial_window), self.limits.stream_window);
        let stream = Stream { expected: length, has_head: true, remote_ended: end, ..Stream::new(id, windows.0, windows.1) };
        self.streams.insert(stream);
        let stream = StreamId(id);
        Ok(if too_large { Event::HeadTooLarge { stream, end } } else { Event::Head { stream, end } })
    }

    fn answer(&mut self, block: &Block, finished: Finished, to_head: bool, now: Instant) -> Result<Event, Reason> {
        let Block { stream: id, end, .. } = *block;
        let Some(stream) = self.streams.get_mut(id) else { return Ok(Event::None) };
        let (status, length) = match finished {
            Err(Unfit::Fault(fault)) => return self.fail(id, fault, now),
            Err(Unfit::TooLarge) => (0, None),
            Ok(Summary { status, length }) => (status, length),
        };
        let has_no_body = to_head || matches!(status, 204 | 304);
        if end && !has_no_body && length.is_some_and(|length| length > 0) {
            return self.fail(id, StreamFault::ContentLength, now);
        }
        if status >= 200 || status == 0 {
            stream.has_head = true;
            stream.to_head = has_no_body;
            stream.expected = if has_no_body { Some(0) } else { length };
        }
        if end {
            self.remote_ended(id);
        }
        let stream = StreamId(id);
        Ok(if finished.is_err() { Event::HeadTooLarge { stream, end } } else { Event::Head { stream, end } })
    }

    fn trailers(&mut self, block: &Block, finished: Finished, now: Instant) -> Result<Event, Reason> {
        let id = block.stream;
        let missing = self.streams.get(id).and_then(|stream| stream.expected).unwrap_or(0);
        match finished {
            _ if !block.end => return self.fail(id, StreamFault::Trailers, now),
            Err(Unfit::TooLarge) => return self.fail(id, StreamFault::Trailers, now),
            Err(Unfit::Fault(fault)) => return self.fail(id, fault, now),
            Ok(_) if missing > 0 => return self.fail(id, StreamFault::ContentLength, now),
            Ok(_) => {}
        }
        self.remote_ended(id);
        Ok(Event::Trailers { stream: StreamId(id) })
    }

    /// The peer has sent all.
    fn remote_ended(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.remote_ended = true;
        if stream.local_ended {
            self.end(id, Ended::Closed);
        }
    }

    pub(super) fn data(&mut self, head: &FrameHead, buf: &[u8], now: Instant) -> Result<Step, Reason> {
        let mut consumed = frame::HEAD;
        let mut padding = 0;
        if head.has(PADDED) {
            let Some(length) = buf.get(frame::HEAD) else { return Ok(Step::MORE) };
            padding = usize::from(*length);
            consumed += 1;
        }
        let length = (head.length + frame::HEAD - consumed).checked_sub(padding).ok_or(Reason::Padding)?;
        if self.streams.get(head.stream).is_none() && self.is_idle_stream(head.stream) {
            return Err(Reason::IdleStream);
        }
        if !self.inbound.take(head.length) {
            return Err(Reason::WindowExceeded);
        }
        let end = head.has(END_STREAM);
        if length == 0 && !end {
            self.budget.spend(Cost::Empty, now)?;
        }
        if let Err(fault) = self.take_data(head, length, end) {
            // Nothing of it is handed out; the whole connection's window gets it back.
            self.partial = Partial::Skip(head.length);
            self.release_connection(head.length);
            let event = match fault {
                Some(fault) => self.fail(head.stream, fault, now)?,
                None => {
                    self.budget.spend(Cost::Unknown, now)?;
                    Event::None
                }
            };
            return Ok(Step { consumed: frame::HEAD, event });
        }
        let around = head.length - length;
        if around > 0 {
            self.release(StreamId(head.stream), around);
        }
        self.budget.earn_by_data();
        self.partial = Partial::Data { stream: head.stream, left: length, padding, end };
        if length > 0 && buf.len() == consumed {
            return Ok(Step { consumed, event: Event::None });
        }
        let step = self.go_on(&buf[consumed..]);
        let event = match step.event {
            Event::Data { stream, range, end } => {
                Event::Data { stream, range: range.start + consumed..range.end + consumed, end }
            }
            event => event,
        };
        Ok(Step { consumed: step.consumed + consumed, event })
    }

    /// Whether the stream may have so much data now. None: it is gone, and the peer may not have known.
    fn take_data(&mut self, head: &FrameHead, length: usize, end: bool) -> Result<(), Option<StreamFault>> {
        let Some(stream) = self.streams.get_mut(head.stream) else {
            return Err(match self.streams.how_ended(head.stream) {
                Some(Ended::Reset) => None,
                _ => Some(StreamFault::StreamClosed),
            });
        };
        if stream.remote_ended {
            return Err(Some(StreamFault::StreamClosed));
        }
        if !stream.has_head {
            return Err(Some(StreamFault::DataBeforeHead));
        }
        if !stream.inbound.take(head.length) {
            return Err(Some(StreamFault::WindowExceeded));
        }
        if let Some(expected) = stream.expected {
            let left = expected.checked_sub(length as u64);
            if left.is_none() || (end && left != Some(0)) {
                let no_body = stream.to_head;
                return Err(Some(if no_body { StreamFault::UnexpectedBody } else { StreamFault::ContentLength }));
            }
            stream.expected = left;
        }
        Ok(())
    }

    /// Goes on with a frame that is taken in parts; something is left of it, or it is data without length.
    pub(super) fn go_on(&mut self, buf: &[u8]) -> Step {
        match self.partial {
            Partial::None => Step::MORE,
            Partial::Skip(left) => {
                let count = left.min(buf.len());
                self.partial = skip(left - count);
                let event = if count == 0 && left > 0 { Event::More } else { Event::None };
                Step { consumed: count, event }
            }
            Partial::Data { stream, left, padding, end } => {
                let count = left.min(buf.len());
                if count == 0 && left > 0 {
                    return Step::MORE;
                }
                let done = count == left;
                self.partial = match done {
                    true => skip(padding),
                    false => Partial::Data { stream, left: left - count, padding, end },
                };
                if self.streams.get(stream).is_none() {
                    self.release_connection(count);
                    return Step { consumed: count, event: Event::None };
                }
                if done && end {
                    self.remote_ended(stream);
                }
                let event = match (count, done && end) {
                    (0, false) => Event::None,
                    (_, end) => Event::Data { stream: StreamId(stream), range: 0..count, end },
                };
                Step { consumed: count, event }
            }
        }
    }
}

fn skip(left: usize) -> Partial {
    if left == 0 { Partial::None } else { Partial::Skip(left) }
}
