//! One list of all sources: identity, ring key, verdict, order.

use evenkeel_plan::{Candidate, Found, Pod};
use evenkeel_wire::{Endpoint, Health};
use proptest::prelude::*;

/// Sources of the same priority.
fn assemble(sources: Vec<Vec<Candidate>>) -> Vec<Endpoint> {
    evenkeel_plan::assemble(sources.into_iter().map(|candidates| Found { priority: 0, candidates }).collect())
}

fn host(address: &str) -> Candidate {
    Candidate {
        address: address.parse().expect("an address"),
        port: 80,
        weight: 100,
        zone: None,
        node: None,
        pod: None,
        ready: true,
        serving: true,
        terminating: false,
    }
}

fn pod(address: &str, name: &str, uid: &str, stateful: bool) -> Candidate {
    let pod = Pod { namespace: "shop".into(), name: name.into(), uid: uid.into(), stateful };
    Candidate { pod: Some(pod), ..host(address) }
}

#[test]
fn a_pod_is_known_by_its_uid_and_others_by_their_address() {
    let list =
        assemble(vec![vec![pod("10.0.0.1", "a-x", "u1", false), host("10.0.0.9"), host("2001:db8::1"), host("::ffff:10.0.0.8")]]);
    let ids: Vec<&str> = list.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["10.0.0.8:80", "10.0.0.9:80", "[2001:db8::1]:80", "u1:80"]);
    assert!(list.iter().all(|e| e.ring_key == e.id));
}

#[test]
fn a_reused_address_is_another_endpoint() {
    let (old, new) = (pod("10.0.0.1", "a-x", "u1", false), pod("10.0.0.1", "a-y", "u2", false));
    assert_ne!(assemble(vec![vec![old]])[0].id, assemble(vec![vec![new]])[0].id);
}

#[test]
fn a_restarted_pod_of_a_stateful_set_keeps_its_ring_key() {
    let before = assemble(vec![vec![pod("10.0.0.1", "db-0", "u1", true)]]).remove(0);
    let after = assemble(vec![vec![pod("10.0.0.7", "db-0", "u2", true)]]).remove(0);
    assert_eq!(before.ring_key, "shop/db-0:80");
    assert_eq!(before.ring_key, after.ring_key);
    assert_ne!(before.id, after.id);
}

#[test]
fn the_earlier_source_wins() {
    let heavy = Candidate { weight: 300, ..host("10.0.0.1") };
    let list = assemble(vec![vec![heavy], vec![host("10.0.0.1"), host("10.0.0.2")]]);
    let weights: Vec<u16> = list.iter().map(|e| e.weight).collect();
    assert_eq!(weights, [300, 100]);
}

#[test]
fn an_endpoint_has_the_priority_of_the_first_source_that_names_it() {
    let found = |priority, hosts: &[&str]| Found { priority, candidates: hosts.iter().map(|address| host(address)).collect() };
    let list = evenkeel_plan::assemble(vec![found(1, &["10.0.0.2", "10.0.0.3"]), found(0, &["10.0.0.1", "10.0.0.2"])]);
    let priorities: Vec<(&str, u8)> = list.iter().map(|e| (e.id.as_str(), e.priority)).collect();
    assert_eq!(priorities, [("10.0.0.1:80", 0), ("10.0.0.2:80", 1), ("10.0.0.3:80", 1)]);
}

#[test]
fn a_pod_with_two_addresses_is_one_endpoint() {
    let list = assemble(vec![vec![pod("10.0.0.1", "a", "u1", false), pod("fd00::1", "a", "u1", false)]]);
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].address.to_string(), "10.0.0.1");
}

#[test]
fn the_state_is_what_kubernetes_says() {
    let state = |ready, serving, terminating| Candidate { ready, serving, terminating, ..host("10.0.0.1") };
    let verdict = |candidate| assemble(vec![vec![candidate]]).first().map(|e| e.health);
    assert_eq!(verdict(state(true, true, false)), Some(Health::Usable));
    assert_eq!(verdict(state(false, true, false)), Some(Health::NotReady));
    assert_eq!(verdict(state(false, true, true)), Some(Health::Draining));
    assert_eq!(verdict(state(false, false, true)), None);
}

#[test]
fn what_has_ended_in_the_first_source_is_not_taken_from_a_later_one() {
    let ended = Candidate { ready: false, serving: false, terminating: true, ..pod("10.0.0.1", "a", "u1", false) };
    assert!(assemble(vec![vec![ended], vec![pod("10.0.0.1", "a", "u1", false)]]).is_empty());
}

proptest! {
    #[test]
    fn the_order_of_the_findings_changes_nothing(mut hosts in proptest::collection::vec((0u8..20, any::<bool>()), 0..20), seed in any::<u64>()) {
        hosts.sort_unstable();
        hosts.dedup_by_key(|(host, _)| *host);
        let candidates: Vec<Candidate> = hosts
            .iter()
            .map(|(n, stateful)| pod(&format!("10.0.0.{n}"), &format!("p-{n}"), &format!("u{}", 99 - n), *stateful))
            .collect();
        let mut shuffled = candidates.clone();
        if !shuffled.is_empty() {
            let by = usize::try_from(seed % shuffled.len() as u64).expect("small");
            shuffled.rotate_left(by);
        }
        let list = assemble(vec![candidates]);
        prop_assert!(list.windows(2).all(|w| (&w[0].ring_key, &w[0].id) < (&w[1].ring_key, &w[1].id)));
        prop_assert_eq!(list, assemble(vec![shuffled]));
    }
}
