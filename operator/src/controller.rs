//! The loop: facts and verdicts come in, the pools that they touch are stepped, what has changed is published at once and
//! written to the API server when it is due. One task; nothing here waits for the network, and each pool is decided on its
//! own, so that none holds up another.

use crate::feed::sessions::Sessions;
use crate::gather::facts::Key;
use crate::gather::watch::Observations;
use crate::gather::world::Pool;
use crate::gather::{Observation, Touched, World};
use crate::listed::{self, Objects};
use crate::metrics::Metrics;
use crate::publish::{Change, Publisher};
use crate::readiness::Readiness;
use crate::reconcile::pool::{Acceptance, BATCH, PoolState, Step};
use crate::settle::{Desk, Done};
use evenkeel_probe::{Prober, Verdict};
use evenkeel_wire::PoolName;
use futures::{FutureExt, StreamExt};
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// The most facts, and the most verdicts, taken in before what they touch is stepped.
const MAX_FACTS: usize = 1_000;
/// Writes on the wire at once, of all pools; others wait.
const MAX_WRITES: usize = 16;
/// How often the sidecars' answers are looked at.
const ANSWERS: Duration = Duration::from_millis(200);
/// What is waited for until every pool has been published once.
const FIRST_LISTS: &str = "first lists";

/// A pool that waits for its step.
#[derive(Debug, Clone, Copy)]
struct Dirty {
    /// When the oldest event was seen.
    since: Instant,
    /// When it is due.
    at: Instant,
}

/// One pool and what is known of its writes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) state: PoolState,
    /// The Services whose changes concern it, as indexed.
    services: BTreeSet<Key>,
    /// The revision published last; 0: none.
    pub(crate) revision: u64,
    /// The first revision of the generation in force.
    pub(crate) generation_revision: u64,
    pub(crate) desk: Desk,
}

/// The loop's state.
pub struct Controller {
    pub(crate) world: World,
    pub(crate) entries: BTreeMap<Key, Entry>,
    by_service: BTreeMap<Key, BTreeSet<Key>>,
    dirty: BTreeMap<Key, Dirty>,
    pub(crate) unsettled: BTreeMap<Key, Instant>,
    answers_at: Option<Instant>,
    pub(crate) writes: JoinSet<Done>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) shared: Shared,
    prober: Prober,
}

/// What the loop shares with the rest of the operator.
#[derive(Clone)]
pub struct Shared {
    /// The API server.
    pub client: Client,
    /// What the sessions read.
    pub publisher: Arc<Publisher>,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// What is waited for.
    pub readiness: Arc<Readiness>,
    /// What is measured.
    pub metrics: Metrics,
}

pub(crate) fn pool_name(key: &Key) -> PoolName {
    PoolName { namespace: key.namespace.clone(), name: key.name.clone() }
}

impl Controller {
    /// Knows nothing yet.
    pub fn new(shared: Shared, prober: Prober) -> Self {
        shared.readiness.expect(FIRST_LISTS, "no pool is published before every list is whole");
        Self {
            world: World::default(),
            entries: BTreeMap::new(),
            by_service: BTreeMap::new(),
            dirty: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            answers_at: None,
            writes: JoinSet::new(),
            permits: Arc::new(Semaphore::new(MAX_WRITES)),
            shared,
            prober,
        }
    }

    /// Runs until told to stop.
    pub async fn run(
        mut self,
        mut observations: Observations,
        mut verdicts: mpsc::Receiver<Verdict>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut answers = self.shared.sessions.subscribe();
        loop {
            let wake = self.wake().map(tokio::time::Instant::from_std);
            let timer = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(observation) = observations.next() => self.observe(observation, Instant::now()),
                Some(verdict) = verdicts.recv() => self.verdict(&verdict, Instant::now()),
                Ok(()) = answers.changed(), if self.answers_at.is_none() => {
                    answers.mark_unchanged();
                    self.answers_at = Some(Instant::now() + ANSWERS);
                }
                Some(done) = self.writes.join_next() => self.done(done, Instant::now()),
                () = timer => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            for _ in 0..MAX_FACTS {
                let Some(Some(observation)) = observations.next().now_or_never() else {
                    break;
                };
                self.observe(observation, Instant::now());
            }
            for _ in 0..MAX_FACTS {
                let Ok(verdict) = verdicts.try_recv() else {
                    break;
                };
                self.verdict(&verdict, Instant::now());
            }
            self.turn(Instant::now());
        }
    }

