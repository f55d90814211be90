//! The operator's own MutatingWebhookConfiguration, by name only: keeps in it the CA to trust and the path that the webhook
//! answers on. The path can't be guessed and is new at each start, so that only who may read the configuration, which is
//! the API server, can ask the webhook anything. A configuration that isn't there takes nothing else down.

use crate::blame::describe;
use crate::certs::Certs;
use crate::readiness::Readiness;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, Patch, PatchParams};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::Instant;

/// What is waited for until the API server knows the webhook.
pub const REGISTRATION: &str = "webhook configuration";
/// Where the secret part of the path follows.
const PREFIX: &str = "/inject/";
/// From one look to the next, once registered and before.
const INTERVAL: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);
/// The longest that one look may take.
const LIMIT: Duration = Duration::from_secs(10);
/// So long it keeps the operator from being ready: at an installation the configuration comes last. Then the feed is
/// worth more.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the API server doesn't know the webhook.
#[derive(Debug, thiserror::Error)]
enum RegistrationError {
    #[error("can't keep MutatingWebhookConfiguration {name}: {}; the chart creates it and lets the operator use it: is the release installed whole?", describe(.source))]
    Api { name: String, source: Box<kube::Error> },
    #[error("can't keep MutatingWebhookConfiguration {name}: the API server takes too long")]
    Slow { name: String },
}

/// What the caller must know to be answered.
#[derive(Clone)]
pub struct WebhookPath(String);

impl WebhookPath {
    /// Of 128 random bits.
    pub fn random() -> Result<Self, rustls::Error> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        Ok(Self(bytes.iter().fold(PREFIX.to_owned(), |mut path, byte| {
            let _ = write!(path, "{byte:02x}");
            path
        })))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request is for it; takes as long wherever they differ.
    pub fn is(&self, path: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), path.as_bytes()).is_ok()
    }
}

