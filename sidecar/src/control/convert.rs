//! From the feed's types to those of `balance`, and the bounds that a policy and a list must keep. Pure. What the feed says
//! has been checked by the operator; a sidecar still doesn't take it on trust.

use super::refusal::Refusal;
use super::{MAX_ENDPOINTS, Rules, settings};
use evenkeel_balance as balance;
use evenkeel_crds::bounds::{self, Bounds};
use evenkeel_wire::{self as wire, Policy};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

const MAX_ID: usize = 400;

/// Refuses what this version cannot serve.
pub(crate) fn check_policy(policy: &Policy) -> Result<(), Refusal> {
    if let Some(feature) = policy.requires.iter().find(|feature| !wire::feature::KNOWN.contains(&feature.as_str())) {
        return Err(Refusal::UnknownFeature(feature.chars().take(80).collect()));
    }
    within("the number of listeners", policy.listeners.len() as u64, bounds::LISTENERS)?;
    let mut ports = BTreeSet::new();
    for listener in &policy.listeners {
        if !ports.insert(listener.transport_port()) {
            return Err(Refusal::PortTwice(listener.transport_port()));
        }
    }
    settings::check(policy)?;
    check_algorithm(&policy.algorithm)?;
    if let Some(wire::SlowStart { window_ms, min_weight_percent }) = policy.slow_start {
        within("slowStart.windowMs", window_ms, bounds::SLOW_START)?;
        within("slowStart.minWeightPercent", min_weight_percent.into(), bounds::MIN_WEIGHT_PERCENT)?;
    }
    if let Some(wire::Subset { size }) = policy.subset {
        within("subset.size", size.into(), bounds::SUBSET_SIZE)?;
        if matches!(policy.algorithm, wire::Algorithm::ConsistentHash { .. }) {
            return Err(Refusal::Build(balance::BuildError::SubsetOfTable));
        }
    }
    within("panicThreshold", policy.panic_threshold.into(), bounds::PERCENT)?;
    within("maxRetries", policy.retry.max_retries.into(), bounds::MAX_RETRIES)?;
    if let Some(active) = &policy.active {
        within("active.intervalMs", active.interval_ms, bounds::CHECK_INTERVAL)?;
        within("active.timeoutMs", active.timeout_ms, bounds::CHECK_TIMEOUT)?;
        within("active.unhealthyThreshold", active.unhealthy_threshold.into(), bounds::CHECK_THRESHOLD)?;
        within("active.healthyThreshold", active.healthy_threshold.into(), bounds::CHECK_THRESHOLD)?;
    }
    if let Some(passive) = &policy.passive {
        let longest = Bounds::new(passive.base_ejection_ms, bounds::EJECTION_TIME.max);
        within("passive.consecutiveErrors", passive.consecutive_errors.into(), bounds::CONSECUTIVE_ERRORS)?;
        within("passive.windowMs", passive.window_ms, bounds::EJECTION_WINDOW)?;
        within("passive.baseEjectionMs", passive.base_ejection_ms, bounds::EJECTION_TIME)?;
        within("passive.maxEjectionMs", passive.max_ejection_ms, longest)?;
        within("passive.maxEjectionPercent", passive.max_ejection_percent.into(), bounds::PERCENT)?;
    }
    Ok(())
}

fn check_algorithm(algorithm: &wire::Algorithm) -> Result<(), Refusal> {
    use wire::Algorithm::{ConsistentHash, LeastConnections, LeastCost, LeastResponseTime};
    match algorithm {
        wire::Algorithm::RoundRobin | wire::Algorithm::Random | wire::Algorithm::ResponseTimeWeighted => Ok(()),
        LeastConnections { choice_count } | LeastResponseTime { choice_count } => {
            within("choiceCount", (*choice_count).into(), bounds::CHOICE_COUNT)
        }
        LeastCost { choice_count, class } => {
            within("choiceCount", (*choice_count).into(), bounds::CHOICE_COUNT)?;
            match class {
                wire::CostClass::Route { segments } => within("class.segments", (*segments).into(), bounds::ROUTE_SEGMENTS),
                wire::CostClass::BodyLength => Ok(()),
            }
        }
        ConsistentHash { table, keys: _, hash_balance_factor } => {
            let factor = hash_balance_factor.map_or(bounds::HASH_BALANCE_FACTOR.min, u64::from);
            within("hashBalanceFactor", factor, bounds::HASH_BALANCE_FACTOR)?;
            match table {
                wire::Table::Ring { virtual_nodes } => within("virtualNodes", (*virtual_nodes).into(), bounds::VIRTUAL_NODES),
                wire::Table::Maglev { size } => within("maglev.size", (*size).into(), bounds::TABLE_SIZE),
                wire::Table::Rendezvous => Ok(()),
            }
        }
    }
}

