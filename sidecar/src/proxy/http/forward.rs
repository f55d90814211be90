//! One request on its way: key, pick, connect or reuse, exchange, and once more where the connection ended in silence.

use super::answer::{Refusal, outcome_of};
use super::exchange::{Ends, Exchange, Failure, Patience, Upstream, poll_gone};
use super::idle::{Own, idle_time, relieve, sweep};
use super::mux::upstream::{Wanted, Way};
use super::upload::Upload;
use super::{Connection, Next, call, class, mux};
use crate::grpc;
use crate::http1::request::Method;
use crate::http1::{Fault, Framing, Request, Response, write};
use crate::metrics::{Direction, OpenConnection, Side};
use crate::proxy::attempt::{Attempts, Chosen, ConnectError, Unreached};
use crate::proxy::flag::{Flag, Retried};
use crate::proxy::record::Record;
use crate::proxy::tcp::source_hash;
use crate::stream::Stream;
use crate::table::{Member, PoolEntry};
use crate::worker::Worker;
use evenkeel_balance::key_hash;
use evenkeel_wire::{Algorithm, HashKey, RetryOn, UpstreamProtocol};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How an exchange ended.
struct Ended {
    result: Result<(), Failure>,
    response: Option<Response>,
    request_read: bool,
    client_stays: bool,
    upstream_stays: bool,
    /// What the answer said by gRPC's rules.
    call: Option<grpc::Status>,
    /// What was left of the request.
    upload: Upload,
}

impl Ended {
    /// Whether the connections are to speak another protocol now.
    fn is_upgrade(&self) -> bool {
        self.result.is_ok() && self.response.is_some_and(|response| response.is_upgrade())
    }
}

impl Connection {
    /// Forwards the request whose head has just been read: what follows it, or what it is refused with.
    pub(super) async fn forward(
        &mut self,
        record: &mut Record,
        pool: Arc<PoolEntry>,
        request: &Request,
    ) -> Result<Next, Refusal> {
        let mut attempts = self.prepare(record, pool, request);
        // To be refused before anybody is asked. Where only the connect tells how bodies are framed, it waits until then.
        let mut body = match self.wanted {
            Wanted::Http1 => Some(self.take_body(request, false).map_err(|fault| self.refuse_body(record, fault))?),
            Wanted::Http2 | Wanted::Either => None,
        };
        let mut resent = false;
        let (mut chosen, mut upstream) = match self.establish(&mut attempts, true).await {
            Ok(way) => way,
            Err(unreached) => return self.refuse_unreached(record, unreached, request, body),
        };
        loop {
            record.set_chosen(chosen);
            self.send_head(&mut upstream, request);
            let upload = match body.take() {
                Some(upload) => upload,
                None => {
                    let taken = self.take_body(request, upstream.stream.frames_bodies());
                    taken.map_err(|fault| self.refuse_body(record, fault))?
                }
            };
            if !upstream.reused {
                self.now = Instant::now();
            }
            let ended = self.exchange(record, &mut upstream, request, upload).await;
            let again = self.may_go_again(&ended, &attempts, request) && (!resent || attempts.may_retry());
            let Some(stale) = again.then(|| record.take_chosen()).flatten() else {
                record.add_bytes(Direction::Upstream, self.up.total());
                record.add_bytes(Direction::Downstream, self.down.total());
                return match ended.is_upgrade() {
                    true => Ok(Box::pin(self.tunnel(record, upstream)).await),
                    false => self.settle(record, upstream, request, ended),
                };
            };
            // What has been kept of a body has no framing: it is for HTTP/2 alone, whatever the next endpoint would choose.
            if upstream.stream.frames_bodies() && request.body != Framing::None {
                self.wanted = Wanted::Http2;
            }
            // Its place, too, is the next one's.
            drop(upstream);
            self.up.rewind();
            body = Some(ended.upload);
            let way = match std::mem::replace(&mut resent, true) {
                false => Box::pin(self.renew(&mut attempts, stale)).await,
                true => Box::pin(self.move_on(&mut attempts, stale)).await,
            };
            (chosen, upstream) = match way {
                Ok(way) => way,
                Err(unreached) => return self.refuse_unreached(record, unreached, request, body),
            };
        }
    }