    /// When something is due without an event.
    fn wake(&self) -> Option<Instant> {
        let dirty = self.dirty.values().map(|dirty| dirty.at);
        let unsettled = self.unsettled.values().copied();
        dirty.chain(unsettled).chain(self.answers_at).min()
    }

    fn observe(&mut self, observation: Observation, now: Instant) {
        let touched = self.world.observe(observation, now);
        if !self.shared.publisher.is_synced() {
            return;
        }
        for touched in touched {
            match touched {
                Touched::Pool(key) => self.mark(key, now),
                Touched::Written(key) => {
                    self.unsettle(key, now);
                }
                Touched::Service(service) => {
                    let pools = self.by_service.get(&service).cloned();
                    pools.into_iter().flatten().for_each(|key| self.mark(key, now));
                }
                Touched::Gone(namespace) => {
                    let holding =
                        self.entries.iter().filter(|(key, entry)| key.namespace == namespace && entry.state.holds_any());
                    let holding: Vec<Key> = holding.map(|(key, _)| key.clone()).collect();
                    holding.into_iter().for_each(|key| self.mark(key, now));
                }
                Touched::Namespaces => self.tell_namespaces(),
            }
        }
    }

    fn verdict(&mut self, verdict: &Verdict, now: Instant) {
        let key = Key::new(&verdict.pool.namespace, &verdict.pool.name);
        if self.prober.is_current(verdict)
            && let Some(entry) = self.entries.get_mut(&key)
            && entry.state.verdict(verdict)
        {
            let (endpoint, reason) = (&verdict.id, verdict.reason.as_str());
            tracing::info!(pool = %key, endpoint, healthy = verdict.healthy, reason, "check");
            self.mark(key, now);
        }
    }

    fn mark(&mut self, key: Key, now: Instant) {
        let dirty = self.dirty.entry(key).or_insert(Dirty { since: now, at: now });
        dirty.since = dirty.since.min(now);
        dirty.at = dirty.at.min(now);
    }

    /// Has a pool's writes looked at by then, or earlier if that was due already.
    pub(crate) fn unsettle(&mut self, key: Key, at: Instant) {
        let due = self.unsettled.entry(key).or_insert(at);
        *due = at.min(*due);
    }

    /// Steps what is due, publishes what has changed as one, and starts the writes that are due.
    fn turn(&mut self, now: Instant) {
        if !self.shared.publisher.is_synced() {
            let missing = self.world.missing();
            if !missing.is_empty() {
                return;
            }
            let pools: Vec<Key> = self.world.pools.iter().map(|(key, _)| key.clone()).collect();
            tracing::info!(pools = pools.len(), "every list is whole");
            pools.into_iter().for_each(|key| self.mark(key, now));
            self.tell_namespaces();
        }
        self.step_due(now);
        if !self.shared.publisher.is_synced() {
            self.shared.publisher.set_synced();
            self.shared.readiness.arrived(FIRST_LISTS);
        }
        if self.answers_at.is_some_and(|at| at <= now) {
            self.answers_at = None;
            for pool in self.shared.sessions.take_changed() {
                self.unsettle(Key::new(pool.namespace, pool.name), now);
            }
        }
        self.settle_due(now);
    }

