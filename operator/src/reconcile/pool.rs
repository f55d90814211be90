//! One pool's state between two events and the step that brings it up to date. The step decides only: what is to be
//! published, what is to be checked, when to look again. A spec that is rejected changes nothing of the last good one.

use super::check::Checks;
use super::dereference::{self, Unresolved};
use super::hold::{Hold, PodState};
use crate::gather::World;
use crate::gather::facts::Key;
use crate::gather::world::Pool;
use crate::publish::ConsumerRule;
use evenkeel_crds::pool::{Consumers, FromNamespaces, PoolSpec};
use evenkeel_plan::{Found, Mode};
use evenkeel_probe::{self as probe, CheckReason};
use evenkeel_wire::{ActiveCheck, Endpoint, Health, Policy, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an addition may wait for others.
pub const BATCH: Duration = Duration::from_millis(50);

/// What became of the newest spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// In force, with what the author should know.
    Accepted(Vec<String>),
    /// Refused; the last good one stays.
    Rejected {
        /// The reason of the condition.
        reason: &'static str,
        /// Why, and what to do.
        message: String,
    },
}

/// The spec in force.
#[derive(Debug)]
struct Good {
    spec: Arc<PoolSpec>,
    policy: Arc<Policy>,
    consumers: ConsumerRule,
}

/// What the sidecars are told of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its policy.
    pub policy: Arc<Policy>,
    /// Its endpoints.
    pub endpoints: Arc<[Endpoint]>,
    /// Whose pods may have it.
    pub consumers: ConsumerRule,
}

/// What a pool's checks are to be.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckPlan {
    /// The check.
    pub check: Option<ActiveCheck>,
    /// The endpoints, by id.
    pub targets: BTreeMap<String, SocketAddr>,
}

impl CheckPlan {
    /// The endpoints as the prober takes them.
    pub fn targets(&self) -> Vec<probe::Target> {
        let target = |(id, address): (&String, &SocketAddr)| probe::Target { id: id.clone(), address: *address };
        self.targets.iter().map(target).collect()
    }
}

/// What one step decided.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// Publish this.
    pub publish: Option<View>,
    /// Check this from now on.
    pub check: Option<CheckPlan>,
    /// Look again then, even without an event.
    pub again: Option<Instant>,
}

/// One pool between two events.
#[derive(Debug)]
pub struct PoolState {
    uid: String,
    generation: i64,
    acceptance: Acceptance,
    good: Option<Good>,
    hold: Hold,
    unresolved: Vec<Unresolved>,
    checks: Checks,
    checking: CheckPlan,
    set_aside: bool,
    view: Option<View>,
    /// Why each endpoint of the view is in its state.
    reasons: BTreeMap<String, &'static str>,
}

impl PoolState {
    /// Of a pool that is seen for the first time.
    pub fn new(pool: &Pool) -> Self {
        let mut state = Self {
            uid: pool.uid.clone(),
            generation: pool.generation,
            acceptance: Acceptance::Accepted(Vec::new()),
            good: None,
            hold: Hold::default(),
            unresolved: Vec::new(),
            checks: Checks::default(),
            checking: CheckPlan { check: None, targets: BTreeMap::new() },
            set_aside: false,
            view: None,
            reasons: BTreeMap::new(),
        };
        state.compile(pool);
        state
    }

    /// Takes in the pool's newest spec.
    pub fn respec(&mut self, pool: &Pool) {
        if pool.uid != self.uid {
            *self = Self::new(pool);
        } else if pool.generation != self.generation {
            self.generation = pool.generation;
            self.compile(pool);
        }
    }

    fn compile(&mut self, pool: &Pool) {
        let spec = match &pool.spec {
            Ok(spec) => spec,
            Err(problem) => {
                self.acceptance = Acceptance::Rejected { reason: "InvalidSpec", message: format!("{problem}; correct it") };
                return;
            }
        };
        match evenkeel_plan::compile(spec, pool.generation, Mode::Cluster) {
            Ok(compiled) => {
                self.acceptance = Acceptance::Accepted(compiled.warnings);
                self.good = Some(Good {
                    consumers: consumer_rule(&spec.consumers),
                    spec: spec.clone(),
                    policy: Arc::new(compiled.policy),
                });
            }
            Err(rejection) => {
                self.acceptance = Acceptance::Rejected { reason: rejection.reason(), message: rejection.to_string() };
            }
        }
    }

