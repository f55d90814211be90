//! What a pool's list makes of its policy: settings that this list leaves without effect, and limits that it passes. For the
//! author to read; nothing is decided by it.

use evenkeel_crds::bounds;
use evenkeel_wire::{Algorithm, Endpoint, Policy, Table};

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
        remarks.extend(too_many(table, count));
    }
    remarks
}

fn too_many(table: &Table, count: usize) -> Option<String> {
    let most = match table {
        Table::Ring { .. } => return None,
        Table::Maglev { size } => *size as usize,
        Table::Rendezvous => bounds::RENDEZVOUS_ENDPOINTS,
    };
    let said =
        format!("spec.algorithm.consistentHash.table: {count} endpoints are more than its {most}, so sidecars refuse the list");
    (count > most).then_some(said)
}
