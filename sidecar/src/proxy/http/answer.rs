//! Answers of the proxy's own, and the ends of connections. Which end of an exchange becomes which status, flag and
//! word to the endpoint's breaker stands here and nowhere else.

use super::exchange::Failure;
use super::{Connection, Next};
use crate::grpc;
use crate::http1::Fault;
use crate::http1::status::{self, Canned};
use crate::proxy::attempt::{ConnectError, Unreached};
use crate::proxy::flag::Flag;
use crate::proxy::record::Record;
use evenkeel_balance::{NoEndpoint, Outcome};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// How long, and for how many bytes, a client that still sends is listened to after the last answer.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 1 << 20);
/// How long the client may take to take a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

const OVERLOADED: &str = "the pool has as much in use as its limits allow; come again later";
const NOT_HTTP1: &str = "; so the endpoint answered. If it speaks HTTP/2 alone, set spec.upstream.protocol: HTTP2";
const NOT_HTTP2: &str = " If it speaks HTTP/1.1, set spec.upstream.protocol: HTTP1";
const SILENT: &str = "the endpoint ended the connection before its answer";

/// An answer of the proxy's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    status: u16,
    flag: Flag,
    reason: &'static str,
    advice: &'static str,
    hint: &'static str,
    /// The connection may carry another request afterwards.
    stays: bool,
    to_head: bool,
}

impl Refusal {
    /// In no record: records and counts are a pool's, and there is none.
    pub(super) const NO_POOL: Self =
        Self { reason: "NoPool", ..Self::new(503, Flag::None, "no pool stands behind this port any more") };
    pub(super) const SLOW: Self = Self::new(408, Flag::ClientTimeout, "the request took too long to arrive");

    /// The time that the request may take as a whole was up.
    pub(super) const DEADLINE: Self = Self::new(504, Flag::RequestTimeout, "the request took longer than it may");

    const fn new(status: u16, flag: Flag, advice: &'static str) -> Self {
        Self { status, flag, reason: "", advice, hint: "", stays: false, to_head: false }
    }

    /// For a request that isn't accepted.
    pub(super) fn bad_request(fault: Fault) -> Self {
        let status = status::of_request_fault(fault);
        Self { reason: fault.as_str(), advice: fault.advice(), ..Self::new(status, Flag::BadRequest, "") }
    }

    /// For a request that reached no endpoint; `None` if nobody is there to be told.
    pub(super) fn unreached(unreached: Unreached) -> Option<Self> {
        let advice = match unreached {
            Unreached::ClientGone => return None,
            Unreached::Shed(_) | Unreached::NoEndpoint(NoEndpoint::Saturated) | Unreached::Connect(ConnectError::Full) => {
                OVERLOADED
            }
            Unreached::NoEndpoint(_) => "the pool has no endpoint that may be used; see its status",
            Unreached::Deadline => return Some(Self::DEADLINE),
            Unreached::Connect(ConnectError::Silent) => return Some(Self::new(502, Flag::UpstreamReset, SILENT)),
            Unreached::Connect(ConnectError::Tls(failure)) => {
                return Some(Self::new(502, Flag::UpstreamTls, failure.advice()));
            }
            Unreached::Connect(_) => "no endpoint could be connected to",
        };
        Some(Self::new(503, unreached.into(), advice))
    }

    /// For an exchange that failed before its answer began; `None` if nobody is there to be told.
    pub(super) fn failed(failure: Failure) -> Option<Self> {
        Some(match failure {
            Failure::ClientGone => return None,
            Failure::ClientStalled => Self::SLOW,
            Failure::Request(fault) => Self::bad_request(fault),
            Failure::Upstream { .. } => Self::new(502, failure.flag(), SILENT),
            Failure::Unprocessed => Self::new(503, failure.flag(), "the endpoint turned the request away"),
            Failure::Deadline => Self::DEADLINE,
            Failure::UpstreamStalled => Self::new(504, failure.flag(), "the endpoint took too long to answer"),
            Failure::Answer(fault) => {
                let hint = if fault == Fault::Http2 { NOT_HTTP2 } else { NOT_HTTP1 };
                Self { reason: fault.as_str(), advice: fault.advice(), hint, ..Self::new(502, failure.flag(), "") }
            }
        })
    }

    /// The connection may go on if `stays`; no body if `to_head`.
    pub(super) fn with(self, stays: bool, to_head: bool) -> Self {
        Self { stays, to_head, ..self }
    }

