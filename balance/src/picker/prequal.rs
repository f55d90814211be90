//! Prequal (FEATURES A13): hot or cold by in flight, then the quickest cold one, from replies to probes of the last second; beside it
//! a rule of our own over the same replies ([`crate::Algorithm::LeastExpectedTime`], ADR 8). Least connections where there are no
//! replies, or fewer than five endpoints. Source: Wydrowski et al., "Load is not what you should balance", NSDI 2024, §4.

use super::{Choice, Hunt, least};
use crate::endpoint::Endpoint;
use crate::pick::PickReason;
use crate::prequal::{PROBES, ProbeAnswer, Replies, Reply, SLOTS, reuse};
use crate::rng::Rng;

/// With fewer endpoints, probing tells little that own counts don't.
const FEWEST: usize = 5;
/// Failed requests count five seconds in an endpoint's mean response time: above this many microseconds most of its last ones did …
const FAILING: f32 = 1_250_000.0;
/// … if that is also so many times what its probes say.
const FAILING_RATIO: f32 = 4.0;
/// A first attempt keeps off such an endpoint for this many nanoseconds; then one request finds out.
const SHUNNED: u64 = 10_000_000_000;
/// A retry keeps off for so long: it is nobody's to find out with.
const SHUNNED_BY_RETRIES: u64 = 60_000_000_000;
/// The freshest replies that the expected time is compared among: fewer see less, more send all balancers to the same endpoint.
const FRESHEST: usize = 5;
/// The unit of what each request in flight adds.
const NANOS: u128 = 64;
/// A member's weight where it has all of a normal one's.
const FULL: u64 = 10_000;

/// How replies are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// As published.
    HotCold,
    /// The least expected response time of the freshest replies.
    ExpectedTime,
}

#[derive(Debug)]
pub(crate) struct Prequal {
    rule: Rule,
    replies: Replies,
}

/// A reply of somebody who may be picked now.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    slot: usize,
    reply: Reply,
    /// Requests by capacity with this one, 10,000 each at full weight: in flight on the reply's account, or for the expected time
    /// others' then and our own now.
    load: u64,
    /// By capacity: in microseconds, or for the expected time what each in flight adds, in units of [`NANOS`].
    latency: u64,
}

