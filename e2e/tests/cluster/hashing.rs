//! Consistent hashing: one key, one backend, whoever asks; and only what must move moves.

use anyhow::{Result, ensure};
use evenkeel_e2e::echo::summary::Summary;
use evenkeel_e2e::harness::scene::{POOL, SERVICE, by_user, web};
use evenkeel_e2e::harness::temp_ns::{TempNs, flawless, name, with_temp_ns};
use evenkeel_e2e::harness::wait::{self, Look};
use evenkeel_e2e::harness::{manifest::Backends, suite::Suite, temp_ns};
use serde_json::json;

const KEYS: usize = 10_000;

/// The backend of each key, as this client's requests found it.
fn owners(ns: &TempNs, client: &str) -> Result<Summary> {
    let words = "load --url http://127.0.0.1:18080/ --requests 10000 --keys 10000 --out-keys --header X-User:key-{i}";
    let summary = ns.load(client, words)?;
    flawless(&summary, KEYS as u64)?;
    ensure!((0..KEYS).all(|key| summary.owner(key).is_some()), "not every key was answered");
    Ok(summary)
}

fn moved(before: &Summary, after: &Summary) -> Vec<usize> {
    (0..KEYS).filter(|&key| before.owner(key) != after.owner(key)).collect()
}

#[test]
fn the_same_key_reaches_the_same_backend_from_two_pods() -> Result<()> {
    with_temp_ns("keys", |ns| {
        ns.scene(&[web(4, &[])], &by_user(&json!({})), &["client-a", "client-b"])?;
        let (a, b) = (owners(ns, "client-a")?, owners(ns, "client-b")?);
        ensure!(moved(&a, &b).is_empty(), "{} of {KEYS} keys differ", moved(&a, &b).len());
        ensure!(a.backends.len() == 4, "{:?}", a.backends);
        let (least, most) = (a.backends.values().min(), a.backends.values().max());
        let spread = *most.unwrap_or(&0) as f64 / *least.unwrap_or(&1) as f64;
        Suite::get()?.keep("the_same_key_reaches_the_same_backend", "most/least keys of 4 backends", spread, "", "")
    })
}

#[test]
fn a_fifth_backend_takes_15_to_25_percent_of_the_keys_and_moves_no_other() -> Result<()> {
    with_temp_ns("fifth", |ns| {
        let four = ns.scene(&[web(4, &[])], &by_user(&json!({})), &["client"])?;
        let before = owners(ns, "client")?;
        ns.kubectl(&["scale", "deployment/web", "--replicas=5"])?;
        let five = ns.ready_pods("app=web", 5)?;
        ns.sees("client", POOL, 5)?;
        let after = owners(ns, "client")?;
        let moved = moved(&before, &after);
        let new = five.iter().find(|pod| !four.contains(pod)).map(String::as_str);
        let elsewhere = moved.iter().filter(|&&key| after.owner(key) != new).count();
        ensure!(elsewhere == 0, "{elsewhere} of {} moved keys went to an old backend", moved.len());
        let percent = moved.len() as f64 * 100.0 / KEYS as f64;
        Suite::get()?.keep("a_fifth_backend_moves_few_keys", "keys moved", percent, "%", "15–25")?;
        ensure!((15.0..=25.0).contains(&percent), "{percent} % of the keys moved");
        Ok(())
    })
}

#[test]
fn a_restarted_statefulset_pod_gets_its_keys_back() -> Result<()> {
    with_temp_ns("stateful", |ns| {
        let backends = Backends { stateful: true, ..web(3, &[]) };
        let pods = ns.scene(&[backends], &by_user(&json!({})), &["client"])?;
        ensure!(pods.contains(&format!("{SERVICE}-1")), "{pods:?}");
        let before = owners(ns, "client")?;
        let uid = |ns: &TempNs| -> Result<Option<String>> {
            let pods = ns.pods("app=web")?;
            let pod = pods.iter().find(|pod| name(pod) == "web-1" && temp_ns::is_ready(pod));
            Ok(pod.and_then(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)))
        };
        let old = uid(ns)?;
        ns.kubectl(&["delete", "pod", "web-1", "--wait=false"])?;
        wait::until("a new web-1", temp_ns::POD_LIMIT, || {
            let new = uid(ns)?;
            Ok(Look::from((new.is_some() && new != old).then_some(()), || format!("{new:?}")))
        })?;
        ns.ready_pods("app=web", 3)?;
        ns.sees("client", POOL, 3)?;
        let after = owners(ns, "client")?;
        let moved = moved(&before, &after).len();
        ensure!(moved == 0, "{moved} of {KEYS} keys are elsewhere after the restart");
        ensure!(after.backends.get("web-1").is_some_and(|&count| count > 1000), "{:?}", after.backends);
        Ok(())
    })
}
