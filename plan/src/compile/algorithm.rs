//! The algorithm: the member of the same name as the type, no other, and its defaults.

use super::rule::{self, at, form, prime, within};
use crate::Rejection;
use evenkeel_crds::bounds;
use evenkeel_crds::pool::{
    Algorithm, AlgorithmType, Choices, ConsistentHash, CostClass, CostClassType, CostRoute, HashKey, HashKeyType, HashTable,
    HashTableType, LeastCost, Maglev, Ring,
};
use evenkeel_wire as wire;

const FIELD: &str = "spec.algorithm";

pub(super) fn compile(algorithm: &Algorithm) -> Result<wire::Algorithm, Rejection> {
    let Algorithm { r#type, consistent_hash, least_connections, least_response_time, least_cost } = algorithm;
    let members = [
        (consistent_hash.is_some(), AlgorithmType::ConsistentHash, "consistentHash", "type: ConsistentHash"),
        (least_connections.is_some(), AlgorithmType::LeastConnections, "leastConnections", "type: LeastConnections"),
        (least_response_time.is_some(), AlgorithmType::LeastResponseTime, "leastResponseTime", "type: LeastResponseTime"),
        (least_cost.is_some(), AlgorithmType::LeastCost, "leastCost", "type: LeastCost"),
    ];
    if let Some((_, _, member, fitting)) = members.into_iter().find(|(given, owner, ..)| *given && owner != r#type) {
        return Err(foreign(FIELD.into(), member, format!("type is {type:?}"), fitting));
    }
    match (r#type, consistent_hash) {
        (AlgorithmType::RoundRobin, _) => Ok(wire::Algorithm::RoundRobin),
        (AlgorithmType::Random, _) => Ok(wire::Algorithm::Random),
        (AlgorithmType::ResponseTimeWeighted, _) => Ok(wire::Algorithm::ResponseTimeWeighted),
        (AlgorithmType::LeastConnections, _) => {
            let choice_count = choices("leastConnections", least_connections.as_ref())?;
            Ok(wire::Algorithm::LeastConnections { choice_count })
        }
        (AlgorithmType::LeastResponseTime, _) => {
            let choice_count = choices("leastResponseTime", least_response_time.as_ref())?;
            Ok(wire::Algorithm::LeastResponseTime { choice_count })
        }
        (AlgorithmType::LeastCost, _) => compile_cost(&least_cost.clone().unwrap_or_default()),
        (AlgorithmType::ConsistentHash, Some(hash)) => compile_hash(hash),
        (AlgorithmType::ConsistentHash, None) => {
            Err(Rejection::MemberMissing { field: FIELD.into(), member: "consistentHash", chosen: "type: ConsistentHash" })
        }
    }
}

fn choices(member: &str, given: Option<&Choices>) -> Result<u32, Rejection> {
    let Choices { choice_count } = given.cloned().unwrap_or_default();
    within(&format!("{FIELD}.{member}.choiceCount"), choice_count, bounds::CHOICE_COUNT)?;
    Ok(choice_count)
}

fn compile_cost(cost: &LeastCost) -> Result<wire::Algorithm, Rejection> {
    let LeastCost { choice_count, class: CostClass { r#type, route } } = cost;
    let field = format!("{FIELD}.leastCost");
    within(&format!("{field}.choiceCount"), *choice_count, bounds::CHOICE_COUNT)?;
    let class = match (r#type, route) {
        (CostClassType::Route, route) => {
            let CostRoute { segments } = route.clone().unwrap_or_default();
            within(&format!("{field}.class.route.segments"), segments, bounds::ROUTE_SEGMENTS)?;
            wire::CostClass::Route { segments }
        }
        (CostClassType::BodyLength, None) => wire::CostClass::BodyLength,
        (CostClassType::BodyLength, Some(_)) => {
            return Err(foreign(format!("{field}.class"), "route", "type is BodyLength".into(), "type: Route"));
        }
    };
    Ok(wire::Algorithm::LeastCost { choice_count: *choice_count, class })
}

fn foreign(field: String, member: &'static str, chosen: String, fitting: &'static str) -> Rejection {
    Rejection::MemberForeign { field, member, chosen, fitting }
}

fn compile_hash(hash: &ConsistentHash) -> Result<wire::Algorithm, Rejection> {
    let ConsistentHash { table, keys, hash_balance_factor } = hash;
    let field = "spec.algorithm.consistentHash";
    let table = compile_table(&format!("{field}.table"), table)?;
    within(&format!("the number of {field}.keys"), keys.len(), bounds::HASH_KEYS)?;
    if let Some(factor) = hash_balance_factor {
        within(&format!("{field}.hashBalanceFactor"), *factor, bounds::HASH_BALANCE_FACTOR)?;
    }
    let keys = keys.iter().enumerate().map(|(i, key)| compile_key(at(&format!("{field}.keys"), i), key));
    let keys = keys.collect::<Result<_, _>>()?;
    Ok(wire::Algorithm::ConsistentHash { table, keys, hash_balance_factor: *hash_balance_factor })
}

fn compile_table(field: &str, table: &HashTable) -> Result<wire::Table, Rejection> {
    let HashTable { r#type, ring, maglev } = table;
    let chosen = || format!("type is {type:?}");
    if ring.is_some() && *r#type != HashTableType::Ring {
        return Err(foreign(field.into(), "ring", chosen(), "type: Ring"));
    }
    if maglev.is_some() && *r#type != HashTableType::Maglev {
        return Err(foreign(field.into(), "maglev", chosen(), "type: Maglev"));
    }
    match r#type {
        HashTableType::Ring => {
            let Ring { virtual_nodes } = ring.clone().unwrap_or_default();
            within(&format!("{field}.ring.virtualNodes"), virtual_nodes, bounds::VIRTUAL_NODES)?;
            Ok(wire::Table::Ring { virtual_nodes })
        }
        HashTableType::Maglev => {
            let Maglev { table_size } = maglev.clone().unwrap_or_default();
            let field = format!("{field}.maglev.tableSize");
            within(&field, table_size, bounds::TABLE_SIZE)?;
            prime(&field, table_size)?;
            Ok(wire::Table::Maglev { size: table_size })
        }
        HashTableType::Rendezvous => Ok(wire::Table::Rendezvous),
    }
}

fn compile_key(field: String, key: &HashKey) -> Result<wire::HashKey, Rejection> {
    match (key.r#type, &key.header) {
        (HashKeyType::Header, Some(header)) => {
            form(&format!("{field}.header.name"), &header.name, rule::HEADER)?;
            Ok(wire::HashKey::Header { name: header.name.to_ascii_lowercase() })
        }
        (HashKeyType::Header, None) => Err(Rejection::MemberMissing { field, member: "header", chosen: "type: Header" }),
        (HashKeyType::SourceIp, None) => Ok(wire::HashKey::SourceIp),
        (HashKeyType::SourceIp, Some(_)) => Err(foreign(field, "header", "type is SourceIP".into(), "type: Header")),
    }
}

/// Listeners that the algorithm has nothing to go by on. A warning, not a rejection: they still balance, by least connections,
/// and the same pool may have an HTTP listener that is served as meant.
pub(super) fn unfit_listeners(algorithm: &wire::Algorithm, listeners: &[wire::Listener]) -> Vec<String> {
    let why = match algorithm {
        wire::Algorithm::ConsistentHash { keys, .. } if !keys.contains(&wire::HashKey::SourceIp) => {
            "has no headers, so each is given to one of the least loaded endpoints; add a key of type SourceIP"
        }
        wire::Algorithm::LeastCost { .. } => {
            "has neither a path nor a length, so all of them are expected to cost the same, as with type: LeastConnections"
        }
        _ => return Vec::new(),
    };
    let said = |listener: &wire::Listener| {
        let what = match listener.protocol {
            wire::Protocol::Http => return None,
            wire::Protocol::Tcp => "a TCP connection",
            wire::Protocol::Tls => "a TLS connection that is passed through",
            wire::Protocol::Udp => "a UDP session",
        };
        Some(format!("listener {}: {what} {why}", listener.name))
    };
    listeners.iter().filter_map(said).collect()
}
