//! The algorithms behind one enum and one match. Each lives in its own file, sees a pool only through a [`Hunt`],
//! and takes neither a lock nor memory.

pub(crate) mod bounded;
pub(crate) mod consistent;
pub(crate) mod cost;
pub(crate) mod draw;
pub(crate) mod learned;
pub(crate) mod least;
pub(crate) mod maglev;
pub(crate) mod owners;
pub(crate) mod packing;
pub(crate) mod prequal;
pub(crate) mod random;
pub(crate) mod rendezvous;
pub(crate) mod response_time;
pub(crate) mod ring;
pub(crate) mod round_robin;
pub(crate) mod stride;

use std::ops::Range;
use std::sync::Arc;

use crate::breaker::Claim;
use crate::config::BuildError;
use crate::endpoint::Endpoint;
use crate::lease::InFlight;
use crate::pick::{Pick, PickArgs, PickReason};
use crate::rng::Rng;
use crate::slow_start::SlowStart;
use crate::standing::{Cache, Mode, Standing};
use crate::zone::Side;

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn; where weights differ, in turn by weight.
    RoundRobin,
    /// At random by weight.
    Random,
    /// The least in-flight per weight among `choice_count` distinct draws; 0: among all.
    LeastConnections {
        /// Distinct draws; 0 means all.
        choice_count: u32,
    },
    /// The least Peak-EWMA of the response time × (in flight + 1) per weight among `choice_count` distinct draws; 0: among all.
    LeastResponseTime {
        /// Distinct draws; 0 means all.
        choice_count: u32,
    },
    /// The least expected cost in flight per weight among `choice_count` distinct draws; 0: among all. Wants
    /// [`crate::PickArgs::class`], without it every request costs the mean.
    LeastCost {
        /// Distinct draws; 0 means all.
        choice_count: u32,
    },
    /// In turn, by weight ÷ mean response time.
    ResponseTimeWeighted,
    /// In turn, by the weight that endpoints report.
    ReportedWeighted,
    /// The first in canonical order that has fewer than `limit` requests in flight; where none has, the least loaded.
    Packing {
        /// Requests in flight on an endpoint of weight 100.
        limit: u32,
    },
    /// By replies to probes: of those with fewer in flight than most the quickest (Prequal). Wants [`crate::Pool::probed`].
    Prequal,
    /// By replies to probes: the least expected response time of the freshest. Wants [`crate::Pool::probed`].
    LeastExpectedTime,
    /// The owner of the request's key; without a key the less loaded of two.
    ConsistentHash {
        /// Who owns what.
        table: Table,
        /// Bounded load, percent of the mean, at least 100; absent: off.
        hash_balance_factor: Option<u32>,
    },
}

impl Algorithm {
    /// What [`crate::Pool::try_new`] would say of this algorithm over members with these ring keys and weights, in any order.
    /// For who has to know before [`crate::Book::enter`] changes the live records.
    pub fn check<'a>(&self, members: impl IntoIterator<Item = (&'a str, u16)>) -> Result<(), BuildError> {
        match *self {
            Self::RoundRobin
            | Self::Random
            | Self::LeastConnections { .. }
            | Self::LeastResponseTime { .. }
            | Self::ResponseTimeWeighted
            | Self::ReportedWeighted
            | Self::Prequal
            | Self::LeastExpectedTime
            | Self::LeastCost { .. }
            | Self::Packing { .. } => Ok(()),
            Self::ConsistentHash { table, hash_balance_factor } => consistent::check(table, hash_balance_factor, members),
        }
    }
}

/// The consistent table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// A ring of points.
    Ring {
        /// Points of an endpoint of weight 100.
        virtual_nodes: u32,
    },
    /// A Maglev table: evener than a ring and quicker, but an endpoint that comes or goes moves some keys among the others.
    Maglev {
        /// Slots: a prime up to 5,000,011, best 100 times the endpoints or more.
        size: u32,
    },
    /// Each endpoint draws for the key and the best wins: exact shares, least memory, and a pick asks them all; up to 1,000.
    Rendezvous,
}

impl Table {
    /// A Maglev table of the size that its paper uses.
    pub const MAGLEV: Self = Self::Maglev { size: 65_537 };
}

