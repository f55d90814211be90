//! Active checks and passive ejection.

use super::rule::{self, at, form, time, within};
use crate::Rejection;
use evenkeel_crds::bounds;
use evenkeel_crds::duration::Duration;
use evenkeel_crds::pool::{ActiveCheck, ActiveCheckType, HealthCheck, HttpCheck, PassiveCheck, StatusRange};
use evenkeel_wire as wire;

type Checks = (Option<wire::ActiveCheck>, Option<wire::PassiveCheck>);

pub(super) fn compile(health: &HealthCheck) -> Result<Checks, Rejection> {
    let HealthCheck { active, passive, panic_threshold } = health;
    within("spec.healthCheck.panicThreshold", *panic_threshold, bounds::PERCENT)?;
    let active = active.as_ref().map(compile_active).transpose()?;
    Ok((active, compile_passive(passive)?))
}

fn compile_active(check: &ActiveCheck) -> Result<wire::ActiveCheck, Rejection> {
    let ActiveCheck { r#type, interval, timeout, unhealthy_threshold, healthy_threshold, http } = check;
    let field = "spec.healthCheck.active";
    let interval_ms = time(&format!("{field}.interval"), *interval, bounds::CHECK_INTERVAL)?;
    let timeout_ms = time(&format!("{field}.timeout"), *timeout, bounds::CHECK_TIMEOUT)?;
    // A check never overlaps the next one of the same endpoint.
    at_most(&format!("{field}.timeout"), *timeout, "its interval", *interval)?;
    within(&format!("{field}.unhealthyThreshold"), *unhealthy_threshold, bounds::CHECK_THRESHOLD)?;
    within(&format!("{field}.healthyThreshold"), *healthy_threshold, bounds::CHECK_THRESHOLD)?;
    let kind = match (r#type, http) {
        (ActiveCheckType::Tcp, None) => wire::CheckKind::Tcp,
        (ActiveCheckType::Tcp, Some(_)) => {
            let (chosen, fitting) = ("type is TCP".into(), "type: HTTP");
            return Err(Rejection::MemberForeign { field: field.into(), member: "http", chosen, fitting });
        }
        (ActiveCheckType::Http, http) => compile_http(&format!("{field}.http"), &http.clone().unwrap_or_default())?,
    };
    let (unhealthy_threshold, healthy_threshold) = (*unhealthy_threshold, *healthy_threshold);
    Ok(wire::ActiveCheck { kind, interval_ms, timeout_ms, unhealthy_threshold, healthy_threshold })
}

fn compile_http(field: &str, http: &HttpCheck) -> Result<wire::CheckKind, Rejection> {
    let HttpCheck { path, host, expected_statuses } = http;
    form(&format!("{field}.path"), path, rule::PATH)?;
    if let Some(host) = host {
        form(&format!("{field}.host"), host, rule::HOST)?;
    }
    let list = format!("{field}.expectedStatuses");
    within(&format!("the number of {list}"), expected_statuses.len(), bounds::EXPECTED_STATUSES)?;
    let expected = expected_statuses.iter().enumerate().map(|(i, range)| compile_range(&at(&list, i), *range));
    Ok(wire::CheckKind::Http { path: path.clone(), host: host.clone(), expected: expected.collect::<Result<_, _>>()? })
}

fn compile_range(field: &str, range: StatusRange) -> Result<wire::StatusRange, Rejection> {
    let StatusRange { start, end } = range;
    within(&format!("{field}.start"), start, bounds::STATUS)?;
    within(&format!("{field}.end"), end, bounds::STATUS)?;
    if start > end {
        let (value, limit) = (start.to_string(), end.to_string());
        return Err(Rejection::Exceeds { field: format!("{field}.start"), value, other: "its end", limit });
    }
    Ok(wire::StatusRange { start, end })
}

/// `None`: off, since nothing may be ejected.
fn compile_passive(passive: &PassiveCheck) -> Result<Option<wire::PassiveCheck>, Rejection> {
    let PassiveCheck { consecutive_errors, window, base_ejection_time, max_ejection_time, max_ejection_percent } = passive;
    let field = "spec.healthCheck.passive";
    within(&format!("{field}.consecutiveErrors"), *consecutive_errors, bounds::CONSECUTIVE_ERRORS)?;
    within(&format!("{field}.maxEjectionPercent"), *max_ejection_percent, bounds::PERCENT)?;
    let base = format!("{field}.baseEjectionTime");
    let check = wire::PassiveCheck {
        consecutive_errors: *consecutive_errors,
        window_ms: time(&format!("{field}.window"), *window, bounds::EJECTION_WINDOW)?,
        base_ejection_ms: time(&base, *base_ejection_time, bounds::EJECTION_TIME)?,
        max_ejection_ms: time(&format!("{field}.maxEjectionTime"), *max_ejection_time, bounds::EJECTION_TIME)?,
        max_ejection_percent: *max_ejection_percent,
    };
    at_most(&base, *base_ejection_time, "maxEjectionTime", *max_ejection_time)?;
    Ok((*max_ejection_percent > 0).then_some(check))
}

fn at_most(field: &str, value: Duration, other: &'static str, limit: Duration) -> Result<(), Rejection> {
    if value <= limit {
        return Ok(());
    }
    Err(Rejection::Exceeds { field: field.into(), value: value.to_string(), other, limit: limit.to_string() })
}
