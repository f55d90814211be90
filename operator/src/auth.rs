//! Who is calling: a projected service account token of audience `evenkeel`, proved by the API server (TokenReview).
//! Verdicts are remembered for a minute at most, never past the token's own end. What a token says of itself is only ever
//! held against it: one that has ended or is meant for another is refused without asking.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;

/// The audience that a token must have been made for.
pub const AUDIENCE: &str = "evenkeel";
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// A verdict is remembered no longer than this.
const REMEMBER: Duration = Duration::from_secs(60);
/// A refusal is forgotten sooner: what was wrong may have been put right.
const REMEMBER_REFUSAL: Duration = Duration::from_secs(5);
/// The most verdicts that are remembered.
const MAX_REMEMBERED: usize = 20_000;
/// The most questions to the API server at once; others wait.
const MAX_REVIEWS: usize = 32;
/// The longest a caller waits for its turn, and again for the answer.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The namespace of its service account, which is its pod's.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Its pod; absent for a token that is bound to none.
    pub pod: Option<PodRef>,
    /// The node of its pod, where the API server says it (Kubernetes 1.30 and newer do).
    pub node: Option<String>,
    /// When its token ends.
    pub expires: Option<SystemTime>,
}

/// A pod that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Identity {
    /// `namespace/pod`, or `namespace/service account` where there is no pod: for people.
    pub fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.pod.as_ref().map_or(&self.service_account, |pod| &pod.name))
    }
}

/// Why a caller isn't let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token was sent.
    #[error("no token: send `authorization: Bearer TOKEN` with a projected service account token of audience {AUDIENCE}")]
    Missing,
    /// The API server doesn't vouch for the token.
    #[error("the token isn't valid or has expired: read the projected token file again")]
    Invalid,
    /// It vouches for it, but not for us.
    #[error("the token isn't meant for this service: project a service account token of audience {AUDIENCE}")]
    Audience,
    /// It isn't a service account's.
    #[error("the token belongs to no service account: project a service account token of audience {AUDIENCE}")]
    NoServiceAccount,
    /// Too many wait for the API server.
    #[error("too many tokens wait to be reviewed: try again in a few seconds")]
    Busy,
    /// The API server doesn't answer.
    #[error("the API server can't be asked about the token: try again in a few seconds")]
    Unavailable,
}

impl AuthError {
    /// One word for logs, metrics and bodies.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "NoToken",
            Self::Invalid => "InvalidToken",
            Self::Audience => "WrongAudience",
            Self::NoServiceAccount => "NoServiceAccount",
            Self::Busy => "Busy",
            Self::Unavailable => "ApiServerUnavailable",
        }
    }

    /// Whether the same token may do better later.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable)
    }
}

/// The seam to the API server.
pub trait ReviewTokens: Send + Sync + 'static {
    /// Asks what the token is, for the given audience.
    fn review<'a>(&'a self, token: &'a str, audience: &'a str) -> BoxFuture<'a, Result<TokenReviewStatus, AuthError>>;
}

impl ReviewTokens for kube::Client {
    fn review<'a>(&'a self, token: &'a str, audience: &'a str) -> BoxFuture<'a, Result<TokenReviewStatus, AuthError>> {
        Box::pin(async move {
            let review = TokenReview {
                spec: TokenReviewSpec { audiences: Some(vec![audience.into()]), token: Some(token.into()) },
                ..TokenReview::default()
            };
            let answer = kube::Api::all(self.clone()).create(&kube::api::PostParams::default(), &review).await;
            match answer {
                Ok(TokenReview { status: Some(status), .. }) => Ok(status),
                Ok(TokenReview { status: None, .. }) => Err(AuthError::Unavailable),
                Err(error) => {
                    tracing::warn!(%error, "token review failed");
                    Err(AuthError::Unavailable)
                }
            }
        })
    }
}

type Verdict = Result<Arc<Identity>, AuthError>;

struct Remembered {
    verdict: Verdict,
    until: Instant,
}

/// Asks the API server and remembers the answer.
pub struct Authenticator {
    reviewer: Arc<dyn ReviewTokens>,
    turns: Semaphore,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

impl Authenticator {
    /// Knows nobody yet.
    pub fn new(reviewer: Arc<dyn ReviewTokens>) -> Self {
        Self { reviewer, turns: Semaphore::new(MAX_REVIEWS), remembered: Mutex::default() }
    }

    /// Who sent a request with this `authorization` header.
    pub async fn authenticate(&self, header: Option<&str>, now: Instant, wall: SystemTime) -> Verdict {
        let token = bearer(header)?;
        let key = token_hash(token);
        if let Some(verdict) = self.find(&key, now) {
            return verdict;
        }
        let expires = read_claims(token)?.end(wall)?;
        let verdict = self.fetch(token, expires).await;
        if !matches!(verdict, Err(error) if error.is_retryable()) {
            self.remember(key, verdict.clone(), now, wall);
        }
        verdict
    }

