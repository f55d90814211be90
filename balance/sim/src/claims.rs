//! The claims, one file each. A new one is a file in `claims/`, a `mod` line and a line in [`ALL`].

mod bins;
mod bounded;
mod buoyant;
mod fast_failing;
mod herd;
mod mixed_fleet;
mod pareto;
mod prequal_ramp;
mod scale_out;
mod small_pools;
mod tables;
mod zones;

use crate::claim::Claim;

/// All claims, in the order of the page.
pub const ALL: &[Claim] = &[
    buoyant::CLAIM,
    prequal_ramp::CLAIM,
    tables::CLAIM,
    bounded::CLAIM,
    bins::CLAIM,
    mixed_fleet::CLAIM,
    fast_failing::CLAIM,
    pareto::CLAIM,
    small_pools::CLAIM,
    herd::CLAIM,
    scale_out::CLAIM,
    zones::CLAIM,
];
