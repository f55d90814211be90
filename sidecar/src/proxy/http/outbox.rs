//! What waits to be written in one direction: heads and framing of our own, then bytes that pass as they came. Both go
//! out in one call where the socket takes them.

use super::buffer::{Buffers, Input};
use crate::stream::Stream;
use std::io;
use std::task::{Context, Poll, ready};

/// Fewer bytes than this are copied behind a head: cheaper than a second slice.
const COPIED: usize = 2048;
/// So much of a message may be kept to be sent once more.
const REPLAYED: usize = 64 * 1024;
/// A waiting connection keeps no more than this for its next head.
pub(super) const KEPT: usize = 1024;

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    pass: usize,
    total: u64,
    /// What has been sent stays, for another time.
    keeps: bool,
}

impl Outbox {
    /// Forgets everything: a new message starts.
    pub(super) fn reset(&mut self) {
        debug_assert_eq!(self.pass, 0, "what was to pass would be taken for the next message");
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        (self.sent, self.total, self.keeps) = (0, 0, false);
    }

    /// Keeps what is sent from now on, as long as it isn't much.
    pub(super) fn keep(&mut self) {
        self.keeps = true;
    }

    /// Whether the whole message so far is still there.
    pub(super) fn may_rewind(&self) -> bool {
        self.keeps
    }

    /// The bytes of memory that it holds.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives up what was to pass from `input`.
    pub(super) fn discard(&mut self, input: &mut Input, buffers: &Buffers) {
        input.consume(std::mem::take(&mut self.pass), buffers);
    }

    /// Sends the whole message again; only for one that consisted of its head, or was [kept][Outbox::keep].
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The first `length` bytes that wait are a head. Where heads don't travel among the bytes, it leaves now; `end`: it is all.
    pub(super) fn send_head(&mut self, stream: &mut Stream, length: usize, end: bool) {
        let head = &self.bytes[self.sent..self.sent + length];
        if stream.send_head(head, end) {
            self.sent += length;
            self.total += length as u64;
        }
    }

    /// Writes over bytes that are still there.
    pub(super) fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Where to append; what has been sent is forgotten first.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        debug_assert_eq!(self.pass, 0, "bytes that pass come after all others");
        self.keeps &= self.bytes.len() < REPLAYED;
        if self.sent == self.bytes.len() && !self.keeps {
            self.bytes.clear();
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// The next `count` bytes of `input` pass as they are.
    pub(super) fn pass(&mut self, input: &mut Input, count: usize, buffers: &Buffers) {
        self.keeps &= self.bytes.len() + count <= REPLAYED;
        if self.keeps || count <= COPIED && self.sent < self.bytes.len() {
            self.bytes.extend_from_slice(&input.bytes()[..count]);
            input.consume(count, buffers);
        } else {
            self.pass += count;
        }
    }

    /// Whether something waits.
    pub(super) fn is_pending(&self) -> bool {
        self.sent < self.bytes.len() || self.pass > 0
    }

    /// Bytes written since the reset.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Writes until nothing waits.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        input: &mut Input,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        while self.is_pending() {
            let own = &self.bytes[self.sent..];
            let written = match (own.is_empty(), self.pass) {
                (false, 0) => stream.poll_write(cx, own),
                (true, pass) => stream.poll_write(cx, &input.bytes()[..pass]),
                (false, pass) => stream.poll_write_both(cx, own, &input.bytes()[..pass]),
            };
            let count = ready!(written)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_own = count.min(own.len());
            self.sent += of_own;
            self.total += count as u64;
            self.pass -= count - of_own;
            input.consume(count - of_own, buffers);
        }
        stream.poll_flush(cx)
    }
}
