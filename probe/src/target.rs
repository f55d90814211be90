//! The life of one checked endpoint: wait, check, count, tell transitions. One task each; it ends by being dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::{Check, Rng, SmallRng};
use evenkeel_wire::{ActiveCheck, PoolName};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::count::{CheckReason, Counts};
use crate::exchange::Exchange;
use crate::{Target, Verdict};

/// A policy's intervals are at least this long, whatever it says.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// First checks are spread over one interval, but no longer than this: a broken endpoint should be known soon.
const LONGEST_SPREAD: Duration = Duration::from_secs(2);
/// Intervals vary by a tenth, so that checks of one pool, and those of many, don't fall together.
const JITTER_PERCENT: u32 = 10;

/// What all targets share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) verdicts: mpsc::Sender<Verdict>,
    pub(crate) counts: Arc<Counts>,
    /// Checks of all pools that may be on the wire at once.
    pub(crate) permits: Arc<Semaphore>,
}

/// What the targets of one pool share.
#[derive(Debug)]
pub(crate) struct OfPool {
    pub(crate) name: PoolName,
    pub(crate) policy: watch::Receiver<ActiveCheck>,
    /// Its checks that may be on the wire at once.
    pub(crate) permits: Arc<Semaphore>,
}

/// A running target; dropping it stops the task.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// Its number among all that were begun.
    pub(crate) run: u64,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(pool: OfPool, target: Target, run: u64, shared: Shared, rng: SmallRng) -> Self {
        let address = target.address;
        Self { address, run, task: tokio::spawn(follow(pool, target, run, shared, rng)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(pool: OfPool, target: Target, run: u64, shared: Shared, mut rng: SmallRng) {
    let OfPool { name: pool, mut policy, permits } = pool;
    let Target { id, address } = target;
    let mut current = policy.borrow_and_update().clone();
    let mut exchange = Exchange::new(&current.kind, address);
    let mut check = Check::new(current.unhealthy_threshold, current.healthy_threshold);
    let spread = interval(&current).min(LONGEST_SPREAD);
    let mut next = Instant::now() + spread * rng.below(1_000) as u32 / 1_000;
    loop {
        tokio::select! {
            changed = policy.changed() => {
                if changed.is_err() {
                    return;
                }
                current = policy.borrow_and_update().clone();
                exchange = Exchange::new(&current.kind, address);
                check.set_thresholds(current.unhealthy_threshold, current.healthy_threshold);
                next = next.min(Instant::now() + jittered(interval(&current), &mut rng));
                continue;
            }
            () = sleep_until(next) => {}
        }
        // Its pool's first: who waits for that holds nothing that other pools want.
        let Ok(of_pool) = permits.acquire().await else { return };
        let Ok(of_all) = shared.permits.acquire().await else { return };
        next = Instant::now() + jittered(interval(&current), &mut rng);
        let limit = Duration::from_millis(current.timeout_ms.max(1));
        let reason = timeout(limit, exchange.run(address)).await.unwrap_or(CheckReason::Timeout);
        drop((of_pool, of_all));
        shared.counts.count(reason);
        if let Some(healthy) = check.observe(reason == CheckReason::Passing) {
            tracing::debug!(%pool, id, healthy, reason = reason.as_str(), "check turned");
            // A full queue holds back this target's next check, and memory stays bounded.
            let verdict = Verdict { pool: pool.clone(), id: id.clone(), healthy, reason, run };
            if shared.verdicts.send(verdict).await.is_err() {
                return;
            }
        }
    }
}

fn interval(check: &ActiveCheck) -> Duration {
    Duration::from_millis(check.interval_ms).max(SHORTEST_INTERVAL)
}

/// Within a tenth of the interval.
fn jittered(interval: Duration, rng: &mut SmallRng) -> Duration {
    let percent = 100 - JITTER_PERCENT + rng.below(2 * JITTER_PERCENT as usize + 1) as u32;
    interval.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_vary_by_a_tenth_and_no_more() {
        let mut rng = SmallRng::new(1);
        let interval = Duration::from_secs(1);
        let drawn: Vec<_> = (0..1_000).map(|_| jittered(interval, &mut rng)).collect();
        assert_eq!(drawn.iter().min(), Some(&Duration::from_millis(900)));
        assert_eq!(drawn.iter().max(), Some(&Duration::from_millis(1_100)));
    }
}
