//! HTTP/2 connections to endpoints: one worker's own, by member of a pool, shared by its requests. Another one is opened only
//! where those that are there take no more streams, and one at a time.

use super::driver::{Driver, Over};
use super::pool::Key;
use super::quiet::Quiet;
use super::{Shared, Stream};
use crate::http2::{Connection, Limits, Scheme};
use crate::metrics::OpenConnection;
use crate::proxy::attempt::{Attempts, Chosen, ConnectError};
use crate::proxy::capacity::Capacity;
use crate::proxy::http::buffer::Input;
use crate::proxy::tcp::watch_for_silence;
use crate::stream;
use crate::table::Member;
use crate::tls::{Alpn, Offer};
use crate::worker::Worker;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
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

/// A way to the chosen endpoint; `open` counts a new shared connection. Waits for others that are connecting no longer than for
/// a connect.
pub(in crate::proxy::http) async fn reach(
    worker: &Rc<Worker>,
    attempts: &Attempts,
    chosen: &Chosen,
    wanted: Wanted,
    open: impl FnOnce() -> OpenConnection,
) -> Result<Way, ConnectError> {
    let (pool, member) = (&worker.http().shared, chosen.member());
    let key = Key::new(member, attempts.announced());
    let offer = match wanted {
        Wanted::Http1 => return attempts.connect(worker, chosen, Offer::Http1).await.map(Way::Connection),
        Wanted::Http2 => Offer::Http2,
        Wanted::Either => Offer::Http,
    };
    let turn = match pool.find(key, member) {
        Ok(stream) => return Ok(Way::Stream(stream)),
        Err(turn) => turn,
    };
    let is_alone = || wanted == Wanted::Either && pool.has_chosen_http1(key);
    let held = match is_alone() {
        true => None,
        false => {
            let limit = Duration::from_millis(attempts.pool().policy().connect_timeout_ms);
            Some(tokio::time::timeout(limit, turn.lock()).await.map_err(|_| ConnectError::Waited)?)
        }
    };
    if let Ok(stream) = pool.find(key, member) {
        return Ok(Way::Stream(stream));
    }
    if is_alone() {
        // Known since it waits: the others needn't connect one after the other.
        drop(held);
    }
    let socket = attempts.connect(worker, chosen, offer).await?;
    if wanted == Wanted::Either {
        let http1 = !matches!(&socket, stream::Stream::Tls(socket) if socket.alpn() == Alpn::Http2);
        pool.note_choice(key, http1);
        if http1 {
            return Ok(Way::Connection(socket));
        }
    }
    // It is shared, and each new request would go to a peer that is gone.
    watch_for_silence(&socket);
    let scheme = if matches!(socket, stream::Stream::Tls(_)) { Scheme::Https } else { Scheme::Http };
    let shared = Shared::new(Connection::client(&limits(), scheme, Instant::now().into_std()), false);
    let counted = open();
    let limited = counted.permit().map(|permit| permit.capacity().clone());
    pool.add(key, shared.clone(), counted);
    tokio::task::spawn_local(drive(worker.clone(), (member.clone(), key), shared.clone(), socket, limited));
    Ok(Way::Stream(Stream::unopened(shared)))
}

/// Serves one connection until it ends, is idle for too long or where its place is wanted, or leads to what has left the pool.
async fn drive(
    worker: Rc<Worker>,
    (member, key): (Arc<Member>, Key),
    shared: Rc<Shared>,
    socket: stream::Stream,
    limited: Option<Arc<Capacity>>,
) {
    let pool = &worker.http().shared;
    let mut driver = Driver::new(shared.clone(), socket, Input::default());
    let mut quiet = Quiet::new(IDLE);
    let mut gone = pin!(member.gone());
    let mut is_gone = false;
    let mut relief = limited.as_ref().map(|capacity| Box::pin(capacity.relief()));
    let over = poll_fn(|cx| {
        if !is_gone && gone.as_mut().poll(cx).is_ready() {
            is_gone = true;
            shared.close();
        }
        let over = driver.poll(cx, &worker.http().buffers, &mut |_| {});
        if over.is_ready() {
            return over;
        }
        // Others may want its place, and say so at any time: it is listened before it is looked.
        while let (Some(capacity), Some(wanted)) = (&limited, &mut relief)
            && !shared.is_active()
        {
            if pool.yields(key, &shared, worker.index()) {
                shared.leave();
                return driver.poll(cx, &worker.http().buffers, &mut |_| {});
            }
            if wanted.as_mut().poll(cx).is_pending() {
                break;
            }
            wanted.set(capacity.relief());
        }
        quiet.poll(cx, &shared).map(|()| Over::Done)
    });
    let over = over.await;
    let _counted = pool.remove(key, &shared);
    if let Over::Broken(reason) = over {
        tracing::debug!(endpoint = member.label(), reason = reason.as_str(), "HTTP/2 connection ended");
    }
    driver.farewell(over, &worker.http().buffers, FAREWELL).await;
}
