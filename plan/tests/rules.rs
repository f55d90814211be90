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

fn accepted(body: &str) -> evenkeel_plan::Compiled {
    compile(&spec(&format!("{SERVICE}{body}")), 1, Mode::Cluster).unwrap_or_else(|rejection| panic!("{body}: {rejection}"))
}

#[test]
fn the_data_paths_settings_reach_the_wire_as_they_were_written() {
    let policy = accepted(
        "  listeners:
  - {name: web, port: 18443, tls: {certificateFile: /etc/tls/tls.crt, keyFile: /etc/tls/.keys/tls.key, minVersion: '1.3'}}
  - {name: raw, port: 18000, protocol: TCP, proxyProtocol: {trusted: [10.0.0.0/8, '::1/128']}}
  - {name: dns, port: 18000, protocol: UDP, udp: {idleTimeout: 5s}}
  - {name: ntp, port: 18001, protocol: UDP}
  - {name: db, port: 18444, protocol: TLS, hostnames: [db.example.com, '*.example.com']}
  upstream: {protocol: HTTP1, tls: {hostname: api.example.com, caFile: /etc/ca.pem}, proxyProtocol: V2}
  clientConnections: {maxAge: 10m, maxRequests: 10000}
  limits: {maxParallelRequestsPerEndpoint: 100, maxParallelRequests: 1000, maxConnectionsPerEndpoint: 50, maxConnections: 500}
  timeouts: {connect: 2s, responseHead: 3s, idle: 4s, request: 5s, streamIdle: 6m}
",
    )
    .policy;
    let [web, raw, dns, ntp, db] = policy.listeners.as_slice() else { panic!("{:?}", policy.listeners) };
    let (certificate_file, key_file) = ("/etc/tls/tls.crt".into(), "/etc/tls/.keys/tls.key".into());
    let tls = wire::ListenerTls { certificate_file, key_file, min_version: wire::TlsVersion::V1_3 };
    assert_eq!((web.protocol, web.tls.as_ref()), (wire::Protocol::Http, Some(&tls)));
    let trusted = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().expect("a network"));
    assert_eq!(raw.proxy_protocol, Some(wire::ProxyProtocolIn { trusted: trusted.into() }));
    assert_eq!(dns.udp, Some(wire::UdpSettings { idle_timeout_ms: 5_000, max_sessions_per_source: 100 }));
    assert_eq!(ntp.udp, Some(wire::UdpSettings::default()), "absent means its members' defaults");
    assert_eq!(
        (db.protocol, db.hostnames.as_slice()),
        (wire::Protocol::Tls, &["db.example.com".into(), "*.example.com".into()][..])
    );
    let tls = wire::UpstreamTls {
        hostname: Some("api.example.com".into()),
        ca_file: Some("/etc/ca.pem".into()),
        verification: wire::Verification::Full,
    };
    let (protocol, proxy_protocol) = (wire::UpstreamProtocol::Http1, Some(wire::ProxyVersion::V2));
    assert_eq!(policy.upstream, wire::Upstream { protocol, tls: Some(tls), proxy_protocol });
    let client = wire::ClientConnections { max_age_ms: Some(600_000), max_requests: Some(10_000) };
    assert_eq!(policy.client_connections, client);
    let limits = wire::Limits {
        max_parallel_requests_per_endpoint: Some(100),
        max_parallel_requests: Some(1_000),
        max_connections_per_endpoint: Some(50),
        max_connections: Some(500),
        max_pending_requests: 100,
        pending_timeout_ms: 1_000,
    };
    assert_eq!(policy.limits, limits);
    assert_eq!(policy.connect_timeout_ms, 2_000);
    let timeouts = wire::Timeouts { response_head_ms: 3_000, idle_ms: 4_000, request_ms: Some(5_000), stream_idle_ms: 360_000 };
    assert_eq!(policy.timeouts, timeouts);
}

#[test]
fn the_yamls_defaults_are_those_of_frames_without_the_field() {
    let compiled = accepted("  listeners: [{name: a, port: 18000}]\n");
    assert_eq!(compiled.warnings, Vec::<String>::new());
    let policy = compiled.policy;
    assert_eq!(policy.listeners, [wire::Listener::new("a", 18_000, wire::Protocol::Http)]);
    assert_eq!((policy.upstream, policy.client_connections), Default::default());
    assert_eq!((policy.limits, policy.timeouts), Default::default());
    let bare = accepted("  listeners: [{name: a, port: 18000, protocol: UDP, udp: {}}]\n").policy;
    assert_eq!(bare.listeners[0].udp, Some(wire::UdpSettings::default()));
}

