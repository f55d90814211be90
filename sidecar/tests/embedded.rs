//! Claims on a sidecar that serves files, over loopback.

mod common;

use common::web::{AT_ONCE, Law, Web, load};
use common::{Backend, Client, Sidecar, config, eventually, free_port, get, pool_yaml, reach, refusing};
use evenkeel_sidecar::app::{Source, StartError};
use evenkeel_sidecar::lifecycle::Drained;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RETRY: &str = "  retry: {maxRetries: 3, retryOn: [ConnectFailure]}\n";
const NO_RETRY: &str = "  retry: {maxRetries: 0, retryOn: []}\n";

fn file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("pools.yaml");
    std::fs::write(&path, text).expect("writes");
    path
}

async fn start(folder: &TempDir, text: &str) -> Result<Sidecar, StartError> {
    Sidecar::start(config(Source::Files(vec![file(folder, text)]))).await
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn connections_are_spread_and_counted() {
    let (folder, port) = (folder(), free_port().await);
    let backends = [Backend::start().await, Backend::start().await, Backend::start().await];
    let text =
        pool_yaml("spread", port, &backends.each_ref().map(|backend| backend.address), "  algorithm: {type: RoundRobin}\n");
    let sidecar = start(&folder, &text).await.expect("starts");
    let mut seen = BTreeMap::new();
    for _ in 0..30 {
        *seen.entry(reach(port).await.expect("is served")).or_insert(0) += 1;
    }
    // All workers take the same turns.
    assert_eq!(seen.values().collect::<Vec<_>>(), [&10, &10, &10]);
    let counted = || async { (sidecar.metric("evenkeel_requests_total", &["default/spread"]).await == 30.0).then_some(()) };
    eventually("30 connections counted", counted).await;
    for backend in &backends {
        let label = format!("endpoint=\"{}\"", backend.address);
        assert_eq!(sidecar.metric("evenkeel_requests_total", &[&label]).await, f64::from(seen[&backend.port()]));
        assert_eq!(sidecar.metric("evenkeel_inflight", &[&label]).await, 0.0);
    }
    assert_eq!(sidecar.metric("evenkeel_request_duration_seconds_count", &[]).await, 30.0);
}

#[tokio::test]
async fn tasks_come_and_go_with_connections_and_are_shown_by_worker() {
    let (folder, port, backend) = (folder(), free_port().await, Backend::start().await);
    let sidecar = start(&folder, &pool_yaml("tasks", port, &[backend.address], "")).await.expect("starts");
    let tasks = || sidecar.metric("evenkeel_tasks", &["worker=\""]);
    let listening = async || {
        let (first, both) = (sidecar.metric("evenkeel_tasks", &["worker=\"0\""]).await, tasks().await);
        (first > 0.0 && both > first).then_some(both)
    };
    let idle = eventually("a listener on each worker", listening).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connects"));
    }
    eventually("a task for each connection", async || (tasks().await >= idle + 10.0).then_some(())).await;
    drop(clients);
    eventually("none for those that are gone", async || (tasks().await == idle).then_some(())).await;
}

#[tokio::test]
async fn every_metric_stands_in_the_page_for_users() {
    let page = include_str!("../../docs/observability.md");
    let (folder, port, backend) = (folder(), free_port().await, Backend::start().await);
    let sidecar = start(&folder, &pool_yaml("page", port, &[backend.address], "")).await.expect("starts");
    let (_, text) = get(sidecar.metrics, "/metrics").await;
    let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(types.len() > 20, "{types:?}");
    for (family, kind) in types {
        let name = if kind == "counter" { format!("{family}_total") } else { family.to_owned() };
        assert!(page.contains(&format!("| `{name}` |")), "{name} isn't in docs/observability.md");
    }
}

