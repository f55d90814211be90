//! The chart on the cluster, once per run: the same `helm upgrade --install` that a user types, with our images.

use super::cluster::{Cluster, checkout};
use super::images::Images;
use anyhow::Result;
use serde_json::json;
use std::time::Duration;

/// Where the operator lives.
pub const NAMESPACE: &str = "evenkeel-system";
/// The release's name, and so the operator's.
pub const RELEASE: &str = "evenkeel";
/// The operator's Deployment.
pub const OPERATOR: &str = "evenkeel-operator";
/// Marks the tests' namespaces.
pub const TEST_LABEL: &str = "evenkeel.dev/e2e";
const LIMIT: Duration = Duration::from_secs(120);

/// Clears away what an interrupted run has left: its namespaces, and a release that helm calls pending.
pub fn clear(cluster: &Cluster) -> Result<()> {
    cluster.ask(&["delete", "namespace", "--selector", TEST_LABEL, "--wait=false", "--ignore-not-found"])?;
    let said = cluster.helm(&["status", RELEASE, "--namespace", NAMESPACE, "--output", "json"], LIMIT)?;
    let status: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_default();
    let word = status["info"]["status"].as_str().unwrap_or_default();
    if word.starts_with("pending") || word == "uninstalling" { uninstall(cluster) } else { Ok(()) }
}

/// Installs or upgrades the release; returns when its operator is ready.
pub fn install(cluster: &Cluster, images: &Images) -> Result<()> {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}});
    cluster.apply(&[namespace])?;
    let chart = checkout().join("charts/evenkeel").display().to_string();
    // Helm leaves CRDs that are there as they are, and those of an earlier run may be older.
    let crds = format!("{chart}/crds");
    cluster.ask(&["apply", "--server-side", "--force-conflicts", "--filename", &crds])?;
    let values = [
        format!("operator.image={}", images.operator),
        format!("sidecar.image={}", images.sidecar),
        format!("test.image={}", images.echo),
        "imagePullPolicy=Never".to_owned(),
    ];
    let mut words = vec!["upgrade", "--install", RELEASE, &chart, "--namespace", NAMESPACE, "--wait", "--timeout", "90s"];
    for value in &values {
        words.extend(["--set-string", value]);
    }
    cluster.helm(&words, LIMIT)?.successful("helm upgrade --install").map(drop)
}

/// Removes the release.
pub fn uninstall(cluster: &Cluster) -> Result<()> {
    let words = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "60s"];
    cluster.helm(&words, LIMIT)?.successful("helm uninstall").map(drop)
}
