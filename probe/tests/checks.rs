//! Real sockets on loopback, short intervals; every wait is for a verdict or a connection, never for time to pass.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_probe::{CheckReason, Prober, Target, Verdict};
use evenkeel_wire::{ActiveCheck, CheckKind, PoolName, StatusRange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(10);

fn name() -> PoolName {
    "shop/web".parse().unwrap()
}

fn check(kind: CheckKind) -> ActiveCheck {
    ActiveCheck { kind, interval_ms: 15, timeout_ms: 2_000, unhealthy_threshold: 3, healthy_threshold: 2 }
}

fn http() -> CheckKind {
    CheckKind::Http { path: "/healthz?deep=1".into(), host: None, expected: vec![StatusRange { start: 200, end: 399 }] }
}

fn target(address: SocketAddr) -> Target {
    Target { id: "a".into(), address }
}

async fn next(verdicts: &mut Receiver<Verdict>) -> (bool, CheckReason) {
    let verdict = timeout(LONG, verdicts.recv()).await.unwrap().unwrap();
    assert_eq!((verdict.pool, verdict.id.as_str()), (name(), "a"));
    (verdict.healthy, verdict.reason)
}

/// Answers each connection with what `answer` makes of the request; `None` closes without a word. Counts connections.
async fn serve(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, SeqCst);
            tokio::spawn(reply(stream, answer.clone()));
        }
    });
    (address, count)
}

async fn reply(mut stream: TcpStream, answer: Arc<impl Fn(&str) -> Option<Vec<u8>>>) {
    let mut request = vec![0; 4096];
    let read = stream.read(&mut request).await.unwrap_or(0);
    if let Some(bytes) = answer(&String::from_utf8_lossy(&request[..read])) {
        let _ = stream.write_all(&bytes).await;
        // Held open: the checker must not wait for the end of the answer.
        let _ = stream.read(&mut request).await;
    }
}

/// The first verdict on a server that always answers like this; it must be "unhealthy".
async fn fault(kind: CheckKind, answer: &'static [u8]) -> CheckReason {
    let (address, _) = serve(move |_| (!answer.is_empty()).then(|| answer.to_vec())).await;
    let (mut prober, mut verdicts) = Prober::new(1);
    prober.set(&name(), Some(&check(kind)), vec![target(address)]);
    let (healthy, reason) = next(&mut verdicts).await;
    assert!(!healthy);
    reason
}

