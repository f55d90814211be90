//! The sidecar as it stands in a pod, and the patch that puts it there. Pure. A pod that has it already as it should be
//! gets no patch, whatever defaults the API server has filled in since; one that has it otherwise is set right.

use super::decide::{CONTAINER, EXCLUDED, Injection};
use crate::auth::AUDIENCE;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use serde::Deserialize;
use serde_json::{Value, json};
use std::str::FromStr;

const VOLUME: &str = "evenkeel-token";
/// The API server mounts the pod's own token here in every container that has nothing here; the sidecar gets ours
/// instead, and with it no rights at the API.
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_SECONDS: u32 = 3_600;
/// Where the files of the pod's own Secret are, if it names one.
const TLS_VOLUME: &str = "evenkeel-tls";
const TLS_FOLDER: &str = "/etc/evenkeel/tls";
/// Metrics and probes.
const PORT: u16 = 16_081;
/// The sidecar's startup passes by itself after 10 s; this is for a slow node.
const STARTUP_SECONDS: u32 = 60;

/// The sidecar's part of the chart's values.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SidecarSettings {
    /// Its image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; absent: Kubernetes' default.
    #[serde(default)]
    pub image_pull_policy: Option<String>,
    /// What it asks for and may use.
    pub resources: ResourceRequirements,
    /// A user of its own, so that it and the app can't touch each other.
    #[serde(default = "own_user")]
    pub run_as_user: i64,
}

fn own_user() -> i64 {
    14_021
}

impl FromStr for SidecarSettings {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

/// What is the same for all pods at one time.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// From the chart.
    pub sidecar: &'a SidecarSettings,
    /// Where the feed is.
    pub feed_url: &'a str,
    /// Whom to trust there, PEM.
    pub ca_pem: &'a str,
}

fn container(injection: &Injection, common: Common<'_>) -> Value {
    let SidecarSettings { image, image_pull_policy, resources, run_as_user } = common.sidecar;
    let excluded: Vec<_> = injection.exclude_ports.iter().map(ToString::to_string).collect();
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut container = json!({
        "name": CONTAINER,
        "image": image,
        "restartPolicy": "Always",
        "args": ["run", "--feed", common.feed_url, "--token-file", format!("{TOKEN_FOLDER}/token")],
        "env": [
            {"name": "EVENKEEL_POOLS", "value": injection.pools.join(",")},
            {"name": "EVENKEEL_EXCLUDE_LISTENERS", "value": excluded.join(",")},
            {"name": "EVENKEEL_FEED_CA", "value": common.ca_pem},
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_NAME", "metadata.name"),
            field("NODE_NAME", "spec.nodeName"),
            field("POD_IP", "status.podIP"),
        ],
        "ports": [{"name": "evenkeel", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": {
            "httpGet": {"path": "/startupz", "port": PORT},
            "periodSeconds": 1,
            "failureThreshold": STARTUP_SECONDS,
        },
        "resources": resources,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": run_as_user,
            "runAsGroup": run_as_user,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true}],
    });
    if let Some(policy) = image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    if let (Some(_), Some(mounts)) = (&injection.tls_secret, container["volumeMounts"].as_array_mut()) {
        mounts.push(json!({"name": TLS_VOLUME, "mountPath": TLS_FOLDER, "readOnly": true}));
    }
    container
}

/// The token's, and the Secret's if the pod names one: without it the pod waits, and its events say for what.
fn volumes(injection: &Injection) -> Vec<Value> {
    let token = json!({"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"});
    let token = json!({"name": VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}});
    let secret = |name: &String| json!({"name": TLS_VOLUME, "secret": {"secretName": name}});
    [Some(token), injection.tls_secret.as_ref().map(secret)].into_iter().flatten().collect()
}

/// What turns the pod into one with the sidecar, first among its init containers; empty if it is there as it should be.
pub fn patch(pod: &Pod, injection: &Injection, common: Common<'_>) -> json_patch::Patch {
    let pod = serde_json::to_value(pod).unwrap_or_default();
    let mut operations = Vec::new();
    put(&mut operations, &pod, "/spec/initContainers", &[container(injection, common)]);
    put(&mut operations, &pod, "/spec/volumes", &volumes(injection));
    annotate(&mut operations, &pod, injection);
    serde_json::from_value(Value::Array(operations)).expect("these are patch operations")
}

/// Puts named items first into a list, or sets right those of their names.
fn put(operations: &mut Vec<Value>, pod: &Value, path: &str, items: &[Value]) {
    let list = pod.pointer(path).and_then(Value::as_array).filter(|list| !list.is_empty());
    let Some(list) = list else {
        operations.push(json!({"op": "add", "path": path, "value": items}));
        return;
    };
    let position = |item: &Value| list.iter().position(|there| there["name"] == item["name"]);
    let (there, new): (Vec<_>, Vec<_>) = items.iter().partition(|item| position(item).is_some());
    // First what is replaced: what is added in front moves the rest.
    for item in there {
        match position(item) {
            Some(at) if !covers(&list[at], item) => {
                operations.push(json!({"op": "replace", "path": format!("{path}/{at}"), "value": item}));
            }
            _ => {}
        }
    }
    operations.extend(new.into_iter().rev().map(|item| json!({"op": "add", "path": format!("{path}/0"), "value": item})));
}

fn annotate(operations: &mut Vec<Value>, pod: &Value, injection: &Injection) {
    let excluded: Vec<_> = injection.excluded.iter().map(ToString::to_string).collect();
    let excluded = (!excluded.is_empty()).then(|| excluded.join(", "));
    let there = pod.pointer("/metadata/annotations").and_then(|annotations| annotations.get(EXCLUDED)).and_then(Value::as_str);
    // The annotations are there: without the one that names the pools there is no injection.
    let path = format!("/metadata/annotations/{}", EXCLUDED.replace('/', "~1"));
    match excluded {
        Some(excluded) if there != Some(&excluded) => operations.push(json!({"op": "add", "path": path, "value": excluded})),
        None if there.is_some() => operations.push(json!({"op": "remove", "path": path})),
        _ => {}
    }
}

/// Whether `there` has all that `wanted` has, and maybe more: defaults, or what other webhooks have added to a list.
/// An empty text is as good as none: the API server leaves it out.
/// A quantity in other words (`1000m`, `1`) doesn't count as the same, and is written anew.
fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| there.get(key).map_or(wanted == "", |there| covers(there, wanted)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() >= wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| covers(there, wanted))
        }
        (there, wanted) => there == wanted,
    }
}
