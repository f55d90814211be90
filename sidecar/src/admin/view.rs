//! The live table as JSON: an API of its own, so that inner types may change.

use crate::table::{PoolEntry, Table};
use evenkeel_balance::{Ejection, Endpoint, Stand};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Instant;

#[derive(Serialize)]
pub(super) struct TableView {
    pools: Vec<PoolView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolView {
    name: String,
    revision: u64,
    generation: i64,
    listeners: Vec<ListenerView>,
    algorithm: evenkeel_wire::Algorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start: Option<evenkeel_wire::SlowStart>,
    /// The zone that is preferred: this process's.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subset: Option<evenkeel_wire::Subset>,
    panicking: bool,
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize)]
struct ListenerView {
    name: String,
    port: u16,
    protocol: evenkeel_wire::Protocol,
    /// False where the port was left out.
    open: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointView {
    id: String,
    ring_key: String,
    address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    priority: u8,
    weight: u16,
    /// Percent; less than the weight while it starts slowly.
    effective_weight: f64,
    warming: bool,
    /// It may be picked now: as far as health, priority and subset go.
    candidate: bool,
    health: &'static str,
    ejection: EjectionView,
    in_flight: u32,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all_fields = "camelCase")]
enum EjectionView {
    Closed,
    Open { probe_in_ms: u128 },
    Probing,
}

impl TableView {
    pub(super) fn of(table: &Table) -> Self {
        let now = Instant::now();
        Self { pools: table.pools().values().map(|pool| PoolView::of(pool, table, now)).collect() }
    }
}

impl PoolView {
    fn of(pool: &PoolEntry, table: &Table, now: Instant) -> Self {
        let is_open = |listener: &evenkeel_wire::Listener| {
            table.routes(listener.transport_port()).iter().any(|route| route.pool.name() == pool.name())
        };
        let listeners = pool.policy().listeners.iter().map(|listener| ListenerView {
            name: listener.name.clone(),
            port: listener.port,
            protocol: listener.protocol,
            open: is_open(listener),
        });
        let balance = pool.balance();
        let endpoints = balance.members().iter().zip(balance.stands(now));
        Self {
            name: pool.label().to_owned(),
            revision: pool.revision(),
            generation: pool.policy().generation,
            listeners: listeners.collect(),
            algorithm: pool.policy().algorithm.clone(),
            slow_start: pool.policy().slow_start,
            zone: balance.config().zone.clone(),
            subset: pool.policy().subset,
            panicking: balance.is_panicking(),
            endpoints: endpoints.map(|(endpoint, stand)| EndpointView::of(endpoint, stand, now)).collect(),
        }
    }
}

impl EndpointView {
    fn of(endpoint: &Endpoint, stand: Stand, now: Instant) -> Self {
        Self {
            id: endpoint.id().to_owned(),
            ring_key: endpoint.ring_key().to_owned(),
            address: endpoint.address(),
            zone: endpoint.zone().map(str::to_owned),
            priority: endpoint.priority(),
            weight: endpoint.weight(),
            effective_weight: f64::from(stand.weight) / 100.0,
            warming: stand.weight < u32::from(endpoint.weight()) * 100,
            candidate: stand.candidate,
            health: endpoint.health().as_str(),
            ejection: match endpoint.ejection() {
                Ejection::Closed => EjectionView::Closed,
                Ejection::Open { until } => EjectionView::Open { probe_in_ms: until.saturating_duration_since(now).as_millis() },
                Ejection::Probing => EjectionView::Probing,
            },
            in_flight: endpoint.in_flight(),
        }
    }
}