/// Waits for this many more checks of any kind.
async fn checks(prober: &Prober, more: u64) {
    let counts = prober.counts();
    let sum = || counts.iter().map(|(_, count)| count).sum::<u64>();
    let goal = sum() + more;
    timeout(LONG, async {
        while sum() < goal {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_tcp_check_falls_when_nobody_listens_and_rises_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut prober, mut verdicts) = Prober::new(1);
    prober.set(&name(), Some(&check(CheckKind::Tcp)), vec![target(address)]);
    checks(&prober, 5).await;
    assert!(verdicts.try_recv().is_err(), "healthy from the start is no transition");
    drop(listener);
    assert_eq!(next(&mut verdicts).await, (false, CheckReason::Refused));
    assert!(prober.counts().get(CheckReason::Refused) >= 3);
    let _listener = TcpListener::bind(address).await.unwrap();
    assert_eq!(next(&mut verdicts).await, (true, CheckReason::Passing));
}

#[tokio::test]
async fn an_http_check_asks_as_it_should_and_follows_the_status() {
    let broken = Arc::new(AtomicBool::new(false));
    let state = broken.clone();
    let (address, _) = serve(move |request| {
        let head: Vec<_> = request.split("\r\n").collect();
        let address = head.iter().find_map(|line| line.strip_prefix("Host: "));
        let right = head[0] == "GET /healthz?deep=1 HTTP/1.1"
            && address.is_some_and(|host| host.starts_with("127.0.0.1:"))
            && head.contains(&"Connection: close")
            && request.ends_with("\r\n\r\n");
        let status = if !right {
            "400 Bad Request"
        } else if state.load(SeqCst) {
            "503 Service Unavailable"
        } else {
            "204 No Content"
        };
        Some(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 {status}\r\nX-A: b\r\n\r\n").into_bytes())
    })
    .await;
    let (mut prober, mut verdicts) = Prober::new(1);
    prober.set(&name(), Some(&check(http())), vec![target(address)]);
    checks(&prober, 5).await;
    assert!(verdicts.try_recv().is_err());
    broken.store(true, SeqCst);
    assert_eq!(next(&mut verdicts).await, (false, CheckReason::Status));
    broken.store(false, SeqCst);
    assert_eq!(next(&mut verdicts).await, (true, CheckReason::Passing));
}

#[tokio::test]
async fn faults_are_told_apart() {
    assert_eq!(fault(http(), b"HTTP/1.1 404 Not Found\r\n\r\n").await, CheckReason::Status);
    assert_eq!(fault(http(), b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await, CheckReason::Status);
    assert_eq!(fault(http(), b"SSH-2.0-OpenSSH_9.2\r\n").await, CheckReason::Protocol);
    assert_eq!(fault(http(), &[b'a'; 20_000]).await, CheckReason::Protocol);
    assert_eq!(fault(http(), b"").await, CheckReason::Reset);
    let odd = CheckKind::Http { path: "/a b\r\nX: y".into(), host: None, expected: vec![] };
    assert_eq!(fault(odd, b"HTTP/1.1 200 OK\r\n\r\n").await, CheckReason::Protocol);
}

#[tokio::test]
async fn a_head_longer_than_8_kib_is_not_read_further() {
    let (address, _) = serve(|_| Some([b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; 9_000], b"\r\n\r\n"].concat())).await;
    let (mut prober, mut verdicts) = Prober::new(1);
    prober.set(&name(), Some(&check(http())), vec![target(address)]);
    assert_eq!(next(&mut verdicts).await, (false, CheckReason::Protocol));
}

#[tokio::test]
async fn the_timeout_spans_the_whole_check() {
    // Bytes keep coming, but the head never ends.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(20));
                let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
                while sent.is_ok() {
                    ticks.tick().await;
                    sent = stream.write_all(b"a").await;
                }
            });
        }
    });
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in [silent.local_addr().unwrap(), address] {
        let (mut prober, mut verdicts) = Prober::new(1);
        let check = ActiveCheck { timeout_ms: 60, unhealthy_threshold: 1, ..check(http()) };
        prober.set(&name(), Some(&check), vec![target(address)]);
        assert_eq!(next(&mut verdicts).await, (false, CheckReason::Timeout));
    }
}

#[tokio::test]
async fn set_converges_and_what_stays_keeps_its_counts() {
    let (good, _) = serve(|_| Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())).await;
    let (gone, seen) = serve(|_| None).await;
    let (mut prober, mut verdicts) = Prober::new(1);
    let slow = ActiveCheck { unhealthy_threshold: 1_000_000, ..check(http()) };
    let good = Target { id: "good".into(), address: good };
    prober.set(&name(), Some(&slow), vec![target(gone), good.clone(), target(gone)]);
    checks(&prober, 12).await;
    // At least three failures are behind it: with the new threshold the next one turns the verdict.
    let failures = prober.counts().get(CheckReason::Reset) as u32;
    assert!(failures >= 3);
    prober.set(
        &name(),
        Some(&ActiveCheck { unhealthy_threshold: failures + 1, ..slow.clone() }),
        vec![good.clone(), target(gone)],
    );
    assert_eq!(next(&mut verdicts).await, (false, CheckReason::Reset));
    assert!((prober.counts().get(CheckReason::Reset) as u32) <= 2 * failures, "it began anew");

    // Gone from the list: no more connections to it, the other goes on.
    prober.set(&name(), Some(&slow), vec![good.clone()]);
    checks(&prober, 1).await;
    let last = seen.load(SeqCst);
    let passing = prober.counts().get(CheckReason::Passing);
    checks(&prober, 10).await;
    assert!(seen.load(SeqCst) <= last + 1);
    assert!(prober.counts().get(CheckReason::Passing) >= passing + 9);

    // No check: all stop.
    prober.set(&name(), None, vec![good]);
    let before = prober.counts().get(CheckReason::Passing);
    let (mut other, _verdicts) = Prober::new(2);
    let (address, _) = serve(|_| Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())).await;
    other.set(&name(), Some(&slow), vec![target(address)]);
    checks(&other, 5).await;
    assert!(prober.counts().get(CheckReason::Passing) <= before + 1);
}

