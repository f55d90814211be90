//! One request and its answer over two connections, both ways at once: an answer may begin before its request has ended.
//! Says how it ended; what to do about it is the caller's.

use super::buffer::{Buffers, Input};
use super::download::{Download, DownloadEnds, DownloadError};
use super::outbox::Outbox;
use super::timer::Timer;
use super::upload::{Upload, UploadEnds, UploadError};
use crate::grpc;
use crate::http1::{Fault, Request, Response, ResponseParser};
use crate::metrics::OpenConnection;
use crate::proxy::attempt::Awaited;
use crate::stream::Stream;
use evenkeel_wire::Timeouts;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// A year: what isn't bounded in time is bounded by this.
const UNBOUNDED: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long the answer to a client that has ended its side is waited for: some only end their writing side, and most
/// that do are gone.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// How long an exchange may make no progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the whole request sent to the head of the answer.
    response_head: Duration,
    /// While a body is on its way, either way.
    pub(super) stream_idle: Duration,
}

impl Patience {
    /// As the pool has it; a call of gRPC may be silent for as long as its two sides like.
    pub(super) fn new(timeouts: &Timeouts, is_call: bool) -> Self {
        let stream_idle = if is_call { UNBOUNDED } else { Duration::from_millis(timeouts.stream_idle_ms) };
        Self { response_head: Duration::from_millis(timeouts.response_head_ms), stream_idle }
    }
}

/// An upstream connection in use.
pub(super) struct Upstream {
    /// The connection.
    pub(super) stream: Stream,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
    /// Counts it while it is open; absent where it is a part of one that is counted.
    pub(super) open: Option<OpenConnection>,
    /// Its endpoint has been told whose connection it is.
    pub(super) announced: bool,
}

/// The parts of a client's connection that an exchange works with.
pub(super) struct Ends<'a> {
    pub(super) client: &'a mut Stream,
    pub(super) client_input: &'a mut Input,
    pub(super) upstream_input: &'a mut Input,
    pub(super) up: &'a mut Outbox,
    pub(super) down: &'a mut Outbox,
    pub(super) parser: &'a mut ResponseParser,
    pub(super) timer: &'a mut Timer,
    pub(super) buffers: &'a Buffers,
}

/// Why an exchange didn't complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The client ended or reset its connection.
    ClientGone,
    /// The client neither sent nor took anything for [`Patience::stream_idle`].
    ClientStalled,
    /// The request's body is framed badly.
    Request(Fault),
    /// The upstream connection ended or was reset; `silent`: before the first byte of an answer.
    Upstream { silent: bool },
    /// The endpoint turned the request away without a look at it.
    Unprocessed,
    /// The time that the request may take as a whole was up.
    Deadline,
    /// The endpoint neither sent nor took anything for as long as it may by [`Patience`].
    UpstreamStalled,
    /// The answer isn't to be passed on.
    Answer(Fault),
}

/// One request on its way.
pub(super) struct Exchange<'a> {
    ends: Ends<'a>,
    upstream: &'a mut Upstream,
    upload: Upload,
    sent: Sent,
    /// Not even the head has left yet.
    nothing_moved: bool,
    /// When the last of the request left; absent if it left along with the head.
    asked: Option<Instant>,
    half_closed: bool,
    /// The client waits for a 100 before it sends the body.
    expects_continue: bool,
    patience: Patience,
    download: Download,
}

/// Before the exchange: ready if the client has cut its stream off or, while there is no room, ended or reset its connection. One
/// that has only ended its writing side is taken for gone then: most that do are, and there is too much to do. What it sends is
/// kept for later.
pub(super) fn poll_gone(
    cx: &mut Context<'_>,
    awaited: Awaited,
    client: &mut Stream,
    input: &mut Input,
    buffers: &Buffers,
) -> Poll<()> {
    // A stream's end is a request's proper end; it can only be cut off.
    if let Stream::H2(client) = client {
        return client.poll_gone(cx);
    }
    while awaited == Awaited::Room && !input.is_full() {
        match ready!(input.poll_fill(cx, client, buffers)) {
            Ok(0) | Err(_) => return Poll::Ready(()),
            Ok(_) => {}
        }
    }
    Poll::Pending
}

/// How far the request has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Partly,
    Wholly,
    /// The upstream connection takes no more of it; an answer may be waiting all the same.
    Refused,
}

impl<'a> Exchange<'a> {
    /// `upload` has taken what was there of the body; the head is in `ends.up`.
    pub(super) fn new(
        ends: Ends<'a>,
        upstream: &'a mut Upstream,
        request: &Request,
        upload: Upload,
        keep_alive: bool,
        patience: Patience,
    ) -> Self {
        let download = Download::new(request, keep_alive);
        let expects_continue = request.expects_continue;
        Self {
            ends,
            upstream,
            upload,
            sent: Sent::Partly,
            nothing_moved: true,
            asked: None,
            half_closed: false,
            expects_continue,
            patience,
            download,
        }
    }

    /// The answer's plan, if one has begun.
    pub(super) fn response(&self) -> Option<&Response> {
        self.download.response()
    }

