//! Both ways of a connection at once, until both have ended, one has broken, or nothing moves any more.

use super::end::{End, broken};
use super::way::{Broken, Flow, Way};
use crate::proxy::flag::Flag;
use crate::worker::Worker;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What came first from upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Byte,
    /// Its end, before the client's, or a reset.
    End,
}

/// What both ways have done so far: up is from the client to the endpoint, down back.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    pub(super) up: Flow,
    pub(super) down: Flow,
}

impl Flows {
    /// These bytes have been read already: the first that go up, and the first that go down.
    pub(crate) fn beginning_with(up: Vec<u8>, down: Vec<u8>) -> Self {
        Self { up: Flow::beginning_with(up), down: Flow::beginning_with(down) }
    }

    /// Bytes that have gone up, and down.
    pub(crate) fn moved(&self) -> (u64, u64) {
        (self.up.moved.get(), self.down.moved.get())
    }
}

/// How long nothing may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// So long.
    Always(Duration),
    /// For ever; and once one side has ended, so long to twice as long.
    UntilHalfOpen(Duration),
}

/// Passes bytes on both ways. A side that has ended has its end passed on while the other goes on; `Ok` once both have. When nothing
/// has moved either way for longer than `patience` says, that is the end, and the flag says who was waited for. `told` is called at the first byte from
/// upstream, or at an end of upstream that comes instead and before the client's.
pub(crate) async fn relay(
    worker: &Worker,
    (mut client, mut upstream): (End<'_>, End<'_>),
    flows: &Flows,
    patience: Patience,
    told: impl FnOnce(First),
) -> Result<(), Flag> {
    let Flows { up: up_flow, down: down_flow } = flows;
    let (mut up, mut down) = (Way::new(worker, up_flow), Way::new(worker, down_flow));
    let (idle, is_patient) = match patience {
        Patience::Always(idle) => (idle, false),
        Patience::UntilHalfOpen(idle) => (idle, true),
    };
    // Where nobody reads, only this tells that a side has been reset.
    let mut client_broken = pin!(broken(client.socket()));
    let mut upstream_broken = pin!(broken(upstream.socket()));
    let (started, mut timer) = (Instant::now(), pin!(sleep(idle)));
    let mut told = Some(told);
    let mut tell = |first| told.take().into_iter().for_each(|told| told(first));
    poll_fn(move |cx| {
        let upward = up.poll(cx, &mut client, &mut upstream);
        let downward = down.poll(cx, &mut upstream, &mut client);
        if down_flow.has_begun.get() {
            tell(First::Byte);
        }
        match downward {
            Poll::Ready(Ok(())) if up_flow.has_ended.get() => {}
            Poll::Ready(Ok(()) | Err(Broken::Read)) => tell(First::End),
            Poll::Ready(Err(Broken::Write)) | Poll::Pending => {}
        }
        match (upward, downward) {
            (Poll::Ready(Err(Broken::Read)), _) | (_, Poll::Ready(Err(Broken::Write))) => {
                return Poll::Ready(Err(Flag::Cancelled));
            }
            (Poll::Ready(Err(Broken::Write)), _) | (_, Poll::Ready(Err(Broken::Read))) => {
                return Poll::Ready(Err(Flag::UpstreamReset));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            _ => {}
        }
        if up.is_deaf() && client_broken.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Flag::Cancelled));
        }
        if down.is_deaf() && upstream_broken.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Flag::UpstreamReset));
        }
        while timer.as_mut().poll(cx).is_ready() {
            let quiet_since = up_flow.moved_at().max(down_flow.moved_at()).unwrap_or(started);
            if is_patient && !up_flow.has_ended.get() && !down_flow.has_ended.get() {
                timer.as_mut().reset(Instant::now() + idle);
                continue;
            }
            if quiet_since.elapsed() >= idle {
                return Poll::Ready(Err(waited_for(flows)));
            }
            timer.as_mut().reset(quiet_since + idle);
        }
        Poll::Pending
    })
    .await
}

/// Who was waited for: who doesn't take what is there, else who has not ended yet; if that is both, it is nobody's fault.
fn waited_for(Flows { up, down }: &Flows) -> Flag {
    match (up.is_blocked.get(), down.is_blocked.get()) {
        (true, _) => Flag::UpstreamTimeout,
        (_, true) => Flag::ClientTimeout,
        _ if up.has_ended.get() => Flag::UpstreamTimeout,
        _ if down.has_ended.get() => Flag::ClientTimeout,
        _ => Flag::StreamIdle,
    }
}
