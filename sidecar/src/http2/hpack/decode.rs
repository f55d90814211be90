//! Header blocks to lines (RFC 7541, 3 and 6). Each field is written once, as a line at the end of the head's text; the
//! table keeps a copy of the line, so that a field that is sent again is one copy of bytes that have been judged.

use super::static_table::ENTRIES;
use super::table::Table;
use super::{Kind, MAX_TABLE, Malformed, huffman};
use crate::http2::head::{Head, Line, Shape, Summary, Unfit};

/// The table of what the peer has sent.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    table: Table<Line>,
    /// How often it has changed what a block means.
    changes: u32,
}

/// How an integer may start, and how a literal is to be treated.
const INDEXED: u8 = 0x80;
const INCREMENTAL: u8 = 0x40;
const RESIZE: u8 = 0x20;
const HUFFMAN: u8 = 0x80;

impl Decoder {
    /// With an empty table.
    pub(in super::super) fn new() -> Self {
        Self { table: Table::new(MAX_TABLE), changes: 0 }
    }

    /// Reads a whole block as a `shape`; `end`: the stream ends with it. Many blocks are the same as the one before, byte for
    /// byte: their text is still there. The outer fault ends the connection.
    pub(in super::super) fn read(
        &mut self,
        block: &[u8],
        (shape, end): (Shape, bool),
        head: &mut Head,
    ) -> Result<Result<Summary, Unfit>, Malformed> {
        if let Some(summary) = head.find_same(block, (shape, end)) {
            return Ok(Ok(summary));
        }
        let changes = self.changes;
        head.begin(shape);
        self.decode(block, head)?;
        let finished = head.finish(end);
        if let (true, Ok(summary)) = (changes == self.changes, finished) {
            head.remember(block, end, summary);
        }
        Ok(finished)
    }

    /// Reads a whole block into `head`. What is wrong with a field is noted there; the table goes on.
    pub(in super::super) fn decode(&mut self, block: &[u8], head: &mut Head) -> Result<(), Malformed> {
        let mut input = Input { rest: block };
        let mut may_resize = true;
        while let Some(first) = input.rest.first().copied() {
            if first & INDEXED != 0 {
                let index = input.integer(7)?;
                self.indexed(index, head)?;
            } else if first & INCREMENTAL != 0 {
                self.literal(&mut input, 6, head)?;
            } else if first & RESIZE == 0 {
                self.literal(&mut input, 4, head)?;
            } else {
                let max = input.integer(5)?;
                if !may_resize || max > MAX_TABLE {
                    return Err(Malformed);
                }
                self.table.set_max(max);
                self.changes = self.changes.wrapping_add(1);
                continue;
            }
            may_resize = false;
        }
        Ok(())
    }

    fn indexed(&self, index: u32, head: &mut Head) -> Result<(), Malformed> {
        let index = index as usize;
        if let Some(entry) = ENTRIES.get(index.wrapping_sub(1)) {
            head.static_field(entry.kind, entry.name, entry.value);
            return Ok(());
        }
        let place = index.checked_sub(ENTRIES.len() + 1).ok_or(Malformed)?;
        let (text, line) = self.table.get(place).ok_or(Malformed)?;
        head.repeat(text, line);
        Ok(())
    }

    /// A literal whose name has an index of `bits` bits, or follows. With 6 bits it goes into the table.
    fn literal(&mut self, input: &mut Input<'_>, bits: u32, head: &mut Head) -> Result<(), Malformed> {
        let index = input.integer(bits)? as usize;
        let start = head.line_start();
        let kind = if index == 0 {
            input.string(head.tail())?;
            Kind::of(&head.tail()[start..])
        } else if let Some(entry) = ENTRIES.get(index - 1) {
            head.tail().extend_from_slice(entry.name);
            entry.kind
        } else {
            let (text, line) = self.table.get(index - ENTRIES.len() - 1).ok_or(Malformed)?;
            head.tail().extend_from_slice(&text[..usize::from(line.name)]);
            line.kind
        };
        let name = head.tail().len() - start;
        head.tail().extend_from_slice(b": ");
        input.string(head.tail())?;
        let line = head.judge(kind, start, name);
        if bits == 6 {
            let text = &head.tail()[start..];
            // Without the colon, the space, CR and LF.
            let length = text.len() - 4;
            self.table.insert(text, length, line);
            self.changes = self.changes.wrapping_add(1);
        }
        head.settle(start, line);
        Ok(())
    }
}

/// What is left of a block.
struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    /// An integer in the low `bits` of the next byte, and more if they are all set (RFC 7541, 5.1); less than 2^28.
    fn integer(&mut self, bits: u32) -> Result<u32, Malformed> {
        let (first, mut rest) = self.rest.split_first().ok_or(Malformed)?;
        let full = (1u32 << bits) - 1;
        let mut value = u32::from(*first) & full;
        if value == full {
            let mut shift = 0;
            loop {
                let (byte, after) = rest.split_first().ok_or(Malformed)?;
                rest = after;
                value += u32::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift == 28 {
                    return Err(Malformed);
                }
            }
        }
        self.rest = rest;
        Ok(value)
    }

    /// Appends a string literal (RFC 7541, 5.2).
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let first = *self.rest.first().ok_or(Malformed)?;
        let length = self.integer(7)? as usize;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        if first & HUFFMAN != 0 {
            return huffman::decode(text, out);
        }
        out.extend_from_slice(text);
        Ok(())
    }
}

#[cfg(any(test, fuzzing))]
impl Decoder {
    pub(in super::super) fn held(&self) -> usize {
        self.table.held()
    }
}
