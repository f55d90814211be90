//! Which endpoints an algorithm chooses among, and how much of their weight counts.

use super::rule::{time, within};
use crate::Rejection;
use evenkeel_crds::bounds;
use evenkeel_crds::pool::{SlowStart, Subsetting};
use evenkeel_wire as wire;

/// Refuses what doesn't go with a consistent table.
pub(super) fn check(zone_aware: bool, subset: Option<wire::Subset>, algorithm: &wire::Algorithm) -> Result<(), Rejection> {
    let hashes = matches!(algorithm, wire::Algorithm::ConsistentHash { .. });
    if zone_aware && hashes {
        return Err(Rejection::NotWithHash { field: "spec.zoneAware", why: "a key's owner may be in any zone" });
    }
    if subset.is_some() && hashes {
        return Err(Rejection::NotWithHash { field: "spec.subsetting", why: "each sidecar would have owners of its own" });
    }
    Ok(())
}

pub(super) fn compile_slow_start(slow_start: &SlowStart) -> Result<wire::SlowStart, Rejection> {
    let SlowStart { window, min_weight_percent } = slow_start;
    let window_ms = time("spec.slowStart.window", *window, bounds::SLOW_START)?;
    within("spec.slowStart.minWeightPercent", *min_weight_percent, bounds::MIN_WEIGHT_PERCENT)?;
    Ok(wire::SlowStart { window_ms, min_weight_percent: *min_weight_percent })
}

pub(super) fn compile_subset(subsetting: &Subsetting) -> Result<wire::Subset, Rejection> {
    let Subsetting { size } = subsetting;
    within("spec.subsetting.size", *size, bounds::SUBSET_SIZE)?;
    Ok(wire::Subset { size: *size })
}

/// A warning where slow start changes nothing: a table's keys stay with their owners however new these are.
pub(super) fn unheeded_slow_start(slow_start: Option<wire::SlowStart>, algorithm: &wire::Algorithm) -> Option<String> {
    let slow_start = slow_start?;
    if slow_start.min_weight_percent == 100 {
        return Some("spec.slowStart has no effect: endpoints start with 100 percent of their weight".into());
    }
    let unbound = matches!(algorithm, wire::Algorithm::ConsistentHash { hash_balance_factor: None, .. });
    let said =
        "spec.slowStart has no effect on consistent hashing without hashBalanceFactor: a key's owner gets all its requests";
    unbound.then(|| said.into())
}
