//! A spec's meaning: every rule that makes it a policy, or the first that it breaks. The API server checks most of these
//! before; they are checked again because the embedded mode has none and because a schema may be older than its objects.

mod algorithm;
mod health;
mod rule;
mod sources;
mod spread;

use crate::Rejection;
use evenkeel_crds::bounds;
use evenkeel_crds::pool::{self, Consumers, FromNamespaces, PoolSpec, Retry, RetryOn, Timeouts, ZoneAware};
use evenkeel_wire as wire;
use rule::{at, form, unique, within};

/// Where a spec is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In a sidecar's own process, from a file: `static` sources, loopback allowed.
    Embedded,
    /// By the operator: `service` sources.
    Cluster,
}

/// An accepted spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// What sidecars are told.
    pub policy: wire::Policy,
    /// What the author should know: what has no effect, and why.
    pub warnings: Vec<String>,
}

/// Makes a policy of a spec, defaults filled in, or says which rule it breaks first.
pub fn compile(spec: &PoolSpec, generation: i64, mode: Mode) -> Result<Compiled, Rejection> {
    let PoolSpec {
        listeners,
        consumers,
        sources,
        algorithm,
        slow_start,
        zone_aware,
        subsetting,
        health_check,
        retry,
        timeouts: Timeouts { connect },
    } = spec;
    let mut warnings = Vec::new();
    let listeners = compile_listeners(listeners)?;
    check_consumers(consumers, mode, &mut warnings)?;
    sources::check(sources, mode)?;
    let algorithm = algorithm::compile(algorithm)?;
    let slow_start = slow_start.as_ref().map(spread::compile_slow_start).transpose()?;
    let subset = subsetting.as_ref().map(spread::compile_subset).transpose()?;
    let zone_aware = zone_aware.as_ref().is_some_and(|ZoneAware {}| true);
    spread::check(zone_aware, subset, &algorithm)?;
    let (active, passive) = health::compile(health_check)?;
    let retry = compile_retry(retry, &mut warnings)?;
    let connect = rule::time("spec.timeouts.connect", *connect, bounds::CONNECT_TIMEOUT)?;
    if listeners.is_empty() {
        warnings.push("spec.listeners is empty: no sidecar listens for this pool".into());
    }
    warnings.extend(sources::unneeded_priority(sources));
    warnings.extend(algorithm::unfit_listeners(&algorithm, &listeners));
    warnings.extend(spread::unheeded_slow_start(slow_start, &algorithm));
    let policy = wire::Policy {
        requires: sources::requires(sources),
        generation,
        listeners,
        algorithm,
        slow_start,
        zone_aware,
        subset,
        active,
        passive,
        panic_threshold: health_check.panic_threshold,
        retry,
        connect_timeout_ms: connect,
        upstream: wire::Upstream::default(),
        client_connections: wire::ClientConnections::default(),
        limits: wire::Limits::default(),
        timeouts: wire::Timeouts::default(),
    };
    Ok(Compiled { policy, warnings })
}

fn compile_listeners(listeners: &[pool::Listener]) -> Result<Vec<wire::Listener>, Rejection> {
    within("the number of spec.listeners", listeners.len(), bounds::LISTENERS)?;
    unique(listeners, "spec.listeners", "name", |l| l.name.clone())?;
    unique(listeners, "spec.listeners", "port", |l| l.port)?;
    listeners.iter().enumerate().map(|(i, l)| compile_listener(&at("spec.listeners", i), l)).collect()
}

fn compile_listener(field: &str, listener: &pool::Listener) -> Result<wire::Listener, Rejection> {
    let pool::Listener { name, port, protocol } = listener;
    form(&format!("{field}.name"), name, rule::LABEL)?;
    within(&format!("{field}.port"), *port, bounds::LISTENER_PORT)?;
    if bounds::RESERVED_PORTS.contains(port) {
        return Err(Rejection::ReservedPort { field: format!("{field}.port"), port: *port });
    }
    let protocol = match protocol {
        pool::Protocol::Http => wire::Protocol::Http,
        pool::Protocol::Tcp => wire::Protocol::Tcp,
    };
    Ok(wire::Listener::new(name, *port, protocol))
}

fn check_consumers(consumers: &Consumers, mode: Mode, warnings: &mut Vec<String>) -> Result<(), Rejection> {
    let field = "spec.consumers.namespaces";
    let namespaces = &consumers.namespaces;
    let chosen = match namespaces.from {
        FromNamespaces::Same => "from is Same",
        FromNamespaces::All => "from is All",
        FromNamespaces::Selector => "from: Selector",
    };
    match (namespaces.from, &namespaces.selector) {
        (FromNamespaces::Selector, None) => {
            return Err(Rejection::MemberMissing { field: field.into(), member: "selector", chosen });
        }
        (FromNamespaces::Selector, Some(selector)) => {
            let field = format!("{field}.selector.matchLabels");
            within(&format!("the number of {field}"), selector.match_labels.len(), bounds::MATCH_LABELS)?;
            for (key, value) in &selector.match_labels {
                form(&format!("a key of {field}"), key, rule::LABEL_KEY)?;
                form(&format!("{field}[{key}]"), value, rule::LABEL_VALUE)?;
            }
        }
        (_, Some(_)) => {
            return Err(Rejection::MemberForeign {
                field: field.into(),
                member: "selector",
                chosen: chosen.into(),
                fitting: "from: Selector",
            });
        }
        (_, None) => {}
    }
    if mode == Mode::Embedded && *consumers != Consumers::default() {
        warnings.push("spec.consumers has no effect without a cluster: this process is the pool's only user".into());
    }
    Ok(())
}

fn compile_retry(retry: &Retry, warnings: &mut Vec<String>) -> Result<wire::Retry, Rejection> {
    let Retry { max_retries, retry_on } = retry;
    within("spec.retry.maxRetries", *max_retries, bounds::MAX_RETRIES)?;
    within("the number of spec.retry.retryOn", retry_on.len(), bounds::RETRY_ON)?;
    unique(retry_on, "spec.retry.retryOn", "", |on| format!("{on:?}"))?;
    if *max_retries > 0 && !retry_on.contains(&RetryOn::ConnectFailure) {
        warnings.push("spec.retry.maxRetries has no effect: retryOn lacks ConnectFailure".into());
    }
    let on = retry_on.iter().map(|on| match on {
        RetryOn::ConnectFailure => wire::RetryOn::ConnectFailure,
        RetryOn::StaleConnection => wire::RetryOn::StaleConnection,
    });
    Ok(wire::Retry { max_retries: *max_retries, on: on.collect() })
}
