//! What the data path routes by: an immutable snapshot, swapped whole. Shape is here; live state is on the endpoints.
//! It is loaded for each connection and request and is never held across an await; a [`PoolEntry`] may be.

use crate::metrics::{EndpointSeries, PoolMetrics};
use crate::proxy::attempt::Chosen;
use crate::proxy::capacity::{Capacity, Connections};
use crate::tls::{Acceptor, PoolTls};
use crate::worker::Worker;
use evenkeel_balance::{Endpoint, Outcome, Transition};
use evenkeel_wire::{Limits, Listener, Policy, PoolName, Protocol, TransportPort};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// One snapshot.
#[derive(Default)]
pub(crate) struct Table {
    /// Several only where TLS is passed through, by the name that is asked for.
    routes: BTreeMap<TransportPort, Vec<Route>>,
    pools: BTreeMap<PoolName, Arc<PoolEntry>>,
}

/// Where a port leads.
#[derive(Clone)]
pub(crate) struct Route {
    /// What is asked of a connection there.
    pub(crate) listener: Arc<Listener>,
    /// What ends TLS there; there if the listener says that it ends.
    pub(crate) acceptor: Option<Arc<Acceptor>>,
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
    capacity: Arc<Capacity>,
    limited: bool,
    tls: PoolTls,
}

/// An endpoint as a member of one pool; lives as long as it stays in the pool's list, whatever else changes.
pub(crate) struct Member {
    endpoint: Arc<Endpoint>,
    label: Arc<str>,
    series: Arc<EndpointSeries>,
    gone: AtomicBool,
    wakes: Notify,
    connections: Connections,
}

impl Table {
    /// Builds the routes from the pools. Of two that claim a port the first by name has it; the control plane refuses the
    /// other before it comes to that. Ports for which `open` says no are left out.
    pub(crate) fn new(pools: BTreeMap<PoolName, Arc<PoolEntry>>, open: impl Fn(TransportPort) -> bool) -> Self {
        let mut routes = BTreeMap::<_, Vec<Route>>::new();
        for pool in pools.values() {
            for listener in pool.policy.listeners.iter().filter(|listener| open(listener.transport_port())) {
                let there = routes.entry(listener.transport_port()).or_default();
                if there.iter().all(|route| clash(&route.listener, listener).is_none()) {
                    let acceptor = pool.tls.acceptor(listener.port).cloned();
                    there.push(Route { listener: Arc::new(listener.clone()), acceptor, pool: pool.clone() });
                }
            }
        }
        Self { routes, pools }
    }

    /// Where connections to the port lead, if anywhere. Where TLS is passed through it is the first of several:
    /// [`Self::route_by_name`] says which.
    pub(crate) fn route(&self, port: u16) -> Option<&Route> {
        self.routes(TransportPort::tcp(port)).first()
    }

    /// Where datagrams to the port lead, if anywhere.
    pub(crate) fn datagram_route(&self, port: u16) -> Option<&Route> {
        self.routes(TransportPort::udp(port)).first()
    }

    /// All that a port leads to.
    pub(crate) fn routes(&self, port: TransportPort) -> &[Route] {
        self.routes.get(&port).map_or(&[], Vec::as_slice)
    }

    /// Where TLS that asks for this name, in lower case, is passed through to. The name itself comes before a wildcard, and of
    /// wildcards the longest, as with Gateway API's hostnames: `*` stands for one label or more.
    pub(crate) fn route_by_name(&self, port: u16, name: &str) -> Option<&Route> {
        let routes = self.routes(TransportPort::tcp(port)).iter();
        let fit = |route: &Route| route.listener.hostnames.iter().filter_map(|pattern| fitness(pattern, name)).max();
        routes.filter_map(|route| Some((fit(route)?, route))).max_by_key(|(fit, _)| *fit).map(|(_, route)| route)
    }

    /// All pools by name.
    pub(crate) fn pools(&self) -> &BTreeMap<PoolName, Arc<PoolEntry>> {
        &self.pools
    }
}

/// Why two listeners cannot have one port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Clash<'a> {
    /// One of them doesn't go by names.
    Port,
    /// A name leads to both.
    Hostname(&'a str),
    /// A PROXY header comes before the name, so that they must agree on it.
    ProxyProtocol,
}

/// What keeps two listeners of different pools from having one port; nothing where both pass TLS through by names that differ.
pub(crate) fn clash<'a>(one: &Listener, other: &'a Listener) -> Option<Clash<'a>> {
    if one.protocol != Protocol::Tls || other.protocol != Protocol::Tls {
        return Some(Clash::Port);
    }
    if let Some(name) = other.hostnames.iter().find(|name| one.hostnames.contains(name)) {
        return Some(Clash::Hostname(name));
    }
    (one.proxy_protocol != other.proxy_protocol).then_some(Clash::ProxyProtocol)
}

/// How well a pattern fits the name; the name itself fits best.
fn fitness(pattern: &str, name: &str) -> Option<usize> {
    match pattern.strip_prefix('*') {
        Some(suffix) => (name.len() > suffix.len() && name.ends_with(suffix)).then_some(suffix.len()),
        None => (pattern == name).then_some(usize::MAX),
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
        let Limits {
            max_parallel_requests_per_endpoint,
            max_parallel_requests,
            max_connections_per_endpoint,
            max_connections,
            max_pending_requests: _,
            pending_timeout_ms: _,
        } = policy.limits;
        let limits = [max_parallel_requests_per_endpoint, max_parallel_requests, max_connections_per_endpoint, max_connections];
        let limited = limits.iter().any(Option::is_some);
        Self {
            name,
            label,
            revision,
            policy,
            balance,
            members,
            metrics,
            capacity: Arc::default(),
            limited,
            tls: PoolTls::default(),
        }
    }

    /// As the next revision of one that had this in use.
    pub(crate) fn with_capacity(self, capacity: Arc<Capacity>) -> Self {
        Self { capacity, ..self }
    }

    /// The same pool with the TLS that its policy asks for.
    pub(crate) fn with_tls(self, tls: PoolTls) -> Self {
        Self { tls, ..self }
    }

    /// The same pool with another way to choose among the same endpoints.
    pub(crate) fn with_balance(&self, balance: evenkeel_balance::Pool) -> Self {
        let Self { name, label, revision, policy, balance: _, members, metrics, capacity, limited, tls } = self;
        let (name, label, policy, members) = (name.clone(), label.clone(), policy.clone(), members.clone());
        let (metrics, capacity, tls) = (metrics.clone(), capacity.clone(), tls.clone());
        Self { name, label, revision: *revision, policy, balance, members, metrics, capacity, limited: *limited, tls }
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

    /// The TLS that its policy asks for.
    pub(crate) fn tls(&self) -> &PoolTls {
        &self.tls
    }

    /// Its counts.
    pub(crate) fn metrics(&self) -> &Arc<PoolMetrics> {
        &self.metrics
    }

    /// What it has in use of its limits, and who waits for it; the same over all its revisions.
    pub(crate) fn capacity(&self) -> &Arc<Capacity> {
        &self.capacity
    }

    /// Whether anything of it is limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited
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
        Self { endpoint, label, series, gone: AtomicBool::new(false), wakes: Notify::new(), connections: Connections::default() }
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

    /// Connections to it that count towards a limit.
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
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
