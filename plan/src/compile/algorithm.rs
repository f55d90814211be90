//! The algorithm: the member of the same name as the type, no other, and its defaults.

use super::rule::{self, at, form, within};
use crate::Rejection;
use evenkeel_crds::bounds;
use evenkeel_crds::pool::{
    Algorithm, AlgorithmType, ConsistentHash, HashKey, HashKeyType, HashTable, HashTableType, LeastConnections, Ring,
};
use evenkeel_wire as wire;

const FIELD: &str = "spec.algorithm";

pub(super) fn compile(algorithm: &Algorithm) -> Result<wire::Algorithm, Rejection> {
    let Algorithm { r#type, consistent_hash, least_connections } = algorithm;
    if consistent_hash.is_some() && *r#type != AlgorithmType::ConsistentHash {
        return Err(foreign(*r#type, "consistentHash", "type: ConsistentHash"));
    }
    if least_connections.is_some() && *r#type != AlgorithmType::LeastConnections {
        return Err(foreign(*r#type, "leastConnections", "type: LeastConnections"));
    }
    match (r#type, consistent_hash) {
        (AlgorithmType::RoundRobin, _) => Ok(wire::Algorithm::RoundRobin),
        (AlgorithmType::LeastConnections, _) => {
            let LeastConnections { choice_count } = least_connections.clone().unwrap_or_default();
            within("spec.algorithm.leastConnections.choiceCount", choice_count, bounds::CHOICE_COUNT)?;
            Ok(wire::Algorithm::LeastConnections { choice_count })
        }
        (AlgorithmType::ConsistentHash, Some(hash)) => compile_hash(hash),
        (AlgorithmType::ConsistentHash, None) => {
            Err(Rejection::MemberMissing { field: FIELD.into(), member: "consistentHash", chosen: "type: ConsistentHash" })
        }
    }
}

fn foreign(chosen: AlgorithmType, member: &'static str, fitting: &'static str) -> Rejection {
    Rejection::MemberForeign { field: FIELD.into(), member, chosen: format!("type is {chosen:?}"), fitting }
}

fn compile_hash(hash: &ConsistentHash) -> Result<wire::Algorithm, Rejection> {
    let ConsistentHash { table, keys, hash_balance_factor } = hash;
    let field = "spec.algorithm.consistentHash";
    let HashTable { r#type: HashTableType::Ring, ring } = table;
    let Ring { virtual_nodes } = ring.clone().unwrap_or_default();
    within(&format!("{field}.table.ring.virtualNodes"), virtual_nodes, bounds::VIRTUAL_NODES)?;
    within(&format!("the number of {field}.keys"), keys.len(), bounds::HASH_KEYS)?;
    if let Some(factor) = hash_balance_factor {
        within(&format!("{field}.hashBalanceFactor"), *factor, bounds::HASH_BALANCE_FACTOR)?;
    }
    let keys = keys.iter().enumerate().map(|(i, key)| compile_key(at(&format!("{field}.keys"), i), key));
    Ok(wire::Algorithm::ConsistentHash {
        table: wire::Table::Ring { virtual_nodes },
        keys: keys.collect::<Result<_, _>>()?,
        hash_balance_factor: *hash_balance_factor,
    })
}

fn compile_key(field: String, key: &HashKey) -> Result<wire::HashKey, Rejection> {
    match (key.r#type, &key.header) {
        (HashKeyType::Header, Some(header)) => {
            form(&format!("{field}.header.name"), &header.name, rule::HEADER)?;
            Ok(wire::HashKey::Header { name: header.name.to_ascii_lowercase() })
        }
        (HashKeyType::Header, None) => Err(Rejection::MemberMissing { field, member: "header", chosen: "type: Header" }),
        (HashKeyType::SourceIp, None) => Ok(wire::HashKey::SourceIp),
        (HashKeyType::SourceIp, Some(_)) => {
            Err(Rejection::MemberForeign { field, member: "header", chosen: "type is SourceIP".into(), fitting: "type: Header" })
        }
    }
}

/// Listeners on which no request ever has a key. A warning, not a rejection: they still balance, by least connections,
/// and the same pool may have an HTTP listener that hashes.
pub(super) fn unkeyed_listeners(algorithm: &wire::Algorithm, listeners: &[wire::Listener]) -> Vec<String> {
    let wire::Algorithm::ConsistentHash { keys, .. } = algorithm else { return Vec::new() };
    if keys.contains(&wire::HashKey::SourceIp) {
        return Vec::new();
    }
    let tcp = listeners.iter().filter(|l| l.protocol == wire::Protocol::Tcp);
    tcp.map(|l| {
        format!(
            "listener {}: a TCP connection has no headers, so its connections are spread by least connections; add a key of type SourceIP",
            l.name
        )
    })
    .collect()
}
