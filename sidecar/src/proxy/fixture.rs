//! A pool for tests: endpoints at these addresses, picked in turn unless the policy says otherwise.

use crate::metrics::Registry;
use crate::table::{Member, PoolEntry, Table};
use crate::worker::{Shared, Worker};
use arc_swap::ArcSwap;
use evenkeel_balance::{Algorithm, Book, Config, EndpointSpec, Health};
use evenkeel_wire::{Policy, PoolName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

const NAME: &str = "test/pool";

/// A pool and its endpoints' records.
pub(super) struct Fixture {
    pub(super) table: Arc<ArcSwap<Table>>,
    book: Book,
    policy: Policy,
}

impl Fixture {
    pub(super) fn new(policy: Policy, endpoints: &[SocketAddr]) -> Self {
        let fixture = Self { table: Arc::default(), book: Book::new(), policy };
        fixture.list(endpoints);
        fixture
    }

    /// The pool's next list: who is in it no longer, leaves.
    pub(super) fn list(&self, endpoints: &[SocketAddr]) {
        let name: PoolName = NAME.parse().expect("a name");
        let before = self.table.load().pools().get(&name).cloned();
        let metrics = before.as_ref().map_or_else(|| Registry::new(1).pool(&name), |before| before.metrics().clone());
        let known = |address| before.as_ref()?.members().find(|member| member.endpoint().address() == address).cloned();
        let members: Vec<_> = endpoints
            .iter()
            .map(|address| {
                known(*address).unwrap_or_else(|| {
                    let id = address.to_string();
                    let spec = EndpointSpec {
                        ring_key: id.clone(),
                        id: id.clone(),
                        address: *address,
                        weight: 100,
                        zone: None,
                        priority: 0,
                        health: Health::Usable,
                    };
                    Arc::new(Member::new(self.book.enter(spec, Instant::now()), metrics.enter(&id, &id)))
                })
            })
            .collect();
        let algorithm = match &self.policy.algorithm {
            evenkeel_wire::Algorithm::ConsistentHash { .. } => Algorithm::ConsistentHash {
                table: evenkeel_balance::Table::Ring { virtual_nodes: 10 },
                hash_balance_factor: None,
            },
            _ => Algorithm::RoundRobin,
        };
        let config = Config { panic_threshold: 0, ..Config::new(algorithm) };
        let records = members.iter().map(|member| member.endpoint().clone()).collect();
        let balance = evenkeel_balance::Pool::try_new(config, records, 7).expect("a pool");
        let entry = PoolEntry::new(name.clone(), 1, Arc::new(self.policy.clone()), balance, members, metrics);
        self.table.store(Arc::new(Table::new([(name, Arc::new(entry))].into(), |_| true)));
        for member in before.iter().flat_map(|before| before.members()) {
            if !endpoints.contains(&member.endpoint().address()) {
                member.retire();
            }
        }
    }

    pub(super) fn worker(&self) -> Worker {
        let shared = Shared { table: self.table.clone(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
        Worker::new(0, shared, 7)
    }
}
