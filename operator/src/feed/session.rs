//! One sidecar's stream: hello → pools → synced → changes until it ends. There is no queue: what the sidecar was told is
//! compared with the newest snapshot, so a slow reader skips revisions and costs no memory. While a line waits to be
//! taken, the sidecar's answers are read, so that neither side can block the other.

use super::lines::{LineError, Lines};
use super::sessions::Membership;
use super::wanted::{EARLIER, Wanted, WantedError, compare};
use crate::publish::Publisher;
use crate::zones::Zones;
use bytes::Bytes;
use evenkeel_wire::{ClientFrame, ClientHello, FrameError, Goodbye, PoolName, ServerFrame, ServerHello, VERSION};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, interval_at, sleep, sleep_until, timeout};

/// Lines that a sidecar may write beyond a few for each that it was sent.
const FREE_LINES: u64 = 1_000;
/// Answers allowed for each pool that was sent.
const LINES_PER_POOL: u64 = 4;

/// For the sidecar to take the goodbye: the end must not wait for it.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a session waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the sidecar's hello.
    pub hello: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// For the sidecar to take a line.
    pub stall: Duration,
    /// The longest life of a stream, whatever its token says.
    pub lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            lifetime: Duration::from_secs(3_600),
        }
    }
}

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the sidecar left")]
    Left,
    #[error("no hello within {0:?}; write it as the first line")]
    NoHello(Duration),
    #[error("the first line must be a hello")]
    NotHello,
    #[error("none of the versions {0:?} is spoken here; this operator speaks {VERSION}: update the older side")]
    Version(Vec<u32>),
    #[error(transparent)]
    Wanted(#[from] WantedError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Line(LineError),
    #[error("too many lines; answer each revision once")]
    Flood,
    #[error("the token ends soon; read the token file again and come back")]
    TokenEnds,
    #[error("the operator is stopping; come back")]
    Stopping,
    #[error("a line wasn't taken within {0:?}")]
    Stalled(Duration),
}

impl End {
    /// One word for the log.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Left => "Left",
            Self::NoHello(_) => "NoHello",
            Self::NotHello => "NotHello",
            Self::Version(_) => "Version",
            Self::Wanted(_) => "Wanted",
            Self::Frame(_) => "Frame",
            Self::Line(_) => "Line",
            Self::Flood => "Flood",
            Self::TokenEnds => "TokenEnds",
            Self::Stopping => "Stopping",
            Self::Stalled(_) => "Stalled",
        }
    }

    /// The last line, if there is anybody to read it. `jitter` in 0..1 spreads the returns.
    fn goodbye(&self, jitter: f64) -> Option<Goodbye> {
        let (least, spread) = match self {
            Self::Left | Self::Stalled(_) => return None,
            Self::TokenEnds => (0.0, 1_000.0),
            Self::Stopping => (500.0, 1_500.0),
            Self::NoHello(_) | Self::NotHello | Self::Frame(_) | Self::Line(_) | Self::Flood => (5_000.0, 5_000.0),
            Self::Version(_) | Self::Wanted(_) => (30_000.0, 30_000.0),
        };
        let retry_after_ms = (least + spread * jitter) as u64;
        Some(Goodbye { reason: self.to_string(), retry_after_ms })
    }
}

/// One sidecar's stream.
pub(super) struct Session {
    pub(super) publisher: Arc<Publisher>,
    pub(super) membership: Membership,
    /// The namespace that its token proves.
    pub(super) namespace: String,
    /// The node that its token names.
    pub(super) node: Option<String>,
    pub(super) zones: Arc<Zones>,
    pub(super) limits: Limits,
    /// How long the stream may live.
    pub(super) lifetime: Duration,
    /// In 0..1.
    pub(super) jitter: f64,
    pub(super) lines: Lines,
    pub(super) out: mpsc::Sender<Bytes>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) talk: Talk,
}

/// How far a session has come.
#[derive(Default)]
pub(super) struct Talk {
    known: BTreeMap<PoolName, u64>,
    /// What the sidecar said that it has, of whatever lineage.
    has: BTreeSet<PoolName>,
    heard: u64,
    sent: u64,
    deaf: bool,
}

impl Session {
    /// Runs until it ends, says goodbye where there is anybody to hear it, and says why it ended.
    pub(super) async fn run(mut self) -> End {
        let deadline = Instant::now() + self.lifetime;
        let (out, mut stop) = (self.out.clone(), self.stop.clone());
        let end = tokio::select! {
            end = self.converse() => end,
            () = sleep_until(deadline) => End::TokenEnds,
            () = crate::listen::stopped(&mut stop) => End::Stopping,
            () = out.closed() => End::Left,
        };
        if let Some(goodbye) = end.goodbye(self.jitter) {
            let line = ServerFrame::Goodbye(goodbye).encode().into();
            let _ = timeout(GOODBYE, self.out.send(line)).await;
        }
        end
    }

