//! Lines of HTTP/1.1 text to header blocks. A line that is seen a second time goes into the table, and is one byte from
//! then on: found by the bytes as they were written, before anything is looked up or put into lower case. Strings go out
//! plain: Huffman's tenth fewer bytes isn't worth its time, on either side.

use super::MAX_TABLE;
use super::static_table::{self, ENTRIES};
use super::table::{OVERHEAD, Table};
use crate::http1::scan;

const INDEXED: u8 = 0x80;
const INCREMENTAL: u8 = 0x40;
const RESIZE: u8 = 0x20;
const NEVER_INDEXED: u8 = 0x10;
const PLAIN: u8 = 0x00;

/// Places for lines that were seen, and for those in the table: groups of four.
const PLACES: usize = 64;
const WAYS: usize = 4;
/// What is kept of the last head at most: its text, and its block.
const LONGEST_TEXT: usize = 512;
const LONGEST_BLOCK: usize = 128;
/// Names of the static table are no longer than this.
const LONGEST_NAME: usize = 32;

/// What a line is, so that a value is never taken for a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// `Name: value`
    Line,
    /// The value of `:authority`.
    Authority,
    /// The value of `:path`.
    Path,
    /// The value of `:method`.
    Method,
}

impl Form {
    /// The pseudo-header's index in the static table, and the length of its name.
    fn name(self) -> (u8, usize) {
        match self {
            Self::Line => (0, 0),
            Self::Authority => (1, ":authority".len()),
            Self::Path => (4, ":path".len()),
            Self::Method => (2, ":method".len()),
        }
    }
}

/// The table of what the peer was sent.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    table: Table<Form>,
    places: Option<Box<Places>>,
    /// The last head, and the last trailers.
    last: [Written; 2],
    /// How often it has changed what a line becomes.
    changes: u32,
    /// The table's bound has changed: the least it has been, which the peer must be told first (RFC 7541, 4.2).
    resized: Option<u32>,
}

/// Which of a message's blocks it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Part {
    /// The head.
    Head = 0,
    /// The trailers.
    Trailers = 1,
}

/// A block that would be the same again: many messages have the same head as the one before.
#[derive(Debug, Default)]
struct Written {
    text: Vec<u8>,
    block: Vec<u8>,
    changes: u32,
}

/// Where a line may stand: four places for each hash, the last comer has the first.
#[derive(Debug)]
struct Places {
    /// Parts of hashes.
    seen: [[u16; WAYS]; PLACES],
    /// Ends of numbers in the table; a line that isn't the same shows a wrong one.
    kept: [[u16; WAYS]; PLACES],
}

impl Encoder {
    /// With an empty table.
    pub(in super::super) fn new() -> Self {
        Self { table: Table::new(MAX_TABLE), places: None, last: Default::default(), changes: 0, resized: None }
    }

    /// The peer's table may hold so much from the next block on.
    pub(in super::super) fn set_max(&mut self, max: u32) {
        let max = max.min(MAX_TABLE);
        if max != self.table.max() {
            self.table.set_max(max);
            self.changes = self.changes.wrapping_add(1);
            self.resized = Some(self.resized.map_or(max, |least| least.min(max)));
        }
    }

    /// Appends the block of `text`, which `write` takes apart, if it has to be.
    pub(in super::super) fn block(
        &mut self,
        out: &mut Vec<u8>,
        (part, text): (Part, &[u8]),
        write: impl FnOnce(&mut Self, &mut Vec<u8>),
    ) {
        let last = &self.last[part as usize];
        if last.changes == self.changes && !last.block.is_empty() && last.text == text {
            return out.extend_from_slice(&last.block);
        }
        let (start, changes) = (out.len(), self.changes);
        self.begin(out);
        write(self, out);
        let block = &out[start..];
        if changes == self.changes && text.len() <= LONGEST_TEXT && block.len() <= LONGEST_BLOCK {
            let last = &mut self.last[part as usize];
            last.text.clear();
            last.text.extend_from_slice(text);
            last.block.clear();
            last.block.extend_from_slice(block);
            last.changes = changes;
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(least) = self.resized.take() {
            self.changes = self.changes.wrapping_add(1);
            if least < self.table.max() {
                integer(out, RESIZE, 5, least as usize);
            }
            integer(out, RESIZE, 5, self.table.max() as usize);
        }
    }

    /// Appends a status.
    pub(in super::super) fn status(&mut self, out: &mut Vec<u8>, digits: [u8; 3]) {
        let index = match &digits {
            b"200" => 8,
            b"204" => 9,
            b"206" => 10,
            b"304" => 11,
            b"400" => 12,
            b"404" => 13,
            b"500" => 14,
            _ => {
                let [a, b, c] = digits;
                return out.extend_from_slice(&[PLAIN | 8, 3, a, b, c]);
            }
        };
        out.push(INDEXED | index);
    }

    /// Appends one byte: an entry of the static table.
    pub(in super::super) fn static_entry(&mut self, out: &mut Vec<u8>, index: u8) {
        out.push(INDEXED | index);
    }

    /// Appends a pseudo-header of a request.
    pub(in super::super) fn pseudo(&mut self, out: &mut Vec<u8>, form: Form, value: &[u8]) {
        let hash = hash(value, form);
        if let Some(index) = self.find(hash, value, form) {
            return integer(out, INDEXED, 7, index);
        }
        let (index, name) = form.name();
        let opening = self.opening(hash, form, value, name + value.len());
        integer(out, opening.bits(), opening.prefix(), usize::from(index));
        string(out, value);
    }

    /// Appends a line `Name: value`, without its CRLF, unless it concerns one connection only.
    pub(in super::super) fn line(&mut self, out: &mut Vec<u8>, line: &[u8]) {
        let hash = hash(line, Form::Line);
        if let Some(index) = self.find(hash, line, Form::Line) {
            return integer(out, INDEXED, 7, index);
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { return };
        let (name, value) = (&line[..colon], scan::trim(&line[colon + 1..]));
        let mut lower = [0; LONGEST_NAME];
        let index = match lower.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                match treatment(lower, value) {
                    Treatment::Drop => return,
                    Treatment::Secret(index) => {
                        integer(out, NEVER_INDEXED, 4, usize::from(index));
                        return string(out, value);
                    }
                    Treatment::Usual(index) => index,
                }
            }
            None => 0,
        };
        let opening = self.opening(hash, Form::Line, line, name.len() + value.len());
        integer(out, opening.bits(), opening.prefix(), usize::from(index));
        if index == 0 {
            integer(out, 0, 7, name.len());
            let start = out.len();
            out.extend_from_slice(name);
            out[start..].make_ascii_lowercase();
        }
        string(out, value);
    }

