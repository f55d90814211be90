//! Which endpoints an algorithm chooses among, and how much of their weight counts. Types only.

use crate::bounds;
use crate::duration::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An endpoint that has just become ready starts with a part of its weight, which grows to the whole over a window. Off while
/// all endpoints are new.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlowStart {
    /// How long the weight grows.
    #[serde(default = "window")]
    pub window: Duration,
    /// Percent of its weight that an endpoint starts with.
    #[serde(default = "min_weight_percent")]
    #[schemars(range(min = bounds::MIN_WEIGHT_PERCENT.min, max = bounds::MIN_WEIGHT_PERCENT.max))]
    pub min_weight_percent: u8,
}

fn window() -> Duration {
    Duration::from_millis(30_000)
}

fn min_weight_percent() -> u8 {
    10
}

/// Requests stay in the caller's own zone, but for a few, as long as its endpoints are usable and their answers come less than half
/// as slow again as those from other zones. A sidecar's zone is that of its pod's node. `{}` turns it on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneAware {}

/// Each sidecar uses a part of the endpoints of its own, so that many sidecars don't hold connections to all of many endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subsetting {
    /// How many endpoints one sidecar uses; a pool of fewer is used whole.
    #[schemars(range(min = bounds::SUBSET_SIZE.min, max = bounds::SUBSET_SIZE.max))]
    pub size: u32,
}