#[test]
fn only_a_port_of_the_same_transport_is_the_same_port() {
    let verdict = |first: &str, second: &str| {
        let more = |protocol: &str| if protocol == "TLS" { ", hostnames: [a.example.com]" } else { "" };
        let listener = |name, protocol| format!("{{name: {name}, port: 18000, protocol: {protocol}{}}}", more(protocol));
        let body = format!("{SERVICE}  listeners: [{}, {}]\n", listener("a", first), listener("b", second));
        compile(&spec(&body), 1, Mode::Cluster).map(|_| ())
    };
    for protocol in ["HTTP", "TCP", "TLS"] {
        assert_eq!(verdict(protocol, "UDP"), Ok(()), "{protocol}");
        assert!(matches!(verdict(protocol, "TCP"), Err(Rejection::Duplicate { .. })), "{protocol}");
    }
    let Err(Rejection::Duplicate { field, value }) = verdict("UDP", "UDP") else { panic!("one port twice") };
    assert_eq!((field.as_str(), value.as_str()), ("spec.listeners[1].port", "18000/UDP"));
}

#[test]
fn what_an_older_sidecar_would_get_wrong_is_required() {
    let requires = |body: &str| accepted(body).policy.requires;
    let tls = "tls: {certificateFile: /a, keyFile: /b}";
    assert_eq!(requires(&format!("  listeners: [{{name: a, port: 18000, {tls}}}]\n")), [wire::feature::LISTENER_TLS]);
    let proxied = "  listeners: [{name: a, port: 18000, proxyProtocol: {trusted: [::1/128]}}]\n";
    assert_eq!(requires(proxied), [wire::feature::LISTENER_PROXY_PROTOCOL]);
    assert_eq!(requires("  upstream: {tls: {hostname: a}}\n"), [wire::feature::UPSTREAM_TLS]);
    assert_eq!(requires("  upstream: {proxyProtocol: V1}\n"), [wire::feature::UPSTREAM_PROXY_PROTOCOL]);
    let (soft, upstream) = ("  limits: {maxConnections: 9}\n  timeouts: {request: 9s}\n", "  upstream: {protocol: HTTP2}\n");
    assert_eq!(
        requires(&format!("{soft}{upstream}  clientConnections: {{maxAge: 1m}}\n")),
        Vec::<String>::new(),
        "preferences hold up no list"
    );
}

#[test]
fn a_network_that_no_address_is_in_is_refused_with_the_one_that_is_meant() {
    let rejection = |network: &str| {
        let body = format!("{SERVICE}  listeners: [{{name: a, port: 18000, proxyProtocol: {{trusted: ['{network}']}}}}]\n");
        compile(&spec(&body), 1, Mode::Cluster).expect_err(network)
    };
    let said = rejection("10.1.2.3/8").to_string();
    assert!(said.ends_with("trusted[0] is `10.1.2.3/8`; it has bits after the prefix; the network is 10.0.0.0/8"), "{said}");
    assert!(rejection("::ffff:10.0.0.0/104").to_string().contains("write the network in IPv4's form"));
    assert_eq!(rejection("10.0.0.0/33").reason(), "InvalidValue");
}

#[test]
fn what_the_data_path_cannot_heed_is_said() {
    let warn = |body: &str| accepted(body).warnings.join("\n");
    let (http, tcp) = ("  listeners: [{name: a, port: 18000}]\n", "  listeners: [{name: a, port: 18000, protocol: TCP}]\n");
    let udp = "  listeners: [{name: a, port: 18000, protocol: UDP}]\n";
    let tls = "  listeners: [{name: a, port: 18000, protocol: TLS, hostnames: [a.example.com]}]\n";
    for (setting, body) in [
        ("clientConnections", "  clientConnections: {maxAge: 1m}\n"),
        ("upstream.protocol", "  upstream: {protocol: HTTP2}\n"),
        ("timeouts.responseHead", "  timeouts: {responseHead: 1s}\n"),
        ("timeouts.idle", "  timeouts: {idle: 1s}\n"),
        ("timeouts.request", "  timeouts: {request: 1s}\n"),
    ] {
        let said = format!("spec.{setting} has no effect: no listener has protocol HTTP");
        assert_eq!(warn(&format!("{tcp}{body}")), said);
        assert_eq!(warn(&format!("{http}{body}")), "", "{setting}");
    }
    let idle = "  timeouts: {streamIdle: 1m, connect: 2s}\n";
    let said = warn(&format!("{udp}{idle}"));
    for setting in ["timeouts.connect", "timeouts.streamIdle"] {
        let expected = format!("spec.{setting} has no effect: no listener has protocol HTTP, TCP or TLS");
        assert!(said.contains(&expected), "{said}");
    }
    let limits = "  limits: {maxParallelRequests: 9, maxConnections: 9, maxPendingRequests: 9}\n";
    let said = warn(&format!("{udp}{limits}"));
    assert!(
        said.contains("spec.limits.maxConnections has no effect") && said.contains("maxPendingRequests has no effect"),
        "{said}"
    );
    assert!(!said.contains("maxParallelRequests"), "a session counts as a request: {said}");
    assert_eq!(warn(&format!("{tcp}{limits}")), "");
    assert_eq!(warn(&format!("{tcp}{idle}")), "");
    let upstream = "  upstream: {tls: {hostname: a.example.com}, proxyProtocol: V2}\n";
    let said = warn(&format!("{udp}{upstream}"));
    assert!(said.contains("listener a: spec.upstream.tls has no effect on its datagrams"), "{said}");
    assert!(said.contains("listener a: spec.upstream.proxyProtocol has no effect on its datagrams"), "{said}");
    assert_eq!(warn(&format!("{tls}{upstream}")), "listener a: spec.upstream.tls has no effect on TLS that is passed through");
    assert_eq!(warn(&format!("{tcp}{upstream}")), "");
}