/// An algorithm with its derived tables.
#[derive(Debug)]
pub(crate) enum Picker {
    RoundRobin(round_robin::RoundRobin),
    Random(random::Random),
    Least(least::Least),
    ResponseTime(response_time::ResponseTime),
    Learned(learned::Learned),
    Packing(packing::Packing),
    Cost(cost::Cost),
    Prequal(Box<prequal::Prequal>),
    Consistent(consistent::Consistent),
}

impl Picker {
    /// `members` are in canonical order.
    pub(crate) fn try_new(algorithm: &Algorithm, members: &[Arc<Endpoint>], seed: u64) -> Result<Self, BuildError> {
        if let Some(first) = members.first() {
            first.shared().turn.0.start(seed);
        }
        Ok(match *algorithm {
            Algorithm::RoundRobin => Self::RoundRobin(round_robin::RoundRobin),
            Algorithm::Random => Self::Random(random::Random),
            Algorithm::LeastResponseTime { choice_count } => Self::ResponseTime(response_time::ResponseTime::new(choice_count)),
            Algorithm::ResponseTimeWeighted => Self::Learned(learned::Learned::new(learned::Source::ResponseTime, members.len())),
            Algorithm::ReportedWeighted => Self::Learned(learned::Learned::new(learned::Source::Reported, members.len())),
            Algorithm::Prequal => Self::Prequal(Box::new(prequal::Prequal::new(prequal::Rule::HotCold))),
            Algorithm::LeastExpectedTime => Self::Prequal(Box::new(prequal::Prequal::new(prequal::Rule::ExpectedTime))),
            Algorithm::LeastCost { choice_count } => Self::Cost(cost::Cost::new(choice_count, members)),
            Algorithm::Packing { limit } => Self::Packing(packing::Packing::new(limit)),
            Algorithm::LeastConnections { choice_count } => Self::Least(least::Least::new(choice_count)),
            Algorithm::ConsistentHash { table, hash_balance_factor } => {
                Self::Consistent(consistent::Consistent::try_new(table, hash_balance_factor, members)?)
            }
        })
    }

    /// The choice; `None` where every candidate was tried. A due probing request goes before it, but by a table only to a key of the
    /// ejected endpoint's own: that is the walk's to see.
    pub(crate) fn pick(&self, hunt: &Hunt<'_>, key: Option<u64>, rng: &mut impl Rng) -> Option<Choice> {
        let walks = matches!((self, key), (Self::Consistent(_), Some(_)));
        if !walks && let Some(probe) = hunt.due_probe(rng) {
            return Some(probe);
        }
        match (self, key) {
            (Self::RoundRobin(turn), _) => turn.pick(hunt, rng),
            (Self::Random(random), _) => random.pick(hunt, rng),
            (Self::ResponseTime(least), _) => least.pick(hunt, rng),
            (Self::Learned(learned), _) => learned.pick(hunt, rng),
            (Self::Packing(packing), _) => packing.pick(hunt, rng),
            (Self::Cost(cost), _) => cost.pick(hunt, rng),
            (Self::Prequal(prequal), _) => prequal.pick(hunt, rng),
            (Self::Least(least), _) => least.pick(hunt, PickReason::LeastLoaded, rng),
            (Self::Consistent(table), Some(key)) => table.pick(hunt, key, rng),
            (Self::Consistent(_), None) => least::Least::new(2).pick(hunt, PickReason::Fallback, rng),
        }
    }

    /// The consistent table, if it has one.
    pub(crate) fn table(&self) -> Option<&consistent::Consistent> {
        match self {
            Self::Consistent(table) => Some(table),
            _ => None,
        }
    }

    /// Whether it can choose in a part of the candidates alone; tables and replies to probes are about all.
    pub(crate) fn knows_zones(&self) -> bool {
        !matches!(self, Self::Consistent(_) | Self::Prequal(_))
    }

    /// The candidates in the order in which the attempts of one request would get them.
    pub(crate) fn order(&self, hunt: &Hunt<'_>, key: Option<u64>) -> Vec<usize> {
        match (self, key) {
            (Self::Consistent(table), Some(key)) => {
                table.sequence(key, hunt.members.len()).filter(|&index| hunt.admits(index)).collect()
            }
            (Self::ResponseTime(_), _) => draw::order(hunt, response_time::score),
            (Self::Cost(cost), _) => cost.order(hunt),
            _ => draw::order(hunt, least::score),
        }
    }
}

