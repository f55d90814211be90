//! The streams of one connection: their states and windows, in a small table that is searched by number, and the numbers
//! of those that ended last.

/// The largest window (RFC 9113, 6.9.1).
const MAX_WINDOW: i64 = 0x7fff_ffff;
/// How many ended streams are remembered.
const REMEMBERED: usize = 128;
/// The smallest table that has memory.
const SMALLEST: usize = 4;

/// How much may be sent. It may be below nothing after the peer has lowered its setting.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window(i32);

impl Window {
    /// Of so many bytes.
    pub(super) fn new(size: u32) -> Self {
        Self(i32::try_from(size).unwrap_or(i32::MAX))
    }

    /// Bytes that may be sent.
    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// `count` bytes have been sent; there was room.
    pub(super) fn take(&mut self, count: usize) {
        debug_assert!(count <= self.available());
        self.0 -= count as i32;
    }

    /// Grows, or shrinks; whether something may be sent now that couldn't. None if it would be too large.
    pub(super) fn change(&mut self, by: i64) -> Option<bool> {
        let changed = i64::from(self.0) + by;
        if changed > MAX_WINDOW {
            return None;
        }
        let opened = self.0 <= 0 && changed > 0;
        self.0 = i32::try_from(changed).unwrap_or(i32::MIN);
        Some(opened)
    }
}

/// How much the peer may send, and how much of what it sent is done with but not yet given back to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inbound {
    left: u32,
    released: u32,
}

impl Inbound {
    /// Of so many bytes.
    pub(super) fn new(size: u32) -> Self {
        Self { left: size, released: 0 }
    }

    /// The peer has sent `count` bytes; whether it was allowed to.
    pub(super) fn take(&mut self, count: usize) -> bool {
        match self.left.checked_sub(count as u32) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// `count` bytes are done with: what to give back now, once it is half of the whole window.
    pub(super) fn release(&mut self, count: usize, whole: u32) -> Option<u32> {
        self.released += count as u32;
        if self.released < whole / 2 {
            return None;
        }
        self.left += self.released;
        Some(std::mem::take(&mut self.released))
    }
}

/// One stream that hasn't ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// 0: an empty place in the table.
    pub(super) id: u32,
    pub(super) outbound: Window,
    pub(super) inbound: Inbound,
    /// How much of the declared body is still to come.
    pub(super) expected: Option<u64>,
    /// The peer's head, or final answer, has come.
    pub(super) has_head: bool,
    /// The peer sends no more.
    pub(super) remote_ended: bool,
    /// This side sends no more.
    pub(super) local_ended: bool,
    /// The request was a HEAD: its answer has no body whatever it declares.
    pub(super) to_head: bool,
}

const EMPTY: Stream = Stream {
    id: 0,
    outbound: Window(0),
    inbound: Inbound { left: 0, released: 0 },
    expected: None,
    has_head: false,
    remote_ended: false,
    local_ended: false,
    to_head: false,
};

impl Stream {
    /// One with these windows.
    pub(super) fn new(id: u32, outbound: Window, inbound: u32) -> Self {
        Self { id, outbound, inbound: Inbound::new(inbound), ..EMPTY }
    }
}

/// How a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// In order, or by the peer: nothing may come any more.
    Closed,
    /// Reset here: the peer may not know yet.
    Reset,
}

/// The streams: open addressing, no tombstones. Numbers grow by two, so that half the number spreads them evenly.
#[derive(Debug, Default)]
pub(super) struct Streams {
    places: Vec<Stream>,
    count: usize,
    /// Numbers, the lowest bit of their double being how they ended; a ring.
    ended: Vec<u32>,
    next: usize,
}

impl Streams {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Where `id` is, or could be put; the table is never full.
    fn place(&self, id: u32) -> usize {
        let mask = self.places.len() - 1;
        let mut place = (id >> 1) as usize & mask;
        while self.places[place].id != id && self.places[place].id != 0 {
            place = (place + 1) & mask;
        }
        place
    }

    /// The stream, if it is there.
    pub(super) fn get(&self, id: u32) -> Option<&Stream> {
        if self.count == 0 {
            return None;
        }
        Some(&self.places[self.place(id)]).filter(|stream| stream.id == id)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        if self.count == 0 {
            return None;
        }
        let place = self.place(id);
        Some(&mut self.places[place]).filter(|stream| stream.id == id)
    }

