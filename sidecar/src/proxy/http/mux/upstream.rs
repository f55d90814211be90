//! HTTP/2 connections to endpoints: one worker's own, by member of a pool, shared by its requests. Another one is opened only
//! where those that are there take no more streams, and one at a time.

use super::driver::{Driver, Over};
use super::{Shared, Stream};
use crate::http2::{Connection, Limits, Scheme};
use crate::metrics::OpenConnection;
use crate::proxy::attempt::{Attempts, Chosen, ConnectError};
use crate::proxy::http::buffer::Input;
use crate::proxy::http::timer::Timer;
use crate::proxy::tcp::watch_for_silence;
use crate::proxy_protocol::Addresses;
use crate::stream;
use crate::table::Member;
use crate::tls::{Alpn, Offer};
use crate::worker::Worker;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A connection without a request is closed after this: shorter than the minute that servers usually wait.
const IDLE: Duration = Duration::from_secs(55);
/// How long an endpoint may take to take our last word.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers whose readers take nothing fill their own windows, never those of others on the same connection.
fn limits() -> Limits {
    let limits = Limits::default();
    Limits { connection_window: limits.max_streams * limits.stream_window, ..limits }
}

/// The connections of one worker.
#[derive(Default)]
pub(in crate::proxy::http) struct Pool(RefCell<HashMap<Key, Ways>>);

/// The member's address and, where its endpoint is told whose connection it is, whose.
type Key = (usize, Option<Addresses>);

/// What a request asks of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::http) enum Wanted {
    /// A connection of its own, for HTTP/1.1.
    Http1,
    /// A stream.
    Http2,
    /// Whatever the endpoint chooses by ALPN.
    Either,
}

/// What it gets.
pub(in crate::proxy::http) enum Way {
    /// A stream of a shared connection, which is counted by itself.
    Stream(Stream),
    /// A new connection that speaks HTTP/1.1.
    Connection(stream::Stream),
}

/// The ways to one member.
struct Ways {
    /// Kept alive, and with it the address that is its key.
    member: Arc<Member>,
    /// It has chosen HTTP/1.1 where it had the choice: then connections aren't shared, and nobody needs to wait for one.
    chose_http1: bool,
    open: Vec<Rc<Shared>>,
    /// Whoever holds it makes the next connection.
    turn: Arc<Mutex<()>>,
}

impl Ways {
    /// Whether there is a connection, or somebody who wants to make one.
    fn are_in_use(&self) -> bool {
        !self.open.is_empty() || Arc::strong_count(&self.turn) > 1
    }
}

impl Pool {
    /// A stream of a connection that has room, if there is one; else the right to wait for one's turn to make another.
    fn find(&self, member: &Arc<Member>, whose: Option<Addresses>) -> Result<Stream, Arc<Mutex<()>>> {
        let mut pool = self.0.borrow_mut();
        if !pool.contains_key(&key(member, whose)) {
            pool.retain(|(_, whose), ways| ways.are_in_use() || whose.is_none() && !ways.member.is_gone());
        }
        let ways = pool.entry(key(member, whose)).or_insert_with(|| Ways {
            member: member.clone(),
            chose_http1: false,
            open: Vec::new(),
            turn: Arc::default(),
        });
        let free = ways.open.iter().find(|shared| shared.has_room());
        free.map(|shared| Stream::unopened(shared.clone())).ok_or_else(|| ways.turn.clone())
    }

    fn add(&self, (member, whose): (&Arc<Member>, Option<Addresses>), shared: Rc<Shared>) {
        if let Some(ways) = self.0.borrow_mut().get_mut(&key(member, whose)) {
            ways.open.push(shared);
        }
    }

    fn remove(&self, (member, whose): (&Arc<Member>, Option<Addresses>), shared: &Rc<Shared>) {
        let mut pool = self.0.borrow_mut();
        let Some(ways) = pool.get_mut(&key(member, whose)) else { return };
        ways.open.retain(|open| !Rc::ptr_eq(open, shared));
        if !ways.are_in_use() {
            pool.remove(&key(member, whose));
        }
    }

    fn has_chosen_http1(&self, (member, whose): (&Arc<Member>, Option<Addresses>)) -> bool {
        self.0.borrow().get(&key(member, whose)).is_some_and(|ways| ways.chose_http1)
    }

    fn note_choice(&self, (member, whose): (&Arc<Member>, Option<Addresses>), http1: bool) {
        self.0.borrow_mut().get_mut(&key(member, whose)).into_iter().for_each(|ways| ways.chose_http1 = http1);
    }
}

fn key(member: &Arc<Member>, whose: Option<Addresses>) -> Key {
    (Arc::as_ptr(member).addr(), whose)
}

