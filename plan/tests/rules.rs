//! What only the meaning of a spec decides: which sources go where, and what is accepted with a warning.

use evenkeel_plan::{Mode, Rejection, compile, document, remarks};
use evenkeel_wire as wire;

fn spec(body: &str) -> evenkeel_crds::pool::PoolSpec {
    let text = format!("apiVersion: evenkeel.dev/v1alpha1\nkind: BalancerPool\nmetadata: {{name: a}}\nspec:\n{body}");
    document::read(&text).expect("of the right shape").remove(0).spec
}

fn fixed(address: &str) -> String {
    format!("  sources: [{{name: s, static: {{endpoints: [{{address: '{address}', port: 9001}}]}}}}]\n")
}

const SERVICE: &str = "  sources: [{name: s, service: {name: checkout}}]\n";

#[test]
fn absent_means_the_default() {
    let compiled =
        compile(&spec(&format!("{SERVICE}  listeners: [{{name: a, port: 18080}}]\n")), 7, Mode::Cluster).expect("accepted");
    assert_eq!(compiled.warnings, Vec::<String>::new());
    let policy = compiled.policy;
    assert_eq!(policy.generation, 7);
    assert_eq!(policy.algorithm, wire::Algorithm::LeastConnections { choice_count: 2 });
    assert_eq!(policy.active, None);
    assert_eq!(policy.panic_threshold, 50);
    assert_eq!(policy.connect_timeout_ms, 1_000);
    assert_eq!(policy.retry.max_retries, 1);
    assert_eq!(policy.retry.on, [wire::RetryOn::ConnectFailure, wire::RetryOn::StaleConnection]);
    let passive = policy.passive.expect("on unless turned off");
    assert_eq!((passive.consecutive_errors, passive.window_ms), (5, 60_000));
    assert_eq!((passive.base_ejection_ms, passive.max_ejection_ms, passive.max_ejection_percent), (1_000, 60_000, 50));
}

#[test]
fn static_is_refused_in_the_cluster_and_service_without_one() {
    let rejection = compile(&spec(&fixed("10.9.0.7")), 1, Mode::Cluster).expect_err("refused");
    assert_eq!(rejection.reason(), "SourceNotSupported");
    assert!(rejection.to_string().contains("use a `service` source"));
    let rejection = compile(&spec(SERVICE), 1, Mode::Embedded).expect_err("refused");
    assert_eq!(rejection.reason(), "SourceNotSupported");
    assert!(rejection.to_string().contains("use a `static` source"));
}

#[test]
fn the_embedded_mode_takes_loopback_but_no_multicast() {
    for good in ["127.0.0.1", "::1", "10.9.0.7"] {
        assert!(compile(&spec(&fixed(good)), 1, Mode::Embedded).is_ok(), "{good}");
    }
    for bad in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:224.0.0.1"] {
        let rejection = compile(&spec(&fixed(bad)), 1, Mode::Embedded).expect_err(bad);
        assert!(matches!(rejection, Rejection::Address { .. }), "{rejection}");
        assert_eq!(rejection.reason(), "AddressNotAllowed");
    }
}

#[test]
fn an_address_written_in_two_ways_is_one_endpoint() {
    let body =
        "  sources: [{name: s, static: {endpoints: [{address: 10.0.0.1, port: 1}, {address: '::ffff:10.0.0.1', port: 1}]}}]\n";
    assert_eq!(compile(&spec(body), 1, Mode::Embedded).expect_err("twice").reason(), "DuplicateValue");
}

#[test]
fn a_tcp_listener_that_can_never_hash_is_accepted_with_a_warning() {
    let body = |keys: &str| {
        format!(
            "{SERVICE}  listeners: [{{name: h, port: 18080}}, {{name: raw, port: 18081, protocol: TCP}}]\n  \
             algorithm: {{type: ConsistentHash, consistentHash: {{keys: [{keys}]}}}}\n"
        )
    };
    let header = "{type: Header, header: {name: X-User}}";
    let compiled = compile(&spec(&body(header)), 1, Mode::Cluster).expect("accepted");
    assert!(compiled.warnings[0].contains("listener raw"), "{:?}", compiled.warnings);
    let compiled = compile(&spec(&body(&format!("{header}, {{type: SourceIP}}"))), 1, Mode::Cluster).expect("accepted");
    assert_eq!(compiled.warnings, Vec::<String>::new());
}

