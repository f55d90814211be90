//! One live record per endpoint identity of a book, shared by workers and by all snapshots built from it: health floor, breaker,
//! weight and slow-start clock; what it has in flight and how quickly it answers is its [`Load`]. No change of a list, a weight, a
//! health or a policy loses any of it. Atomics only on the request path.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::breaker::{Breaker, EjectReason, Ejection, Passive, Transition, View, Wish};
use crate::by_id::Identified;
use crate::clock::Clock;
use crate::cost::Costs;
use crate::load::Load;
use crate::picker::stride::Turn;
use crate::reported::{Reported, ReportedLoad};
use crate::slow_start::SlowStart;
use crate::sync::atomic::{
    AtomicU8, AtomicU16, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::zone::Zones;

/// The floor: what the operator, or the embedded control plane, says of an endpoint. A sidecar may only eject more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Health {
    /// May be used.
    Usable = 0,
    /// Going away: no new requests while there is another.
    Draining = 1,
    /// Not ready yet: never.
    NotReady = 2,
    /// Its check fails: only in panic.
    Down = 3,
}

impl Health {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Usable,
            1 => Self::Draining,
            2 => Self::NotReady,
            _ => Self::Down,
        }
    }

    /// The word for labels and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usable => "Usable",
            Self::Draining => "Draining",
            Self::NotReady => "NotReady",
            Self::Down => "Down",
        }
    }
}

/// What is known of an endpoint when it enters the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The identity: pod UID and port, or address and port.
    pub id: String,
    /// What its ring points are made of.
    pub ring_key: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Percent of a normal endpoint, 1–1000.
    pub weight: u16,
    /// Its zone.
    pub zone: Option<String>,
    /// Its group: one of a higher number is a backup for those of lower numbers.
    pub priority: u8,
    /// The floor.
    pub health: Health,
}

/// Own cache lines (two, for the adjacent-line prefetcher): written by every worker, their neighbours only read.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// What the records of one book share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Bumped whenever something changes that a pool keeps a summary of.
    epoch: Padded<AtomicU64>,
    pub(crate) turn: Padded<Turn>,
    /// How the own zone does against the others, for pools that prefer it.
    pub(crate) zones: Zones,
    /// What requests cost, once a pool goes by it.
    pub(crate) costs: OnceLock<Box<Costs>>,
    pub(crate) clock: Arc<Clock>,
}

impl Shared {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, ..Self::default() }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.0.load(Acquire)
    }

    fn bump(&self) {
        self.epoch.0.fetch_add(1, AcqRel);
    }
}

