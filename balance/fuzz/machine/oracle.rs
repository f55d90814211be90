//! What must come of it, written plainly from the promises in the crate's docs: who may be picked, what the bound allows, which lists
//! cannot be built. Slow and obvious, no code shared with what it judges.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use evenkeel_balance::{Algorithm, Config, Ejection, Endpoint, Health, PickReason, Pool, Table};

/// Who is to be picked from, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// These, for the algorithm's own reason.
    Candidates,
    /// These, ejected or not.
    Panic,
    /// Draining ones.
    LastResort,
}

/// The candidates among the members, subsets left out.
pub(crate) fn candidates(pool: &Pool) -> (Scope, Vec<&Arc<Endpoint>>) {
    let Config { passive, panic_threshold, .. } = pool.config();
    let with = |healths: &[Health], depth: u8| -> Vec<&Arc<Endpoint>> {
        pool.members().iter().filter(|member| healths.contains(&member.health()) && member.priority() <= depth).collect()
    };
    let counted = with(&[Health::Usable, Health::Down], u8::MAX);
    let Some(first) = counted.iter().map(|member| member.priority()).min() else {
        return (Scope::LastResort, with(&[Health::Draining], u8::MAX));
    };
    let first_group = counted.iter().filter(|member| member.priority() == first).count();
    let needed = first_group * usize::from(*panic_threshold);
    let mut found = Vec::new();
    for depth in first..=u8::MAX {
        found = with(&[Health::Usable], depth);
        found.retain(|member| passive.is_none() || member.ejection() == Ejection::Closed);
        if !found.is_empty() && found.len() * 100 >= needed {
            return (Scope::Candidates, found);
        }
    }
    for group in first..=u8::MAX {
        let of_group = |members: &[&Arc<Endpoint>]| members.iter().filter(|member| member.priority() == group).count();
        if of_group(&found) > 0 && of_group(&found) * 100 >= of_group(&counted) * usize::from(*panic_threshold) {
            return (Scope::Candidates, found);
        }
    }
    if found.len() * 100 < needed {
        return (Scope::Panic, counted);
    }
    match with(&[Health::Usable], u8::MAX) {
        none if none.is_empty() => (Scope::LastResort, with(&[Health::Draining], u8::MAX)),
        ejected => (Scope::Panic, ejected),
    }
}

/// What a pick's reason says about whom it may have picked.
pub(crate) fn scope_of(reason: PickReason) -> Scope {
    match reason {
        PickReason::Panic => Scope::Panic,
        PickReason::LastResort => Scope::LastResort,
        _ => Scope::Candidates,
    }
}

/// The bound of a pool's hash table in percent, where it has one.
pub(crate) fn bound(config: &Config) -> Option<u32> {
    match config.algorithm {
        Algorithm::ConsistentHash { hash_balance_factor, .. } => hash_balance_factor,
        _ => None,
    }
}

/// Whether an endpoint with `taken` in flight may take one more: in + 1 ≤ ⌈c·(m + 1)·w/W⌉, in whole numbers.
pub(crate) fn fits(percent: u32, taken: u32, weight: u16, total: u64, total_weight: u64) -> bool {
    let room = u128::from(percent) * u128::from(total + 1) * u128::from(weight);
    let most = room.div_ceil(100 * u128::from(total_weight));
    (u128::from(taken) + 1) <= most
}

/// Whether a pool of these members can be built at all.
pub(crate) fn is_legal(config: &Config, members: &[Arc<Endpoint>], books: usize) -> bool {
    let ids: HashSet<&str> = members.iter().map(|member| member.id()).collect();
    let weights = members.iter().all(|member| (1..=1000).contains(&member.weight()));
    let settings = config.panic_threshold <= 100
        && config.subset.is_none_or(|subset| subset.size > 0)
        && config.endpoint_limit.is_none_or(|limit| limit > 0)
        && config.slow_start.is_none_or(|slow_start| (1..=100).contains(&slow_start.min_weight_percent))
        && config.passive.is_none_or(|passive| passive.max_ejection_percent <= 100);
    let fits = config.subset.is_none() || !matches!(config.algorithm, Algorithm::ConsistentHash { .. });
    books <= 1 && ids.len() == members.len() && weights && settings && fits && is_legal_algorithm(&config.algorithm, members)
}

fn is_legal_algorithm(algorithm: &Algorithm, members: &[Arc<Endpoint>]) -> bool {
    match *algorithm {
        Algorithm::ConsistentHash { table, hash_balance_factor } => {
            hash_balance_factor.is_none_or(|percent| percent >= 100) && is_legal_table(table, members)
        }
        Algorithm::Packing { limit } => limit > 0,
        _ => true,
    }
}

fn is_legal_table(table: Table, members: &[Arc<Endpoint>]) -> bool {
    let names: HashSet<&str> = members.iter().map(|member| member.ring_key()).collect();
    match table {
        Table::Ring { virtual_nodes } => virtual_nodes > 0 && ring_points(virtual_nodes, members) <= 1 << 22,
        Table::Maglev { size } => size <= 5_000_011 && is_prime(size) && names.len() <= size as usize,
        Table::Rendezvous => names.len() <= 1_000,
    }
}

fn is_prime(number: u32) -> bool {
    (1..=number).filter(|&divisor| number.is_multiple_of(divisor)).count() == 2
}

/// Those of one name share the most points that one of them asks for.
fn ring_points(virtual_nodes: u32, members: &[Arc<Endpoint>]) -> u64 {
    let mut points = HashMap::new();
    for member in members {
        let own = (u64::from(virtual_nodes) * u64::from(member.weight()) / 100).max(1);
        let most = points.entry(member.ring_key()).or_insert(own);
        *most = own.max(*most);
    }
    points.values().sum()
}
