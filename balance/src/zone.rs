//! How much stays in the balancer's own zone (FEATURES A21): as much as keeps its answers less than half as slow again as those from
//! the other zones. A balancer knows no other callers, so response times have to tell it how busy a zone is; its own requests in flight
//! tell it at once what the next answers will. One record a book, so that it outlives lists, weights and policies; atomics only.

use std::ops::Range;

use crate::endpoint::Padded;
use crate::load::{Average, decay, update};
use crate::rng::Rng;
use crate::standing::Standing;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// How much slower the own zone may be, as log₂, until an endpoint there is wanted no more than one elsewhere: 1.5 times.
const PREFERENCE: f32 = 0.585;
/// How sharply the share follows: the odds of staying go with this power of (preference × other time ÷ own time).
const SHARPNESS: f32 = 12.0;
/// Part of the requests that goes to either side whatever is known, so that something is.
const EXPLORED: f32 = 0.01;
/// Answers of both sides from which on their times decide; before, and with none, zones count by weight alone. A fresh balancer may be
/// one of hundreds that start together: it has to see that there is room before it takes it.
const KNOWN: u32 = 8;
/// One answer counts for at most 1/16 of the average …
const ANSWERS: u32 = 16;
/// … many make one over a second, so that the reaction to a change isn't quicker than the change can be seen …
const SMOOTHED: u64 = 1_000_000_000;
/// … and what is minutes old counts for little, however few answers came since.
const STALE: u64 = 60_000_000_000;
/// Requests in flight that are no sign of anything: added to what is and to what usually is.
const NOISE: f32 = 4.0;
/// A failure counts as an answer this many times as slow, as log₂, up to five seconds.
const FAILED: f32 = 3.0;
const FAILED_MOST: f32 = 32.2;

/// Where an endpoint is, seen from the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// In its zone.
    Own,
    /// In another, or in none that is known.
    Other,
}

/// What a book's requests tell about the two sides.
#[derive(Debug, Default)]
pub(crate) struct Zones {
    own: Padded<Group>,
    other: Padded<Group>,
}

/// The endpoints of a side, together.
#[derive(Debug, Default)]
struct Group {
    in_flight: AtomicU32,
    /// How many answers came, up to [`ANSWERS`].
    answers: AtomicU32,
    /// Moving average of log₂ of the response time in nanoseconds, as [`Average`]: of the logarithm, so that one answer in a thousand
    /// that takes a thousand times as long doesn't decide.
    time: AtomicU64,
    /// Moving averages of what was in flight and of the weight when answers came, two f32.
    usual: AtomicU64,
    /// The weight of its candidates at the last pick.
    weight: AtomicU32,
}

impl Zones {
    /// Whether a request stays, where the candidates have these weights. Neither is 0.
    pub(crate) fn stays(&self, own: u64, other: u64, rng: &mut impl Rng) -> bool {
        let (own, other) = (self.own.0.view(own), self.other.0.view(other));
        let random = (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
        random < share(&own, &other)
    }

    pub(crate) fn enter(&self, side: Side) {
        self.group(side).in_flight.fetch_add(1, AcqRel);
    }

    pub(crate) fn leave(&self, side: Side) {
        self.group(side).in_flight.fetch_sub(1, Release);
    }

    /// An answer that took so many nanoseconds.
    pub(crate) fn answered(&self, side: Side, took: u64, nanos: u64) {
        let time = log2(took as f32);
        self.group(side).observe(nanos, |_| time);
    }

    /// The same for a failure: it counts as slow, however quickly it came.
    pub(crate) fn failed(&self, side: Side, took: u64, nanos: u64) {
        let time = log2(took as f32);
        self.group(side).observe(nanos, |mean| (mean + FAILED).min(FAILED_MOST).max(time));
    }

    fn group(&self, side: Side) -> &Group {
        match side {
            Side::Own => &self.own.0,
            Side::Other => &self.other.0,
        }
    }
}

/// The places of the candidates that a pick is about: those of the own zone or the others', where both have some.
pub(crate) fn scope(zones: &Zones, standing: &Standing, rng: &mut impl Rng) -> Range<usize> {
    let (own, all) = (standing.local_weight, standing.weight);
    if own == 0 || own == all {
        return standing.all();
    }
    if zones.stays(own, all - own, rng) { standing.own() } else { standing.elsewhere() }
}

/// A group as a pick sees it.
#[derive(Debug, Clone, Copy)]
struct View {
    weight: f32,
    usual_weight: f32,
    in_flight: f32,
    usual_in_flight: f32,
    time: f32,
    answers: u32,
}

impl Group {
    fn view(&self, weight: u64) -> View {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        if self.weight.load(Relaxed) != weight {
            self.weight.store(weight, Relaxed);
        }
        let (usual_in_flight, usual_weight) = unpack(self.usual.load(Relaxed));
        View {
            weight: weight as f32,
            usual_weight,
            in_flight: self.in_flight.load(Acquire) as f32,
            usual_in_flight,
            time: Average::unpack(self.time.load(Relaxed)).map_or(0.0, |time| time.value),
            answers: self.answers.load(Relaxed),
        }
    }

