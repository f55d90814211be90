//! HTTP/2 connections as bundles of streams, each of which looks to the rest of the path like an HTTP/1.1 connection with one
//! message each way: heads come and go as HTTP/1 text, bodies as bare bytes. A driver task owns the socket; streams and driver
//! meet in [`Shared`], on one thread, and wake each other.

pub(super) mod downstream;
mod driver;
pub(super) mod pool;
mod quiet;
pub(super) mod upstream;

use crate::http1::{Framing, Response};
use crate::http2::{Code, Connection, StreamId};
use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// While more than this waits to be written, streams write nothing more and the socket isn't read: whatever a peer asks for, its
/// answers are bounded.
const HIGH_WATER: usize = 64 * 1024;
/// A stream that waits for more keeps no larger buffer.
const KEPT: usize = 4096;

/// What the streams of a connection and its driver share.
pub(super) struct Shared(RefCell<State>);

struct State {
    engine: Connection,
    /// Whether the peer opens streams: this is the server's side.
    accepts: bool,
    slots: HashMap<StreamId, Slot>,
    driver: Option<Waker>,
    /// Nothing comes and goes any more.
    over: bool,
    /// The socket is to be closed at once: somebody waits for its place.
    leaves: bool,
}

/// What has come for one stream, and who waits for it.
#[derive(Default)]
struct Slot {
    received: Vec<u8>,
    read: usize,
    /// So many of the unread bytes are head text, which takes no part in flow control.
    head: usize,
    trailers: Vec<u8>,
    /// How what comes has ended.
    end: Option<End>,
    /// The stream was cut off, perhaps after the proper end of what comes; nothing can be sent any more.
    cut: Option<End>,
    /// The end came with the head: there is no body.
    has_no_body: bool,
    /// Its head is more than is taken, and isn't here.
    too_large: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// How the peer's side of a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Properly.
    Whole,
    /// Cut off.
    Reset,
    /// Cut off, and certainly not looked at: it may be sent again whatever it is.
    Unprocessed,
    /// The peer doesn't speak HTTP/2 as it should.
    Broken,
}

impl From<End> for io::Error {
    fn from(end: End) -> Self {
        match end {
            End::Whole => io::ErrorKind::UnexpectedEof,
            End::Reset => io::ErrorKind::ConnectionReset,
            End::Unprocessed => io::ErrorKind::ConnectionAborted,
            End::Broken => io::ErrorKind::InvalidData,
        }
        .into()
    }
}

impl Slot {
    fn wake(&mut self) {
        [&mut self.reader, &mut self.writer].into_iter().filter_map(Option::take).for_each(Waker::wake);
    }

    fn end(&mut self, end: End) {
        if end != End::Whole {
            self.cut = Some(end);
        }
        // A reset after the end takes nothing from what has come.
        self.end = self.end.or(Some(end));
        self.wake();
    }

    /// Adds what has come. What was read before is forgotten once it is as much as what wasn't: a window bounds that.
    fn receive(&mut self, bytes: &[u8]) {
        if self.read >= self.unread().len() {
            self.received.drain(..self.read);
            self.read = 0;
        }
        self.received.extend_from_slice(bytes);
    }

    /// So many bytes have been read.
    fn consume(&mut self, count: usize) {
        self.read += count;
        if self.read == self.received.len() {
            self.read = 0;
            self.received.clear();
            if self.received.capacity() > KEPT {
                self.received = Vec::new();
            }
        }
    }

    fn unread(&self) -> Range<usize> {
        self.read..self.received.len()
    }

    /// Flow-controlled bytes that nobody has read.
    fn owed(&self) -> usize {
        self.unread().len() - self.head
    }
}

impl State {
    fn wake_driver(&mut self) {
        self.driver.take().into_iter().for_each(Waker::wake);
    }

    fn wake_writers(&mut self) {
        self.slots.values_mut().filter_map(|slot| slot.writer.take()).for_each(Waker::wake);
    }

    /// Nothing comes any more: all that wait are told how it ended.
    fn end_all(&mut self, end: End) {
        self.over = true;
        self.slots.values_mut().for_each(|slot| slot.end(end));
    }
}

impl Shared {
    fn new(engine: Connection, accepts: bool) -> Rc<Self> {
        Rc::new(Self(RefCell::new(State { engine, accepts, slots: HashMap::new(), driver: None, over: false, leaves: false })))
    }
}

/// One stream of an HTTP/2 connection.
pub(crate) struct Stream {
    shared: Rc<Shared>,
    /// Absent until the request's head has opened it.
    id: Option<StreamId>,
    /// Our side has ended.
    sent: bool,
    /// What the peer is told if this is dropped before both sides have ended.
    unfinished: Code,
}

impl Stream {
    /// A stream that the client has opened.
    fn accepted(shared: Rc<Shared>, id: StreamId) -> Self {
        Self { shared, id: Some(id), sent: false, unfinished: Code::INTERNAL }
    }

    /// A stream that is opened by its head.
    fn unopened(shared: Rc<Shared>) -> Self {
        Self { shared, id: None, sent: false, unfinished: Code::CANCEL }
    }

