//! The last count of a pool's standing, for readers that never wait: two slots and two lists, written in turn.

use std::sync::Arc;

use super::{Mode, Rules, Standing, mode};
use crate::endpoint::{Endpoint, Health};
use crate::slow_start::SlowStart;
use crate::sync::Mutex;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// The last count. Two slots and two lists, written in turn under a lock that nobody waits for: whoever finds it taken goes by the
/// count before, and each candidate's health and priority are asked again when it is picked. A torn slot is noticed and read again; a
/// list may be rewritten under a slow reader, who may then once pick outside its zone or subset, or see one endpoint twice.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Its last bit is the slot that holds.
    version: AtomicU64,
    slots: [Slot; 2],
    lists: [Box<[AtomicU32]>; 2],
    counting: Mutex<()>,
}

#[derive(Debug, Default)]
struct Slot {
    epoch: AtomicU64,
    /// Mode and depth in a byte each, the heaviest in two.
    kind: AtomicU64,
    candidates: AtomicU32,
    local: AtomicU32,
    ejected: AtomicU32,
    weight: AtomicU64,
    local_weight: AtomicU64,
    oldest: AtomicU64,
    warming_from: AtomicU64,
    warming_until: AtomicU64,
}

impl Cache {
    /// Counted for the first time.
    pub(crate) fn new(members: &[Arc<Endpoint>], rules: &Rules, epoch: u64) -> Self {
        let list = || members.iter().map(|_| AtomicU32::new(0)).collect();
        let cache = Self {
            version: AtomicU64::new(0),
            slots: [Slot::default(), Slot::default()],
            lists: [list(), list()],
            counting: Mutex::new(()),
        };
        let standing = cache.count(members, rules, 1);
        cache.slots[1].put(epoch, standing);
        cache.version.store(1, Release);
        cache
    }

    /// The standing as of `epoch`, counted anew if the last one is older; and whether it is that old one all the same, because
    /// another worker is counting.
    #[inline]
    pub(crate) fn get(&self, epoch: u64, members: &[Arc<Endpoint>], rules: &Rules) -> (Standing, bool) {
        let (counted, standing) = self.read();
        if counted == epoch {
            return (standing, false);
        }
        self.count_anew(epoch, standing, members, rules)
    }

    #[cold]
    fn count_anew(&self, epoch: u64, standing: Standing, members: &[Arc<Endpoint>], rules: &Rules) -> (Standing, bool) {
        let Ok(_guard) = self.counting.try_lock() else { return (standing, true) };
        let version = self.version.load(Relaxed) + 1;
        let slot = (version & 1) as usize;
        let standing = self.count(members, rules, slot);
        self.slots[slot].put(epoch, standing);
        self.version.store(version, Release);
        (standing, false)
    }

    /// Who may be picked as of now, without a list: for who finds nobody on an old one. O(members).
    #[cold]
    pub(crate) fn live(&self, members: &[Arc<Endpoint>], rules: &Rules) -> Standing {
        let (mode, depth) = mode(members, rules);
        Standing { mode, depth, candidates: 0, local: 0, ejected: 0, ..self.read().1 }
    }

    /// The member at a place of the standing's list.
    #[inline]
    pub(crate) fn member(&self, standing: &Standing, place: usize) -> usize {
        self.lists[standing.list][place].load(Relaxed) as usize
    }

    #[inline]
    fn read(&self) -> (u64, Standing) {
        loop {
            let version = self.version.load(Acquire);
            let read = self.slots[(version & 1) as usize].get((version & 1) as usize);
            fence(Acquire);
            // The slot is written again only after another version was published.
            if self.version.load(Relaxed) == version {
                return read;
            }
        }
    }

