//! From the feed's types to those of `balance`, and the bounds that a policy and a list must keep. Pure. What the feed says
//! has been checked by the operator; a sidecar still doesn't take it on trust.

use super::MAX_ENDPOINTS;
use super::refusal::Refusal;
use evenkeel_balance as balance;
use evenkeel_crds::bounds::{self, Bounds};
use evenkeel_wire::{self as wire, Policy};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

const MAX_ID: usize = 400;

/// Refuses what this version cannot serve.
pub(crate) fn check_policy(policy: &Policy) -> Result<(), Refusal> {
    // No feature has needed a name yet.
    if let Some(feature) = policy.requires.first() {
        return Err(Refusal::UnknownFeature(feature.chars().take(80).collect()));
    }
    within("the number of listeners", policy.listeners.len() as u64, bounds::LISTENERS)?;
    let mut ports = BTreeSet::new();
    for listener in &policy.listeners {
        within("a listener's port", listener.port.into(), bounds::LISTENER_PORT)?;
        if !ports.insert(listener.port) {
            return Err(Refusal::PortTwice(listener.port));
        }
    }
    match &policy.algorithm {
        wire::Algorithm::RoundRobin => {}
        wire::Algorithm::LeastConnections { choice_count } => {
            within("choiceCount", (*choice_count).into(), bounds::CHOICE_COUNT)?;
        }
        wire::Algorithm::ConsistentHash { table: wire::Table::Ring { virtual_nodes }, keys: _, hash_balance_factor } => {
            within("virtualNodes", (*virtual_nodes).into(), bounds::VIRTUAL_NODES)?;
            let factor = hash_balance_factor.map_or(bounds::HASH_BALANCE_FACTOR.min, u64::from);
            within("hashBalanceFactor", factor, bounds::HASH_BALANCE_FACTOR)?;
        }
    }
    within("panicThreshold", policy.panic_threshold.into(), bounds::PERCENT)?;
    within("maxRetries", policy.retry.max_retries.into(), bounds::MAX_RETRIES)?;
    within("connectTimeoutMs", policy.connect_timeout_ms, bounds::CONNECT_TIMEOUT)?;
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

fn within(field: &'static str, value: u64, bounds: Bounds) -> Result<(), Refusal> {
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
        if !ids.insert(&endpoint.id) {
            return Err(Refusal::Build(balance::BuildError::DuplicateId { id: endpoint.id.clone() }));
        }
    }
    let members = endpoints.iter().map(|endpoint| (endpoint.ring_key.as_str(), endpoint.weight));
    balance_algorithm(algorithm).check(members).map_err(Refusal::Build)
}

/// The part of an endpoint that choosing needs.
pub(crate) fn spec(endpoint: &wire::Endpoint, health: balance::Health) -> balance::EndpointSpec {
    let wire::Endpoint { id, ring_key, address, port, weight, zone, node: _, target: _, health: _ } = endpoint;
    balance::EndpointSpec {
        id: id.clone(),
        ring_key: ring_key.clone(),
        address: SocketAddr::new(address.to_canonical(), *port),
        weight: *weight,
        zone: zone.clone(),
        priority: 0,
        health,
    }
}

/// The part of a policy that choosing needs.
pub(crate) fn config(policy: &Policy) -> balance::Config {
    let algorithm = balance_algorithm(&policy.algorithm);
    let passive = policy.passive.map(|passive| balance::Passive {
        consecutive_errors: passive.consecutive_errors,
        window: Duration::from_millis(passive.window_ms),
        base_ejection: Duration::from_millis(passive.base_ejection_ms),
        max_ejection: Duration::from_millis(passive.max_ejection_ms),
        max_ejection_percent: passive.max_ejection_percent,
    });
    balance::Config { panic_threshold: policy.panic_threshold, passive, ..balance::Config::new(algorithm) }
}

fn balance_algorithm(algorithm: &wire::Algorithm) -> balance::Algorithm {
    match algorithm {
        wire::Algorithm::RoundRobin => balance::Algorithm::RoundRobin,
        wire::Algorithm::LeastConnections { choice_count } => {
            balance::Algorithm::LeastConnections { choice_count: *choice_count }
        }
        wire::Algorithm::ConsistentHash { table: wire::Table::Ring { virtual_nodes }, keys: _, hash_balance_factor } => {
            balance::Algorithm::ConsistentHash {
                table: balance::Table::Ring { virtual_nodes: *virtual_nodes },
                hash_balance_factor: *hash_balance_factor,
            }
        }
    }
}
