//! Moves a body from what has been read to what is to be written, framed anew.

use super::buffer::{Buffers, Input};
use super::outbox::Outbox;
use crate::http1::{Event, Fault, Framing, Reader, write};

/// One body on its way.
pub(super) struct Relay {
    reader: Reader,
    mode: Mode,
    trailing: bool,
    ended: bool,
    /// The trailer lines of a body that leaves without framing, for a stream that ends with them.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The bytes are the same on both sides and aren't copied.
    Pass,
    /// Chunks become other chunks; trailers pass.
    Rechunk,
    /// Chunks become bare data, for a reader that knows no chunks; trailers are kept for the end.
    Unchunk,
    /// Bare data becomes chunks.
    Chunk,
}

impl Relay {
    /// A body that comes framed as `from` and leaves framed as `to`.
    pub(super) fn new(from: Framing, to: Framing) -> Self {
        let mode = match (from, to) {
            (Framing::Chunked, Framing::Chunked) => Mode::Rechunk,
            (Framing::Chunked, _) => Mode::Unchunk,
            (_, Framing::Chunked) => Mode::Chunk,
            _ => Mode::Pass,
        };
        Self { reader: Reader::new(from), mode, trailing: false, ended: false, trailers: Vec::new() }
    }

    /// Whether all of it has been taken.
    pub(super) fn is_done(&self) -> bool {
        self.ended || self.reader.is_done()
    }

    /// Whether the end of the connection is a proper end of the body.
    pub(super) fn may_end_here(&self) -> bool {
        self.reader.may_end_here()
    }

    /// The sender has ended where it [may][Relay::may_end_here], with these trailer lines.
    pub(super) fn end(&mut self, trailers: Vec<u8>, outbox: &mut Outbox) {
        self.ended = true;
        if self.mode == Mode::Chunk {
            let out = outbox.bytes();
            out.extend_from_slice(write::LAST_CHUNK);
            out.extend_from_slice(&trailers);
            out.extend_from_slice(write::END_OF_TRAILERS);
        } else {
            self.trailers = trailers;
        }
    }

    /// The trailer lines that end the body, where its framing has no place for them.
    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Takes what is there. Everything before a bad construct is taken, nothing of it or after it.
    pub(super) fn take(&mut self, input: &mut Input, outbox: &mut Outbox, buffers: &Buffers) -> Result<(), Fault> {
        while !self.reader.is_done() && !input.is_empty() {
            let step = self.reader.step(input.bytes())?;
            if let (Mode::Pass, Event::Data(range)) = (self.mode, &step.event) {
                outbox.pass(input, range.len(), buffers);
                return Ok(());
            }
            if let (Mode::Unchunk, Event::Trailer(range)) = (self.mode, &step.event) {
                self.trailers.extend_from_slice(&input.bytes()[range.clone()]);
            }
            self.write(&step.event, input.bytes(), outbox.bytes());
            input.consume(step.consumed, buffers);
            if step.event == Event::More {
                return Ok(());
            }
        }
        Ok(())
    }

    fn write(&mut self, event: &Event, bytes: &[u8], out: &mut Vec<u8>) {
        match (event, self.mode) {
            (Event::Data(range), Mode::Rechunk | Mode::Chunk) => write::chunk(out, &bytes[range.clone()]),
            (Event::Data(range), _) => out.extend_from_slice(&bytes[range.clone()]),
            (Event::Trailer(range), Mode::Rechunk) => {
                self.end_chunks(out);
                out.extend_from_slice(&bytes[range.clone()]);
            }
            (Event::End, Mode::Rechunk) => {
                self.end_chunks(out);
                out.extend_from_slice(write::END_OF_TRAILERS);
            }
            (Event::Trailer(_) | Event::End | Event::More, _) => {}
        }
    }

    fn end_chunks(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.trailing, true) {
            out.extend_from_slice(write::LAST_CHUNK);
        }
    }
}
