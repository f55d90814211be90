//! Bad pools: refused at the door, or named in their status; and no other pool notices.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::harness::cluster::checkout;
use evenkeel_e2e::harness::manifest::{pool, spec};
use evenkeel_e2e::harness::scene::web;
use evenkeel_e2e::harness::temp_ns::{TempNs, condition, flawless, with_temp_ns};
use evenkeel_e2e::harness::wait::{self, Look};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_pool_that_breaks_the_schema_is_refused_by_the_api_server() -> Result<()> {
    with_temp_ns("schema", |ns| {
        let both =
            json!({"name": "both", "service": {"name": "web"}, "static": {"endpoints": [{"address": "10.9.0.7", "port": 1}]}});
        let hash = |factor: u32| json!({"type": "ConsistentHash", "consistentHash": {"keys": [{"type": "SourceIP"}], "hashBalanceFactor": factor}});
        let bad = [
            ("an unknown field", json!({"mirrors": {"to": "other"}}), "mirrors"),
            ("a port below 1024", json!({"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}), "port"),
            ("two members in a source", json!({"sources": [both]}), "sources"),
            ("no member in a source", json!({"sources": [{"name": "empty"}]}), "sources"),
            ("a member of another type", json!({"algorithm": {"type": "RoundRobin", "leastConnections": {}}}), "algorithm"),
            ("a hash without keys", json!({"algorithm": {"type": "ConsistentHash"}}), "algorithm"),
            ("a bound under 100", json!({"algorithm": hash(90)}), "hashBalanceFactor"),
            ("a broken duration", json!({"timeouts": {"connect": "soon"}}), "connect"),
            (
                "a name twice",
                json!({"sources": [{"name": "a", "service": {"name": "b"}}, {"name": "a", "service": {"name": "c"}}]}),
                "sources",
            ),
        ];
        for (what, more, named) in bad {
            let mut spec = spec("web", 18080, &more);
            if more["sources"].is_array() {
                spec["sources"] = more["sources"].clone();
            }
            let said = ns.apply_refused(&[pool("bad", &spec)])?;
            ensure!(said.contains(named), "{what}: the refusal doesn't name `{named}`: {said}");
        }
        ensure!(ns.suite().cluster.api.list(&ns.own_path("balancerpools"))?.is_empty(), "something was stored");
        Ok(())
    })
}

/// Its first line says what the API server answers; where that takes it all the same, the line says `(accepted`.
#[test]
fn every_bad_pool_of_the_schema_tests_is_refused_with_its_message() -> Result<()> {
    with_temp_ns("bad", |ns| {
        let folder = checkout().join("crds/tests/bad");
        let mut wrong = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            let expected = text.lines().find_map(|line| line.strip_prefix("# server: ")).context("no expectation")?;
            let words = ["--namespace", &ns.name, "create", "--validate=strict", "--dry-run=server", "--filename", "-"];
            let said = ns.suite().cluster.kubectl(&words, &text)?;
            let as_expected = match expected.starts_with("(accepted") {
                true => said.status.success(),
                false => !said.status.success() && said.err.contains(expected),
            };
            if !as_expected {
                wrong.push(format!("{}: `{expected}` isn't in {}{}", path.display(), said.out, said.err));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}

/// Waits until a condition of the pool is False; its reason and message.
fn named(ns: &TempNs, pool: &str, kind: &str) -> Result<(String, String)> {
    wait::until(&format!("{kind} of {pool} is False"), Duration::from_secs(15), || {
        let object = ns.suite().cluster.api.get(&ns.own_path(&format!("balancerpools/{pool}")))?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|c| c["type"] == kind && c["status"] == "False");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = found.map(|condition| (text(&condition["reason"]), text(&condition["message"])));
        Ok(Look::from(told, || object["status"].to_string()))
    })
}

#[test]
fn a_pool_that_means_nothing_is_named_in_its_status_and_disturbs_no_other() -> Result<()> {
    with_temp_ns("semantic", |ns| {
        ns.scene(&[web(2, &[])], &json!({}), &["client"])?;
        let load = ns.start_load(
            "client",
            "load --url http://127.0.0.1:18080/ --concurrency 4 --rate 100 --duration 8s",
            Duration::from_secs(60),
        )?;
        let fixed = json!({"sources": [{"name": "vm", "static": {"endpoints": [{"address": "10.9.0.7", "port": 9001}]}}]});
        let absent = json!({"sources": [{"name": "svc", "service": {"name": "absent", "port": "http"}}]});
        let mut objects = Vec::new();
        for (name, port, sources) in [("fixed", 18081, &fixed), ("absent", 18082, &absent)] {
            let mut spec = spec("web", port, &json!({}));
            spec["sources"] = sources["sources"].clone();
            objects.push(pool(name, &spec));
        }
        ns.apply(&objects)?;
        let (reason, message) = named(ns, "fixed", "Accepted")?;
        ensure!(!reason.is_empty() && message.contains("static"), "{reason}: {message}");
        let (reason, message) = named(ns, "absent", "ResolvedRefs")?;
        ensure!(!reason.is_empty() && message.contains("absent"), "{reason}: {message}");
        flawless(&load.finish()?, 700)?;
        let good = ns.suite().cluster.api.get(&ns.own_path("balancerpools/shop"))?;
        ensure!(condition(&good, "Ready") == Some("True"), "{}", good["status"]);
        Ok(())
    })
}
