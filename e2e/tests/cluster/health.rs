//! Active checks: what Kubernetes calls ready and Evenkeel finds sick isn't used, and this can be seen.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::harness::manifest::PORT;
use evenkeel_e2e::harness::scene::{POOL, web};
use evenkeel_e2e::harness::suite::Suite;
use evenkeel_e2e::harness::temp_ns::{TempNs, flawless, is_ready, name, with_temp_ns};
use evenkeel_e2e::harness::wait::{self, Look};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CLAIM: &str = "a_backend_whose_check_fails_is_out_and_comes_back";

/// The entry of a pod in the pool's `BalancerEndpoints`.
fn listed(ns: &TempNs, pod: &str) -> Result<Option<Value>> {
    let lists = ns.suite().cluster.api.list(&ns.own_path("balancerendpoints"))?;
    let mut endpoints = lists.iter().filter(|list| list["spec"]["pool"] == POOL);
    Ok(endpoints.find_map(|list| {
        list["spec"]["endpoints"].as_array()?.iter().find(|endpoint| endpoint["targetRef"]["name"] == pod).cloned()
    }))
}

fn shown_as(ns: &TempNs, pod: &str, state: &str) -> Result<Value> {
    wait::until(&format!("{pod} shown as {state}"), Duration::from_secs(10), || {
        let endpoint = listed(ns, pod)?;
        let held = endpoint.clone().filter(|endpoint| endpoint["state"] == state);
        Ok(Look::from(held, || format!("{endpoint:?}")))
    })
}

#[test]
fn a_backend_whose_check_fails_is_out_in_8_s_though_its_pod_is_ready_and_comes_back() -> Result<()> {
    with_temp_ns("check", |ns| {
        let check = json!({"type": "HTTP", "interval": "2s", "timeout": "1s", "unhealthyThreshold": 3, "healthyThreshold": 2,
            "http": {"path": "/healthz"}});
        let pods = ns.scene(&[web(3, &[])], &json!({"healthCheck": {"active": check}}), &["client"])?;
        let sick = pods.first().context("no backend")?;
        ns.ask(sick, "POST", PORT, "/healthz?status=503")?;
        let begun = Instant::now();
        ns.sees("client", POOL, 2)?;
        let out = begun.elapsed().as_secs_f64();
        Suite::get()?.keep(CLAIM, "check fails → out of the sidecar's list", out, "s", "≤ 8")?;
        ensure!(out <= 8.0, "out after {out} s only");

        let endpoint = shown_as(ns, sick, "Down")?;
        ensure!(endpoint["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{endpoint}");
        let pod = ns.pods("app=web")?.into_iter().find(|pod| name(pod) == *sick).context("the pod is gone")?;
        ensure!(is_ready(&pod), "Kubernetes found it sick too: the test shows nothing");
        ns.reset(&pods)?;
        let summary = ns.load("client", "load --url http://127.0.0.1:18080/ --requests 600")?;
        flawless(&summary, 600)?;
        ensure!(ns.stats(sick)?.requests == 0, "it was used while down: {:?}", summary.backends);

        ns.ask(sick, "POST", PORT, "/healthz?status=200")?;
        let begun = Instant::now();
        ns.sees("client", POOL, 3)?;
        Suite::get()?.keep(CLAIM, "check passes → back", begun.elapsed().as_secs_f64(), "s", "")?;
        shown_as(ns, sick, "Usable")?;
        flawless(&ns.load("client", "load --url http://127.0.0.1:18080/ --requests 600")?, 600)?;
        ensure!(ns.stats(sick)?.requests > 0, "it isn't used again");
        Ok(())
    })
}
