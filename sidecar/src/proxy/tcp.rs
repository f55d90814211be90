//! TCP: an endpoint for each connection, then bytes both ways. A half-close is passed on as one, a reset as a reset.
//! A connection that waits holds no buffer.

#[cfg(test)]
mod tests;

use super::attempt::Attempts;
use super::flag::Flag;
use super::record::Record;
use crate::metrics::{Direction, OpenConnection, Side};
use crate::stream::Stream;
use crate::table::PoolEntry;
use crate::worker::Worker;
use evenkeel_balance::{Outcome, key_hash};
use evenkeel_wire::{Algorithm, HashKey};
use socket2::SockRef;
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A silent peer is asked after this long, and given up after three questions.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Once one way has ended, the other may be silent for so long; looked at in so many steps.
const SILENCE: Duration = Duration::from_secs(300);
const LOOKS: u32 = 10;

/// Serves one client connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, client: TcpStream, peer: SocketAddr, pool: Arc<PoolEntry>) {
    let _client_open = OpenConnection::new(pool.metrics().clone(), worker.index(), Side::Downstream);
    let mut record = Record::start(worker.clone(), pool.clone());
    let mut attempts = Attempts::new(pool.clone(), source_key(pool.policy(), worker.source(peer.ip())), None);
    let (chosen, upstream) = match attempts.establish(&worker, async |attempts, chosen| attempts.connect(chosen).await).await {
        Ok((chosen, Stream::Plain(stream))) => (chosen, stream),
        Ok(_) => return reset(&client),
        Err(unreached) => {
            record.set_flag(unreached.into());
            return reset(&client);
        }
    };
    let _upstream_open = OpenConnection::new(pool.metrics().clone(), worker.index(), Side::Upstream);
    let member = chosen.member().clone();
    record.set_chosen(chosen);
    record.report_connected();
    // The shape that this was picked from isn't needed any more, and connections may last for days.
    drop((attempts, pool));
    for stream in [&client, &upstream] {
        watch_for_silence(stream);
    }
    let flows = [Flow::default(), Flow::default()];
    let end = tokio::select! {
        end = both_ways(&worker, &client, &upstream, &flows, |first| note_first(&mut record, first, &flows[0])) => end,
        () = member.gone() => Err(Flag::EndpointGone),
    };
    match end {
        Ok(()) => record.report_served(),
        // Written to rather than read from when its reset was seen.
        Err(Flag::UpstreamReset) if flows[1].moved.get() == 0 => note_first(&mut record, First::End, &flows[0]),
        Err(_) => {}
    }
    record.add_bytes(Direction::Upstream, flows[0].moved.get());
    record.add_bytes(Direction::Downstream, flows[1].moved.get());
    if end.is_err() {
        reset(&client);
        reset(&upstream);
    }
    record.set_flag(end.err().unwrap_or(Flag::None));
}

/// What came first from upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Byte,
    /// Its end, before the client's, or a reset.
    End,
}

