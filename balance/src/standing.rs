//! Who may be picked: floor, breakers, priorities, panic threshold and subset of a pool boiled down to a list of candidates and a few
//! sums. Counted anew, O(members), by the first pick after a change of health, weight, priority or ejection; all others read a few atomics.

mod cache;

use std::ops::Range;
use std::sync::Arc;

use crate::endpoint::{Endpoint, Health};
use crate::slow_start::SlowStart;

pub(crate) use cache::Cache;

/// Which members are candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Floor usable and breaker closed; open breakers get their one probing request.
    Normal = 0,
    /// The pool has no passive checks: floor usable, whatever breakers other pools opened.
    Unwatched = 5,
    /// Every floor-usable one is ejected: ejections alone never empty a pool, so they don't count.
    Spared = 1,
    /// Too few are usable: every usable and every down one.
    Panic = 2,
    /// Nothing but draining ones is left.
    LastResort = 3,
    /// Nobody.
    Nobody = 4,
}

impl Mode {
    fn from_u64(value: u64) -> Self {
        match value {
            0 => Self::Normal,
            1 => Self::Spared,
            2 => Self::Panic,
            3 => Self::LastResort,
            5 => Self::Unwatched,
            _ => Self::Nobody,
        }
    }

    /// Whether a member's health makes it a candidate. In `Normal`, one with an open breaker isn't, but may be due a probing request.
    #[inline]
    pub(crate) fn admits(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Normal => endpoint.health() == Health::Usable && endpoint.is_closed(),
            Self::Unwatched | Self::Spared => endpoint.health() == Health::Usable,
            Self::Panic => matches!(endpoint.health(), Health::Usable | Health::Down),
            Self::LastResort => endpoint.health() == Health::Draining,
            Self::Nobody => false,
        }
    }
}

/// What a pool goes by when it counts.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Percent of the first group that has to be usable.
    pub(crate) panic_threshold: u8,
    /// The pool has passive checks.
    pub(crate) watched: bool,
    pub(crate) slow_start: Option<SlowStart>,
    /// The own zone, where it is preferred.
    pub(crate) zone: Option<Arc<str>>,
    /// Which members are used; absent: all.
    pub(crate) subset: Option<Ranking>,
}

/// The members in the order in which this balancer wants them, and how many of them.
#[derive(Debug)]
pub(crate) struct Ranking {
    size: usize,
    /// Member indices, the first choice first.
    order: Box<[u32]>,
    /// For each member its place in that order.
    places: Box<[u32]>,
}

impl Ranking {
    pub(crate) fn new(order: Vec<u32>, size: usize) -> Self {
        let mut places = vec![0; order.len()].into_boxed_slice();
        for (place, &index) in order.iter().enumerate() {
            places[index as usize] = place as u32;
        }
        Self { size, order: order.into(), places }
    }

    /// How far down the order one has to go to find as many as are wanted: one that goes away lets in the next, and no other moves.
    fn reach(&self, admits: impl Fn(usize) -> bool) -> usize {
        let mut left = self.size;
        let last = self.order.iter().position(|&index| {
            left -= usize::from(left > 0 && admits(index as usize));
            left == 0
        });
        last.map_or(self.order.len(), |last| last + 1)
    }
}

/// The outcome. Candidates stand in a list: those of the own zone first, then the others, then the ejected that may be due a probing
/// request; each part by member index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) mode: Mode,
    /// The highest priority number in use.
    pub(crate) depth: u8,
    /// The largest weight among them.
    pub(crate) heaviest: u16,
    pub(crate) candidates: usize,
    /// Those of them in the own zone.
    pub(crate) local: usize,
    /// Ejected ones after them in the list.
    pub(crate) ejected: usize,
    /// The candidates' weight in hundredths of a percent, slow start left out.
    pub(crate) weight: u64,
    /// The candidates' weight in the own zone.
    pub(crate) local_weight: u64,
    /// When the first of the candidates became usable, in nanoseconds of the clock.
    pub(crate) oldest: u64,
    /// Slow start counts from here on (before, all are new) …
    pub(crate) warming_from: u64,
    /// … to here (then, nobody is), in nanoseconds of the clock.
    pub(crate) warming_until: u64,
    /// Which of the two lists is meant.
    list: usize,
}

impl Standing {
    /// Whether some candidates are new and others are not.
    pub(crate) fn is_warming(&self, nanos: u64) -> bool {
        (self.warming_from..self.warming_until).contains(&nanos)
    }

    /// Whether it goes by health alone, with enough of it.
    pub(crate) fn is_normal(&self) -> bool {
        matches!(self.mode, Mode::Normal | Mode::Unwatched)
    }

    /// The list's places of the candidates in the own zone.
    pub(crate) fn own(&self) -> Range<usize> {
        0..self.local
    }

    /// Those of the candidates elsewhere.
    pub(crate) fn elsewhere(&self) -> Range<usize> {
        self.local..self.candidates
    }

    /// The list's places of all candidates.
    pub(crate) fn all(&self) -> Range<usize> {
        0..self.candidates
    }
}

/// Members of one priority, by health.
#[derive(Clone, Copy, Default)]
struct Count {
    /// Usable or down.
    counted: u32,
    /// Of those, with a closed breaker too where that matters.
    usable: u32,
}

/// Mode and depth: groups are added from the lowest priority number up until the usable members reach the threshold of the first
/// group; exactly at it is enough. It is panic if all together don't and none has its own share usable either. One group alone makes
/// Envoy's panic threshold.
pub(crate) fn mode(members: &[Arc<Endpoint>], rules: &Rules) -> (Mode, u8) {
    let mut groups = [Count::default(); 256];
    let (mut floor, mut draining) = (0usize, 0usize);
    for member in members {
        let group = &mut groups[usize::from(member.priority())];
        match member.health() {
            Health::Usable => {
                floor += 1;
                group.counted += 1;
                group.usable += u32::from(!rules.watched || member.is_closed());
            }
            Health::Down => group.counted += 1,
            Health::Draining => draining += 1,
            Health::NotReady => {}
        }
    }
    let normal = if rules.watched { Mode::Normal } else { Mode::Unwatched };
    let needed = |group: &Count| group.counted * u32::from(rules.panic_threshold);
    let mut counted = (0..=u8::MAX).zip(&groups).filter(|(_, group)| group.counted > 0).peekable();
    let enough = counted.peek().map_or(0, |(_, first)| needed(first));
    let mut found = 0;
    for (depth, group) in counted {
        found += group.usable;
        if found > 0 && found * 100 >= enough {
            return (normal, depth);
        }
    }
    // A small group of backups that is well is better than a large one of primaries that isn't.
    if groups.iter().any(|group| group.usable > 0 && group.usable * 100 >= needed(group)) {
        return (normal, u8::MAX);
    }
    let mode = if found * 100 < enough {
        Mode::Panic
    } else if floor > 0 {
        Mode::Spared
    } else if draining > 0 {
        Mode::LastResort
    } else {
        Mode::Nobody
    };
    (mode, u8::MAX)
}
