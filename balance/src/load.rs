//! How busy an endpoint is and how quickly it answers: one record per identity of the process, whatever pools it is in. Work that
//! it gets through one pool counts in all (FEATURES A16). Atomics only; times are nanoseconds of the [`Clock`] that its book uses.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::by_id::{ById, Identified};
use crate::clock::Clock;
use crate::endpoint::Padded;
use crate::hash::key_hash;
use crate::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::sync::{Mutex, PoisonError};

/// The loads of a process by identity. Books that share one see each other's work.
#[derive(Debug, Default)]
pub struct Loads {
    records: Mutex<HashSet<ById<Load>>>,
    clock: Arc<Clock>,
    ended: Arc<Ended>,
}

/// How many requests have ended in a process. Counted from when somebody asks for it: it is one line that all workers write.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    count: Padded<AtomicU64>,
    watched: AtomicBool,
}

impl Ended {
    /// Counts from now on. Who sums up what is in flight after this call misses no end: it sees either less in flight or the count.
    pub(crate) fn watch(&self) {
        self.watched.store(true, SeqCst);
        fence(SeqCst);
    }

    /// Requests in flight, and with them those that have ended so far: a number from which [`Ended::left`] tells later how many of
    /// them are left. The ends are read first: one in the middle of the sum is then taken off twice rather than never.
    pub(crate) fn sum(&self, in_flight: impl Iterator<Item = u32>) -> u64 {
        self.count.0.load(Acquire) + in_flight.map(u64::from).sum::<u64>()
    }

    /// Of the requests in such a sum, how many are in flight now at least.
    pub(crate) fn left(&self, sum: u64) -> u64 {
        sum.saturating_sub(self.count.0.load(Acquire))
    }

    /// After the request is taken off its endpoint: an end counted too late makes a sum less the count too high for a moment, one
    /// counted too early would for good.
    fn add(&self) {
        if self.watched.load(SeqCst) {
            self.count.0.fetch_add(1, AcqRel);
        }
    }
}

impl Loads {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The record of this identity at this address, made if there is none. What is at another address than before isn't what it was.
    pub(crate) fn enter(&self, id: &Arc<str>, address: SocketAddr) -> Arc<Load> {
        let place = key_hash(address.to_string().as_bytes());
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ById(known)) = records.get(&**id)
            && known.place == place
        {
            return Arc::clone(known);
        }
        let load = Arc::new(Load::new(Arc::clone(id), place, Arc::clone(&self.ended)));
        records.replace(ById(Arc::clone(&load)));
        load
    }

    /// Drops the records that no endpoint uses.
    pub(crate) fn sweep(&self) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).retain(|load| Arc::strong_count(&load.0) > 1);
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }
}

impl Identified for Load {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The load of one identity. A cache line of its own: each worker writes it with each request.
#[derive(Debug)]
#[repr(align(64))]
pub struct Load {
    in_flight: AtomicU32,
    /// The expected cost of what is in flight, and above it how many requests that is the cost of.
    cost: AtomicU64,
    /// Peak-EWMA of the response time, as [`Average`].
    peak: AtomicU64,
    /// Plain moving average of the response time, as [`Average`].
    mean: AtomicU64,
    /// The hash of its address.
    place: u64,
    id: Arc<str>,
    ended: Arc<Ended>,
}

impl Load {
    fn new(id: Arc<str>, place: u64, ended: Arc<Ended>) -> Self {
        let (in_flight, cost) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { in_flight, cost, peak: AtomicU64::new(0), mean: AtomicU64::new(0), place, id, ended }
    }

    /// Requests (or connections) it has now, from all workers and all pools.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Acquire)
    }

    /// The expected cost, in microseconds, of what it has in flight from pools that go by costs.
    pub fn cost(&self) -> u64 {
        self.cost.load(Acquire) & (COSTED - 1)
    }

    /// Requests in flight whose cost nobody knows: those of pools that don't go by costs.
    pub(crate) fn uncosted(&self) -> u64 {
        u64::from(self.in_flight()).saturating_sub(self.cost.load(Acquire) / COSTED)
    }