    async fn converse(&mut self) -> End {
        match self.try_converse().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_converse(&mut self) -> Result<std::convert::Infallible, End> {
        // Subscribed before the first look, so that no change falls between.
        let mut changes = self.publisher.subscribe();
        let wanted = self.greet().await?;
        let mut heartbeat = interval_at(Instant::now() + self.limits.heartbeat, self.limits.heartbeat);
        while !self.publisher.is_synced() {
            self.wait(&mut changes, &mut heartbeat).await?;
        }
        self.confirm_known(&wanted).await?;
        self.catch_up(&wanted).await?;
        self.send(ServerFrame::Synced.encode().into()).await?;
        loop {
            self.wait(&mut changes, &mut heartbeat).await?;
            self.catch_up(&wanted).await?;
        }
    }

    /// Hello for hello.
    async fn greet(&mut self) -> Result<Wanted, End> {
        let line = timeout(self.limits.hello, self.lines.next()).await.map_err(|_| End::NoHello(self.limits.hello))?;
        let line = line.map_err(End::Line)?.ok_or(End::Left)?;
        let ClientFrame::Hello(hello) = ClientFrame::decode(&line)? else { return Err(End::NotHello) };
        let ClientHello { versions, lineage, pools, have } = hello;
        if !versions.contains(&VERSION) {
            return Err(End::Version(versions.into_iter().take(8).collect()));
        }
        let wanted = Wanted::try_new(&pools, &self.namespace)?;
        let mine = self.publisher.lineage();
        let have: BTreeMap<PoolName, u64> = have.into_iter().filter_map(|(name, n)| Some((name.parse().ok()?, n))).collect();
        self.talk.has = have.keys().cloned().collect();
        if lineage.as_deref() == Some(mine) {
            self.talk.known = have;
        }
        let zone = self.zones.find(self.node.as_deref(), std::time::Instant::now()).await;
        let hello = ServerHello { version: VERSION, lineage: mine.into(), zone };
        self.send(ServerFrame::Hello(hello).encode().into()).await?;
        Ok(wanted)
    }

    /// Names what the sidecar has already by a bare commit: it would drop at `synced` what nobody named.
    async fn confirm_known(&mut self, wanted: &Wanted) -> Result<(), End> {
        let told = self.publisher.told();
        let visible = wanted.find_visible(self.labels().as_ref(), &told.pools);
        let known = visible.iter().filter(|(name, pool)| self.talk.known.get(name) == Some(&pool.revision));
        let known: Vec<_> = known.map(|(name, pool)| (name.clone(), pool.revision)).collect();
        self.membership.offered(known.iter().map(|(name, _)| name));
        let has = |pool: &PoolName| self.talk.has.contains(pool);
        let withheld: Vec<_> = wanted.find_withheld(&told.withheld, has).into_iter().map(|pool| (pool, EARLIER)).collect();
        self.talk.known.extend(withheld.iter().cloned());
        for (pool, revision) in known.into_iter().chain(withheld) {
            self.send(ServerFrame::Commit { pool, revision }.encode().into()).await?;
        }
        Ok(())
    }

    /// Tells what the sidecar doesn't know yet. What goes comes first: its ports may be needed by what comes.
    async fn catch_up(&mut self, wanted: &Wanted) -> Result<(), End> {
        let told = self.publisher.told();
        let visible = wanted.find_visible(self.labels().as_ref(), &told.pools);
        let step = compare(&self.talk.known, &visible, &told.withheld);
        for pool in step.remove {
            self.talk.known.remove(&pool);
            self.membership.withdrawn(&pool);
            let reason = "the pool is gone, or no longer open to this namespace".into();
            self.send(ServerFrame::Remove { pool, reason }.encode().into()).await?;
        }
        self.membership.offered(step.send.iter().map(|(name, _)| name));
        for (name, pool) in step.send {
            self.talk.known.insert(name, pool.revision);
            self.send(pool.lines.clone()).await?;
        }
        Ok(())
    }

    fn labels(&self) -> Option<crate::publish::Labels> {
        self.publisher.namespace_labels(&self.namespace)
    }

    /// Until something is published: hears the sidecar and gives signs of life.
    async fn wait(&mut self, changes: &mut watch::Receiver<u64>, heartbeat: &mut Interval) -> Result<(), End> {
        loop {
            tokio::select! {
                changed = changes.changed() => return changed.map_err(|_| End::Stopping),
                _ = heartbeat.tick() => self.send(ServerFrame::Heartbeat.encode().into()).await?,
                line = self.lines.next(), if !self.talk.deaf => self.hear(line)?,
            }
        }
    }

    async fn send(&mut self, line: Bytes) -> Result<(), End> {
        let mut stall = std::pin::pin!(sleep(self.limits.stall));
        let out = self.out.clone();
        self.talk.sent += 1;
        loop {
            tokio::select! {
                permit = out.reserve() => {
                    permit.map_err(|_| End::Left)?.send(line);
                    return Ok(());
                }
                heard = self.lines.next(), if !self.talk.deaf => self.hear(heard)?,
                () = &mut stall => return Err(End::Stalled(self.limits.stall)),
            }
        }
    }

    /// Takes one of the sidecar's lines. One that says no more may listen on: curl ends its half at once.
    fn hear(&mut self, line: Result<Option<Bytes>, LineError>) -> Result<(), End> {
        let Some(line) = line.map_err(|error| match error {
            LineError::TooLong => End::Line(error),
            LineError::Broken(_) => End::Left,
        })?
        else {
            self.talk.deaf = true;
            return Ok(());
        };
        self.talk.heard += 1;
        if self.talk.heard > FREE_LINES + LINES_PER_POOL * self.talk.sent {
            return Err(End::Flood);
        }
        match ClientFrame::decode(&line)? {
            ClientFrame::Ack { pool, revision } => self.membership.acked(&pool, revision),
            // What follows from having named a withheld pool, of which nobody has that revision.
            ClientFrame::Nack(nack) if nack.revision == EARLIER => {}
            ClientFrame::Nack(nack) => {
                tracing::warn!(namespace = self.namespace, pool = %nack.pool, revision = nack.revision, reason = nack.reason, "a sidecar refuses a revision");
                self.membership.nacked(&nack.pool, nack.revision, &nack.reason);
            }
            ClientFrame::Hello(_) | ClientFrame::Unknown => {}
        }
        Ok(())
    }
}
