//! The injecting webhook: who gets a sidecar, who doesn't, and that no app is broken by it.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::harness::manifest::{self, Backends, client, pod_spec, pool, spec};
use evenkeel_e2e::harness::scene::{POOL, by_user, web};
use evenkeel_e2e::harness::temp_ns::{POD_LIMIT, TempNs, condition, flawless, with_temp_ns, with_temp_ns_at};
use evenkeel_e2e::harness::wait::{self, Look};
use serde_json::{Value, json};

const SIDECAR: &str = "evenkeel-sidecar";

/// What the API server makes of a pod, and what it said besides. Nothing is stored.
fn admitted(ns: &TempNs, pod: &Value) -> Result<(Value, String)> {
    let words = ["--namespace", &ns.name, "create", "--dry-run=server", "--output=json", "--filename=-"];
    let said = ns.suite().cluster.kubectl(&words, &pod.to_string())?;
    let warnings = said.err.clone();
    Ok((serde_json::from_str(&said.successful("kubectl create")?)?, warnings))
}

fn sidecars(pod: &Value) -> usize {
    let lists = ["initContainers", "containers"].map(|kind| pod["spec"][kind].as_array().cloned().unwrap_or_default());
    lists.iter().flatten().filter(|container| container["name"] == SIDECAR).count()
}

fn plain(ns: &TempNs, name: &str) -> Value {
    client(name, POOL, &ns.suite().images.echo)
}

#[test]
fn an_injected_pod_becomes_ready_and_reaches_its_pools_over_http_and_tcp() -> Result<()> {
    with_temp_ns("inject", |ns| {
        let tcp = Backends { control: 8081, ..Backends::new("bytes", 2, &["--tcp", "--health-port=8081"]) };
        ns.backends(&tcp)?;
        let listener = json!({"listeners": [{"name": "tcp", "port": 18090, "protocol": "TCP"}]});
        ns.apply(&[pool("bytes", &spec("bytes", 18090, &listener))])?;
        ns.scene(&[web(2, &[])], &json!({}), &[])?;
        ns.client("client", "bytes, shop")?;
        ns.ready_pods("app=bytes", 2)?;
        ns.ready_pods("app=client", 1)?;
        ns.sees("client", POOL, 2)?;
        ns.sees("client", "bytes", 2)?;
        let http = ns.load("client", "load --url http://127.0.0.1:18080/ --requests 400")?;
        flawless(&http, 400)?;
        ensure!(http.backends.len() == 2, "{:?}", http.backends);
        let tcp = ns.load("client", "tcp-load --address 127.0.0.1:18090 --concurrency 8 --requests 200 --bytes 5000")?;
        flawless(&tcp, 200)?;
        ensure!(tcp.backends.len() == 2, "{:?}", tcp.backends);
        let pod = ns.pods("app=client")?.remove(0);
        let first = &pod["spec"]["initContainers"][0];
        ensure!(first["name"] == SIDECAR && first["restartPolicy"] == "Always", "not the first native sidecar: {first}");
        ensure!(first["resources"]["requests"].is_object(), "no resource requests: {first}");
        Ok(())
    })
}

#[test]
fn a_second_invocation_changes_nothing() -> Result<()> {
    with_temp_ns("again", |ns| {
        let (once, _) = admitted(ns, &plain(ns, "twice"))?;
        ensure!(sidecars(&once) == 1, "{once}");
        let mut input = once.clone();
        for field in ["uid", "creationTimestamp", "managedFields", "resourceVersion"] {
            input["metadata"].as_object_mut().context("no metadata")?.remove(field);
        }
        input["status"] = json!({});
        let (twice, _) = admitted(ns, &input)?;
        ensure!(once["spec"] == twice["spec"], "once: {}\ntwice: {}", once["spec"], twice["spec"]);
        ensure!(once["metadata"]["annotations"] == twice["metadata"]["annotations"], "annotations differ");
        Ok(())
    })
}

#[test]
fn the_label_of_the_namespace_is_enough() -> Result<()> {
    with_temp_ns("label", |ns| {
        let mut pod = plain(ns, "unlabelled");
        pod["metadata"]["labels"] = json!({"app": "unlabelled"});
        let (without, _) = admitted(ns, &pod)?;
        ensure!(sidecars(&without) == 0, "a pod that nobody labelled was injected");
        ns.suite().cluster.ask(&["label", "namespace", &ns.name, "evenkeel.dev/inject=enabled"])?;
        wait::until("injection by the namespace's label", POD_LIMIT, || {
            let count = sidecars(&admitted(ns, &pod)?.0);
            Ok(Look::from((count == 1).then_some(()), || format!("{count} sidecars")))
        })
    })
}

#[test]
fn a_pod_that_names_no_pools_is_left_alone_with_a_warning() -> Result<()> {
    with_temp_ns("unasked", |ns| {
        let mut pod = plain(ns, "unasked");
        pod["metadata"]["annotations"] = json!({});
        let (pod, warnings) = admitted(ns, &pod)?;
        ensure!(sidecars(&pod) == 0, "{pod}");
        ensure!(warnings.contains("evenkeel.dev/pools"), "the warning doesn't name the annotation: {warnings:?}");
        Ok(())
    })
}

