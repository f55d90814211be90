//! One live record per endpoint identity of a book, shared by workers and by all snapshots built from it: counts, health floor and
//! breaker live here, so that no change of a list, a weight or a policy loses them. Atomics only on the request path.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::time::Instant;

use crate::breaker::{Breaker, Claim, EjectReason, Ejection, Passive, Transition, Wish};

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
    /// The floor.
    pub health: Health,
}

/// Own cache lines (two, for the adjacent-line prefetcher): counts are written by every worker, their neighbours only read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// Bumped whenever something changes that a pool keeps a summary of; one per book.
#[derive(Debug, Default)]
pub(crate) struct Epoch(Padded<AtomicU64>);

impl Epoch {
    pub(crate) fn read(&self) -> u64 {
        self.0.0.load(Acquire)
    }

    pub(crate) fn bump(&self) {
        self.0.0.fetch_add(1, AcqRel);
    }
}

/// The live record of one endpoint.
pub struct Endpoint {
    id: String,
    ring_key: String,
    address: SocketAddr,
    zone: Option<String>,
    epoch: Arc<Epoch>,
    weight: AtomicU16,
    health: AtomicU8,
    breaker: Breaker,
    in_flight: Padded<AtomicU32>,
}

impl Endpoint {
    pub(crate) fn new(spec: EndpointSpec, epoch: Arc<Epoch>) -> Self {
        let EndpointSpec { id, ring_key, address, weight, zone, health } = spec;
        Self {
            id,
            ring_key,
            address,
            zone,
            epoch,
            weight: AtomicU16::new(weight),
            health: AtomicU8::new(health as u8),
            breaker: Breaker::default(),
            in_flight: Padded::default(),
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

    /// Percent of a normal endpoint.
    pub fn weight(&self) -> u16 {
        self.weight.load(Relaxed)
    }

    /// Changes its capacity at once; ring points follow when the next pool is built.
    pub fn set_weight(&self, percent: u16) {
        if self.weight.swap(percent, AcqRel) != percent {
            self.epoch.bump();
        }
    }

    /// The floor.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Acquire))
    }

    /// Changes the floor; picks see it at once.
    pub fn set_health(&self, health: Health) {
        if self.health.swap(health as u8, AcqRel) != health as u8 {
            self.epoch.bump();
        }
    }

    /// Requests (or connections) it has now, from all workers and all snapshots of its book.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.0.load(Acquire)
    }

    /// The passive breaker.
    pub fn ejection(&self) -> Ejection {
        self.breaker.view()
    }

    /// In-flight plus what recent errors weigh: the load that "less loaded" means.
    pub(crate) fn load(&self, now: Instant) -> u64 {
        u64::from(self.in_flight()) + u64::from(self.breaker.penalty(now))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.breaker.is_closed()
    }

    pub(crate) fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }

    pub(crate) fn succeed(&self, now: Instant) -> Option<Transition> {
        let transition = self.breaker.succeed(now);
        if transition.is_some() {
            self.epoch.bump();
        }
        transition
    }

    pub(crate) fn fail(&self, reason: EjectReason, passive: &Passive, now: Instant) -> Wish {
        self.breaker.fail(reason, passive, now)
    }

    pub(crate) fn eject(&self, reason: EjectReason, passive: &Passive, now: Instant, jitter: u8) -> Option<Transition> {
        let transition = self.breaker.open(reason, passive, now, jitter);
        if transition.is_some() {
            self.epoch.bump();
        }
        transition
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

/// One request on an endpoint: counts 1 until dropped. A probing request that ends unreported gives its turn back.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    claim: Option<Claim>,
}

impl InFlight {
    pub(crate) fn take(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.0.fetch_add(1, AcqRel);
        Self { endpoint: Arc::clone(endpoint), claim: None }
    }

    /// Only if it may, given what is in flight now; racing workers cannot pass a bound together.
    pub(crate) fn take_if(endpoint: &Arc<Endpoint>, may: impl Fn(u32) -> bool) -> Option<Self> {
        let count = &endpoint.in_flight.0;
        count.fetch_update(AcqRel, Acquire, |now| may(now).then_some(now + 1)).ok()?;
        Some(Self { endpoint: Arc::clone(endpoint), claim: None })
    }

    /// The one probing request of an open breaker, if it is due and nobody has it.
    pub(crate) fn probe(endpoint: &Arc<Endpoint>, now: Instant) -> Option<Self> {
        let claim = endpoint.breaker.claim(now)?;
        endpoint.in_flight.0.fetch_add(1, AcqRel);
        Some(Self { endpoint: Arc::clone(endpoint), claim: Some(claim) })
    }

    /// Makes this request the probing one, if one is due and nobody has it.
    pub(crate) fn claim(&mut self, now: Instant) {
        self.claim = self.endpoint.breaker.claim(now);
    }

    /// Whom it is for.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.0.fetch_sub(1, Release);
        if let Some(claim) = self.claim {
            self.endpoint.breaker.release(claim);
        }
    }
}
