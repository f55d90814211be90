//! The live table as JSON: an API of its own, so that inner types may change.

use crate::table::{Member, PoolEntry, Table};
use evenkeel_balance::Ejection;
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
    weight: u16,
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
        let is_open = |port| table.route(port).is_some_and(|route| route.pool.name() == pool.name());
        let listeners = pool.policy().listeners.iter().map(|listener| ListenerView {
            name: listener.name.clone(),
            port: listener.port,
            protocol: listener.protocol,
            open: is_open(listener.port),
        });
        let mut endpoints: Vec<_> = pool.members().map(|member| EndpointView::of(member, now)).collect();
        endpoints.sort_by(|a, b| (&a.ring_key, &a.id).cmp(&(&b.ring_key, &b.id)));
        Self {
            name: pool.label().to_owned(),
            revision: pool.revision(),
            generation: pool.policy().generation,
            listeners: listeners.collect(),
            panicking: pool.balance().is_panicking(now),
            endpoints,
        }
    }
}

impl EndpointView {
    fn of(member: &Member, now: Instant) -> Self {
        let endpoint = member.endpoint();
        Self {
            id: endpoint.id().to_owned(),
            ring_key: endpoint.ring_key().to_owned(),
            address: endpoint.address(),
            zone: endpoint.zone().map(str::to_owned),
            weight: endpoint.weight(),
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
