//! The counts of the data path, made for one writer a shard: relaxed atomics, no lock, no allocation after first use.
//! Readers add the shards up. What an endpoint counted stays in its pool's sums when the endpoint leaves, so that no sum
//! over a pool ever goes backwards.

mod collect;
mod histogram;
mod pool;

pub(crate) use collect::{Exporter, Sources};
pub(crate) use pool::{EndpointSeries, OpenConnection, PoolMetrics};

use evenkeel_wire::PoolName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The way that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the endpoint.
    Upstream,
    /// From the endpoint to the client.
    Downstream,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Upstream, Self::Downstream];

    fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }
}

/// The side of the proxy that a connection is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// With a client.
    Downstream,
    /// With an endpoint.
    Upstream,
}

impl Side {
    const ALL: [Self; 2] = [Self::Downstream, Self::Upstream];

    fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}

/// The pools' counts by name. Written by the control plane, read by scrapes; the data path has its handles.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    pools: Mutex<BTreeMap<PoolName, Arc<PoolMetrics>>>,
}

impl Registry {
    /// For this many workers, each with a shard of everything.
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, pools: Mutex::default() }
    }

    /// The counts of a pool, made at its first mention.
    pub(crate) fn pool(&self, name: &PoolName) -> Arc<PoolMetrics> {
        let mut pools = self.lock();
        pools.entry(name.clone()).or_insert_with(|| Arc::new(PoolMetrics::new(self.workers))).clone()
    }

    /// Forgets a pool that is gone; its series end.
    pub(crate) fn remove(&self, name: &PoolName) {
        self.lock().remove(name);
    }

    fn snapshot(&self) -> Vec<(String, Arc<PoolMetrics>)> {
        self.lock().iter().map(|(name, pool)| (name.to_string(), pool.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PoolName, Arc<PoolMetrics>>> {
        // A map is whole after each statement.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