/// How many ejected endpoints a pick looks at for a due probing request.
const LOOKS: usize = 4;

/// Whom a pick is for. Small enough for two registers; [`crate::Pool::pick`] makes the lease of it, so it may not be thrown away.
#[derive(Debug)]
#[must_use]
pub(crate) struct Choice {
    /// The probing request that it is.
    pub(crate) claim: Option<Claim>,
    /// The member.
    pub(crate) index: u32,
    pub(crate) reason: PickReason,
    /// It counts on the endpoint already.
    pub(crate) counted: bool,
}

/// One pick's view of its pool. What it is made of is lent, not copied: copies of what was just written are what a pick waits for.
pub(crate) struct Hunt<'a> {
    pub(crate) members: &'a [Arc<Endpoint>],
    pub(crate) cache: &'a Cache,
    pub(crate) standing: &'a Standing,
    /// The places of the standing's list that this pick is about: all candidates, or those of a zone.
    pub(crate) scope: Range<usize>,
    /// The own zone, where it is preferred now.
    pub(crate) zone: Option<&'a str>,
    /// Where it makes a difference now.
    pub(crate) slow_start: Option<&'a SlowStart>,
    pub(crate) args: &'a PickArgs<'a>,
    /// What the request's class is expected to cost.
    pub(crate) cost: u32,
    /// The most that an endpoint may have in flight; [`u32::MAX`]: no limit.
    pub(crate) limit: u32,
    /// Now, on the book's clock.
    pub(crate) nanos: u64,
}