    async fn fetch(&self, token: &str, expires: SystemTime) -> Verdict {
        let turn = tokio::time::timeout(REVIEW_TIMEOUT, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(AuthError::Busy) };
        let answer = tokio::time::timeout(REVIEW_TIMEOUT, self.reviewer.review(token, AUDIENCE)).await;
        let status = answer.unwrap_or(Err(AuthError::Unavailable))?;
        judge(status, Some(expires)).map(Arc::new)
    }

    fn find(&self, key: &[u8; 32], now: Instant) -> Option<Verdict> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(key).filter(|entry| now < entry.until).map(|entry| entry.verdict.clone())
    }

    fn remember(&self, key: [u8; 32], verdict: Verdict, now: Instant, wall: SystemTime) {
        let span = match &verdict {
            Ok(identity) => identity.expires.map_or(REMEMBER, |end| end.duration_since(wall).unwrap_or_default().min(REMEMBER)),
            Err(_) => REMEMBER_REFUSAL,
        };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, entry| now < entry.until);
        }
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(key, Remembered { verdict, until: now + span });
        }
    }
}

fn bearer(header: Option<&str>) -> Result<&str, AuthError> {
    let (scheme, token) = header.and_then(|header| header.split_once(' ')).ok_or(AuthError::Missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(AuthError::Missing);
    }
    if token.len() > MAX_TOKEN { Err(AuthError::Invalid) } else { Ok(token) }
}

fn token_hash(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// What the API server's answer means. A server that doesn't know audiences returns none: that is a refusal, too.
fn judge(status: TokenReviewStatus, expires: Option<SystemTime>) -> Result<Identity, AuthError> {
    if status.authenticated != Some(true) {
        let audience = status.error.as_deref().is_some_and(|error| error.contains("audience"));
        return Err(if audience { AuthError::Audience } else { AuthError::Invalid });
    }
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(AuthError::Audience);
    }
    let UserInfo { username, extra, .. } = status.user.unwrap_or_default();
    let username = username.unwrap_or_default();
    let account = username.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let Some((namespace, service_account)) = account else { return Err(AuthError::NoServiceAccount) };
    let extra = extra.unwrap_or_default();
    let first = |key: &str| extra.get(key).and_then(|values| values.first()).cloned();
    let pod = first("authentication.kubernetes.io/pod-name").zip(first("authentication.kubernetes.io/pod-uid"));
    Ok(Identity {
        namespace: namespace.into(),
        service_account: service_account.into(),
        pod: pod.map(|(name, uid)| PodRef { name, uid }),
        node: first("authentication.kubernetes.io/node-name"),
        expires,
    })
}

/// What a projected token says of itself (RFC 7519 §4.1); it always says both.
#[derive(Deserialize)]
struct Claims {
    exp: u64,
    aud: Audiences,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

fn read_claims(token: &str) -> Result<Claims, AuthError> {
    let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    serde_json::from_slice(&claims.ok_or(AuthError::Invalid)?).map_err(|_| AuthError::Invalid)
}

impl Claims {
    /// When it ends, if it can be good at all.
    fn end(&self, wall: SystemTime) -> Result<SystemTime, AuthError> {
        let ours = match &self.aud {
            Audiences::One(audience) => audience == AUDIENCE,
            Audiences::Many(audiences) => audiences.iter().any(|audience| audience == AUDIENCE),
        };
        if !ours {
            return Err(AuthError::Audience);
        }
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.exp));
        end.filter(|end| wall < *end).ok_or(AuthError::Invalid)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Vouches for tokens that look like `header.CLAIMS.namespace`, for pod `app-0` of that namespace.
    #[derive(Default)]
    pub(crate) struct FakeReviewer {
        pub(crate) asked: AtomicUsize,
    }

