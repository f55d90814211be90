//! What a pool remembers of its probes (FEATURES A13): 16 replies of at most a second, and how in-flight counts spread of late. Picks
//! and replies race over plain atomics: what is torn or lost costs precision, never safety. Perishable, so a new snapshot starts empty.
//! Source: Wydrowski, Kleinberg, Rumble, Archer, "Load is not what you should balance: introducing Prequal", NSDI 2024.

use std::time::{Duration, Instant};

use crate::load::{PEAK_DECAY, decay};
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// Replies that a pool remembers.
pub(crate) const SLOTS: usize = 16;
/// Probes sent after a query.
pub(crate) const PROBES: usize = 3;
/// Replies that each query removes.
const REMOVED: f32 = 1.0;
/// Nanoseconds after which a reply says nothing any more.
const MAX_AGE: u64 = 1_000_000_000;
/// Percent of the in-flight counts seen of late above which an endpoint is hot.
const HOT_PERCENT: usize = 84;
/// In-flight counts that this is reckoned from.
const SEEN: usize = 64;
/// δ of the paper: by how much the pool gains on what it loses.
const GAIN: f32 = 1.0;

/// What an endpoint answers to a probe, or sends along with an answer. How it comes by the latency is [`ProbeLoad`]'s matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Requests that it has in flight from everybody.
    pub in_flight: u32,
    /// The response time of late at about as many in flight; zero before the first response.
    pub latency: Duration,
    /// The response times of late ÷ the requests that they met, themselves included: what each one in flight adds, queueing taken
    /// out. Zero before the first response.
    pub each: Duration,
}

/// A remembered reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Index of the member.
    pub(crate) member: usize,
    /// When it came, in ticks of 2¹⁶ ns.
    pub(crate) ticks: u64,
    /// In the unit of who keeps it.
    pub(crate) latency: u32,
    /// In flight, with what was sent there since on the reply's account.
    pub(crate) in_flight: u32,
    /// How often it was used.
    pub(crate) uses: u32,
}

const TICK_BITS: u32 = 16;
const MEMBER_BITS: u32 = 24;
const USES_BITS: u32 = 8;
const MEMBER_MAX: usize = (1 << MEMBER_BITS) - 2;
const IN_FLIGHT_MAX: u32 = (1 << (32 - USES_BITS)) - 1;
const USES_MAX: u32 = (1 << USES_BITS) - 1;

/// One reply in two words.
#[derive(Debug, Default)]
struct Slot {
    /// Ticks (40 bits), member + 1 (24); 0: empty. Names the reply.
    name: AtomicU64,
    /// Latency (32), in flight (24), uses (8).
    body: AtomicU64,
}

impl Slot {
    fn read(&self) -> Option<Reply> {
        let name = self.name.load(Acquire);
        let body = self.body.load(Acquire);
        if name == 0 || self.name.load(Relaxed) != name {
            return None;
        }
        Some(Reply {
            member: (name & ((1 << MEMBER_BITS) - 1)) as usize - 1,
            ticks: name >> MEMBER_BITS,
            latency: (body >> 32) as u32,
            in_flight: (body as u32) >> USES_BITS,
            uses: body as u32 & USES_MAX,
        })
    }

    fn write(&self, reply: &Reply) {
        self.name.store(0, Relaxed);
        self.body.store(body_of(reply), Release);
        self.name.store(name_of(reply), Release);
    }
}

fn name_of(reply: &Reply) -> u64 {
    reply.ticks << MEMBER_BITS | (reply.member as u64 + 1)
}

fn body_of(reply: &Reply) -> u64 {
    u64::from(reply.latency) << 32 | u64::from(reply.in_flight.min(IN_FLIGHT_MAX) << USES_BITS | reply.uses.min(USES_MAX))
}

/// The replies of a pool.
#[derive(Debug)]
pub(crate) struct Replies {
    slots: [Slot; SLOTS],
    /// The in-flight counts of the last replies, plus one; 0: none yet.
    seen: [AtomicU32; SEEN],
    /// Replies so far.
    count: AtomicU64,
    /// Above this an endpoint is hot.
    threshold: AtomicU32,
    /// Queries so far, to remove by turns.
    queries: AtomicU32,
}

impl Replies {
    pub(crate) fn new() -> Self {
        Self {
            slots: Default::default(),
            seen: std::array::from_fn(|_| AtomicU32::new(0)),
            count: AtomicU64::new(0),
            threshold: AtomicU32::new(0),
            queries: AtomicU32::new(0),
        }
    }