/// Keeps the configuration called `name` for ever.
pub async fn keep(client: &kube::Client, name: &str, path: &WebhookPath, certs: &Certs, readiness: &Readiness) {
    let start = Instant::now();
    let mut said = None;
    loop {
        let looked = tokio::time::timeout(LIMIT, look(client, name, path, certs)).await;
        let pause = match looked.unwrap_or_else(|_| Err(RegistrationError::Slow { name: name.into() })) {
            Ok(()) => {
                readiness.arrived(REGISTRATION);
                said = None;
                INTERVAL
            }
            Err(error) => {
                let error = error.to_string();
                if start.elapsed() >= PATIENCE {
                    readiness.arrived(REGISTRATION);
                }
                if said.as_ref() != Some(&error) {
                    tracing::warn!(error, "the webhook's registration isn't kept; trying again");
                    said = Some(error);
                }
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn look(client: &kube::Client, name: &str, path: &WebhookPath, certs: &Certs) -> Result<(), RegistrationError> {
    let configurations = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let failed = |source| RegistrationError::Api { name: name.into(), source: Box::new(source) };
    let patch = patch(&configurations.get(name).await.map_err(failed)?, &certs.ca_pem(), path);
    if !patch.0.is_empty() {
        let patch = Patch::<()>::Json(patch);
        configurations.patch(name, &PatchParams::default(), &patch).await.map_err(failed)?;
        tracing::info!(webhook = name, "the API server knows this operator's CA and path");
    }
    Ok(())
}

/// What to change so that every webhook of the configuration trusts the CA and asks for the path. Pure.
fn patch(configuration: &MutatingWebhookConfiguration, ca_pem: &str, path: &WebhookPath) -> json_patch::Patch {
    let ca = ByteString(ca_pem.as_bytes().to_vec());
    let mut operations = Vec::new();
    for (at, webhook) in configuration.webhooks.iter().flatten().enumerate() {
        let client = &webhook.client_config;
        let trusts = client.ca_bundle.as_ref() == Some(&ca);
        let asks = client.service.as_ref().is_none_or(|service| service.path.as_deref() == Some(path.as_str()));
        if trusts && asks {
            continue;
        }
        let at = format!("/webhooks/{at}");
        // The test guards against a list that has been reordered since it was read.
        operations.push(serde_json::json!({"op": "test", "path": format!("{at}/name"), "value": webhook.name}));
        let mut add = |field: &str, value| {
            operations.push(serde_json::json!({"op": "add", "path": format!("{at}/clientConfig/{field}"), "value": value}));
        };
        if !trusts {
            add("caBundle", serde_json::json!(ca));
        }
        if !asks {
            add("service/path", serde_json::json!(path.as_str()));
        }
    }
    serde_json::from_value(operations.into()).expect("these are patch operations")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    fn configuration(first: &Value, second: &Value) -> Value {
        let webhook = |name: &str, client: &Value| json!({"name": name, "clientConfig": client, "admissionReviewVersions": ["v1"], "sideEffects": "None"});
        json!({"metadata": {"name": "evenkeel"}, "webhooks": [webhook("a", first), webhook("b", second)]})
    }

    fn service(path: Option<&str>) -> Value {
        json!({"name": "evenkeel-operator", "namespace": "evenkeel-system", "path": path})
    }

    #[test]
    fn a_path_is_new_each_time_and_nothing_else_is_taken_for_it() {
        let [path, other] = [(); 2].map(|()| WebhookPath::random().unwrap());
        assert!(path.is(path.as_str()) && !path.is(other.as_str()));
        assert!(!path.is(PREFIX) && !path.is(&path.as_str()[..path.as_str().len() - 1]));
        assert_eq!(path.as_str().len(), PREFIX.len() + 32);
    }

    #[test]
    fn only_what_the_api_server_does_not_know_yet_is_patched() {
        let path = WebhookPath("/inject/x".into());
        let known = json!({"caBundle": "WA==", "service": service(Some("/inject/x"))});
        let operations = |first: &Value, second: &Value| {
            let configuration = serde_json::from_value(configuration(first, second)).unwrap();
            serde_json::to_value(patch(&configuration, "X", &path)).unwrap()
        };
        let new = json!({"service": service(None)});
        let expected = json!([
            {"op": "test", "path": "/webhooks/1/name", "value": "b"},
            {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "WA=="},
            {"op": "add", "path": "/webhooks/1/clientConfig/service/path", "value": "/inject/x"},
        ]);
        assert_eq!(operations(&known, &new), expected);
        let restarted = json!({"caBundle": "WA==", "service": service(Some("/inject/before"))});
        assert_eq!(operations(&restarted, &known).as_array().unwrap().len(), 2);
        assert_eq!(operations(&known, &known), json!([]));
    }

    /// An API server that has only what is in here.
    fn api_server(stored: &Arc<Mutex<Option<Value>>>) -> kube::Client {
        let (read, written) = (stored.clone(), stored.clone());
        let answer = |configuration: &Option<Value>| match configuration {
            Some(configuration) => (StatusCode::OK, Json(configuration.clone())),
            None => {
                let status =
                    json!({"kind": "Status", "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404});
                (StatusCode::NOT_FOUND, Json(status))
            }
        };
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/evenkeel";
        let look = async move || answer(&read.lock().unwrap());
        let patch = async move |Json(patch): Json<json_patch::Patch>| {
            let mut stored = written.lock().unwrap();
            json_patch::patch(stored.as_mut().unwrap(), &patch).unwrap();
            answer(&stored)
        };
        kube::Client::new(Router::new().route(path, get(look).patch(patch)), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_configuration_is_waited_for_a_while_and_kept_once_it_is_there() {
        let stored = Arc::new(Mutex::new(None));
        let client = api_server(&stored);
        let (certs, path) = (Certs::make(vec!["x".into()], SystemTime::now()).unwrap(), WebhookPath::random().unwrap());
        let readiness = Readiness::default();
        readiness.expect(REGISTRATION, "not made yet");
        let mut kept = std::pin::pin!(keep(&client, "evenkeel", &path, &certs, &readiness));
        let _ = tokio::time::timeout(PATIENCE / 2, kept.as_mut()).await;
        assert!(readiness.report().is_some(), "an installation isn't complete yet");
        let _ = tokio::time::timeout(PATIENCE, kept.as_mut()).await;
        assert_eq!(readiness.report(), None, "the feed must not wait for it for ever");
        let client_config = json!({"service": service(None)});
        *stored.lock().unwrap() = Some(configuration(&client_config, &client_config));
        let _ = tokio::time::timeout(2 * RETRY, kept.as_mut()).await;
        for webhook in stored.lock().unwrap().as_ref().unwrap()["webhooks"].as_array().unwrap() {
            assert_eq!(webhook["clientConfig"]["service"]["path"], path.as_str());
            assert!(webhook["clientConfig"]["caBundle"].is_string());
        }
    }
}