#[test]
fn what_has_no_effect_is_said() {
    let warn = |body: &str, mode| compile(&spec(body), 1, mode).expect("accepted").warnings.join("\n");
    assert!(warn(SERVICE, Mode::Cluster).contains("spec.listeners is empty"));
    let consumers = format!("{}  consumers: {{namespaces: {{from: All}}}}\n", fixed("10.0.0.1"));
    assert!(warn(&consumers, Mode::Embedded).contains("spec.consumers has no effect"));
    let retry = format!("{SERVICE}  retry: {{maxRetries: 2, retryOn: [StaleConnection]}}\n");
    assert!(warn(&retry, Mode::Cluster).contains("retryOn lacks ConnectFailure"));
    let hash = |more| {
        format!(
            "{SERVICE}  slowStart: {{}}\n  algorithm: {{type: ConsistentHash, consistentHash: {{keys: [{{type: SourceIP}}]{more}}}}}\n"
        )
    };
    assert!(warn(&hash(""), Mode::Cluster).contains("spec.slowStart has no effect on consistent hashing"));
    assert!(!warn(&hash(", hashBalanceFactor: 125"), Mode::Cluster).contains("slowStart"));
    let whole = format!("{SERVICE}  slowStart: {{minWeightPercent: 100}}\n");
    assert!(warn(&whole, Mode::Cluster).contains("start with 100 percent"));
    let cost = format!("{SERVICE}  algorithm: {{type: LeastCost}}\n  listeners: [{{name: raw, port: 18081, protocol: TCP}}]\n");
    assert!(warn(&cost, Mode::Cluster).contains("listener raw: a TCP connection has neither a path nor a length"));
    let alike = "  sources: [{name: a, priority: 2, service: {name: a}}, {name: b, priority: 2, service: {name: b}}]\n";
    assert!(warn(alike, Mode::Cluster).contains("priority has no effect, since it is 2 for each source"));
}

#[test]
fn members_may_be_absent_where_all_their_settings_have_defaults() {
    let algorithm = |text: &str| {
        let body = format!("{SERVICE}  algorithm: {text}\n");
        compile(&spec(&body), 1, Mode::Cluster).expect("accepted").policy.algorithm
    };
    assert_eq!(algorithm("{type: Random}"), wire::Algorithm::Random);
    assert_eq!(algorithm("{type: ResponseTimeWeighted}"), wire::Algorithm::ResponseTimeWeighted);
    assert_eq!(algorithm("{type: LeastResponseTime}"), wire::Algorithm::LeastResponseTime { choice_count: 2 });
    let class = wire::CostClass::Route { segments: 2 };
    assert_eq!(algorithm("{type: LeastCost}"), wire::Algorithm::LeastCost { choice_count: 2, class: class.clone() });
    let bare = "{type: LeastCost, leastCost: {choiceCount: 0, class: {}}}";
    assert_eq!(algorithm(bare), wire::Algorithm::LeastCost { choice_count: 0, class });
    let table = |text: &str| match algorithm(&format!(
        "{{type: ConsistentHash, consistentHash: {{keys: [{{type: SourceIP}}], table: {text}}}}}"
    )) {
        wire::Algorithm::ConsistentHash { table, .. } => table,
        other => panic!("{other:?}"),
    };
    assert_eq!(table("{}"), wire::Table::Ring { virtual_nodes: 150 });
    assert_eq!(table("{type: Maglev}"), wire::Table::Maglev { size: 65_537 });
    assert_eq!(table("{type: Rendezvous}"), wire::Table::Rendezvous);
}

#[test]
fn every_prime_within_bounds_is_a_table_size_and_nothing_else() {
    let verdict = |size: u32| {
        let table = format!("{{type: Maglev, maglev: {{tableSize: {size}}}}}");
        let body = format!(
            "{SERVICE}  algorithm: {{type: ConsistentHash, consistentHash: {{keys: [{{type: SourceIP}}], table: {table}}}}}\n"
        );
        compile(&spec(&body), 1, Mode::Cluster).map(|_| ())
    };
    for prime in [2, 3, 5, 251, 65_537, 655_373, 5_000_011] {
        assert_eq!(verdict(prime), Ok(()), "{prime}");
    }
    // 5,000,001 and 4,999,696 are products of large factors: 3 × 1,666,667 and 2,236².
    for (composite, near) in [(4, 3), (9, 7), (65_536, 65_537), (4_999_696, 4_999_693)] {
        let Err(Rejection::NotPrime { nearest, .. }) = verdict(composite) else { panic!("{composite} is accepted") };
        assert_eq!((nearest, verdict(nearest)), (near, Ok(())), "{composite}");
    }
}