/// Refuses a number out of its bounds.
pub(super) fn within(field: &'static str, value: u64, bounds: Bounds) -> Result<(), Refusal> {
    if bounds.hold(value) { Ok(()) } else { Err(Refusal::OutOfRange { field, value, bounds }) }
}

/// Refuses a list that is too long, has endpoints that cannot be, or is more than the algorithm can take. `balance` would
/// refuse some of it too, but only after the live records have been touched.
pub(crate) fn check_endpoints(endpoints: &[wire::Endpoint], algorithm: &wire::Algorithm) -> Result<(), Refusal> {
    if endpoints.len() > MAX_ENDPOINTS {
        return Err(Refusal::TooManyEndpoints);
    }
    let mut ids = BTreeSet::new();
    for endpoint in endpoints {
        let bad_text = |text: &str| text.is_empty() || text.len() > MAX_ID;
        if endpoint.port == 0 || bad_text(&endpoint.id) || bad_text(&endpoint.ring_key) {
            return Err(Refusal::Endpoint(endpoint.id.chars().take(80).collect()));
        }
        if !bounds::WEIGHT.hold(endpoint.weight.into()) {
            let (id, weight) = (endpoint.id.clone(), endpoint.weight);
            return Err(Refusal::Build(balance::BuildError::Weight { id, weight }));
        }
        within("an endpoint's priority", endpoint.priority.into(), bounds::PRIORITY)?;
        if !ids.insert(&endpoint.id) {
            return Err(Refusal::Build(balance::BuildError::DuplicateId { id: endpoint.id.clone() }));
        }
    }
    let members = endpoints.iter().map(|endpoint| (endpoint.ring_key.as_str(), endpoint.weight));
    balance_algorithm(algorithm).check(members).map_err(Refusal::Build)
}

/// The part of an endpoint that choosing needs.
pub(crate) fn spec(endpoint: &wire::Endpoint, health: balance::Health) -> balance::EndpointSpec {
    let wire::Endpoint { id, ring_key, address, port, weight, priority, zone, node: _, target: _, health: _ } = endpoint;
    balance::EndpointSpec {
        id: id.clone(),
        ring_key: ring_key.clone(),
        address: SocketAddr::new(address.to_canonical(), *port),
        weight: *weight,
        zone: zone.clone(),
        priority: *priority,
        health,
    }
}

/// The part of a policy that choosing needs, and what of this process it depends on.
pub(crate) fn config(policy: &Policy, rules: &Rules) -> balance::Config {
    let algorithm = balance_algorithm(&policy.algorithm);
    let passive = policy.passive.map(|passive| balance::Passive {
        consecutive_errors: passive.consecutive_errors,
        window: Duration::from_millis(passive.window_ms),
        base_ejection: Duration::from_millis(passive.base_ejection_ms),
        max_ejection: Duration::from_millis(passive.max_ejection_ms),
        max_ejection_percent: passive.max_ejection_percent,
    });
    let slow_start = policy.slow_start.map(|slow_start| balance::SlowStart {
        window: Duration::from_millis(slow_start.window_ms),
        min_weight_percent: slow_start.min_weight_percent,
    });
    let zone = rules.zone.clone().filter(|_| policy.zone_aware);
    let subset = policy.subset.map(|subset| balance::Subset { size: subset.size, seed: rules.identity });
    let endpoint_limit = policy.limits.max_parallel_requests_per_endpoint;
    balance::Config { algorithm, panic_threshold: policy.panic_threshold, passive, slow_start, zone, subset, endpoint_limit }
}

fn balance_algorithm(algorithm: &wire::Algorithm) -> balance::Algorithm {
    match algorithm {
        wire::Algorithm::RoundRobin => balance::Algorithm::RoundRobin,
        wire::Algorithm::Random => balance::Algorithm::Random,
        wire::Algorithm::LeastConnections { choice_count } => {
            balance::Algorithm::LeastConnections { choice_count: *choice_count }
        }
        wire::Algorithm::LeastResponseTime { choice_count } => {
            balance::Algorithm::LeastResponseTime { choice_count: *choice_count }
        }
        wire::Algorithm::ResponseTimeWeighted => balance::Algorithm::ResponseTimeWeighted,
        wire::Algorithm::LeastCost { choice_count, class: _ } => balance::Algorithm::LeastCost { choice_count: *choice_count },
        wire::Algorithm::ConsistentHash { table, keys: _, hash_balance_factor } => {
            let table = match *table {
                wire::Table::Ring { virtual_nodes } => balance::Table::Ring { virtual_nodes },
                wire::Table::Maglev { size } => balance::Table::Maglev { size },
                wire::Table::Rendezvous => balance::Table::Rendezvous,
            };
            balance::Algorithm::ConsistentHash { table, hash_balance_factor: *hash_balance_factor }
        }
    }
}
