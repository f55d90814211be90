//! A spec's meaning: every rule that makes it a policy, or the first that it breaks. The API server checks most of these
//! before; they are checked again because the embedded mode has none and because a schema may be older than its objects.

mod algorithm;
mod health;
mod limits;
mod listeners;
mod rule;
mod sources;
mod spread;
mod unheeded;
mod upstream;

pub use listeners::transport_port;
pub use rule::{is_dns_name, is_file, is_hostname};

use crate::Rejection;
use evenkeel_crds::bounds;
use evenkeel_crds::pool::{Consumers, FromNamespaces, PoolSpec, Retry, RetryOn, ZoneAware};
use evenkeel_wire as wire;
use rule::{form, unique, within};

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
        upstream,
        client_connections,
        limits,
        timeouts,
    } = spec;
    let mut warnings = Vec::new();
    let listeners = listeners::compile(listeners)?;
    check_consumers(consumers, mode, &mut warnings)?;
    sources::check(sources, mode)?;
    let algorithm = algorithm::compile(algorithm)?;
    let slow_start = slow_start.as_ref().map(spread::compile_slow_start).transpose()?;
    let subset = subsetting.as_ref().map(spread::compile_subset).transpose()?;
    let zone_aware = zone_aware.as_ref().is_some_and(|ZoneAware {}| true);
    spread::check(zone_aware, subset, &algorithm)?;
    let (active, passive) = health::compile(health_check)?;
    let retry = compile_retry(retry, &mut warnings)?;
    let upstream = upstream::compile(upstream)?;
    let client_connections = limits::compile_client_connections(client_connections)?;
    let limits = limits::compile(limits)?;
    let (connect_timeout_ms, timeouts) = limits::compile_timeouts(timeouts)?;
    if listeners.is_empty() {
        warnings.push("spec.listeners is empty: no sidecar listens for this pool".into());
    }
    warnings.extend(sources::unneeded_priority(sources));
    warnings.extend(algorithm::unfit_listeners(&algorithm, &listeners));
    warnings.extend(spread::unheeded_slow_start(slow_start, &algorithm));
    let policy = wire::Policy {
        requires: [sources::requires(sources), listeners::requires(&listeners), upstream::requires(&upstream)].concat(),
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
        connect_timeout_ms,
        upstream,
        client_connections,
        limits,
        timeouts,
    };
    warnings.extend(upstream::weak_verification(&policy.upstream));
    warnings.extend(upstream::unfit_checks(&policy.upstream, policy.active.as_ref()));
    warnings.extend(unheeded::warnings(&policy));
    Ok(Compiled { policy, warnings })
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