    /// The Peak-EWMA of its response times in microseconds as of `nanos`: it rises at once to a slower answer and decays over
    /// [`PEAK_DECAY`], towards quicker answers while they come and towards nothing while none comes, so that whoever was slow
    /// once is tried again. `None` before the first answer. (Finagle, "Peak EWMA" load metric; Linkerd uses the same.)
    pub(crate) fn peak(&self, nanos: u64) -> Option<f32> {
        Average::unpack(self.peak.load(Relaxed)).map(|peak| peak.value * decay(peak.age(nanos), PEAK_DECAY))
    }

    /// Whether it has answered yet.
    pub(crate) fn is_known(&self) -> bool {
        self.peak.load(Relaxed) != 0
    }

    /// The moving average of its response times in microseconds and its age in nanoseconds; `None` before the first answer.
    pub(crate) fn mean(&self, nanos: u64) -> Option<(f32, u64)> {
        Average::unpack(self.mean.load(Relaxed)).map(|mean| (mean.value, mean.age(nanos)))
    }

    /// Takes the response time of one answer.
    pub(crate) fn observe(&self, micros: f32, nanos: u64) {
        update(&self.peak, micros, nanos, |before, age| {
            let kept = decay(age, PEAK_DECAY);
            let faded = before * kept;
            if micros > faded { micros } else { faded + micros * (1.0 - kept) }
        });
        update(&self.mean, micros, nanos, |before, age| {
            let kept = decay(age, MEAN_DECAY);
            before * kept + micros * (1.0 - kept)
        });
    }

    /// Takes a failed request that took so long: the answer counts as slow, or whoever fails at once would look like the quickest.
    pub(crate) fn observe_failure(&self, took: u64, nanos: u64) {
        self.observe((took as f32 / 1_000.0).max(FAILED), nanos);
    }

    pub(crate) fn ended(&self) -> &Arc<Ended> {
        &self.ended
    }

    pub(crate) fn add(&self, cost: u32) {
        self.in_flight.fetch_add(1, AcqRel);
        self.add_cost(cost);
    }

    /// Counts one more only if it may, given what is in flight now; racing workers cannot pass a bound together.
    pub(crate) fn add_if(&self, cost: u32, may: impl Fn(u32) -> bool) -> bool {
        let taken = self.in_flight.fetch_update(AcqRel, Acquire, |now| may(now).then_some(now + 1)).is_ok();
        if taken {
            self.add_cost(cost);
        }
        taken
    }

    pub(crate) fn remove(&self, cost: u32) {
        self.in_flight.fetch_sub(1, SeqCst);
        self.ended.add();
        if cost > 0 {
            self.cost.fetch_sub(COSTED + u64::from(cost), Release);
        }
    }

    fn add_cost(&self, cost: u32) {
        if cost > 0 {
            self.cost.fetch_add(COSTED + u64::from(cost), AcqRel);
        }
    }
}

/// One request in the word of costs; below it there is room for 2¹⁸ requests of the highest cost, above it for 2²⁰ requests.
const COSTED: u64 = 1 << 44;
/// What a failed request counts for, in microseconds: five seconds are worse than nearly every answer, and fade in a minute.
const FAILED: f32 = 5_000_000.0;
/// Time constant of the Peak-EWMA: 10 s, as Finagle and Linkerd have it.
pub(crate) const PEAK_DECAY: u64 = 10_000_000_000;
/// Time constant of the plain average: short enough to follow a server that changes, long enough to smooth single answers.
const MEAN_DECAY: u64 = 3_000_000_000;

/// A value and its time in one word, so that one compare-and-swap changes both. Zero: no value yet.
#[derive(Clone, Copy)]
pub(crate) struct Average {
    /// Above zero.
    pub(crate) value: f32,
    /// In ticks of 2²⁰ ns, modulo 2³² (52 days).
    ticks: u32,
}

const TICK_BITS: u32 = 20;
/// As far as a racing worker may be ahead: about a second. What seems to be later than that is old.
const AHEAD: u32 = 1 << 10;

impl Average {
    pub(crate) fn unpack(word: u64) -> Option<Self> {
        (word != 0).then_some(Self { value: f32::from_bits((word >> 32) as u32), ticks: word as u32 })
    }

    fn pack(self) -> u64 {
        u64::from(self.value.max(f32::MIN_POSITIVE).to_bits()) << 32 | u64::from(self.ticks)
    }

