//! Both ways of a connection at once, until both have ended, one has broken, or nothing moves any more.

use super::end::{End, broken};
use super::way::{Broken, Flow, Way};
use crate::proxy::flag::Flag;
use crate::worker::Worker;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

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

impl Patience {
    fn idle(self) -> Duration {
        match self {
            Self::Always(idle) | Self::UntilHalfOpen(idle) => idle,
        }
    }
}

/// Passes bytes on both ways. A side that has ended has its end passed on while the other goes on; `Ok` once both have. When
/// nothing has moved either way for longer than `patience` says, that is the end, and the flag says who was waited for. `told` is
/// called at the first byte from upstream, or at an end of upstream that comes instead and before the client's.
pub(crate) async fn relay(
    worker: &Worker,
    (mut client, mut upstream): (End<'_>, End<'_>),
    flows: &Flows,
    patience: Patience,
    told: impl FnOnce(First),
) -> Result<(), Flag> {
    let (mut up, mut down) = (Way::new(worker, &flows.up), Way::new(worker, &flows.down));
    // Where nobody reads, only this tells that a side has been reset.
    let mut client_broken = pin!(broken(client.socket()));
    let mut upstream_broken = pin!(broken(upstream.socket()));
    let (started, mut timer) = (Instant::now(), pin!(sleep(patience.idle())));
    let mut told = Some(told);
    poll_fn(move |cx| {
        let upward = up.poll(cx, &mut client, &mut upstream);
        let downward = down.poll(cx, &mut upstream, &mut client);
        if let Some(first) = find_first(flows, downward) {
            told.take().into_iter().for_each(|told| told(first));
        }
        if let Some(end) = find_end(upward, downward) {
            return Poll::Ready(end);
        }
        if up.is_deaf() && client_broken.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Flag::Cancelled));
        }
        if down.is_deaf() && upstream_broken.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Flag::UpstreamReset));
        }
        poll_silence(cx, (started, timer.as_mut()), flows, patience).map(Err)
    })
    .await
}

/// What came first from upstream, once it is known.
fn find_first(flows: &Flows, downward: Poll<Result<(), Broken>>) -> Option<First> {
    match downward {
        _ if flows.down.has_begun.get() => Some(First::Byte),
        Poll::Ready(Ok(())) if flows.up.has_ended.get() => None,
        Poll::Ready(Ok(()) | Err(Broken::Read)) => Some(First::End),
        Poll::Ready(Err(Broken::Write)) | Poll::Pending => None,
    }
}

/// The end, if one way has broken, and who broke it, or both have ended.
fn find_end(upward: Poll<Result<(), Broken>>, downward: Poll<Result<(), Broken>>) -> Option<Result<(), Flag>> {
    match (upward, downward) {
        (Poll::Ready(Err(Broken::Read)), _) | (_, Poll::Ready(Err(Broken::Write))) => Some(Err(Flag::Cancelled)),
        (Poll::Ready(Err(Broken::Write)), _) | (_, Poll::Ready(Err(Broken::Read))) => Some(Err(Flag::UpstreamReset)),
        (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Some(Ok(())),
        _ => None,
    }
}

/// Ready when nothing has moved either way for longer than `patience` says, with who was waited for. `timer` rings now and then
/// from `started` on: it is set anew when it does, not with every byte.
fn poll_silence(
    cx: &mut Context<'_>,
    (started, mut timer): (Instant, Pin<&mut Sleep>),
    flows: &Flows,
    patience: Patience,
) -> Poll<Flag> {
    let Flows { up, down } = flows;
    let (idle, is_patient) = (patience.idle(), matches!(patience, Patience::UntilHalfOpen(_)));
    loop {
        ready!(timer.as_mut().poll(cx));
        let quiet_since = up.moved_at().max(down.moved_at()).unwrap_or(started);
        if is_patient && !up.has_ended.get() && !down.has_ended.get() {
            timer.as_mut().reset(Instant::now() + idle);
        } else if quiet_since.elapsed() >= idle {
            return Poll::Ready(waited_for(flows));
        } else {
            timer.as_mut().reset(quiet_since + idle);
        }
    }
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
