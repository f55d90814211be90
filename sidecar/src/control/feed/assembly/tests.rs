//! Claims on the assembly of a stream.

use super::*;
use crate::control::tests::policy;
use evenkeel_wire::{Health, ServerHello};

fn name(text: &str) -> PoolName {
    text.parse().expect("a pool's name")
}

fn endpoint(index: usize) -> Endpoint {
    Endpoint {
        id: format!("e{index}"),
        ring_key: format!("e{index}"),
        address: [10, 0, (index >> 8) as u8, index as u8].into(),
        port: 80,
        weight: 100,
        priority: 0,
        zone: None,
        node: None,
        target: None,
        health: Health::Usable,
    }
}

fn greeted() -> Assembly {
    let mut assembly = Assembly::default();
    let hello = ServerFrame::Hello(ServerHello { version: VERSION, lineage: "l".into(), zone: None });
    assert!(matches!(assembly.take(Ok(hello), &Held::default()), Ok(Change::Greeted { .. })));
    assembly
}

fn begin(pool: &str, revision: u64) -> ServerFrame {
    ServerFrame::Pool { pool: name(pool), revision, policy: Box::new(policy()) }
}

fn part(pool: &str, revision: u64, endpoints: Vec<Endpoint>) -> ServerFrame {
    ServerFrame::Endpoints { pool: name(pool), revision, endpoints }
}

fn commit(pool: &str, revision: u64) -> ServerFrame {
    ServerFrame::Commit { pool: name(pool), revision }
}

fn holding(pool: &str, revision: u64) -> Held {
    Held { lineage: Some("l".into()), revisions: [(name(pool), revision)].into() }
}

#[test]
fn a_pool_is_whole_only_at_its_commit() {
    let (mut assembly, held) = (greeted(), Held::default());
    for frame in [begin("a/b", 1), part("a/b", 1, vec![endpoint(1)]), part("a/b", 1, vec![endpoint(2)])] {
        assert!(matches!(assembly.take(Ok(frame), &held), Ok(Change::None)));
    }
    let Ok(Change::Apply(incoming)) = assembly.take(Ok(commit("a/b", 1)), &held) else { panic!("not applied") };
    assert_eq!((incoming.revision, incoming.endpoints.len()), (1, 2));
}

#[test]
fn a_second_beginning_starts_the_pool_anew() {
    let (mut assembly, held) = (greeted(), Held::default());
    for frame in [begin("a/b", 1), part("a/b", 1, vec![endpoint(1)]), begin("a/b", 2), part("a/b", 2, vec![endpoint(2)])] {
        assert!(matches!(assembly.take(Ok(frame), &held), Ok(Change::None)));
    }
    let Ok(Change::Apply(incoming)) = assembly.take(Ok(commit("a/b", 2)), &held) else { panic!("not applied") };
    assert_eq!(incoming.endpoints[0].id, "e2");
}

#[test]
fn a_pool_that_is_not_understood_is_refused_alone_and_once() {
    let (mut assembly, held) = (greeted(), Held::default());
    let bad = br#"{"type":"pool","pool":"a/bad","revision":3,"body":{"algorithm":{"type":"Magic"}}}"#;
    let refused = assembly.take(ServerFrame::decode(bad), &held);
    assert!(matches!(refused, Ok(Change::Refuse { revision: 3, .. })), "{refused:?}");
    assert!(matches!(assembly.take(Ok(part("a/bad", 3, vec![endpoint(1)])), &held), Ok(Change::None)));
    assert!(matches!(assembly.take(Ok(commit("a/bad", 3)), &held), Ok(Change::None)));
    assembly.take(Ok(begin("a/good", 1)), &held).expect("goes on");
    assert!(matches!(assembly.take(Ok(commit("a/good", 1)), &held), Ok(Change::Apply(_))));
    let Ok(Change::Synced { named }) = assembly.take(Ok(ServerFrame::Synced), &held) else { panic!("not synced") };
    assert!(named.contains(&name("a/bad")), "a refused pool keeps its last good revision, so it counts as named");
}

#[test]
fn a_bare_commit_keeps_what_is_held_and_nothing_else() {
    let (mut assembly, held) = (greeted(), holding("a/b", 4));
    assert!(matches!(assembly.take(Ok(commit("a/b", 4)), &held), Ok(Change::Keep { revision: 4, .. })));
    for (pool, revision) in [("a/b", 5), ("a/c", 4)] {
        let refused = assembly.take(Ok(commit(pool, revision)), &held);
        assert!(matches!(refused, Ok(Change::Refuse { refusal: Refusal::NotHeld { .. }, .. })), "{refused:?}");
    }
}

#[test]
fn an_older_revision_of_the_same_lineage_is_refused() {
    let (mut assembly, held) = (greeted(), holding("a/b", 4));
    assembly.take(Ok(begin("a/b", 3)), &held).expect("begins");
    let refused = assembly.take(Ok(commit("a/b", 3)), &held);
    assert!(matches!(refused, Ok(Change::Refuse { refusal: Refusal::Older { held: 4, .. }, .. })), "{refused:?}");
}

#[test]
fn a_list_without_end_is_refused_at_the_limit() {
    let (mut assembly, held) = (greeted(), Held::default());
    assembly.take(Ok(begin("a/b", 1)), &held).expect("begins");
    let mut refusals = 0;
    for _ in 0..=MAX_ENDPOINTS / 500 + 2 {
        let part = part("a/b", 1, (0..500).map(endpoint).collect());
        match assembly.take(Ok(part), &held).expect("goes on") {
            Change::Refuse { refusal: Refusal::TooManyEndpoints, .. } => refusals += 1,
            change => assert!(matches!(change, Change::None), "{change:?}"),
        }
    }
    assert_eq!(refusals, 1);
}

#[test]
fn a_stream_out_of_order_cannot_be_followed() {
    let held = Held::default();
    assert!(matches!(Assembly::default().take(Ok(ServerFrame::Synced), &held), Err(StreamError::NoHello)));
    assert!(matches!(greeted().take(Ok(part("a/b", 1, Vec::new())), &held), Err(StreamError::OutOfOrder(..))));
    let mut assembly = greeted();
    assembly.take(Ok(begin("a/b", 1)), &held).expect("begins");
    assert!(matches!(assembly.take(Ok(commit("a/b", 2)), &held), Err(StreamError::OutOfOrder(..))));
    assert!(matches!(greeted().take(ServerFrame::decode(b"garbage"), &held), Err(StreamError::Frame(_))));
    let other = ServerFrame::Hello(ServerHello { version: 9, lineage: "l".into(), zone: None });
    assert!(matches!(Assembly::default().take(Ok(other), &held), Err(StreamError::Version(9))));
}

#[test]
fn frames_of_the_future_are_passed_over() {
    let future = ServerFrame::decode(br#"{"type":"fancy","body":{"x":1}}"#);
    assert!(matches!(greeted().take(future, &Held::default()), Ok(Change::None)));
}