    /// Reads head text first, then the body; nothing added is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.shared.0.borrow_mut();
        let Some((id, slot)) = self.id.and_then(|id| Some((id, state.slots.get_mut(&id)?))) else {
            return Poll::Ready(Err(End::Unprocessed.into()));
        };
        let unread = slot.unread();
        if unread.is_empty() {
            return match slot.end {
                None => park(&mut slot.reader, cx),
                Some(End::Whole) => Poll::Ready(Ok(())),
                Some(end) => Poll::Ready(Err(end.into())),
            };
        }
        let count = unread.len().min(buf.remaining());
        buf.put_slice(&slot.received[unread.start..unread.start + count]);
        let of_head = slot.head.min(count);
        slot.head -= of_head;
        slot.consume(count);
        if count > of_head {
            state.engine.release(id, count - of_head);
            if !state.engine.pending().is_empty() {
                state.wake_driver();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes body bytes, as many as the peer takes.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.shared.0.borrow_mut();
        let Some((id, slot)) = self.id.and_then(|id| Some((id, state.slots.get_mut(&id)?))) else {
            return Poll::Ready(Err(End::Unprocessed.into()));
        };
        if let Some(end) = slot.cut {
            return Poll::Ready(Err(end.into()));
        }
        let room = HIGH_WATER.saturating_sub(state.engine.pending().len());
        let count = state.engine.send_data(id, &bytes[..bytes.len().min(room)], false);
        if count == 0 {
            return park(&mut slot.writer, cx);
        }
        state.wake_driver();
        Poll::Ready(Ok(count))
    }

    /// Sends a head in HTTP/1 text; `end`: nothing follows.
    pub(crate) fn send_head(&mut self, head: &[u8], end: bool) {
        let state = &mut *self.shared.0.borrow_mut();
        match self.id {
            Some(id) => state.engine.send_head(id, head, end),
            // Without a stream, what is read next says that the request wasn't processed.
            None => {
                self.id = if state.over { None } else { state.engine.open(head, end).ok() };
                state.slots.extend(self.id.map(|id| (id, Slot::default())));
            }
        }
        self.sent |= end;
        state.wake_driver();
    }

    /// All is said, but for these trailer lines.
    pub(crate) fn finish(&mut self, trailers: &[u8]) {
        let Some(id) = self.id.filter(|_| !std::mem::replace(&mut self.sent, true)) else { return };
        let state = &mut *self.shared.0.borrow_mut();
        match trailers {
            [] => drop(state.engine.send_data(id, &[], true)),
            lines => state.engine.send_trailers(id, lines),
        }
        state.wake_driver();
    }

    /// The trailer lines that ended what was read.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        self.with_slot(|slot| std::mem::take(&mut slot.trailers)).unwrap_or_default()
    }

    /// How an answer's body ends as the client is to be told, and how it comes from here: by itself.
    pub(crate) fn framing_of(&self, mut response: Response) -> (Response, Framing) {
        if response.body == Framing::None {
            return (response, Framing::None);
        }
        if self.with_slot(|slot| slot.has_no_body).unwrap_or(true) {
            (response.body, response.declared) = (Framing::None, Framing::Length(0));
            return (response, Framing::None);
        }
        if response.body == Framing::UntilClose {
            (response.body, response.declared) = (Framing::Chunked, Framing::Chunked);
        }
        (response, Framing::UntilClose)
    }

    /// Whether the request's head is more than is taken.
    fn is_too_large(&self) -> bool {
        self.with_slot(|slot| slot.too_large).unwrap_or(false)
    }

    /// Ready once the peer has cut the stream off.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.shared.0.borrow_mut();
        match self.id.and_then(|id| state.slots.get_mut(&id)) {
            Some(Slot { cut: None, reader, .. }) => park(reader, cx),
            _ => Poll::Ready(()),
        }
    }

    /// Whether it has ended before its time, so that nobody waits for an answer.
    pub(super) fn is_cut_off(&self) -> bool {
        self.with_slot(|slot| slot.cut.is_some()).unwrap_or(true)
    }

    /// The peer is told that the answer was cut off.
    pub(crate) fn abort(&mut self) {
        self.sent = false;
    }

    fn with_slot<T>(&self, ask: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let state = &mut *self.shared.0.borrow_mut();
        self.id.and_then(|id| state.slots.get_mut(&id)).map(ask)
    }
}

fn park<T>(place: &mut Option<Waker>, cx: &Context<'_>) -> Poll<T> {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
    Poll::Pending
}

impl Drop for Stream {
    fn drop(&mut self) {
        let state = &mut *self.shared.0.borrow_mut();
        let Some((id, slot)) = self.id.and_then(|id| Some((id, state.slots.remove(&id)?))) else { return };
        let owed = slot.owed();
        if owed > 0 {
            state.engine.release(id, owed);
        }
        match (self.sent, slot.end) {
            (_, _) if slot.cut.is_some() => {}
            (true, Some(_)) => {}
            // The answer is whole; what the client still sends is of no use (RFC 9113, 8.1).
            (true, None) if self.unfinished == Code::INTERNAL => state.engine.reset(id, Code::NO_ERROR),
            (_, _) => state.engine.reset(id, self.unfinished),
        }
        state.wake_driver();
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether another stream may be opened, and its head would go out soon: where as much as may wait is waiting, the peer
    /// may have stopped reading.
    fn has_room(&self) -> bool {
        let state = self.0.borrow();
        !state.over && state.engine.may_open().is_ok() && state.engine.pending().len() < HIGH_WATER
    }

    /// Takes no more streams, and ends after the last.
    fn close(&self) {
        let state = &mut *self.0.borrow_mut();
        state.engine.shutdown();
        state.wake_driver();
    }

    /// Ends now, having no stream; the peer is told if it listens.
    fn leave(&self) {
        self.0.borrow_mut().leaves = true;
        self.close();
    }

    /// Whether a stream is under way, on the wire or here.
    fn is_active(&self) -> bool {
        let state = self.0.borrow();
        !state.engine.is_idle() || !state.slots.is_empty()
    }
}

/// The engine, to be asked.
fn engine(shared: &Shared) -> Ref<'_, Connection> {
    Ref::map(shared.0.borrow(), |state| &state.engine)
}
