//! What a pool's status should say, and when it has to be written. Pure: from the pool's state, the sidecars' counts and the
//! status that is there; the time is an argument.

use crate::reconcile::pool::{Acceptance, PoolState};
use evenkeel_crds::status::{Condition, EndpointCounts, PoolStatus, SidecarCounts};
use evenkeel_wire::{Endpoint, Health};
use std::time::{Duration, Instant};

/// Transitions are written together, at most this often.
pub const TRANSITIONS: Duration = Duration::from_secs(1);
/// Counts of sidecars alone are written at most this often.
pub const SIDECARS: Duration = Duration::from_secs(10);
/// The longest message of a condition, in characters (the API's own bound is higher).
const MAX_MESSAGE: usize = 1_024;

/// How far the sidecars that asked for the pool are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sync {
    /// Connected to the feed.
    pub connected: u32,
    /// Have acknowledged the newest revision.
    pub in_sync: u32,
    /// Have acknowledged a revision of the newest generation.
    pub programmed: u32,
    /// What one of them said when it refused a revision of the newest generation and has taken none since.
    pub nack: Option<String>,
}

struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn new(holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        let status = if holds { "True" } else { "False" };
        Self { status, reason, message: message.into() }
    }

    fn unknown(reason: &'static str, message: &str) -> Self {
        Self { status: "Unknown", reason, message: message.into() }
    }

    fn condition(self, r#type: &str, generation: i64, before: &PoolStatus, now: &str) -> Condition {
        let known = before.conditions.iter().find(|c| c.r#type == r#type);
        let since = known.filter(|c| c.status == self.status);
        Condition {
            r#type: r#type.into(),
            status: self.status.into(),
            reason: self.reason.into(),
            message: self.message.chars().take(MAX_MESSAGE).collect(),
            observed_generation: generation,
            last_transition_time: since.map_or(now, |c| &c.last_transition_time).into(),
        }
    }
}

/// What the status of a pool should say now. A condition keeps the time at which its status last changed.
pub fn desired(pool: &PoolState, sync: &Sync, before: &PoolStatus, now: &str) -> PoolStatus {
    let generation = pool.generation();
    let counts = count(pool.view().map_or(&[], |view| &view.endpoints));
    let verdicts = [
        ("Accepted", accepted(pool)),
        ("ResolvedRefs", resolved(pool)),
        ("Programmed", programmed(pool, sync)),
        ("Ready", ready(pool, &counts)),
    ];
    PoolStatus {
        observed_generation: Some(generation),
        conditions: verdicts.map(|(kind, verdict)| verdict.condition(kind, generation, before, now)).into(),
        endpoints: counts,
        sidecars: SidecarCounts { connected: sync.connected, in_sync: sync.in_sync },
    }
}

/// When `desired` is due, where `before` is there and was written at `written`; `None` if nothing has changed.
pub fn due(before: &PoolStatus, desired: &PoolStatus, written: Option<Instant>, now: Instant) -> Option<Instant> {
    if before == desired {
        return None;
    }
    let only_sidecars = PoolStatus { sidecars: desired.sidecars.clone(), ..before.clone() } == *desired;
    let apart = if only_sidecars { SIDECARS } else { TRANSITIONS };
    Some(written.map_or(now, |at| at + apart))
}

fn accepted(pool: &PoolState) -> Verdict {
    match pool.acceptance() {
        Acceptance::Accepted(warnings) => {
            let warnings = [&warnings[..], &pool.remarks()].concat();
            if warnings.is_empty() {
                return Verdict::new(true, "Accepted", "the spec is in force");
            }
            let message = format!("the spec is in force; {}", warnings.join("; "));
            Verdict::new(true, "AcceptedWithWarnings", message)
        }
        Acceptance::Rejected { reason, message } => {
            let kept = pool.view().map_or_else(
                || "; nothing is in force but what sidecars had from an operator before this one".into(),
                |view| format!("; generation {} stays in force", view.policy.generation),
            );
            Verdict::new(false, reason, format!("{message}{kept}"))
        }
    }
}

