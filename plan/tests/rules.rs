//! What only the meaning of a spec decides: which sources go where, and what is accepted with a warning.

use evenkeel_plan::{Mode, Rejection, compile, document};
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
