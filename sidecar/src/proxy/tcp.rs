//! TCP: an endpoint for each connection, then bytes both ways. A half-close is passed on as one, a reset as a reset.
//! Bulk goes through pipes, uncopied. A connection that waits holds no buffer and no pipe.

mod end;
mod pipes;
mod relay;
#[cfg(test)]
mod tests;
mod way;

pub(crate) use end::End;
use end::broken;
pub(crate) use pipes::Pipes;
pub(crate) use relay::{First, Flows, Patience, relay};

use super::attempt::{Attempts, Chosen};
use super::flag::Flag;
use super::record::Record;
use crate::metrics::{Direction, OpenConnection, Side};
use crate::proxy_protocol::Addresses;
use crate::stream::Stream;
use crate::table::PoolEntry;
use crate::tls::Offer;
use crate::worker::Worker;
use evenkeel_balance::{Outcome, key_hash};
use evenkeel_wire::{Algorithm, HashKey};
use socket2::SockRef;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use way::Flow;

/// A silent peer is asked after this long, and given up after three questions.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Serves one client connection to its end. `offer`: whether the bytes that pass are TLS already.
pub(crate) async fn serve(worker: Rc<Worker>, mut client: Stream, addresses: Addresses, pool: Arc<PoolEntry>, offer: Offer) {
    let _client_open = OpenConnection::new(pool.metrics().clone(), worker.index(), Side::Downstream);
    let mut record = Record::start(worker.clone(), pool.clone());
    let key = source_key(pool.policy(), worker.source(addresses.source.ip()));
    let mut attempts = Attempts::new(pool.clone(), key, None).announcing(addresses);
    let connect = async |attempts: &Attempts, chosen: &Chosen| attempts.connect(&worker, chosen, offer).await;
    let established = {
        let mut gone = pin!(broken(client.socket()));
        attempts.establish(&worker, |cx, _| gone.as_mut().poll(cx), connect).await
    };
    let (chosen, mut upstream) = match established {
        Ok(established) => established,
        Err(unreached) => {
            record.set_flag(unreached.into());
            return client.abort();
        }
    };
    let _upstream_open = OpenConnection::new(pool.metrics().clone(), worker.index(), Side::Upstream);
    let member = chosen.member().clone();
    record.set_chosen(chosen);
    record.report_connected();
    let patience = Patience::Always(Duration::from_millis(pool.policy().timeouts.stream_idle_ms));
    // The shape that this was picked from isn't needed any more, and connections may last for days.
    drop((attempts, pool));
    [&client, &upstream].into_iter().for_each(watch_for_silence);
    let flows = Flows::default();
    let ends = (End::of(&mut client), End::of(&mut upstream));
    let end = tokio::select! {
        end = relay(&worker, ends, &flows, patience, |first| note_first(&mut record, first, &flows.up)) => end,
        () = member.gone() => Err(Flag::EndpointGone),
    };
    let Flows { up, down } = &flows;
    match end {
        Ok(()) => record.report_served(),
        // Written to rather than read from when its reset was seen.
        Err(Flag::UpstreamReset) if down.moved.get() == 0 => note_first(&mut record, First::End, up),
        Err(_) => {}
    }
    record.add_bytes(Direction::Upstream, up.moved.get());
    record.add_bytes(Direction::Downstream, down.moved.get());
    if end.is_err() {
        client.abort();
        upstream.abort();
    }
    record.set_flag(end.err().unwrap_or(Flag::None));
}

/// The response time is what passed since the last byte of the client, if it spoke first: what it was silent for before is its
/// own. An end instead of an answer is a failure only where something was asked.
fn note_first(record: &mut Record, first: First, up: &Flow) {
    match first {
        First::Byte => {
            record.answer_begun(Outcome::Success, up.silent_for());
            record.report(Outcome::Success);
        }
        First::End if up.moved.get() > 0 => record.report(Outcome::GatewayError),
        First::End => record.report(Outcome::Cancelled),
    }
}

/// The key of a connection: its source, if the pool hashes sources.
pub(super) fn source_key(policy: &evenkeel_wire::Policy, source: IpAddr) -> Option<u64> {
    let Algorithm::ConsistentHash { keys, .. } = &policy.algorithm else { return None };
    keys.contains(&HashKey::SourceIp).then(|| source_hash(source))
}

/// The hash of a source address; the same for an IPv4 address and its mapped form.
pub(crate) fn source_hash(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(address) => key_hash(&address.octets()),
        IpAddr::V6(address) => key_hash(&address.octets()),
    }
}

/// Has the kernel ask a peer that is silent whether it is there.
pub(crate) fn watch_for_silence(stream: &Stream) {
    let Some(socket) = stream.socket() else { return };
    let (after, between, times) = KEEPALIVE;
    let keepalive = socket2::TcpKeepalive::new().with_time(after).with_interval(between).with_retries(times);
    let socket = SockRef::from(socket);
    let _ = socket.set_tcp_keepalive(&keepalive);
    // Nobody is asked while something waits to be acknowledged: that would be sent again for a quarter of an hour.
    let _ = socket.set_tcp_user_timeout(Some(after + between * times));
}
