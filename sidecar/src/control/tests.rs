//! Claims on what a revision changes, and what one that is refused doesn't.

use super::*;
use crate::listen::Command;
use evenkeel_balance::{BuildError, PickArgs, SmallRng};
use evenkeel_wire::{
    ActiveCheck, Algorithm, CheckKind, CostClass, Endpoint, Health, Listener, Policy, PoolName, Protocol, ProxyProtocolIn, Retry,
    TransportPort,
};
use std::net::TcpListener;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Without workers, on addresses of any kind.
pub(super) fn control() -> (Control, Arc<ArcSwap<Table>>) {
    control_of(Vec::new())
}

fn control_of(workers: Vec<UnboundedSender<Command>>) -> (Control, Arc<ArcSwap<Table>>) {
    let table = Arc::new(ArcSwap::from_pointee(Table::default()));
    let rules =
        Rules { addresses: Mode::Embedded, excluded: BTreeSet::new(), own: BTreeSet::new(), zone: None, identity: 7, seed: 1 };
    (Control::new(table.clone(), Arc::new(Registry::new(0)), Ports::new(workers, 1), rules), table)
}

/// A port that nobody has right now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A pool with a listener on this port.
pub(super) fn listening(name: &str, port: u16) -> Incoming {
    let mut incoming = Incoming { name: name.parse().expect("a name"), ..incoming() };
    incoming.policy.listeners.push(Listener::new("tcp", port, Protocol::Tcp));
    incoming
}

pub(super) fn pool() -> PoolName {
    "shop/a".parse().expect("a name")
}

/// The least that a policy says.
pub(crate) fn policy() -> Policy {
    Policy {
        requires: Vec::new(),
        generation: 1,
        listeners: Vec::new(),
        algorithm: Algorithm::RoundRobin,
        slow_start: None,
        zone_aware: false,
        subset: None,
        active: None,
        passive: None,
        panic_threshold: 0,
        retry: Retry { max_retries: 0, on: Vec::new() },
        connect_timeout_ms: 1000,
        upstream: Default::default(),
        client_connections: Default::default(),
        limits: Default::default(),
        timeouts: Default::default(),
    }
}

/// Two endpoints with an active check: `up` is usable by the operator's verdict, `down` isn't.
pub(super) fn incoming() -> Incoming {
    let endpoint = |id: &str, port, health| Endpoint {
        id: id.into(),
        ring_key: id.into(),
        address: [127, 0, 0, 1].into(),
        port,
        weight: 100,
        priority: 0,
        zone: None,
        node: None,
        target: None,
        health,
    };
    let active =
        ActiveCheck { kind: CheckKind::Tcp, interval_ms: 1000, timeout_ms: 100, unhealthy_threshold: 3, healthy_threshold: 2 };
    let policy = Policy { active: Some(active), ..policy() };
    let endpoints = vec![endpoint("up", 1, Health::Usable), endpoint("down", 2, Health::Down)];
    Incoming { name: pool(), revision: 1, policy, endpoints }
}

pub(super) fn health(table: &ArcSwap<Table>, id: &str) -> &'static str {
    let table = table.load();
    let pool = table.pools().get(&pool()).expect("is in use");
    pool.members().find(|member| member.endpoint().id() == id).expect("is a member").endpoint().health().as_str()
}

#[test]
fn a_refused_list_leaves_the_live_records_alone() {
    let (mut control, table) = control();
    control.apply(&incoming()).expect("is applied");
    let mut bad = Incoming { revision: 2, ..incoming() };
    bad.endpoints[0].health = Health::Draining;
    bad.endpoints[1].weight = 0;
    assert!(control.apply(&bad).is_err());
    assert_eq!(health(&table, "up"), "Usable");
    assert_eq!(control.revisions().get(&pool()), Some(&1));
}