    fn observe(&self, nanos: u64, time: impl Fn(f32) -> f32) {
        let answers = self.answers.load(Relaxed) + 1;
        if answers <= ANSWERS {
            self.answers.store(answers, Relaxed);
        }
        let age = Average::unpack(self.time.load(Relaxed)).map_or(0, |before| before.age(nanos));
        update(&self.time, time(0.0), nanos, |mean, age| mean + (time(mean) - mean) * counts_for(age, answers));
        // Both averages in one word; of two workers that meet here one is enough.
        let part = counts_for(age, answers);
        // What it leaves behind: on average what one meets that comes.
        let in_flight = self.in_flight.load(Relaxed).saturating_sub(1) as f32;
        let weight = self.weight.load(Relaxed) as f32;
        let (usual_in_flight, usual_weight) = unpack(self.usual.load(Relaxed));
        let usual = (usual_in_flight + (in_flight - usual_in_flight) * part, usual_weight + (weight - usual_weight) * part);
        self.usual.store(pack(usual), Relaxed);
    }
}

/// The part that a new answer has in an average of this age.
fn counts_for(age: u64, answers: u32) -> f32 {
    let steady = (1.0 - decay(age, SMOOTHED)).min(1.0 / ANSWERS as f32).max(1.0 - decay(age, STALE));
    if answers < ANSWERS { steady.max(1.0 / answers as f32) } else { steady }
}

/// The part of the requests that stays.
fn share(own: &View, other: &View) -> f32 {
    let by_weight = own.weight / (own.weight + other.weight);
    let known = own.answers.min(other.answers).min(KNOWN) as f32 / KNOWN as f32;
    if known == 0.0 {
        return by_weight;
    }
    // A side that lost endpoints loses their part of the requests at once, and by the square, so that hundreds of balancers don't all
    // try out at full load what is left; its times then say how much that can take.
    let left = own.left() / other.left();
    let odds = own.weight / other.weight * left * left;
    let odds = odds * exp2(SHARPNESS * (PREFERENCE + other.expected() - own.expected()));
    let by_time = (odds / (1.0 + odds)).clamp(EXPLORED, 1.0 - EXPLORED);
    by_weight + (by_time - by_weight) * known
}

impl View {
    /// log₂ of the time that the next answer will take: what they take, and longer if more is in flight than was then.
    fn expected(&self) -> f32 {
        self.time + log2((self.in_flight + NOISE) / (self.usual_in_flight + NOISE))
    }

