//! The way up: from the client to the upstream connection. Nothing is read while something waits to be written.

use super::buffer::{Buffers, Input};
use super::outbox::Outbox;
use super::relay::Relay;
use crate::http1::{Fault, Framing};
use crate::stream::Stream;
use std::io;
use std::task::{Context, Poll, ready};

/// Why the way up has ended early.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The client has gone.
    Client,
    /// The body is framed badly.
    Body(Fault),
    /// The upstream connection takes no more; it may still have answered.
    Upstream,
}

/// What is left to send of one request.
pub(super) struct Upload {
    body: Relay,
}

/// The ends of the way up.
pub(super) struct UploadEnds<'a> {
    pub(super) client: &'a mut Stream,
    pub(super) input: &'a mut Input,
    pub(super) upstream: &'a mut Stream,
    pub(super) outbox: &'a mut Outbox,
    pub(super) buffers: &'a Buffers,
}

impl Upload {
    /// A request with this body, from and to streams that may frame bodies by themselves.
    pub(super) fn new(framing: Framing, from_framed: bool, to_framed: bool) -> Self {
        let on = |framed| if framed && framing != Framing::None { Framing::UntilClose } else { framing };
        Self { body: Relay::new(on(from_framed), on(to_framed)) }
    }

    /// Whether the client's part of it has been read to its end.
    pub(super) fn is_read(&self) -> bool {
        self.body.is_done()
    }

    /// Takes what has already been read of the body, so that it leaves together with the head.
    pub(super) fn take(&mut self, input: &mut Input, outbox: &mut Outbox, buffers: &Buffers) -> Result<(), Fault> {
        self.body.take(input, outbox, buffers)
    }

    /// Goes on until all is sent. `progress` is set when something has moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        ends: UploadEnds<'_>,
        progress: &mut bool,
    ) -> Poll<Result<(), UploadError>> {
        let UploadEnds { client, input, upstream, outbox, buffers } = ends;
        loop {
            let before = outbox.total();
            let flushed = outbox.poll_flush(cx, upstream, input, buffers);
            *progress |= outbox.total() > before;
            ready!(flushed).map_err(|_: io::Error| UploadError::Upstream)?;
            if self.body.is_done() {
                upstream.finish(self.body.trailers());
                return Poll::Ready(Ok(()));
            }
            match ready!(input.poll_fill(cx, client, buffers)) {
                Ok(0) if self.body.may_end_here() => {
                    self.body.end(client.take_trailers(), outbox);
                    continue;
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(UploadError::Client)),
                Ok(_) => *progress = true,
            }
            self.take(input, outbox, buffers).map_err(UploadError::Body)?;
        }
    }
}