#[tokio::test]
async fn an_id_at_another_address_starts_anew() {
    let (bad, _) = serve(|_| None).await;
    let (good, _) = serve(|_| Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())).await;
    let (mut prober, mut verdicts) = Prober::new(1);
    prober.set(&name(), Some(&check(http())), vec![target(bad)]);
    assert!(!next(&mut verdicts).await.0);
    prober.set(&name(), Some(&check(http())), vec![target(good)]);
    checks(&prober, 6).await;
    assert!(verdicts.try_recv().is_err(), "it counts as healthy from the start");
    assert!(prober.counts().get(CheckReason::Passing) >= 5, "and is asked at its new address");
}

/// A server that accepts and holds, and says how many connections it has had.
async fn hang() -> (SocketAddr, Arc<AtomicUsize>, Arc<Mutex<Vec<TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (held, open) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (streams, opened) = (held.clone(), open.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            streams.lock().unwrap().push(stream);
            opened.fetch_add(1, SeqCst);
        }
    });
    (address, open, held)
}

async fn until(met: impl Fn() -> bool) {
    let waiting = async {
        while !met() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, waiting).await.unwrap();
}

/// Forty endpoints of one pool whose checks don't end by themselves.
fn set_hanging(prober: &mut Prober, pool: &str, address: SocketAddr) {
    let targets = (0..40).map(|n| Target { id: format!("t{n}"), address }).collect();
    prober.set(&pool.parse().unwrap(), Some(&ActiveCheck { timeout_ms: 60_000, ..check(http()) }), targets);
}

#[tokio::test]
async fn no_more_than_256_checks_are_on_the_wire_at_once() {
    let (address, open, held) = hang().await;
    let (mut prober, _verdicts) = Prober::new(1);
    for pool in 0..9 {
        set_hanging(&mut prober, &format!("shop/{pool}"), address);
    }
    until(|| open.load(SeqCst) >= 256).await;
    assert_eq!(open.load(SeqCst), 256);
    // Their end lets the others in.
    until(|| {
        held.lock().unwrap().clear();
        open.load(SeqCst) >= 360
    })
    .await;
}

#[tokio::test]
async fn a_pool_whose_endpoints_all_hang_does_not_hold_up_another_pools_checks() {
    let (address, open, _held) = hang().await;
    let (mut prober, mut verdicts) = Prober::new(1);
    let targets = (0..300).map(|n| Target { id: format!("t{n}"), address }).collect();
    prober.set(&"shop/hangs".parse().unwrap(), Some(&ActiveCheck { timeout_ms: 60_000, ..check(http()) }), targets);
    until(|| open.load(SeqCst) >= 32).await;
    let (bad, _) = serve(|_| None).await;
    // So many failures that all checks of the first pool have come due before the last of them.
    prober.set(&name(), Some(&ActiveCheck { unhealthy_threshold: 10, ..check(http()) }), vec![target(bad)]);
    assert_eq!(next(&mut verdicts).await, (false, CheckReason::Reset));
    assert_eq!(open.load(SeqCst), 32);
}

#[tokio::test]
async fn a_verdict_of_a_check_that_has_ended_is_not_its_successors() {
    let (bad, _) = serve(|_| None).await;
    let (other, _) = serve(|_| None).await;
    let (mut prober, mut verdicts) = Prober::new(1);
    prober.set(&name(), Some(&check(http())), vec![target(bad)]);
    let verdict = timeout(LONG, verdicts.recv()).await.unwrap().unwrap();
    assert!(prober.is_current(&verdict));
    prober.set(&name(), Some(&check(http())), vec![target(bad)]);
    assert!(prober.is_current(&verdict), "what stays goes on");
    prober.set(&name(), Some(&check(http())), vec![target(other)]);
    assert!(!prober.is_current(&verdict), "another address");
    prober.remove(&name());
    assert!(!prober.is_current(&verdict), "nothing");
    prober.set(&name(), Some(&check(http())), vec![target(bad)]);
    assert!(!prober.is_current(&verdict), "begun anew");
}
