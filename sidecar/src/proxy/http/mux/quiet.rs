//! When a connection has had no stream for too long.

use super::Shared;
use crate::proxy::http::timer::Timer;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The time since the last stream of a connection.
pub(super) struct Quiet {
    timer: Timer,
    most: Duration,
    was_active: bool,
}

impl Quiet {
    /// A new connection may be without a stream for so long, too.
    pub(super) fn new(most: Duration) -> Self {
        Self { timer: Timer::new(Instant::now() + most), most, was_active: true }
    }

    /// Ready once it has been too long; to be asked whenever something has happened.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<()> {
        let is_active = shared.is_active();
        if std::mem::replace(&mut self.was_active, is_active) && !is_active {
            self.timer.set(Instant::now(), self.most);
        }
        if is_active { Poll::Pending } else { self.timer.poll(cx) }
    }
}