#[test]
fn a_list_that_its_ring_cannot_hold_leaves_the_live_records_alone() {
    let (mut control, table) = control();
    control.apply(&incoming()).expect("is applied");
    let mut bad = Incoming { revision: 2, ..incoming() };
    let ring = evenkeel_wire::Table::Ring { virtual_nodes: 1_000 };
    bad.policy.algorithm = Algorithm::ConsistentHash { table: ring, keys: Vec::new(), hash_balance_factor: None };
    let first = Endpoint { health: Health::Draining, weight: 1_000, ..bad.endpoints.remove(0) };
    bad.endpoints.extend((0..420).map(|n| Endpoint { id: format!("{n}"), ring_key: format!("{n}"), ..first.clone() }));
    bad.endpoints.push(first);
    let refusal = control.apply(&bad).expect_err("is refused");
    assert!(matches!(refusal, Refusal::Build(BuildError::RingPoints { .. })), "{refusal}");
    assert_eq!(health(&table, "up"), "Usable");
    let weights: Vec<_> = table.load().pools()[&pool()].members().map(|member| member.endpoint().weight()).collect();
    assert_eq!(weights, [100, 100]);
}

#[test]
fn a_subset_of_a_table_and_an_endless_priority_leave_the_live_records_alone() {
    let (mut control, table) = control();
    control.apply(&incoming()).expect("is applied");
    let mut bad = Incoming { revision: 2, ..incoming() };
    bad.endpoints[0].health = Health::Draining;
    let table_of_keys = evenkeel_wire::Table::Ring { virtual_nodes: 10 };
    let hash = Algorithm::ConsistentHash { table: table_of_keys, keys: Vec::new(), hash_balance_factor: None };
    let policy = Policy { algorithm: hash, subset: Some(evenkeel_wire::Subset { size: 1 }), ..policy() };
    let refusal = control.apply(&Incoming { policy, ..bad.clone() }).expect_err("is refused");
    assert!(matches!(refusal, Refusal::Build(BuildError::SubsetOfTable)), "{refusal}");
    bad.endpoints[1].priority = 8;
    let refusal = control.apply(&bad).expect_err("is refused");
    assert!(matches!(refusal, Refusal::OutOfRange { .. }), "{refusal}");
    assert_eq!(health(&table, "up"), "Usable");
}

#[test]
fn a_removed_pool_leaves_no_load_behind() {
    let (mut control, _) = control();
    control.apply(&incoming()).expect("is applied");
    assert_eq!(control.loads.count(), 2);
    control.remove(&pool(), "gone");
    assert_eq!(control.loads.count(), 0);
}

#[test]
fn work_given_through_one_pool_weighs_in_another() {
    let (mut control, table) = control();
    control.apply(&incoming()).expect("is applied");
    let other = Incoming { name: "shop/other".parse().expect("a name"), ..incoming() };
    control.apply(&other).expect("is applied");
    let table = table.load();
    let pick = table.pools()[&pool()].balance().pick(PickArgs::default(), Instant::now(), &mut SmallRng::new(1));
    let pick = pick.expect("an endpoint");
    let id = pick.lease.endpoint().id().to_owned();
    let elsewhere = table.pools()[&other.name].members().find(|member| member.endpoint().id() == id).expect("is in both");
    assert!(!Arc::ptr_eq(elsewhere.endpoint(), pick.lease.endpoint()), "a verdict belongs to one pool");
    assert_eq!(elsewhere.endpoint().in_flight(), 1);
}

#[test]
fn a_zone_that_becomes_known_is_preferred_from_then_on_by_pools_that_ask_for_it() {
    let (mut control, table) = control();
    let mut zoned = Incoming { name: "shop/zoned".parse().expect("a name"), ..incoming() };
    zoned.policy.zone_aware = true;
    control.apply(&zoned).expect("is applied");
    control.apply(&incoming()).expect("is applied");
    let preferred = |name: &PoolName| table.load().pools()[name].balance().config().zone.clone();
    let members = || table.load().pools()[&zoned.name].balance().members().to_vec();
    assert_eq!(preferred(&zoned.name), None);
    let before = members();
    control.set_zone("a");
    assert_eq!((preferred(&zoned.name), preferred(&pool())), (Some("a".into()), None));
    assert!(before.iter().zip(members()).all(|(before, now)| Arc::ptr_eq(before, &now)), "live state stays");
    control.apply(&Incoming { revision: 2, ..zoned.clone() }).expect("is applied");
    assert_eq!(preferred(&zoned.name), Some("a".into()));
}

