//! Claims on what a revision changes, and what one that is refused doesn't.

use super::*;
use crate::listen::Command;
use evenkeel_balance::{BuildError, PickArgs, SmallRng};
use evenkeel_wire::{ActiveCheck, Algorithm, CheckKind, Endpoint, Health, Listener, Policy, PoolName, Protocol, Retry};
use std::net::TcpListener;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Without workers, on addresses of any kind.
pub(super) fn control() -> (Control, Arc<ArcSwap<Table>>) {
    control_of(Vec::new())
}

fn control_of(workers: Vec<UnboundedSender<Command>>) -> (Control, Arc<ArcSwap<Table>>) {
    let table = Arc::new(ArcSwap::from_pointee(Table::default()));
    let rules = Rules { addresses: Mode::Embedded, excluded: BTreeSet::new(), own: BTreeSet::new(), seed: 1 };
    (Control::new(table.clone(), Arc::new(Registry::new(0)), Ports::new(workers, 1), rules), table)
}

/// A port that nobody has right now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A pool with a listener on this port.
pub(super) fn listening(name: &str, port: u16) -> Incoming {
    let mut incoming = Incoming { name: name.parse().expect("a name"), ..incoming() };
    incoming.policy.listeners.push(Listener { name: "tcp".into(), port, protocol: Protocol::Tcp });
    incoming
}

pub(super) fn pool() -> PoolName {
    "shop/a".parse().expect("a name")
}

/// Two endpoints with an active check: `up` is usable by the operator's verdict, `down` isn't.
pub(super) fn incoming() -> Incoming {
    let endpoint = |id: &str, port, health| Endpoint {
        id: id.into(),
        ring_key: id.into(),
        address: [127, 0, 0, 1].into(),
        port,
        weight: 100,
        zone: None,
        node: None,
        target: None,
        health,
    };
    let active =
        ActiveCheck { kind: CheckKind::Tcp, interval_ms: 1000, timeout_ms: 100, unhealthy_threshold: 3, healthy_threshold: 2 };
    let policy = Policy {
        requires: Vec::new(),
        generation: 1,
        listeners: Vec::new(),
        algorithm: Algorithm::RoundRobin,
        active: Some(active),
        passive: None,
        panic_threshold: 0,
        retry: Retry { max_retries: 0, on: Vec::new() },
        connect_timeout_ms: 1000,
    };
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
    refused.policy.listeners.push(Listener { name: "other".into(), port, protocol: Protocol::Tcp });
    assert!(matches!(control.apply(&refused), Err(Refusal::Listen { .. })));
    assert!(commands.try_recv().is_err(), "no worker hears of a port of a pool that isn't in use");
    control.apply(&listening("shop/a", good)).expect("the port is free again");
    assert!(matches!(commands.try_recv(), Ok(Command::Open(opened)) if opened.number == good));
    assert!(table.load().route(good).is_some());
}

#[test]
fn a_listener_on_the_process_own_port_is_refused_and_one_on_an_excluded_port_left_out_and_noted() {
    let (mut control, table) = control();
    let (own, excluded) = (free_port(), free_port());
    control.rules.own.insert(own);
    control.rules.excluded.insert(excluded);
    let refusal = control.apply(&listening("shop/a", own)).expect_err("is refused");
    assert!(matches!(refusal, Refusal::OwnPort { port, .. } if port == own), "{refusal}");
    control.apply(&listening("shop/b", excluded)).expect("is served but there");
    assert!(table.load().route(excluded).is_none());
    let noted = |control: &Control| control.left_out.iter().map(|(_, port)| *port).collect::<Vec<_>>();
    assert_eq!(noted(&control), [excluded]);
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
