//! pick + connect, and again on another endpoint: the one loop that every protocol shares. What finds no room waits in the pool's
//! queue. Counts picks and retries and reports failed connects; what comes after the connect is the caller's to report.

mod wait;

use super::capacity::{Full, Permit, Place};
use super::flag::{Flag, Retried};
use crate::proxy_protocol::{self, Addresses};
use crate::stream::Stream;
use crate::table::{Member, PoolEntry};
use crate::tls::{Offer, TlsFailure};
use crate::worker::Worker;
use evenkeel_balance::{Endpoint, InFlight, NoEndpoint, Outcome, PickArgs};
use evenkeel_wire::RetryOn;
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use wait::Waiting;

/// The attempts of one request on one pool. Each pick is another endpoint; each but the first looks at the pool as it is
/// by then.
pub(crate) struct Attempts {
    pool: Arc<PoolEntry>,
    key: Option<u64>,
    class: Option<u64>,
    /// The last [`Attempts::crowded`] of them have no room for a connection, and may be asked again.
    tried: Vec<Arc<Endpoint>>,
    crowded: usize,
    retries_left: u32,
    /// Why the endpoint tried last couldn't be reached.
    last: Option<ConnectError>,
    announced: Option<Addresses>,
    /// Its place among the pool's requests, until an endpoint has been chosen.
    place: Option<Place>,
    waiting: Waiting,
}

/// Endpoints without room for a connection that are passed over before the request waits.
const MAX_CROWDED: usize = 4;

/// An endpoint that was picked, and its in-flight count until this is dropped.
pub(crate) struct Chosen {
    lease: InFlight,
    member: Arc<Member>,
    /// Of a connection that was made for it, unless that has taken it.
    permit: Cell<Option<Permit>>,
    /// Given back after the lease and the connection: whoever waits is called for them.
    place: Option<Place>,
}

/// Why a request reached no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// There was none (left) to pick, or the pool has gone.
    NoEndpoint(NoEndpoint),
    /// The last connect failed and no retry was left.
    Connect(ConnectError),
    /// The time that the request may take as a whole was up.
    Deadline,
    /// There was no room.
    Shed(Shed),
    /// The client went away while there was no room.
    ClientGone,
}

/// What a client is waited for with before its request has an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Its turn in the queue.
    Room,
    /// Nothing: it is asked whether a failed connect is worth another.
    Retry,
}

/// Why a request that found no room was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// As many wait as may.
    QueueFull,
    /// It has waited for as long as it may.
    QueueTimeout,
}

/// Why a connect failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// Nobody listens there.
    Refused,
    /// No answer within the pool's connect timeout.
    Timeout,
    /// Another request's connect, which this one would have shared, took as long: that one tells of the endpoint.
    Waited,
    /// No way there, or another error of the network.
    Unreachable,
    /// It was made, but there is no TLS with the endpoint.
    Tls(TlsFailure),
    /// It was made, twice, and each time ended before the first byte of an answer.
    Silent,
    /// This host has no ports, descriptors or memory left: no endpoint is to blame.
    Local,
    /// There are as many connections as the pool allows.
    Full,
}

impl ConnectError {
    /// What an error of the system says.
    pub(crate) fn of(error: &std::io::Error) -> Self {
        /// EMFILE, ENFILE, ENOMEM, ENOBUFS.
        const EXHAUSTED: [i32; 4] = [24, 23, 12, 105];
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::Timeout,
            ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => Self::Local,
            _ if error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) => Self::Local,
            _ => Self::Unreachable,
        }
    }
}

impl From<Unreached> for Flag {
    fn from(unreached: Unreached) -> Self {
        match unreached {
            Unreached::NoEndpoint(none) => none.into(),
            Unreached::Deadline => Self::RequestTimeout,
            Unreached::Connect(ConnectError::Local) => Self::LocalExhaustion,
            Unreached::Connect(ConnectError::Silent) => Self::UpstreamReset,
            Unreached::Connect(ConnectError::Tls(_)) => Self::UpstreamTls,
            Unreached::Connect(ConnectError::Full) => Self::Overloaded,
            Unreached::Shed(Shed::QueueFull) => Self::QueueFull,
            Unreached::Shed(Shed::QueueTimeout) => Self::QueueTimeout,
            Unreached::ClientGone => Self::Cancelled,
            Unreached::Connect(_) => Self::ConnectFailure,
        }
    }
}

impl Chosen {
    /// The endpoint as the pool knows it.
    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// What counts on the endpoint.
    pub(crate) fn lease(&mut self) -> &mut InFlight {
        &mut self.lease
    }

    /// The place of the connection that was made for it. It lasts as long as this does unless taken by what lasts longer.
    pub(crate) fn take_permit(&self) -> Option<Permit> {
        self.permit.take()
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.lease.endpoint().address()
    }
}

impl Attempts {
    /// For one request with this key (of the table) and this class of cost, if it has them.
    pub(crate) fn new(pool: Arc<PoolEntry>, key: Option<u64>, class: Option<u64>) -> Self {
        let retries_left =
            if pool.policy().retry.on.contains(&RetryOn::ConnectFailure) { pool.policy().retry.max_retries } else { 0 };
        let waiting = Waiting::default();
        Self { pool, key, class, tried: Vec::new(), crowded: 0, retries_left, last: None, announced: None, place: None, waiting }
    }

