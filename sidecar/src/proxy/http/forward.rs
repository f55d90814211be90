//! One request on its way: key, pick, connect or reuse, exchange, and once more where the connection ended in silence.

use super::answer::{Refusal, outcome_of};
use super::exchange::{Ends, Exchange, Failure, STALLED, Upstream};
use super::idle::idle_time;
use super::upload::Upload;
use super::{Connection, Next, class};
use crate::http1::request::Method;
use crate::http1::{Framing, Request, Response, write};
use crate::metrics::{Direction, OpenConnection, Side};
use crate::proxy::attempt::{self, Attempts, Chosen, ConnectError, Unreached};
use crate::proxy::flag::{Flag, Retried};
use crate::proxy::record::Record;
use crate::proxy::tcp::source_hash;
use crate::stream::Stream;
use crate::table::{Member, PoolEntry};
use crate::worker::Worker;
use evenkeel_balance::key_hash;
use evenkeel_wire::{Algorithm, HashKey, RetryOn};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// How often the waiting connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How an exchange ended.
struct Ended {
    result: Result<(), Failure>,
    response: Option<Response>,
    request_read: bool,
    client_stays: bool,
    upstream_stays: bool,
}

impl Connection {
    /// Forwards the request whose head has just been read.
    pub(super) async fn forward(&mut self, record: &mut Record, pool: Arc<PoolEntry>, request: Request) -> Next {
        let key = self.find_key(&pool);
        let class = self.find_class(&pool, &request);
        let mut upload = match self.take_request(&request) {
            Ok(upload) => upload,
            Err(refusal) => {
                refusal.note(record);
                return self.refuse(refusal).await;
            }
        };
        // Whether the connection was kept or new: an endpoint that dies takes both along (ADR 2).
        let may_resend = request.is_replayable() && pool.policy().retry.on.contains(&RetryOn::StaleConnection);
        let mut resent = false;
        let mut attempts = Attempts::new(pool.clone(), key, class);
        let (mut chosen, mut upstream) = match self.establish(&mut attempts, true).await {
            Ok(established) => established,
            Err(unreached) => return self.refuse_unreached(record, unreached, &request, &upload).await,
        };
        loop {
            record.set_chosen(chosen);
            if !upstream.reused {
                self.now = Instant::now();
            }
            let ended = self.exchange(record, &mut upstream, &request, upload).await;
            let silent = ended.result == Err(Failure::Upstream { silent: true });
            if !(silent && may_resend && (!resent || attempts.may_retry())) {
                return self.settle(record, upstream, &request, ended).await;
            }
            let Some(stale) = record.take_chosen() else { return Next::Abort };
            self.up.rewind();
            upload = Upload::new(Framing::None);
            let established = match std::mem::replace(&mut resent, true) {
                false => self.renew(&mut attempts, stale).await,
                true => self.move_on(&mut attempts, stale).await,
            };
            (chosen, upstream) = match established {
                Ok(established) => established,
                Err(unreached) => return self.refuse_unreached(record, unreached, &request, &upload).await,
            };
        }
    }

    /// The ring key: the first of the policy's that the request has.
    fn find_key(&self, pool: &PoolEntry) -> Option<u64> {
        let Algorithm::ConsistentHash { keys, .. } = &pool.policy().algorithm else { return None };
        keys.iter().find_map(|key| match key {
            HashKey::Header { name } => self.requests.find_header(self.client_input.bytes(), name).map(key_hash),
            HashKey::SourceIp => Some(source_hash(self.worker.source(self.peer.ip()))),
        })
    }

    /// The class of the request's cost, if the pool goes by cost.
    fn find_class(&self, pool: &PoolEntry, request: &Request) -> Option<u64> {
        let Algorithm::LeastCost { class, .. } = &pool.policy().algorithm else { return None };
        Some(class::of(class, request, self.client_input.bytes()))
    }

    /// Writes what goes upstream: the head, and what is there of the body.
    fn take_request(&mut self, request: &Request) -> Result<Upload, Refusal> {
        let local = match request.has_host || request.target.authority.is_some() {
            true => String::new(),
            false => self.client.local_addr().map(|address| address.to_string()).unwrap_or_default(),
        };
        let Self { worker, client_input, up, requests, .. } = self;
        let buffers = &worker.http().buffers;
        write::request_head(up.bytes(), client_input.bytes(), requests.head(), request, &local);
        client_input.consume(request.head_len, buffers);
        requests.reset();
        let mut upload = Upload::new(request.body);
        upload.take(client_input, up, buffers).map_err(Refusal::bad_request)?;
        Ok(upload)
    }

    /// A way to an endpoint: a kept connection where that is allowed and there is one, else a new one.
    async fn establish(&self, attempts: &mut Attempts, may_reuse: bool) -> Result<(Chosen, Upstream), Unreached> {
        let idle = &self.worker.http().idle;
        let keep = |chosen: &Chosen| match may_reuse {
            true => idle.borrow_mut().take(chosen.member(), self.now),
            false => None,
        };
        let (chosen, way) = attempts.establish(&self.worker, keep).await?;
        let upstream = match way {
            attempt::Upstream::Kept(upstream) => upstream,
            attempt::Upstream::New(stream) => self.new_upstream(attempts, stream),
        };
        Ok((chosen, upstream))
    }