#[test]
fn a_pod_on_the_hosts_network_is_left_alone() -> Result<()> {
    with_temp_ns_at("privileged", "host", |ns| {
        let mut pod = plain(ns, "host");
        pod["spec"]["hostNetwork"] = json!(true);
        let (pod, warnings) = admitted(ns, &pod)?;
        ensure!(sidecars(&pod) == 0, "{pod}");
        ensure!(warnings.contains("hostNetwork"), "nothing was said of hostNetwork: {warnings:?}");
        Ok(())
    })
}

#[test]
fn a_pod_that_declares_the_listeners_port_keeps_it() -> Result<()> {
    with_temp_ns("declared", |ns| {
        ns.scene(&[web(1, &[])], &json!({}), &[])?;
        let mut pod = plain(ns, "owner");
        let app = &mut pod["spec"]["containers"][0];
        app["command"] = json!(["/echo", "serve", "--name=own", "--port=18080"]);
        app["ports"] = json!([{"containerPort": 18080}]);
        let (_, warnings) = admitted(ns, &pod)?;
        ensure!(warnings.contains("18080"), "nothing was said of the listener that is left out: {warnings:?}");
        ns.apply(&[pod])?;
        ns.ready_pods("app=owner", 1)?;
        let summary = ns.load("owner", "load --url http://127.0.0.1:18080/ --requests 50")?;
        flawless(&summary, 50)?;
        ensure!(summary.backends.get("own") == Some(&50), "the app's port was taken: {:?}", summary.backends);
        no_restarts(ns, "app=owner")
    })
}

#[test]
fn a_pod_that_is_an_endpoint_of_its_pool_still_serves() -> Result<()> {
    with_temp_ns("endpoint", |ns| {
        // The pool listens on the port that its backends serve on; only the Service tells that they do.
        ns.apply(&[pool(POOL, &spec("web", manifest::PORT, &by_user(&json!({}))))])?;
        let backends = Backends {
            labels: json!({"evenkeel.dev/inject": "enabled"}),
            annotations: json!({"evenkeel.dev/pools": POOL}),
            ..web(2, &[])
        };
        let mut objects = backends.objects(&ns.suite().images.echo);
        objects[0]["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([]);
        objects.reverse(); // the Service first: it is what the webhook looks at
        ns.apply(&objects[..1])?;
        wait::until("the pool has found its Service", POD_LIMIT, || {
            let pool = ns.suite().cluster.api.get(&ns.own_path("balancerpools/shop"))?;
            let resolved = condition(&pool, "ResolvedRefs");
            Ok(Look::from((resolved == Some("True")).then_some(()), || format!("{}", pool["status"])))
        })?;
        ns.apply(&objects[1..])?;
        let pods = ns.ready_pods("app=web", 2)?;
        ensure!(ns.pods("app=web")?.iter().all(|pod| sidecars(pod) == 1), "the backends have no sidecar");
        no_restarts(ns, "app=web")?;
        ns.client("client", POOL)?;
        ns.ready_pods("app=client", 1)?;
        ns.sees("client", POOL, 2)?;
        let words = "load --url http://127.0.0.1:8080/ --requests 400 --keys 400 --header X-User:{i}";
        let summary = ns.load("client", words)?;
        flawless(&summary, 400)?;
        ensure!(pods.iter().all(|pod| summary.backends.contains_key(pod)), "{:?}", summary.backends);
        Ok(())
    })
}

fn no_restarts(ns: &TempNs, selector: &str) -> Result<()> {
    for pod in ns.pods(selector)? {
        for kind in ["initContainerStatuses", "containerStatuses"] {
            for status in pod["status"][kind].as_array().into_iter().flatten() {
                ensure!(status["restartCount"] == 0, "a container was restarted: {status}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_job_with_a_sidecar_completes() -> Result<()> {
    with_temp_ns("job", |ns| {
        ns.scene(&[web(1, &[])], &json!({}), &[])?;
        let command = ["/echo", "load", "--url=http://127.0.0.1:18080/", "--requests=100"].map(str::to_owned);
        let mut pod = pod_spec(vec![manifest::container("app", &ns.suite().images.echo, &command)]);
        manifest::merge(&mut pod, &json!({"restartPolicy": "Never"}));
        let metadata = json!({"labels": {"evenkeel.dev/inject": "enabled"}, "annotations": {"evenkeel.dev/pools": POOL}});
        ns.apply(&[json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"},
            "spec": {"backoffLimit": 0, "template": {"metadata": metadata, "spec": pod}},
        })])?;
        let path = format!("/apis/batch/v1/namespaces/{}/jobs/work", ns.name);
        wait::until("the job is complete", POD_LIMIT, || {
            let job = ns.suite().cluster.api.get(&path)?;
            Ok(Look::from((job["status"]["succeeded"] == 1).then_some(()), || job["status"].to_string()))
        })?;
        let pods = ns.pods("job-name=work")?;
        ensure!(pods.len() == 1 && sidecars(&pods[0]) == 1, "not one pod with a sidecar");
        let log = ns.kubectl(&["logs", "job/work", "--container=app"])?;
        flawless(&serde_json::from_str(&log)?, 100)
    })
}
