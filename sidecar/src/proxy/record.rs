//! The record of one request (HTTP) or connection (TCP): what is said of it while it lasts is settled once, in Drop.
//! Whoever drops it without a word has been cancelled, and that is an outcome too.

use super::attempt::Chosen;
use super::flag::{CodeClass, Flag};
use crate::metrics::Direction;
use crate::table::{Member, PoolEntry};
use crate::worker::Worker;
use evenkeel_balance::{Ejection, Outcome};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::Instant as Moment;

/// Settles the accounts of one request or connection.
pub(crate) struct Record {
    worker: Rc<Worker>,
    pool: Arc<PoolEntry>,
    started: Moment,
    member: Option<Arc<Member>>,
    lease: Option<Lease>,
    status: u16,
    flag: Flag,
    bytes: [u64; 2],
}

/// What the endpoint is owed: the in-flight count, and a word on how it did.
struct Lease {
    chosen: Chosen,
    reported: Option<Outcome>,
}

impl Record {
    /// Opens the record of a request to this pool, now.
    pub(crate) fn start(worker: Rc<Worker>, pool: Arc<PoolEntry>) -> Self {
        Self { worker, pool, started: Moment::now(), member: None, lease: None, status: 0, flag: Flag::Cancelled, bytes: [0; 2] }
    }

    /// The pool whose request it is.
    pub(crate) fn pool(&self) -> &PoolEntry {
        &self.pool
    }

    /// When the request began.
    pub(crate) fn started(&self) -> Moment {
        self.started
    }

    /// The request is on its way to this endpoint; its in-flight count lasts as long as the record.
    pub(crate) fn set_chosen(&mut self, chosen: Chosen) {
        self.member = Some(chosen.member().clone());
        self.lease = Some(Lease { chosen, reported: None });
    }

    /// Takes the request back from its endpoint, unreported, to send it once more.
    pub(crate) fn take_chosen(&mut self) -> Option<Chosen> {
        self.member = None;
        self.lease.take().map(|lease| lease.chosen)
    }

    /// The endpoint that has the request, if any.
    pub(crate) fn member(&self) -> Option<&Arc<Member>> {
        self.member.as_ref()
    }

    /// The status that the client was sent.
    pub(crate) fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    /// How it ended; until said, [`Flag::Cancelled`].
    pub(crate) fn set_flag(&mut self, flag: Flag) {
        self.flag = flag;
    }

    /// Bytes that went this way, heads included.
    pub(crate) fn add_bytes(&mut self, direction: Direction, bytes: u64) {
        self.bytes[direction as usize] += bytes;
    }

    /// The endpoint's answer has begun: so long was its response time, however long the rest takes; that of a failure says
    /// nothing. It is `took` where the client was waited for, else the time since the pick. What the answer says of the endpoint
    /// is told now only where somebody waits for it, that is of a probing one; of others only the end is told, lest a good
    /// beginning forgive each bad end.
    pub(crate) fn answer_begun(&mut self, outcome: Outcome, took: Option<Duration>) {
        let Some(Lease { chosen, reported }) = &mut self.lease else { return };
        match (outcome, took) {
            (Outcome::Success, Some(took)) => chosen.lease().answered_after(took, Instant::now()),
            (Outcome::Success, None) => chosen.lease().answered(Instant::now()),
            _ => {}
        }
        if let (None, Ejection::Probing) = (*reported, chosen.member().endpoint().ejection()) {
            self.report(outcome);
        }
    }

    /// The endpoint took the connection. Told only of a probing one, as somebody waits for it: else each connect would forgive
    /// the end without an answer that follows.
    pub(crate) fn report_connected(&mut self) {
        if let Some(Lease { chosen, .. }) = &self.lease
            && chosen.member().endpoint().ejection() == Ejection::Probing
        {
            self.report_served();
        }
    }

    /// The endpoint did what it is for, without an answer whose time could be taken; unless something has been told already.
    pub(crate) fn report_served(&mut self) {
        if let Some(Lease { chosen, reported: reported @ None }) = &mut self.lease {
            *reported = Some(Outcome::Success);
            self.pool.judge(&self.worker, chosen, Outcome::Success);
        }
    }

    /// How the chosen endpoint did, as soon as it is known. The first word counts, and a failure after a success.
    pub(crate) fn report(&mut self, outcome: Outcome) {
        if let Some(lease) = &mut self.lease
            && (lease.reported.is_none() || lease.reported == Some(Outcome::Success) && outcome != Outcome::Success)
        {
            lease.reported = Some(outcome);
            self.pool.report(&self.worker, &mut lease.chosen, outcome);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.report(Outcome::Cancelled);
        let took = self.started.elapsed();
        let shard = self.pool.metrics().shard(self.worker.index());
        shard.settle(took, self.bytes);
        let series = self.member.as_ref().map(|member| member.metrics());
        shard.count_request(series, CodeClass::of(self.status), self.flag);
        if self.worker.logs_access() {
            tracing::info!(
                target: "access",
                pool = self.pool.label(),
                endpoint = self.member.as_ref().map_or("-", |member| member.label()),
                status = self.status,
                flag = self.flag.as_str(),
                ms = took.as_micros() as f64 / 1e3,
                sent = self.bytes[Direction::Upstream as usize],
                received = self.bytes[Direction::Downstream as usize],
            );
        }
    }
}
