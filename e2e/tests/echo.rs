//! The test server and its clients against each other, in process: if these lie, every other test does.

use evenkeel_e2e::echo::client::{Connection, fetch};
use evenkeel_e2e::echo::load::{self, Load, Target};
use evenkeel_e2e::echo::server::{self, Bound, Config, Stats};
use evenkeel_e2e::echo::summary::FailureKind;
use evenkeel_e2e::echo::text::Url;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(5);

fn config() -> Config {
    Config {
        name: "a".into(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        control: None,
        delay: Duration::ZERO,
        drain: Duration::ZERO,
        tcp: false,
        udp: false,
    }
}

struct Running {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    stats: JoinHandle<Stats>,
}

impl Running {
    async fn new(config: Config) -> Self {
        let bound: Bound = server::bind(config).await.expect("a free port");
        let address = bound.address;
        let (end, ended) = oneshot::channel();
        let stats = tokio::spawn(bound.run(async {
            let _ = ended.await;
        }));
        Self { address, end, stats }
    }

    fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().expect("a URL")
    }

    async fn end(self) -> Stats {
        let _ = self.end.send(());
        self.stats.await.expect("the server's task")
    }
}

fn load_of(target: Target, requests: u64) -> Load {
    Load {
        target,
        concurrency: 8,
        rate: None,
        requests: Some(requests),
        duration: None,
        keys: Some(10),
        out_keys: true,
        limit: LIMIT,
    }
}

fn http(url: Url) -> Target {
    Target::Http { url, headers: vec!["X-User: key-{i}".parse().expect("a header")], keep: true }
}

#[tokio::test]
async fn client_and_server_count_the_same() {
    let server = Running::new(Config { delay: Duration::from_millis(1), ..config() }).await;
    let summary = load::run(load_of(http(server.url("/x")), 500)).await;
    assert_eq!((summary.sent, summary.ok, summary.failures()), (500, 500, 0));
    assert_eq!(summary.backends["a"], 500);
    assert_eq!(summary.connections, 8);
    assert_eq!(summary.owners, "0000000000");
    let stats = server.end().await;
    assert_eq!((stats.requests, stats.peak, stats.in_flight), (500, 8, 0));
    assert!(stats.first_request_ns >= summary.start_ns);
    assert!(stats.last_request_ns <= summary.end_ns);
}

#[tokio::test]
async fn tcp_is_echoed_and_named() {
    let server = Running::new(Config { tcp: true, ..config() }).await;
    let target = Target::Tcp { authority: server.address.to_string(), bytes: 100_000 };
    let summary = load::run(load_of(target, 50)).await;
    assert_eq!((summary.ok, summary.failures()), (50, 0));
    assert_eq!(server.end().await.requests, 50);
}

#[tokio::test]
async fn datagrams_come_back_behind_the_name() {
    let server = Running::new(Config { udp: true, ..config() }).await;
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    client.connect(server.address).await.expect("connects");
    let mut answer = [0; 16];
    for asked in ["hello", ""] {
        client.send(asked.as_bytes()).await.expect("is sent");
        let length = tokio::time::timeout(LIMIT, client.recv(&mut answer)).await.expect("in time").expect("an answer");
        assert_eq!(&answer[..length], format!("a\n{asked}").as_bytes());
    }
    assert_eq!(server.end().await.requests, 2);
}

#[tokio::test]
async fn control_paths_answer_and_are_not_counted() {
    let server = Running::new(config()).await;
    let status = async |method: &str, path: &str| {
        let url = server.url(path);
        let answer = fetch(method, &url, "", b"", LIMIT).await;
        answer.expect("an answer").status
    };
    assert_eq!(status("GET", "/healthz").await, 200);
    assert_eq!(status("POST", "/healthz?status=503").await, 200);
    assert_eq!(status("GET", "/healthz").await, 503);
    assert_eq!(status("POST", "/healthz?status=7").await, 400);
    assert_eq!(status("GET", "/stats").await, 200);
    assert_eq!(status("GET", "/anything").await, 200);
    assert_eq!(server.end().await.requests, 1);
}

#[tokio::test]
async fn a_request_in_work_is_finished_when_the_server_ends() {
    let server = Running::new(Config { delay: Duration::from_millis(200), ..config() }).await;
    let url = server.url("/");
    let request = tokio::spawn(async move { fetch("GET", &url, "", b"", LIMIT).await });
    let stats_url = server.url("/stats");
    loop {
        let body = fetch("GET", &stats_url, "", b"", LIMIT).await.expect("stats");
        let stats: Stats = serde_json::from_slice(&body.body).expect("JSON");
        if stats.in_flight == 1 {
            break;
        }
    }
    let stats = server.end().await;
    let answer = request.await.expect("the task").expect("an answer");
    assert_eq!((answer.status, answer.keep_alive), (200, false));
    assert_eq!(stats.requests, 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_the_end_and_not_reused() {
    let server = Running::new(config()).await;
    let mut connection = Connection::new(server.address.to_string());
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = connection.exchange(request, false, true, LIMIT).await;
    assert!(answer.expect("an answer").keep_alive);
    server.end().await;
    let failure = connection.exchange(request, false, true, LIMIT).await;
    assert_eq!(failure.expect_err("no server").kind, FailureKind::Connect);
}

#[tokio::test]
async fn a_draining_server_goes_on_serving() {
    let server = Running::new(Config { drain: Duration::from_millis(300), ..config() }).await;
    let url = server.url("/");
    let ending = tokio::spawn(server.end());
    tokio::task::yield_now().await;
    let answer = fetch("GET", &url, "", b"", LIMIT).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let stats = ending.await.expect("the task");
    assert!(stats.asked_to_end_ns > 0 && stats.last_request_ns > stats.asked_to_end_ns);
}

#[tokio::test]
async fn failures_are_counted_by_kind_and_never_tried_again() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("its address");
    let closing = tokio::spawn(async move {
        let mut connections = 0;
        while connections < 3 {
            drop(silent.accept().await);
            connections += 1;
        }
        connections
    });
    let url: Url = format!("http://{address}/").parse().expect("a URL");
    let load = Load { concurrency: 1, ..load_of(http(url), 5) };
    let summary = load::run(load).await;
    assert_eq!(closing.await.expect("the task"), 3);
    assert_eq!((summary.sent, summary.ok, summary.failures()), (5, 0, 5));
    assert_eq!(summary.failed[&FailureKind::Connect], 2);
    assert_eq!(summary.owners, "-----".to_owned() + "-----");
}

#[tokio::test]
async fn a_rate_is_kept() {
    let server = Running::new(config()).await;
    let load = Load {
        rate: Some(1000),
        requests: None,
        duration: Some(Duration::from_millis(200)),
        ..load_of(http(server.url("/")), 0)
    };
    let summary = load::run(load).await;
    assert!((190..=200).contains(&summary.ok), "{summary:?}");
}
