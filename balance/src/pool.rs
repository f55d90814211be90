//! A pool as an immutable snapshot: members in canonical order, configuration, derived tables. Picks take no lock and no memory;
//! all that lives is on the endpoints. A new list, weight or policy is a new pool over the same records.

use std::sync::Arc;
use std::time::Instant;

use crate::breaker::{EjectReason, Outcome, Passive, Transition, Wish};
use crate::clock::nanos_since;
use crate::config::{BuildError, Config};
use crate::endpoint::{Endpoint, Health, Shared};
use crate::lease::InFlight;
use crate::pick::{NoEndpoint, Pick, PickArgs};
use crate::picker::{Choice, Hunt, Picker};
use crate::prequal::ProbeAnswer;
use crate::rng::{Rng, SmallRng};
use crate::standing::{Cache, Mode, Ranking, Rules, Standing};
use crate::subset;
use crate::sync::{Mutex, PoisonError};
use crate::zone;

/// How often one pick starts again because health changed under it.
const MAX_RECOUNTS: usize = 4;
/// Members that are looked up by their pointers before their names are compared.
const BY_POINTER: usize = 256;

/// How a member stands in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// Its weight now, in hundredths of a percent: 10,000 is a normal endpoint that isn't new.
    pub weight: u32,
    /// It may be picked: its health, its breaker, its priority and the balancer's subset allow it.
    pub candidate: bool,
}

/// A snapshot.
#[derive(Debug)]
pub struct Pool {
    config: Config,
    members: Vec<Arc<Endpoint>>,
    picker: Picker,
    rules: Rules,
    cache: Cache,
    /// What the members' book shares; absent without members.
    shared: Option<Arc<Shared>>,
    /// The origin of its clock.
    origin: Option<Instant>,
    /// Held while an ejection is decided, so that the cap holds among workers; draws its jitter.
    ejecting: Mutex<SmallRng>,
}

