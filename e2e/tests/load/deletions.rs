//! Pods that go away under load: nothing fails, and what is deleted gets nothing new soon after.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::echo::now_ns;
use evenkeel_e2e::echo::server::Stats;
use evenkeel_e2e::harness::command::Running;
use evenkeel_e2e::harness::manifest::Backends;
use evenkeel_e2e::harness::scene::web;
use evenkeel_e2e::harness::suite::Suite;
use evenkeel_e2e::harness::temp_ns::{TempNs, flawless, is_ready, name, with_temp_ns};
use evenkeel_e2e::harness::wait::{self, Look};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const DELETIONS: u32 = 20;
const REPLICAS: u32 = 5;
const PACE: Duration = Duration::from_millis(2600);
const LOAD: &str = "load --url http://127.0.0.1:18080/ --concurrency 16 --rate 100 --duration 58s";

/// A pod that was deleted.
struct Deleted {
    name: String,
    sent_ns: u64,
    returned_ns: u64,
    log: Running,
}

/// Deletes the oldest ready pod once enough others are ready.
fn delete_one(ns: &TempNs) -> Result<Deleted> {
    let ready = wait::until("enough ready backends", Duration::from_secs(20), || {
        let pods = ns.pods("app=web")?;
        let usable = |pod: &&Value| is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null();
        let mut ready: Vec<Value> = pods.iter().filter(usable).cloned().collect();
        ready.sort_by_key(|pod| pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned());
        let count = ready.len();
        Ok(Look::from((count >= 3).then_some(ready), || format!("{count}")))
    })?;
    let name = name(ready.first().context("no pod")?);
    let log = ns.suite().cluster.start_kubectl(&["--namespace", &ns.name, "logs", "--follow", &name])?;
    // The log is followed before its pod goes, or its last line could be missed: a backend's first line is there from its start.
    wait::until("the backend's log", Duration::from_secs(20), || {
        Ok(Look::from(log.speaks().then_some(()), || "nothing".into()))
    })?;
    let sent_ns = now_ns();
    ns.suite().cluster.api.delete(&ns.path(&format!("pods/{name}")))?;
    Ok(Deleted { name, sent_ns, returned_ns: now_ns(), log })
}

impl Deleted {
    /// What the backend wrote last.
    fn stats(self) -> Result<Stats> {
        let said = self.log.finish(Duration::from_secs(30))?;
        let line = said.out.lines().rev().find(|line| line.contains("\"exit\""));
        let line = line.with_context(|| format!("{} left no counts: {}{}", self.name, said.out, said.err))?;
        let exit: Value = serde_json::from_str(line)?;
        Ok(serde_json::from_value(exit["stats"].clone())?)
    }
}

/// 20 deletions under 200 GET/s from two pods; for each the seconds from the call's return to the last new request.
fn delete_under_load(topic: &str, claim: &str, backends: &Backends, test: impl FnOnce(&[f64]) -> Result<()>) -> Result<()> {
    with_temp_ns(topic, |ns| {
        ns.scene(std::slice::from_ref(backends), &json!({}), &["client-a", "client-b"])?;
        let limit = Duration::from_secs(90);
        let mut loads = [ns.start_load("client-a", LOAD, limit)?, ns.start_load("client-b", LOAD, limit)?];
        let begun = Instant::now();
        let mut deleted = Vec::new();
        for turn in 1..=DELETIONS {
            std::thread::sleep((begun + PACE * turn).saturating_duration_since(Instant::now()));
            deleted.push(delete_one(ns)?);
        }
        ensure!(loads.iter_mut().all(|load| load.is_running()), "the load ended before the last deletion");
        let summaries = loads.into_iter().map(|load| load.finish()).collect::<Result<Vec<_>>>()?;
        let (mut lasts, mut since_sent) = (Vec::new(), Vec::new());
        for pod in deleted {
            let (sent_ns, returned_ns) = (pod.sent_ns, pod.returned_ns);
            let stats = pod.stats()?;
            ensure!(stats.requests > 0, "{} was never used", stats.name);
            lasts.push((stats.last_request_ns as f64 - returned_ns as f64) / 1e9);
            since_sent.push((stats.last_request_ns as f64 - sent_ns as f64) / 1e9);
        }
        lasts.sort_by(f64::total_cmp);
        since_sent.sort_by(f64::total_cmp);
        let sent: u64 = summaries.iter().map(|summary| summary.sent).sum();
        let failed: u64 = summaries.iter().map(|summary| summary.failures()).sum();
        let suite = Suite::get()?;
        suite.keep(claim, "failed", failed as f64, "", "0")?;
        suite.keep(claim, "requests", sent as f64, "", "≥ 10000")?;
        suite.keep(claim, "DELETE returned → last new request, median", lasts[lasts.len() / 2], "s", "")?;
        suite.keep(claim, "DELETE sent → last new request, max", since_sent[since_sent.len() - 1], "s", "")?;
        suite.keep(claim, "DELETE returned → last new request, max", lasts[lasts.len() - 1], "s", "≤ 1 with a pause")?;
        summaries.iter().try_for_each(|summary| flawless(summary, 5_000))?;
        test(&lasts)
    })
}

#[test]
fn deletions_with_a_pre_stop_pause_fail_nothing_and_the_last_request_comes_within_1_s() -> Result<()> {
    let backends = Backends { pre_stop: Some("3s".into()), ..web(REPLICAS, &["--delay=5ms"]) };
    delete_under_load("deletions", "20 deletions, 3 s preStop", &backends, |lasts| {
        ensure!(lasts.iter().all(|&last| last <= 1.0), "seconds from DELETE to the last request: {lasts:?}");
        Ok(())
    })
}

#[test]
fn deletions_of_backends_that_exit_at_once_fail_nothing() -> Result<()> {
    let backends = web(REPLICAS, &["--delay=5ms"]);
    delete_under_load("exits", "20 deletions, exit at once", &backends, |_| Ok(()))
}