    /// After a stale connection: a new one to the same endpoint, or to another if it refuses or has left the pool.
    async fn renew(&self, attempts: &mut Attempts, stale: Chosen) -> Result<(Chosen, Upstream), Unreached> {
        attempts.pool().metrics().shard(self.worker.index()).count_retry(Retried::StaleConnection);
        if stale.member().is_gone() {
            attempts.pass_over(&self.worker, stale)?;
            return self.establish(attempts, false).await;
        }
        match attempts.connect(&stale).await {
            Ok(stream) => Ok((stale, self.new_upstream(attempts, stream))),
            Err(error) => {
                attempts.give_up(&self.worker, stale, error)?;
                self.establish(attempts, false).await
            }
        }
    }

    /// After a second silence: the endpoint is as good as unconnectable, so another one, while retries are left.
    async fn move_on(&self, attempts: &mut Attempts, silent: Chosen) -> Result<(Chosen, Upstream), Unreached> {
        attempts.give_up(&self.worker, silent, ConnectError::Silent)?;
        match self.establish(attempts, false).await {
            Err(Unreached::NoEndpoint(_)) => Err(Unreached::Connect(ConnectError::Silent)),
            established => established,
        }
    }

    fn new_upstream(&self, attempts: &Attempts, stream: Stream) -> Upstream {
        let open = OpenConnection::new(attempts.pool().metrics().clone(), self.worker.index(), Side::Upstream);
        Upstream { stream, reused: false, _open: open }
    }

    async fn exchange(&mut self, record: &mut Record, upstream: &mut Upstream, request: &Request, upload: Upload) -> Ended {
        let keep_alive = !self.worker.is_draining();
        let Self { worker, client, client_input, upstream_input, up, down, responses, timer, now, .. } = self;
        let buffers = &worker.http().buffers;
        upstream_input.clear(buffers);
        responses.reset();
        timer.set(*now, STALLED);
        let ends = Ends { client, client_input, upstream_input, up, down, parser: responses, timer, buffers };
        let mut exchange = Exchange::new(ends, upstream, request, upload, keep_alive);
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
            response: exchange.response().copied(),
            request_read: exchange.is_request_read(),
            client_stays: exchange.client_stays(),
            upstream_stays: exchange.upstream_stays(),
        }
    }

    /// Draws the consequences of an exchange.
    async fn settle(&mut self, record: &mut Record, mut upstream: Upstream, request: &Request, ended: Ended) -> Next {
        record.add_bytes(Direction::Upstream, self.up.total());
        record.add_bytes(Direction::Downstream, self.down.total());
        self.discard();
        self.now = Instant::now();
        let status = ended.response.map_or(0, |response| response.status);
        record.set_status(status);
        let failure = match ended.result {
            Ok(()) => {
                record.set_flag(Flag::None);
                record.report(outcome_of(status));
                if let (true, Some(response), Some(member)) = (ended.upstream_stays, ended.response, record.member()) {
                    self.keep(upstream, member, &response);
                }
                return match (ended.client_stays, ended.request_read) {
                    (true, _) => Next::Request,
                    (false, true) if self.client_input.is_empty() => Next::Close,
                    (false, _) => Next::Linger,
                };
            }
            Err(failure) => failure,
        };
        record.set_flag(failure.flag());
        record.report(failure.outcome());
        // What has begun upstream must not look complete.
        upstream.stream.abort();
        drop(upstream);
        match Refusal::failed(failure) {
            Some(refusal) if ended.response.is_none() => {
                let refusal = refusal.with(may_stay(request, ended.request_read), request.method == Method::Head);
                refusal.note(record);
                self.refuse(refusal).await
            }
            _ => Next::Abort,
        }
    }

    async fn refuse_unreached(&mut self, record: &mut Record, why: Unreached, request: &Request, upload: &Upload) -> Next {
        let refusal = Refusal::unreached(why).with(may_stay(request, upload.is_read()), request.method == Method::Head);
        refusal.note(record);
        self.discard();
        self.refuse(refusal).await
    }

    /// Forgets what is left of a request and its answer; what stays on the client's connection are its next requests.
    fn discard(&mut self) {
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
        upstream.reused = true;
        let first = self.worker.http().idle.borrow_mut().put(member, upstream, self.now + time);
        if first {
            tokio::task::spawn_local(sweep(self.worker.clone()));
        }
    }
}

/// Whether a connection may go on after a refusal: nothing of the request is left on it, and an HTTP/1.0 client isn't
/// told of persistence.
fn may_stay(request: &Request, request_read: bool) -> bool {
    request_read && request.keep_alive && request.version == crate::http1::Version::Http11
}

/// Closes what has waited too long or for an endpoint that has left, until nothing waits any more.
async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if !worker.http().idle.borrow_mut().sweep(Instant::now()) {
            return;
        }
    }
}
