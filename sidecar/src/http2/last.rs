//! The block that a head was read from last. A peer that repeats a head says it in the same few bytes, which needn't be read
//! again as long as they mean the same; that the table is the same, too, is for the caller to know.

use super::head::{Shape, Summary};

/// The longest block that is kept to be compared.
const LONGEST: usize = 256;

/// That block, if one is remembered.
#[derive(Debug, Default)]
pub(super) struct LastBlock {
    bytes: Vec<u8>,
    meaning: Option<Meaning>,
}

/// What the bytes were read as, and what came of them.
#[derive(Debug, Clone, Copy)]
struct Meaning {
    shape: Shape,
    end: bool,
    summary: Summary,
}

impl LastBlock {
    /// What the last block meant, if `block` is the same and read as the same.
    pub(super) fn find(&self, block: &[u8], (shape, end): (Shape, bool)) -> Option<Summary> {
        let last = self.meaning?;
        let fits = last.shape == shape && last.end == end && self.bytes == block;
        fits.then_some(last.summary)
    }

    /// Keeps a block, unless it is long.
    pub(super) fn remember(&mut self, block: &[u8], (shape, end): (Shape, bool), summary: Summary) {
        if block.len() <= LONGEST {
            self.bytes.clear();
            self.bytes.extend_from_slice(block);
            self.meaning = Some(Meaning { shape, end, summary });
        }
    }

    /// Remembers none; the memory stays for the next.
    pub(super) fn forget(&mut self) {
        self.meaning = None;
    }
}

#[cfg(any(test, fuzzing))]
impl LastBlock {
    /// The bytes of its memory.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}