/// A way to the chosen endpoint; `open` counts a new shared connection. Waits for others that are connecting no longer than for
/// a connect.
pub(in crate::proxy::http) async fn reach(
    worker: &Rc<Worker>,
    attempts: &Attempts,
    chosen: &Chosen,
    wanted: Wanted,
    open: impl FnOnce() -> OpenConnection,
) -> Result<Way, ConnectError> {
    let (pool, whose) = (&worker.http().shared, attempts.announced());
    let offer = match wanted {
        Wanted::Http1 => return attempts.connect(worker, chosen, Offer::Http1).await.map(Way::Connection),
        Wanted::Http2 => Offer::Http2,
        Wanted::Either => Offer::Http,
    };
    let turn = match pool.find(chosen.member(), whose) {
        Ok(stream) => return Ok(Way::Stream(stream)),
        Err(turn) => turn,
    };
    let is_alone = || wanted == Wanted::Either && pool.has_chosen_http1((chosen.member(), whose));
    let held = match is_alone() {
        true => None,
        false => {
            let limit = Duration::from_millis(attempts.pool().policy().connect_timeout_ms);
            Some(tokio::time::timeout(limit, turn.lock()).await.map_err(|_| ConnectError::Waited)?)
        }
    };
    if let Ok(stream) = pool.find(chosen.member(), whose) {
        return Ok(Way::Stream(stream));
    }
    if is_alone() {
        // Known since it waits: the others needn't connect one after the other.
        drop(held);
    }
    let socket = attempts.connect(worker, chosen, offer).await?;
    if wanted == Wanted::Either {
        let http1 = !matches!(&socket, stream::Stream::Tls(socket) if socket.alpn() == Alpn::Http2);
        pool.note_choice((chosen.member(), whose), http1);
        if http1 {
            return Ok(Way::Connection(socket));
        }
    }
    // It is shared, and each new request would go to a peer that is gone.
    watch_for_silence(&socket);
    let scheme = if matches!(socket, stream::Stream::Tls(_)) { Scheme::Https } else { Scheme::Http };
    let shared = Shared::new(Connection::client(&limits(), scheme, Instant::now().into_std()), false);
    pool.add((chosen.member(), whose), shared.clone());
    tokio::task::spawn_local(drive(worker.clone(), (chosen.member().clone(), whose), shared.clone(), socket, open()));
    Ok(Way::Stream(Stream::unopened(shared)))
}

/// Serves one connection until it ends, is idle for too long, or leads to what has left the pool.
async fn drive(
    worker: Rc<Worker>,
    (member, whose): (Arc<Member>, Option<Addresses>),
    shared: Rc<Shared>,
    socket: stream::Stream,
    _open: OpenConnection,
) {
    let mut driver = Driver::new(shared.clone(), socket, Input::default());
    let mut timer = Timer::new(Instant::now() + IDLE);
    let mut gone = std::pin::pin!(member.gone());
    let mut is_gone = false;
    let mut was_active = true;
    let over = poll_fn(|cx| {
        if !is_gone && gone.as_mut().poll(cx).is_ready() {
            is_gone = true;
            shared.0.borrow_mut().engine.shutdown();
        }
        let over = driver.poll(cx, &worker.http().buffers, &mut |_| {});
        if over.is_ready() {
            return over;
        }
        let active = shared.is_active();
        if std::mem::replace(&mut was_active, active) && !active {
            timer.set(Instant::now(), IDLE);
        }
        match active {
            false => timer.poll(cx).map(|()| Over::Done),
            true => Poll::Pending,
        }
    });
    let over = over.await;
    worker.http().shared.remove((&member, whose), &shared);
    if let Over::Broken(reason) = over {
        tracing::debug!(endpoint = member.label(), reason = reason.as_str(), "HTTP/2 connection ended");
    }
    driver.farewell(over, &worker.http().buffers, FAREWELL).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture::Fixture;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn what_is_known_of_one_client_alone_is_forgotten_with_it() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let fixture = Fixture::new(crate::control::tests::policy(), &[at(1)]);
        let entry = fixture.pool();
        let member = entry.members().next().expect("a member");
        let pool = Pool::default();
        let first = pool.find(member, Some(Addresses { source: at(999), destination: at(2) }));
        for port in 1_000..2_000 {
            let whose = Some(Addresses { source: at(port), destination: at(2) });
            assert!(pool.find(member, whose).is_err(), "there is no connection");
            pool.note_choice((member, whose), true);
        }
        assert!(pool.find(member, None).is_err());
        assert!(pool.0.borrow().len() <= 3, "{} are known", pool.0.borrow().len());
        assert!(pool.0.borrow().keys().any(|(_, whose)| whose.is_some_and(|whose| whose.source == at(999))), "it is at work");
        drop(first);
    }
}
