//! Claims about whole steps of one pool.

use super::fixture::{Cluster, endpoint, key, pool, slice};
use super::hold::ABSENCE;
use super::pool::{Acceptance, BATCH, PoolState, Step};
use crate::gather::cache::Seen;
use crate::gather::facts::{PodRef, SliceEndpoint};
use crate::gather::world::Observation;
use crate::publish::ConsumerRule;
use evenkeel_probe::{CheckReason, Verdict};
use evenkeel_wire::Health;
use serde_json::{Value, json};
use std::time::Duration;

fn checked() -> Value {
    json!({"healthCheck": {"active": {"type": "TCP", "interval": "2s", "timeout": "1s", "unhealthyThreshold": 3}}})
}

/// The published endpoints, as last digit of the address and health.
fn published(step: &Step) -> Option<Vec<(char, Health)>> {
    let view = step.publish.as_ref()?;
    let each = view.endpoints.iter().map(|e| (e.address.to_string().pop().unwrap_or('?'), e.health));
    Some(each.collect())
}

fn verdict(uid: &str, healthy: bool, reason: CheckReason) -> Verdict {
    Verdict { pool: "shop/web".parse().expect("a name"), id: format!("{uid}:8080"), healthy, reason, run: 1 }
}

#[test]
fn the_first_step_publishes_and_the_same_facts_again_do_not() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1)]);
    let mut state = PoolState::new(&pool(1, json!({})));
    assert_eq!(published(&cluster.step(&mut state)), Some(vec![('1', Health::Usable)]));
    assert_eq!(cluster.step(&mut state), Step::default());
}

#[test]
fn an_addition_waits_for_company_and_bad_news_never_does() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1)]);
    let mut state = PoolState::new(&pool(1, json!({})));
    cluster.step(&mut state);

    cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2)]);
    let seen = cluster.now;
    let step = cluster.step(&mut state);
    assert_eq!((step.publish, step.again), (None, Some(seen + BATCH)));
    cluster.now += BATCH;
    let step = state.step(&key("web"), &cluster.world, seen, cluster.now);
    assert_eq!(published(&step).map(|list| list.len()), Some(2));

    let unready = SliceEndpoint { ready: false, serving: false, ..endpoint("1", 1) };
    cluster.slice("a", vec![unready, endpoint("2", 2), endpoint("3", 3)]);
    let list = published(&cluster.step(&mut state)).expect("at once");
    assert_eq!(list, [('1', Health::NotReady), ('2', Health::Usable), ('3', Health::Usable)]);
}

#[test]
fn a_pod_with_a_deletion_timestamp_drains_at_once_and_goes_when_deleted() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2)]);
    let mut state = PoolState::new(&pool(1, json!({})));
    cluster.step(&mut state);
    cluster.pod("1", false, true);
    let list = published(&cluster.step(&mut state)).expect("at once");
    assert_eq!(list, [('1', Health::Draining), ('2', Health::Usable)]);
    cluster.pod_deleted("1");
    let list = published(&cluster.step(&mut state)).expect("at once, though the slice still lists it");
    assert_eq!(list, [('2', Health::Usable)]);
}

#[test]
fn an_endpoint_that_no_slice_lists_stays_for_a_second() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2)]);
    let mut state = PoolState::new(&pool(1, json!({})));
    cluster.step(&mut state);
    cluster.slice("a", vec![endpoint("2", 2)]);
    let step = cluster.step(&mut state);
    assert_eq!((step.publish, step.again), (None, Some(cluster.now + ABSENCE)));
    cluster.now += ABSENCE;
    assert_eq!(published(&cluster.step(&mut state)), Some(vec![('2', Health::Usable)]));
}

#[test]
fn a_rejected_spec_leaves_the_last_good_one_in_force_and_its_endpoints_live() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1)]);
    let mut state = PoolState::new(&pool(1, json!({})));
    cluster.step(&mut state);
    let fixed = json!({"sources": [{"name": "vm", "static": {"endpoints": [{"address": "10.1.1.1", "port": 80}]}}]});
    state.respec(&pool(2, fixed));
    assert!(matches!(state.acceptance(), Acceptance::Rejected { .. }));
    assert_eq!(cluster.step(&mut state), Step::default());
    let unready = SliceEndpoint { ready: false, ..endpoint("1", 1) };
    cluster.slice("a", vec![unready]);
    let step = cluster.step(&mut state);
    assert_eq!(published(&step), Some(vec![('1', Health::NotReady)]));
    assert_eq!(step.publish.map(|view| view.policy.generation), Some(1));
    state.respec(&pool(3, json!({"consumers": {"namespaces": {"from": "All"}}})));
    let view = cluster.step(&mut state).publish.expect("a good spec is in force at once");
    assert_eq!((view.policy.generation, view.consumers), (3, ConsumerRule::All));
}

#[test]
fn a_spec_that_cannot_be_read_is_rejected_and_nothing_is_published() {
    let cluster = Cluster::new();
    let mut state = PoolState::new(&pool(1, json!({"mirrors": {}})));
    assert!(matches!(state.acceptance(), Acceptance::Rejected { reason: "InvalidSpec", .. }));
    assert_eq!(cluster.step(&mut state), Step::default());
}