#[test]
fn priority_is_a_required_feature_and_preferences_are_not() {
    let policy = |body: &str| compile(&spec(body), 1, Mode::Cluster).expect("accepted").policy;
    let two = "  sources: [{name: a, service: {name: a}}, {name: b, priority: 1, service: {name: b}}]\n";
    assert_eq!(policy(two).requires, [wire::feature::PRIORITY]);
    let alike = two.replace("{name: a,", "{name: a, priority: 1,");
    assert_eq!(policy(&alike).requires, Vec::<String>::new(), "all alike is as good as none");
    let soft = policy(&format!("{SERVICE}  slowStart: {{}}\n  zoneAware: {{}}\n  subsetting: {{size: 3}}\n"));
    assert_eq!(soft.requires, Vec::<String>::new());
    assert_eq!(soft.slow_start, Some(wire::SlowStart { window_ms: 30_000, min_weight_percent: 10 }));
    assert_eq!((soft.zone_aware, soft.subset), (true, Some(wire::Subset { size: 3 })));
}

#[test]
fn what_the_list_leaves_without_effect_is_said() {
    let endpoint = |n: usize, zone: Option<&str>| wire::Endpoint {
        id: n.to_string(),
        ring_key: n.to_string(),
        address: [10, 0, 0, 1].into(),
        port: 80,
        weight: 100,
        priority: 0,
        zone: zone.map(String::from),
        node: None,
        target: None,
        health: wire::Health::Usable,
    };
    let said = |more: &str, count: usize, zone| {
        let policy = compile(&spec(&format!("{SERVICE}{more}")), 1, Mode::Cluster).expect("accepted").policy;
        let list: Vec<_> = (0..count).map(|n| endpoint(n, zone)).collect();
        remarks(&policy, &list).join("; ")
    };
    assert!(said("  zoneAware: {}\n", 2, None).contains("spec.zoneAware has no effect"));
    assert_eq!(said("  zoneAware: {}\n", 2, Some("a")), "");
    assert_eq!(said("  zoneAware: {}\n", 0, None), "", "an empty list has other troubles");
    assert!(said("  subsetting: {size: 3}\n", 3, None).contains("spec.subsetting has no effect: there are 3 endpoints"));
    assert_eq!(said("  subsetting: {size: 3}\n", 4, None), "");
    let hash = |table: &str| {
        format!("  algorithm: {{type: ConsistentHash, consistentHash: {{keys: [{{type: SourceIP}}], table: {table}}}}}\n")
    };
    assert!(said(&hash("{type: Rendezvous}"), 1_001, None).contains("1001 endpoints are more than its 1000"));
    assert_eq!(said(&hash("{type: Rendezvous}"), 1_000, None), "");
    assert!(said(&hash("{type: Maglev, maglev: {tableSize: 3}}"), 4, None).contains("more than its 3"));
    assert_eq!(said(&hash("{type: Ring}"), 1_001, None), "");
    let ring = hash("{type: Ring, ring: {virtualNodes: 1000}}");
    assert!(said(&ring, 4_195, None).contains("4195000 points are more than its 4194304"), "{}", said(&ring, 4_195, None));
    assert_eq!(said(&ring, 4_194, None), "");
    let replaced = |table: &str, count: usize| {
        let policy = compile(&spec(&format!("{SERVICE}{}", hash(table))), 1, Mode::Cluster).expect("accepted").policy;
        let list: Vec<_> = (0..count).map(|n| wire::Endpoint { ring_key: (n / 2).to_string(), ..endpoint(n, None) }).collect();
        remarks(&policy, &list).join("; ")
    };
    assert_eq!(replaced("{type: Maglev, maglev: {tableSize: 3}}", 6), "", "two of one ring key share a place");
    assert!(replaced("{type: Maglev, maglev: {tableSize: 3}}", 7).contains("4 endpoints are more than its 3"));
    assert_eq!(replaced("{type: Ring, ring: {virtualNodes: 1000}}", 8_000), "");
}

#[test]
fn header_names_are_lower_case_on_the_wire() {
    let body = format!(
        "{SERVICE}  algorithm: {{type: ConsistentHash, consistentHash: {{keys: [{{type: Header, header: {{name: X-User}}}}]}}}}\n"
    );
    let wire::Algorithm::ConsistentHash { keys, table, hash_balance_factor } =
        compile(&spec(&body), 1, Mode::Cluster).expect("accepted").policy.algorithm
    else {
        panic!("another algorithm")
    };
    assert_eq!(keys, [wire::HashKey::Header { name: "x-user".into() }]);
    assert_eq!((table, hash_balance_factor), (wire::Table::Ring { virtual_nodes: 150 }, None));
}

#[test]
fn an_ejection_of_nothing_turns_the_passive_check_off() {
    let body = format!("{SERVICE}  healthCheck: {{passive: {{maxEjectionPercent: 0}}, panicThreshold: 0}}\n");
    let policy = compile(&spec(&body), 1, Mode::Cluster).expect("accepted").policy;
    assert_eq!((policy.passive, policy.panic_threshold), (None, 0));
}
