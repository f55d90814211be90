//! One way of a relayed connection: bytes from one end to the other, then its end. Small exchanges are read and written through
//! the worker's buffer; bulk goes through a pipe where both ends are sockets. What waits for more to come holds neither.

use super::end::{End, Side, poll_io};
use super::pipes::Pipe;
use crate::worker::Worker;
use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Steps of a way until others have their turn; a step moves at most what a buffer or a pipe holds.
const TURN: u32 = 8;
/// So much at once is a piece of something larger, more often than not.
const LARGE: usize = 8 << 10;
/// Bytes in large pieces that make a connection one of bulk: the next ones go through a pipe, until a small one is the last.
const BULK: usize = 64 << 10;

/// Which end broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Read,
    Write,
}

/// What one way has done so far.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Bytes that have been read before.
    begun: RefCell<Vec<u8>>,
    /// Bytes that the writer has taken.
    pub(super) moved: Cell<u64>,
    /// When bytes last moved.
    moved_at: Cell<Option<Instant>>,
    /// The reader has said something.
    pub(super) has_begun: Cell<bool>,
    /// The reader has ended.
    pub(super) has_ended: Cell<bool>,
    /// The writer takes no more for now.
    pub(super) is_blocked: Cell<bool>,
}

impl Flow {
    /// These bytes have been read already.
    pub(super) fn beginning_with(bytes: Vec<u8>) -> Self {
        Self { begun: RefCell::new(bytes), ..Self::default() }
    }

    fn count(&self, bytes: usize) {
        if bytes > 0 {
            self.moved.set(self.moved.get() + bytes as u64);
            self.moved_at.set(Some(Instant::now()));
        }
    }

    /// When bytes last moved, if any have.
    pub(super) fn moved_at(&self) -> Option<Instant> {
        self.moved_at.get()
    }

    /// How long ago bytes last moved, if any have.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        self.moved_at.get().map(|at| at.elapsed())
    }
}

/// One way and what it holds.
pub(super) struct Way<'w> {
    worker: &'w Worker,
    flow: &'w Flow,
    state: State,
    /// Bytes that came in large pieces since the last small one.
    run: usize,
}

enum State {
    /// Reads, and writes at once what it has read.
    Copying,
    /// Under back-pressure: only now is there a buffer of its own, and nothing more is read until it is empty.
    Holding {
        rest: Vec<u8>,
        at: usize,
    },
    /// All is written, but not all on its way.
    Flushing,
    /// Moves bulk.
    Splicing(Pipe),
    /// Ends the writer.
    Ending,
    Ended,
}

impl<'w> Way<'w> {
    pub(super) fn new(worker: &'w Worker, flow: &'w Flow) -> Self {
        let rest = flow.begun.take();
        let state = if rest.is_empty() { State::Copying } else { State::Holding { rest, at: 0 } };
        Self { worker, flow, state, run: 0 }
    }

    /// Nobody reads from the reader: it has ended, or the writer must take something first.
    pub(super) fn is_deaf(&self) -> bool {
        self.flow.has_ended.get() || self.flow.is_blocked.get()
    }

