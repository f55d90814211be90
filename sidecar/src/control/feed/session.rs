//! One stream, from `hello` to its end: lines in, changes made, answers out.

use super::super::Incoming;
use super::assembly::{Assembly, Change};
use super::connect::Connection;
use super::lines::Lines;
use super::{FeedError, Follower};
use evenkeel_crds::bounds;
use evenkeel_wire::{ClientFrame, Nack, PoolName, ServerFrame};
use h2::Ping;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two PINGs.
const PING: Duration = Duration::from_secs(10);
/// A stream without a line for so long is dead: the operator says `heartbeat` far more often.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest reason that is sent.
const MAX_REASON: usize = 1_000;

/// Follows the stream until it ends, which is always an error of some kind.
pub(super) async fn follow(follower: &mut Follower, mut connection: Connection) -> Result<Infallible, FeedError> {
    let (mut lines, mut assembly) = (Lines::default(), Assembly::default());
    let mut heartbeat = Heartbeat::new();
    loop {
        // What is here already counts before the time that it took to be read.
        let bytes = tokio::select! {
            biased;
            bytes = connection.lines.data() => Some(bytes.ok_or(FeedError::Ended)??),
            dead = heartbeat.beat(&mut connection.ping) => return Err(dead),
            () = follower.meanwhile() => None,
        };
        let Some(bytes) = bytes else {
            answer(&mut connection, follower.try_waiting()).await?;
            continue;
        };
        let _ = connection.lines.flow_control().release_capacity(bytes.len());
        lines.push(&bytes);
        while let Some(line) = lines.next().map_err(super::StreamError::from)? {
            heartbeat.heard();
            follower.status.heard();
            let change = assembly.take(ServerFrame::decode(line), &follower.held)?;
            answer(&mut connection, follower.make(change)?).await?;
        }
    }
}

async fn answer(connection: &mut Connection, frames: Vec<ClientFrame>) -> Result<(), FeedError> {
    for frame in frames {
        connection.answer(frame.encode()).await?;
    }
    Ok(())
}

impl Follower {
    /// Makes a change; what is to be answered.
    fn make(&mut self, change: Change) -> Result<Vec<ClientFrame>, FeedError> {
        match change {
            Change::None => {}
            Change::Greeted { lineage, zone } => {
                // One that doesn't know the zone now doesn't take it away: a pod never moves.
                let zone = zone.filter(|zone| bounds::ZONE_LENGTH.hold(zone.len() as u64));
                if let (Some(zone), false) = (zone, self.has_own_zone) {
                    self.control.set_zone(&zone);
                }
                if self.held.lineage.as_ref() != Some(&lineage) {
                    // Another lineage: its revisions say nothing about ours. The lists stay until they are replaced.
                    self.held.revisions.clear();
                    self.held.lineage = Some(lineage);
                }
            }
            Change::Apply(incoming) => return Ok(self.apply(*incoming)),
            Change::Keep { pool, revision } => return Ok(vec![ClientFrame::Ack { pool, revision }]),
            Change::Refuse { pool, revision, refusal } => {
                self.waiting.forget(&pool);
                return Ok(vec![nack(pool, revision, &refusal)]);
            }
            Change::Remove { pool, reason } => return Ok(self.drop_pool(&pool, &reason)),
            Change::Synced { named } => {
                let unnamed = self.control.revisions().into_keys().filter(|pool| !named.contains(pool));
                let drop_pool = |pool| self.drop_pool(&pool, "the operator doesn't name it any more");
                let answers = unnamed.flat_map(drop_pool).collect();
                self.is_fresh();
                return Ok(answers);
            }
            Change::Goodbye(goodbye) => {
                let wait = Duration::from_millis(goodbye.retry_after_ms);
                return Err(FeedError::Goodbye { reason: goodbye.reason, wait });
            }
        }
        Ok(Vec::new())
    }

    fn apply(&mut self, incoming: Incoming) -> Vec<ClientFrame> {
        let (pool, revision) = (incoming.name.clone(), incoming.revision);
        self.waiting.forget(&pool);
        match self.control.apply(&incoming) {
            Ok(()) => {
                let mut answers = vec![ClientFrame::Ack { pool: pool.clone(), revision }];
                self.held.revisions.insert(pool, revision);
                answers.extend(self.try_waiting());
                answers
            }
            Err(refusal) => {
                if refusal.may_pass() {
                    self.waiting.add(incoming, &refusal);
                    self.control.claim(self.waiting.ports());
                }
                vec![nack(pool, revision, &refusal)]
            }
        }
    }

    fn drop_pool(&mut self, pool: &PoolName, reason: &str) -> Vec<ClientFrame> {
        self.waiting.forget(pool);
        self.held.revisions.remove(pool);
        self.control.remove(pool, reason);
        self.try_waiting()
    }

    /// After any change: ports may be free now.
    fn try_waiting(&mut self) -> Vec<ClientFrame> {
        let in_use = self.waiting.try_again(&mut self.control);
        self.control.claim(self.waiting.ports());
        self.held.revisions.extend(in_use.iter().cloned());
        if self.stale {
            self.checks.follow(&self.control);
        }
        in_use.into_iter().map(|(pool, revision)| ClientFrame::Ack { pool, revision }).collect()
    }
}

fn nack(pool: PoolName, revision: u64, refusal: &super::super::refusal::Refusal) -> ClientFrame {
    tracing::warn!(%pool, revision, error = %refusal, "revision refused; the last good one stays");
    ClientFrame::Nack(Nack { pool, revision, reason: refusal.to_string().chars().take(MAX_REASON).collect() })
}

/// Notices a dead stream: by PINGs that aren't answered, and by silence.
struct Heartbeat {
    next_ping: Instant,
    asked: bool,
    heard: Instant,
}

impl Heartbeat {
    fn new() -> Self {
        let now = Instant::now();
        Self { next_ping: now + PING, asked: false, heard: now }
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Ends when the stream is dead. May be dropped at any await.
    async fn beat(&mut self, ping: &mut h2::PingPong) -> FeedError {
        loop {
            // After a while without a turn here all of these may be due at once.
            tokio::select! {
                biased;
                pong = std::future::poll_fn(|cx| ping.poll_pong(cx)), if self.asked => match pong {
                    Ok(_) => self.asked = false,
                    Err(error) => return error.into(),
                },
                () = sleep_until(self.heard + SILENCE) => return FeedError::NoAnswer(SILENCE.as_secs()),
                () = sleep_until(self.next_ping) => {
                    if self.asked {
                        return FeedError::NoAnswer(PING.as_secs());
                    }
                    if let Err(error) = ping.send_ping(Ping::opaque()) {
                        return error.into();
                    }
                    self.asked = true;
                    self.next_ping = Instant::now() + PING;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_came_in_time_counts_however_late_it_is_read() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let mut served = h2::server::handshake(far).await.expect("speaks HTTP/2");
            while served.accept().await.is_some() {}
        });
        let (_requests, mut connection) = h2::client::handshake(near).await.expect("speaks HTTP/2");
        let mut ping = connection.ping_pong().expect("taken once");
        tokio::spawn(connection);
        let mut heartbeat = Heartbeat::new();
        for _ in 0..30 {
            sleep(PING + Duration::from_millis(1)).await;
            heartbeat.heard();
            tokio::select! {
                biased;
                dead = heartbeat.beat(&mut ping) => panic!("{dead}"),
                () = ready(()) => {}
            }
        }
    }
}
