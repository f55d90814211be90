//! The control plane of this process: takes pools from wherever they come, checks them, and puts the next table into use.
//! A pool that is refused leaves everything as it was, itself included. The data path cannot tell where pools come from.

pub(crate) mod checks;
pub(crate) mod convert;
pub mod embedded;
pub mod feed;
pub mod refusal;
mod settings;

use crate::listen::Ports;
use crate::metrics::Registry;
use crate::table::{Clash, Member, PoolEntry, Route, Table, clash};
use crate::tls::{Files, PoolTls};
use arc_swap::ArcSwap;
use evenkeel_balance::{Book, Health, Loads};
use evenkeel_plan::{Mode, address};
use evenkeel_wire::{self as wire, Policy, PoolName, Transport, TransportPort};
use refusal::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The most endpoints of a pool.
pub(crate) const MAX_ENDPOINTS: usize = 20_000;
/// The most pools of a sidecar.
pub(crate) const MAX_POOLS: usize = 1_000;

/// A pool as it comes in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Incoming {
    pub(crate) name: PoolName,
    pub(crate) revision: u64,
    pub(crate) policy: Policy,
    pub(crate) endpoints: Vec<wire::Endpoint>,
}

/// All pools in use, and the means to change them.
pub(crate) struct Control {
    table: Arc<ArcSwap<Table>>,
    registry: Arc<Registry>,
    ports: Ports,
    /// What TLS is made of.
    tls: Arc<Files>,
    pub(crate) rules: Rules,
    pools: BTreeMap<PoolName, InUse>,
    /// Of the whole process: what an endpoint gets through one pool weighs in all (ADR 4).
    loads: Arc<Loads>,
    /// Ports that a pool waits for: they aren't closed when they come free, so that no client is turned away meanwhile.
    claimed: BTreeSet<TransportPort>,
    /// Listeners that are left out, so that it is said once and not with each revision.
    left_out: BTreeSet<(PoolName, TransportPort)>,
}

/// What holds for all pools of this process.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Which addresses endpoints may have.
    pub(crate) addresses: Mode,
    /// Ports that are left out: somebody else in the pod has them.
    pub(crate) excluded: BTreeSet<TransportPort>,
    /// Ports of TCP that the process itself needs: no pool gets them.
    pub(crate) own: BTreeSet<u16>,
    /// The zone that this process is in.
    pub(crate) zone: Option<String>,
    /// What tells this process from others that use the same pools.
    pub(crate) identity: u64,
    /// Seeds the pools' own randomness.
    pub(crate) seed: u64,
}

struct InUse {
    /// The pool's own: another pool may have another verdict on the same endpoint.
    book: Arc<Book>,
    entry: Arc<PoolEntry>,
    members: BTreeMap<String, Arc<Member>>,
    /// The verdict that came with the list.
    floor: BTreeMap<String, wire::Health>,
    /// Endpoints that fail the checks of this process.
    failing: BTreeSet<String>,
}

impl Control {
    pub(crate) fn new(table: Arc<ArcSwap<Table>>, registry: Arc<Registry>, ports: Ports, rules: Rules) -> Self {
        let (pools, loads, tls) = (BTreeMap::new(), Arc::new(Loads::new()), Arc::default());
        Self { table, registry, ports, tls, rules, pools, loads, claimed: BTreeSet::new(), left_out: BTreeSet::new() }
    }

    /// The files of all pools in use; somebody has to look at them.
    pub(crate) fn tls(&self) -> &Arc<Files> {
        &self.tls
    }

    /// Puts a pool into use, or says why not and changes nothing.
    pub(crate) fn apply(&mut self, incoming: &Incoming) -> Result<(), Refusal> {
        self.check(incoming)?;
        let opened = self.open_ports(&incoming.policy);
        let built = opened.and_then(|()| self.build(incoming));
        let (name, in_use) = match built {
            Ok(built) => built,
            Err(refusal) => {
                self.close_unused_ports();
                return Err(refusal);
            }
        };
        let entry = in_use.entry.clone();
        let before = self.pools.insert(name.clone(), in_use);
        self.publish();
        self.settle(&name, before);
        let (revision, endpoints) = (entry.revision(), entry.balance().members().len());
        let ports: Vec<_> = self.listeners(&incoming.policy).map(|listener| listener.transport_port().to_string()).collect();
        tracing::info!(pool = entry.label(), revision, endpoints, ?ports, "pool in use");
        self.note_left_out(&name, &incoming.policy);
        Ok(())
    }