    /// Moves what there is. Ready once the end of `from` has been passed on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, from: &mut End<'_>, to: &mut End<'_>) -> Poll<Result<(), Broken>> {
        for _ in 0..TURN {
            match &mut self.state {
                State::Copying if self.run >= BULK => ready!(self.poll_resume(cx, from))?,
                State::Copying => ready!(self.poll_copy(cx, from, to))?,
                State::Splicing(_) => ready!(self.poll_splice(cx, from, to))?,
                State::Holding { .. } => ready!(self.poll_rest(cx, to))?,
                State::Flushing => {
                    self.flow.is_blocked.set(true);
                    ready!(to.poll_flush(cx)).map_err(|_| Broken::Write)?;
                    self.flow.is_blocked.set(false);
                    self.state = State::Copying;
                }
                State::Ending => {
                    ready!(to.poll_shutdown(cx)).map_err(|_| Broken::Write)?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn end(&mut self) {
        self.flow.has_ended.set(true);
        self.state = State::Ending;
    }

    /// One read and, of what it brought, one write.
    fn poll_copy(&mut self, cx: &mut Context<'_>, from: &mut End<'_>, to: &mut End<'_>) -> Poll<Result<(), Broken>> {
        let Self { worker, flow, .. } = self;
        let (read, rest) = ready!(worker.with_scratch(|buffer| {
            let read = match ready!(from.poll_read(cx, buffer)) {
                Ok(read) => read,
                Err(_) => return Poll::Ready(Err(Broken::Read)),
            };
            if read == 0 {
                return Poll::Ready(Ok((0, Vec::new())));
            }
            flow.has_begun.set(true);
            let mut at = 0;
            while at < read {
                match to.poll_write(cx, &buffer[at..read]) {
                    Poll::Ready(Ok(written)) => at += written,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Write)),
                    Poll::Pending => break,
                }
            }
            flow.count(at);
            Poll::Ready(Ok((read, buffer[at..read].to_vec())))
        }))?;
        if read == 0 {
            self.end();
        } else if !rest.is_empty() {
            self.flow.is_blocked.set(true);
            self.state = State::Holding { rest, at: 0 };
        } else if to.socket().is_none() {
            self.state = State::Flushing;
        } else if from.socket().is_some() {
            self.note_piece(read);
        }
        Poll::Ready(Ok(()))
    }

    /// More bulk is expected: once there is something to read, a pipe for it.
    fn poll_resume(&mut self, cx: &mut Context<'_>, from: &End<'_>) -> Poll<Result<(), Broken>> {
        if let Some(from) = from.socket() {
            ready!(from.poll_read_ready(cx)).map_err(|_| Broken::Read)?;
        }
        match self.worker.pipes().take() {
            Some(pipe) => self.state = State::Splicing(pipe),
            None => self.run = 0,
        }
        Poll::Ready(Ok(()))
    }

    /// One filling of the pipe, and all of it on its way. The pipe goes back as soon as there is nothing to read.
    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &End<'_>, to: &End<'_>) -> Poll<Result<(), Broken>> {
        let Self { flow, state, .. } = self;
        let (State::Splicing(pipe), Some(from), Some(to)) = (state, from.socket(), to.socket()) else {
            unreachable!("only between sockets a pipe is taken");
        };
        if pipe.held() == 0 {
            match poll_io(cx, from, Side::Read, || Ok((pipe.fill(from)?, true))) {
                Poll::Ready(Ok(0)) => {
                    self.end();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(filled)) => {
                    flow.has_begun.set(true);
                    // If nothing follows a small piece, the bulk is over.
                    self.run = if filled >= LARGE { BULK } else { 0 };
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Read)),
                Poll::Pending => {
                    self.state = State::Copying;
                    return Poll::Pending;
                }
            }
        }
        while pipe.held() > 0 {
            let Poll::Ready(drained) = poll_io(cx, to, Side::Write, || Ok((pipe.drain(to)?, true))) else {
                flow.is_blocked.set(true);
                return Poll::Pending;
            };
            match drained {
                Ok(moved) if moved > 0 => flow.count(moved),
                _ => return Poll::Ready(Err(Broken::Write)),
            }
        }
        flow.is_blocked.set(false);
        Poll::Ready(Ok(()))
    }

    /// So many bytes have come at once.
    fn note_piece(&mut self, bytes: usize) {
        self.run = if bytes >= LARGE { self.run.saturating_add(bytes) } else { 0 };
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>, to: &mut End<'_>) -> Poll<Result<(), Broken>> {
        let State::Holding { rest, at } = &mut self.state else { return Poll::Ready(Ok(())) };
        while *at < rest.len() {
            let written = ready!(to.poll_write(cx, &rest[*at..])).map_err(|_| Broken::Write)?;
            self.flow.count(written);
            *at += written;
        }
        self.flow.is_blocked.set(false);
        self.state = State::Flushing;
        Poll::Ready(Ok(()))
    }
}