/// The response time is what passed since the last byte of the client, if it spoke first: what it was silent for before is its own.
/// An end instead of an answer is a failure only where something was asked.
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
fn source_key(policy: &evenkeel_wire::Policy, source: IpAddr) -> Option<u64> {
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

/// What one way has done so far.
#[derive(Default)]
struct Flow {
    moved: Cell<u64>,
    /// When bytes last moved.
    moved_at: Cell<Option<Instant>>,
    has_ended: Cell<bool>,
    /// Its writer takes no more for now.
    is_blocked: Cell<bool>,
}

impl Flow {
    fn count(&self, bytes: usize) {
        if bytes > 0 {
            self.moved.set(self.moved.get() + bytes as u64);
            self.moved_at.set(Some(Instant::now()));
        }
    }

    /// How long ago bytes last moved, if any have.
    fn silent_for(&self) -> Option<Duration> {
        self.moved_at.get().map(|at| at.elapsed())
    }
}

/// `told` is called at the first byte from upstream, or at an end of upstream that comes instead and before the client's.
async fn both_ways(
    worker: &Worker,
    client: &TcpStream,
    upstream: &TcpStream,
    flows: &[Flow; 2],
    told: impl FnOnce(First),
) -> Result<(), Flag> {
    let blame = |broken, reader, writer| match broken {
        Broken::Read => reader,
        Broken::Write => writer,
    };
    let [up_flow, down_flow] = flows;
    let up = async {
        pump(worker, client, upstream, up_flow, || {}).await.map_err(|broken| blame(broken, Flag::Cancelled, Flag::UpstreamReset))
    };
    let down = async {
        let mut told = Some(told);
        let mut tell = |first| told.take().into_iter().for_each(|told| told(first));
        let passed = pump(worker, upstream, client, down_flow, || tell(First::Byte)).await;
        match passed {
            Ok(()) if up_flow.has_ended.get() => {}
            Ok(()) | Err(Broken::Read) => tell(First::End),
            Err(Broken::Write) => {}
        }
        passed.map_err(|broken| blame(broken, Flag::UpstreamReset, Flag::Cancelled))
    };
    let (mut up, mut down) = (pin!(up), pin!(down));
    tokio::select! {
        end = &mut up => {
            end?;
            let stalled = |blocked| if blocked { Flag::ClientTimeout } else { Flag::UpstreamTimeout };
            last_way(down, down_flow, (client, Flag::Cancelled), stalled).await
        }
        end = &mut down => {
            end?;
            let stalled = |blocked| if blocked { Flag::UpstreamTimeout } else { Flag::ClientTimeout };
            last_way(up, up_flow, (upstream, Flag::UpstreamReset), stalled).await
        }
    }
}

/// The way that is left when the other has ended. Nobody reads from `ended` any more, so that its reset shows as an error
/// alone; and a peer that is there but says nothing would hold the connection for ever.
async fn last_way(
    way: impl Future<Output = Result<(), Flag>>,
    flow: &Flow,
    (ended, gone): (&TcpStream, Flag),
    stalled: impl Fn(bool) -> Flag,
) -> Result<(), Flag> {
    tokio::select! {
        biased;
        end = way => end,
        _ = ended.ready(Interest::ERROR) => Err(gone),
        () = silence(flow) => Err(stalled(flow.is_blocked.get())),
    }
}

/// Ends when nothing has moved for [`SILENCE`], at most a tenth later. Looks from time to time, so that bytes cost nothing.
async fn silence(flow: &Flow) {
    let (mut seen, mut looks) = (flow.moved.get(), 0);
    while looks < LOOKS {
        tokio::time::sleep(SILENCE / LOOKS).await;
        let moved = flow.moved.get();
        looks = if moved == seen { looks + 1 } else { 0 };
        seen = moved;
    }
}

/// Which end broke.
#[derive(Clone, Copy)]
enum Broken {
    Read,
    Write,
}

/// Passes bytes on until the end of `from`, then ends the writing side of `to`. `begun` is called at the first of them: an end
/// without a byte before it is no answer.
async fn pump(worker: &Worker, from: &TcpStream, to: &TcpStream, flow: &Flow, begun: impl FnOnce()) -> Result<(), Broken> {
    let mut begun = Some(begun);
    loop {
        from.readable().await.map_err(|_| Broken::Read)?;
        let passed = worker.with_scratch(|buffer| pass_on(from, to, buffer))?;
        if matches!(passed, Passed::All(_) | Passed::Part { .. })
            && let Some(begun) = begun.take()
        {
            begun();
        }
        match passed {
            Passed::All(bytes) => flow.count(bytes),
            Passed::Part { bytes, rest } => {
                flow.count(bytes);
                flow.is_blocked.set(true);
                write_all(from, to, &rest, flow).await?;
                flow.is_blocked.set(false);
            }
            Passed::Nothing => {}
            Passed::End => {
                flow.has_ended.set(true);
                return SockRef::from(to).shutdown(Shutdown::Write).map_err(|_| Broken::Write);
            }
        }
        // The socket may be ready for ever; others on this worker want their turn.
        tokio::task::coop::consume_budget().await;
    }
}

enum Passed {
    Nothing,
    All(usize),
    Part { bytes: usize, rest: Vec<u8> },
    End,
}

/// One read and one write, neither of which waits.
fn pass_on(from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> Result<Passed, Broken> {
    let read = match from.try_read(buffer) {
        Ok(0) => return Ok(Passed::End),
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Passed::Nothing),
        Err(_) => return Err(Broken::Read),
    };
    match try_write(to, &buffer[..read])? {
        bytes if bytes == read => Ok(Passed::All(bytes)),
        bytes => Ok(Passed::Part { bytes, rest: buffer[bytes..read].to_vec() }),
    }
}

fn try_write(to: &TcpStream, bytes: &[u8]) -> Result<usize, Broken> {
    match to.try_write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        written => written.map_err(|_: io::Error| Broken::Write),
    }
}

/// Under back-pressure: only now does the connection own a buffer, and nothing more is read until it is empty. Meanwhile
/// only an error says that `from` was reset.
async fn write_all(from: &TcpStream, to: &TcpStream, mut rest: &[u8], flow: &Flow) -> Result<(), Broken> {
    while !rest.is_empty() {
        tokio::select! {
            biased;
            ready = to.writable() => ready.map_err(|_| Broken::Write)?,
            _ = from.ready(Interest::ERROR) => return Err(Broken::Read),
        }
        let written = try_write(to, rest)?;
        flow.count(written);
        rest = &rest[written..];
    }
    Ok(())
}

/// Makes the coming close a reset: what was cut off must not look whole.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn watch_for_silence(stream: &TcpStream) {
    let (after, between, times) = KEEPALIVE;
    let keepalive = socket2::TcpKeepalive::new().with_time(after).with_interval(between).with_retries(times);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
