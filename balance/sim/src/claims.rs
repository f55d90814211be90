//! The claims, one file each. A new one is a file in `claims/`, a `mod` line and a line in [`ALL`].

mod buoyant;
mod herd;
mod mixed_fleet;
mod scale_out;

use crate::claim::Claim;

/// All claims, in the order of the page.
pub const ALL: &[Claim] = &[buoyant::CLAIM, mixed_fleet::CLAIM, herd::CLAIM, scale_out::CLAIM];
