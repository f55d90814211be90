//! A call of gRPC on its way: its deadline is kept here and passed on reduced, and its end is told by gRPC's rules.

use super::Connection;
use super::exchange::Failure;
use super::outbox::Outbox;
use crate::grpc;
use std::time::Instant;

/// What is known of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// When the client gives up.
    pub(super) deadline: Option<Instant>,
    /// Where in the head that goes upstream the time left stands.
    timeout_at: usize,
}

impl Connection {
    /// The call that the request is, if it is one. Only HTTP/2 carries gRPC. To be asked before the head is taken: the client's
    /// own word on its deadline doesn't go on.
    pub(super) fn find_call(&mut self, started: Instant) -> Option<Call> {
        if !self.client.frames_bodies() {
            return None;
        }
        let head = self.client_input.bytes();
        self.requests.find_header(head, "content-type").filter(|value| grpc::is_grpc(value))?;
        let left = self.requests.find_header(head, grpc::TIMEOUT).and_then(grpc::read_timeout);
        let deadline = left.and_then(|left| started.checked_add(left));
        if deadline.is_some() {
            self.requests.leave_out(head, grpc::TIMEOUT);
        }
        Some(Call { deadline, timeout_at: 0 })
    }
}

impl Call {
    /// Adds room for the time left to the head that has just been written.
    pub(super) fn make_room(&mut self, up: &mut Outbox) {
        if self.deadline.is_none() {
            return;
        }
        let head = up.bytes();
        head.truncate(head.len() - b"\r\n".len());
        head.extend_from_slice(grpc::TIMEOUT.as_bytes());
        head.extend_from_slice(b": ");
        self.timeout_at = head.len();
        head.extend_from_slice(b"00000000n\r\n\r\n");
    }

    /// Writes the time left, for one more attempt.
    pub(super) fn write_timeout(&self, now: Instant, up: &mut Outbox) {
        if let Some(deadline) = self.deadline {
            up.overwrite(self.timeout_at, &grpc::timeout(deadline.saturating_duration_since(now)));
        }
    }
}

/// The trailers of a call whose answer has begun and can't go on.
pub(super) fn last_words(failure: Failure, out: &mut Vec<u8>) {
    let (status, advice) = match failure {
        Failure::Deadline => (grpc::Status::DEADLINE_EXCEEDED, "the call took longer than it may"),
        Failure::Answer(fault) => (grpc::Status::INTERNAL, fault.advice()),
        _ => (grpc::Status::UNAVAILABLE, "the answer was cut off"),
    };
    status.write(failure.flag().as_str(), advice, out);
}