    impl ReviewTokens for FakeReviewer {
        fn review<'a>(&'a self, token: &'a str, audience: &'a str) -> BoxFuture<'a, Result<TokenReviewStatus, AuthError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let namespace = token.split('.').nth(2);
            let status = match namespace {
                Some("away") => Err(AuthError::Unavailable),
                Some(namespace) => Ok(vouched(namespace, &[audience])),
                None => Ok(TokenReviewStatus { authenticated: Some(false), ..TokenReviewStatus::default() }),
            };
            Box::pin(std::future::ready(status))
        }
    }

    pub(crate) fn token(namespace: &str, expires: SystemTime) -> String {
        let exp = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        token_of(&serde_json::json!({"exp": exp, "aud": [AUDIENCE]}), namespace)
    }

    fn token_of(claims: &serde_json::Value, namespace: &str) -> String {
        format!("header.{}.{namespace}", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn vouched(namespace: &str, audiences: &[&str]) -> TokenReviewStatus {
        let extra = BTreeMap::from([
            ("authentication.kubernetes.io/pod-name".into(), vec!["app-0".into()]),
            ("authentication.kubernetes.io/pod-uid".into(), vec!["u-1".into()]),
            ("authentication.kubernetes.io/node-name".into(), vec![format!("node-of-{namespace}")]),
        ]);
        let username = Some(format!("system:serviceaccount:{namespace}:default"));
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences.iter().map(|&audience| audience.into()).collect()),
            user: Some(UserInfo { username, extra: Some(extra), ..UserInfo::default() }),
            error: None,
        }
    }

    #[test]
    fn only_a_service_account_vouched_for_our_audience_is_let_in() {
        let identity = judge(vouched("shop", &["evenkeel"]), None).unwrap();
        assert_eq!((identity.namespace.as_str(), identity.name().as_str()), ("shop", "shop/app-0"));
        assert_eq!(identity.node.as_deref(), Some("node-of-shop"));
        assert_eq!(judge(vouched("shop", &["https://kubernetes.default.svc"]), None), Err(AuthError::Audience));
        assert_eq!(judge(vouched("shop", &[]), None), Err(AuthError::Audience));
        let mut person = vouched("shop", &["evenkeel"]);
        person.user.as_mut().unwrap().username = Some("alice".into());
        assert_eq!(judge(person, None), Err(AuthError::NoServiceAccount));
        let mut refused = vouched("shop", &["evenkeel"]);
        refused.authenticated = None;
        assert_eq!(judge(refused, None), Err(AuthError::Invalid));
    }

    #[tokio::test]
    async fn a_verdict_is_remembered_for_a_minute_and_never_past_the_tokens_end() {
        let reviewer = Arc::new(FakeReviewer::default());
        let authenticator = Authenticator::new(reviewer.clone());
        let (now, wall) = (Instant::now(), SystemTime::now());
        let long = format!("Bearer {}", token("shop", wall + Duration::from_secs(3_600)));
        let short = format!("Bearer {}", token("shop", wall + Duration::from_secs(20)));
        let asked = || reviewer.asked.load(Ordering::Relaxed);
        for at in [0, 59] {
            authenticator.authenticate(Some(&long), now + Duration::from_secs(at), wall).await.unwrap();
        }
        assert_eq!(asked(), 1);
        authenticator.authenticate(Some(&long), now + Duration::from_secs(60), wall).await.unwrap();
        assert_eq!(asked(), 2);
        authenticator.authenticate(Some(&short), now, wall).await.unwrap();
        authenticator.authenticate(Some(&short), now + Duration::from_secs(20), wall).await.unwrap();
        assert_eq!(asked(), 4);
    }

    #[tokio::test]
    async fn an_api_server_that_is_away_is_asked_again_and_refuses_nobody_for_good() {
        let reviewer = Arc::new(FakeReviewer::default());
        let authenticator = Authenticator::new(reviewer.clone());
        let header = format!("Bearer {}", token("away", SystemTime::now() + Duration::from_secs(60)));
        for _ in 0..2 {
            let verdict = authenticator.authenticate(Some(&header), Instant::now(), SystemTime::now()).await;
            assert_eq!(verdict, Err(AuthError::Unavailable));
        }
        assert_eq!(reviewer.asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_header_without_a_bearer_token_is_no_token() {
        for header in [None, Some("Bearer"), Some("Bearer  "), Some("Basic abc")] {
            assert_eq!(bearer(header), Err(AuthError::Missing), "{header:?}");
        }
        assert_eq!(bearer(Some("bearer abc")), Ok("abc"));
        assert_eq!(bearer(Some(&format!("Bearer {}", "a".repeat(MAX_TOKEN + 1)))), Err(AuthError::Invalid));
    }

    #[tokio::test]
    async fn the_api_server_is_not_asked_about_a_token_that_speaks_against_itself() {
        let reviewer = Arc::new(FakeReviewer::default());
        let authenticator = Authenticator::new(reviewer.clone());
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let verdict = async |token: &str| {
            let header = format!("Bearer {token}");
            authenticator.authenticate(Some(&header), Instant::now(), wall).await.map(|identity| identity.expires)
        };
        let claims = |exp: u64, aud: serde_json::Value| token_of(&serde_json::json!({"exp": exp, "aud": aud}), "shop");
        for (token, error) in [
            ("opaque".into(), AuthError::Invalid),
            ("a.!!.c".into(), AuthError::Invalid),
            (token_of(&serde_json::json!({"exp": 2_000}), "shop"), AuthError::Invalid),
            (claims(1_000, AUDIENCE.into()), AuthError::Invalid),
            (claims(2_000, "https://kubernetes.default.svc".into()), AuthError::Audience),
            (claims(2_000, serde_json::json!([])), AuthError::Audience),
        ] {
            assert_eq!(verdict(&token).await, Err(error), "{token}");
        }
        assert_eq!(reviewer.asked.load(Ordering::Relaxed), 0);
        let end = wall + Duration::from_secs(1_000);
        for aud in [serde_json::json!(AUDIENCE), serde_json::json!(["other", AUDIENCE])] {
            assert_eq!(verdict(&claims(2_000, aud)).await, Ok(Some(end)));
        }
    }
}