    /// What is known of the request before an endpoint is, and its head as it goes upstream.
    fn prepare(&mut self, record: &Record, pool: Arc<PoolEntry>, request: &Request) -> Attempts {
        let started = record.started().into_std();
        let key = self.find_key(&pool);
        let class = self.find_class(&pool, request);
        self.call = self.find_call(started);
        self.wanted = wanted(&pool, self.call.is_some());
        self.timer.limit(self.find_deadline(&pool, started));
        self.take_head(request);
        if self.wanted != Wanted::Http1 {
            self.up.keep();
        }
        Attempts::new(pool, key, class).announcing(self.caller.addresses())
    }

    /// Whether the request may go to an endpoint once more. Whether its connection was kept or new: an endpoint that dies takes
    /// both along (ADR 2).
    fn may_go_again(&self, ended: &Ended, attempts: &Attempts, request: &Request) -> bool {
        let may_resend = || attempts.pool().policy().retry.on.contains(&RetryOn::StaleConnection) && request.is_replayable();
        match ended.result {
            Err(Failure::Upstream { silent: true }) => may_resend(),
            Err(Failure::Unprocessed) => self.up.may_rewind(),
            _ => false,
        }
    }

    /// The ring key: the first of the policy's that the request has.
    fn find_key(&self, pool: &PoolEntry) -> Option<u64> {
        let Algorithm::ConsistentHash { keys, .. } = &pool.policy().algorithm else { return None };
        keys.iter().find_map(|key| match key {
            HashKey::Header { name } => self.requests.find_header(self.client_input.bytes(), name).map(key_hash),
            HashKey::SourceIp => Some(source_hash(self.worker.source(self.caller.peer.ip()))),
        })
    }

    /// When the request as a whole must be over: the client's own word by gRPC, or the pool's, whichever comes first.
    fn find_deadline(&self, pool: &PoolEntry, started: std::time::Instant) -> Option<Instant> {
        let of_pool = pool.policy().timeouts.request_ms.map(|limit| started + Duration::from_millis(limit));
        let of_call = self.call.and_then(|call| call.deadline);
        of_pool.into_iter().chain(of_call).min().map(Instant::from_std)
    }

    /// The class of the request's cost, if the pool goes by cost.
    fn find_class(&self, pool: &PoolEntry, request: &Request) -> Option<u64> {
        let Algorithm::LeastCost { class, .. } = &pool.policy().algorithm else { return None };
        Some(class::of(class, request, self.client_input.bytes()))
    }

    /// Writes the head that goes upstream.
    fn take_head(&mut self, request: &Request) {
        let local = match request.has_host || request.target.authority.is_some() {
            true => String::new(),
            false => self.client.local_addr().map(|address| address.to_string()).unwrap_or_default(),
        };
        let Self { worker, client_input, up, requests, .. } = self;
        let buffers = &worker.http().buffers;
        write::request_head(up.bytes(), client_input.bytes(), requests.head(), request, &local);
        if let Some(call) = &mut self.call {
            call.make_room(up);
        }
        self.head_length = up.bytes().len();
        client_input.consume(request.head_len, buffers);
        requests.reset();
    }

    /// Hands the head over where it doesn't travel among the bytes.
    fn send_head(&mut self, upstream: &mut Upstream, request: &Request) {
        if let Some(call) = self.call {
            call.write_timeout(std::time::Instant::now(), &mut self.up);
        }
        self.up.send_head(&mut upstream.stream, self.head_length, request.body == Framing::None);
    }

    /// Writes what is already there of the body, so that it leaves along with the head. `framed`: upstream, bodies end by
    /// themselves.
    fn take_body(&mut self, request: &Request, framed: bool) -> Result<Upload, Fault> {
        let Self { worker, client, client_input, up, .. } = self;
        let mut upload = Upload::new(request.body, client.frames_bodies(), framed);
        upload.take(client_input, up, &worker.http().buffers).map(|()| upload)
    }

    /// A way to an endpoint: a kept connection where that is allowed and there is one, else a new one.
    async fn establish(&mut self, attempts: &mut Attempts, may_reuse: bool) -> Result<(Chosen, Upstream), Unreached> {
        let Self { worker, client, client_input, timer, own, wanted, now, .. } = self;
        let reach = async |attempts: &Attempts, chosen: &Chosen| {
            // What is kept speaks HTTP/1.
            let kept = match (may_reuse && *wanted != Wanted::Http2, attempts.announced()) {
                (true, None) => worker.http().idle.borrow_mut().take(chosen.member(), *now),
                (true, Some(_)) => own.take().and_then(|own| own.take(chosen.member(), *now)),
                (false, _) => None,
            };
            match kept {
                Some(kept) => Ok(kept),
                None => Box::pin(connect(worker, *wanted, attempts, chosen)).await,
            }
        };
        let gone = |cx: &mut Context<'_>, awaited| poll_gone(cx, awaited, client, client_input, &worker.http().buffers);
        by(timer.limited(), pin!(attempts.establish(worker, gone, reach))).await?
    }