fn resolved(pool: &PoolState) -> Verdict {
    if pool.view().is_none() {
        return Verdict::unknown("NotAccepted", "no spec is in force, so nothing was looked up");
    }
    let Some(first) = pool.unresolved().first() else {
        return Verdict::new(true, "ResolvedRefs", "every source leads somewhere");
    };
    let each = pool.unresolved().iter();
    let messages = each.map(|u| format!("source {}: Service {}: {}", u.source, u.service, u.problem));
    let message = messages.collect::<Vec<_>>().join("; ");
    Verdict::new(false, first.problem.reason(), message)
}

fn programmed(pool: &PoolState, sync: &Sync) -> Verdict {
    let Sync { connected, in_sync: _, programmed, nack } = sync;
    let current = pool.view().is_some_and(|view| view.policy.generation == pool.generation());
    if !current {
        return Verdict::new(false, "NotAccepted", "this generation isn't in force");
    }
    if let Some(nack) = nack {
        return Verdict::new(false, "Refused", format!("a sidecar refused it: {nack}"));
    }
    match connected - programmed.min(connected) {
        0 if *connected == 0 => Verdict::new(true, "NoSidecars", "no sidecar asks for the pool"),
        0 => Verdict::new(true, "Programmed", "every connected sidecar has it"),
        waiting => {
            let message = format!("{waiting} of {connected} sidecars haven't acknowledged it yet");
            Verdict::new(false, "Pending", message)
        }
    }
}

fn ready(pool: &PoolState, counts: &EndpointCounts) -> Verdict {
    let Some(view) = pool.view() else {
        return Verdict::new(false, "NotAccepted", "no spec is in force");
    };
    let EndpointCounts { total, usable, draining, down, not_ready, summary: _ } = counts;
    let threshold = view.policy.panic_threshold;
    let panicking = usable * 100 < u32::from(threshold) * (usable + down);
    let states = format!("{usable} usable, {down} down, {draining} draining, {not_ready} not ready");
    if pool.is_set_aside() {
        let message = "all checks time out while Kubernetes says ready, so they aren't believed; \
            allow the operator to connect to the pods (a network policy is the likelier cause)";
        return Verdict::new(true, "ChecksUnreachable", message);
    }
    match (total, usable) {
        (0, _) => Verdict::new(false, "NoEndpoints", "the sources have no endpoints"),
        _ if panicking => {
            Verdict::new(true, "Panicking", format!("fewer than {threshold} % are usable, so all are used: {states}"))
        }
        (_, 0) if *draining > 0 => Verdict::new(true, "OnlyDraining", format!("only terminating ones are left: {states}")),
        (_, 0) => Verdict::new(false, "NoneUsable", states),
        _ => Verdict::new(true, "Ready", states),
    }
}