#[test]
fn only_ready_pods_are_checked_and_a_failing_one_is_down() {
    let mut cluster = Cluster::new();
    let unready = SliceEndpoint { ready: false, ..endpoint("2", 2) };
    let bare = SliceEndpoint { pod: None, ..endpoint("4", 4) };
    cluster.slice("a", vec![endpoint("1", 1), unready, endpoint("3", 3), bare]);
    let mut state = PoolState::new(&pool(1, checked()));
    let plan = cluster.step(&mut state).check.expect("a plan");
    let ids: Vec<_> = plan.targets.keys().map(String::as_str).collect();
    assert_eq!(ids, ["1:8080", "3:8080"]);
    assert!(state.verdict(&verdict("1", false, CheckReason::Refused)));
    let step = cluster.step(&mut state);
    assert_eq!(step.check, None);
    let list = published(&step).expect("at once");
    assert!(list.contains(&('1', Health::Down)) && list.contains(&('3', Health::Usable)), "{list:?}");
}

#[test]
fn a_pod_that_a_slice_makes_up_is_not_connected_to() {
    let mut cluster = Cluster::new();
    cluster.pod("1", false, false);
    let named = |name: &str, uid: &str, n| {
        let pod = Some(PodRef { name: name.into(), uid: uid.into() });
        SliceEndpoint { pod, ..endpoint("x", n) }
    };
    let slice = slice("web", vec![named("pod-1", "1", 1), named("pod-1", "made up", 2), named("nobody", "2", 3)]);
    cluster.world.observe(Observation::Slice(Seen::Put(key("a"), slice)), cluster.now);
    let mut state = PoolState::new(&pool(1, checked()));
    let plan = cluster.step(&mut state).check.expect("a plan");
    assert_eq!(plan.targets.keys().collect::<Vec<_>>(), ["1:8080"]);
}

#[test]
fn a_reason_belongs_to_the_state_that_is_published() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2)]);
    let mut state = PoolState::new(&pool(1, checked()));
    let said = |state: &PoolState| state.view().map(|view| (view.endpoints[0].health, state.reason(&view.endpoints[0])));
    let again = cluster.step(&mut state).again.expect("a first result");
    assert_eq!(said(&state), Some((Health::Usable, "Ready")), "no check has said anything yet");
    cluster.now = again;
    assert_eq!(cluster.step(&mut state), Step::default());
    assert_eq!(said(&state), Some((Health::Usable, "ChecksPass")));
    state.verdict(&verdict("1", false, CheckReason::Refused));
    cluster.step(&mut state);
    state.verdict(&verdict("1", true, CheckReason::Passing));
    assert_eq!(cluster.step(&mut state).publish, None, "it waits for company");
    assert_eq!(said(&state), Some((Health::Down, CheckReason::Refused.as_str())));
}

#[test]
fn a_failing_endpoint_stays_down_when_its_readiness_flaps() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2)]);
    let mut state = PoolState::new(&pool(1, checked()));
    cluster.step(&mut state);
    state.verdict(&verdict("1", false, CheckReason::Refused));
    cluster.step(&mut state);
    let unready = SliceEndpoint { ready: false, ..endpoint("1", 1) };
    cluster.slice("a", vec![unready, endpoint("2", 2)]);
    let step = cluster.step(&mut state);
    assert_eq!((published(&step).map(|list| list[0]), step.check), (Some(('1', Health::NotReady)), None));
    cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2)]);
    assert_eq!(published(&cluster.step(&mut state)).map(|list| list[0]), Some(('1', Health::Down)));
}

#[test]
fn timeouts_of_pods_that_are_not_ready_set_nothing_aside() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1)]);
    let mut state = PoolState::new(&pool(1, checked()));
    cluster.step(&mut state);
    cluster.slice("a", vec![SliceEndpoint { ready: false, ..endpoint("1", 1) }]);
    cluster.step(&mut state);
    cluster.now += Duration::from_secs(10);
    assert!(state.verdict(&verdict("1", false, CheckReason::Timeout)));
    cluster.step(&mut state);
    assert!(!state.is_set_aside());
}

#[test]
fn when_every_check_times_out_the_verdict_is_set_aside() {
    let mut cluster = Cluster::new();
    cluster.slice("a", vec![endpoint("1", 1), endpoint("2", 2)]);
    let mut state = PoolState::new(&pool(1, checked()));
    cluster.step(&mut state);
    cluster.now += Duration::from_secs(10);
    state.verdict(&verdict("1", false, CheckReason::Timeout));
    assert!(published(&cluster.step(&mut state)).expect("down").contains(&('1', Health::Down)));
    state.verdict(&verdict("2", false, CheckReason::Timeout));
    let seen = cluster.now;
    cluster.now += BATCH;
    let step = state.step(&key("web"), &cluster.world, seen, cluster.now);
    assert_eq!(published(&step), Some(vec![('1', Health::Usable), ('2', Health::Usable)]));
    assert!(state.is_set_aside());
}
