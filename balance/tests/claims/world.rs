//! Books, pools and members for the tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, EndpointSpec, Health, Passive, Pool, Table};

pub(crate) fn spec(number: usize) -> EndpointSpec {
    EndpointSpec {
        id: format!("uid-{number}:80"),
        ring_key: format!("shop/web-{number}:80"),
        address: format!("10.0.{}.{}:80", number / 250, number % 250 + 1).parse().unwrap(),
        weight: 100,
        zone: None,
        priority: 0,
        health: Health::Usable,
    }
}

pub(crate) fn enter(book: &Book, count: usize) -> Vec<Arc<Endpoint>> {
    (0..count).map(|number| book.enter(spec(number), Instant::now())).collect()
}

pub(crate) fn least(choice_count: u32) -> Algorithm {
    Algorithm::LeastConnections { choice_count }
}

pub(crate) fn ring(hash_balance_factor: Option<u32>) -> Algorithm {
    Algorithm::ConsistentHash { table: Table::Ring { virtual_nodes: 150 }, hash_balance_factor }
}

/// The same on a ring that is built quickly: for properties that try many lists.
pub(crate) fn small_ring(hash_balance_factor: Option<u32>) -> Algorithm {
    Algorithm::ConsistentHash { table: Table::Ring { virtual_nodes: 10 }, hash_balance_factor }
}

/// One of each kind.
pub(crate) fn algorithms() -> Vec<Algorithm> {
    vec![
        Algorithm::RoundRobin,
        Algorithm::Random,
        least(0),
        least(1),
        least(2),
        least(20),
        Algorithm::LeastResponseTime { choice_count: 2 },
        Algorithm::ResponseTimeWeighted,
        Algorithm::ReportedWeighted,
        Algorithm::Packing { limit: 5 },
        Algorithm::LeastCost { choice_count: 2 },
        Algorithm::Prequal,
        Algorithm::LeastExpectedTime,
        small_ring(None),
        small_ring(Some(125)),
    ]
}

pub(crate) fn passive() -> Passive {
    Passive {
        consecutive_errors: 5,
        window: Duration::from_secs(60),
        base_ejection: Duration::from_secs(1),
        max_ejection: Duration::from_secs(60),
        max_ejection_percent: 50,
    }
}

/// Panic below 50 %, passive checks on.
pub(crate) fn config(algorithm: Algorithm) -> Config {
    Config { passive: Some(passive()), ..Config::new(algorithm) }
}

pub(crate) fn pool(algorithm: Algorithm, members: &[Arc<Endpoint>]) -> Pool {
    Pool::try_new(config(algorithm), members.to_vec(), 1).unwrap()
}

pub(crate) fn number(endpoint: &Endpoint) -> usize {
    endpoint.id().strip_prefix("uid-").and_then(|id| id.strip_suffix(":80")).unwrap().parse().unwrap()
}
