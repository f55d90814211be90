//! The feed's client: follows one operator for as long as the process lives. What it was told last stays in use while the
//! operator is away; after 30 s of silence this process checks what it uses itself (ADR 1).

mod assembly;
mod backoff;
mod connect;
mod lines;
mod session;
mod waiting;

use super::Control;
use super::checks::Checks;
use crate::status::{PATIENCE, STALE, Status};
use assembly::{Held, StreamError};
use backoff::Backoff;
pub use connect::Ca;
use evenkeel_balance::{Rng, SmallRng};
use evenkeel_plan::Mode;
use evenkeel_wire::{ClientFrame, ClientHello, VERSION};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use waiting::Waiting;

/// Which feed, and what of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://host:port/v1/feed`.
    pub uri: http::Uri,
    /// The host of it, for the name's resolution and the certificate.
    pub host: String,
    /// The port of it.
    pub port: u16,
    /// Whom to trust.
    pub ca: Ca,
    /// The file of the token that proves who this is.
    pub token_file: PathBuf,
    /// The wanted pools: `namespace/name`, `namespace/*`.
    pub pools: Vec<String>,
    /// Which addresses endpoints may have: [`Mode::Cluster`], but for tests on loopback.
    pub addresses: Mode,
}

/// Why the feed isn't followed right now.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The token cannot be read.
    #[error("the token in {}: {source}; is the token volume mounted?", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The CA cannot be used.
    #[error("the feed's CA isn't usable: {0}; give PEM certificates")]
    Ca(String),
    /// The host is no name that a certificate could have.
    #[error("`{0}` is no host name or address; correct the feed's URL")]
    Host(String),
    /// The name isn't resolved.
    #[error("cannot resolve {host} ({source}); is the operator installed, and does DNS work?")]
    Resolve {
        /// The host.
        host: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Nobody answers.
    #[error("cannot connect to {address} ({source}); is the operator running?")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// No TLS with it, or it isn't whom the CA vouches for.
    #[error("TLS failed ({0}); if the certificate is at fault, the CA given isn't the operator's: recreate the pod")]
    Tls(#[source] std::io::Error),
    /// No HTTP/2 with it.
    #[error("HTTP/2 failed ({0})")]
    H2(#[from] h2::Error),
    /// It answered, but not with a feed.
    #[error("the operator refused: {status} {text}")]
    Refused {
        /// The status.
        status: http::StatusCode,
        /// Its reason.
        text: String,
    },
    /// It said nothing for so many seconds.
    #[error("no answer for {0} s")]
    NoAnswer(u64),
    /// What it said isn't understood.
    #[error("the stream isn't understood: {0}")]
    Stream(#[from] StreamError),
    /// The stream ended without a goodbye.
    #[error("the stream ended")]
    Ended,
    /// The operator ended it.
    #[error("the operator said goodbye: {reason}")]
    Goodbye {
        /// Why.
        reason: String,
        /// Come back after this.
        wait: Duration,
    },
}

/// Everything that lives on between streams.
pub(crate) struct Follower {
    settings: Settings,
    control: Control,
    checks: Checks,
    status: Arc<Status>,
    held: Held,
    /// The zone was given at the start: the operator's word on it doesn't count.
    has_own_zone: bool,
    rng: SmallRng,
    /// This process checks for itself.
    stale: bool,
    tick: Interval,
    said: Instant,
    backoff: Backoff,
    waiting: Waiting,
    /// Why there was no feed last, so that it is said once and not at each attempt.
    said_last: String,
}

impl Follower {
    pub(crate) fn new(settings: Settings, control: Control, status: Arc<Status>, seed: u64) -> Self {
        let mut tick = interval_at(Instant::now() + Duration::from_secs(1), Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rng = SmallRng::new(seed);
        let checks = Checks::new(rng.next_u64());
        let has_own_zone = control.rules.zone.is_some();
        let (held, backoff, waiting, said) = (Held::default(), Backoff::default(), Waiting::new(), Instant::now());
        Self {
            settings,
            control,
            checks,
            status,
            held,
            has_own_zone,
            rng,
            stale: false,
            tick,
            said,
            backoff,
            waiting,
            said_last: String::new(),
        }
    }

    /// Follows the feed until dropped.
    pub(crate) async fn run(mut self) {
        self.status.heard();
        loop {
            let Err(error) = self.follow().await;
            self.waiting.clear();
            self.control.claim(BTreeSet::new());
            let wait = match &error {
                FeedError::Goodbye { wait, .. } => self.backoff.after_goodbye(*wait, &mut self.rng),
                _ => self.backoff.next(&mut self.rng),
            };
            let text = error.to_string();
            if self.said_last != text {
                tracing::warn!(error = text, "no feed; trying again and again");
            }
            self.status.waits_for(format!("the operator at {}: {text}", self.settings.uri));
            self.said_last = text;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.meanwhile() => {}
            }
        }
    }

    /// Connects, then follows the stream to its end.
    async fn follow(&mut self) -> Result<std::convert::Infallible, FeedError> {
        let settings = self.settings.clone();
        let hello = self.hello();
        let connection = tokio::select! {
            connection = connect::connect(&settings, hello) => connection?,
            () = self.meanwhile() => return Err(FeedError::Ended),
        };
        tracing::info!(uri = %settings.uri, "feed connected");
        self.said_last.clear();
        self.status.waits_for(format!("{} from the operator at {}", settings.pools.join(", "), settings.uri));
        session::follow(self, connection).await
    }

    fn hello(&self) -> Vec<u8> {
        let pools = self.settings.pools.clone();
        let Held { lineage, revisions } = self.held.clone();
        // What is in use from an operator before: that it is had says that it may be kept, 0 that its revision means nothing.
        let earlier = self.control.revisions().into_keys().map(|pool| (pool, 0));
        let have = earlier.chain(revisions).map(|(pool, revision)| (pool.to_string(), revision)).collect();
        ClientFrame::Hello(ClientHello { versions: vec![VERSION], lineage, pools, have }).encode()
    }

    /// What goes on whether there is a stream or not: verdicts of own checks, the feed's age, a word on what is waited for.
    /// Ends only when pools that wait for a port are due, and those there are only with a stream. May be dropped at any await.
    async fn meanwhile(&mut self) {
        loop {
            tokio::select! {
                verdict = self.checks.next() => self.checks.heed(&mut self.control, &verdict),
                _ = self.tick.tick() => self.look(),
                () = self.waiting.due() => return,
            }
        }
    }

    fn look(&mut self) {
        if let Some(what) = self.status.pending()
            && self.said.elapsed() >= PATIENCE
        {
            self.said = Instant::now();
            tracing::warn!("waiting for {what}");
        }
        if !self.stale && self.status.feed_age().is_some_and(|age| age >= STALE) {
            self.stale = true;
            self.checks.follow(&self.control);
            tracing::warn!("feed stale; the last lists stay in use, and this sidecar checks them itself");
        }
    }

    /// The lists are the operator's again, and so are the verdicts.
    fn is_fresh(&mut self) {
        self.backoff.reset();
        self.status.synced();
        if std::mem::take(&mut self.stale) {
            self.checks.stop();
            self.control.forget_judgements();
            tracing::info!("feed fresh again");
        }
    }
}

#[cfg(test)]
mod tests;