#[tokio::test]
async fn sidecars_of_different_pods_hash_their_sources_apart() {
    let backends = [Backend::start().await, Backend::start().await, Backend::start().await];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let by_source = "  algorithm: {type: ConsistentHash, consistentHash: {keys: [{type: SourceIP}]}}\n";
    let mut reached = BTreeSet::new();
    for last in 1..=16 {
        let (folder, port) = (folder(), free_port().await);
        let mut config = config(Source::Files(vec![file(&folder, &pool_yaml("source", port, &addresses, by_source))]));
        (config.workers, config.pod_ip) = (1, Some([10, 0, 0, last].into()));
        let _sidecar = Sidecar::start(config).await.expect("starts");
        let first = reach(port).await.expect("is served");
        assert_eq!(reach(port).await, Some(first), "one pod keeps its endpoint");
        reached.insert(first);
    }
    assert!(reached.len() > 1, "16 pods share one key");
}

#[tokio::test]
async fn a_refused_connect_moves_on_to_another_endpoint() {
    let (folder, port) = (folder(), free_port().await);
    let backend = Backend::start().await;
    let more = format!("{RETRY}  algorithm: {{type: RoundRobin}}\n");
    let text = pool_yaml("retry", port, &[refusing().await, backend.address, refusing().await], &more);
    let sidecar = start(&folder, &text).await.expect("starts");
    for _ in 0..20 {
        assert_eq!(reach(port).await, Some(backend.port()));
    }
    assert!(sidecar.metric("evenkeel_retries_total", &["reason=\"Refused\""]).await > 0.0);
}

#[tokio::test]
async fn errors_in_a_row_eject_and_the_rest_carries_on() {
    let (folder, port) = (folder(), free_port().await);
    let backends = [Backend::start().await, Backend::start().await];
    let dead = refusing().await;
    let more = format!(
        "{NO_RETRY}  algorithm: {{type: RoundRobin}}\n  healthCheck: {{passive: {{consecutiveErrors: 2, baseEjectionTime: 60s}}}}\n"
    );
    let text = pool_yaml("eject", port, &[backends[0].address, dead, backends[1].address], &more);
    let sidecar = start(&folder, &text).await.expect("starts");
    let ejected = || async {
        let _ = reach(port).await;
        let label = format!("endpoint=\"{dead}\"");
        (sidecar.metric("evenkeel_endpoint_state", &[&label, "Ejected"]).await == 1.0).then_some(())
    };
    eventually("the dead endpoint ejected", ejected).await;
    assert_eq!(sidecar.metric("evenkeel_ejections_total", &["reason=\"ConnectErrors\""]).await, 1.0);
    for _ in 0..20 {
        assert!(reach(port).await.is_some());
    }
    assert_eq!(sidecar.metric("evenkeel_requests_total", &["flags=\"ConnectFailure\""]).await, 2.0);
}

#[tokio::test]
async fn own_checks_take_out_what_fails_and_panic_uses_all_when_too_much_does() {
    let (folder, port) = (folder(), free_port().await);
    let backend = Backend::start().await;
    let check = |threshold| {
        format!(
            "{RETRY}  healthCheck: {{panicThreshold: {threshold}, active: {{type: TCP, interval: 100ms, timeout: 100ms, unhealthyThreshold: 1}}}}\n"
        )
    };
    let endpoints = [backend.address, refusing().await, refusing().await];
    let text = pool_yaml("checked", port, &endpoints, &check(30));
    let sidecar = start(&folder, &text).await.expect("starts");
    let down = || async {
        let pool = sidecar.pool("default/checked").await?;
        let down = pool["endpoints"].as_array()?.iter().filter(|endpoint| endpoint["health"] == "Down").count();
        (down == 2).then_some(pool["panicking"].as_bool()?)
    };
    assert!(!eventually("two endpoints down", down).await, "33 % is above 30 %");
    file(&folder, &pool_yaml("checked", port, &endpoints, &check(50)));
    sidecar.reload.send(()).await.expect("runs");
    let panicking = || async { sidecar.pool("default/checked").await?["panicking"].as_bool()?.then_some(()) };
    eventually("panic at 33 % of 50 %", panicking).await;
    assert_eq!(reach(port).await, Some(backend.port()));
    assert!(sidecar.metric("evenkeel_picks_total", &["reason=\"Panic\""]).await >= 1.0);
}

