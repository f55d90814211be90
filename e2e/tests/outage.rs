//! The operator away for a minute: traffic goes on, what needs it says so, and afterwards all is in step at once.
//! Runs alone: nothing else on the cluster could work meanwhile.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::harness::install::{NAMESPACE, OPERATOR};
use evenkeel_e2e::harness::manifest::client;
use evenkeel_e2e::harness::process;
use evenkeel_e2e::harness::scene::{POOL, web};
use evenkeel_e2e::harness::suite::Suite;
use evenkeel_e2e::harness::temp_ns::{TempNs, flawless, with_temp_ns};
use evenkeel_e2e::harness::wait::{self, Look};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CLAIM: &str = "operator away for 60 s";
const AWAY: Duration = Duration::from_secs(60);
const SIDECAR: &str = "evenkeel-sidecar";

/// The operator, away until this is dropped.
struct Away(&'static Suite);

impl Away {
    fn new(suite: &'static Suite) -> Result<Self> {
        let this = Self(suite);
        this.scale(0)?;
        wait::until("the operator is gone", Duration::from_secs(40), || {
            let count = this.pods()?.len();
            Ok(Look::from((count == 0).then_some(()), || format!("{count} pods")))
        })?;
        Ok(this)
    }

    fn scale(&self, replicas: u32) -> Result<()> {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{OPERATOR}");
        self.0.cluster.api.patch(&path, &json!({"spec": {"replicas": replicas}}))
    }

    fn pods(&self) -> Result<Vec<Value>> {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{OPERATOR}");
        let labels = self.0.cluster.api.get(&path)?["spec"]["selector"]["matchLabels"].clone();
        let labels = labels.as_object().context("no selector")?.iter();
        let selector: Vec<_> = labels.map(|(key, value)| format!("{key}%3D{}", value.as_str().unwrap_or_default())).collect();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={}", selector.join("%2C").replace('/', "%2F"));
        self.0.cluster.api.list(&path)
    }

    /// Brings it back; returns when the API server calls it ready.
    fn end(&self) -> Result<Instant> {
        self.scale(1)?;
        wait::every(Duration::from_millis(10), "the operator is ready", Duration::from_secs(60), || {
            let ready = self.pods()?.iter().any(evenkeel_e2e::harness::temp_ns::is_ready);
            Ok(Look::from(ready.then(Instant::now), || "not ready".into()))
        })
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let _ = self.scale(1);
    }
}

/// Kills the pod's sidecar and waits until the next one says what it waits for.
fn restarted_sidecar_says_what_it_waits_for(ns: &TempNs, pod: &str) -> Result<()> {
    let selector = format!("app={pod}");
    let object = ns.pods(&selector)?.into_iter().next().context("no pod")?;
    process::find(&object, SIDECAR)?.kill()?;
    let log = wait::every(Duration::from_millis(300), "the restarted sidecar speaks", Duration::from_secs(30), || {
        let pod_now = ns.pods(&selector)?.into_iter().next().context("no pod")?;
        let restarts = pod_now["status"]["initContainerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
        let log = ns.kubectl(&["logs", pod, "--container", SIDECAR])?;
        let told = log.contains("waiting") && log.contains(OPERATOR);
        Ok(Look::from((restarts > 0 && told).then(|| log.clone()), || format!("{restarts} restarts: {log}")))
    })?;
    println!("{log}");
    Ok(())
}

#[test]
fn an_operator_away_for_60_s_costs_no_request_and_all_are_in_step_5_s_after_its_return() -> Result<()> {
    with_temp_ns("away", |ns| {
        let suite = ns.suite();
        let clients = ["client-a", "client-b", "restarted"];
        ns.scene(&[web(3, &["--delay=5ms"])], &json!({}), &clients)?;
        let words = "load --url http://127.0.0.1:18080/ --concurrency 16 --rate 100 --duration 75s";
        let limit = Duration::from_secs(120);
        let loads = [ns.start_load("client-a", words, limit)?, ns.start_load("client-b", words, limit)?];
        let away = Away::new(suite)?;
        let begun = Instant::now();

        restarted_sidecar_says_what_it_waits_for(ns, "restarted")?;
        let refusal = ns.apply_refused(&[client("late", POOL, &suite.images.echo)])?;
        ensure!(refusal.contains("webhook") && refusal.contains("evenkeel.dev"), "the refusal names no webhook: {refusal}");
        // A change that nobody can be told of yet: being in step afterwards means to have it.
        ns.kubectl(&["scale", "deployment/web", "--replicas=5"])?;
        ns.ready_pods("app=web", 5)?;
        std::thread::sleep(AWAY.saturating_sub(begun.elapsed()));

        let returned = away.end()?;
        for client in clients {
            ns.sees(client, POOL, 5)?;
        }
        let in_step = returned.elapsed().as_secs_f64();
        let summaries = loads.into_iter().map(|load| load.finish()).collect::<Result<Vec<_>>>()?;
        let sent: u64 = summaries.iter().map(|summary| summary.sent).sum();
        let failed: u64 = summaries.iter().map(|summary| summary.failures()).sum();
        suite.keep(CLAIM, "failed", failed as f64, "", "0")?;
        suite.keep(CLAIM, "requests", sent as f64, "", "")?;
        suite.keep(CLAIM, "operator ready → every sidecar in step", in_step, "s", "≤ 5")?;
        summaries.iter().try_for_each(|summary| flawless(summary, 7_000))?;
        ensure!(in_step <= 5.0, "in step after {in_step} s only");
        Ok(())
    })
}
