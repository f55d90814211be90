//! The feed: `POST /v1/feed` over HTTP/2 and TLS, one stream of JSON lines in each direction for each sidecar. A caller is
//! counted by its address, authenticated and given its answer's head before its body is read. Who may see what is decided in `wanted`.

mod lines;
mod rate;
mod session;
pub mod sessions;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod wanted;

use crate::auth::{AuthError, Authenticator, Identity};
use crate::listen::Peer;
use crate::publish::Publisher;
use crate::zones::Zones;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use rate::{Rate, Rates};
pub use session::Limits;
use session::Session;
use sessions::{Full, Sessions};
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, watch};

/// Sessions that may be opened in a second, and at once, by all who are who they say.
const OPENS_PER_SECOND: u32 = 500;
const OPENS_AT_ONCE: u32 = 2_000;
/// Tries of one address, whoever it is: enough for a node behind which pods hide, all coming back at once.
const TRIES_PER_SECOND: u32 = 20;
const TRIES_AT_ONCE: u32 = 256;
/// A stream ends when this share of what is left of its token has passed, plus up to [`JITTER_SHARE`].
const TOKEN_SHARE: f64 = 0.75;
const JITTER_SHARE: f64 = 0.2;
/// The most connections: every session may have its own.
pub const MAX_CONNECTIONS: usize = sessions::MAX_SESSIONS + 100;
/// The most of one address: a pod needs one, a node behind which pods hide some.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 256;

/// What every session needs.
pub struct Feed {
    publisher: Arc<Publisher>,
    sessions: Arc<Sessions>,
    authenticator: Authenticator,
    zones: Arc<Zones>,
    limits: Limits,
    rate: Mutex<Rate>,
    rates: Mutex<Rates>,
    stop: watch::Receiver<bool>,
}

impl Feed {
    /// A feed of what `publisher` holds, to those whom the authenticator lets in and each with the zone of its node; its sessions
    /// say goodbye when `stop` turns true.
    pub fn new(
        publisher: Arc<Publisher>,
        sessions: Arc<Sessions>,
        (authenticator, zones): (Authenticator, Zones),
        limits: Limits,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let rate = Mutex::new(Rate::new(OPENS_PER_SECOND, OPENS_AT_ONCE, Instant::now()));
        let rates = Mutex::new(Rates::new(TRIES_PER_SECOND, TRIES_AT_ONCE));
        Arc::new(Self { publisher, sessions, authenticator, zones: zones.into(), limits, rate, rates, stop })
    }
}

/// The feed's routes.
pub fn router(feed: Arc<Feed>) -> Router {
    Router::new().route("/v1/feed", post(open)).route("/livez", get(async || "ok\n")).with_state(feed)
}

/// Why no stream is opened.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Full(#[from] Full),
    #[error("over {OPENS_PER_SECOND} sessions a second: try again in a few seconds")]
    Rate,
    #[error("over {TRIES_PER_SECOND} tries a second from your address: try again in a few seconds")]
    Address,
}

impl Refusal {
    fn status_and_reason(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Auth(error @ (AuthError::Missing | AuthError::Invalid)) => (StatusCode::UNAUTHORIZED, error.reason()),
            Self::Auth(error @ AuthError::Audience) => (StatusCode::UNAUTHORIZED, error.reason()),
            Self::Auth(error @ AuthError::NoServiceAccount) => (StatusCode::FORBIDDEN, error.reason()),
            Self::Auth(error @ (AuthError::Busy | AuthError::Unavailable)) => (StatusCode::SERVICE_UNAVAILABLE, error.reason()),
            Self::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "TooManySessions"),
            Self::Rate => (StatusCode::SERVICE_UNAVAILABLE, "TooManyOpens"),
            Self::Address => (StatusCode::TOO_MANY_REQUESTS, "TooManyTries"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason) = self.status_and_reason();
        let body = serde_json::json!({"reason": reason, "message": self.to_string()});
        let mut response = (status, Json(body)).into_response();
        let (name, value) = match status {
            StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer"),
            _ => (header::RETRY_AFTER, "2"),
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}

async fn open(
    State(feed): State<Arc<Feed>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    if !feed.rates.lock().unwrap_or_else(PoisonError::into_inner).take(peer, Instant::now()) {
        return Err(Refusal::Address);
    }
    let wall = SystemTime::now();
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let identity = feed.authenticator.authenticate(authorization, Instant::now(), wall).await?;
    if !feed.rate.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
        return Err(Refusal::Rate);
    }
    let membership = feed.sessions.enter(&identity.name())?;
    let jitter = random_fraction();
    let (out, taken) = mpsc::channel(1);
    let session = Session {
        publisher: feed.publisher.clone(),
        membership,
        namespace: identity.namespace.clone(),
        node: identity.node.clone(),
        zones: feed.zones.clone(),
        limits: feed.limits,
        lifetime: lifetime(&identity, wall, jitter, feed.limits.lifetime),
        jitter,
        lines: lines::Lines::new(body),
        out,
        stop: feed.stop.clone(),
        talk: session::Talk::default(),
    };
    tokio::spawn(follow(session, identity));
    let lines = futures::stream::unfold(taken, async |mut taken: mpsc::Receiver<bytes::Bytes>| {
        Some((Ok::<_, Infallible>(taken.recv().await?), taken))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}

async fn follow(session: Session, identity: Arc<Identity>) {
    let sidecar = identity.name();
    tracing::info!(sidecar, "a sidecar has connected");
    let end = session.run().await;
    tracing::info!(sidecar, reason = end.reason(), detail = %end, "a sidecar's stream has ended");
}

/// A stream never outlives its token; `jitter` in 0..1 spreads the ends of streams that began together.
fn lifetime(identity: &Identity, wall: SystemTime, jitter: f64, most: Duration) -> Duration {
    let left = identity.expires.map_or(most, |end| end.duration_since(wall).unwrap_or_default().min(most));
    left.mul_f64(TOKEN_SHARE + JITTER_SHARE * jitter)
}

/// In 0..1. The standard library's hash keys are the only randomness needed here.
fn random_fraction() -> f64 {
    f64::from(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
