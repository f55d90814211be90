//! A namespace of one test's own, under restricted pod security. It goes when the test ends; when the test failed, it
//! first shows what happened in it (and stays with EVENKEEL_E2E_KEEP=1).

use super::command::Running;
use super::install::TEST_LABEL;
use super::manifest::{self, Backends, PORT};
use super::suite::Suite;
use super::wait::{self, Look};
use crate::echo::server::Stats;
use crate::echo::summary::Summary;
use crate::scrape::Samples;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// How long pods may take to be as asked.
pub const POD_LIMIT: Duration = Duration::from_secs(60);
const METRICS: u16 = 16081;

/// The namespace.
pub struct TempNs {
    /// Its name.
    pub name: String,
    suite: &'static Suite,
    failed: bool,
}

/// A load run in a pod.
pub struct RunningLoad {
    running: Running,
    limit: Duration,
}

impl TempNs {
    /// Makes one that enforces this level of pod security.
    pub fn new(suite: &'static Suite, topic: &str, level: &str) -> Result<Self> {
        let name = format!("e2e-{topic}-{:x}", crate::echo::now_ns() / 1_000_000 % 0x1000_0000);
        let labels = json!({"pod-security.kubernetes.io/enforce": level, TEST_LABEL: "true"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        suite.cluster.apply(&[namespace])?;
        let this = Self { name, suite, failed: false };
        let path = this.path("serviceaccounts/default");
        // A pod made before its account exists is refused.
        wait::until("the namespace's service account", POD_LIMIT, || {
            Ok(Look::from(suite.cluster.api.find(&path)?, || "none".into()))
        })?;
        Ok(this)
    }

    /// The path of a core object or list of it.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// The path of one of our own objects or lists.
    pub fn own_path(&self, rest: &str) -> String {
        format!("/apis/evenkeel.dev/v1alpha1/namespaces/{}/{rest}", self.name)
    }

    fn placed(&self, objects: &[Value]) -> Vec<Value> {
        let place = |object: &Value| {
            let mut object = object.clone();
            object["metadata"]["namespace"] = json!(self.name);
            object
        };
        objects.iter().map(place).collect()
    }

    /// `kubectl apply` into this namespace.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        self.suite.cluster.apply(&self.placed(objects))
    }

    /// `kubectl apply` that must be refused; what was said.
    pub fn apply_refused(&self, objects: &[Value]) -> Result<String> {
        self.suite.cluster.apply_refused(&self.placed(objects))
    }

    /// Runs kubectl in this namespace; what it printed.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        self.suite.cluster.ask(&[&["--namespace", &self.name], words].concat())
    }

    /// Backends and their pool, and the backends are ready.
    pub fn backends(&self, backends: &Backends) -> Result<()> {
        self.apply(&backends.objects(&self.suite.images.echo))
    }

    /// A client pod with a sidecar for these pools.
    pub fn client(&self, name: &str, pools: &str) -> Result<()> {
        self.apply(&[manifest::client(name, pools, &self.suite.images.echo)])
    }

    /// The pods that a label selector finds.
    pub fn pods(&self, selector: &str) -> Result<Vec<Value>> {
        let path = format!("{}?labelSelector={}", self.path("pods"), selector.replace('=', "%3D").replace(',', "%2C"));
        self.suite.cluster.api.list(&path)
    }

    /// Waits until exactly so many pods are there, all ready and none leaving; their names.
    pub fn ready_pods(&self, selector: &str, count: usize) -> Result<Vec<String>> {
        wait::until(&format!("{count} ready pods with {selector}"), POD_LIMIT, || {
            let pods = self.pods(selector)?;
            let good = pods.iter().filter(|pod| is_ready(pod) && !is_leaving(pod)).count();
            let names = || pods.iter().map(name).collect::<Vec<_>>();
            Ok(Look::from((good == count && pods.len() == count).then(names), || {
                pods.iter().map(describe).collect::<Vec<_>>().join("; ")
            }))
        })
    }

    /// Waits until the pod's sidecar has so many usable endpoints of a pool.
    pub fn sees(&self, pod: &str, pool: &str, usable: usize) -> Result<()> {
        self.sees_of(pod, &format!("{}/{pool}", self.name), usable)
    }

    /// The same of a pool in any namespace, written `namespace/name`.
    pub fn sees_of(&self, pod: &str, pool: &str, usable: usize) -> Result<()> {
        wait::until(&format!("{usable} usable endpoints of {pool} in {pod}"), POD_LIMIT, || {
            let samples = self.metrics(pod)?;
            let seen = samples.sum("evenkeel_endpoint_state", &[("pool", pool), ("state", "Usable")]);
            Ok(Look::from((seen == usable as f64).then_some(()), || format!("{seen}")))
        })
    }