#[test]
fn a_feature_that_is_known_is_served_and_one_that_is_not_is_named() {
    let (mut control, table) = control();
    let mut needs = incoming();
    needs.policy.requires = vec![evenkeel_wire::feature::PRIORITY.into()];
    needs.endpoints[0].priority = 3;
    control.apply(&needs).expect("is applied");
    assert_eq!(table.load().pools()[&pool()].members().map(|member| member.endpoint().priority()).max(), Some(3));
    needs.policy.requires.push("teleport".into());
    let refusal = control.apply(&Incoming { revision: 2, ..needs }).expect_err("is refused");
    assert!(refusal.to_string().contains("`teleport`"), "{refusal}");
}

#[test]
fn settings_out_of_bounds_are_refused_though_the_operator_has_checked_them() {
    let (mut control, _) = control();
    let slow_start = |window_ms, min_weight_percent| Some(evenkeel_wire::SlowStart { window_ms, min_weight_percent });
    let by_route = |segments| Algorithm::LeastCost { choice_count: 2, class: CostClass::Route { segments } };
    let policies = [
        Policy { slow_start: slow_start(999, 10), ..policy() },
        Policy { slow_start: slow_start(3_600_001, 10), ..policy() },
        Policy { slow_start: slow_start(1_000, 0), ..policy() },
        Policy { subset: Some(evenkeel_wire::Subset { size: 0 }), ..policy() },
        Policy { algorithm: Algorithm::LeastResponseTime { choice_count: 33 }, ..policy() },
        Policy { algorithm: by_route(0), ..policy() },
        Policy { algorithm: by_route(9), ..policy() },
    ];
    for policy in policies {
        let refusal = control.apply(&Incoming { policy: policy.clone(), ..incoming() }).expect_err("is refused");
        assert!(matches!(refusal, Refusal::OutOfRange { .. }), "{policy:?}: {refusal}");
    }
}

#[test]
fn loopback_is_refused_where_the_cluster_says_where_to_go() {
    let (mut control, _) = control();
    control.rules.addresses = Mode::Cluster;
    let refusal = control.apply(&incoming()).expect_err("is refused");
    assert!(refusal.to_string().contains("127.0.0.1"), "{refusal}");
}