    /// Those that still say something, with their slots.
    pub(crate) fn fresh(&self, nanos: u64) -> impl Iterator<Item = (usize, Reply)> {
        let now = nanos >> TICK_BITS;
        let oldest = now.saturating_sub(MAX_AGE >> TICK_BITS);
        self.slots.iter().enumerate().filter_map(|(slot, words)| words.read().map(|reply| (slot, reply))).filter(
            // One that a racing worker stamped a moment later than now is as fresh as can be.
            move |(_, reply)| reply.ticks >= oldest,
        )
    }

    /// Remembers a reply, in place of the same endpoint's before it, of one that is too old, or of the oldest.
    pub(crate) fn add(&self, member: usize, latency: u32, in_flight: u32, nanos: u64) {
        if member > MEMBER_MAX {
            return;
        }
        let reply = Reply { member, ticks: nanos >> TICK_BITS, latency, in_flight, uses: 0 };
        let rank = |slot: &Slot| match slot.read() {
            None => 1,
            Some(known) if known.member == member => 0,
            Some(known) => known.ticks + 2,
        };
        if let Some(slot) = self.slots.iter().min_by_key(|slot| rank(slot)) {
            slot.write(&reply);
        }
    }

    /// Brings a remembered reply of the same endpoint up to date; used as often as it was.
    pub(crate) fn refresh(&self, member: usize, latency: u32, in_flight: u32, nanos: u64) {
        let ticks = nanos >> TICK_BITS;
        let known =
            self.slots.iter().find_map(|slot| slot.read().filter(|known| known.member == member).map(|known| (slot, known)));
        if let Some((slot, known)) = known {
            slot.write(&Reply { member, ticks, latency, in_flight, uses: known.uses });
        }
    }

    /// Takes an in-flight count into the spread that says what is hot.
    pub(crate) fn see(&self, in_flight: u32) {
        let at = self.count.fetch_add(1, Relaxed) as usize % SEEN;
        self.seen[at].store(in_flight.saturating_add(1), Relaxed);
        let mut counts = [0; SEEN];
        let mut have = 0;
        for seen in &self.seen {
            let seen = seen.load(Relaxed);
            if seen > 0 {
                counts[have] = seen - 1;
                have += 1;
            }
        }
        let rank = (have * HOT_PERCENT).div_ceil(100).saturating_sub(1);
        if have > 0 {
            self.threshold.store(*counts[..have].select_nth_unstable(rank).1, Relaxed);
        }
    }

    /// The 0.84 quantile (nearest rank) of the in-flight counts seen of late.
    pub(crate) fn threshold(&self) -> u32 {
        self.threshold.load(Relaxed)
    }

    /// A request goes out on the account of this reply: it has one more in flight, and is gone where `last` says so.
    pub(crate) fn charge(&self, slot: usize, reply: &Reply, last: bool) {
        if last {
            return self.remove(slot, reply);
        }
        let charged = Reply { in_flight: reply.in_flight + 1, uses: reply.uses + 1, ..*reply };
        // Whoever lost this race leaves a count one too low, for a second at most.
        let _ = self.slots[slot].body.compare_exchange(body_of(reply), body_of(&charged), AcqRel, Relaxed);
    }

    /// Forgets a reply, unless another stands there by now.
    pub(crate) fn remove(&self, slot: usize, reply: &Reply) {
        let _ = self.slots[slot].name.compare_exchange(name_of(reply), 0, AcqRel, Relaxed);
    }

    /// Whether this query is to remove the worst reply, or else the oldest: by turns.
    pub(crate) fn removes_worst(&self) -> bool {
        self.queries.fetch_add(1, Relaxed) % 2 == 1
    }
}

/// How often a reply may be used among this many endpoints: max(1, (1 + δ) ÷ ((1 − 16/n)·3 − 1)). Up to 24 endpoints more replies are
/// removed than a full pool gains, and once is enough: there every endpoint's reply is soon replaced by a newer one.
pub(crate) fn reuse(endpoints: usize) -> f32 {
    let gained = (1.0 - SLOTS as f32 / endpoints as f32) * PROBES as f32 - REMOVED;
    if gained > 0.0 { ((1.0 + GAIN) / gained).max(1.0) } else { 1.0 }
}

/// Response times remembered for each range of in-flight counts: the newest.
const REMEMBERED: usize = 7;
/// Ranges of in-flight counts: 0, 1, 2, 3, then four to each doubling.
const RANGES: usize = 40;