    /// Scrapes a pod's sidecar at the pod's address.
    pub fn metrics(&self, pod: &str) -> Result<Samples> {
        Ok(Samples::parse(&self.ask(pod, "GET", METRICS, "/metrics")?))
    }

    /// Asks a port of a pod, past every sidecar.
    pub fn ask(&self, pod: &str, method: &str, port: u16, path: &str) -> Result<String> {
        self.suite.cluster.api.ask_pod(method, &format!("{}/{pod}", self.name), port, path)
    }

    /// What a backend has counted.
    pub fn stats(&self, pod: &str) -> Result<Stats> {
        Ok(serde_json::from_str(&self.ask(pod, "GET", PORT, "/stats")?)?)
    }

    /// Makes backends count from zero.
    pub fn reset(&self, pods: &[String]) -> Result<()> {
        pods.iter().try_for_each(|pod| self.ask(pod, "POST", PORT, "/reset").map(drop))
    }

    /// Starts `echo load` in a client pod.
    pub fn start_load(&self, pod: &str, words: &str, limit: Duration) -> Result<RunningLoad> {
        let words: Vec<_> = words.split_whitespace().collect();
        let exec = ["--namespace", &self.name, "exec", pod, "--container=app", "--", "/echo"];
        let running = self.suite.cluster.start_kubectl(&[&exec[..], &words].concat())?;
        Ok(RunningLoad { running, limit })
    }

    /// Runs `echo load …` (or `tcp-load …`) in a client pod to its end.
    pub fn load(&self, pod: &str, words: &str) -> Result<Summary> {
        self.start_load(pod, words, Duration::from_secs(120))?.finish()
    }

    /// The suite that it belongs to.
    pub fn suite(&self) -> &'static Suite {
        self.suite
    }

    fn show(&self) {
        let shown = [
            &["get", "pods,services,bp,bpe", "--output=wide"][..],
            &["get", "bp", "--output=jsonpath={range .items[*]}{.metadata.name}{\" \"}{.status}{\"\\n\"}{end}"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["logs", "--selector=evenkeel.dev/inject=enabled", "--container=evenkeel-sidecar", "--tail=20", "--prefix"],
        ];
        for words in shown {
            let text = self.kubectl(words).unwrap_or_else(|error| format!("{error:#}"));
            eprintln!("--- {}: kubectl {}\n{text}", self.name, words.join(" "));
        }
        eprintln!("--- operator\n{}", self.suite.operator_log(30));
    }
}

impl RunningLoad {
    /// Waits for the load's end.
    pub fn finish(self) -> Result<Summary> {
        let out = self.running.finish(self.limit)?.successful("echo load")?;
        serde_json::from_str(&out).with_context(|| format!("not a summary: {out}"))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.running.is_running()
    }
}

/// Runs a test in a namespace of its own, under restricted pod security.
pub fn with_temp_ns(topic: &str, test: impl FnOnce(&TempNs) -> Result<()>) -> Result<()> {
    with_temp_ns_at("restricted", topic, test)
}

/// The same under another level of pod security.
pub fn with_temp_ns_at(level: &str, topic: &str, test: impl FnOnce(&TempNs) -> Result<()>) -> Result<()> {
    let mut ns = TempNs::new(Suite::get()?, topic, level)?;
    let outcome = test(&ns);
    ns.failed = outcome.is_err();
    outcome
}

impl Drop for TempNs {
    fn drop(&mut self) {
        if self.failed || std::thread::panicking() {
            self.show();
            if std::env::var_os("EVENKEEL_E2E_KEEP").is_some() {
                return;
            }
        }
        let _ = self.suite.cluster.api.delete(&format!("/api/v1/namespaces/{}", self.name));
    }
}

/// An object's name.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == Some("True")
}

/// The status of an object's condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

fn is_leaving(pod: &Value) -> bool {
    !pod["metadata"]["deletionTimestamp"].is_null()
}

fn describe(pod: &Value) -> String {
    let statuses = ["initContainerStatuses", "containerStatuses"].map(|kind| pod["status"][kind].as_array().cloned());
    let states: Vec<_> = statuses.into_iter().flatten().flatten().map(|status| status["state"].to_string()).collect();
    format!("{} {} {}{}", name(pod), pod["status"]["phase"], states.join(" "), if is_leaving(pod) { " leaving" } else { "" })
}

/// No failed request, and at least so many good ones.
pub fn flawless(summary: &Summary, least: u64) -> Result<()> {
    if summary.failures() > 0 || summary.ok < least || summary.ok != summary.sent {
        bail!(
            "{} of {} failed ({:?}), {} answered, {least} wanted: {:#?}",
            summary.failures(),
            summary.sent,
            summary.failed,
            summary.ok,
            summary.errors
        );
    }
    Ok(())
}
