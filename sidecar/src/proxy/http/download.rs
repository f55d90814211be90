//! The way down: from the upstream connection to the client. Waits for the answer's head, passes interim ones, decides
//! how the final one is delivered, then moves its body.

use super::buffer::{Buffers, Input};
use super::outbox::Outbox;
use super::relay::Relay;
use crate::grpc;
use crate::http1::response::{Asked, Persistence, deliver};
use crate::http1::{Fault, Framing, Request, Response, ResponseParser, Version, write};
use crate::stream::Stream;
use std::io::ErrorKind;
use std::task::{Context, Poll, ready};

/// Why the way down has ended early.
#[derive(Debug)]
pub(super) enum DownloadError {
    /// The client has gone.
    Client,
    /// The upstream connection has ended or was reset; `silent`: before the first byte of an answer.
    Upstream { silent: bool },
    /// The endpoint turned the request away without a look at it.
    Unprocessed,
    /// What came is no answer, or not to be passed on.
    Answer(Fault),
}

/// What is left to come of one answer.
pub(super) struct Download {
    asked: Asked,
    version: Version,
    keep_alive: bool,
    heard: bool,
    answer: Option<Answer>,
    call: Option<grpc::Status>,
}

/// A final answer whose head has been read.
struct Answer {
    response: Response,
    stays: bool,
    body: Relay,
}

/// The ends of the way down.
pub(super) struct DownloadEnds<'a> {
    pub(super) client: &'a mut Stream,
    pub(super) outbox: &'a mut Outbox,
    pub(super) upstream: &'a mut Stream,
    pub(super) input: &'a mut Input,
    pub(super) parser: &'a mut ResponseParser,
    pub(super) buffers: &'a Buffers,
}

impl Download {
    /// The answer to `request`; `keep_alive`: the proxy would like to keep the client's connection.
    pub(super) fn new(request: &Request, keep_alive: bool) -> Self {
        Self {
            asked: Asked::by(request),
            version: request.version,
            keep_alive: keep_alive && request.keep_alive,
            heard: false,
            answer: None,
            call: None,
        }
    }

    /// The final answer's plan, once its head is there; from then on the client has seen it, or will.
    pub(super) fn response(&self) -> Option<&Response> {
        self.answer.as_ref().map(|answer| &answer.response)
    }

    /// What the answer's trailers, or its head if it has nothing else, say by gRPC's rules.
    pub(super) fn call_status(&self) -> Option<grpc::Status> {
        self.call
    }

    /// Whether the client may send another request after this answer.
    pub(super) fn client_stays(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.stays)
    }

    /// Goes on until the answer is delivered. `request_sent`: the whole request has been; otherwise the answer is an early
    /// one and the client's connection ends with it. `progress` is set when something of the final answer has moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut ends: DownloadEnds<'_>,
        request_sent: bool,
        progress: &mut bool,
    ) -> Poll<Result<(), DownloadError>> {
        loop {
            let before = ends.outbox.total();
            let flushed = ends.outbox.poll_flush(cx, ends.client, ends.input, ends.buffers);
            *progress |= ends.outbox.total() > before;
            ready!(flushed).map_err(|_| DownloadError::Client)?;
            if let Some(answer) = self.answer.as_ref().filter(|answer| answer.body.is_done()) {
                ends.client.finish(answer.body.trailers());
                self.call = self.call.or_else(|| grpc::Status::find(answer.body.trailers()));
                return Poll::Ready(Ok(()));
            }
            match ready!(ends.input.poll_fill(cx, ends.upstream, ends.buffers)) {
                Ok(0) if let Some(answer) = self.answer.as_mut().filter(|answer| answer.body.may_end_here()) => {
                    answer.body.end(ends.upstream.take_trailers(), ends.outbox);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Poll::Ready(Err(DownloadError::Answer(Fault::Http2)));
                }
                // Only HTTP/2 can say so; a socket may have such an error too.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted && !self.heard && ends.upstream.frames_bodies() => {
                    return Poll::Ready(Err(DownloadError::Unprocessed));
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(DownloadError::Upstream { silent: !self.heard })),
                Ok(_) => {
                    self.heard = true;
                    *progress |= self.answer.is_some();
                }
            }
            self.take(&mut ends, request_sent).map_err(DownloadError::Answer)?;
        }
    }

    /// Takes what has been read.
    fn take(&mut self, ends: &mut DownloadEnds<'_>, request_sent: bool) -> Result<(), Fault> {
        while self.answer.is_none() {
            let bytes = ends.input.bytes();
            let Some(response) = ends.parser.advance(bytes, self.asked)? else {
                return Ok(());
            };
            self.take_head(ends, response, request_sent);
            ends.input.consume(response.head_len, ends.buffers);
            ends.parser.next();
        }
        match &mut self.answer {
            Some(answer) => answer.body.take(ends.input, ends.outbox, ends.buffers),
            None => Ok(()),
        }
    }

    fn take_head(&mut self, ends: &mut DownloadEnds<'_>, response: Response, request_sent: bool) {
        let (response, source) = ends.upstream.framing_of(response);
        let delivery = deliver(&response, self.version, self.keep_alive && request_sent);
        if response.is_interim() {
            // HTTP/1.0 knows no interim answers.
            if self.version == Version::Http10 {
                return;
            }
        } else {
            let stays = !matches!(delivery.connection, Persistence::Close | Persistence::Upgrade);
            let sink = if ends.client.frames_bodies() { Framing::UntilClose } else { delivery.body };
            self.answer = Some(Answer { response, stays, body: Relay::new(source, sink) });
        }
        let (bytes, out) = (ends.input.bytes(), ends.outbox.bytes());
        let before = out.len();
        write::response_head(out, bytes, ends.parser.head(), &response, &delivery);
        let length = out.len() - before;
        let end = self.answer.as_ref().is_some_and(|answer| answer.body.is_done());
        if end && ends.client.frames_bodies() {
            self.call = grpc::Status::find(&out[before..]);
        }
        ends.outbox.send_head(ends.client, length, end);
    }
}