impl Pool {
    /// Builds a snapshot; the order of `members` doesn't matter. `seed` sets where round robin starts and how ejections jitter.
    pub fn try_new(config: Config, mut members: Vec<Arc<Endpoint>>, seed: u64) -> Result<Self, BuildError> {
        members.sort_unstable_by(|a, b| (a.ring_key(), a.id()).cmp(&(b.ring_key(), b.id())));
        config.check()?;
        for member in &members {
            if !(1..=1000).contains(&member.weight()) {
                return Err(BuildError::Weight { id: member.id().to_owned(), weight: member.weight() });
            }
            if !Arc::ptr_eq(member.shared(), members[0].shared()) {
                return Err(BuildError::TwoBooks);
            }
        }
        let mut ids: Vec<&str> = members.iter().map(|member| member.id()).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BuildError::DuplicateId { id: pair[0].to_owned() });
        }
        let picker = Picker::try_new(&config.algorithm, &members, seed)?;
        let rules = Rules {
            panic_threshold: config.panic_threshold,
            watched: config.passive.is_some(),
            slow_start: config.slow_start,
            zone: config.zone.as_deref().filter(|_| picker.knows_zones()).map(Into::into),
            subset: config.subset.map(|subset| Ranking::new(subset::ranking(subset.seed, &members), subset.size as usize)),
        };
        let shared = members.first().map(|member| Arc::clone(member.shared()));
        let cache = Cache::new(&members, &rules, shared.as_ref().map_or(0, |shared| shared.epoch()));
        // Entering its first member has started the clock.
        let origin = shared.as_ref().and_then(|shared| shared.clock.origin());
        Ok(Self { config, members, picker, rules, cache, shared, origin, ejecting: Mutex::new(SmallRng::new(seed)) })
    }

    /// Chooses an endpoint and counts the request on it.
    pub fn pick(&self, args: PickArgs<'_>, now: Instant, rng: &mut impl Rng) -> Result<Pick, NoEndpoint> {
        let (Some(shared), Some(origin)) = (&self.shared, self.origin) else { return Err(NoEndpoint::Empty) };
        let nanos = nanos_since(origin, now);
        for _ in 0..MAX_RECOUNTS {
            let epoch = shared.epoch();
            let (standing, is_old) = self.cache.get(epoch, &self.members, &self.rules);
            let mut hunt = self.hunt(&standing, &args, nanos);
            if hunt.zone.is_some() {
                hunt.scope = zone::scope(&shared.zones, &standing, rng);
            }
            if let Some(choice) = self.picker.pick(&hunt, args.key, rng) {
                let Some(choice) = hunt.within_limit(choice) else { continue };
                return Ok(hunt.lease(choice));
            }
            if let Some(choice) = self.pick_anywhere(&mut hunt, rng) {
                let Some(choice) = hunt.within_limit(choice) else { continue };
                return Ok(hunt.lease(choice));
            }
            if is_old && let Some(pick) = self.pick_unlisted(&args, nanos, rng) {
                return Ok(pick);
            }
            // The last candidate may go away in the middle of a pick: then others are candidates now.
            if shared.epoch() == epoch {
                break;
            }
        }
        Err(self.why_nobody(&args, nanos))
    }

    #[cold]
    fn why_nobody(&self, args: &PickArgs<'_>, nanos: u64) -> NoEndpoint {
        let standing = self.standing();
        if self.hunt(&standing, args, nanos).is_saturated() {
            NoEndpoint::Saturated
        } else if args.tried.is_empty() || standing.mode == Mode::Nobody {
            NoEndpoint::NoneUsable
        } else {
            NoEndpoint::AllTried
        }
    }

    /// The candidates from the least to the most loaded, or with a key in the order of its owners (FEATURES A17). Allocates; a retry is
    /// a pick with `tried`, which takes the algorithm's next.
    pub fn candidates(&self, args: PickArgs<'_>, now: Instant) -> Vec<Arc<Endpoint>> {
        let Some(origin) = self.origin else { return Vec::new() };
        let standing = self.standing();
        let hunt = self.hunt(&standing, &args, nanos_since(origin, now));
        self.picker.order(&hunt, args.key).into_iter().map(|index| Arc::clone(&self.members[index])).collect()
    }

    fn hunt<'a>(&'a self, standing: &'a Standing, args: &'a PickArgs<'a>, nanos: u64) -> Hunt<'a> {
        let slow_start = self.config.slow_start.as_ref().filter(|_| standing.is_warming(nanos));
        let scope = standing.all();
        let zone = self.rules.zone.as_deref().filter(|_| standing.is_normal());
        let cost = match (&self.picker, &self.shared) {
            (Picker::Cost(_), Some(shared)) => shared.costs.get().map_or(0, |costs| costs.expected(args.class)),
            _ => 0,
        };
        let limit = self.config.endpoint_limit.unwrap_or(u32::MAX);
        Hunt { members: &self.members, cache: &self.cache, standing, scope, zone, slow_start, args, cost, limit, nanos }
    }

    /// The least loaded of whoever may be picked by now: for one who found nobody on an old list while another worker counts anew.
    #[cold]
    fn pick_unlisted(&self, args: &PickArgs<'_>, nanos: u64, rng: &mut impl Rng) -> Option<Pick> {
        let standing = self.cache.live(&self.members, &self.rules);
        let hunt = self.hunt(&standing, args, nanos);
        let choice = hunt.within_limit(hunt.any_candidate(rng)?)?;
        Some(hunt.lease(choice))
    }

    /// The choice among all zones, where the one that was asked has nobody for the request; else whatever ejected endpoint is due a
    /// probing one.
    #[cold]
    fn pick_anywhere(&self, hunt: &mut Hunt<'_>, rng: &mut impl Rng) -> Option<Choice> {
        hunt.scope = hunt.standing.all();
        let elsewhere = if hunt.zone.is_some() { self.picker.pick(hunt, hunt.args.key, rng) } else { None };
        elsewhere.or_else(|| hunt.any_probe())
    }

    /// How each of [`Self::members`] stands now, in the same order. Allocates: for people, not for picks.
    pub fn stands(&self, now: Instant) -> Vec<Stand> {
        let Some(origin) = self.origin else { return Vec::new() };
        let (standing, args) = (self.standing(), PickArgs::default());
        let hunt = self.hunt(&standing, &args, nanos_since(origin, now));
        let stand = |index| Stand { weight: hunt.weight(index), candidate: false };
        let mut stands: Vec<Stand> = (0..self.members.len()).map(stand).collect();
        for index in (0..hunt.count()).map(|n| hunt.nth(n)) {
            stands[index].candidate = hunt.is_candidate(index);
        }
        stands
    }

    /// Whom to probe after a request: up to three distinct candidates, none where the algorithm doesn't go by probes or the pool has
    /// fewer than five (FEATURES A13). What they answer goes to [`Pool::probed`].
    pub fn probe_targets(&self, now: Instant, rng: &mut impl Rng) -> impl Iterator<Item = &Arc<Endpoint>> {
        let targets = match (&self.picker, self.origin) {
            (Picker::Prequal(prequal), Some(origin)) => {
                let (standing, args) = (self.standing(), PickArgs::default());
                prequal.targets(&self.hunt(&standing, &args, nanos_since(origin, now)), rng)
            }
            _ => Default::default(),
        };
        targets.into_iter().flatten().map(|index| &self.members[index])
    }

    /// Takes the answer to a probe. From others than members, and for an algorithm that doesn't go by probes, it is ignored.
    pub fn probed(&self, endpoint: &Endpoint, answer: ProbeAnswer, now: Instant) {
        self.take_answer(endpoint, answer, false, now);
    }

    /// Takes what an endpoint told of itself along with a response. Call it once the lease is dropped, or the request counts twice.
    pub fn told(&self, endpoint: &Endpoint, answer: ProbeAnswer, now: Instant) {
        self.take_answer(endpoint, answer, true, now);
    }

    fn take_answer(&self, endpoint: &Endpoint, answer: ProbeAnswer, along: bool, now: Instant) {
        let Picker::Prequal(prequal) = &self.picker else { return };
        // Pointers lie side by side, names all over the memory: in a small pool looking at all pointers is several times quicker.
        let near = &self.members[..self.members.len().min(BY_POINTER)];
        let found = near.iter().position(|member| std::ptr::eq(&**member, endpoint)).or_else(|| {
            let place = |member: &Arc<Endpoint>| (member.ring_key(), member.id()).cmp(&(endpoint.ring_key(), endpoint.id()));
            self.members.binary_search_by(place).ok()
        });
        if let Some(index) = found {
            prequal.probed(index, endpoint, answer, along, endpoint.shared().clock.nanos(now));
        }
    }

    /// The key's distinct owners in order, whatever their health; nothing for an algorithm without a table.
    pub fn owners(&self, key: u64) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.picker
            .table()
            .into_iter()
            .flat_map(move |table| table.sequence(key, self.members.len()).map(|index| &self.members[index]))
    }

    /// Tells how a request went: its response time, if [`InFlight::answered`] didn't take it, and the verdict. A failure counts as a
    /// slow answer, however quickly it came.
    pub fn report(&self, lease: &mut InFlight, outcome: Outcome, now: Instant) -> Option<Transition> {
        let nanos = lease.endpoint().shared().clock.nanos(now);
        match outcome {
            Outcome::Cancelled => {}
            Outcome::Success => lease.sample(lease.age(nanos), nanos),
            Outcome::ConnectError | Outcome::GatewayError | Outcome::ServerError => lease.fail(nanos),
        }
        self.judge_at(lease.endpoint(), outcome, nanos)
    }

    /// The verdict alone. While a breaker is open, answers to older requests change nothing; while its probing request is out, any
    /// answer counts as the probe's.
    pub fn judge(&self, endpoint: &Endpoint, outcome: Outcome, now: Instant) -> Option<Transition> {
        self.judge_at(endpoint, outcome, endpoint.shared().clock.nanos(now))
    }

    fn judge_at(&self, endpoint: &Endpoint, outcome: Outcome, nanos: u64) -> Option<Transition> {
        let passive = self.config.passive.as_ref()?;
        let reason = match outcome {
            Outcome::Cancelled => return None,
            Outcome::Success => return endpoint.succeed(nanos),
            Outcome::ConnectError => EjectReason::ConnectErrors,
            Outcome::GatewayError => EjectReason::GatewayErrors,
            Outcome::ServerError => EjectReason::ServerErrors,
        };
        let Wish::Open(reason) = endpoint.fail(reason, passive, nanos) else { return None };
        let mut rng = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        if reason != EjectReason::ProbeFailed && !self.may_eject(endpoint, passive) {
            return None;
        }
        let jitter = rng.next_u64() as u8;
        endpoint.eject(reason, passive, nanos, jitter)
    }

    /// Never the last usable one, never more than the cap; one is always allowed where there are two.
    fn may_eject(&self, endpoint: &Endpoint, passive: &Passive) -> bool {
        let (mut counted, mut ejected, mut others) = (0usize, 0usize, 0usize);
        for member in &self.members {
            let health = member.health();
            if !matches!(health, Health::Usable | Health::Down) {
                continue;
            }
            counted += 1;
            ejected += usize::from(!member.is_closed());
            others += usize::from(member.is_closed() && health == Health::Usable && member.id() != endpoint.id());
        }
        others > 0 && ejected < (counted * usize::from(passive.max_ejection_percent) / 100).max(1)
    }

    /// The members, by (ring key, id).
    pub fn members(&self) -> &[Arc<Endpoint>] {
        &self.members
    }

    /// Whether so few members are usable that all are used. An ejected one isn't usable, its probing request due or not: else the
    /// pool would fall in and out of panic with each probe.
    pub fn is_panicking(&self) -> bool {
        self.standing().mode == Mode::Panic
    }

    /// What it was built with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn standing(&self) -> Standing {
        let epoch = self.shared.as_ref().map_or(0, |shared| shared.epoch());
        self.cache.get(epoch, &self.members, &self.rules).0
    }
}