#[tokio::test]
async fn ipv6_is_served_on_both_sides() {
    let (folder, port) = (folder(), free_port().await);
    let backend = Backend::start_on(Ipv6Addr::LOCALHOST.into()).await;
    let sidecar = start(&folder, &pool_yaml("six", port, &[backend.address], "")).await.expect("starts");
    let mut client = Client::connect_to(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)).await;
    assert_eq!(client.backend().await, Some(backend.port()));
    drop(client);
    let label = format!("endpoint=\"{}\"", backend.address);
    let counted = || async { (sidecar.metric("evenkeel_requests_total", &[&label]).await == 1.0).then_some(()) };
    eventually("the connection counted under [::1]", counted).await;
}

#[tokio::test]
async fn a_half_close_passes_and_the_other_way_stays_open() {
    let (folder, port) = (folder(), free_port().await);
    let backend = Backend::start().await;
    let _sidecar = start(&folder, &pool_yaml("half", port, &[backend.address], "")).await.expect("starts");
    let mut client = Client::connect(port).await;
    client.backend().await.expect("is served");
    let sent: Vec<u8> = (0..1_000_000u32).map(|index| index as u8).collect();
    let (mut from, mut to) = client.0.split();
    let (echoed, ()) = tokio::join!(
        async {
            let mut echoed = Vec::new();
            from.read_to_end(&mut echoed).await.map(|_| echoed)
        },
        async {
            to.write_all(&sent).await.expect("writes");
            to.shutdown().await.expect("ends its side");
        }
    );
    assert!(echoed.expect("a clean end") == sent, "all that was sent comes back after the half-close");
}