    /// All.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.places.iter_mut().filter(|stream| stream.id != 0)
    }

    /// Puts in a new one.
    pub(super) fn insert(&mut self, stream: Stream) {
        if (self.count + 1) * 2 > self.places.len() {
            let larger = vec![EMPTY; (self.places.len() * 2).max(SMALLEST)];
            for old in std::mem::replace(&mut self.places, larger) {
                if old.id != 0 {
                    let place = self.place(old.id);
                    self.places[place] = old;
                }
            }
        }
        let place = self.place(stream.id);
        self.places[place] = stream;
        self.count += 1;
    }

    /// Takes it out, and remembers how it ended.
    pub(super) fn end(&mut self, id: u32, how: Ended) {
        if self.get(id).is_some() {
            self.take_out(self.place(id));
        }
        self.remember(id, how);
    }

    fn take_out(&mut self, place: usize) {
        let mask = self.places.len() - 1;
        self.count -= 1;
        // Those behind move up where the gap would hide them.
        let (mut gap, mut at) = (place, place);
        loop {
            at = (at + 1) & mask;
            let id = self.places[at].id;
            if id == 0 {
                break;
            }
            let home = (id >> 1) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.places[gap] = self.places[at];
                gap = at;
            }
        }
        self.places[gap] = EMPTY;
        if self.count == 0 && self.places.len() > 4 * SMALLEST {
            self.places = Vec::new();
        }
    }

    /// Remembers how a stream has ended that was never put in, or has been taken out.
    pub(super) fn remember(&mut self, id: u32, how: Ended) {
        let noted = id << 1 | u32::from(how == Ended::Reset);
        if self.ended.len() < REMEMBERED {
            return self.ended.push(noted);
        }
        self.ended[self.next] = noted;
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// How it ended, if that was not long ago.
    pub(super) fn how_ended(&self, id: u32) -> Option<Ended> {
        let noted = self.ended.iter().find(|noted| **noted >> 1 == id)?;
        Some(if noted & 1 == 1 { Ended::Reset } else { Ended::Closed })
    }

    /// Takes out those above `last`.
    pub(super) fn end_above(&mut self, last: u32) {
        let above: Vec<u32> = self.iter_mut().map(|stream| stream.id).filter(|id| *id > last).collect();
        above.into_iter().for_each(|id| self.end(id, Ended::Reset));
    }
}

#[cfg(any(test, fuzzing))]
impl Streams {
    pub(super) fn held(&self) -> usize {
        self.places.capacity() * size_of::<Stream>() + self.ended.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn the_table_finds_what_is_in_it(steps in proptest::collection::vec((any::<bool>(), 0u32..60), 1..400)) {
            let mut streams = Streams::default();
            let mut model = BTreeSet::new();
            let mut next = 1;
            for (opens, which) in steps {
                if opens {
                    streams.insert(Stream::new(next, Window::new(1), 1));
                    model.insert(next);
                    next += 2 + which / 20 * 2;
                } else if let Some(id) = model.iter().nth(which as usize % model.len().max(1)).copied() {
                    model.remove(&id);
                    streams.end(id, Ended::Closed);
                    prop_assert_eq!(streams.how_ended(id), Some(Ended::Closed));
                }
                prop_assert_eq!(streams.len(), model.len());
                for id in (1..next).step_by(2) {
                    prop_assert_eq!(streams.get(id).map(|s| s.id), model.get(&id).copied());
                }
            }
            streams.end_above(0);
            prop_assert_eq!(streams.len(), 0);
            prop_assert!(streams.ended.len() <= REMEMBERED);
        }
    }

    #[test]
    fn a_window_may_be_below_nothing_and_never_above_the_most() {
        let mut window = Window::new(10);
        window.take(10);
        assert_eq!(window.change(-5), Some(false));
        assert_eq!((window.available(), window.change(5)), (0, Some(false)));
        assert_eq!((window.change(1), window.available()), (Some(true), 1));
        assert_eq!(window.change(MAX_WINDOW - 1), Some(false));
        assert_eq!(window.change(1), None);
    }

    #[test]
    fn what_is_released_goes_back_by_halves() {
        let mut inbound = Inbound::new(100);
        assert!(inbound.take(100) && !inbound.take(1));
        assert_eq!(inbound.release(49, 100), None);
        assert_eq!(inbound.release(1, 100), Some(50));
        assert!(inbound.take(50) && !inbound.take(1));
    }
}
