//! A dynamic table (RFC 7541, 2.3.2): a queue of lines in one buffer that grows with use, to a bound.

use std::collections::VecDeque;

/// What an entry takes beyond its name and value (RFC 7541, 4.1).
pub(super) const OVERHEAD: usize = 32;
/// The largest buffer: with less than a quarter dead, a full table and a new line take less.
const LARGEST: usize = 2 * super::MAX_TABLE as usize;

/// Lines, the newest first; `M` is whatever its owner wants to know of a line again.
#[derive(Debug)]
pub(super) struct Table<M> {
    bytes: Vec<u8>,
    /// How many bytes have been cut off in front of `bytes`.
    base: u32,
    entries: VecDeque<Entry<M>>,
    /// How many entries there have been, the last digits of it.
    inserted: u16,
    size: usize,
    max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry<M> {
    /// Counted from the first byte ever.
    start: u32,
    length: u16,
    size: u16,
    mark: M,
}

impl<M: Copy> Table<M> {
    /// An empty one, without memory of its own yet.
    pub(super) fn new(max: u32) -> Self {
        Self { bytes: Vec::new(), base: 0, entries: VecDeque::new(), inserted: 0, size: 0, max: max as usize }
    }

    /// The line at `index`, 0 being the newest, and its mark.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], M)> {
        let place = self.entries.len().checked_sub(index + 1)?;
        let entry = self.entries.get(place)?;
        let start = entry.start.wrapping_sub(self.base) as usize;
        let line = self.bytes.get(start..start + usize::from(entry.length))?;
        Some((line, entry.mark))
    }

    /// The index of the entry that was the `number`th to come, if it is still there. Numbers come again after 65,536.
    pub(super) fn find(&self, number: u16) -> Option<usize> {
        let index = usize::from(self.inserted.wrapping_sub(number));
        (index < self.entries.len()).then_some(index)
    }

    /// The most it may hold from now on.
    pub(super) fn set_max(&mut self, max: u32) {
        self.max = max as usize;
        self.evict(0);
    }

    /// The most it may hold.
    pub(super) fn max(&self) -> u32 {
        self.max as u32
    }

    /// Puts in a line whose name and value have `length` bytes; returns its number. Others make room; if it is too large
    /// for the table, all do, and it isn't kept.
    pub(super) fn insert(&mut self, line: &[u8], length: usize, mark: M) -> u16 {
        let size = length + OVERHEAD;
        self.evict(size);
        if size > self.max {
            return self.inserted.wrapping_sub(1);
        }
        self.make_room(line.len());
        let start = self.base.wrapping_add(self.bytes.len() as u32);
        self.bytes.extend_from_slice(line);
        self.entries.push_back(Entry { start, length: line.len() as u16, size: size as u16, mark });
        self.size += size;
        self.inserted = self.inserted.wrapping_add(1);
        self.inserted
    }

    fn evict(&mut self, needed: usize) {
        while self.size + needed > self.max
            && let Some(oldest) = self.entries.pop_front()
        {
            self.size -= usize::from(oldest.size);
        }
    }

    /// Cuts off what is dead once that is a quarter, else grows: what is moved, is paid for by what came in.
    fn make_room(&mut self, needed: usize) {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if length + needed <= capacity {
            return;
        }
        let dead = self.entries.front().map_or(length, |oldest| oldest.start.wrapping_sub(self.base) as usize);
        if dead * 4 >= length && length - dead + needed <= capacity {
            self.bytes.drain(..dead);
            self.base = self.base.wrapping_add(dead as u32);
        } else {
            let larger = (capacity * 2).clamp(64, LARGEST).max(length + needed);
            self.bytes.reserve_exact(larger - length);
        }
    }
}

#[cfg(any(test, fuzzing))]
impl<M> Table<M> {
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry<M>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(table: &Table<u8>) -> Vec<(Vec<u8>, u8)> {
        (0..).map_while(|index| table.get(index)).map(|(line, mark)| (line.to_vec(), mark)).collect()
    }

    #[test]
    fn an_entry_too_large_empties_the_table() {
        let mut table = Table::new(100);
        table.insert(b"a: b", 2, 1);
        table.insert(&[b'x'; 69], 69, 2);
        assert_eq!(lines(&table), vec![]);
        table.insert(&[b'x'; 68], 68, 3);
        assert_eq!(lines(&table), vec![(vec![b'x'; 68], 3)]);
    }

    proptest! {
        /// Against the plain model: a list of lines, cut at the end while it is too large.
        #[test]
        fn it_holds_what_the_rfc_says(
            lengths in proptest::collection::vec(0usize..1500, 1..300),
            maxima in proptest::collection::vec(0u32..=4096, 0..3),
        ) {
            let mut table = Table::new(4096);
            let mut model: Vec<(Vec<u8>, u8)> = Vec::new();
            let mut max = 4096;
            for (at, length) in lengths.iter().enumerate() {
                if let (0, Some(changed)) = (at % 97, maxima.get(at / 97)) {
                    max = *changed as usize;
                    table.set_max(*changed);
                }
                let mark = (at % 251) as u8;
                let number = table.insert(&vec![mark; *length], *length, mark);
                model.insert(0, (vec![mark; *length], mark));
                while model.iter().map(|(line, _)| line.len() + OVERHEAD).sum::<usize>() > max {
                    model.pop();
                }
                prop_assert_eq!(&lines(&table), &model);
                prop_assert_eq!(table.find(number), (!model.is_empty()).then_some(0));
                prop_assert!(table.bytes.capacity() <= LARGEST);
            }
        }
    }
}
