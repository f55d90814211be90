//! What follows a 101: bytes both ways that aren't HTTP any more, until both sides have ended. It stays one request until then, and
//! holds no buffer while nothing moves.

use super::exchange::Upstream;
use super::{Connection, Next};
use crate::metrics::Direction;
use crate::proxy::flag::Flag;
use crate::proxy::record::Record;
use crate::proxy::tcp::{End, Flows, Patience, relay, watch_for_silence};
use evenkeel_balance::Outcome;
use std::time::Duration;

impl Connection {
    /// Serves the client's connection to its end, as one way to `upstream`. The answer's head has been sent; what else has been
    /// read of either side goes first.
    pub(super) async fn tunnel(&mut self, record: &mut Record, mut upstream: Upstream) -> Next {
        record.set_status(101);
        record.report(Outcome::Success);
        let Some(member) = record.member().cloned() else { return Next::Abort };
        let half_open = Duration::from_millis(record.pool().policy().timeouts.stream_idle_ms);
        let flows = self.give_up_http();
        [&self.client, &upstream.stream].into_iter().for_each(watch_for_silence);
        let ends = (End::of(&mut self.client), End::of(&mut upstream.stream));
        let end = tokio::select! {
            end = relay(&self.worker, ends, &flows, Patience::UntilHalfOpen(half_open), |_| {}) => end,
            () = member.gone() => Err(Flag::EndpointGone),
        };
        let (up, down) = flows.moved();
        record.add_bytes(Direction::Upstream, up);
        record.add_bytes(Direction::Downstream, down);
        record.set_flag(end.err().unwrap_or(Flag::None));
        match end {
            Ok(()) => Next::Close,
            Err(_) => {
                upstream.stream.abort();
                Next::Abort
            }
        }
    }

    /// Gives back whatever was for requests and answers. What has been read is the first of what flows.
    fn give_up_http(&mut self) -> Flows {
        let Self { worker, client_input, upstream_input, up, down, requests, responses, .. } = self;
        let flows = Flows::beginning_with(client_input.bytes().to_vec(), upstream_input.bytes().to_vec());
        [client_input, upstream_input].into_iter().for_each(|input| input.clear(&worker.http().buffers));
        (*up, *down) = Default::default();
        (*requests, *responses) = Default::default();
        flows
    }
}
