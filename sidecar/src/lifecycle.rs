//! Running, draining, ended. In a pod the sidecar is told to stop after the app has gone; until nobody is connected any
//! more it goes on serving, new connections included: outbound is never drained early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// This long nobody must have been connected.
const QUIET: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Whether the process stops, and what is still open.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    draining: AtomicBool,
    open: AtomicUsize,
    accepted: AtomicUsize,
    told: Notify,
}

/// Why draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nobody was connected any more.
    Idle,
    /// The deadline passed with connections open.
    Deadline {
        /// So many.
        open: usize,
    },
}

/// An open client connection; counts until dropped.
pub(crate) struct Open(Arc<Lifecycle>);

impl Lifecycle {
    /// Counts a client connection.
    pub(crate) fn enter(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Whether the process has been told to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Ends when the process has been told to stop.
    pub(crate) async fn draining(&self) {
        let told = self.told.notified();
        if !self.draining.load(Ordering::Acquire) {
            told.await;
        }
    }

    /// Client connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Goes on serving until nobody has been connected for a second, at the longest for `timeout`.
    pub(crate) async fn drain(&self, timeout: Duration) -> Drained {
        self.draining.store(true, Ordering::Release);
        self.told.notify_waiters();
        let start = Instant::now();
        let deadline = start + timeout;
        let (mut quiet_since, mut accepted) = (None, self.accepted.load(Ordering::Relaxed));
        loop {
            let now = Instant::now();
            let before = std::mem::replace(&mut accepted, self.accepted.load(Ordering::Relaxed));
            if self.open() > 0 || before != accepted {
                quiet_since = None;
            } else if now.duration_since(*quiet_since.get_or_insert(now)) >= QUIET {
                return Drained::Idle;
            }
            if now >= deadline {
                return Drained::Deadline { open: self.open() };
            }
            sleep_until((now + LOOK).min(deadline)).await;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_connected_ends_after_a_second_of_quiet() {
        let start = Instant::now();
        assert_eq!(Arc::new(Lifecycle::default()).drain(Duration::from_secs(30)).await, Drained::Idle);
        assert_eq!(start.elapsed(), QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_connection_holds_the_end_until_the_deadline() {
        let lifecycle = Arc::new(Lifecycle::default());
        let _open = lifecycle.enter();
        let start = Instant::now();
        assert_eq!(lifecycle.drain(Duration::from_secs(30)).await, Drained::Deadline { open: 1 });
        assert_eq!(start.elapsed(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_comes_while_draining_starts_the_quiet_anew() {
        let lifecycle = Arc::new(Lifecycle::default());
        let start = Instant::now();
        let client = async {
            tokio::time::sleep(Duration::from_millis(950)).await;
            drop(lifecycle.enter());
        };
        let (drained, ()) = tokio::join!(lifecycle.drain(Duration::from_secs(30)), client);
        assert_eq!(drained, Drained::Idle);
        assert!(start.elapsed() >= Duration::from_millis(1950));
    }
}
