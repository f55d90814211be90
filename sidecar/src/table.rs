//! What the data path routes by: an immutable snapshot, swapped whole. Shape is here; live state is on the endpoints.
//! It is loaded for each connection and request and is never held across an await; a [`PoolEntry`] may be.

use crate::metrics::{EndpointSeries, PoolMetrics};
use crate::proxy::attempt::Chosen;
use crate::worker::Worker;
use evenkeel_balance::{Endpoint, Outcome, Transition};
use evenkeel_wire::{Listener, Policy, PoolName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// One snapshot.
#[derive(Default)]
pub(crate) struct Table {
    routes: BTreeMap<u16, Route>,
    pools: BTreeMap<PoolName, Arc<PoolEntry>>,
}

/// Where a port leads.
#[derive(Clone)]
pub(crate) struct Route {
    /// What is asked of a connection there.
    pub(crate) listener: Arc<Listener>,
    /// The pool behind it.
    pub(crate) pool: Arc<PoolEntry>,
}

/// A pool as the data path sees it.
pub(crate) struct PoolEntry {
    name: PoolName,
    label: Arc<str>,
    revision: u64,
    policy: Arc<Policy>,
    balance: evenkeel_balance::Pool,
    /// By the address of the endpoint's record, which lives as long as this entry.
    members: Vec<(usize, Arc<Member>)>,
    metrics: Arc<PoolMetrics>,
}

/// An endpoint as a member of one pool; lives as long as it stays in the pool's list, whatever else changes.
pub(crate) struct Member {
    endpoint: Arc<Endpoint>,
    label: Arc<str>,
    series: Arc<EndpointSeries>,
    gone: AtomicBool,
    wakes: Notify,
}

impl Table {
    /// Builds the routes from the pools. Of two that claim a port the first by name has it; the control plane refuses the
    /// other before it comes to that. Ports for which `open` says no are left out.
    pub(crate) fn new(pools: BTreeMap<PoolName, Arc<PoolEntry>>, open: impl Fn(u16) -> bool) -> Self {
        let mut routes = BTreeMap::new();
        for pool in pools.values() {
            for listener in pool.policy.listeners.iter().filter(|listener| open(listener.port)) {
                let route = || Route { listener: Arc::new(listener.clone()), pool: pool.clone() };
                routes.entry(listener.port).or_insert_with(route);
            }
        }
        Self { routes, pools }
    }

    /// Where the port leads, if anywhere.
    pub(crate) fn route(&self, port: u16) -> Option<&Route> {
        self.routes.get(&port)
    }

    /// All pools by name.
    pub(crate) fn pools(&self) -> &BTreeMap<PoolName, Arc<PoolEntry>> {
        &self.pools
    }
}

impl PoolEntry {
    /// Puts an entry together; `members` are exactly those of `balance`.
    pub(crate) fn new(
        name: PoolName,
        revision: u64,
        policy: Arc<Policy>,
        balance: evenkeel_balance::Pool,
        members: impl IntoIterator<Item = Arc<Member>>,
        metrics: Arc<PoolMetrics>,
    ) -> Self {
        let mut members: Vec<_> = members.into_iter().map(|member| (Arc::as_ptr(&member.endpoint).addr(), member)).collect();
        members.sort_unstable_by_key(|(address, _)| *address);
        let label = name.to_string().into();
        Self { name, label, revision, policy, balance, members, metrics }
    }

    /// The same pool with another way to choose among the same endpoints.
    pub(crate) fn with_balance(&self, balance: evenkeel_balance::Pool) -> Self {
        let Self { name, label, revision, policy, balance: _, members, metrics } = self;
        let (name, label, policy) = (name.clone(), label.clone(), policy.clone());
        Self { name, label, revision: *revision, policy, balance, members: members.clone(), metrics: metrics.clone() }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &PoolName {
        &self.name
    }

    /// Its name as metrics and logs write it.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The revision that it was built from.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Its policy.
    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Its endpoints and how one is chosen.
    pub(crate) fn balance(&self) -> &evenkeel_balance::Pool {
        &self.balance
    }

    /// Its counts.
    pub(crate) fn metrics(&self) -> &Arc<PoolMetrics> {
        &self.metrics
    }

    /// All its members.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().map(|(_, member)| member)
    }

    /// The member that this endpoint of `balance` is.
    pub(crate) fn member(&self, endpoint: &Arc<Endpoint>) -> &Arc<Member> {
        let address = Arc::as_ptr(endpoint).addr();
        let at = self.members.binary_search_by_key(&address, |(address, _)| *address);
        &self.members[at.expect("an entry's members are those of its balance")].1
    }

    /// Tells the balancer how a request went; what changes by it is said and counted here.
    pub(crate) fn report(&self, worker: &Worker, chosen: &mut Chosen, outcome: Outcome) {
        let now = Instant::now();
        let changed = self.balance.report(chosen.lease(), outcome, now);
        self.note(worker, chosen.member(), changed, now);
    }

    /// The same of its health alone.
    pub(crate) fn judge(&self, worker: &Worker, chosen: &Chosen, outcome: Outcome) {
        let now = Instant::now();
        let changed = self.balance.judge(chosen.member().endpoint(), outcome, now);
        self.note(worker, chosen.member(), changed, now);
    }

    fn note(&self, worker: &Worker, member: &Member, changed: Option<Transition>, now: Instant) {
        match changed {
            None => {}
            Some(Transition::Ejected { reason, until }) => {
                self.metrics.shard(worker.index()).count_ejection(reason);
                let seconds = until.saturating_duration_since(now).as_secs_f64();
                tracing::info!(
                    pool = self.label(),
                    endpoint = member.label(),
                    reason = reason.as_str(),
                    seconds,
                    "endpoint ejected"
                );
            }
            Some(Transition::Restored) => {
                tracing::info!(pool = self.label(), endpoint = member.label(), "endpoint restored");
            }
        }
    }
}

impl Member {
    /// A member that isn't gone.
    pub(crate) fn new(endpoint: Arc<Endpoint>, series: Arc<EndpointSeries>) -> Self {
        let label = endpoint.address().to_string().into();
        Self { endpoint, label, series, gone: AtomicBool::new(false), wakes: Notify::new() }
    }

    /// The live record.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Its address and port, as metrics and logs write it.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Its counts in this pool.
    pub(crate) fn metrics(&self) -> &Arc<EndpointSeries> {
        &self.series
    }

    /// It has left the pool: open connections to it end, none is used again.
    pub(crate) fn retire(&self) {
        self.gone.store(true, Ordering::Release);
        self.wakes.notify_waiters();
    }

    /// Whether it has left the pool; a kept connection to it may not be used again.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Ends when it leaves the pool.
    pub(crate) async fn gone(&self) {
        let woken = self.wakes.notified();
        if !self.is_gone() {
            woken.await;
        }
    }
}
