//! The spec of a `BalancerPool`. Words are those of Gateway API and Envoy Gateway where they have one; unions are told
//! apart by `type`; absent means the default. Unknown fields are refused. Types only: no decision is made here.

use crate::bounds;
use crate::duration::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// A set of endpoints and how requests are spread over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// Where each sidecar that asks for the pool listens, on loopback.
    #[serde(default)]
    #[schemars(length(max = bounds::LISTENERS.max))]
    pub listeners: Vec<Listener>,
    /// Whose pods may use the pool.
    #[serde(default)]
    pub consumers: Consumers,
    /// Where the endpoints come from. The earlier source wins when two name the same endpoint.
    #[schemars(length(min = bounds::SOURCES.min, max = bounds::SOURCES.max))]
    pub sources: Vec<Source>,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How sick endpoints are found.
    #[serde(default)]
    pub health_check: HealthCheck,
    /// When a request may be tried again.
    #[serde(default)]
    pub retry: Retry,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// A port on the loopback of each sidecar that asks for the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Its name in this pool.
    #[schemars(
        length(min = bounds::LABEL_LENGTH.min, max = bounds::LABEL_LENGTH.max), regex(pattern = bounds::LABEL_PATTERN)
    )]
    pub name: String,
    /// The port.
    #[schemars(range(min = bounds::LISTENER_PORT.min, max = bounds::LISTENER_PORT.max))]
    pub port: u16,
    /// What is spoken on it.
    #[serde(default)]
    pub protocol: Protocol,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1, balanced per request.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// Bytes, balanced per connection.
    #[serde(rename = "TCP")]
    Tcp,
}

/// Whose pods may use the pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Consumers {
    /// The namespaces whose pods may use the pool.
    #[serde(default)]
    pub namespaces: ConsumerNamespaces,
}

/// The namespaces whose pods may use the pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerNamespaces {
    /// Which namespaces.
    #[serde(default)]
    pub from: FromNamespaces,
    /// With `Selector`: the labels that a namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Which namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromNamespaces {
    /// The pool's own.
    #[default]
    Same,
    /// All.
    All,
    /// Those whose labels match the selector.
    Selector,
}

/// The labels that a namespace must have, all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Label and value.
    #[schemars(extend("minProperties" = bounds::MATCH_LABELS.min, "maxProperties" = bounds::MATCH_LABELS.max))]
    pub match_labels: BTreeMap<String, String>,
}

/// Where endpoints come from: exactly one of its members besides the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Its name in this pool.
    #[schemars(
        length(min = bounds::LABEL_LENGTH.min, max = bounds::LABEL_LENGTH.max), regex(pattern = bounds::LABEL_PATTERN)
    )]
    pub name: String,
    /// The endpoints of a Service of the pool's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSource>,
    /// Endpoints named here; not in the cluster yet.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    pub fixed: Option<StaticSource>,
}

/// The endpoints of a Service of the pool's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSource {
    /// The Service.
    #[schemars(
        length(min = bounds::LABEL_LENGTH.min, max = bounds::LABEL_LENGTH.max), regex(pattern = bounds::LABEL_PATTERN)
    )]
    pub name: String,
    /// The Service's port, by name or number. May be absent if it has one port only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortRef>,
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PortRef {
    /// The Service's port number.
    Number(u16),
    /// The Service's port name.
    Name(String),
}

/// By hand, since a derived one can't say what is wrong.
impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = PortRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port's number or name")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<PortRef, E> {
                let port = u16::try_from(number).ok().filter(|port| bounds::PORT.hold(u64::from(*port)));
                port.map(PortRef::Number).ok_or_else(|| E::custom(format!("{number} is no port; give one from 1 to 65535")))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<PortRef, E> {
                self.visit_u64(u64::try_from(number).unwrap_or(0))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<PortRef, E> {
                Ok(PortRef::Name(name.into()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for PortRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PortRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Bounds on a number leave names alone, and the other way round.
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": bounds::PORT.min,
            "maximum": bounds::PORT.max,
            "minLength": bounds::LABEL_LENGTH.min,
            "maxLength": bounds::LABEL_LENGTH.max,
            "pattern": bounds::LABEL_PATTERN,
        })
    }
}

/// Endpoints named in the resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticSource {
    /// The endpoints.
    #[schemars(length(min = bounds::STATIC_ENDPOINTS.min, max = bounds::STATIC_ENDPOINTS.max))]
    pub endpoints: Vec<StaticEndpoint>,
}

