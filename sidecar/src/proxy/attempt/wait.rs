//! A request that finds no room, in its pool's queue: until it is called, until its time is up, or until its client goes away.

use super::{Attempts, Chosen, MAX_CROWDED, Shed, Unreached};
use crate::metrics::PoolMetrics;
use crate::proxy::queue::{Queue, Ticket};
use crate::worker::Worker;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a queue looks for room that nobody calls it for: an endpoint that came back, or one that another pool left room at.
const PROMPT: Duration = Duration::from_millis(50);

/// How a request has waited so far.
#[derive(Default)]
pub(super) struct Waiting {
    stay: RefCell<Option<Stay>>,
    /// The end of its patience, whatever number of stays it is made of.
    until: Option<Instant>,
}

/// A stay in the queue; counted when it ends.
struct Stay {
    ticket: Ticket,
    since: Instant,
    metrics: Arc<PoolMetrics>,
    worker: usize,
}

impl Waiting {
    /// It has found room, or given up.
    pub(super) fn end(&self) {
        self.stay.take();
    }

    fn is_on(&self) -> bool {
        self.stay.borrow().is_some()
    }
}

impl Attempts {
    /// Picks, unless others wait: then it isn't this one's turn. `None` if it is to wait.
    pub(super) fn pick_in_turn(&mut self, worker: &Worker) -> Result<Option<Chosen>, Unreached> {
        if self.pool.is_limited() {
            let others_wait = !self.waiting.is_on() && self.pool.capacity().queue().pending() > 0;
            if others_wait || self.crowded == MAX_CROWDED {
                return Ok(None);
            }
        }
        self.find(worker)
    }

    /// Joins the queue, or stays in it, having found no room: ends when it is worth another look.
    pub(super) async fn wait(
        &mut self,
        worker: &Worker,
        gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Result<(), Unreached> {
        // Where this one has failed already, another may succeed.
        let only_for_me = self.tried.len() > self.crowded;
        self.forget_crowded();
        match self.waiting.stay.take() {
            None => {
                let stay = self.join(worker)?;
                if !stay.ticket.is_first() {
                    self.called(stay, gone).await?;
                } else {
                    self.waiting.stay.replace(Some(stay));
                }
            }
            Some(stay) => {
                stay.ticket.found_none(only_for_me);
                self.called(stay, gone).await?;
            }
        }
        self.renew_pool(worker)
    }

    fn join(&mut self, worker: &Worker) -> Result<Stay, Unreached> {
        let limits = &self.pool.policy().limits;
        let queue = self.pool.capacity().queue();
        let ticket = queue.join(limits.max_pending_requests as usize).ok_or(Unreached::Shed(Shed::QueueFull))?;
        if queue.needs_prompter() {
            tokio::task::spawn_local(prompt(queue.clone()));
        }
        let since = Instant::now();
        self.waiting.until.get_or_insert(since + Duration::from_millis(limits.pending_timeout_ms));
        Ok(Stay { ticket, since, metrics: self.pool.metrics().clone(), worker: worker.index() })
    }

    /// Waits for the call, and stays until it is known what comes of it.
    async fn called(&mut self, stay: Stay, mut gone: impl FnMut(&mut Context<'_>) -> Poll<()>) -> Result<(), Unreached> {
        let mut over = pin!(sleep_until(self.waiting.until.unwrap_or(stay.since)));
        let called = poll_fn(|cx| {
            if stay.ticket.poll_called(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if gone(cx).is_ready() {
                return Poll::Ready(Err(Unreached::ClientGone));
            }
            over.as_mut().poll(cx).map(|()| Err(Unreached::Shed(Shed::QueueTimeout)))
        });
        called.await?;
        self.waiting.stay.replace(Some(stay));
        Ok(())
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.metrics.shard(self.worker).count_queued(self.since.elapsed());
    }
}

/// Lets a queue look for room from time to time, as long as somebody waits.
async fn prompt(queue: Arc<Queue>) {
    loop {
        sleep(PROMPT).await;
        if !queue.prompt() {
            return;
        }
    }
}
