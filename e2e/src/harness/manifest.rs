//! Objects as a user would write them, under restricted pod security. Backends are named after their pods.

use serde_json::{Value, json};

/// The port that backends serve on.
pub const PORT: u16 = 8080;

/// Some backends behind one Service: a Deployment, or a StatefulSet.
#[derive(Debug, Clone)]
pub struct Backends {
    /// The name of the Deployment, and of the Service unless `service` says another.
    pub name: String,
    /// The Service that selects them, where several sets share one.
    pub service: Option<String>,
    /// How many.
    pub replicas: u32,
    /// Further words for `echo serve`.
    pub words: Vec<String>,
    /// A StatefulSet: the pods keep their names.
    pub stateful: bool,
    /// Where `/stats` answers: the main port unless that one speaks bare TCP.
    pub control: u16,
    /// Pause this long before SIGTERM.
    pub pre_stop: Option<String>,
    /// Further labels of the pods.
    pub labels: Value,
    /// Annotations of the pods.
    pub annotations: Value,
}

impl Backends {
    /// Plain ones.
    pub fn new(name: &str, replicas: u32, words: &[&str]) -> Self {
        Self {
            name: name.into(),
            service: None,
            replicas,
            words: words.iter().map(|&word| word.into()).collect(),
            stateful: false,
            control: PORT,
            pre_stop: None,
            labels: json!({}),
            annotations: json!({}),
        }
    }

    /// The Service's name.
    pub fn service(&self) -> &str {
        self.service.as_deref().unwrap_or(&self.name)
    }

    /// The objects, without namespace.
    pub fn objects(&self, image: &str) -> Vec<Value> {
        let mut labels = json!({"app": self.service(), "set": self.name});
        merge(&mut labels, &self.labels);
        let mut spec = json!({
            "replicas": self.replicas,
            "selector": {"matchLabels": {"app": self.service(), "set": self.name}},
            "template": {"metadata": {"labels": labels, "annotations": self.annotations}, "spec": self.pod(image)},
        });
        let kind = if self.stateful { "StatefulSet" } else { "Deployment" };
        if self.stateful {
            merge(&mut spec, &json!({"serviceName": self.service(), "podManagementPolicy": "Parallel"}));
        }
        vec![
            json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": self.name}, "spec": spec}),
            service(self.service()),
        ]
    }

    fn pod(&self, image: &str) -> Value {
        let mut command = vec!["/echo".to_owned(), "serve".into(), format!("--port={PORT}")];
        command.extend(self.words.iter().cloned());
        let mut container = container("echo", image, &command);
        let name = json!([{"name": "ECHO_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        // `/stats` isn't counted, and isn't what `POST /healthz?status=503` switches.
        let probe = json!({"httpGet": {"path": "/stats", "port": self.control}, "periodSeconds": 1});
        merge(
            &mut container,
            &json!({
                "env": name, "ports": [{"name": "http", "containerPort": PORT}],
                "startupProbe": probe, "readinessProbe": probe,
            }),
        );
        if let Some(pause) = &self.pre_stop {
            let hook = json!({"preStop": {"exec": {"command": ["/echo", "sleep", pause]}}});
            merge(&mut container, &json!({"lifecycle": hook}));
        }
        let mut pod = pod_spec(vec![container]);
        merge(&mut pod, &json!({"terminationGracePeriodSeconds": 15}));
        pod
    }
}

/// A Service over the pods with this `app` label.
pub fn service(app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": app},
        "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]},
    })
}

/// A pod that asks for pools and from which load is sent; its own server idles.
pub fn client(name: &str, pools: &str, image: &str) -> Value {
    let command = ["/echo", "serve", "--name=client", "--port=8090"].map(str::to_owned);
    let mut spec = pod_spec(vec![container("app", image, &command)]);
    merge(&mut spec, &json!({"terminationGracePeriodSeconds": 2}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": name, "evenkeel.dev/inject": "enabled"},
            "annotations": {"evenkeel.dev/pools": pools},
        },
        "spec": spec,
    })
}

/// A pool.
pub fn pool(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "BalancerPool", "metadata": {"name": name}, "spec": spec})
}

/// The spec of a pool over one Service, with one HTTP listener, and what else is said.
pub fn spec(service: &str, port: u16, more: &Value) -> Value {
    let mut spec = json!({
        "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}],
        "sources": [{"name": "svc", "service": {"name": service, "port": "http"}}],
    });
    merge(&mut spec, more);
    spec
}

/// A container that restricted pod security admits.
pub fn container(name: &str, image: &str, command: &[String]) -> Value {
    json!({
        "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": command,
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
    })
}

/// A pod's spec that restricted pod security admits.
pub fn pod_spec(containers: Vec<Value>) -> Value {
    json!({
        "containers": containers, "enableServiceLinks": false, "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    })
}

/// Puts the members of one object into another; objects in both are merged.
pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
