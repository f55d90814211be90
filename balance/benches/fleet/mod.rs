//! Endpoints and pools as the benches and the memory tests want them: names as long as a cluster's, and a chosen number of requests in
//! flight on each endpoint.
#![allow(dead_code, reason = "each of them uses its part")]

pub(crate) mod cpu_time;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, EndpointSpec, Health, InFlight, PickArgs, Pool, SmallRng, Table};

/// What the operator would say of one pod: UID and port, namespace/name:port, zone.
pub(crate) fn spec(number: usize) -> EndpointSpec {
    EndpointSpec {
        id: format!("3f2b8c1e-9d47-4c58-a1f0-{number:012x}:8080"),
        ring_key: format!("shop/checkout-7d9f8b6c5-x{number:04}:8080"),
        address: SocketAddr::from(([10, 244, (number / 256) as u8, number as u8], 8080)),
        weight: 100,
        zone: Some("eu-central-1a".to_owned()),
        priority: 0,
        health: Health::Usable,
    }
}

pub(crate) fn enter(book: &Book, count: usize) -> Vec<Arc<Endpoint>> {
    let now = Instant::now();
    (0..count).map(|number| book.enter(spec(number), now)).collect()
}

pub(crate) fn pool(algorithm: Algorithm, members: &[Arc<Endpoint>]) -> Pool {
    Pool::try_new(Config::new(algorithm), members.to_vec(), 1).expect("a legal pool")
}

/// Puts exactly this many requests on the endpoint.
pub(crate) fn load(endpoint: &Arc<Endpoint>, count: usize) -> Vec<InFlight> {
    let alone = pool(Algorithm::RoundRobin, std::slice::from_ref(endpoint));
    let mut rng = SmallRng::new(0);
    (0..count).map(|_| alone.pick(PickArgs::default(), Instant::now(), &mut rng).expect("one endpoint").lease).collect()
}

/// The ring as it is by default: 150 points an endpoint.
pub(crate) const RING: Table = Table::Ring { virtual_nodes: 150 };

pub(crate) fn hash(table: Table, hash_balance_factor: Option<u32>) -> Algorithm {
    Algorithm::ConsistentHash { table, hash_balance_factor }
}

/// Every algorithm under the name that the tables of figures give it.
pub(crate) fn algorithms() -> Vec<(&'static str, Algorithm)> {
    let least = |choice_count| Algorithm::LeastConnections { choice_count };
    vec![
        ("round robin", Algorithm::RoundRobin),
        ("random", Algorithm::Random),
        ("two choices", least(2)),
        ("five choices", least(5)),
        ("full scan", least(0)),
        ("response time, two choices", Algorithm::LeastResponseTime { choice_count: 2 }),
        ("response time, full scan", Algorithm::LeastResponseTime { choice_count: 0 }),
        ("least cost, two choices", Algorithm::LeastCost { choice_count: 2 }),
        ("response time as weight", Algorithm::ResponseTimeWeighted),
        ("reported weight", Algorithm::ReportedWeighted),
        ("packing", Algorithm::Packing { limit: 100 }),
        ("Prequal with 3 replies", Algorithm::Prequal),
        ("least expected time with 3 replies", Algorithm::LeastExpectedTime),
        ("ring", hash(RING, None)),
        ("ring with bounded load", hash(RING, Some(125))),
        ("Maglev", hash(Table::MAGLEV, None)),
        ("Maglev with bounded load", hash(Table::MAGLEV, Some(125))),
        ("rendezvous", hash(Table::Rendezvous, None)),
        ("rendezvous with bounded load", hash(Table::Rendezvous, Some(125))),
    ]
}

/// A pool whose endpoints all have some requests; these end when it is dropped.
pub(crate) struct Fleet {
    pub(crate) pool: Pool,
    busy: Vec<InFlight>,
}

impl Fleet {
    /// `count` endpoints with `in_flight` requests on each.
    pub(crate) fn new(algorithm: Algorithm, count: usize, in_flight: usize) -> Self {
        let members = enter(&Book::new(), count);
        let busy = members.iter().flat_map(|member| load(member, in_flight)).collect();
        Self { pool: pool(algorithm, &members), busy }
    }
}
