//! The feed's language: every frame reads back as it was written, what is new is ignored, what is broken is a typed error.

mod generated;

use evenkeel_wire::{
    ClientFrame, Endpoint, FrameError, Listener, MAX_LINE, MAX_PART, Policy, PoolName, Protocol, ServerFrame, ServerHello,
};
use generated::{client_frame, endpoints, policy, pool_name, server_frame};
use proptest::prelude::*;

proptest! {
    #[test]
    fn server_frames_read_back_as_written(frame in server_frame()) {
        let line = frame.encode();
        prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        prop_assert_eq!(ServerFrame::decode(&line).expect("our own frame"), frame.clone());
        prop_assert_eq!(ServerFrame::decode(&line[..line.len() - 1]).expect("without its newline"), frame);
    }

    #[test]
    fn client_frames_read_back_as_written(frame in client_frame()) {
        prop_assert_eq!(ClientFrame::decode(&frame.encode()).expect("our own frame"), frame);
    }

    #[test]
    fn a_pool_goes_in_bounded_parts_and_ends_with_its_commit(
        pool in pool_name(), policy in policy(), part in endpoints(3), copies in 0usize..500,
    ) {
        let list: Vec<_> = std::iter::repeat_n(part, copies).flatten().collect();
        let lines = ServerFrame::encode_pool(&pool, 7, &policy, &list);
        let frames: Vec<_> = lines.split_inclusive(|b| *b == b'\n').map(|l| {
            assert!(l.len() <= MAX_LINE);
            ServerFrame::decode(l).expect("our own frame")
        }).collect();
        let is_head = matches!(frames.first(), Some(ServerFrame::Pool { revision: 7, .. }));
        prop_assert!(is_head);
        prop_assert_eq!(frames.last(), Some(&ServerFrame::Commit { pool: pool.clone(), revision: 7 }));
        let mut read = Vec::new();
        for frame in &frames[1..frames.len() - 1] {
            let ServerFrame::Endpoints { endpoints, .. } = frame else { panic!("{frame:?}") };
            prop_assert!(!endpoints.is_empty() && endpoints.len() <= MAX_PART);
            read.extend(endpoints.iter().cloned());
        }
        prop_assert_eq!(read, list);
    }

    #[test]
    fn a_truncated_line_is_an_error_and_never_another_frame(frame in server_frame(), at in any::<prop::sample::Index>()) {
        let line = frame.encode();
        let cut = at.index(line.len() - 1);
        prop_assert!(matches!(ServerFrame::decode(&line[..cut]), Err(FrameError::Envelope(_))));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ServerFrame::decode(&bytes);
        let _ = ClientFrame::decode(&bytes);
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let line = br#"{"type":"commit","pool":"a/b","revision":3,"colour":"red","body":{"new":1}}"#;
    let pool = PoolName { namespace: "a".into(), name: "b".into() };
    assert_eq!(ServerFrame::decode(line).expect("a commit"), ServerFrame::Commit { pool, revision: 3 });
    let line = br#"{"type":"hello","body":{"version":1,"lineage":"x","mood":"good"}}"#;
    assert!(matches!(ServerFrame::decode(line), Ok(ServerFrame::Hello(_))));
}

#[test]
fn what_an_older_operator_leaves_out_means_as_before() {
    let endpoint = r#"{"id":"a","ringKey":"a","address":"10.0.0.1","port":80,"weight":100,"health":"Usable"}"#;
    let endpoint: Endpoint = serde_json::from_str(endpoint).expect("an endpoint");
    assert_eq!(endpoint.priority, 0);
    assert!(
        !serde_json::to_string(&endpoint).expect("text").contains("priority"),
        "and an older sidecar isn't told what it needn't know"
    );
    let policy = r#"{"listeners":[],"algorithm":{"type":"RoundRobin"},"panicThreshold":50,"retry":{"maxRetries":1,"on":[]},"connectTimeoutMs":1}"#;
    let policy: Policy = serde_json::from_str(policy).expect("a policy");
    assert_eq!((policy.slow_start, policy.zone_aware, policy.subset), (None, false, None));
    assert_eq!((policy.upstream, policy.client_connections), Default::default());
    assert_eq!((policy.limits, policy.timeouts), Default::default());
    let listener: Listener = serde_json::from_str(r#"{"name":"a","port":1024,"protocol":"TCP"}"#).expect("a listener");
    assert_eq!(listener, Listener::new("a", 1024, Protocol::Tcp));
    let hello = br#"{"type":"hello","body":{"version":1,"lineage":"x"}}"#;
    assert!(matches!(ServerFrame::decode(hello), Ok(ServerFrame::Hello(ServerHello { zone: None, .. }))));
}

#[test]
fn unknown_types_are_ignored_whatever_they_hold() {
    for line in [&br#"{"type":"zebra"}"#[..], br#"{"type":"zebra","pool":"???","revision":1,"body":[[]]}"#] {
        assert_eq!(ServerFrame::decode(line).expect("ignored"), ServerFrame::Unknown);
        assert_eq!(ClientFrame::decode(line).expect("ignored"), ClientFrame::Unknown);
    }
}

#[test]
fn an_unknown_meaning_refuses_its_pool_alone() {
    let policy = r#"{"listeners":[],"algorithm":{"type":"Zebra"},"panicThreshold":50,"retry":{"maxRetries":1,"on":[]},"connectTimeoutMs":1}"#;
    let line = format!(r#"{{"type":"pool","pool":"a/b","revision":3,"body":{policy}}}"#);
    let error = ServerFrame::decode(line.as_bytes()).expect_err("unknown algorithm");
    let FrameError::Body { pool, revision, .. } = &error else { panic!("{error}") };
    assert_eq!((pool.to_string().as_str(), *revision), ("a/b", 3));
    assert!(error.to_string().contains("Zebra"), "{error}");
}

#[test]
fn a_line_without_end_is_refused_unread() {
    let line = vec![b' '; MAX_LINE + 1];
    assert!(matches!(ServerFrame::decode(&line), Err(FrameError::TooLong)));
    assert!(matches!(ClientFrame::decode(&line), Err(FrameError::TooLong)));
}

#[test]
fn what_a_frame_lacks_is_named() {
    for (line, lacks) in [
        (r#"{"type":"pool","pool":"a/b","body":{}}"#, "`pool`"),
        (r#"{"type":"endpoints","revision":1}"#, "`endpoints`"),
        (r#"{"type":"commit"}"#, "`commit`"),
        (r#"{"type":"remove","body":{"reason":"x"}}"#, "`remove`"),
        (r#"{"type":"hello"}"#, "`hello`"),
    ] {
        let error = ServerFrame::decode(line.as_bytes()).expect_err(line);
        assert!(matches!(error, FrameError::Incomplete(_)) && error.to_string().contains(lacks), "{line}: {error}");
    }
}

#[test]
fn a_pool_is_named_by_namespace_and_name() {
    for good in ["a/b", "shop-1/check.out"] {
        assert_eq!(good.parse::<PoolName>().expect("a name").to_string(), good);
    }
    let long = format!("a/{}", "b".repeat(254));
    for bad in ["", "/", "a", "a/", "/b", "a/b/c", "A/b", "a b/c", "../b\n", "a/*", &long] {
        assert!(matches!(bad.parse::<PoolName>(), Err(FrameError::PoolName(_))), "{bad}");
    }
}