    /// After a stale connection: a new one to the same endpoint, or to another if it refuses or has left the pool.
    async fn renew(&mut self, attempts: &mut Attempts, stale: Chosen) -> Result<(Chosen, Upstream), Unreached> {
        attempts.pool().metrics().shard(self.worker.index()).count_retry(Retried::StaleConnection);
        if stale.member().is_gone() {
            attempts.pass_over(&self.worker, stale)?;
            return self.establish(attempts, false).await;
        }
        let connected = by(self.timer.limited(), pin!(connect(&self.worker, self.wanted, attempts, &stale))).await?;
        match connected {
            Ok(upstream) => Ok((stale, upstream)),
            Err(error) => {
                attempts.give_up(&self.worker, stale, error)?;
                self.establish(attempts, false).await
            }
        }
    }

    /// After a second silence: the endpoint is as good as unconnectable, so another one, while retries are left.
    async fn move_on(&mut self, attempts: &mut Attempts, silent: Chosen) -> Result<(Chosen, Upstream), Unreached> {
        attempts.give_up(&self.worker, silent, ConnectError::Silent)?;
        match self.establish(attempts, false).await {
            Err(Unreached::NoEndpoint(_)) => Err(Unreached::Connect(ConnectError::Silent)),
            established => established,
        }
    }

    async fn exchange(&mut self, record: &mut Record, upstream: &mut Upstream, request: &Request, upload: Upload) -> Ended {
        let keep_alive = !self.worker.is_draining() && !self.is_last;
        let Self { worker, client, client_input, upstream_input, up, down, responses, timer, call, now, .. } = self;
        let buffers = &worker.http().buffers;
        upstream_input.clear(buffers);
        responses.reset();
        let patience = Patience::new(&record.pool().policy().timeouts, call.is_some());
        timer.set(*now, patience.stream_idle);
        let ends = Ends { client, client_input, upstream_input, up, down, parser: responses, timer, buffers };
        let mut exchange = Exchange::new(ends, upstream, request, upload, keep_alive, patience);
        let mut begun = false;
        let result = poll_fn(|cx| {
            let polled = exchange.poll(cx);
            if let (false, Some(response)) = (begun, exchange.response()) {
                begun = true;
                if !matches!(polled, Poll::Ready(Err(_))) {
                    record.answer_begun(outcome_of(response.status), exchange.answered_after());
                }
            }
            polled
        });
        let result = result.await;
        Ended {
            result,
            call: exchange.call_status(),
            response: exchange.response().copied(),
            request_read: exchange.is_request_read(),
            client_stays: exchange.client_stays(),
            upstream_stays: exchange.upstream_stays(),
            upload: exchange.into_upload(),
        }
    }

    /// Draws the consequences of an exchange.
    fn settle(&mut self, record: &mut Record, mut upstream: Upstream, request: &Request, ended: Ended) -> Result<Next, Refusal> {
        self.discard();
        self.now = Instant::now();
        let status = ended.response.map_or(0, |response| response.status);
        // A call that failed says so behind a 200.
        let status = match (self.call, ended.call) {
            (Some(_), Some(call)) if status == 200 => call.as_http(),
            _ => status,
        };
        record.set_status(status);
        let failure = match ended.result {
            Ok(()) => {
                record.set_flag(Flag::None);
                record.report(outcome_of(status));
                if let (true, Some(response), Some(member)) = (ended.upstream_stays, ended.response, record.member()) {
                    self.keep(upstream, member, &response);
                }
                return Ok(match (ended.client_stays, ended.request_read) {
                    (true, _) => Next::Request,
                    (false, true) if self.client_input.is_empty() => Next::Close,
                    (false, _) => Next::Linger,
                });
            }
            Err(failure) => failure,
        };
        record.set_flag(failure.flag());
        record.report(failure.outcome());
        // What has begun upstream must not look complete.
        upstream.stream.abort();
        drop(upstream);
        match Refusal::failed(failure) {
            Some(_) if self.call.is_some() && ended.response.is_some() => {
                let mut trailers = Vec::new();
                call::last_words(failure, &mut trailers);
                self.client.finish(&trailers);
                Ok(Next::Close)
            }
            Some(refusal) if ended.response.is_none() => {
                let stays = !self.is_last && may_stay(request, ended.request_read);
                let refusal = refusal.with(stays, request.method == Method::Head);
                refusal.note(record);
                Err(refusal)
            }
            _ => Ok(Next::Abort),
        }
    }

