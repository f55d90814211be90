//! HTTP/1 between a client and the endpoints, balanced per request: head → pool → key → pick → connect → exchange →
//! record, and again while the connection lasts. A connection that waits holds no buffer.

mod answer;
mod buffer;
mod call;
mod class;
mod detect;
mod download;
mod exchange;
mod forward;
mod idle;
pub(crate) mod mux;
mod outbox;
mod relay;
mod timer;
mod tunnel;
mod upload;

#[cfg(test)]
mod tests;

use crate::http1::{Fault, Request, RequestParser, ResponseParser};
use crate::metrics::{OpenConnection, Side};
use crate::proxy::age::Allowance;
use crate::proxy::capacity::Capacity;
use crate::proxy::record::Record;
use crate::proxy::turned_away::{self, Caller, TurnedAway};
use crate::stream::Stream;
use crate::table::{Member, PoolEntry};
use crate::tls;
use crate::worker::Worker;
use answer::Refusal;
use buffer::{Buffers, Input};
use call::Call;
use detect::Opening;
use idle::{Idle, Own};
use mux::upstream::Wanted;
use outbox::Outbox;
use rustls::AlertDescription;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem::take;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use timer::Timer;
use tokio::time::Instant;

/// From the first byte of a head to its last.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What is kept for each worker.
#[derive(Default)]
pub(crate) struct PerWorker {
    buffers: Buffers,
    idle: RefCell<Idle>,
    shared: mux::pool::Pool,
    spare: RefCell<Vec<Parts>>,
}

/// So much of what streams leave behind is kept for the next ones.
const SPARE: usize = 64;

/// What a connection leaves behind for the next: memory that is set aside, so that a stream of HTTP/2, which is a connection with
/// one request, needn't ask for it anew.
#[derive(Default)]
struct Parts {
    up: Outbox,
    down: Outbox,
    requests: RequestParser,
    responses: ResponseParser,
    timer: Timer,
}

impl PerWorker {
    /// Closes the pool's connection (to this member, if one is named) that has waited longest, or a shared one without a request;
    /// whether there was one.
    pub(crate) fn make_room(&self, capacity: &Arc<Capacity>, member: Option<&Arc<Member>>) -> bool {
        self.idle.borrow_mut().close_oldest(capacity, member) || self.shared.close_idle(capacity, member)
    }

    fn take_parts(&self) -> Parts {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    fn give_parts(&self, parts: Parts) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(parts);
        }
    }
}

/// Serves one client connection to its end. It is counted as one of `pool`, but the pool of each request is looked up in
/// the table.
pub(crate) async fn serve(worker: Rc<Worker>, client: Stream, caller: Caller, pool: Arc<PoolEntry>) {
    let _open = OpenConnection::new(pool.metrics().clone(), worker.index(), Side::Downstream);
    let Some(mut connection) = find_http1(worker, client, caller, pool).await else { return };
    loop {
        match connection.serve_request().await {
            Next::Request => {}
            Next::Close => return connection.client.end(),
            Next::Linger => return Box::pin(connection.linger()).await,
            Next::Abort => return connection.client.abort(),
        }
    }
}

/// Up to where HTTP/1 begins; connections that speak something else are served here. What one connection in many comes to is
/// boxed, else each of them would set its place aside.
async fn find_http1(worker: Rc<Worker>, mut client: Stream, caller: Caller, pool: Arc<PoolEntry>) -> Option<Connection> {
    let now = Instant::now();
    let terms = Terms::new(&worker, &pool, now);
    let mut parts = worker.http().take_parts();
    let timer = &mut parts.timer;
    timer.set(now, terms.idle);
    let mut input = Input::default();
    let buffers = &worker.http().buffers;
    let opening = match detect::agreed(&client) {
        Some(opening) => opening,
        None => poll_fn(|cx| detect::poll(cx, &mut client, &mut input, timer, buffers)).await,
    };
    match opening {
        Opening::Http1 => return Some(Connection::new(worker, client, input, parts, caller, terms)),
        Opening::Http2 => {
            drop(pool);
            Box::pin(mux::downstream::serve(worker, client, input, caller, terms)).await;
        }
        Opening::Over => client.end(),
        Opening::Tls => {
            turned_away::note(&worker, &pool, caller, TurnedAway::TlsUnexpected, "the listener has no tls");
            Box::pin(refuse_tls(client)).await;
        }
    }
    None
}

/// Tells a client that begins TLS where there is none, in its own words.
async fn refuse_tls(client: Stream) {
    if let Stream::Plain(socket) = client {
        tls::refuse(socket, tls::Told::Alert(AlertDescription::HandshakeFailure)).await;
    }
}

/// How long a client's connection is served: as the pool had it when it began.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// The longest wait for the next request.
    idle: Duration,
    allowance: Allowance,
}

impl Terms {
    fn new(worker: &Worker, pool: &PoolEntry, now: Instant) -> Self {
        let policy = pool.policy();
        let allowance = worker.with_rng(|rng| Allowance::new(&policy.client_connections, now, rng));
        Self { idle: Duration::from_millis(policy.timeouts.idle_ms), allowance }
    }

    /// Those of one of its streams, which carries one request.
    fn of_stream(&self) -> Self {
        Self { idle: self.idle, allowance: Allowance::default() }
    }