    /// Takes a pool out of use. What is in flight on HTTP finishes; TCP connections end.
    pub(crate) fn remove(&mut self, name: &PoolName, reason: &str) {
        let Some(before) = self.pools.remove(name) else { return };
        self.publish();
        let InUse { book, entry, members, .. } = before;
        members.values().for_each(|member| member.retire());
        drop((entry, members));
        book.sweep();
        self.registry.remove(name);
        self.left_out.retain(|(pool, _)| pool != name);
        tracing::info!(pool = %name, reason, "pool removed");
    }

    /// The zone of this process is known now: pools that prefer it do so from here on.
    pub(crate) fn set_zone(&mut self, zone: &str) {
        if self.rules.zone.as_deref() == Some(zone) {
            return;
        }
        tracing::info!(zone, "this process's zone");
        self.rules.zone = Some(zone.to_owned());
        for (name, in_use) in self.pools.iter_mut().filter(|(_, in_use)| in_use.entry.policy().zone_aware) {
            let records = in_use.entry.balance().members().to_vec();
            let config = convert::config(in_use.entry.policy(), &self.rules);
            match evenkeel_balance::Pool::try_new(config, records, self.rules.seed_of(name, in_use.entry.revision())) {
                Ok(balance) => in_use.entry = Arc::new(in_use.entry.with_balance(balance)),
                Err(error) => tracing::error!(pool = %name, %error, "the pool goes on without a zone"),
            }
        }
        self.publish();
    }

    /// The pools in use with their revisions.
    pub(crate) fn revisions(&self) -> BTreeMap<PoolName, u64> {
        self.pools.iter().map(|(name, in_use)| (name.clone(), in_use.entry.revision())).collect()
    }

    /// The policies in use.
    pub(crate) fn policies(&self) -> impl Iterator<Item = (&PoolName, &Policy)> {
        self.pools.iter().map(|(name, in_use)| (name, &**in_use.entry.policy()))
    }

    /// What a check of this pool has to look at.
    pub(crate) fn targets(&self, name: &PoolName) -> Vec<evenkeel_probe::Target> {
        let Some(in_use) = self.pools.get(name) else { return Vec::new() };
        let checked = |id: &str| in_use.floor.get(id).is_some_and(|health| is_checked(*health));
        let members = in_use.members.iter().filter(|(id, _)| checked(id));
        members.map(|(id, member)| evenkeel_probe::Target { id: id.clone(), address: member.endpoint().address() }).collect()
    }

    /// What a check of this process found. It may only take out more than the list's verdict does (ADR 1).
    pub(crate) fn judge(&mut self, name: &PoolName, id: &str, healthy: bool, reason: &str) {
        let Some(in_use) = self.pools.get_mut(name) else { return };
        let Some(member) = in_use.members.get(id) else { return };
        let changed = if healthy { in_use.failing.remove(id) } else { in_use.failing.insert(id.to_owned()) };
        if changed {
            member.endpoint().set_health(in_use.health(id), Instant::now());
            let state = member.endpoint().health().as_str();
            tracing::info!(pool = %name, endpoint = member.label(), healthy, reason, state, "check");
        }
    }

    /// Forgets what this process found itself: the list's verdict alone holds again.
    pub(crate) fn forget_judgements(&mut self) {
        for in_use in self.pools.values_mut() {
            in_use.failing.clear();
            for (id, member) in &in_use.members {
                member.endpoint().set_health(in_use.health(id), Instant::now());
            }
        }
    }

    /// The ports that pools wait for, and no others.
    pub(crate) fn claim(&mut self, ports: BTreeSet<TransportPort>) {
        self.claimed = ports;
        self.close_unused_ports();
    }