#[tokio::test]
async fn a_reset_passes_as_a_reset() {
    let (folder, port) = (folder(), free_port().await);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let backend = listener.local_addr().expect("has an address");
    let _sidecar = start(&folder, &pool_yaml("reset", port, &[backend], "")).await.expect("starts");
    let mut client = Client::connect(port).await;
    let (upstream, _) = listener.accept().await.expect("is reached");
    socket2::SockRef::from(&upstream).set_linger(Some(std::time::Duration::ZERO)).expect("sets");
    drop(upstream);
    let error = client.0.read_u8().await.expect_err("is over");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

const BY_RESPONSE_TIME: &str = "  algorithm: {type: LeastResponseTime, leastResponseTime: {choiceCount: 0}}\n";

#[tokio::test]
async fn a_response_time_ends_with_the_answers_first_byte() {
    let (folder, port) = (folder(), free_port().await);
    let late = Duration::from_millis(50);
    let backends = [Backend::start_late(Ipv4Addr::LOCALHOST.into(), late).await, Backend::start().await];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let _tcp = start(&folder, &pool_yaml("tcp", port, &addresses, BY_RESPONSE_TIME)).await.expect("starts");
    let mut reached = Vec::new();
    for _ in 0..30 {
        reached.push(reach(port).await.expect("is served"));
    }
    let of_late = reached.iter().filter(|port| **port == backends[0].port()).count();
    assert!(of_late <= 6, "a connect is no answer: {of_late} of 30 went to the late one");
}

#[tokio::test]
async fn an_answer_that_goes_on_for_long_was_as_quick_as_its_head() {
    let (folder, port) = (folder(), free_port().await);
    let (any, tenth): (SocketAddr, Law) = ((Ipv4Addr::LOCALHOST, 0).into(), |_| Duration::from_millis(100));
    let [streams, thinks] = [[AT_ONCE, tenth], [|_| Duration::from_millis(60), AT_ONCE]];
    let webs = [Web::start_streaming(any, streams).await, Web::start_streaming(any, thinks).await];
    let text = pool_yaml("http", port, &webs.each_ref().map(|web| web.address), BY_RESPONSE_TIME);
    let _sidecar = start(&folder, &text.replace("protocol: TCP", "protocol: HTTP")).await.expect("starts");
    let seen = load(port, 1, 30).await;
    let of_streams = seen.get(&webs[0].port()).copied().unwrap_or(0);
    assert!(of_streams >= 22, "{of_streams} of 30 went to the one whose head comes at once");
}

#[tokio::test]
async fn a_port_in_use_ends_the_start_and_is_named() {
    let (folder, backend) = (folder(), Backend::start().await);
    let taken = Backend::start().await;
    let error = start(&folder, &pool_yaml("taken", taken.port(), &[backend.address], "")).await.err().expect("is refused");
    let text = error.to_string();
    assert!(text.contains("default/taken") && text.contains("`tcp`") && text.contains(&taken.port().to_string()), "{text}");
    assert!(!error.is_usage());
}

#[tokio::test]
async fn an_unknown_field_ends_the_start_and_is_named_with_its_file() {
    let (folder, backend) = (folder(), Backend::start().await);
    let text = pool_yaml("odd", free_port().await, &[backend.address], "  mirrors: {to: other}\n");
    let error = start(&folder, &text).await.err().expect("is refused");
    let text = error.to_string();
    assert!(text.contains("pools.yaml") && text.contains("mirrors") && text.contains("odd"), "{text}");
    assert!(error.is_usage());
}

#[tokio::test]
async fn two_pools_of_one_port_are_refused() {
    let (folder, backend, port) = (folder(), Backend::start().await, free_port().await);
    let text = [pool_yaml("a", port, &[backend.address], ""), pool_yaml("b", port, &[backend.address], "")].join("---\n");
    let error = start(&folder, &text).await.err().expect("is refused");
    assert!(error.to_string().contains("default/b") && error.to_string().contains("default/a"), "{error}");
}

#[tokio::test]
async fn a_reload_moves_new_connections_and_ends_those_to_what_is_gone() {
    let (folder, port) = (folder(), free_port().await);
    let (old, new) = (Backend::start().await, Backend::start().await);
    let sidecar = start(&folder, &pool_yaml("moves", port, &[old.address], "")).await.expect("starts");
    let mut client = Client::connect(port).await;
    assert_eq!(client.backend().await, Some(old.port()));
    file(&folder, &pool_yaml("moves", port, &[new.address], ""));
    sidecar.reload.send(()).await.expect("runs");
    assert!(client.0.read_u8().await.is_err(), "the connection to the endpoint that is gone ends");
    assert_eq!(reach(port).await, Some(new.port()));
    let before = sidecar.metric("evenkeel_requests_total", &["endpoint=\"other\""]).await;
    assert_eq!(before, 1.0, "what the endpoint counted stays in the pool's sum");
    file(&folder, "kind: Nonsense\n");
    sidecar.reload.send(()).await.expect("runs");
    assert_eq!(reach(port).await, Some(new.port()), "a bad file changes nothing");
}

#[tokio::test]
async fn told_to_stop_it_serves_on_until_nobody_is_connected() {
    let (folder, port) = (folder(), free_port().await);
    let backend = Backend::start().await;
    let mut sidecar = start(&folder, &pool_yaml("drain", port, &[backend.address], "")).await.expect("starts");
    let mut client = Client::connect(port).await;
    client.backend().await.expect("is served");
    sidecar.tell_to_stop();
    let mut late = Client::connect(port).await;
    assert_eq!(late.backend().await, Some(backend.port()), "outbound is never drained early");
    drop(late);
    client.0.write_all(b"x").await.expect("goes on");
    assert_eq!(client.0.read_u8().await.expect("goes on"), b'x');
    assert!(!sidecar.has_ended());
    drop(client);
    assert_eq!(sidecar.end().await, Drained::Idle);
}

#[tokio::test]
async fn probes_and_pages_answer() {
    let (folder, backend) = (folder(), Backend::start().await);
    let sidecar = start(&folder, &pool_yaml("pages", free_port().await, &[backend.address], "")).await.expect("starts");
    for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
        assert_eq!(common::get(sidecar.metrics, path).await.0, 200, "{path}");
    }
    for path in ["/", "/healthz", "/table"] {
        assert_eq!(common::get(sidecar.admin, path).await.0, 200, "{path}");
    }
    let mut open = config(Source::Files(vec![file(&folder, "")]));
    open.admin = "0.0.0.0:0".parse().expect("an address");
    assert!(matches!(Sidecar::start(open).await.err(), Some(StartError::AdminNotLoopback(_))));
}