    /// This endpoint isn't picked.
    pub(crate) fn avoiding(mut self, endpoint: Option<Arc<Endpoint>>) -> Self {
        self.tried.extend(endpoint);
        self
    }

    /// Endpoints are told whose connection it is, if the pool says that they want to know.
    pub(crate) fn announcing(self, addresses: Addresses) -> Self {
        Self { announced: Some(addresses), ..self }
    }

    /// What an endpoint is told of whose connection it is: then it serves that one alone.
    pub(crate) fn announced(&self) -> Option<Addresses> {
        self.announced.filter(|_| self.pool.policy().upstream.proxy_protocol.is_some())
    }

    /// The pool that is tried, as of the last pick.
    pub(crate) fn pool(&self) -> &Arc<PoolEntry> {
        &self.pool
    }

    /// Picks, then lets `reach` find a way to the picked endpoint; when it fails, moves on to another one while retries are left.
    /// Where there is no room, waits for its turn. Where `gone` is ready, there is nobody to wait or to retry for.
    pub(crate) async fn establish<S>(
        &mut self,
        worker: &Worker,
        mut gone: impl FnMut(&mut Context<'_>, Awaited) -> Poll<()>,
        reach: impl AsyncFn(&Self, &Chosen) -> Result<S, ConnectError>,
    ) -> Result<(Chosen, S), Unreached> {
        loop {
            let picked = self.pick_in_turn(worker);
            let Some(chosen) = picked.map_err(|none| self.without_another(none))? else {
                // Boxed: few requests wait, and each would set the place aside.
                Box::pin(self.wait(worker, |cx| gone(cx, Awaited::Room))).await?;
                continue;
            };
            // Whoever has gone meanwhile: what comes of the connect is known of the endpoint, and a shared one serves others.
            match reach(self, &chosen).await {
                Ok(way) => {
                    self.waiting.end();
                    return Ok((chosen, way));
                }
                Err(error) => {
                    let is_gone = gone(&mut Context::from_waker(Waker::noop()), Awaited::Retry).is_ready();
                    if is_gone {
                        self.retries_left = 0;
                    }
                    self.give_up(worker, chosen, error)?;
                    if is_gone {
                        return Err(Unreached::ClientGone);
                    }
                }
            }
        }
    }

    /// That none is left says less than why the last one couldn't be reached.
    fn without_another(&self, unreached: Unreached) -> Unreached {
        match (unreached, self.last) {
            (Unreached::NoEndpoint(NoEndpoint::AllTried), Some(error)) => Unreached::Connect(error),
            (unreached, _) => unreached,
        }
    }

    /// Picks an endpoint that hasn't been tried yet and hasn't left the pool; for who doesn't wait for room.
    pub(crate) fn pick(&mut self, worker: &Worker) -> Result<Chosen, Unreached> {
        self.find(worker)?.ok_or(Unreached::NoEndpoint(NoEndpoint::Saturated))
    }

    /// The same; `None` if there is no room.
    fn find(&mut self, worker: &Worker) -> Result<Option<Chosen>, Unreached> {
        loop {
            if self.pool.is_limited() && self.place.is_none() {
                self.place = self.pool.capacity().enter(&self.pool.policy().limits);
                if self.place.is_none() {
                    return Ok(None);
                }
            }
            let args = PickArgs { key: self.key, class: self.class, tried: &self.tried };
            let pick = match worker.with_rng(|rng| self.pool.balance().pick(args, Instant::now(), rng)) {
                Ok(pick) => pick,
                Err(none) if none == NoEndpoint::Saturated || self.crowded > 0 => {
                    self.place.take().into_iter().for_each(Place::give_back);
                    return Ok(None);
                }
                Err(none) => return Err(Unreached::NoEndpoint(none)),
            };
            let member = self.pool.member(pick.lease.endpoint()).clone();
            let chosen = Chosen { lease: pick.lease, member, permit: Cell::default(), place: self.place.take() };
            if !chosen.member.is_gone() {
                self.pool.metrics().shard(worker.index()).count_pick(pick.reason);
                return Ok(Some(chosen));
            }
            self.pass_over(worker, chosen)?;
        }
    }

    /// The endpoint isn't to be picked again; the next pick is from the pool as it is now.
    pub(crate) fn pass_over(&mut self, worker: &Worker, mut chosen: Chosen) -> Result<(), Unreached> {
        self.forget_crowded();
        self.tried.push(chosen.lease.endpoint().clone());
        self.place = chosen.place.take();
        drop(chosen);
        if self.place.is_some() {
            // The request keeps its place, but the endpoint has room for another.
            self.pool.capacity().queue().call();
        }
        self.renew_pool(worker)
    }

    /// From here on the pool is what it is now.
    fn renew_pool(&mut self, worker: &Worker) -> Result<(), Unreached> {
        let now = worker.table().pools().get(self.pool.name()).cloned();
        self.pool = now.ok_or(Unreached::NoEndpoint(NoEndpoint::Empty))?;
        Ok(())
    }

    /// The endpoint has no room for a connection now: others may have, or a connection that waits.
    fn set_aside(&mut self, mut chosen: Chosen) {
        self.tried.push(chosen.lease.endpoint().clone());
        self.crowded += 1;
        // Nobody is called for what was only tried: it would be the same one again and again.
        chosen.place.take().into_iter().for_each(Place::give_back);
    }

    fn forget_crowded(&mut self) {
        let crowded = std::mem::take(&mut self.crowded);
        self.tried.truncate(self.tried.len() - crowded);
    }

    /// A new connection to the chosen endpoint, with TLS where the pool says so, within the pool's connect timeout. `offer`: what
    /// will be spoken.
    pub(crate) async fn connect(&self, worker: &Worker, chosen: &Chosen, offer: Offer) -> Result<Stream, ConnectError> {
        let (capacity, limits) = (self.pool.capacity(), &self.pool.policy().limits);
        let mut permit = capacity.connect(limits, chosen.member(), worker.index());
        if let Err(full) = &permit {
            let at = (*full == Full::AtEndpoint).then(|| chosen.member());
            if worker.http().make_room(capacity, at) {
                permit = capacity.connect(limits, chosen.member(), worker.index());
            }
        }
        chosen.permit.set(permit.map_err(|_| ConnectError::Full)?);
        // It has all that others wait for.
        self.waiting.end();
        let limit = Duration::from_millis(self.pool.policy().connect_timeout_ms);
        let connected = tokio::time::timeout(limit, self.reach(worker, chosen, offer)).await;
        connected.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn reach(&self, worker: &Worker, chosen: &Chosen, offer: Offer) -> Result<Stream, ConnectError> {
        let socket = TcpStream::connect(chosen.address()).await.map_err(|error| ConnectError::of(&error))?;
        // Small writes go out at once: the proxy has already gathered what belongs together.
        let _ = socket.set_nodelay(true);
        self.announce(&socket)?;
        match (&self.pool.policy().upstream.tls, self.pool.tls().connector()) {
            _ if offer == Offer::Tls => Ok(Stream::Plain(socket)),
            (None, _) => Ok(Stream::Plain(socket)),
            // Boxed: a pool without TLS doesn't carry the room for it along.
            (Some(_), Some(connector)) => match Box::pin(connector.connect(socket, offer, worker.no_tls())).await {
                Ok(stream) => Ok(Stream::Tls(stream)),
                Err(failure) => Err(ConnectError::Tls(failure)),
            },
            // Whoever asks for TLS is never served without.
            (Some(_), None) => Err(ConnectError::Tls(TlsFailure::Refused)),
        }
    }

    /// Writes the PROXY header, before anything else on the connection. A new connection has room for it.
    fn announce(&self, stream: &TcpStream) -> Result<(), ConnectError> {
        let (Some(version), Some(addresses)) = (self.pool.policy().upstream.proxy_protocol, self.announced()) else {
            return Ok(());
        };
        let mut header = Vec::with_capacity(proxy_protocol::MAX_WRITTEN);
        proxy_protocol::write(version, addresses, &mut header);
        match rustix::net::send(stream, &header, rustix::net::SendFlags::NOSIGNAL) {
            Ok(written) if written == header.len() => Ok(()),
            Ok(_) => Err(ConnectError::Unreachable),
            Err(error) => Err(ConnectError::of(&error.into())),
        }
    }

    /// Whether a failed connect may still move to another endpoint.
    pub(crate) fn may_retry(&self) -> bool {
        self.retries_left > 0
    }

    /// Settles a failed connect: `Ok` if another endpoint may be tried.
    pub(crate) fn give_up(&mut self, worker: &Worker, mut chosen: Chosen, error: ConnectError) -> Result<(), Unreached> {
        chosen.permit.take();
        let outcome = match error {
            ConnectError::Full => {
                self.set_aside(chosen);
                return Ok(());
            }
            ConnectError::Local | ConnectError::Waited => Outcome::Cancelled,
            ConnectError::Silent => Outcome::GatewayError,
            ConnectError::Refused | ConnectError::Timeout | ConnectError::Unreachable | ConnectError::Tls(_) => {
                Outcome::ConnectError
            }
        };
        self.pool.report(worker, &mut chosen, outcome);
        self.last = Some(error);
        let retried = match error {
            ConnectError::Refused => Retried::Refused,
            ConnectError::Timeout | ConnectError::Waited => Retried::Timeout,
            ConnectError::Unreachable => Retried::Unreachable,
            ConnectError::Tls(_) => Retried::Tls,
            ConnectError::Silent => Retried::Silent,
            ConnectError::Local | ConnectError::Full => return Err(Unreached::Connect(error)),
        };
        if self.retries_left == 0 {
            return Err(Unreached::Connect(error));
        }
        self.retries_left -= 1;
        self.pool.metrics().shard(worker.index()).count_retry(retried);
        self.pass_over(worker, chosen)
    }
}
