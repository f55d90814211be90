//! Which endpoints a sidecar chooses among: those of its own zone, and backups only in need.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::harness::manifest::{Backends, PORT, pool, spec};
use evenkeel_e2e::harness::scene::{POOL, SERVICE, web};
use evenkeel_e2e::harness::temp_ns::{TempNs, flawless, with_temp_ns};
use evenkeel_e2e::harness::wait::{self, Look};
use serde_json::{Value, json};
use std::time::Duration;

/// The pool as the pod's sidecar has it.
fn live(ns: &TempNs, pod: &str) -> Result<Value> {
    let words = ["exec", pod, "--container=app", "--", "/echo", "get", "http://127.0.0.1:16080/table"];
    let table: Value = serde_json::from_str(&ns.kubectl(&words)?)?;
    let name = format!("{}/{POOL}", ns.name);
    let pools = table["pools"].as_array().cloned().unwrap_or_default();
    pools.into_iter().find(|pool| pool["name"] == name.as_str()).context("no such pool in the sidecar")
}

/// The zone of the node that the pod is on.
fn zone_of(ns: &TempNs, pod: &str) -> Result<String> {
    let node = ns.kubectl(&["get", "pod", pod, "--output=jsonpath={.spec.nodeName}"])?;
    ns.kubectl(&["get", "node", &node, r"--output=jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}"])
}

/// A Service without selector over two pods, of which it says that they are in these zones.
fn in_zones(addresses: [&str; 2], zones: [&str; 2]) -> [Value; 2] {
    let endpoint = |n: usize| json!({"addresses": [addresses[n]], "zone": zones[n], "conditions": {"ready": true}});
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mixed"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": PORT}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "mixed", "labels": {"kubernetes.io/service-name": "mixed"}},
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}], "endpoints": [endpoint(0), endpoint(1)]}),
    ]
}

#[test]
fn a_sidecar_knows_the_zone_of_its_node_and_prefers_it() -> Result<()> {
    with_temp_ns("zones", |ns| {
        ns.backends(&web(2, &["--delay=10ms"]))?;
        let pods = ns.ready_pods(&format!("app={SERVICE}"), 2)?;
        ns.apply(&[pool(POOL, &spec("mixed", 18080, &json!({"zoneAware": {}})))])?;
        ns.client("client", POOL)?;
        ns.ready_pods("app=client", 1)?;
        let zone = zone_of(ns, "client")?;
        ensure!(!zone.is_empty(), "the node has no zone: label it with topology.kubernetes.io/zone");
        let address = |pod: &str| ns.kubectl(&["get", "pod", pod, "--output=jsonpath={.status.podIP}"]);
        let [near, far] = [address(&pods[0])?, address(&pods[1])?];
        ns.apply(&in_zones([&near, &far], [&zone, "elsewhere"]))?;
        ns.sees("client", POOL, 2)?;
        let known = live(ns, "client")?;
        ensure!(known["zone"] == zone.as_str(), "its node is in {zone}: {known}");
        // A few go elsewhere: at first, to learn how quick both zones are, and now and then, to see whether that is still so.
        wait::until("nine of ten requests answered in the own zone", Duration::from_secs(60), || {
            ns.reset(&pods)?;
            flawless(&ns.load("client", "load --url http://127.0.0.1:18080/ --requests 200 --concurrency 2")?, 200)?;
            let asked = [ns.stats(&pods[0])?.requests, ns.stats(&pods[1])?.requests];
            Ok(Look::from((asked[0] >= 180).then_some(()), || format!("{asked:?}")))
        })
    })
}

#[test]
fn a_backup_gets_requests_only_while_the_first_service_has_too_few() -> Result<()> {
    with_temp_ns("backup", |ns| {
        ns.backends(&Backends::new("reserve", 1, &[]))?;
        let sources = json!({"sources": [
            {"name": "main", "service": {"name": SERVICE, "port": "http"}},
            {"name": "reserve", "priority": 1, "service": {"name": "reserve", "port": "http"}},
        ]});
        let mains = ns.scene(&[web(2, &[])], &sources, &[])?;
        let backup = ns.ready_pods("app=reserve", 1)?;
        ns.client("client", POOL)?;
        ns.ready_pods("app=client", 1)?;
        ns.sees("client", POOL, 3)?;
        let send = || flawless(&ns.load("client", "load --url http://127.0.0.1:18080/ --requests 200")?, 200);
        send()?;
        ensure!(ns.stats(&backup[0])?.requests == 0, "a backup was used while {} were ready", mains.len());

        wait::until("the backup's priority in kubectl get bpe", Duration::from_secs(15), || {
            let shown =
                ns.kubectl(&["get", "bpe", "--output=jsonpath={.items[*].spec.endpoints[?(@.priority==1)].targetRef.name}"])?;
            Ok(Look::from((shown == backup[0]).then_some(()), || shown))
        })?;

        ns.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
        ns.sees("client", POOL, 1)?;
        send()?;
        ensure!(ns.stats(&backup[0])?.requests == 200, "{:?}", ns.stats(&backup[0])?);

        ns.kubectl(&["scale", "deployment/web", "--replicas=2"])?;
        ns.sees("client", POOL, 3)?;
        ns.reset(&backup)?;
        send()?;
        ensure!(ns.stats(&backup[0])?.requests == 0, "the backup is still used");
        Ok(())
    })
}
