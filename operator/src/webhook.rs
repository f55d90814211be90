//! The injecting webhook: an AdmissionReview of a Pod comes in, an answer with a JSON Patch, warnings or a refusal goes
//! out. `decide` and `inject` are pure; here is what reads the cluster and speaks HTTP.

pub mod decide;
mod fetch;
pub mod inject;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::certs::Certs;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
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

/// An AdmissionReview may carry an object as large as the API server takes (3 MiB), twice.
const MAX_BODY: usize = 8 << 20;
/// The API server gives the webhook 10 s.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What every admission needs.
pub struct Webhook {
    client: kube::Client,
    certs: Arc<Certs>,
    sidecar: SidecarSettings,
    feed_url: String,
}

impl Webhook {
    /// Injects sidecars that follow the feed at `feed_url`, trusting the CA of `certs`.
    pub fn new(client: kube::Client, certs: Arc<Certs>, sidecar: SidecarSettings, feed_url: String) -> Arc<Self> {
        Arc::new(Self { client, certs, sidecar, feed_url })
    }
}

/// The webhook's routes.
pub fn router(webhook: Arc<Webhook>) -> Router {
    Router::new()
        .route("/inject", post(admit))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .route("/livez", get(async || "ok\n"))
        .with_state(webhook)
}

async fn admit(State(webhook): State<Arc<Webhook>>, body: Bytes) -> Json<AdmissionReview<DynamicObject>> {
    let answer = match read(&body) {
        Ok(request) => answer(&webhook, &request).await,
        Err(error) => AdmissionResponse::invalid(format!("evenkeel: not an AdmissionReview of a Pod: {error}")),
    };
    Json(answer.into_review())
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
