//! How many requests a connection is busy with, up to the last byte of each answer, and when it has been idle for too long.

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

/// The requests of one connection.
pub(super) struct Activity(watch::Sender<usize>);

impl Default for Activity {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Activity {
    /// One more request, until what is returned is dropped.
    pub(super) fn enter(&self) -> Busy {
        self.0.send_modify(|requests| *requests += 1);
        Busy(self.0.clone())
    }

    /// Returns once there has been no request for so long.
    pub(super) async fn idle(&self, span: Duration) {
        let mut requests = self.0.subscribe();
        loop {
            // It never fails: the sender is here.
            let _ = requests.wait_for(|&requests| requests == 0).await;
            if tokio::time::timeout(span, requests.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// One request in progress.
pub(super) struct Busy(watch::Sender<usize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests -= 1);
    }
}

/// An answer whose request counts until it is sent.
pub(super) struct Counted {
    body: Body,
    _busy: Busy,
}

impl Counted {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::pin::pin;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_while_no_answer_is_on_its_way() {
        let activity = Activity::default();
        let span = Duration::from_secs(30);
        let mut idle = pin!(activity.idle(span));
        let (first, second) = (activity.enter(), activity.enter());
        tokio::time::timeout(span * 10, idle.as_mut()).await.expect_err("two requests are open");
        drop(first);
        tokio::time::timeout(span * 10, idle.as_mut()).await.expect_err("one request is open");
        drop(second);
        assert!(idle.as_mut().now_or_never().is_none());
        tokio::time::timeout(span, idle).await.expect("idle for all the span");
    }
}
