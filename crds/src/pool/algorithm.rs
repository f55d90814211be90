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