#[test]
fn who_may_be_at_the_other_end_is_said() {
    let warn = |tls: &str| {
        accepted(&format!("  listeners: [{{name: a, port: 18000}}]\n  upstream: {{tls: {tls}}}\n")).warnings.join("\n")
    };
    assert!(warn("{verification: None}").contains("encrypted, but anyone may be at the other end"));
    assert!(warn("{verification: None, caFile: /ca.pem}").contains("caFile has no effect"));
    assert!(warn("{verification: ChainOnly}").contains("anyone with a certificate of a public authority"));
    assert_eq!(warn("{verification: ChainOnly, caFile: /ca.pem}"), "");
    assert_eq!(warn("{hostname: a.example.com}"), "");
}

#[test]
fn limits_and_timeouts_that_leave_each_other_no_room_are_said() {
    let warn = |body: &str| accepted(&format!("  listeners: [{{name: a, port: 18000}}]\n{body}")).warnings.join("\n");
    assert_eq!(
        warn("  limits: {maxConnectionsPerEndpoint: 9, maxConnections: 9}\n"),
        "spec.limits.maxConnectionsPerEndpoint has no effect: maxConnections is 9, no more than that"
    );
    assert_eq!(warn("  limits: {maxParallelRequestsPerEndpoint: 8, maxParallelRequests: 9}\n"), "");
    assert!(warn("  limits: {maxPendingRequests: 9}\n").contains("maxPendingRequests has no effect: nothing is limited"));
    assert!(warn("  limits: {pendingTimeout: 2s}\n").contains("pendingTimeout has no effect: nothing is limited"));
    let none_waits = "  limits: {maxParallelRequests: 9, maxPendingRequests: 0, pendingTimeout: 2s}\n";
    assert_eq!(warn(none_waits), "spec.limits.pendingTimeout has no effect: maxPendingRequests is 0, so no request waits");
    assert_eq!(warn("  limits: {maxParallelRequests: 9, maxPendingRequests: 0}\n"), "");
    assert!(warn("  timeouts: {request: 5s, responseHead: 5s}\n").contains("spec.timeouts.responseHead has no effect"));
    assert_eq!(warn("  timeouts: {request: 5s, responseHead: 4s}\n"), "");
    assert_eq!(warn("  timeouts: {request: 5s}\n"), "", "a default isn't meant");
}

#[test]
fn an_active_check_that_endpoints_cannot_answer_is_said() {
    let warn = |check: &str, upstream: &str| {
        let body = format!(
            "  listeners: [{{name: a, port: 18000}}]\n  healthCheck: {{active: {{type: {check}}}}}\n  upstream: {upstream}\n"
        );
        accepted(&body).warnings.join("\n")
    };
    for (upstream, field) in [
        ("{tls: {hostname: a.example.com}}", "spec.upstream.tls"),
        ("{proxyProtocol: V1}", "spec.upstream.proxyProtocol"),
        ("{protocol: HTTP2}", "spec.upstream.protocol"),
    ] {
        assert!(warn("HTTP", upstream).contains(&format!("asks in plain HTTP/1.1, whatever {field} says")));
        assert_eq!(warn("TCP", upstream), "");
    }
    assert_eq!(warn("HTTP", "{}"), "");
}
