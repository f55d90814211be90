//! The injecting webhook: an AdmissionReview of a Pod comes in, an answer with a JSON Patch, warnings or a refusal goes
//! out. `decide` and `inject` are pure; here is what reads the cluster and speaks HTTP.

pub mod decide;
mod fetch;
pub mod inject;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::certs::Certs;
use crate::registration::WebhookPath;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use decide::{Decision, decide};
pub use inject::SidecarSettings;
use inject::{Common, patch};
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What an API server takes as a request, bytes; a pod that it can store is half as large.
const MAX_BODY: usize = 3 << 20;
/// Admissions at once; others wait with their bodies unread.
const MAX_ADMISSIONS: usize = 8;
/// The API server gives the webhook 10 s: so long may it take until it is an admission's turn, then its body, then the
/// pools.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
const FETCH_TIMEOUT: Duration = Duration::from_secs(4);

/// What every admission needs.
pub struct Webhook {
    path: WebhookPath,
    client: kube::Client,
    certs: Arc<Certs>,
    sidecar: SidecarSettings,
    feed_url: String,
    turns: Semaphore,
}

impl Webhook {
    /// Answers on `path` alone; injects sidecars that follow the feed at `feed_url`, trusting the CA of `certs`.
    pub fn new(
        path: WebhookPath,
        client: kube::Client,
        certs: Arc<Certs>,
        sidecar: SidecarSettings,
        feed_url: String,
    ) -> Arc<Self> {
        Arc::new(Self { path, client, certs, sidecar, feed_url, turns: Semaphore::new(MAX_ADMISSIONS) })
    }
}

/// The webhook's routes.
pub fn router(webhook: Arc<Webhook>) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).fallback(post(admit)).with_state(webhook)
}

/// Why there is no answer to a request. The API server shows it to who creates the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unanswered {
    #[error("evenkeel: nothing is here")]
    Path,
    #[error("evenkeel: too many pods are being created: try again")]
    Busy,
    #[error("evenkeel: the request's body didn't come whole in {} s: try again", BODY_TIMEOUT.as_secs())]
    Slow,
    #[error("evenkeel: the request's body can't be read, or is over {MAX_BODY} bytes: make the pod smaller")]
    Body,
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
        };
        (status, self.to_string()).into_response()
    }
}

type Answer = Result<Json<AdmissionReview<DynamicObject>>, Unanswered>;

async fn admit(State(webhook): State<Arc<Webhook>>, uri: Uri, body: Body) -> Answer {
    // Who isn't the API server doesn't get as far as to be read.
    if !webhook.path.is(uri.path()) {
        return Err(Unanswered::Path);
    }
    let turn = tokio::time::timeout(TURN_TIMEOUT, webhook.turns.acquire()).await;
    let Ok(Ok(_turn)) = turn else { return Err(Unanswered::Busy) };
    let answer = match read(&receive(body).await?) {
        Ok(request) => answer(&webhook, &request).await,
        Err(error) => AdmissionResponse::invalid(format!("evenkeel: not an AdmissionReview of a Pod: {error}")),
    };
    Ok(Json(answer.into_review()))
}

async fn receive(body: Body) -> Result<Bytes, Unanswered> {
    let received = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await;
    received.map_err(|_| Unanswered::Slow)?.map_err(|_| Unanswered::Body)
}

fn read(body: &[u8]) -> Result<AdmissionRequest<Pod>, String> {
    let review: AdmissionReview<Pod> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    review.try_into().map_err(|_| "it has no request".into())
}

async fn answer(webhook: &Webhook, request: &AdmissionRequest<Pod>) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    let (Some(pod), Some(namespace)) = (&request.object, &request.namespace) else {
        return response.deny("evenkeel: the request has no pod or no namespace");
    };
    // Without the annotation nothing needs to be known.
    let pools = match decide(pod, namespace, &decide::Pools::new()) {
        Decision::Inject(_) => fetch(webhook, namespace).await,
        Decision::Skip(_) | Decision::Refuse(_) => Ok(decide::Pools::new()),
    };
    let pools = match pools {
        Ok(pools) => pools,
        Err(error) => {
            tracing::warn!(namespace, error, "a pod is refused: its pools can't be read");
            return response.deny(format!("evenkeel: the pools of namespace {namespace} can't be read ({error}): try again"));
        }
    };
    let ca_pem = webhook.certs.ca_pem();
    let common = Common { sidecar: &webhook.sidecar, feed_url: &webhook.feed_url, ca_pem: &ca_pem };
    respond(response, pod, decide(pod, namespace, &pools), common)
}

async fn fetch(webhook: &Webhook, namespace: &str) -> Result<decide::Pools, String> {
    let pools = tokio::time::timeout(FETCH_TIMEOUT, fetch::fetch_pools(&webhook.client, namespace)).await;
    pools.map_err(|_| "the API server takes too long".to_string())?.map_err(|error| error.to_string())
}

/// The decision as an answer. Pure.
fn respond(response: AdmissionResponse, pod: &Pod, decision: Decision, common: Common<'_>) -> AdmissionResponse {
    let (mut response, warnings) = match decision {
        Decision::Refuse(refusal) => (response.deny(format!("evenkeel: {refusal}")), Vec::new()),
        Decision::Skip(skip) => (response, skip.warning().into_iter().collect()),
        Decision::Inject(injection) => {
            let patch = patch(pod, &injection, common);
            let warnings = injection.warnings();
            match patch.0.is_empty() {
                true => (response, warnings),
                false => (response.with_patch(patch).expect("a patch is JSON"), warnings),
            }
        }
    };
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    response
}
