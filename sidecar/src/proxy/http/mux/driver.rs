//! The task of one HTTP/2 connection: reads the socket, hands out what came, writes what waits. What many streams have written
//! by the time it runs leaves in one call.

use super::{End, HIGH_WATER, Shared, Slot, State, Stream, park};
use crate::http2::{Code, Event, Fatal, Reason, StreamId};
use crate::proxy::http::buffer::{Buffers, Input};
use crate::stream;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Bytes that are read, and thrown away, after the last word.
const LINGER: usize = 1 << 20;

/// Moves the bytes of one connection.
pub(super) struct Driver {
    shared: Rc<Shared>,
    socket: stream::Stream,
    input: Input,
    fault: Option<Reason>,
    /// The socket takes nothing any more; what has come before that is still read.
    is_deaf: bool,
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// All is said on both sides.
    Done,
    /// The socket ended or broke, or there is no time for a last word.
    Gone,
    /// The peer broke the protocol, and has been told so.
    Broken(Reason),
}

impl Driver {
    /// `input` is what has been read already.
    pub(super) fn new(shared: Rc<Shared>, socket: stream::Stream, input: Input) -> Self {
        Self { shared, socket, input, fault: None, is_deaf: false }
    }

    /// Goes on until the connection is over. `accepted` is called with each stream that the peer opens.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, buffers: &Buffers, accepted: &mut impl FnMut(Stream)) -> Poll<Over> {
        loop {
            let is_all = self.take(cx, buffers, accepted);
            let flushed = self.flush(cx);
            if self.shared.0.borrow().leaves {
                return Poll::Ready(Over::Gone);
            }
            match flushed {
                Poll::Ready(Ok(())) if let Some(over) = self.is_over() => return Poll::Ready(over),
                Poll::Ready(Err(_)) => {
                    self.is_deaf = true;
                    continue;
                }
                Poll::Pending if self.fault.is_some() || self.is_clogged() => return Poll::Pending,
                // Nobody tells of what has been read before.
                _ if !is_all => continue,
                _ => {}
            }
            match ready!(self.input.poll_fill(cx, &mut self.socket, buffers)) {
                Ok(0) | Err(_) => return Poll::Ready(self.fault.map_or(Over::Gone, Over::Broken)),
                Ok(_) => {}
            }
        }
    }

    /// Says the last word, then reads on for a while: a close with bytes unread is a reset, which can overtake it.
    pub(super) async fn farewell(mut self, over: Over, buffers: &Buffers, time: Duration) {
        if over == Over::Gone {
            return self.input.clear(buffers);
        }
        if over == Over::Done && !super::engine(&self.shared).is_closing() {
            self.shared.0.borrow_mut().engine.close(Code::NO_ERROR);
        }
        let (mut said, mut left) = (false, LINGER);
        let rest = poll_fn(|cx| {
            if !said {
                let polled = self.flush(cx);
                said = ready!(polled).is_err() || ready!(self.socket.poll_shutdown(cx)).is_ok();
            }
            loop {
                self.input.clear(buffers);
                match ready!(self.input.poll_fill(cx, &mut self.socket, buffers)) {
                    Ok(count) if count > 0 && count < left => left -= count,
                    _ => return Poll::Ready(()),
                }
            }
        });
        let _ = tokio::time::timeout(time, rest).await;
        self.input.clear(buffers);
    }

    /// Takes what has been read, frame by frame; whether that was all, rather than as much as may be answered for now.
    fn take(&mut self, cx: &Context<'_>, buffers: &Buffers, accepted: &mut impl FnMut(Stream)) -> bool {
        let state = &mut *self.shared.0.borrow_mut();
        let _: Poll<()> = park(&mut state.driver, cx);
        if self.input.is_empty() {
            return true;
        }
        let now = Instant::now();
        while self.fault.is_none() && !self.input.is_empty() && state.engine.pending().len() <= HIGH_WATER {
            let step = match state.engine.advance(self.input.bytes(), now) {
                Ok(step) if step.event == Event::More => {
                    self.input.consume(step.consumed, buffers);
                    return true;
                }
                Ok(step) => step,
                Err(Fatal { reason, .. }) => {
                    self.fault = Some(reason);
                    state.end_all(End::Broken);
                    return true;
                }
            };
            if let Some(opened) = state.take(&step.event, self.input.bytes()) {
                accepted(Stream::accepted(self.shared.clone(), opened));
            }
            self.input.consume(step.consumed, buffers);
        }
        self.fault.is_some() || self.input.is_empty()
    }

    /// Writes what waits; to a deaf peer nothing is said.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.shared.0.borrow_mut();
        let was_clogged = state.engine.pending().len() >= HIGH_WATER;
        while !state.engine.pending().is_empty() {
            let count = match self.is_deaf {
                true => state.engine.pending().len(),
                false => ready!(self.socket.poll_write(cx, state.engine.pending()))?,
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.engine.sent(count);
            if was_clogged && state.engine.pending().len() < HIGH_WATER {
                state.wake_writers();
            }
        }
        if self.is_deaf { Poll::Ready(Ok(())) } else { self.socket.poll_flush(cx) }
    }

    fn is_over(&self) -> Option<Over> {
        let engine = super::engine(&self.shared);
        match self.fault {
            Some(reason) => Some(Over::Broken(reason)),
            None => (engine.is_closing() && engine.is_idle() && engine.pending().is_empty()).then_some(Over::Done),
        }
    }

    fn is_clogged(&self) -> bool {
        super::engine(&self.shared).pending().len() > HIGH_WATER
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.0.borrow_mut().end_all(End::Reset);
    }
}