    /// Its age in nanoseconds; one that a racing worker stamped later than `nanos` is new.
    pub(crate) fn age(self, nanos: u64) -> u64 {
        let ticks = ((nanos >> TICK_BITS) as u32).wrapping_sub(self.ticks);
        if ticks > u32::MAX - AHEAD { 0 } else { u64::from(ticks) << TICK_BITS }
    }
}

/// Moves an average on; the first sample is taken as it is. A sample within the tick of the last one counts if it changes the
/// value, which a moving average of age zero doesn't.
pub(crate) fn update(word: &AtomicU64, first: f32, nanos: u64, next: impl Fn(f32, u64) -> f32) {
    let ticks = (nanos >> TICK_BITS) as u32;
    let _ = word.fetch_update(AcqRel, Relaxed, |before| {
        let Some(average) = Average::unpack(before) else { return Some(Average { value: first, ticks }.pack()) };
        let (age, value) = (average.age(nanos), next(average.value, average.age(nanos)));
        // An age of zero leaves the stamp alone: else answers that come quicker than ticks would never add up to one.
        let ticks = if age == 0 { average.ticks } else { ticks };
        (value != average.value || age > 0).then(|| Average { value, ticks }.pack())
    });
}

/// e^(−age/constant), as (1 + x/8)⁻⁸: within 0.033 of it everywhere, one division and no table.
pub(crate) fn decay(age: u64, constant: u64) -> f32 {
    let base = 1.0 + age as f32 / (8.0 * constant as f32);
    let squared = base * base;
    let fourth = squared * squared;
    1.0 / (fourth * fourth)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_decay_is_near_the_exponential() {
        for tenths in 0..200u64 {
            let exact = (-(tenths as f64) / 10.0).exp() as f32;
            assert!((decay(tenths * SECOND, 10 * SECOND) - exact).abs() < 0.033, "{tenths}");
        }
    }

    #[test]
    fn a_peak_rises_at_once_and_falls_over_ten_seconds() {
        let load = Load::new("a".into(), 0, Arc::default());
        assert_eq!(load.peak(0), None);
        load.observe(10_000.0, 0);
        assert_eq!(load.peak(0), Some(10_000.0));
        load.observe(80_000.0, SECOND);
        assert_eq!(load.peak(SECOND), Some(80_000.0));
        load.observe(10_000.0, 11 * SECOND);
        let after = load.peak(11 * SECOND).expect("answered");
        assert!((36_000.0..40_000.0).contains(&after), "{after}");
        assert!(load.peak(60 * SECOND).expect("answered") < 0.05 * after, "silence fades too");
    }

    #[test]
    fn what_is_days_old_is_old_and_moves_again_with_the_first_answer() {
        const HOUR: u64 = 3_600 * SECOND;
        for hours in [20, 40, 62, 90, 500, 1_200] {
            let load = Load::new("a".into(), 0, Arc::default());
            load.observe_failure(0, 0);
            assert!(load.peak(hours * HOUR).expect("answered") < 100.0, "{hours} h");
            load.observe(10_000.0, hours * HOUR);
            let (mean, age) = load.mean(hours * HOUR).expect("answered");
            assert!((9_000.0..12_000.0).contains(&mean) && age == 0, "{hours} h: {mean}");
        }
    }

    #[test]
    fn samples_quicker_than_a_tick_still_move_the_average() {
        let load = Load::new("a".into(), 0, Arc::default());
        load.observe(1_000.0, 0);
        for number in 1..200_000u64 {
            load.observe(2_000.0, number * 30_000);
        }
        let (mean, _) = load.mean(6 * SECOND).expect("answered");
        assert!(mean > 1_800.0, "{mean}");
    }

    #[test]
    fn records_live_as_long_as_their_users() {
        let loads = Loads::new();
        let id: Arc<str> = "a".into();
        let (here, there) = (([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into());
        let first = loads.enter(&id, here);
        first.add(0);
        assert_eq!(loads.enter(&id, here).in_flight(), 1);
        assert_eq!(loads.enter(&id, there).in_flight(), 0);
        loads.enter(&id, there).add(0);
        loads.sweep();
        assert_eq!(loads.enter(&id, there).in_flight(), 0);
    }
}