    fn check(&self, incoming: &Incoming) -> Result<(), Refusal> {
        if self.pools.len() >= MAX_POOLS && !self.pools.contains_key(&incoming.name) {
            return Err(Refusal::TooManyPools);
        }
        convert::check_policy(&incoming.policy)?;
        convert::check_endpoints(&incoming.endpoints, &incoming.policy.algorithm)?;
        for endpoint in &incoming.endpoints {
            if let Some(kind) = address::refusal(endpoint.address, self.rules.addresses) {
                return Err(Refusal::Address { id: endpoint.id.clone(), address: endpoint.address, kind });
            }
        }
        for listener in self.listeners(&incoming.policy) {
            self.check_port(&incoming.name, listener)?;
        }
        Ok(())
    }

    fn check_port(&self, pool: &PoolName, listener: &wire::Listener) -> Result<(), Refusal> {
        let (table, port, name) = (self.table.load(), listener.transport_port(), listener.name.clone());
        if port.transport == Transport::Tcp && self.rules.own.contains(&port.number) {
            return Err(Refusal::OwnPort { listener: name, port: port.number });
        }
        let others = table.routes(port).iter().filter(|route| route.pool.name() != pool);
        let clashes = |route: &Route| Some((route.pool.name().clone(), clash(&route.listener, listener)?));
        match others.map(clashes).find_map(|found| found) {
            None => Ok(()),
            Some((owner, Clash::Port)) => Err(Refusal::PortTaken { listener: name, port, owner }),
            Some((owner, Clash::ProxyProtocol)) => Err(Refusal::ProxyProtocolDiffers { listener: name, port, owner }),
            Some((owner, Clash::Hostname(hostname))) => {
                Err(Refusal::HostnameTaken { listener: name, port, hostname: hostname.to_owned(), owner })
            }
        }
    }

    fn listeners<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a wire::Listener> {
        policy.listeners.iter().filter(|listener| !self.rules.excluded.contains(&listener.transport_port()))
    }

    fn open_ports(&mut self, policy: &Policy) -> Result<(), Refusal> {
        let Self { ports, rules, .. } = self;
        for listener in policy.listeners.iter().filter(|listener| !rules.excluded.contains(&listener.transport_port())) {
            let port = listener.transport_port();
            ports.open(port).map_err(|source| Refusal::Listen { listener: listener.name.clone(), port, source })?;
        }
        Ok(())
    }

    fn note_left_out(&mut self, name: &PoolName, policy: &Policy) {
        let Self { rules, left_out, .. } = self;
        let is_excluded = |listener: &&wire::Listener| rules.excluded.contains(&listener.transport_port());
        let excluded: Vec<_> = policy.listeners.iter().filter(is_excluded).collect();
        left_out.retain(|(pool, port)| pool != name || excluded.iter().any(|listener| listener.transport_port() == *port));
        for listener in excluded {
            let (listener, port) = (&listener.name, listener.transport_port());
            if left_out.insert((name.clone(), port)) {
                tracing::warn!(pool = %name, listener, %port, "listener left out: the port is excluded, the app has it itself");
            }
        }
    }

    fn close_unused_ports(&mut self) {
        let table = self.table.load();
        self.ports.retain(|port| !table.routes(port).is_empty() || self.claimed.contains(&port));
    }

