//! How an endpoint is chosen. Types only.

use crate::bounds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    pub least_connections: Option<Choices>,
    /// Settings of `LeastResponseTime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_response_time: Option<Choices>,
    /// Settings of `LeastCost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_cost: Option<LeastCost>,
}

/// Which algorithm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AlgorithmType {
    /// The endpoint with the fewest requests in flight per weight, among distinct draws.
    #[default]
    LeastConnections,
    /// The endpoint that owns the request's key.
    ConsistentHash,
    /// In turn, by weight.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The endpoint with the least response time × (requests in flight + 1) per weight, among distinct draws. The response time is
    /// a moving average that rises at once and decays over 10 s.
    LeastResponseTime,
    /// In turn, by weight ÷ mean response time.
    ResponseTimeWeighted,
    /// The endpoint with the least expected work in flight per weight, among distinct draws; what a request costs is learned for
    /// each class of requests.
    LeastCost,
}

/// How many endpoints are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Choices {
    /// How many distinct endpoints are compared; 0: all.
    #[serde(default = "choice_count")]
    #[schemars(range(min = bounds::CHOICE_COUNT.min, max = bounds::CHOICE_COUNT.max))]
    pub choice_count: u32,
}

fn choice_count() -> u32 {
    2
}

impl Default for Choices {
    fn default() -> Self {
        Self { choice_count: choice_count() }
    }
}

/// Settings of `LeastCost`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeastCost {
    /// How many distinct endpoints are compared; 0: all.
    #[serde(default = "choice_count")]
    #[schemars(range(min = bounds::CHOICE_COUNT.min, max = bounds::CHOICE_COUNT.max))]
    pub choice_count: u32,
    /// Which requests are expected to cost the same.
    #[serde(default)]
    pub class: CostClass,
}

impl Default for LeastCost {
    fn default() -> Self {
        Self { choice_count: choice_count(), class: CostClass::default() }
    }
}

/// Which requests are expected to cost the same. The member of the same name as the type holds its settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CostClass {
    /// What tells requests apart.
    #[serde(default)]
    pub r#type: CostClassType,
    /// Settings of `Route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<CostRoute>,
}

/// What tells requests apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CostClassType {
    /// Method and beginning of the path.
    #[default]
    Route,
    /// The magnitude of the body: its Content-Length, to the next power of two.
    BodyLength,
}

/// Settings of `Route`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CostRoute {
    /// How many segments of the path count; the query never does.
    #[serde(default = "segments")]
    #[schemars(range(min = bounds::ROUTE_SEGMENTS.min, max = bounds::ROUTE_SEGMENTS.max))]
    pub segments: u32,
}

fn segments() -> u32 {
    2
}

impl Default for CostRoute {
    fn default() -> Self {
        Self { segments: segments() }
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
    /// Settings of `Maglev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maglev: Option<Maglev>,
}

/// Which table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HashTableType {
    /// A ring of points: the fewest keys move when endpoints come and go.
    #[default]
    Ring,
    /// A table of slots: the most even and the quickest, but a few more keys move.
    Maglev,
    /// Highest random weight: as even as chance, no table; for at most 1000 endpoints.
    Rendezvous,
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

/// Settings of `Maglev`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Maglev {
    /// Slots; a prime, or the pool isn't accepted (that is checked after admission). Take 100 or more for each endpoint.
    #[serde(default = "table_size")]
    #[schemars(range(min = bounds::TABLE_SIZE.min, max = bounds::TABLE_SIZE.max))]
    pub table_size: u32,
}

fn table_size() -> u32 {
    65_537
}

impl Default for Maglev {
    fn default() -> Self {
        Self { table_size: table_size() }
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