    /// Writes the list and sums it up.
    fn count(&self, members: &[Arc<Endpoint>], rules: &Rules, list: usize) -> Standing {
        let (mode, depth) = mode(members, rules);
        let admits = |member: &Endpoint| member.priority() <= depth && mode.admits(member);
        let is_local = |member: &Endpoint| rules.zone.as_deref().is_some_and(|zone| member.zone() == Some(zone));
        let out = |member: &Endpoint| {
            mode == Mode::Normal && member.priority() <= depth && member.health() == Health::Usable && !member.is_closed()
        };
        let reach = rules.subset.as_ref().map(|ranking| ranking.reach(|index| admits(&members[index])));
        let chosen = |index: usize| {
            rules.subset.as_ref().zip(reach).is_none_or(|(ranking, reach)| (ranking.places[index] as usize) < reach)
        };
        let mut filler = Filler { list: &self.lists[list], filled: 0 };
        let mut tally = Tally::new(rules.slow_start);
        for wants_local in [true, false] {
            for (index, member) in members.iter().enumerate() {
                if is_local(member) == wants_local && admits(member) && chosen(index) {
                    filler.push(index);
                    tally.add(member, wants_local);
                }
            }
        }
        let candidates = filler.filled;
        for (index, _) in members.iter().enumerate().filter(|(index, member)| out(member) && chosen(*index)) {
            filler.push(index);
        }
        let ejected = filler.filled - candidates;
        let Tally { most, weight, local, local_weight, oldest, first_warm, last_warm, slow_start: _ } = tally;
        let (warming_from, warming_until) = if first_warm < last_warm { (first_warm, last_warm) } else { (0, 0) };
        Standing {
            mode,
            depth,
            heaviest: most,
            candidates,
            local,
            ejected,
            weight,
            local_weight,
            oldest,
            warming_from,
            warming_until,
            list,
        }
    }
}

/// The sums over the candidates.
struct Tally {
    slow_start: Option<SlowStart>,
    most: u16,
    weight: u64,
    local: usize,
    local_weight: u64,
    oldest: u64,
    first_warm: u64,
    last_warm: u64,
}

impl Tally {
    fn new(slow_start: Option<SlowStart>) -> Self {
        Self { slow_start, most: 0, weight: 0, local: 0, local_weight: 0, oldest: u64::MAX, first_warm: u64::MAX, last_warm: 0 }
    }

    fn add(&mut self, member: &Endpoint, is_local: bool) {
        let weight = member.weight();
        self.most = self.most.max(weight);
        self.weight += u64::from(weight) * 100;
        if is_local {
            self.local += 1;
            self.local_weight += u64::from(weight) * 100;
        }
        self.oldest = self.oldest.min(member.ready_at());
        if let Some(slow_start) = &self.slow_start {
            let warm = member.ready_at().saturating_add(slow_start.window_nanos());
            self.first_warm = self.first_warm.min(warm);
            self.last_warm = self.last_warm.max(warm);
        }
    }
}

struct Filler<'a> {
    list: &'a [AtomicU32],
    filled: usize,
}

impl Filler<'_> {
    /// Health may change between two passes over the members; the list never takes more than there are.
    fn push(&mut self, index: usize) {
        if let Some(place) = self.list.get(self.filled) {
            place.store(index as u32, Relaxed);
            self.filled += 1;
        }
    }
}

impl Slot {
    #[inline]
    fn get(&self, list: usize) -> (u64, Standing) {
        let kind = self.kind.load(Relaxed);
        let standing = Standing {
            mode: Mode::from_u64(kind & 0xff),
            depth: (kind >> 8) as u8,
            heaviest: (kind >> 16) as u16,
            candidates: self.candidates.load(Relaxed) as usize,
            local: self.local.load(Relaxed) as usize,
            ejected: self.ejected.load(Relaxed) as usize,
            weight: self.weight.load(Relaxed),
            local_weight: self.local_weight.load(Relaxed),
            oldest: self.oldest.load(Relaxed),
            warming_from: self.warming_from.load(Relaxed),
            warming_until: self.warming_until.load(Relaxed),
            list,
        };
        (self.epoch.load(Relaxed), standing)
    }

    fn put(&self, epoch: u64, standing: Standing) {
        let Standing { mode, depth, heaviest, candidates, local, ejected, weight, .. } = standing;
        let Standing { local_weight, oldest, warming_from, warming_until, list: _, .. } = standing;
        // Whoever still reads the version before the last must notice that its slot changes.
        fence(Release);
        self.epoch.store(epoch, Relaxed);
        self.kind.store(mode as u64 | u64::from(depth) << 8 | u64::from(heaviest) << 16, Relaxed);
        self.candidates.store(candidates as u32, Relaxed);
        self.local.store(local as u32, Relaxed);
        self.ejected.store(ejected as u32, Relaxed);
        self.weight.store(weight, Relaxed);
        self.local_weight.store(local_weight, Relaxed);
        self.oldest.store(oldest, Relaxed);
        self.warming_from.store(warming_from, Relaxed);
        self.warming_until.store(warming_until, Relaxed);
    }
}
