//! What a pool's list makes of its policy: settings that this list leaves without effect, and limits that it passes. For the
//! author to read; nothing is decided by it.

use evenkeel_crds::bounds;
use evenkeel_wire::{Algorithm, Endpoint, Policy, Table};
use std::collections::BTreeMap;

/// A sentence for each; none where all is well or nothing is listed.
pub fn remarks(policy: &Policy, endpoints: &[Endpoint]) -> Vec<String> {
    let mut remarks = Vec::new();
    let count = endpoints.len();
    if count == 0 {
        return remarks;
    }
    if policy.zone_aware && endpoints.iter().all(|endpoint| endpoint.zone.is_none()) {
        remarks.push("spec.zoneAware has no effect: no endpoint has a zone".into());
    }
    if let Some(subset) = policy.subset.filter(|subset| subset.size as usize >= count) {
        remarks.push(format!("spec.subsetting has no effect: there are {count} endpoints, and size is {}", subset.size));
    }
    if let Algorithm::ConsistentHash { table, .. } = &policy.algorithm {
        remarks.extend(too_many(table, endpoints));
    }
    remarks
}

fn too_many(table: &Table, endpoints: &[Endpoint]) -> Option<String> {
    // Endpoints of one ring key share a place in the table: the heaviest counts.
    let mut weights = BTreeMap::<&str, u64>::new();
    for endpoint in endpoints {
        let weight = weights.entry(&endpoint.ring_key).or_default();
        *weight = (*weight).max(endpoint.weight.into());
    }
    let (count, most, what) = match *table {
        Table::Ring { virtual_nodes } => {
            let points = weights.values().map(|weight| (u64::from(virtual_nodes) * weight / 100).max(1)).sum();
            (points, bounds::RING_POINTS, "points")
        }
        Table::Maglev { size } => (weights.len() as u64, size.into(), "endpoints"),
        Table::Rendezvous => (endpoints.len() as u64, bounds::RENDEZVOUS_ENDPOINTS as u64, "endpoints"),
    };
    let said =
        format!("spec.algorithm.consistentHash.table: {count} {what} are more than its {most}, so sidecars refuse the list");
    (count > most).then_some(said)
}