fn count(endpoints: &[Endpoint]) -> EndpointCounts {
    let of = |health| {
        let found = endpoints.iter().filter(|e| e.health == health).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    };
    let (usable, total) = (of(Health::Usable), u32::try_from(endpoints.len()).unwrap_or(u32::MAX));
    EndpointCounts {
        total,
        usable,
        draining: of(Health::Draining),
        down: of(Health::Down),
        not_ready: of(Health::NotReady),
        summary: format!("{usable}/{total}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::facts::SliceEndpoint;
    use crate::reconcile::fixture::{Cluster, endpoint, pool};
    use serde_json::{Value, json};

    fn stepped(endpoints: Vec<SliceEndpoint>, more: Value) -> PoolState {
        let mut cluster = Cluster::new();
        cluster.slice("a", endpoints);
        let mut state = PoolState::new(&pool(4, more));
        cluster.step(&mut state);
        state
    }

    fn sync(connected: u32, programmed: u32) -> Sync {
        Sync { connected, in_sync: programmed, programmed, nack: None }
    }

    fn said(status: &PoolStatus) -> Vec<(&str, &str)> {
        status.conditions.iter().map(|c| (c.status.as_str(), c.reason.as_str())).collect()
    }

    fn listening() -> Value {
        json!({"listeners": [{"name": "http", "port": 18080}]})
    }

    #[test]
    fn a_good_pool_says_so_and_counts() {
        let unready = SliceEndpoint { ready: false, ..endpoint("2", 2) };
        let state = stepped(vec![endpoint("1", 1), unready], listening());
        let status = desired(&state, &sync(3, 3), &PoolStatus::default(), "now");
        let all = [("True", "Accepted"), ("True", "ResolvedRefs"), ("True", "Programmed"), ("True", "Ready")];
        assert_eq!(said(&status), all);
        assert_eq!(status.observed_generation, Some(4));
        assert_eq!((status.endpoints.summary.as_str(), status.endpoints.not_ready), ("1/2", 1));
    }

    #[test]
    fn what_the_list_leaves_without_effect_is_a_warning() {
        let mut zoned = listening();
        zoned["zoneAware"] = json!({});
        let accepted = |endpoint| {
            let status = desired(&stepped(vec![endpoint], zoned.clone()), &sync(0, 0), &PoolStatus::default(), "now");
            (status.conditions[0].reason.clone(), status.conditions[0].message.clone())
        };
        let (reason, message) = accepted(endpoint("1", 1));
        assert!(reason == "AcceptedWithWarnings" && message.contains("no endpoint has a zone"), "{reason}: {message}");
        assert_eq!(accepted(SliceEndpoint { zone: Some("a".into()), ..endpoint("1", 1) }).0, "Accepted");
    }

    #[test]
    fn each_trouble_has_its_own_reason() {
        let reason = |state: &PoolState, sync: &Sync, n: usize| {
            desired(state, sync, &PoolStatus::default(), "now").conditions[n].reason.clone()
        };
        let empty = stepped(Vec::new(), listening());
        assert_eq!(reason(&empty, &sync(0, 0), 3), "NoEndpoints");
        assert_eq!(reason(&empty, &sync(0, 0), 2), "NoSidecars");
        assert_eq!(reason(&empty, &sync(2, 1), 2), "Pending");
        let refused = Sync { nack: Some("a: no".into()), ..sync(2, 1) };
        assert_eq!(reason(&empty, &refused, 2), "Refused");
        let elsewhere = json!({"sources": [{"name": "x", "service": {"name": "none"}}]});
        assert_eq!(reason(&stepped(Vec::new(), elsewhere), &sync(0, 0), 1), "ServiceNotFound");
        let unread = stepped(Vec::new(), json!({"mirrors": {}}));
        let status = desired(&unread, &sync(0, 0), &PoolStatus::default(), "now");
        let nothing = [("False", "InvalidSpec"), ("Unknown", "NotAccepted"), ("False", "NotAccepted"), ("False", "NotAccepted")];
        assert_eq!(said(&status), nothing);
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let state = stepped(vec![endpoint("1", 1)], listening());
        let first = desired(&state, &sync(1, 0), &PoolStatus::default(), "monday");
        let second = desired(&state, &sync(1, 1), &first, "tuesday");
        let times: Vec<_> = second.conditions.iter().map(|c| c.last_transition_time.as_str()).collect();
        assert_eq!(times, ["monday", "monday", "tuesday", "monday"]);
        assert_eq!(desired(&state, &sync(1, 1), &second, "wednesday"), second);
    }

    #[test]
    fn transitions_wait_a_second_at_most_and_counts_of_sidecars_ten() {
        let (state, now) = (stepped(vec![endpoint("1", 1)], listening()), Instant::now());
        let there = desired(&state, &sync(1, 1), &PoolStatus::default(), "now");
        assert_eq!(due(&there, &there, Some(now), now), None);
        let more = desired(&state, &sync(2, 2), &there, "now");
        assert_eq!(due(&there, &more, Some(now), now), Some(now + SIDECARS));
        let pending = desired(&state, &sync(2, 1), &there, "now");
        assert_eq!(due(&there, &pending, Some(now), now), Some(now + TRANSITIONS));
        assert_eq!(due(&PoolStatus::default(), &there, None, now), Some(now));
    }
}
