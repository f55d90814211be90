//! Reads bodies: finds the data in the bytes that follow a head, and their end. Nothing of a bad construct is ever handed
//! out.

use super::connection::is_head_only;
use super::head::Field;
use super::{Fault, Framing, MAX_EXTENSION, MAX_FIELDS, MAX_HEAD, MAX_TRAILER, scan};
use std::ops::Range;

/// Bytes of extensions that a body may carry beyond its data: cheap chunks of costly extensions are only ever an attack.
const MAX_EXTENSION_EXCESS: u64 = 16 * 1024;

/// What the reader found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// More bytes are needed; those not consumed must be offered again.
    More,
    /// Data, as a range of the input.
    Data(Range<usize>),
    /// One trailer line with its CRLF, as a range of the input.
    Trailer(Range<usize>),
    /// The body is complete.
    End,
}

/// One step of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// So many bytes of the input are done with.
    pub(crate) consumed: usize,
    /// What they were.
    pub(crate) event: Event,
}

/// Where a body has been read to.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    state: State,
    /// Bytes of extensions so far, less bytes of data.
    excess: u64,
}

#[derive(Debug, Clone)]
enum State {
    Length(u64),
    UntilClose,
    Size { size: u64, digits: u8 },
    Extension { size: u64, length: u32 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers { lines: usize, bytes: usize },
    End,
}

const SIZE: State = State::Size { size: 0, digits: 0 };

impl Reader {
    /// A body that is framed so.
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => SIZE,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, excess: 0 }
    }

    /// Whether the body is complete.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// The input has ended: whether this is the body's proper end.
    pub(crate) fn may_end_here(&self) -> bool {
        matches!(self.state, State::End | State::UntilClose)
    }

    /// Reads on in `input`, which starts where the last step stopped.
    pub(crate) fn step(&mut self, input: &[u8]) -> Result<Step, Fault> {
        let mut at = 0;
        loop {
            if let State::End = self.state {
                return Ok(Step { consumed: at, event: Event::End });
            }
            if at == input.len() {
                return Ok(Step { consumed: at, event: Event::More });
            }
            match &mut self.state {
                State::Length(left) | State::Data { left } => {
                    let length = usize::try_from(*left).map_or(input.len() - at, |l| l.min(input.len() - at));
                    *left -= length as u64;
                    let done = *left == 0;
                    self.take_data(length as u64, done);
                    return Ok(Step { consumed: at + length, event: Event::Data(at..at + length) });
                }
                State::UntilClose => {
                    return Ok(Step { consumed: input.len(), event: Event::Data(at..input.len()) });
                }
                State::Trailers { .. } => return self.trailer(input, at),
                _ => {
                    self.state = self.framing_byte(input[at])?;
                    at += 1;
                }
            }
        }
    }

    fn take_data(&mut self, length: u64, done: bool) {
        self.excess = self.excess.saturating_sub(length);
        match self.state {
            State::Length(_) if done => self.state = State::End,
            State::Data { .. } if done => self.state = State::DataCr,
            _ => {}
        }
    }

    /// One byte of what stands around the data.
    fn framing_byte(&mut self, byte: u8) -> Result<State, Fault> {
        Ok(match (&self.state, byte) {
            (State::Size { size, digits }, b) if b.is_ascii_hexdigit() => {
                let digit = (b as char).to_digit(16).ok_or(Fault::ChunkSize)?;
                if *digits == 16 || *size > (i64::MAX as u64) >> 4 {
                    return Err(Fault::ChunkSize);
                }
                State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Fault::ChunkSize),
            (State::Size { size, .. }, b'\r') => State::SizeLf { size: *size },
            (State::Size { size, .. }, b';') => State::Extension { size: *size, length: 0 },
            (State::Size { .. }, _) => return Err(Fault::ChunkSize),
            (State::Extension { size, .. }, b'\r') => State::SizeLf { size: *size },
            (State::Extension { size, length }, b) => {
                self.excess += 1;
                let fits = *length < MAX_EXTENSION && self.excess <= MAX_EXTENSION_EXCESS;
                if b.is_ascii_control() || !fits {
                    return Err(Fault::ChunkExtension);
                }
                State::Extension { size: *size, length: length + 1 }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailers { lines: 0, bytes: 0 },
            (State::SizeLf { size }, b'\n') => State::Data { left: *size },
            (State::SizeLf { .. }, _) => return Err(Fault::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => SIZE,
            _ => return Err(Fault::ChunkEnd),
        })
    }

    /// A trailer line is judged when it is there as a whole.
    fn trailer(&mut self, input: &[u8], at: usize) -> Result<Step, Fault> {
        let State::Trailers { lines, bytes } = &mut self.state else {
            return Err(Fault::Trailer);
        };
        let limit = input.len().min(at + MAX_TRAILER);
        let Some(end) = find_line_end(&input[at..limit])? else {
            return match limit - at {
                MAX_TRAILER => Err(Fault::TrailersTooLarge),
                _ => Ok(Step { consumed: at, event: Event::More }),
            };
        };
        let after = at + end + 2;
        if end == 0 {
            self.state = State::End;
            return Ok(Step { consumed: after, event: Event::End });
        }
        *lines += 1;
        *bytes += end + 2;
        if *lines > MAX_FIELDS || *bytes > MAX_HEAD {
            return Err(Fault::TrailersTooLarge);
        }
        let line = &input[at..after];
        let field = Field::read(line, 0, end)?;
        if is_head_only(field.name.of(line)) {
            return Err(Fault::Trailer);
        }
        Ok(Step { consumed: after, event: Event::Trailer(at..after) })
    }
}

/// Where the CR of the first line's CRLF stands.
fn find_line_end(text: &[u8]) -> Result<Option<usize>, Fault> {
    let mut from = 0;
    while let Some(at) = scan::find_control(text, from) {
        match (text[at], text.get(at + 1)) {
            (b'\t', _) => from = at + 1,
            (b'\r', None) => return Ok(None),
            (b'\r', Some(b'\n')) => return Ok(Some(at)),
            (b'\r', _) => return Err(Fault::BareCr),
            (b'\n', _) => return Err(Fault::BareLf),
            _ => return Err(Fault::Control),
        }
    }
    Ok(None)
}
