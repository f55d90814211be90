//! Claims on what goes on without a stream.

use super::*;
use crate::control::{Incoming, Rules};
use crate::listen::Ports;
use crate::metrics::Registry;
use crate::table::Table;
use arc_swap::ArcSwap;
use evenkeel_wire::{ActiveCheck, Algorithm, CheckKind, Endpoint, Health, Policy, PoolName, Retry};

fn follower() -> (Follower, Arc<ArcSwap<Table>>, Arc<Status>) {
    let table = Arc::new(ArcSwap::from_pointee(Table::default()));
    let rules = Rules { addresses: Mode::Embedded, excluded: BTreeSet::new(), seed: 1 };
    let control = Control::new(table.clone(), Arc::new(Registry::new(0)), Ports::new(Vec::new()), rules);
    let settings = Settings {
        uri: http::Uri::from_static("https://operator/v1/feed"),
        host: "operator".into(),
        port: 1,
        ca: Ca::Pem(String::new()),
        token_file: PathBuf::new(),
        pools: vec!["shop/a".into()],
        addresses: Mode::Embedded,
    };
    let status = Arc::new(Status::new("the operator"));
    status.heard();
    (Follower::new(settings, control, status.clone(), 1), table, status)
}

fn pool() -> PoolName {
    "shop/a".parse().expect("a name")
}

/// Two endpoints with an active check: `up` is usable by the operator's verdict, `down` isn't.
fn incoming() -> Incoming {
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

fn health(table: &ArcSwap<Table>, id: &str) -> &'static str {
    let table = table.load();
    let pool = table.pools().get(&pool()).expect("is in use");
    pool.members().find(|member| member.endpoint().id() == id).expect("is a member").endpoint().health().as_str()
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_checks_for_itself_only_while_its_feed_is_stale() {
    let (mut follower, _, status) = follower();
    follower.control.apply(&incoming()).expect("is applied");
    follower.look();
    assert!(!follower.stale);
    tokio::time::advance(STALE).await;
    follower.look();
    assert!(follower.stale);
    status.heard();
    follower.look();
    assert!(follower.stale, "a line isn't a list: only a synced feed is fresh");
    follower.is_fresh();
    assert!(!follower.stale);
}

#[tokio::test(start_paused = true)]
async fn own_checks_only_take_out_more_and_are_forgotten_when_the_operator_is_back() {
    let (mut follower, table, _) = follower();
    follower.control.apply(&incoming()).expect("is applied");
    tokio::time::advance(STALE).await;
    follower.look();
    follower.control.judge(&pool(), "up", false, "Refused");
    follower.control.judge(&pool(), "down", true, "Passing");
    assert_eq!((health(&table, "up"), health(&table, "down")), ("Down", "Down"));
    follower.control.apply(&Incoming { revision: 2, ..incoming() }).expect("is applied");
    assert_eq!(health(&table, "up"), "Down", "a new list doesn't undo what this sidecar sees");
    follower.is_fresh();
    assert_eq!((health(&table, "up"), health(&table, "down")), ("Usable", "Down"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_list_leaves_the_live_records_alone() {
    let (mut follower, table, _) = follower();
    follower.control.apply(&incoming()).expect("is applied");
    let mut bad = Incoming { revision: 2, ..incoming() };
    bad.endpoints[0].health = Health::Draining;
    bad.endpoints[1].weight = 0;
    assert!(follower.control.apply(&bad).is_err());
    assert_eq!(health(&table, "up"), "Usable");
    assert_eq!(follower.control.revisions().get(&pool()), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn loopback_is_refused_where_the_cluster_says_where_to_go() {
    let (mut follower, _, _) = follower();
    follower.control.rules.addresses = Mode::Cluster;
    let refusal = follower.control.apply(&incoming()).expect_err("is refused");
    assert!(refusal.to_string().contains("127.0.0.1"), "{refusal}");
}
