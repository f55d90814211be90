//! Bytes to lines, whatever the splits; no more than one unfinished line is kept, and that is bounded. Pure.

use evenkeel_wire::{FrameError, MAX_LINE};

/// A buffer larger than this isn't kept once it is empty.
const KEEP: usize = 64 * 1024;

/// Collects bytes until lines are whole.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// Bytes that are known to hold no newline.
    searched: usize,
    /// The start of what hasn't been given out.
    start: usize,
}

impl Lines {
    /// Adds what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its newline; `None` until more is pushed.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let length = found.map_or(self.buffer.len(), |at| self.searched + at + 1) - self.start;
        if length > MAX_LINE {
            return Err(FrameError::TooLong);
        }
        let Some(at) = found else {
            self.searched = self.buffer.len();
            if self.start == self.buffer.len() && self.buffer.capacity() > KEEP {
                *self = Self::default();
            }
            return Ok(None);
        };
        let (from, to) = (self.start, self.searched + at);
        self.searched = to + 1;
        self.start = to + 1;
        Ok(Some(&self.buffer[from..to]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lines: &mut Lines) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().expect("short lines") {
            all.push(String::from_utf8(line.to_vec()).expect("text"));
        }
        all
    }

    #[test]
    fn any_split_gives_the_same_lines() {
        let text = b"one\ntwo\n\nthree\nrest";
        for split in 0..text.len() {
            let mut lines = Lines::default();
            lines.push(&text[..split]);
            let mut all = drain(&mut lines);
            lines.push(&text[split..]);
            all.extend(drain(&mut lines));
            assert_eq!(all, ["one", "two", "", "three"], "split at {split}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE]);
        assert!(matches!(lines.next(), Ok(None)));
        lines.push(b"x");
        assert!(matches!(lines.next(), Err(FrameError::TooLong)));
    }
}
