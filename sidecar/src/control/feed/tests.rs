//! Claims on what goes on without a stream.

use super::*;
use crate::control::Incoming;
use crate::control::refusal::Refusal;
use crate::control::tests::{control, health, incoming, listening, pool};
use crate::table::Table;
use arc_swap::ArcSwap;
use evenkeel_wire::TransportPort;

fn follower() -> (Follower, Arc<ArcSwap<Table>>, Arc<Status>) {
    let (control, table) = control();
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

#[test]
fn a_port_is_kept_open_for_who_waits_for_another_pool_and_not_for_who_waits_for_a_stranger() {
    let (mut waiting, number) = (Waiting::new(), 18_080);
    let port = TransportPort::tcp(number);
    let listener = || "tcp".to_owned();
    let source = std::io::ErrorKind::AddrInUse.into();
    waiting.add(listening("shop/b", number), &Refusal::Listen { listener: listener(), port, source });
    assert!(waiting.ports().is_empty());
    waiting.add(listening("shop/b", number), &Refusal::PortTaken { listener: listener(), port, owner: pool() });
    assert_eq!(waiting.ports(), BTreeSet::from([port]));
}