impl Prequal {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, replies: Replies::new() }
    }

    pub(crate) fn pick(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> Option<Choice> {
        let picked = match self.rule {
            _ if hunt.count() < FEWEST => None,
            Rule::HotCold => self.of_hot_and_cold(hunt, rng),
            Rule::ExpectedTime => self.of_expected_time(hunt),
        };
        match picked {
            Some(index) => Some(hunt.take(index, PickReason::Probed)),
            None => least::Least::new(2).pick(hunt, PickReason::LeastLoaded, rng),
        }
    }

    /// Up to three distinct candidates to probe after a request.
    pub(crate) fn targets(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> [Option<usize>; PROBES] {
        let count = hunt.count();
        let mut places = [usize::MAX; PROBES];
        if count < FEWEST {
            return [None; PROBES];
        }
        for n in 0..PROBES {
            // Among the places not drawn yet, passing over those that are (which stand sorted).
            let mut place = rng.below(count - n);
            places[..n].iter().for_each(|&before| place += usize::from(place >= before));
            places[n] = place;
            places[..=n].sort_unstable();
        }
        places.map(|place| Some(hunt.nth(place)))
    }

    /// Takes the answer to a probe, or with `along` what a response brought along. Published Prequal has the latter only refresh what it
    /// remembers: those that answer most have most in flight, and would make that look normal.
    pub(crate) fn probed(&self, index: usize, endpoint: &Endpoint, answer: ProbeAnswer, along: bool, nanos: u64) {
        let ProbeAnswer { in_flight, latency, each } = answer;
        match self.rule {
            Rule::HotCold if along => self.replies.refresh(index, saturated(latency.as_micros()), in_flight, nanos),
            Rule::HotCold => {
                self.replies.see(in_flight);
                self.replies.add(index, saturated(latency.as_micros()), in_flight, nanos);
            }
            Rule::ExpectedTime => {
                let others = in_flight.saturating_sub(endpoint.in_flight());
                self.replies.add(index, saturated(each.as_nanos() / NANOS), others, nanos);
            }
        }
    }

    /// Of the cold ones the quickest; where all are hot the least loaded. Then what a query does to the replies: charge, remove.
    fn of_hot_and_cold(&self, hunt: &Hunt<'_>, rng: &mut impl Rng) -> Option<usize> {
        let limit = (u64::from(self.replies.threshold()) + 1) * FULL;
        let (candidates, count) = self.candidates(hunt);
        let candidates = || candidates[..count].iter().flatten();
        let cold = candidates().filter(|candidate| candidate.load <= limit).min_by_key(|candidate| candidate.latency);
        let best = cold.or_else(|| candidates().min_by_key(|candidate| candidate.load))?;
        let last = best.reply.uses + 1 >= uses_allowed(hunt.count(), rng);
        self.replies.charge(best.slot, &best.reply, last);
        let left = || candidates().filter(|candidate| !last || candidate.slot != best.slot);
        let removed = if self.replies.removes_worst() {
            let hottest = left().filter(|candidate| candidate.load > limit).max_by_key(|candidate| candidate.load);
            hottest.or_else(|| left().max_by_key(|candidate| candidate.latency))
        } else {
            left().min_by_key(|candidate| candidate.reply.ticks)
        };
        if let Some(removed) = removed {
            self.replies.remove(removed.slot, &removed.reply);
        }
        Some(best.reply.member)
    }

    /// The least latency for each in flight × in flight, of the freshest.
    fn of_expected_time(&self, hunt: &Hunt<'_>) -> Option<usize> {
        let (mut candidates, count) = self.candidates(hunt);
        let candidates = &mut candidates[..count];
        candidates.sort_unstable_by_key(|candidate| candidate.map(|known| std::cmp::Reverse(known.reply.ticks)));
        let freshest = candidates.iter().flatten().take(FRESHEST);
        // Who hasn't answered anybody yet counts as the mean of the others: neither shunned nor flooded.
        let known = freshest.clone().filter(|candidate| candidate.latency > 0);
        let (sum, count) = known.fold((0, 0), |(sum, count), candidate| (sum + u128::from(candidate.latency), count + 1));
        let each = |candidate: &Candidate| match candidate.latency {
            0 => sum / u128::from(count.max(1u64)),
            latency => u128::from(latency),
        };
        let best = freshest.min_by_key(|candidate| each(candidate) * u128::from(candidate.load));
        best.map(|candidate| candidate.reply.member)
    }

    /// The replies that are fresh and of members that this request may go to, and how many they are.
    fn candidates(&self, hunt: &Hunt<'_>) -> ([Option<Candidate>; SLOTS], usize) {
        let mut candidates = [None; SLOTS];
        let mut count = 0;
        let may =
            |reply: &Reply| reply.member < hunt.members.len() && hunt.admits(reply.member) && is_in_scope(hunt, reply.member);
        for (slot, reply) in self.replies.fresh(hunt.nanos).filter(|(_, reply)| may(reply)) {
            candidates[count] = Some(self.weigh(hunt, slot, reply));
            count += 1;
        }
        (candidates, count)
    }

    fn weigh(&self, hunt: &Hunt<'_>, slot: usize, reply: Reply) -> Candidate {
        let member = &hunt.members[reply.member];
        let weight = u64::from(hunt.weight(reply.member));
        let known = u64::from(reply.in_flight) + 1;
        let (requests, micros) = match self.rule {
            Rule::HotCold => (known + u64::from(member.breaker().penalty(hunt.nanos)), u64::from(reply.latency)),
            Rule::ExpectedTime => {
                let requests = known + member.burden(hunt.nanos);
                (requests, u64::from(reply.latency) * requests * NANOS as u64 / 1_000)
            }
        };
        // A probe of an endpoint that fails its requests may look as good as any.
        let shunned = if hunt.args.tried.is_empty() { SHUNNED } else { SHUNNED_BY_RETRIES };
        let own = member.load().mean(hunt.nanos);
        let fails = own.is_some_and(|(mean, age)| mean > FAILING.max(FAILING_RATIO * micros as f32) && age < shunned);
        let latency = if fails { u64::from(u32::MAX) } else { u64::from(reply.latency) };
        Candidate { slot, reply, load: requests * FULL * FULL / weight, latency: latency * FULL / weight }
    }
}

/// Whether a member is one of those that this pick is about.
fn is_in_scope(hunt: &Hunt<'_>, member: usize) -> bool {
    // The own zone's come first, then the others; each part is ascending.
    let local = hunt.standing.local.clamp(hunt.scope.start, hunt.scope.end) - hunt.scope.start;
    let is_among = |mut from: usize, mut to: usize| {
        while from < to {
            let middle = (from + to) / 2;
            match hunt.nth(middle).cmp(&member) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        false
    };
    is_among(0, local) || is_among(local, hunt.count())
}

fn saturated(value: u128) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// How often a reply may be used, its fraction by chance.
fn uses_allowed(endpoints: usize, rng: &mut impl Rng) -> u32 {
    let reuse = reuse(endpoints);
    let whole = reuse as u32;
    let fraction = reuse - whole as f32;
    whole + u32::from((rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32 <= fraction && fraction > 0.0)
}
