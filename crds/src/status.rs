//! The status of a `BalancerPool`: what the operator found and how far it has been told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator found and how far it has been told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// The generation that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `Ready`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Counts over the pool's endpoints.
    #[serde(default)]
    pub endpoints: EndpointCounts,
    /// Counts over the sidecars that asked for the pool.
    #[serde(default)]
    pub sidecars: SidecarCounts,
}

/// A condition, field for field that of `meta/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// The generation that this speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// When the status last changed, RFC 3339.
    pub last_transition_time: String,
}

/// Counts over the pool's endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointCounts {
    /// All that are listed.
    pub total: u32,
    /// Ready, and their checks pass.
    pub usable: u32,
    /// Terminating, still serving.
    pub draining: u32,
    /// Ready, but their checks fail.
    pub down: u32,
    /// Not ready.
    pub not_ready: u32,
    /// `usable/total`, for the eye.
    pub summary: String,
}

/// Counts over the sidecars that asked for the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarCounts {
    /// Connected to the feed.
    pub connected: u32,
    /// Of these, in step with the newest revision.
    pub in_sync: u32,
}