    /// How long after the last of the request the answer began, if the client had to be waited for; to be asked when it begins.
    pub(super) fn answered_after(&self) -> Option<Duration> {
        self.asked.map(|asked| asked.elapsed())
    }

    /// What the answer says of itself by gRPC's rules, if it does.
    pub(super) fn call_status(&self) -> Option<grpc::Status> {
        self.download.call_status()
    }

    /// Whether the client may send another request: told so, and nothing of this one is left unread.
    pub(super) fn client_stays(&self) -> bool {
        self.download.client_stays() && self.upload.is_read()
    }

    /// Whether the upstream connection may carry another request: all sent, all received, nothing after the end. A stream carries
    /// one.
    pub(super) fn upstream_stays(&self) -> bool {
        self.sent == Sent::Wholly
            && !self.upstream.stream.frames_bodies()
            && self.ends.upstream_input.is_empty()
            && self.response().is_some_and(|response| response.keep_alive)
    }

    /// What is left of the request, to be sent once more.
    pub(super) fn into_upload(self) -> Upload {
        self.upload
    }

    /// Whether all of the request's body has been read from the client.
    pub(super) fn is_request_read(&self) -> bool {
        self.upload.is_read()
    }

    /// Goes on until the answer is delivered or that has become impossible.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut progress = false;
        if self.sent == Sent::Partly
            && let Poll::Ready(Err(failure)) = self.poll_upload(cx, &mut progress)
        {
            return Poll::Ready(Err(failure));
        }
        if let Poll::Ready(result) = self.poll_download(cx, &mut progress) {
            return Poll::Ready(result);
        }
        if self.sent == Sent::Wholly && self.poll_watch(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        if progress {
            self.ends.timer.set(Instant::now(), self.wait());
        }
        self.ends.timer.poll(cx).map(|()| Err(self.who_stalled()))
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Poll<Result<(), Failure>> {
        let Ends { client, client_input, up, buffers, .. } = &mut self.ends;
        let ends = UploadEnds { client, input: client_input, upstream: &mut self.upstream.stream, outbox: up, buffers };
        let mut moved = false;
        let polled = self.upload.poll(cx, ends, &mut moved);
        *progress |= moved;
        // Once the answer has begun, its time is known.
        moved &= self.download.response().is_none();
        if moved && !std::mem::take(&mut self.nothing_moved) {
            self.asked = Some(Instant::now());
        }
        polled.map(|result| match result {
            Ok(()) => {
                self.sent = Sent::Wholly;
                Ok(())
            }
            Err(UploadError::Upstream) => {
                self.sent = Sent::Refused;
                Ok(())
            }
            Err(UploadError::Client) => Err(Failure::ClientGone),
            Err(UploadError::Body(fault)) => Err(Failure::Request(fault)),
        })
    }

    fn poll_download(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Poll<Result<(), Failure>> {
        let Ends { client, upstream_input, down, parser, buffers, .. } = &mut self.ends;
        let upstream = &mut self.upstream.stream;
        let ends = DownloadEnds { client, outbox: down, upstream, input: upstream_input, parser, buffers };
        let polled = self.download.poll(cx, ends, self.sent == Sent::Wholly, progress);
        polled.map(|result| {
            result.map_err(|error| match error {
                DownloadError::Client => Failure::ClientGone,
                DownloadError::Upstream { silent } => Failure::Upstream { silent },
                DownloadError::Unprocessed => Failure::Unprocessed,
                DownloadError::Answer(fault) => Failure::Answer(fault),
            })
        })
    }

    /// While the answer is awaited: ready if the client resets its connection. What it sends meanwhile is kept for later;
    /// if it ends its side, there is little time left.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A stream's end is a request's proper end; it can only be cut off.
        if let Stream::H2(client) = self.ends.client {
            return client.poll_gone(cx);
        }
        let Ends { client, client_input, timer, buffers, .. } = &mut self.ends;
        while !client_input.is_full() && !self.half_closed {
            match client_input.poll_fill(cx, client, buffers) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(0)) => {
                    self.half_closed = true;
                    timer.set(Instant::now(), HALF_CLOSED);
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Pending
    }

    /// How long it may take until something moves.
    fn wait(&self) -> Duration {
        let is_awaited = self.response().is_none() && (self.sent != Sent::Partly || self.waits_for_100());
        match self.half_closed {
            true => HALF_CLOSED,
            false if is_awaited => self.patience.response_head,
            false => self.patience.stream_idle,
        }
    }

    /// Whether the client sends nothing until it is told to.
    fn waits_for_100(&self) -> bool {
        self.expects_continue && !self.ends.parser.has_continued()
    }

    /// Whom the exchange waits for.
    fn who_stalled(&self) -> Failure {
        if self.ends.timer.is_at_limit() {
            return Failure::Deadline;
        }
        if self.half_closed {
            return Failure::ClientGone;
        }
        let client_takes_nothing = self.ends.down.is_pending();
        let client_sends_nothing =
            !self.waits_for_100() && self.sent == Sent::Partly && !self.ends.up.is_pending() && self.response().is_none();
        if client_takes_nothing || client_sends_nothing { Failure::ClientStalled } else { Failure::UpstreamStalled }
    }
}