    fn refuse_body(&mut self, record: &mut Record, fault: Fault) -> Refusal {
        let refusal = Refusal::bad_request(fault);
        refusal.note(record);
        self.discard();
        refusal
    }

    fn refuse_unreached(
        &mut self,
        record: &mut Record,
        why: Unreached,
        request: &Request,
        body: Option<Upload>,
    ) -> Result<Next, Refusal> {
        // A body that came along with its head is done with, so that the connection can stay.
        let body = body.map_or_else(|| self.take_body(request, false), Ok);
        let read = body.is_ok_and(|upload| upload.is_read());
        self.discard();
        let Some(refusal) = Refusal::unreached(why) else { return Ok(Next::Abort) };
        let refusal = refusal.with(!self.is_last && may_stay(request, read), request.method == Method::Head);
        refusal.note(record);
        Err(refusal)
    }

    /// Forgets what is left of a request and its answer; what stays on the client's connection are its next requests.
    pub(super) fn discard(&mut self) {
        let buffers = &self.worker.http().buffers;
        self.up.discard(&mut self.client_input, buffers);
        self.down.discard(&mut self.upstream_input, buffers);
        self.upstream_input.clear(buffers);
    }

    /// Keeps an upstream connection for the next request.
    fn keep(&self, mut upstream: Upstream, member: &Arc<Member>, response: &Response) {
        let Some(time) = idle_time(response.idle_seconds) else { return };
        if member.is_gone() {
            return;
        }
        let worker = &self.worker;
        let permit = upstream.open.as_ref().and_then(OpenConnection::permit);
        if permit.is_some_and(|permit| permit.is_wanted(worker.index())) {
            return;
        }
        let limited = permit.map(|permit| permit.capacity().clone());
        upstream.reused = true;
        if upstream.announced {
            // Nobody else can use it; so where places are few it isn't kept.
            if limited.is_none() {
                self.own.set(Some(Own::new(member.clone(), upstream, self.now + time)));
            }
            return;
        }
        let mut idle = worker.http().idle.borrow_mut();
        if idle.put(member, upstream, self.now + time) {
            tokio::task::spawn_local(sweep(worker.clone()));
        }
        if let Some(capacity) = limited.filter(|capacity| idle.needs_relief(capacity)) {
            tokio::task::spawn_local(relieve(worker.clone(), capacity));
        }
    }
}

/// A new connection, or a stream of one that is shared.
async fn connect(worker: &Rc<Worker>, wanted: Wanted, attempts: &Attempts, chosen: &Chosen) -> Result<Upstream, ConnectError> {
    let open = || {
        let open = OpenConnection::new(attempts.pool().metrics().clone(), worker.index(), Side::Upstream);
        open.holding(chosen.take_permit())
    };
    Ok(match mux::upstream::reach(worker, attempts, chosen, wanted, open).await? {
        Way::Stream(stream) => Upstream { stream: Stream::H2(stream), reused: false, announced: false, open: None },
        Way::Connection(stream) => {
            let announced = attempts.announced().is_some();
            Upstream { stream, reused: false, announced, open: Some(open()) }
        }
    })
}

/// What comes of it before the time that the request may take is up.
async fn by<T>(limit: Option<Instant>, work: Pin<&mut impl Future<Output = T>>) -> Result<T, Unreached> {
    match limit {
        None => Ok(work.await),
        Some(limit) => tokio::time::timeout_at(limit, work).await.map_err(|_| Unreached::Deadline),
    }
}

/// What the request asks of its way upstream.
fn wanted(pool: &PoolEntry, is_call: bool) -> Wanted {
    let upstream = &pool.policy().upstream;
    match upstream.protocol {
        UpstreamProtocol::Http2 => Wanted::Http2,
        UpstreamProtocol::Http1 => Wanted::Http1,
        UpstreamProtocol::Auto if is_call => Wanted::Http2,
        UpstreamProtocol::Auto if upstream.tls.is_some() => Wanted::Either,
        UpstreamProtocol::Auto => Wanted::Http1,
    }
}

/// Whether a connection may go on after a refusal: nothing of the request is left on it, and an HTTP/1.0 client isn't
/// told of persistence.
fn may_stay(request: &Request, request_read: bool) -> bool {
    request_read && request.keep_alive && request.version == crate::http1::Version::Http11
}
