//! Active checks: sockets in, verdicts out. A [`Prober`] keeps one task per checked endpoint and tells only transitions, decided by
//! [`evenkeel_balance::Check`]. It knows nothing of routing; needs a tokio runtime with time and IO, a single-threaded one will do.

mod count;
mod exchange;
mod target;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel_balance::{Rng, SmallRng};
use evenkeel_wire::{ActiveCheck, PoolName};
use tokio::sync::{Semaphore, mpsc, watch};

pub use count::{CheckReason, Counts};

/// Checks on the wire at once, of all pools.
const MAX_AT_ONCE: usize = 256;
/// Of these, those of one pool: one whose endpoints all hang must not hold up the checks of the others.
const MAX_OF_POOL: usize = 32;
/// Verdicts that wait to be read; beyond it checks wait.
const MAX_VERDICTS: usize = 1_024;

/// An endpoint to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its identity, as verdicts name it.
    pub id: String,
    /// Where it is.
    pub address: SocketAddr,
}

/// A transition of one endpoint of one pool. All start healthy; one that is no longer a target may still have a verdict on the way,
/// and it isn't one of the target that has its id since: ask [`Prober::is_current`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The pool whose check it is.
    pub pool: PoolName,
    /// The target.
    pub id: String,
    /// What it is from now on.
    pub healthy: bool,
    /// How the last check went.
    pub reason: CheckReason,
    /// Of which run of checks: see [`Prober::is_current`].
    pub run: u64,
}

/// Runs the checks of all pools. Dropping it ends them.
#[derive(Debug)]
pub struct Prober {
    pools: HashMap<PoolName, Pool>,
    shared: target::Shared,
    rng: SmallRng,
    /// How many checks were begun.
    runs: u64,
}

#[derive(Debug)]
struct Pool {
    policy: watch::Sender<ActiveCheck>,
    permits: Arc<Semaphore>,
    targets: HashMap<String, target::Running>,
}

impl Pool {
    fn new(check: ActiveCheck) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_OF_POOL));
        Self { policy: watch::Sender::new(check), permits, targets: HashMap::new() }
    }
}

impl Prober {
    /// A prober without work, and where its verdicts come out. `seed` spreads the checks in time.
    pub fn new(seed: u64) -> (Self, mpsc::Receiver<Verdict>) {
        let (verdicts, receiver) = mpsc::channel(MAX_VERDICTS);
        let shared = target::Shared { verdicts, counts: Arc::default(), permits: Arc::new(Semaphore::new(MAX_AT_ONCE)) };
        (Self { pools: HashMap::new(), shared, rng: SmallRng::new(seed), runs: 0 }, receiver)
    }

    /// Makes the pool's checks be these: what is new starts, what is gone stops and is forgotten, what stays keeps its counts, also
    /// under another policy. An id at another address is new. Without a check all stop. Must be called inside a tokio runtime.
    pub fn set(&mut self, pool: &PoolName, check: Option<&ActiveCheck>, targets: Vec<Target>) {
        let Some(check) = check else { return self.remove(pool) };
        let Self { pools, shared, rng, runs } = self;
        let entry = pools.entry(pool.clone()).or_insert_with(|| Pool::new(check.clone()));
        entry.policy.send_if_modified(|current| {
            let differs = current != check;
            if differs {
                current.clone_from(check);
            }
            differs
        });
        let mut before = std::mem::take(&mut entry.targets);
        for target in targets {
            let id = target.id.clone();
            let running = match before.remove(&id).filter(|running| running.address == target.address) {
                Some(running) => running,
                None if entry.targets.contains_key(&id) => continue,
                None => {
                    let rng = SmallRng::new(rng.next_u64());
                    *runs += 1;
                    let (policy, permits) = (entry.policy.subscribe(), entry.permits.clone());
                    let pool = target::OfPool { name: pool.clone(), policy, permits };
                    target::Running::start(pool, target, *runs, shared.clone(), rng)
                }
            };
            entry.targets.insert(id, running);
        }
    }

    /// Ends the pool's checks.
    pub fn remove(&mut self, pool: &PoolName) {
        self.pools.remove(pool);
    }

    /// Whether the verdict is of a check that still runs.
    pub fn is_current(&self, verdict: &Verdict) -> bool {
        let running = self.pools.get(&verdict.pool).and_then(|pool| pool.targets.get(&verdict.id));
        running.is_some_and(|running| running.run == verdict.run)
    }

    /// Checks made by result; the same live counts each time.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.shared.counts)
    }
}
