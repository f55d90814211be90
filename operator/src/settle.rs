//! Which writes are due: a pool's status and listings against what the API server has, at most one write of a pool under
//! way, a failed one again after a growing pause. What is there is read from the caches, so that an edit by hand or a lost
//! write is put right like any other difference.

use crate::controller::{Controller, Entry, pool_name};
use crate::gather::Observation;
use crate::gather::cache::Seen;
use crate::gather::facts::Key;
use crate::listed::{self, Objects, Since};
use crate::status::{self, TRANSITIONS};
use crate::write::{Write, WriteError, Written, write};
use k8s_openapi::jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio::task::JoinError;

/// The first pause after a write that failed, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// For the sidecars to answer what was published: a status written before would say that none has it, and say so until
/// counts alone are due.
const ANSWERED: Duration = Duration::from_millis(500);

/// What is known of one pool's writes.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// The generation that was published last.
    pub(crate) generation: Option<i64>,
    since: Since,
    /// When the oldest was published that no status tells of yet.
    pub(crate) published_at: Option<Instant>,
    status_at: Option<Instant>,
    listed_at: Option<Instant>,
    under_way: usize,
    failures: u32,
    not_before: Option<Instant>,
}

/// A write that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    key: Key,
    uid: String,
    result: Result<Written, WriteError>,
}

impl Controller {
    /// Starts the writes that are due.
    pub(crate) fn settle_due(&mut self, now: Instant) {
        let due = self.unsettled.iter().filter(|(_, at)| **at <= now);
        let due: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            self.unsettled.remove(&key);
            if let Some(again) = self.settle(&key, now) {
                self.unsettle(key, again);
            }
        }
    }

    /// Starts what is due of one pool and says when to look again.
    fn settle(&mut self, key: &Key, now: Instant) -> Option<Instant> {
        let pool = self.world.pools.find(key)?;
        let entry = self.entries.get_mut(key)?;
        let clock = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let prefix = listed::prefix(key);
        let objects = Objects::of(key, self.world.listings.iter_prefix(&prefix));
        entry.desk.since.note(&entry.state, &objects, &clock);
        if entry.desk.under_way > 0 {
            return None;
        }
        if let Some(at) = entry.desk.not_before.filter(|at| *at > now) {
            return Some(at);
        }
        let sync = sync(&self.shared.sessions, key, entry);
        let desired = status::desired(&entry.state, &sync, &pool.status, &clock);
        let mut again = None;
        let mut writes = Vec::new();
        let due = status::due(&pool.status, &desired, entry.desk.status_at, now);
        match due.map(|at| answered(&entry.desk, &sync).map_or(at, |answered| at.max(answered))) {
            Some(at) if at <= now => writes.push(Write::Status(Box::new(desired))),
            later => again = later,
        }
        let edits = listed::edits(key, &entry.state, &entry.desk.since, &objects);
        let listed_due = entry.desk.listed_at.map_or(now, |at| at + TRANSITIONS);
        if !edits.is_empty() && listed_due > now {
            again = Some(again.map_or(listed_due, |at: Instant| at.min(listed_due)));
        } else {
            writes.extend(edits.into_iter().map(Write::Listing));
        }
        self.start(key, writes, now);
        again
    }

    fn start(&mut self, key: &Key, writes: Vec<Write>, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        for each in writes {
            match &each {
                Write::Status(_) => {
                    entry.desk.status_at = Some(now);
                    entry.desk.published_at = None;
                }
                Write::Listing(_) => entry.desk.listed_at = Some(now),
            }
            entry.desk.under_way += 1;
            let (client, permits) = (self.shared.client.clone(), self.permits.clone());
            let (key, uid) = (key.clone(), entry.state.uid().to_string());
            self.writes.spawn(async move {
                // Never closed, so there is always a permit in the end.
                let _permit = permits.acquire_owned().await;
                let result = write(&client, &key, &uid, each).await;
                Done { key, uid, result }
            });
        }
    }

    /// Takes in the end of a write.
    pub(crate) fn done(&mut self, done: Result<Done, JoinError>, now: Instant) {
        let Done { key, uid, result } = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a write ended unexpectedly");
                return;
            }
        };
        let Some(entry) = self.entries.get_mut(&key).filter(|e| e.state.uid() == uid) else {
            return;
        };
        let desk = &mut entry.desk;
        desk.under_way = desk.under_way.saturating_sub(1);
        match result {
            Ok(written) => {
                desk.failures = 0;
                desk.not_before = None;
                match written {
                    Written::Status(status) => self.world.pools.update(&key, |p| p.status = *status),
                    Written::Listing(listing, fact) => {
                        let seen = match fact {
                            Some(fact) => Seen::Put(listing, fact),
                            None => Seen::Deleted(listing),
                        };
                        self.world.observe(Observation::Listing(seen), now);
                    }
                }
            }
            Err(error) => {
                let pause = PAUSES.0 * 2u32.saturating_pow(desk.failures.min(5));
                desk.failures += 1;
                desk.not_before = Some(now + pause.min(PAUSES.1));
                tracing::warn!(pool = %key, %error, "a write failed; it is tried again");
            }
        }
        self.unsettle(key, now);
    }
}

/// Until when a status waits for the sidecars' answers, if it does.
fn answered(desk: &Desk, sync: &status::Sync) -> Option<Instant> {
    desk.published_at.filter(|_| sync.in_sync < sync.connected).map(|at| at + ANSWERED)
}

fn sync(sessions: &crate::feed::sessions::Sessions, key: &Key, entry: &Entry) -> status::Sync {
    let name = pool_name(key);
    let newest = sessions.counts(&name, entry.revision);
    let generation = sessions.counts(&name, entry.generation_revision);
    status::Sync { connected: newest.connected, in_sync: newest.in_sync, programmed: generation.in_sync, nack: generation.nack }
}