/// Time constant, in nanoseconds, in which older responses fade from what each one in flight adds.
const FADING: u64 = 1_000_000_000;

/// The answering half: what an endpoint (or a sidecar before it) keeps to answer probes with. The latency is the median over the
/// requests of late that met about as many others as there are now (§4 of the paper). One a server, for one thread or under a lock.
#[derive(Debug, Clone, Default)]
pub struct ProbeLoad {
    in_flight: u32,
    /// By the range of what was in flight on arrival: response times in nanoseconds, the newest, and how many there ever were. Each
    /// range has its own, or a server that comes out of an overload would look slow until it is asked, and not be asked.
    done: Vec<([u64; REMEMBERED], usize)>,
    /// Fading sums: response times in nanoseconds, and the requests that they met.
    took: f32,
    met: f32,
    faded: Option<Instant>,
}

impl ProbeLoad {
    /// Nothing in flight, nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request has come; says how many there were before it, for [`ProbeLoad::ended`].
    pub fn began(&mut self) -> u32 {
        self.in_flight += 1;
        self.in_flight - 1
    }

    /// A request has ended. `took`: its response time; `None` where it says nothing, as with errors and clients that went away.
    pub fn ended(&mut self, met: u32, took: Option<Duration>, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(took) = took else { return };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let age = self.faded.replace(now).map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        let kept = decay(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX), FADING);
        self.took = self.took * kept + took as f32;
        self.met = self.met * kept + met as f32 + 1.0;
        let range = range_of(met);
        if self.done.len() <= range {
            self.done.resize(range + 1, Default::default());
        }
        let (newest, count) = &mut self.done[range];
        newest[*count % REMEMBERED] = took;
        *count += 1;
    }

    /// What a probe is told now, and a response may carry along. What each adds fades over ten seconds without responses, as Peak-EWMA
    /// does: else a server that was slow once, and isn't asked since, would stay slow.
    pub fn answer(&self, now: Instant) -> ProbeAnswer {
        let silence = self.faded.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let kept = decay(u64::try_from(silence.as_nanos()).unwrap_or(u64::MAX), PEAK_DECAY);
        let each = if self.met > 0.0 { (self.took / self.met * kept) as u64 } else { 0 };
        let latency = self.at_about(self.in_flight).unwrap_or(0);
        ProbeAnswer { in_flight: self.in_flight, latency: Duration::from_nanos(latency), each: Duration::from_nanos(each) }
    }

    /// The median response time of late of those that met about so many: of the nearest range that has any, the lower of two.
    fn at_about(&self, in_flight: u32) -> Option<u64> {
        let range = range_of(in_flight);
        let known = |range: &usize| self.done.get(*range).is_some_and(|&(_, count)| count > 0);
        let below = (0..=range).rev().find(known);
        let above = (range + 1..self.done.len()).find(known);
        let nearest = match (below, above) {
            (Some(below), Some(above)) if above - range < range - below => above,
            (Some(below), _) => below,
            (None, above) => above?,
        };
        let (mut newest, count) = self.done[nearest];
        let newest = &mut newest[..count.min(REMEMBERED)];
        newest.sort_unstable();
        newest.get(newest.len() / 2).copied()
    }
}

/// The range of an in-flight count.
fn range_of(in_flight: u32) -> usize {
    if in_flight < 4 {
        return in_flight as usize;
    }
    let doublings = in_flight.ilog2();
    let quarter = (in_flight >> (doublings - 2)) & 3;
    ((doublings as usize - 1) * 4 + quarter as usize).min(RANGES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_leaves_no_trace_in_the_latency_of_an_idle_server() {
        let (mut load, now) = (ProbeLoad::new(), Instant::now());
        (0..7).for_each(|_| load.ended(0, Some(Duration::from_millis(100)), now));
        (0..200).for_each(|_| load.ended(30, Some(Duration::from_secs(2)), now));
        assert_eq!(load.answer(now).latency, Duration::from_millis(100));
        (0..30).for_each(|_| {
            load.began();
        });
        assert_eq!(load.answer(now).latency, Duration::from_secs(2));
    }

    #[test]
    fn ranges_of_in_flight_grow_without_a_gap() {
        let ranges: Vec<usize> = (0..200).map(range_of).collect();
        assert_eq!(ranges[..9], [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(ranges.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1));
        assert_eq!(range_of(u32::MAX), RANGES - 1);
    }
}