    fn step_due(&mut self, now: Instant) {
        let due = self.dirty.iter().filter(|(_, dirty)| dirty.at <= now);
        let due: Vec<(Key, Dirty)> = due.map(|(key, dirty)| (key.clone(), *dirty)).collect();
        let (mut changes, mut published) = (Vec::new(), Vec::new());
        for (key, dirty) in due {
            self.dirty.remove(&key);
            let started = Instant::now();
            let known = changes.len();
            self.step(&key, dirty, now, &mut changes);
            published.extend((changes.len() > known).then_some(dirty.since));
            self.shared.metrics.reconciled(started.elapsed());
        }
        for (pool, revision) in self.shared.publisher.apply(changes) {
            let key = Key::new(pool.namespace, pool.name);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.published(revision, now);
            }
        }
        for since in published {
            self.shared.metrics.propagated(since.elapsed());
        }
    }

    fn step(&mut self, key: &Key, dirty: Dirty, now: Instant, changes: &mut Vec<Change>) {
        let uid = self.world.pools.find(key).map(|pool| &pool.uid);
        if let Some(entry) = self.entries.get(key)
            && uid.is_none_or(|uid| uid != entry.state.uid())
        {
            self.forget(key);
            changes.push(Change::Remove(pool_name(key)));
        }
        let Some(pool) = self.world.pools.find(key) else {
            return;
        };
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry::new(key, pool, &self.world));
        entry.respec(key, pool);
        let Step { publish, check, again } = entry.state.step(key, &self.world, dirty.since, now);
        if let Some(at) = again {
            // What waits for company keeps the time of its own event; a later look has none yet.
            let waits = publish.is_none() && at <= dirty.since + BATCH;
            let since = if waits { dirty.since } else { at };
            self.dirty.insert(key.clone(), Dirty { since, at });
        }
        if let Some(plan) = check {
            self.prober.set(&pool_name(key), plan.check.as_ref(), plan.targets());
        }
        changes.extend(publish.map(|view| Change::Put {
            pool: pool_name(key),
            created: pool.created,
            policy: view.policy,
            endpoints: view.endpoints,
            consumers: view.consumers,
        }));
        // Only at start: of a pool that was made later nobody has anything to keep.
        if entry.state.view().is_none() && !self.shared.publisher.is_synced() {
            changes.push(Change::Withhold(pool_name(key)));
        }
        self.unsettle(key.clone(), now);
        self.reindex(key);
    }

    /// Notes which Services concern the pool now.
    fn reindex(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let after = entry.state.services(&key.namespace);
        if after == entry.services {
            return;
        }
        let before = std::mem::replace(&mut entry.services, after.clone());
        self.unindex(key, before.difference(&after));
        for service in after {
            let pools = self.by_service.entry(service).or_default();
            pools.insert(key.clone());
        }
    }

    fn unindex<'a>(&mut self, key: &Key, services: impl Iterator<Item = &'a Key>) {
        for service in services {
            if let Some(pools) = self.by_service.get_mut(service) {
                pools.remove(key);
                if pools.is_empty() {
                    self.by_service.remove(service);
                }
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.unindex(key, entry.services.iter());
            self.unsettled.remove(key);
            self.prober.remove(&pool_name(key));
            tracing::info!(pool = %key, "pool deleted");
        }
    }

    fn tell_namespaces(&self) {
        let labels = self.world.namespaces.iter();
        let labels = labels.map(|(key, labels)| (key.name.clone(), labels.clone()));
        self.shared.publisher.set_namespaces(labels.collect());
    }
}

impl Entry {
    fn new(key: &Key, pool: &Pool, world: &World) -> Self {
        let mut state = PoolState::new(pool);
        let prefix = listed::prefix(key);
        state.inherit(listed::down(&pool.uid, &Objects::of(key, world.listings.iter_prefix(&prefix))));
        tell(key, state.acceptance());
        let desk = Desk::default();
        Self { state, services: BTreeSet::new(), revision: 0, generation_revision: 0, desk }
    }

    fn respec(&mut self, key: &Key, pool: &Pool) {
        let before = self.state.acceptance().clone();
        self.state.respec(pool);
        if *self.state.acceptance() != before {
            tell(key, self.state.acceptance());
        }
    }

    fn published(&mut self, revision: u64, now: Instant) {
        self.desk.published_at.get_or_insert(now);
        let generation = self.state.view().map(|view| view.policy.generation);
        if self.revision == 0 || self.desk.generation != generation {
            self.generation_revision = revision;
            self.desk.generation = generation;
        }
        self.revision = revision;
    }
}

fn tell(key: &Key, acceptance: &Acceptance) {
    match acceptance {
        Acceptance::Accepted(warnings) => tracing::info!(pool = %key, ?warnings, "pool accepted"),
        Acceptance::Rejected { reason, message } => tracing::warn!(pool = %key, reason, why = message, "pool rejected"),
    }
}

#[cfg(test)]
mod tests;
