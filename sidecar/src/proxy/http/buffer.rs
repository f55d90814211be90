//! Read buffers that a worker's connections share: one is taken when bytes are there and given back when they are done
//! with, so that a connection that waits holds none.

use crate::stream::Stream;
use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// The size of a buffer: the longest head fits, and bulk bodies move in pieces of it.
pub(super) const SIZE: usize = crate::http1::MAX_HEAD;
/// Buffers kept for the next taker; more are given back to the allocator.
const KEPT: usize = 32;

/// The buffers that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: RefCell<Vec<Box<[u8]>>>,
    #[cfg(test)]
    taken: std::cell::Cell<usize>,
}

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        #[cfg(test)]
        self.taken.set(self.taken.get() + 1);
        let free = self.free.borrow_mut().pop();
        free.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())
    }

    /// How many are in use.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.get()
    }

    fn give(&self, buffer: Box<[u8]>) {
        #[cfg(test)]
        self.taken.set(self.taken.get() - 1);
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

/// What has been read from one connection and isn't done with.
#[derive(Debug, Default)]
pub(super) struct Input {
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Input {
    /// The bytes that are there.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |b| &b[self.start..self.end])
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether no more can be read before some are done with.
    pub(super) fn is_full(&self) -> bool {
        self.end - self.start == SIZE
    }

    /// The first `count` bytes are done with.
    pub(super) fn consume(&mut self, count: usize, buffers: &Buffers) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.clear(buffers);
        }
    }

    /// All bytes are done with.
    pub(super) fn clear(&mut self, buffers: &Buffers) {
        if let Some(buffer) = self.buffer.take() {
            buffers.give(buffer);
        }
        (self.start, self.end) = (0, 0);
    }

    /// Reads more; 0 is the end of the stream. Must not be called when full.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &mut Stream, buffers: &Buffers) -> Poll<io::Result<usize>> {
        debug_assert!(!self.is_full());
        let buffer = self.buffer.get_or_insert_with(|| buffers.take());
        if self.start > 0 && self.end == SIZE {
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let mut room = ReadBuf::new(&mut buffer[self.end..]);
        let polled = stream.poll_read(cx, &mut room);
        let count = room.filled().len();
        self.end += count;
        if self.is_empty() {
            self.clear(buffers);
        }
        ready!(polled)?;
        Poll::Ready(Ok(count))
    }
}