    /// Takes over what the operator before this one found to be down.
    pub fn inherit(&mut self, down: impl Iterator<Item = (String, CheckReason)>) {
        self.checks.inherit(down);
    }

    /// Takes in a check's verdict; `false` if it changes nothing.
    pub fn verdict(&mut self, verdict: &evenkeel_probe::Verdict) -> bool {
        self.checks.observe(&verdict.id, verdict.healthy, verdict.reason)
    }

    /// Brings the pool up to date. `since` is when the oldest event was seen that this step answers.
    pub fn step(&mut self, key: &Key, world: &World, since: Instant, now: Instant) -> Step {
        let Some(good) = &self.good else {
            return Step::default();
        };
        let (mut gathered, unresolved) = dereference::dereference(world, &key.namespace, &good.spec);
        self.unresolved = unresolved;
        let mut again = self.hold.hold(&mut gathered, |pod| pod_state(world, &pod.namespace, &pod.name, &pod.uid), now);
        let sources = gathered.into_iter().map(|g| Found { priority: g.priority, candidates: g.candidates }).collect();
        let mut endpoints = evenkeel_plan::assemble(sources);

        let policy = good.policy.clone();
        let consumers = good.consumers.clone();
        let check = self.check(&policy, &mut endpoints, |pod| is_known(world, pod), &mut again, now);

        let reasons = endpoints.iter().map(|endpoint| (endpoint.id.clone(), self.why(endpoint))).collect();
        let view = View { policy, endpoints: endpoints.into(), consumers };
        let publish = match urgency(self.view.as_ref(), &view) {
            Urgency::Nothing => {
                self.reasons = reasons;
                None
            }
            Urgency::MayWait if now < since + BATCH => {
                again = earliest(again, Some(since + BATCH));
                None
            }
            Urgency::MayWait | Urgency::Now => {
                self.reasons = reasons;
                self.view = Some(view.clone());
                Some(view)
            }
        };
        Step { publish, check, again }
    }

    /// Marks what the checks have found, and returns the plan of the checks if it has changed.
    fn check(
        &mut self,
        policy: &Policy,
        endpoints: &mut [Endpoint],
        is_known: impl Fn(&Target) -> bool,
        again: &mut Option<Instant>,
        now: Instant,
    ) -> Option<CheckPlan> {
        let mut plan = CheckPlan { check: policy.active.clone(), targets: BTreeMap::new() };
        if plan.check.is_some() {
            // Only pods that the API server knows: an address that is merely written down somewhere, if as a pod's that was
            // made up, is not for the operator to connect to.
            // One that was checked is checked on while it isn't ready: its failure must outlive a flapping readiness. A new
            // one is first checked when it is ready, so that what failed while it started isn't held against it.
            let checks = |e: &Endpoint| match e.health {
                Health::Usable => true,
                Health::NotReady => self.checks.remember(&e.id),
                Health::Draining | Health::Down => false,
            };
            let checked = endpoints.iter().filter(|e| e.target.as_ref().is_some_and(&is_known) && checks(e));
            plan.targets = checked.map(|e| (e.id.clone(), SocketAddr::new(e.address, e.port))).collect();
        }
        self.checks.converge(&plan.targets, now);
        let ready: BTreeSet<&str> = endpoints.iter().filter(|e| e.health == Health::Usable).map(|e| e.id.as_str()).collect();
        let judgement = self.checks.judge(settled(policy.active.as_ref()), now, |id| ready.contains(id));
        self.set_aside = judgement.set_aside;
        *again = earliest(*again, judgement.again);
        if !self.set_aside {
            for endpoint in endpoints.iter_mut().filter(|e| e.health == Health::Usable) {
                if self.checks.failing(&endpoint.id).is_some() {
                    endpoint.health = Health::Down;
                }
            }
        }
        (plan != self.checking).then(|| {
            self.checking = plan.clone();
            plan
        })
    }