    /// The index of a line that is in the table.
    fn find(&self, hash: u32, line: &[u8], form: Form) -> Option<usize> {
        let kept = &self.places.as_ref()?.kept[hash as usize % PLACES];
        kept.iter().find_map(|number| {
            let index = self.table.find(*number)?;
            let same = self.table.get(index).is_some_and(|(kept, kept_form)| kept_form == form && kept == line);
            same.then_some(ENTRIES.len() + 1 + index)
        })
    }

    /// How the literal of a line starts that isn't in the table. One that was seen before goes there; `length` is that of
    /// its name and value.
    fn opening(&mut self, hash: u32, form: Form, line: &[u8], length: usize) -> Opening {
        let places = self.places.get_or_insert_with(|| Box::new(Places { seen: [[0; WAYS]; PLACES], kept: [[0; WAYS]; PLACES] }));
        let seen = &mut places.seen[hash as usize % PLACES];
        let part = (hash >> 16) as u16;
        let was_seen = seen.contains(&part);
        if !was_seen {
            self.changes = self.changes.wrapping_add(1);
            *seen = [part, seen[0], seen[1], seen[2]];
        }
        // A line that takes much of the table would drive out many that come more often.
        let fits = (length + OVERHEAD) * 4 <= self.table.max() as usize;
        if !was_seen || !fits {
            return Opening::Plain;
        }
        self.changes = self.changes.wrapping_add(1);
        let kept = &mut places.kept[hash as usize % PLACES];
        *kept = [self.table.insert(line, length, form), kept[0], kept[1], kept[2]];
        Opening::Incremental
    }
}

/// How a literal starts.
#[derive(Debug, Clone, Copy)]
enum Opening {
    Plain,
    Incremental,
}

impl Opening {
    fn bits(self) -> u8 {
        match self {
            Self::Plain => PLAIN,
            Self::Incremental => INCREMENTAL,
        }
    }

    fn prefix(self) -> u32 {
        match self {
            Self::Plain => 4,
            Self::Incremental => 6,
        }
    }
}

/// What becomes of a line that isn't in the table; the index is its name's in the static one, or 0.
enum Treatment {
    Drop,
    /// Never in a table, here or further on (RFC 7541, 7.1.3).
    Secret(u8),
    Usual(u8),
}

fn treatment(name: &[u8], value: &[u8]) -> Treatment {
    match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" | b"http2-settings" => {
            Treatment::Drop
        }
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Treatment::Drop,
        b"authorization" | b"proxy-authorization" | b"cookie" | b"set-cookie" => Treatment::Secret(static_table::find(name)),
        _ => Treatment::Usual(static_table::find(name)),
    }
}

/// Of the first, the middle and the last eight bytes: enough to tell lines apart that are worth keeping. Never 0.
fn hash(line: &[u8], form: Form) -> u32 {
    let word = |at: usize| line.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|w| u64::from_le_bytes(*w));
    let length = line.len();
    let mixed = match (word(0), word(length / 2 - length.min(8) / 2), word(length.saturating_sub(8))) {
        (Some(first), Some(middle), Some(last)) => {
            (first ^ last.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ middle.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
        }
        _ => line.iter().fold(0, |n, b| n << 8 | u64::from(*b)).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    };
    let mixed = (mixed ^ (length as u64) << 7 ^ form as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 | 1 << 31
}

/// Appends an integer with a prefix of `bits` bits (RFC 7541, 5.1).
#[inline]
fn integer(out: &mut Vec<u8>, opening: u8, bits: u32, value: usize) {
    let full = (1usize << bits) - 1;
    if value < full {
        return out.push(opening | value as u8);
    }
    long_integer(out, opening | full as u8, value - full);
}

fn long_integer(out: &mut Vec<u8>, first: u8, mut rest: usize) {
    out.push(first);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a string literal.
pub(in super::super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

#[cfg(any(test, fuzzing))]
impl Encoder {
    pub(in super::super) fn held(&self) -> usize {
        let last = self.last.iter().map(|last| last.text.capacity() + last.block.capacity());
        self.table.held() + self.places.as_ref().map_or(0, |_| size_of::<Places>()) + last.sum::<usize>()
    }
}
