//! A pool for tests: endpoints at these addresses, picked in turn unless the policy says otherwise.

use crate::metrics::Registry;
use crate::table::{Member, PoolEntry, Table};
use crate::worker::{Shared, Worker};
use arc_swap::ArcSwap;
use evenkeel_balance::{Algorithm, Book, Config, EndpointSpec, Health, Passive};
use evenkeel_wire::{Policy, PoolName};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

const NAME: &str = "test/pool";

/// A pool and its endpoints' records.
pub(super) struct Fixture {
    pub(super) table: Arc<ArcSwap<Table>>,
    book: Book,
    policy: Policy,
    passive: Cell<Option<Passive>>,
}

impl Fixture {
    pub(super) fn new(policy: Policy, endpoints: &[SocketAddr]) -> Self {
        let fixture = Self { table: Arc::default(), book: Book::new(), policy, passive: Cell::new(None) };
        fixture.list(endpoints);
        fixture
    }

    /// From now on one failed connect ejects.
    pub(super) fn eject_at_once(&self) {
        let minute = std::time::Duration::from_secs(60);
        self.passive.set(Some(Passive {
            consecutive_errors: 1,
            window: minute,
            base_ejection: minute,
            max_ejection: minute,
            max_ejection_percent: 100,
        }));
        let endpoints: Vec<_> = self.pool().members().map(|member| member.endpoint().address()).collect();
        self.list(&endpoints);
    }

    pub(super) fn pool(&self) -> Arc<PoolEntry> {
        self.table.load().pools().values().next().expect("a pool").clone()
    }

    /// The pool's next list: who is in it no longer, leaves.
    pub(super) fn list(&self, endpoints: &[SocketAddr]) {
        let name: PoolName = NAME.parse().expect("a name");
        let before = self.table.load().pools().get(&name).cloned();
        let metrics = before.as_ref().map_or_else(|| Registry::new(2).pool(&name), |before| before.metrics().clone());
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
        let config = Config { panic_threshold: 0, passive: self.passive.get(), ..Config::new(algorithm) };
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