/// One endpoint named in the resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticEndpoint {
    /// An IPv4 or IPv6 address; names belong into a source of their own.
    #[schemars(with = "String", length(min = 2, max = 45))]
    pub address: IpAddr,
    /// The port.
    #[schemars(range(min = bounds::PORT.min, max = bounds::PORT.max))]
    pub port: u16,
    /// Percent of a normal endpoint.
    #[serde(default = "weight")]
    #[schemars(range(min = bounds::WEIGHT.min, max = bounds::WEIGHT.max))]
    pub weight: u16,
    /// The zone that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = bounds::ZONE_LENGTH.min, max = bounds::ZONE_LENGTH.max))]
    pub zone: Option<String>,
}

fn weight() -> u16 {
    100
}

/// How an endpoint is chosen. The member of the same name as the type holds its settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Algorithm {
    /// Which algorithm.
    #[serde(default)]
    pub r#type: AlgorithmType,
    /// Settings of `ConsistentHash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistent_hash: Option<ConsistentHash>,
    /// Settings of `LeastConnections`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_connections: Option<LeastConnections>,
}

/// Which algorithm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AlgorithmType {
    /// The endpoint with the fewest requests in flight per weight, among distinct draws.
    #[default]
    LeastConnections,
    /// The endpoint that owns the request's key.
    ConsistentHash,
    /// In turn.
    RoundRobin,
}

/// Settings of `LeastConnections`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeastConnections {
    /// How many distinct endpoints are compared; 0: all.
    #[serde(default = "choice_count")]
    #[schemars(range(min = bounds::CHOICE_COUNT.min, max = bounds::CHOICE_COUNT.max))]
    pub choice_count: u32,
}

fn choice_count() -> u32 {
    2
}

impl Default for LeastConnections {
    fn default() -> Self {
        Self { choice_count: choice_count() }
    }
}

/// Settings of `ConsistentHash`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsistentHash {
    /// The table that owns the keys.
    #[serde(default)]
    pub table: HashTable,
    /// Where the key comes from: the first that is present; none is: LeastConnections.
    #[schemars(length(min = bounds::HASH_KEYS.min, max = bounds::HASH_KEYS.max))]
    pub keys: Vec<HashKey>,
    /// Bounded load, percent of the mean load that an endpoint may have; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::HASH_BALANCE_FACTOR.min, max = bounds::HASH_BALANCE_FACTOR.max))]
    pub hash_balance_factor: Option<u32>,
}

/// The table that owns the keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashTable {
    /// Which table.
    #[serde(default)]
    pub r#type: HashTableType,
    /// Settings of `Ring`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<Ring>,
}

/// Which table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HashTableType {
    /// A ring of points.
    #[default]
    Ring,
}

/// Settings of the ring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ring {
    /// Points of an endpoint of weight 100.
    #[serde(default = "virtual_nodes")]
    #[schemars(range(min = bounds::VIRTUAL_NODES.min, max = bounds::VIRTUAL_NODES.max))]
    pub virtual_nodes: u32,
}

fn virtual_nodes() -> u32 {
    150
}

impl Default for Ring {
    fn default() -> Self {
        Self { virtual_nodes: virtual_nodes() }
    }
}

/// Where a request's key comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashKey {
    /// What kind of key.
    pub r#type: HashKeyType,
    /// Settings of `Header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderKey>,
}

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HashKeyType {
    /// The value of a request header.
    Header,
    /// The client's address.
    #[serde(rename = "SourceIP")]
    SourceIp,
}

/// The header that holds the key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderKey {
    /// Its name; case does not matter.
    #[schemars(
        length(min = bounds::HEADER_LENGTH.min, max = bounds::HEADER_LENGTH.max), regex(pattern = bounds::HEADER_PATTERN)
    )]
    pub name: String,
}

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

/// When a request may be tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Further attempts, each on another endpoint.
    #[serde(default = "max_retries")]
    #[schemars(range(min = bounds::MAX_RETRIES.min, max = bounds::MAX_RETRIES.max))]
    pub max_retries: u32,
    /// What may be retried.
    #[serde(default = "retry_on")]
    #[schemars(length(max = bounds::RETRY_ON.max))]
    pub retry_on: Vec<RetryOn>,
}

fn max_retries() -> u32 {
    1
}

fn retry_on() -> Vec<RetryOn> {
    vec![RetryOn::ConnectFailure, RetryOn::StaleConnection]
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_retries: max_retries(), retry_on: retry_on() }
    }
}

/// What may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetryOn {
    /// The connect failed: another endpoint.
    ConnectFailure,
    /// The connection ended before the first byte of the answer: a request without body and of an idempotent method goes once
    /// more, on a new connection to the same endpoint.
    StaleConnection,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// The longest a connect may take.
    #[serde(default = "connect")]
    pub connect: Duration,
}

fn connect() -> Duration {
    Duration::from_millis(1_000)
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: connect() }
    }
}