    /// Enters it into the record.
    pub(super) fn note(&self, record: &mut Record) {
        let Self { status, flag, reason, .. } = *self;
        tracing::debug!(status, flag = flag.as_str(), reason, "refused");
        record.set_status(status);
        record.set_flag(flag);
    }

    fn canned(&self) -> Canned<'static> {
        let reason = if self.reason.is_empty() { self.flag.as_str() } else { self.reason };
        let Self { status, advice, hint, stays, to_head, .. } = *self;
        Canned { status, reason, advice, hint, close: !stays, to_head }
    }
}

impl Failure {
    /// The flag of an exchange that ended so.
    pub(super) fn flag(self) -> Flag {
        match self {
            Self::ClientGone => Flag::Cancelled,
            Self::ClientStalled => Flag::ClientTimeout,
            Self::Request(_) => Flag::BadRequest,
            Self::Upstream { .. } | Self::Unprocessed => Flag::UpstreamReset,
            Self::Deadline => Flag::RequestTimeout,
            Self::UpstreamStalled => Flag::UpstreamTimeout,
            Self::Answer(_) => Flag::UpstreamProtocol,
        }
    }

    /// What it says of the endpoint.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::ClientGone | Self::ClientStalled | Self::Request(_) => Outcome::Cancelled,
            // Whose time was too short, the client's or the pool's, isn't known; nor is it the endpoint's fault to be full.
            Self::Deadline | Self::Unprocessed => Outcome::Cancelled,
            Self::Upstream { .. } | Self::UpstreamStalled | Self::Answer(_) => Outcome::GatewayError,
        }
    }
}

/// What an answer with this status says of its endpoint.
pub(super) fn outcome_of(status: u16) -> Outcome {
    match status {
        502..=504 => Outcome::GatewayError,
        500.. => Outcome::ServerError,
        _ => Outcome::Success,
    }
}

impl Connection {
    /// Sends the refusal.
    pub(super) async fn refuse(&mut self, refusal: Refusal) -> Next {
        self.timer.limit(None);
        if self.call.is_some() {
            let canned = refusal.canned();
            let head = self.down.bytes();
            head.extend_from_slice(b"HTTP/1.1 200\r\nContent-Type: application/grpc\r\n");
            grpc::Status::of_http(canned.status).write(canned.reason, canned.advice, head);
            head.extend_from_slice(b"\r\n");
            let length = head.len();
            self.down.send_head(&mut self.client, length, true);
            return Next::Linger;
        }
        let Self { worker, client, client_input, down, timer, now, .. } = self;
        let canned = refusal.canned();
        let length = canned.write(down.bytes());
        down.send_head(client, length, canned.to_head);
        *now = Instant::now();
        timer.set(*now, REFUSAL_TIMEOUT);
        let sent = poll_fn(|cx| match down.poll_flush(cx, client, client_input, &worker.http().buffers) {
            Poll::Pending => timer.poll(cx).map(|()| false),
            Poll::Ready(result) => Poll::Ready(result.is_ok()),
        });
        match sent.await {
            true if client.frames_bodies() => {
                client.finish(&[]);
                Next::Linger
            }
            true if refusal.stays => Next::Request,
            true => Next::Linger,
            false => Next::Abort,
        }
    }

    /// Ends the writing side, then reads on for a while: a close with bytes unread is a reset, which can overtake the
    /// answer. So is the end of a stream: there are clients that forget an answer for a reset, even for one without error.
    pub(super) async fn linger(&mut self) {
        let Self { worker, client, client_input, timer, .. } = self;
        let buffers = &worker.http().buffers;
        client_input.clear(buffers);
        let (time, mut bytes) = LINGER;
        timer.limit(None);
        timer.set(Instant::now(), time);
        let ended = poll_fn(|cx| match client.poll_shutdown(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.is_ok()),
            // What was written before may not have gone yet.
            Poll::Pending => timer.poll(cx).map(|()| false),
        });
        if !ended.await {
            return;
        }
        poll_fn(|cx| {
            while let Poll::Ready(read) = client_input.poll_fill(cx, client, buffers) {
                client_input.clear(buffers);
                let count = read.unwrap_or(0);
                bytes = bytes.saturating_sub(count);
                if count == 0 || bytes == 0 {
                    return Poll::Ready(());
                }
            }
            timer.poll(cx)
        })
        .await;
    }
}
