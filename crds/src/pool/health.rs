//! How sick endpoints are found. Types only.

use crate::bounds;
use crate::duration::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How sick endpoints are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// Asked by Evenkeel; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCheck>,
    /// Learned from the traffic. On by default; `maxEjectionPercent: 0` turns it off.
    #[serde(default)]
    pub passive: PassiveCheck,
    /// Below this percentage of usable endpoints all are used; exactly at it, not. 0: never.
    #[serde(default = "panic_threshold")]
    #[schemars(range(min = bounds::PERCENT.min, max = bounds::PERCENT.max))]
    pub panic_threshold: u8,
}

fn panic_threshold() -> u8 {
    50
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { active: None, passive: PassiveCheck::default(), panic_threshold: panic_threshold() }
    }
}

/// A check that Evenkeel makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActiveCheck {
    /// What is asked.
    pub r#type: ActiveCheckType,
    /// From one check to the next.
    #[serde(default = "interval")]
    pub interval: Duration,
    /// The longest one check may take.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// Failures in a row that take an endpoint out.
    #[serde(default = "unhealthy_threshold")]
    #[schemars(range(min = bounds::CHECK_THRESHOLD.min, max = bounds::CHECK_THRESHOLD.max))]
    pub unhealthy_threshold: u32,
    /// Successes in a row that bring it back.
    #[serde(default = "healthy_threshold")]
    #[schemars(range(min = bounds::CHECK_THRESHOLD.min, max = bounds::CHECK_THRESHOLD.max))]
    pub healthy_threshold: u32,
    /// Settings of `HTTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
}

fn interval() -> Duration {
    Duration::from_millis(2_000)
}

fn timeout() -> Duration {
    Duration::from_millis(1_000)
}

fn unhealthy_threshold() -> u32 {
    3
}

fn healthy_threshold() -> u32 {
    2
}

/// What a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActiveCheckType {
    /// A connect.
    #[serde(rename = "TCP")]
    Tcp,
    /// A GET.
    #[serde(rename = "HTTP")]
    Http,
}

/// Settings of an HTTP check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCheck {
    /// The path that is asked for.
    #[serde(default = "path")]
    #[schemars(length(min = bounds::PATH_LENGTH.min, max = bounds::PATH_LENGTH.max), regex(pattern = bounds::PATH_PATTERN))]
    pub path: String,
    /// The Host header; absent: the endpoint's address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = bounds::HOST_LENGTH.min, max = bounds::HOST_LENGTH.max), regex(pattern = bounds::HOST_PATTERN)
    )]
    pub host: Option<String>,
    /// Good statuses.
    #[serde(default = "expected_statuses")]
    #[schemars(length(min = bounds::EXPECTED_STATUSES.min, max = bounds::EXPECTED_STATUSES.max))]
    pub expected_statuses: Vec<StatusRange>,
}

fn path() -> String {
    "/".into()
}

fn expected_statuses() -> Vec<StatusRange> {
    vec![StatusRange { start: 200, end: 399 }]
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self { path: path(), host: None, expected_statuses: expected_statuses() }
    }
}

/// Statuses from `start` to `end`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusRange {
    /// The first status.
    #[schemars(range(min = bounds::STATUS.min, max = bounds::STATUS.max))]
    pub start: u16,
    /// The last status.
    #[schemars(range(min = bounds::STATUS.min, max = bounds::STATUS.max))]
    pub end: u16,
}

/// Ejection learned from the traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PassiveCheck {
    /// Errors in a row that eject an endpoint.
    #[serde(default = "consecutive_errors")]
    #[schemars(range(min = bounds::CONSECUTIVE_ERRORS.min, max = bounds::CONSECUTIVE_ERRORS.max))]
    pub consecutive_errors: u32,
    /// How long such a row may take.
    #[serde(default = "window")]
    pub window: Duration,
    /// The first ejection lasts this long, each further one twice as long.
    #[serde(default = "base_ejection_time")]
    pub base_ejection_time: Duration,
    /// The longest ejection.
    #[serde(default = "max_ejection_time")]
    pub max_ejection_time: Duration,
    /// The most of the pool that may be ejected at once; the last endpoint never is.
    #[serde(default = "max_ejection_percent")]
    #[schemars(range(min = bounds::PERCENT.min, max = bounds::PERCENT.max))]
    pub max_ejection_percent: u8,
}

fn consecutive_errors() -> u32 {
    5
}

fn window() -> Duration {
    Duration::from_millis(60_000)
}

fn base_ejection_time() -> Duration {
    Duration::from_millis(1_000)
}

fn max_ejection_time() -> Duration {
    Duration::from_millis(60_000)
}

fn max_ejection_percent() -> u8 {
    50
}

impl Default for PassiveCheck {
    fn default() -> Self {
        Self {
            consecutive_errors: consecutive_errors(),
            window: window(),
            base_ejection_time: base_ejection_time(),
            max_ejection_time: max_ejection_time(),
            max_ejection_percent: max_ejection_percent(),
        }
    }
}
