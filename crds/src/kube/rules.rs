//! What a structural schema says of lists, and the rules in CEL that it can't say itself. Every list and text that a rule
//! looks at is bounded, and rules look at whole lists, not at items, so that their cost stays a small constant.

use crate::bounds::{self, Bounds};
use crate::duration::Duration;
use serde_json::{Value, json};

/// A rule at a path, and what is said to him who breaks it.
type Rule = (&'static str, &'static str, &'static str);

const RULES: &[Rule] = &[
    (
        "spec.listeners",
        "self.all(l, self.exists_one(other, other.port == l.port && (other.protocol == 'UDP') == (l.protocol == 'UDP')))",
        "each listener needs a port of its own; only one of UDP may have the number of another",
    ),
    (
        "spec.listeners",
        "self.all(l, has(l.hostnames) == (l.protocol == 'TLS'))",
        "hostnames goes with `protocol: TLS`, which needs it",
    ),
    (
        "spec.listeners",
        "self.all(l, !has(l.tls) || l.protocol == 'HTTP' || l.protocol == 'TCP')",
        "tls goes with `protocol: HTTP` or `protocol: TCP` only",
    ),
    ("spec.listeners", "self.all(l, !has(l.udp) || l.protocol == 'UDP')", "udp goes with `protocol: UDP` only"),
    (
        "spec.listeners",
        "self.all(l, !has(l.proxyProtocol) || l.protocol != 'UDP')",
        "proxyProtocol doesn't go with `protocol: UDP`",
    ),
    (
        "spec.upstream.tls",
        "self.verification != 'Full' || has(self.hostname)",
        "`verification: Full` needs the hostname to verify",
    ),
    (
        "spec.consumers.namespaces",
        "has(self.selector) == (self.from == 'Selector')",
        "selector goes with `from: Selector`, which needs it",
    ),
    (
        "spec.sources",
        "self.all(s, has(s.service) != has(s.static))",
        "each source needs exactly one of the members service and static",
    ),
    (
        "spec.algorithm",
        "has(self.consistentHash) == (self.type == 'ConsistentHash')",
        "consistentHash goes with `type: ConsistentHash`, which needs it",
    ),
    (
        "spec.algorithm",
        "!has(self.leastConnections) || self.type == 'LeastConnections'",
        "leastConnections goes with `type: LeastConnections` only",
    ),
    (
        "spec.algorithm",
        "!has(self.leastResponseTime) || self.type == 'LeastResponseTime'",
        "leastResponseTime goes with `type: LeastResponseTime` only",
    ),
    ("spec.algorithm", "!has(self.leastCost) || self.type == 'LeastCost'", "leastCost goes with `type: LeastCost` only"),
    ("spec.algorithm.leastCost.class", "!has(self.route) || self.type == 'Route'", "route goes with `type: Route` only"),
    ("spec.algorithm.consistentHash.table", "!has(self.ring) || self.type == 'Ring'", "ring goes with `type: Ring` only"),
    ("spec.algorithm.consistentHash.table", "!has(self.maglev) || self.type == 'Maglev'", "maglev goes with `type: Maglev` only"),
    (
        "spec",
        "!has(self.zoneAware) || self.algorithm.type != 'ConsistentHash'",
        "zoneAware doesn't go with `type: ConsistentHash`: a key's owner may be in any zone",
    ),
    (
        "spec",
        "!has(self.subsetting) || self.algorithm.type != 'ConsistentHash'",
        "subsetting doesn't go with `type: ConsistentHash`: each sidecar would have owners of its own",
    ),
    (
        "spec.algorithm.consistentHash.keys",
        "self.all(k, has(k.header) == (k.type == 'Header'))",
        "header goes with keys of `type: Header`, which need it",
    ),
    ("spec.healthCheck.active", "!has(self.http) || self.type == 'HTTP'", "http goes with `type: HTTP` only"),
    ("spec.healthCheck.active", "duration(self.timeout) <= duration(self.interval)", "timeout must be at most the interval"),
    (
        "spec.healthCheck.active.http.expectedStatuses",
        "self.all(r, r.start <= r.end)",
        "each range's start must be at most its end",
    ),
    (
        "spec.healthCheck.passive",
        "duration(self.baseEjectionTime) <= duration(self.maxEjectionTime)",
        "baseEjectionTime must be at most maxEjectionTime",
    ),
];

const TIMES: &[(&str, Bounds)] = &[
    ("spec.slowStart.window", bounds::SLOW_START),
    ("spec.healthCheck.active.interval", bounds::CHECK_INTERVAL),
    ("spec.healthCheck.active.timeout", bounds::CHECK_TIMEOUT),
    ("spec.healthCheck.passive.window", bounds::EJECTION_WINDOW),
    ("spec.healthCheck.passive.baseEjectionTime", bounds::EJECTION_TIME),
    ("spec.healthCheck.passive.maxEjectionTime", bounds::EJECTION_TIME),
    ("spec.listeners[].udp.idleTimeout", bounds::SESSION_TIMEOUT),
    ("spec.clientConnections.maxAge", bounds::CONNECTION_AGE),
    ("spec.limits.pendingTimeout", bounds::PENDING_TIMEOUT),
    ("spec.timeouts.connect", bounds::CONNECT_TIMEOUT),
    ("spec.timeouts.responseHead", bounds::RESPONSE_HEAD_TIMEOUT),
    ("spec.timeouts.idle", bounds::LONG_TIMEOUT),
    ("spec.timeouts.request", bounds::LONG_TIMEOUT),
    ("spec.timeouts.streamIdle", bounds::LONG_TIMEOUT),
];

/// Adds to the schema of a `BalancerPool` what its types don't say.
pub(super) fn add_to_pool(schema: &mut Value) {
    for (path, keys) in [
        ("spec.listeners", &["name"][..]),
        ("spec.sources", &["name"]),
        ("spec.sources[].static.endpoints", &["address", "port"]),
        ("status.conditions", &["type"]),
    ] {
        list_map(schema, path, keys);
    }
    for path in ["spec.retry.retryOn", "spec.listeners[].hostnames", "spec.listeners[].proxyProtocol.trusted"] {
        at(schema, path)["x-kubernetes-list-type"] = "set".into();
    }
    at(schema, "spec.consumers.namespaces.selector.matchLabels")["additionalProperties"]["maxLength"] = 63.into();
    at(schema, "status.conditions[].status")["enum"] = json!(["True", "False", "Unknown"]);
    at(schema, "status.conditions[].lastTransitionTime")["format"] = "date-time".into();
    at(schema, "spec.sources[].static.endpoints[].address")["anyOf"] = json!([{"format": "ipv4"}, {"format": "ipv6"}]);
    for &(path, rule, message) in RULES {
        add(schema, path, rule, message);
    }
    // The pool's listings are called NAME-1, NAME-2 and so on, and a name ends at 253 characters.
    let rule = "size(self.metadata.name) <= 240";
    schema["x-kubernetes-validations"] = json!([{"rule": rule, "message": "a pool's name has at most 240 characters"}]);
    let [admin, metrics] = bounds::RESERVED_PORTS;
    let rule = format!("self.all(l, !(l.port in [{admin}, {metrics}]))");
    let message = format!("ports {admin} and {metrics} are needed by the sidecar itself; choose another");
    add(schema, "spec.listeners", &rule, &message);
    for &(path, bounds) in TIMES {
        let (min, max) = (Duration::from_millis(bounds.min), Duration::from_millis(bounds.max));
        let rule = format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')");
        add(schema, path, &rule, &format!("must be from {min} to {max}"));
        if let Value::String(text) = &mut at(schema, path)["description"] {
            let end = text.trim_end_matches('.').len();
            text.truncate(end);
            text.push_str(&format!("; from {min} to {max}."));
        }
    }
}

/// Adds to the schema of a `BalancerEndpoints` what its types don't say.
pub(super) fn add_to_endpoints(schema: &mut Value) {
    list_map(schema, "spec.endpoints", &["id"]);
}

fn list_map(schema: &mut Value, path: &str, keys: &[&str]) {
    let list = at(schema, path);
    list["x-kubernetes-list-type"] = "map".into();
    list["x-kubernetes-list-map-keys"] = keys.into();
}

fn add(schema: &mut Value, path: &str, rule: &str, message: &str) {
    let rule = json!({"rule": rule, "message": message});
    match &mut at(schema, path)["x-kubernetes-validations"] {
        Value::Array(rules) => rules.push(rule),
        none => *none = json!([rule]),
    }
}

/// The schema of a field, `[]` for a list's items.
fn at<'a>(schema: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(schema, |schema, step| {
        let (name, depth) = (step.trim_end_matches("[]"), step.matches("[]").count());
        let field = schema.pointer_mut(&format!("/properties/{name}")).expect("rules name fields that are there");
        (0..depth).fold(field, |list, _| list.get_mut("items").expect("a list"))
    })
}