#[test]
fn nobody_is_accepted_on_a_port_before_its_route_is_there_nor_for_a_pool_that_is_refused() {
    let (worker, mut commands) = unbounded_channel();
    let (mut control, table) = control_of(vec![worker]);
    let (good, taken) = (free_port(), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let mut refused = listening("shop/b", good);
    let port = taken.local_addr().expect("an address").port();
    refused.policy.listeners.push(Listener::new("other", port, Protocol::Tcp));
    assert!(matches!(control.apply(&refused), Err(Refusal::Listen { .. })));
    assert!(commands.try_recv().is_err(), "no worker hears of a port of a pool that isn't in use");
    control.apply(&listening("shop/a", good)).expect("the port is free again");
    assert!(matches!(commands.try_recv(), Ok(Command::Open(opened)) if opened.at == TransportPort::tcp(good)));
    assert!(table.load().route(good).is_some());
}

#[test]
fn a_listener_on_the_process_own_port_is_refused_and_one_on_an_excluded_port_left_out_and_noted() {
    let (mut control, table) = control();
    let (own, excluded) = (free_port(), free_port());
    control.rules.own.insert(own);
    control.rules.excluded.insert(TransportPort::tcp(excluded));
    let refusal = control.apply(&listening("shop/a", own)).expect_err("is refused");
    assert!(matches!(refusal, Refusal::OwnPort { port, .. } if port == own), "{refusal}");
    control.apply(&listening("shop/b", excluded)).expect("is served but there");
    assert!(table.load().route(excluded).is_none());
    let noted = |control: &Control| control.left_out.iter().map(|(_, port)| *port).collect::<Vec<_>>();
    assert_eq!(noted(&control), [TransportPort::tcp(excluded)]);
    control.remove(&"shop/b".parse().expect("a name"), "gone");
    assert!(noted(&control).is_empty());
}

#[test]
fn revisions_begin_their_turns_with_different_endpoints() {
    let (mut control, table) = control();
    let mut first = BTreeSet::new();
    for revision in 1..=16 {
        let mut next = Incoming { revision, ..incoming() };
        next.endpoints[1].health = Health::Usable;
        control.apply(&next).expect("is applied");
        let table = table.load();
        let picked = table.pools()[&pool()].balance().pick(PickArgs::default(), Instant::now(), &mut SmallRng::new(1));
        first.insert(picked.expect("an endpoint").lease.endpoint().id().to_owned());
    }
    assert_eq!(first.len(), 2);
}

/// A pool that TLS for these names is passed through to.
fn passing(name: &str, port: u16, hostnames: &[&str]) -> Incoming {
    let mut incoming = Incoming { name: name.parse().expect("a name"), ..incoming() };
    let hostnames = hostnames.iter().map(|&hostname| hostname.into()).collect();
    incoming.policy.listeners.push(Listener { hostnames, ..Listener::new("tls", port, Protocol::Tls) });
    incoming
}

#[test]
fn pools_share_a_port_where_tls_is_passed_through_by_names_that_differ() {
    let (mut control, table) = control();
    let port = free_port();
    control.apply(&passing("shop/a", port, &["db.example.com", "*.a.example.com"])).expect("is applied");
    control.apply(&passing("shop/b", port, &["*.example.com", "cache.example.com"])).expect("shares the port");
    let refusal = control.apply(&passing("shop/c", port, &["x.org", "db.example.com"])).expect_err("the name is a's");
    assert!(matches!(&refusal, Refusal::HostnameTaken { hostname, .. } if hostname == "db.example.com"), "{refusal}");
    assert!(refusal.may_pass(), "once a gives it up");
    let refusal = control.apply(&listening("shop/d", port)).expect_err("the port is taken");
    assert!(matches!(refusal, Refusal::PortTaken { .. }), "{refusal}");
    let mut proxied = passing("shop/d", port, &["y.org"]);
    proxied.policy.listeners[0].proxy_protocol =
        Some(ProxyProtocolIn { trusted: Vec::from(["::1/128".parse().expect("a network")]) });
    let refusal = control.apply(&proxied).expect_err("whose header it would be isn't known");
    assert!(matches!(refusal, Refusal::ProxyProtocolDiffers { .. }), "{refusal}");
    let leads = |name: &str| {
        let table = table.load();
        table.route_by_name(port, name).map(|route| route.pool.label().to_owned())
    };
    let [a, b] = ["shop/a", "shop/b"].map(|pool| Some(pool.to_owned()));
    assert_eq!((leads("db.example.com"), leads("cache.example.com")), (a.clone(), b.clone()));
    assert_eq!((leads("x.a.example.com"), leads("x.y.example.com")), (a, b.clone()), "the longest wildcard has it");
    assert_eq!((leads("example.com"), leads(".example.com"), leads("notexample.com")), (None, None, None));
    control.remove(&"shop/a".parse().expect("a name"), "gone");
    assert_eq!(leads("db.example.com"), b, "the port goes on for the other");
    control.apply(&passing("shop/c", port, &["x.org", "db.example.com"])).expect("the name is free now");
}