impl State {
    /// Hands an event out; `bytes` are what it was read from. A stream that the peer has opened is returned.
    fn take(&mut self, event: &Event, bytes: &[u8]) -> Option<StreamId> {
        match event {
            Event::Head { stream, end } => return self.take_head(*stream, *end),
            Event::HeadTooLarge { stream, end } if self.accepts => {
                let slot = self.slots.entry(*stream).or_default();
                slot.too_large = true;
                slot.end = end.then_some(End::Whole);
                return Some(*stream);
            }
            Event::HeadTooLarge { stream, .. } => {
                self.engine.reset(*stream, Code::ENHANCE_YOUR_CALM);
                self.end(*stream, End::Broken);
            }
            Event::Data { stream, range, end } => self.take_data(*stream, &bytes[range.clone()], *end),
            Event::Trailers { stream } => {
                let lines = self.engine.text().to_vec();
                if let Some(slot) = self.slots.get_mut(stream) {
                    slot.trailers = lines;
                    slot.end(End::Whole);
                }
            }
            Event::Reset { stream, processed, .. } => {
                self.end(*stream, if *processed { End::Reset } else { End::Unprocessed });
            }
            Event::Failed { stream, fault } => {
                tracing::debug!(stream = stream.get(), reason = fault.as_str(), "HTTP/2 stream failed");
                self.end(*stream, End::Broken);
            }
            Event::Window { stream: Some(stream) } => {
                self.slots.get_mut(stream).and_then(|slot| slot.writer.take()).into_iter().for_each(|waker| waker.wake());
            }
            Event::Window { stream: None } | Event::PeerSettings => self.wake_writers(),
            Event::GoAway { last, .. } => {
                let above = self.slots.iter_mut().filter(|(id, _)| **id > *last);
                above.for_each(|(_, slot)| slot.end(End::Unprocessed));
            }
            Event::Refused { .. } | Event::More | Event::None => {}
        }
        None
    }

    fn take_head(&mut self, stream: StreamId, end: bool) -> Option<StreamId> {
        let text = self.engine.text();
        let (slot, is_new) = match self.slots.get_mut(&stream) {
            Some(slot) => (slot, false),
            None if self.accepts => (self.slots.entry(stream).or_default(), true),
            None => return None,
        };
        slot.receive(text);
        slot.head += text.len();
        if end {
            slot.has_no_body = true;
            slot.end(End::Whole);
        } else {
            slot.wake();
        }
        is_new.then_some(stream)
    }

    fn take_data(&mut self, stream: StreamId, data: &[u8], end: bool) {
        let Some(slot) = self.slots.get_mut(&stream) else { return self.engine.release(stream, data.len()) };
        slot.receive(data);
        if end {
            slot.end(End::Whole);
        } else {
            slot.wake();
        }
    }

    fn end(&mut self, stream: StreamId, end: End) {
        self.slots.get_mut(&stream).into_iter().for_each(|slot: &mut Slot| slot.end(end));
    }
}