    /// How long a wait for a request may take that begins now.
    fn patience(&self, now: Instant) -> Duration {
        self.allowance.until().map_or(self.idle, |until| until.saturating_duration_since(now).min(self.idle))
    }
}

/// What follows a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another one on this connection.
    Request,
    /// Nothing: all is said.
    Close,
    /// Nothing; but the client may still be sending, and a hard close could take our last answer from it.
    Linger,
    /// Nothing: the answer was cut off, and the client must see it.
    Abort,
}

/// A client's connection and what its requests leave behind for the next.
struct Connection {
    worker: Rc<Worker>,
    client: Stream,
    caller: Caller,
    client_input: Input,
    upstream_input: Input,
    up: Outbox,
    down: Outbox,
    requests: RequestParser,
    responses: ResponseParser,
    timer: Timer,
    /// Where endpoints are told whose connection it is: the last one, for the next request.
    own: Cell<Option<Own>>,
    /// What the request at hand asks of its way upstream.
    wanted: Wanted,
    terms: Terms,
    /// The request at hand is the last: the connection has served long enough.
    is_last: bool,
    /// What is known of the request at hand if it is a call of gRPC.
    call: Option<Call>,
    /// The length of the head that goes upstream.
    head_length: usize,
    /// When the clock was last read: close enough for deadlines, and cheaper than reading it again.
    now: Instant,
}

/// Why there is no request.
enum NoRequest {
    /// The client has ended the connection, or was idle for too long.
    Over,
    /// A head began but didn't end in time.
    Slow,
    /// It isn't to be understood.
    Bad(Fault),
}

fn find_pool(worker: &Worker, port: u16) -> Option<Arc<PoolEntry>> {
    worker.table().route(port).map(|route| route.pool.clone())
}

impl Connection {
    /// `input` is what has been read of it.
    fn new(worker: Rc<Worker>, client: Stream, input: Input, parts: Parts, caller: Caller, terms: Terms) -> Self {
        let Parts { up, down, requests, responses, timer } = parts;
        Self {
            worker,
            client,
            caller,
            client_input: input,
            upstream_input: Input::default(),
            up,
            down,
            requests,
            responses,
            timer,
            own: Cell::new(None),
            wanted: Wanted::Http1,
            terms,
            is_last: false,
            call: None,
            head_length: 0,
            now: Instant::now(),
        }
    }

    async fn serve_request(&mut self) -> Next {
        // Before the wait, not after: what a long answer took is given back while nothing is to do.
        self.up.reset();
        self.down.reset();
        self.timer.limit(None);
        self.timer.set(self.now, self.terms.patience(self.now));
        let mut started = false;
        match poll_fn(|cx| self.poll_head(cx, &mut started)).await {
            Err(NoRequest::Over) => Next::Close,
            head => self.answer(&head).await,
        }
    }

    /// Serves what has been read as a request's head, or refuses it.
    async fn answer(&mut self, head: &Result<Request, NoRequest>) -> Next {
        match self.decide(head).await {
            Ok(next) => next,
            Err(refusal) => Box::pin(self.refuse(refusal)).await,
        }
    }

    /// What follows the request once it has been served, or what it is refused with.
    async fn decide(&mut self, head: &Result<Request, NoRequest>) -> Result<Next, Refusal> {
        let pool = find_pool(&self.worker, self.caller.port).ok_or(Refusal::NO_POOL)?;
        let mut record = Record::start(self.worker.clone(), pool.clone());
        self.now = record.started();
        self.is_last = self.terms.allowance.take(self.now);
        let refusal = match head {
            Ok(request) => return self.forward(&mut record, pool, request).await,
            Err(NoRequest::Bad(fault)) => Refusal::bad_request(*fault),
            Err(NoRequest::Over | NoRequest::Slow) => Refusal::SLOW,
        };
        refusal.note(&mut record);
        Err(refusal)
    }

    /// Waits for the next head. Until its first byte is there, no buffer is held; `started` says whether it is.
    fn poll_head(&mut self, cx: &mut Context<'_>, started: &mut bool) -> Poll<Result<Request, NoRequest>> {
        let buffers = &self.worker.http().buffers;
        loop {
            if !self.client_input.is_empty() {
                match self.requests.advance(self.client_input.bytes()) {
                    Ok(Some(request)) => return Poll::Ready(Ok(request)),
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(Err(NoRequest::Bad(fault))),
                }
                if !std::mem::replace(started, true) {
                    self.timer.set(Instant::now(), HEAD_TIMEOUT);
                }
            }
            match self.client_input.poll_fill(cx, &mut self.client, buffers) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(NoRequest::Over)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        let over = if *started { NoRequest::Slow } else { NoRequest::Over };
        self.timer.poll(cx).map(|()| Err(over))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.discard();
        let Self { worker, client_input, up, down, requests, responses, timer, .. } = self;
        client_input.clear(&worker.http().buffers);
        up.reset();
        down.reset();
        requests.reset();
        responses.reset();
        timer.limit(None);
        let parts =
            Parts { up: take(up), down: take(down), requests: take(requests), responses: take(responses), timer: take(timer) };
        worker.http().give_parts(parts);
    }
}