    /// The Services whose changes concern this pool.
    pub fn services(&self, namespace: &str) -> BTreeSet<Key> {
        let specs = self.good.iter().map(|good| &good.spec);
        specs.flat_map(|spec| dereference::services(namespace, spec)).collect()
    }

    /// Whether it keeps endpoints that no slice lists.
    pub fn holds_any(&self) -> bool {
        self.hold.holds_any()
    }

    /// The newest generation seen.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The pool's UID.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// What became of the newest spec.
    pub fn acceptance(&self) -> &Acceptance {
        &self.acceptance
    }

    /// What the list that sidecars are told makes of the policy, for the author to know.
    pub fn remarks(&self) -> Vec<String> {
        self.view.as_ref().map_or_else(Vec::new, |view| evenkeel_plan::remarks(&view.policy, &view.endpoints))
    }

    /// References that lead nowhere.
    pub fn unresolved(&self) -> &[Unresolved] {
        &self.unresolved
    }

    /// All checks time out and none is believed.
    pub fn is_set_aside(&self) -> bool {
        self.set_aside
    }

    /// What the sidecars are told.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Why an endpoint of the view is in its state, in one word. It was found with the state: what checks say by now may
    /// belong to a state that isn't published yet.
    pub fn reason(&self, endpoint: &Endpoint) -> &'static str {
        self.reasons.get(&endpoint.id).copied().unwrap_or("Unknown")
    }

    fn why(&self, endpoint: &Endpoint) -> &'static str {
        match (endpoint.health, self.checks.failing(&endpoint.id)) {
            (Health::Usable, Some(_)) => "ChecksUnreachable",
            (Health::Usable, None) if self.checks.passes(&endpoint.id) => "ChecksPass",
            (Health::Usable, None) => "Ready",
            (Health::Draining, _) => "Terminating",
            (Health::NotReady, _) => "NotReady",
            (Health::Down, Some(reason)) => reason.as_str(),
            (Health::Down, None) => "ChecksFail",
        }
    }
}

fn is_known(world: &World, pod: &Target) -> bool {
    world.pods.find(&Key::new(&pod.namespace, &pod.name)).is_some_and(|known| known.uid == pod.uid)
}

fn pod_state(world: &World, namespace: &str, name: &str, uid: &str) -> PodState {
    if world.is_gone(uid) {
        return PodState::Gone;
    }
    match world.pods.find(&Key::new(namespace, name)) {
        Some(pod) if pod.uid == uid && pod.terminating => PodState::Terminating,
        _ => PodState::Alive,
    }
}

fn consumer_rule(consumers: &Consumers) -> ConsumerRule {
    let namespaces = &consumers.namespaces;
    match (namespaces.from, &namespaces.selector) {
        (FromNamespaces::All, _) => ConsumerRule::All,
        (FromNamespaces::Selector, Some(selector)) => ConsumerRule::Selector(selector.match_labels.clone()),
        (FromNamespaces::Same, _) | (FromNamespaces::Selector, None) => ConsumerRule::Same,
    }
}

/// How long a check takes at most to find an endpoint that doesn't answer, its jittered start included.
fn settled(check: Option<&ActiveCheck>) -> Duration {
    check.map_or(Duration::ZERO, |c| {
        let rounds = u64::from(c.unhealthy_threshold) + 1;
        Duration::from_millis(rounds * c.interval_ms + c.timeout_ms)
    })
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Urgency {
    Nothing,
    MayWait,
    Now,
}

/// Only what adds to what may be used can wait.
fn urgency(before: Option<&View>, after: &View) -> Urgency {
    let Some(before) = before else {
        return Urgency::Now;
    };
    if before == after {
        return Urgency::Nothing;
    }
    if before.policy != after.policy || before.consumers != after.consumers {
        return Urgency::Now;
    }
    let now: BTreeMap<&str, &Endpoint> = after.endpoints.iter().map(|e| (e.id.as_str(), e)).collect();
    let only_better = before.endpoints.iter().all(|was| {
        now.get(was.id.as_str()).is_some_and(|is| {
            *is == was || (is.health == Health::Usable && **is == Endpoint { health: Health::Usable, ..was.clone() })
        })
    });
    match only_better {
        true => Urgency::MayWait,
        false => Urgency::Now,
    }
}