impl Hunt<'_> {
    /// How many candidates there are to choose from; one of them may have been tried, or have gone since they were counted.
    pub(crate) fn count(&self) -> usize {
        self.scope.len()
    }

    /// The member that the n-th of them is, n below [`Hunt::count`].
    pub(crate) fn nth(&self, n: usize) -> usize {
        self.cache.member(self.standing, self.scope.start + n)
    }

    /// Whether a member is a candidate now that has room and that this request hasn't tried. Of a subset or zone it doesn't know.
    #[inline]
    pub(crate) fn admits(&self, index: usize) -> bool {
        self.is_eligible(index) && self.has_room(index)
    }

    /// The same, whether it has room or not.
    #[inline]
    pub(crate) fn is_eligible(&self, index: usize) -> bool {
        self.is_candidate(index) && !self.was_tried(&self.members[index])
    }

    /// Whether a member may take one more request. Another worker may be quicker; [`Hunt::within_limit`] finds out.
    #[inline]
    pub(crate) fn has_room(&self, index: usize) -> bool {
        !self.is_limited() || self.members[index].in_flight() < self.limit
    }

    /// Whether somebody would be picked if he had room.
    #[cold]
    pub(crate) fn is_saturated(&self) -> bool {
        self.is_limited() && (0..self.count()).any(|n| self.is_eligible(self.nth(n)))
    }

    /// Whether a member is a candidate now, tried or not.
    pub(crate) fn is_candidate(&self, index: usize) -> bool {
        let member = &self.members[index];
        self.standing.mode.admits(member) && member.priority() <= self.standing.depth
    }

    /// The book's count of changes now.
    pub(crate) fn epoch(&self) -> u64 {
        self.members.first().map_or(0, |member| member.shared().epoch())
    }

    /// A member's weight now, in hundredths of a percent.
    pub(crate) fn weight(&self, index: usize) -> u32 {
        self.members[index].effective_weight(self.slow_start, self.nanos)
    }

    /// Whose turn it is in all snapshots of the book; `None` without members.
    pub(crate) fn turn(&self) -> Option<&stride::Turn> {
        self.members.first().map(|first| &first.shared().turn.0)
    }

    /// The probing request that a member is due. A request that has failed once already isn't made a guinea pig.
    pub(crate) fn probe(&self, index: usize) -> Option<Choice> {
        if self.args.tried.is_empty() { self.probe_at_last(index) } else { None }
    }

    /// One that some ejected endpoint is due; looks at a few from a random place on.
    fn due_probe(&self, rng: &mut impl Rng) -> Option<Choice> {
        let ejected = self.standing.ejected;
        if ejected == 0 || !self.args.tried.is_empty() {
            return None;
        }
        let first = rng.below(ejected);
        self.ejected().cycle().skip(first).take(LOOKS.min(ejected)).find_map(|index| self.probe(index))
    }

    /// The same when nothing else is left, at whatever ejected endpoint.
    pub(crate) fn any_probe(&self) -> Option<Choice> {
        self.ejected().find_map(|index| self.probe_at_last(index))
    }

    /// The least loaded of all members that are candidates now, on a list or not. O(members).
    #[cold]
    pub(crate) fn any_candidate(&self, rng: &mut impl Rng) -> Option<Choice> {
        let admitted = (0..self.members.len()).filter(|&index| self.admits(index));
        draw::best_of(self, admitted, &least::score, rng).map(|index| self.take(index, PickReason::LeastLoaded))
    }

    fn ejected(&self) -> impl Iterator<Item = usize> + Clone {
        let from = self.standing.candidates;
        (from..from + self.standing.ejected).map(|place| self.cache.member(self.standing, place))
    }

    fn probe_at_last(&self, index: usize) -> Option<Choice> {
        let member = &self.members[index];
        if self.standing.mode != Mode::Normal || member.is_closed() || !Mode::Spared.admits(member) || self.was_tried(member) {
            return None;
        }
        if !self.has_room(index) {
            return None;
        }
        let claim = Some(member.breaker().claim(self.nanos)?);
        Some(Choice { claim, index: index as u32, reason: PickReason::Probe, counted: false })
    }

    /// Takes a candidate.
    pub(crate) fn take(&self, index: usize, reason: PickReason) -> Choice {
        Choice { claim: None, index: index as u32, reason, counted: false }
    }

    /// Takes a candidate if it may, given what it has in flight; racing workers cannot pass a bound together.
    pub(crate) fn take_if(&self, index: usize, reason: PickReason, may: impl Fn(u32) -> bool) -> Option<Choice> {
        let counted = self.members[index].load().add_if(self.cost, |in_flight| in_flight < self.limit && may(in_flight));
        counted.then_some(Choice { claim: None, index: index as u32, reason, counted })
    }

    /// Whether endpoints have a limit.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.limit != u32::MAX
    }

    /// The choice, counted where there is a limit; `None` if other workers have taken what room there was.
    #[inline]
    pub(crate) fn within_limit(&self, choice: Choice) -> Option<Choice> {
        if self.is_limited() { self.reserve(choice) } else { Some(choice) }
    }

    #[cold]
    fn reserve(&self, choice: Choice) -> Option<Choice> {
        let member = &self.members[choice.index as usize];
        if choice.counted || member.load().add_if(self.cost, |in_flight| in_flight < self.limit) {
            return Some(Choice { counted: true, ..choice });
        }
        choice.claim.into_iter().for_each(|claim| member.breaker().release(claim));
        None
    }

    /// The lease of a choice. Its name is what the algorithm says, unless the mode is the bigger news; an ejected endpoint that is
    /// used all the same gets its due probing request along, so that good answers restore it.
    #[inline]
    pub(crate) fn lease(&self, choice: Choice) -> Pick {
        let Choice { mut claim, index, mut reason, counted } = choice;
        let member = &self.members[index as usize];
        if !counted {
            member.load().add(self.cost);
        }
        match self.standing.mode {
            Mode::Normal | Mode::Unwatched | Mode::Nobody => {}
            Mode::LastResort => reason = PickReason::LastResort,
            Mode::Spared | Mode::Panic => {
                claim = member.breaker().claim(self.nanos);
                reason = PickReason::Panic;
            }
        }
        let mut lease = InFlight::counted(member, self.args.class, self.cost, self.nanos, claim);
        if let Some(zone) = self.zone {
            let side = if member.zone() == Some(zone) { Side::Own } else { Side::Other };
            lease.enter(side);
            if side == Side::Other && reason != PickReason::Probe {
                reason = PickReason::Spill;
            }
        }
        Pick { lease, reason }
    }

    fn was_tried(&self, member: &Arc<Endpoint>) -> bool {
        self.args.tried.iter().any(|tried| Arc::ptr_eq(tried, member))
    }
}