    /// The part of its usual weight that is left, at least a hundredth.
    fn left(&self) -> f32 {
        if self.usual_weight > self.weight { (self.weight / self.usual_weight).max(0.01) } else { 1.0 }
    }
}

fn pack((first, second): (f32, f32)) -> u64 {
    u64::from(first.to_bits()) << 32 | u64::from(second.to_bits())
}

fn unpack(word: u64) -> (f32, f32) {
    (f32::from_bits((word >> 32) as u32), f32::from_bits(word as u32))
}

/// Within 0.01 of log₂ x for x ≥ 2⁻¹²⁶, 0 for 0: the exponent, and a parabola through 1, √2 and 2. The same on every machine.
fn log2(x: f32) -> f32 {
    if x < f32::MIN_POSITIVE {
        return 0.0;
    }
    let bits = x.to_bits();
    let mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    ((bits >> 23) as f32 - 127.0) + (2.0 - mantissa / 3.0) * mantissa - 5.0 / 3.0
}

/// Within 0.4 % of 2ˣ for |x| ≤ 60, and for others that of the nearest such.
fn exp2(x: f32) -> f32 {
    let x = x.clamp(-60.0, 60.0);
    let whole = x.floor();
    let part = x - whole;
    f32::from_bits(((whole as i32 + 127) as u32) << 23) * (1.0 + part * (0.6565 + 0.3435 * part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Algorithm, Book, Config, EndpointSpec, Health, Outcome, PickArgs, Pool, SmallRng};

    const MILLISECOND: u64 = 1_000_000;

    /// A group of this weight whose answers take so many milliseconds, with what is usual in flight.
    fn group(weight: f32, millis: f32) -> View {
        let time = log2(millis * MILLISECOND as f32);
        View { weight, usual_weight: weight, in_flight: 8.0, usual_in_flight: 8.0, time, answers: ANSWERS }
    }

    #[test]
    fn logarithms_and_powers_are_near_the_exact_ones() {
        for step in 1..4_000 {
            let x = step as f32 * 0.37;
            assert!((log2(x) - x.log2()).abs() < 0.01, "{x}");
            let y = (x - 700.0) / 12.0;
            assert!((exp2(y) / y.clamp(-60.0, 60.0).exp2() - 1.0).abs() < 0.004, "{y}");
        }
        assert_eq!((log2(0.0), log2(1.0), log2(8.0), exp2(0.0), exp2(-3.0)), (0.0, 0.0, 3.0, 1.0, 0.125));
    }

    #[test]
    fn a_zone_as_quick_as_the_others_keeps_nearly_all() {
        assert!(share(&group(2.0, 40.0), &group(13.0, 40.0)) > 0.94);
        assert!(share(&group(10.0, 40.0), &group(5.0, 40.0)) > 0.98);
    }

    #[test]
    fn a_zone_half_as_slow_again_gets_its_weight_and_a_slower_one_hardly_anything() {
        let other = group(13.0, 40.0);
        assert!((share(&group(2.0, 60.0), &other) - 2.0 / 15.0).abs() < 0.02);
        assert!(share(&group(2.0, 120.0), &other) < 0.02);
    }

    #[test]
    fn nothing_is_left_without_requests() {
        assert!(share(&group(2.0, 4_000.0), &group(13.0, 40.0)) > 0.99 * EXPLORED);
        assert!(share(&group(2.0, 40.0), &group(13.0, 4_000.0)) < 1.0 - 0.99 * EXPLORED);
    }

    #[test]
    fn more_in_flight_than_usual_spills_before_the_answers_come() {
        let busy = View { in_flight: 20.0, ..group(2.0, 40.0) };
        assert!(share(&busy, &group(13.0, 40.0)) < 0.13);
    }

    #[test]
    fn until_both_sides_are_known_weights_weigh_in() {
        let (own, other) = (group(2.0, 40.0), group(13.0, 40.0));
        assert_eq!(share(&View { answers: 0, ..own }, &other), 2.0 / 15.0);
        assert_eq!(share(&own, &View { answers: 0, ..other }), 2.0 / 15.0);
        let half = share(&View { answers: KNOWN / 2, ..own }, &other);
        assert!((half - (2.0 / 15.0 + share(&own, &other)) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_zone_that_loses_endpoints_loses_their_part_at_once() {
        let (own, other) = (group(10.0, 60.0), group(5.0, 40.0));
        let left = View { weight: 5.0, ..own };
        // Half as slow again, an endpoint gets as much as one elsewhere: half of the requests, and of those odds a quarter.
        assert!((share(&own, &other) - 2.0 / 3.0).abs() < 0.05);
        assert!((share(&left, &other) - 0.2).abs() < 0.04);
    }

    proptest! {
        #[test]
        fn a_share_is_a_part_whatever_was_seen(
            own in any::<[u32; 6]>(),
            other in any::<[u32; 6]>(),
        ) {
            let view = |seen: [u32; 6]| View {
                weight: (seen[0] as f32).max(1.0),
                usual_weight: seen[1] as f32,
                in_flight: seen[2] as f32,
                usual_in_flight: seen[3] as f32,
                time: seen[4] as f32 / u32::MAX as f32 * 64.0,
                answers: seen[5] % (ANSWERS + 1),
            };
            let share = share(&view(own), &view(other));
            prop_assert!((0.0..=1.0).contains(&share), "{share}");
        }
    }

    #[test]
    fn one_answer_in_a_thousand_that_hangs_does_not_decide() {
        let zones = Zones::default();
        for n in 0..2_000u64 {
            let took = if n % 1_000 == 999 { 40_000 } else { 40 };
            zones.answered(Side::Own, took * MILLISECOND, n * MILLISECOND);
            zones.answered(Side::Other, 40 * MILLISECOND, n * MILLISECOND);
        }
        assert!(share(&zones.own.0.view(2), &zones.other.0.view(13)) > 0.9);
    }

    #[test]
    fn failures_count_as_slow_however_quick() {
        let zones = Zones::default();
        for n in 0..2_000u64 {
            zones.answered(Side::Other, 40 * MILLISECOND, n * MILLISECOND);
            match n % 2 {
                0 => zones.answered(Side::Own, 40 * MILLISECOND, n * MILLISECOND),
                _ => zones.failed(Side::Own, MILLISECOND, n * MILLISECOND),
            }
        }
        assert!(share(&zones.own.0.view(10), &zones.other.0.view(5)) < 0.05);
        (0..2_000).for_each(|n| zones.failed(Side::Other, MILLISECOND, 2_000 * MILLISECOND + n * MILLISECOND));
        assert!(zones.other.0.view(5).time <= FAILED_MOST, "a failure is worth at most five seconds");
    }

    #[test]
    fn what_is_in_flight_returns_to_nothing() {
        let book = Book::new();
        let start = std::time::Instant::now();
        let spec = |number: usize| EndpointSpec {
            id: number.to_string(),
            ring_key: number.to_string(),
            address: ([10, 0, 0, 1], number as u16).into(),
            weight: 100,
            zone: (number < 3).then(|| "a".to_owned()),
            priority: 0,
            health: Health::Usable,
        };
        let members: Vec<_> = (0..5).map(|number| book.enter(spec(number), start)).collect();
        let config = Config { zone: Some("a".to_owned()), ..Config::new(Algorithm::Random) };
        let pool = Pool::try_new(config, members.clone(), 1).expect("a pool");
        let zones = &members[0].shared().zones;
        let counts = || [&zones.own.0, &zones.other.0].map(|group| group.in_flight.load(Acquire));
        let mut rng = SmallRng::new(1);
        let mut leases: Vec<_> =
            (0..100).map(|_| pool.pick(PickArgs::default(), start, &mut rng).expect("a pick").lease).collect();
        assert_eq!(counts().iter().sum::<u32>(), 100);
        assert_eq!(counts()[0], members[..3].iter().map(|member| member.in_flight()).sum::<u32>());
        for (n, lease) in leases.iter_mut().enumerate() {
            let outcome = [Outcome::Success, Outcome::Cancelled, Outcome::ServerError][n % 3];
            pool.report(lease, outcome, start);
        }
        leases.clear();
        assert_eq!(counts(), [0, 0]);
    }
}