/// The live record of one endpoint. What every pick reads comes first, in one or two cache lines.
#[repr(C)]
pub struct Endpoint {
    load: Arc<Load>,
    weight: AtomicU16,
    health: AtomicU8,
    priority: AtomicU8,
    /// When it became usable last, in nanoseconds of the clock.
    ready_at: AtomicU64,
    breaker: Breaker,
    reported: Reported,
    id: Arc<str>,
    ring_key: Arc<str>,
    zone: Option<Arc<str>>,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Endpoint {
    pub(crate) fn new(spec: Spec, load: Arc<Load>, shared: Arc<Shared>, now: u64) -> Self {
        let Spec { id, ring_key, address, weight, zone, priority, health } = spec;
        Self {
            load,
            weight: AtomicU16::new(weight),
            health: AtomicU8::new(health as u8),
            priority: AtomicU8::new(priority),
            ready_at: AtomicU64::new(now),
            breaker: Breaker::default(),
            reported: Reported::default(),
            id,
            ring_key,
            zone,
            address,
            shared,
        }
    }

    /// The identity.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What its ring points are made of.
    pub fn ring_key(&self) -> &str {
        &self.ring_key
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its zone.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Its group: backups have higher numbers.
    pub fn priority(&self) -> u8 {
        self.priority.load(Relaxed)
    }

    /// Changes its group.
    pub fn set_priority(&self, priority: u8) {
        if self.priority.swap(priority, AcqRel) != priority {
            self.shared.bump();
        }
    }

    /// Percent of a normal endpoint.
    pub fn weight(&self) -> u16 {
        self.weight.load(Relaxed)
    }

    /// Changes its capacity at once; table points follow when the next pool is built.
    pub fn set_weight(&self, percent: u16) {
        if self.weight.swap(percent, AcqRel) != percent {
            self.shared.bump();
        }
    }

    /// The floor.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Acquire))
    }

    /// Changes the floor; picks see it at once. One that becomes usable and wasn't just draining starts slowly where pools say so.
    pub fn set_health(&self, health: Health, now: Instant) {
        let before = Health::from_u8(self.health.load(Acquire));
        if before == health {
            return;
        }
        if health == Health::Usable && before != Health::Draining {
            self.ready_at.store(self.shared.clock.nanos(now), Relaxed);
        }
        self.health.store(health as u8, Release);
        self.shared.bump();
    }

    /// What it has in flight and how quickly it answers; the same record for all pools of a process that share [`crate::Loads`].
    pub fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Requests (or connections) it has now, from all workers and all pools.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// The Peak-EWMA of its response times as of now; `None` before the first answer.
    pub fn response_time(&self, now: Instant) -> Option<Duration> {
        let micros = self.load.peak(self.shared.clock.nanos(now))?;
        Some(Duration::from_nanos((f64::from(micros) * 1e3) as u64))
    }

    /// The passive breaker.
    pub fn ejection(&self) -> Ejection {
        match self.breaker.view() {
            View::Closed => Ejection::Closed,
            View::Probing => Ejection::Probing,
            View::Open { until } => self.shared.clock.instant(until).map_or(Ejection::Closed, |until| Ejection::Open { until }),
        }
    }

    /// In-flight plus what recent errors weigh.
    #[inline]
    pub(crate) fn burden(&self, nanos: u64) -> u64 {
        u64::from(self.load.in_flight()) + u64::from(self.breaker.penalty(nanos))
    }

    /// Its weight in hundredths of a percent: 10,000 is a normal endpoint. During slow start a part of that.
    #[inline]
    pub(crate) fn effective_weight(&self, slow_start: Option<&SlowStart>, nanos: u64) -> u32 {
        let weight = u32::from(self.weight());
        match slow_start {
            None => (weight * 100).max(1),
            Some(slow_start) => (weight * slow_start.part(nanos.saturating_sub(self.ready_at())) / 100).max(1),
        }
    }

    pub(crate) fn ready_at(&self) -> u64 {
        self.ready_at.load(Relaxed)
    }

    /// Takes what it says of its load (FEATURES A19); weighs in pools of [`crate::Algorithm::ReportedWeighted`].
    pub fn report_load(&self, report: &ReportedLoad, now: Instant) {
        self.reported.update(report, self.shared.clock.nanos(now));
    }

    pub(crate) fn reported_weight(&self, nanos: u64) -> Option<f32> {
        self.reported.weight(nanos)
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.breaker.is_closed()
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn succeed(&self, nanos: u64) -> Option<Transition> {
        let restored = self.breaker.succeed(nanos);
        if restored {
            self.shared.bump();
        }
        restored.then_some(Transition::Restored)
    }

    pub(crate) fn fail(&self, reason: EjectReason, passive: &Passive, nanos: u64) -> Wish {
        self.breaker.fail(reason, passive, nanos)
    }

    pub(crate) fn eject(&self, reason: EjectReason, passive: &Passive, nanos: u64, jitter: u8) -> Option<Transition> {
        let until = self.breaker.open(reason, passive, nanos, jitter)?;
        self.shared.bump();
        self.shared.clock.instant(until).map(|until| Transition::Ejected { reason, until })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("address", &self.address)
            .field("weight", &self.weight())
            .field("health", &self.health())
            .field("ejection", &self.ejection())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// [`EndpointSpec`] with its texts as the record keeps them.
pub(crate) struct Spec {
    pub(crate) id: Arc<str>,
    pub(crate) ring_key: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) weight: u16,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) priority: u8,
    pub(crate) health: Health,
}

impl Identified for Endpoint {
    fn id(&self) -> &str {
        &self.id
    }
}
