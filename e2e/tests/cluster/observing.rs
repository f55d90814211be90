//! What people see: `kubectl get`, and the metrics of a sidecar.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::harness::scene::{POOL, web};
use evenkeel_e2e::harness::suite::Suite;
use evenkeel_e2e::harness::temp_ns::{TempNs, condition, flawless, with_temp_ns};
use evenkeel_e2e::harness::wait::{self, Look};
use evenkeel_e2e::scrape::Samples;
use serde_json::json;
use std::time::Duration;

const SHOWN: Duration = Duration::from_secs(15);

/// Waits until both listings show the text.
fn shown(ns: &TempNs, text: &str) -> Result<()> {
    wait::every(Duration::from_millis(300), &format!("kubectl get bp,bpe shows {text}"), SHOWN, || {
        let pools = ns.kubectl(&["get", "bp"])?;
        let lists = ns.kubectl(&["get", "bpe"])?;
        let held = pools.contains(text) && lists.contains(text);
        Ok(Look::from(held.then_some(()), || format!("\n{pools}{lists}")))
    })
}

#[test]
fn scaling_shows_in_kubectl_get() -> Result<()> {
    with_temp_ns("scaling", |ns| {
        ns.scene(&[web(2, &[])], &json!({}), &["client"])?;
        shown(ns, "2/2")?;
        ns.kubectl(&["scale", "deployment/web", "--replicas=4"])?;
        shown(ns, "4/4")?;
        ns.kubectl(&["scale", "deployment/web", "--replicas=1"])?;
        shown(ns, "1/1")?;
        wait::until("the pool is ready and programmed", SHOWN, || {
            let pool = ns.suite().cluster.api.get(&ns.own_path("balancerpools/shop"))?;
            let good = ["Accepted", "ResolvedRefs", "Programmed", "Ready"].iter().all(|c| condition(&pool, c) == Some("True"));
            let sidecars = &pool["status"]["sidecars"];
            let good = good && sidecars["connected"] == 1 && sidecars["inSync"] == 1;
            Ok(Look::from(good.then_some(()), || pool["status"].to_string()))
        })?;
        ns.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
        wait::until("the pool is not ready without endpoints", SHOWN, || {
            let pool = ns.suite().cluster.api.get(&ns.own_path("balancerpools/shop"))?;
            let empty = condition(&pool, "Ready") == Some("False") && pool["status"]["endpoints"]["total"] == 0;
            Ok(Look::from(empty.then_some(()), || pool["status"].to_string()))
        })
    })
}

#[test]
fn metrics_at_the_pods_address_agree_with_the_clients_count() -> Result<()> {
    with_temp_ns("metrics", |ns| {
        ns.scene(&[web(3, &[])], &json!({}), &["client", "scraper"])?;
        let summary = ns.load("client", "load --url http://127.0.0.1:18080/ --requests 3000")?;
        flawless(&summary, 3000)?;
        let pod = ns.pods("app=client")?.remove(0);
        let address = pod["status"]["podIP"].as_str().context("no address")?.to_owned();
        let url = format!("http://{address}:16081/metrics");
        let text = ns.kubectl(&["exec", "scraper", "--container=app", "--", "/echo", "get", &url])?;
        let samples = Samples::parse(&text);
        let pool = format!("{}/{POOL}", ns.name);
        let counted = samples.sum("evenkeel_requests_total", &[("pool", &pool), ("code_class", "2xx")]);
        let all = samples.sum("evenkeel_requests_total", &[("pool", &pool)]);
        Suite::get()?.keep("metrics", "requests counted by the sidecar, of 3000", counted, "", "= 3000")?;
        ensure!((counted, all) == (3000.0, 3000.0), "{counted} of {all} counted; the client sent 3000");
        let duration = samples.sum("evenkeel_request_duration_seconds_count", &[("pool", &pool)]);
        ensure!(duration == 3000.0, "{duration} durations");
        let picks = samples.sum("evenkeel_picks_total", &[("pool", &pool)]);
        ensure!(picks >= 3000.0, "{picks} picks");
        let in_flight = samples.sum("evenkeel_inflight", &[("pool", &pool)]);
        ensure!(in_flight == 0.0, "{in_flight} in flight");
        Ok(())
    })
}
