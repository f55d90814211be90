//! One timer for a connection's life. A deadline that moves later costs nothing: the timer finds out when it fires.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Fires at a deadline that is set again and again.
#[derive(Debug)]
pub(super) struct Timer {
    /// Made when it is first waited for.
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    /// No deadline lies beyond it.
    limit: Option<Instant>,
}

impl Default for Timer {
    /// To be set before it is waited for.
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Timer {
    /// A timer for `deadline`.
    pub(super) fn new(deadline: Instant) -> Self {
        Self { sleep: None, deadline, limit: None }
    }

    /// From now on no deadline lies beyond `limit`.
    pub(super) fn limit(&mut self, limit: Option<Instant>) {
        self.limit = limit;
    }

    /// The limit, if there is one.
    pub(super) fn limited(&self) -> Option<Instant> {
        self.limit
    }

    /// Whether it fired because of the limit.
    pub(super) fn is_at_limit(&self) -> bool {
        self.limit.is_some_and(|limit| limit <= self.deadline)
    }

    /// Sets a new deadline.
    pub(super) fn set(&mut self, from: Instant, after: Duration) {
        let deadline = from + after;
        self.deadline = self.limit.map_or(deadline, |limit| limit.min(deadline));
        if let Some(sleep) = self.sleep.as_mut().filter(|sleep| self.deadline < sleep.deadline()) {
            sleep.as_mut().reset(self.deadline);
        }
    }

    /// Ready once the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(self.deadline);
        }
    }
}