    fn build(&self, incoming: &Incoming) -> Result<(PoolName, InUse), Refusal> {
        let Incoming { name, revision, policy, endpoints } = incoming;
        let before = self.pools.get(name);
        // The first, as it is refused more often than the rest.
        let tls = PoolTls::new(policy, self.listeners(policy), &self.tls, SystemTime::now())
            .map_err(|(of, source)| Refusal::Tls { of, source })?;
        let metrics = self.registry.pool(name);
        let floor: BTreeMap<_, _> = endpoints.iter().map(|endpoint| (endpoint.id.clone(), endpoint.health)).collect();
        let failing = before.map(|before| before.still_failing(policy, endpoints)).unwrap_or_default();
        let book = before.map_or_else(|| Arc::new(Book::sharing(&self.loads)), |before| before.book.clone());
        let now = Instant::now();
        let mut records = Vec::with_capacity(endpoints.len());
        let mut members = BTreeMap::new();
        for endpoint in endpoints {
            let health = effective(endpoint.health, failing.contains(&endpoint.id));
            let record = book.enter(convert::spec(endpoint, health), now);
            let known = before.and_then(|before| before.members.get(record.id()));
            let member = known.filter(|member| Arc::ptr_eq(member.endpoint(), &record)).cloned().unwrap_or_else(|| {
                let series = metrics.enter(record.id(), &record.address().to_string());
                Arc::new(Member::new(record.clone(), series))
            });
            members.insert(record.id().to_owned(), member);
            records.push(record);
        }
        let config = convert::config(policy, &self.rules);
        let balance =
            evenkeel_balance::Pool::try_new(config, records, self.rules.seed_of(name, *revision)).map_err(Refusal::Build)?;
        let entry =
            PoolEntry::new(name.clone(), *revision, Arc::new(policy.clone()), balance, members.values().cloned(), metrics);
        let entry = match before {
            Some(before) => entry.with_capacity(before.entry.capacity().clone()),
            None => entry,
        };
        Ok((name.clone(), InUse { book, entry: Arc::new(entry.with_tls(tls)), members, floor, failing }))
    }

    fn publish(&mut self) {
        let pools = self.pools.iter().map(|(name, in_use)| (name.clone(), in_use.entry.clone())).collect();
        self.table.store(Arc::new(Table::new(pools, |port| self.ports.is_open(port))));
        self.ports.accept();
        self.close_unused_ports();
    }

    /// After the new table is in use: what has left the pool ends.
    fn settle(&self, name: &PoolName, before: Option<InUse>) {
        let (Some(now), Some(before)) = (self.pools.get(name), before) else { return };
        for (id, member) in &before.members {
            if now.members.get(id).is_none_or(|kept| !Arc::ptr_eq(kept, member)) {
                member.retire();
            }
        }
        drop(before);
        now.entry.metrics().retain(|id| now.members.contains_key(id));
        now.book.sweep();
    }
}

impl Rules {
    /// Of the revision too: else each revision would begin its turns with the same endpoint.
    fn seed_of(&self, name: &PoolName, revision: u64) -> u64 {
        self.seed ^ evenkeel_balance::key_hash(format!("{name} {revision}").as_bytes())
    }
}

impl InUse {
    /// Failed checks that still count under a new policy and list: those of endpoints that go on being checked.
    fn still_failing(&self, policy: &Policy, endpoints: &[wire::Endpoint]) -> BTreeSet<String> {
        let goes_on = |endpoint: &&wire::Endpoint| {
            policy.active.is_some()
                && is_checked(endpoint.health)
                && self.failing.contains(&endpoint.id)
                && self.members.get(&endpoint.id).is_some_and(|member| {
                    let address = member.endpoint().address();
                    (address.ip(), address.port()) == (endpoint.address.to_canonical(), endpoint.port)
                })
        };
        endpoints.iter().filter(goes_on).map(|endpoint| endpoint.id.clone()).collect()
    }

    fn health(&self, id: &str) -> Health {
        let floor = self.floor.get(id).copied().unwrap_or(wire::Health::NotReady);
        effective(floor, self.failing.contains(id))
    }
}

/// Only of what may be used, or would be but for a failed check, is there anything to find out.
fn is_checked(floor: wire::Health) -> bool {
    matches!(floor, wire::Health::Usable | wire::Health::Down)
}

/// The list's verdict is the floor; a check of this process may only take out more.
fn effective(floor: wire::Health, failing: bool) -> Health {
    match floor {
        wire::Health::Usable if failing => Health::Down,
        wire::Health::Usable => Health::Usable,
        wire::Health::Draining => Health::Draining,
        wire::Health::NotReady => Health::NotReady,
        wire::Health::Down => Health::Down,
    }
}

#[cfg(test)]
pub(crate) mod tests;
