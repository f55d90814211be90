//! Claims about the loop, turn by turn, with a stand-in for the API server that takes every write and remembers it.

use super::*;
use crate::gather::cache::Seen;
use crate::gather::facts::{NamedPort, Pod, Service};
use crate::reconcile::fixture::{endpoint, key, pool, port, slice};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, Uri};
use evenkeel_probe::CheckReason;
use serde_json::{Value, json};
use std::sync::Mutex;

type Seens = Arc<Mutex<Vec<(Method, String, Value)>>>;

struct Bench {
    controller: Controller,
    written: Seens,
    now: Instant,
}

/// Takes a patch and answers with an object that says the same.
async fn take(State(written): State<Seens>, method: Method, uri: Uri, body: Bytes) -> axum::Json<Value> {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    written.lock().expect("the lock").push((method, uri.path().into(), body.clone()));
    axum::Json(body)
}

impl Bench {
    async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let written = Seens::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(take).with_state(written.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = kube::Config::new(url.parse().expect("a URL"));
        let (prober, _) = Prober::new(1);
        let sessions = Sessions::new();
        let (metrics, _) = crate::metrics::register(sessions.clone(), prober.counts());
        let shared = Shared {
            client: Client::try_from(config).expect("a client"),
            publisher: Arc::new(Publisher::new("lineage".into())),
            sessions,
            readiness: Arc::default(),
            metrics,
        };
        Self { controller: Controller::new(shared, prober), written, now: Instant::now() }
    }

    fn see(&mut self, observation: Observation) {
        self.controller.observe(observation, self.now);
    }

    fn put(&mut self, name: &str, pool: Pool) {
        self.see(Observation::Pool(Seen::Put(key(name), pool)));
    }

    fn turn(&mut self) {
        self.controller.turn(self.now);
    }

    /// Every kind but pods is listed: Service `web` with one endpoint, and the pools.
    fn list_all_but_pods(&mut self, pools: Vec<(&str, Pool)>) {
        let ports: Vec<NamedPort> = vec![port("http", 80)];
        let service = Service { ports, primary: None, external: false };
        self.see(Observation::Service(Seen::Listed(key("web"), service)));
        self.see(Observation::Service(Seen::ListEnded));
        self.see(Observation::Slice(Seen::Listed(key("a"), slice("web", vec![endpoint("1", 1)]))));
        self.see(Observation::Slice(Seen::ListEnded));
        for (name, pool) in pools {
            self.see(Observation::Pool(Seen::Listed(key(name), pool)));
        }
        self.see(Observation::Pool(Seen::ListEnded));
        self.see(Observation::Namespace(Seen::ListEnded));
        self.see(Observation::Listing(Seen::ListEnded));
    }

    async fn synced(pools: Vec<(&str, Pool)>) -> Self {
        let mut bench = Self::new().await;
        bench.list_all_but_pods(pools);
        for uid in (1..=5).map(|n| n.to_string()) {
            let pod = Pod { uid: uid.clone(), stateful: false, terminating: false };
            bench.see(Observation::Pod(Seen::Listed(key(&format!("pod-{uid}")), pod)));
        }
        bench.see(Observation::Pod(Seen::ListEnded));
        bench.turn();
        bench
    }

    fn withheld(&self) -> Vec<String> {
        self.controller.shared.publisher.told().withheld.iter().map(ToString::to_string).collect()
    }

    fn published(&self) -> Vec<String> {
        self.controller.shared.publisher.snapshot().keys().map(ToString::to_string).collect()
    }

    /// Waits for the writes under way and returns what was written to each path.
    async fn settled(&mut self) -> BTreeMap<String, Value> {
        while let Some(done) = self.controller.writes.join_next().await {
            self.controller.done(done, self.now);
            self.turn();
        }
        let written = std::mem::take(&mut *self.written.lock().expect("the lock"));
        written.into_iter().map(|(_, path, body)| (path, body)).collect()
    }
}

fn bad() -> Value {
    json!({"sources": [{"name": "vm", "static": {"endpoints": [{"address": "10.1.1.1", "port": 80}]}}]})
}

fn reason(status: &Value) -> &str {
    status["status"]["conditions"][0]["reason"].as_str().unwrap_or_default()
}

const STATUS: &str = "/apis/evenkeel.dev/v1alpha1/namespaces/shop/balancerpools";
const LISTING: &str = "/apis/evenkeel.dev/v1alpha1/namespaces/shop/balancerendpoints";

#[tokio::test]
async fn nothing_is_published_before_every_list_is_whole() {
    let mut bench = Bench::new().await;
    bench.list_all_but_pods(vec![("good", pool(1, json!({})))]);
    bench.turn();
    assert!(bench.published().is_empty() && !bench.controller.shared.publisher.is_synced());
    bench.see(Observation::Pod(Seen::ListEnded));
    bench.turn();
    assert_eq!(bench.published(), ["shop/good"]);
    assert!(bench.controller.shared.publisher.is_synced());
}

#[tokio::test]
async fn a_bad_pool_is_told_so_and_disturbs_no_other() {
    let pools = vec![("good", pool(1, json!({}))), ("spoilt", pool(1, json!({}))), ("unread", pool(1, json!({"x": 1})))];
    let mut bench = Bench::synced(pools).await;
    assert_eq!(bench.published(), ["shop/good", "shop/spoilt"]);
    let before = bench.controller.shared.publisher.snapshot();
    let written = bench.settled().await;
    assert_eq!(reason(&written[&format!("{STATUS}/unread/status")]), "InvalidSpec");
    assert_eq!(written[&format!("{LISTING}/good-1")]["spec"]["summary"], "1/1");

    bench.now += Duration::from_secs(2);
    bench.put("spoilt", pool(2, bad()));
    bench.turn();
    let after = bench.controller.shared.publisher.snapshot();
    assert_eq!(before, after, "the last good one stays");
    let written = bench.settled().await;
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(reason(&written[&format!("{STATUS}/spoilt/status")]), "SourceNotSupported");
}

#[tokio::test]
async fn after_a_restart_with_a_refused_spec_the_pool_is_withheld_until_it_is_good_or_gone() {
    let pools = vec![("bad", pool(2, bad())), ("unread", pool(2, json!({"x": 1}))), ("good", pool(1, json!({})))];
    let mut bench = Bench::synced(pools).await;
    assert_eq!((bench.published(), bench.withheld()), (vec!["shop/good".into()], vec!["shop/bad".into(), "shop/unread".into()]));
    bench.put("bad", pool(3, bad()));
    bench.put("new", pool(1, bad()));
    bench.turn();
    assert_eq!(bench.withheld(), ["shop/bad", "shop/unread"], "of a new one nobody has anything");
    bench.put("bad", pool(4, json!({})));
    bench.see(Observation::Pool(Seen::Deleted(key("unread"))));
    bench.turn();
    assert_eq!((bench.published(), bench.withheld()), (vec!["shop/bad".into(), "shop/good".into()], vec![]));
}

#[tokio::test]
async fn a_pool_made_again_under_its_name_inherits_nothing() {
    let mut bench = Bench::synced(vec![("web", pool(1, json!({})))]).await;
    bench.settled().await;
    bench.put("web", Pool { uid: "another".into(), ..pool(1, bad()) });
    bench.turn();
    assert!(bench.published().is_empty());
    bench.see(Observation::Pool(Seen::Deleted(key("web"))));
    bench.turn();
    assert!(bench.controller.entries.is_empty() && bench.controller.by_service.is_empty());
}

#[tokio::test]
async fn what_is_settled_is_not_written_again_and_an_edit_by_hand_is_put_right() {
    let mut bench = Bench::synced(vec![("web", pool(1, json!({})))]).await;
    assert_eq!(bench.settled().await.len(), 2);
    bench.now += Duration::from_secs(2);
    bench.see(Observation::Slice(Seen::Put(key("a"), slice("web", vec![endpoint("1", 1)]))));
    bench.turn();
    assert!(bench.settled().await.is_empty());
    bench.see(Observation::Listing(Seen::Deleted(key("web-1"))));
    bench.turn();
    let written = bench.settled().await;
    assert_eq!(written.keys().collect::<Vec<_>>(), [&format!("{LISTING}/web-1")]);
}

#[tokio::test]
async fn a_status_waits_a_moment_for_the_sidecars_to_answer_and_no_longer() {
    let mut bench = Bench::synced(vec![("web", pool(1, json!({})))]).await;
    bench.settled().await;
    let sessions = bench.controller.shared.sessions.clone();
    let mut sidecar = sessions.enter("shop/a").expect("room");
    sidecar.offered([&pool_name(&key("web"))].into_iter());
    sidecar.acked(&pool_name(&key("web")), 1);
    bench.now += crate::status::SIDECARS;
    bench.controller.unsettle(key("web"), bench.now);
    bench.turn();
    bench.settled().await;
    for (endpoints, acked, waits) in [(2, 2, 0), (3, 0, 500)] {
        bench.now += Duration::from_secs(20);
        let list = (1..=endpoints).map(|n| endpoint(&n.to_string(), n)).collect();
        bench.see(Observation::Slice(Seen::Put(key("a"), slice("web", list))));
        bench.turn();
        bench.now += BATCH;
        bench.turn();
        assert!(!bench.settled().await.contains_key(&format!("{STATUS}/web/status")), "nobody can have answered yet");
        sidecar.acked(&pool_name(&key("web")), acked);
        bench.controller.unsettle(key("web"), bench.now);
        bench.now += Duration::from_millis(waits);
        bench.turn();
        let status = &bench.settled().await[&format!("{STATUS}/web/status")]["status"];
        assert_eq!(status["endpoints"]["total"], endpoints);
        assert_eq!(status["sidecars"]["inSync"], u32::from(acked > 0));
    }
}

#[tokio::test]
async fn verdicts_of_one_moment_are_published_as_one() {
    let checked = json!({"healthCheck": {"active": {"type": "TCP", "interval": "60s", "timeout": "1s"}}});
    let mut bench = Bench::synced(vec![("web", pool(1, checked))]).await;
    let list: Vec<_> = (1..=5).map(|n| endpoint(&n.to_string(), n)).collect();
    bench.see(Observation::Slice(Seen::Put(key("a"), slice("web", list))));
    bench.now += BATCH;
    bench.turn();
    let (told, verdicts) = mpsc::channel(8);
    // As the prober numbers them.
    for n in 1..=5 {
        let (pool, id) = (pool_name(&key("web")), format!("{n}:8080"));
        told.send(Verdict { pool, id, healthy: false, reason: CheckReason::Refused, run: n }).await.expect("room");
    }
    let publisher = bench.controller.shared.publisher.clone();
    let mut changes = publisher.subscribe();
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(bench.controller.run(Observations::new(), verdicts, stopped));
    changes.changed().await.expect("it runs");
    let published = publisher.snapshot()[&pool_name(&key("web"))].clone();
    let lines = String::from_utf8_lossy(&published.lines).into_owned();
    assert_eq!((published.revision, lines.matches("Down").count()), (3, 5), "{lines}");
    stop.send(true).expect("it runs");
    running.await.expect("it ends");
}

#[tokio::test]
async fn a_verdict_that_waited_says_nothing_of_what_has_the_name_now() {
    let checked = json!({"healthCheck": {"active": {"type": "TCP", "interval": "60s", "timeout": "1s"}}});
    let mut bench = Bench::synced(vec![("web", pool(1, checked.clone()))]).await;
    let of_run = |run| {
        let (pool, id) = (pool_name(&key("web")), "1:8080".into());
        Verdict { pool, id, healthy: false, reason: CheckReason::Refused, run }
    };
    bench.put("web", Pool { uid: "another".into(), ..pool(1, checked) });
    bench.turn();
    bench.controller.verdict(&of_run(1), bench.now);
    bench.turn();
    let usable = |bench: &Bench| {
        let published = bench.controller.shared.publisher.snapshot()[&pool_name(&key("web"))].clone();
        String::from_utf8_lossy(&published.lines).contains("Usable")
    };
    assert!(usable(&bench));
    bench.controller.verdict(&of_run(2), bench.now);
    bench.turn();
    assert!(!usable(&bench));
}

#[tokio::test]
async fn answers_settle_only_the_pools_that_they_are_about() {
    let mut bench = Bench::synced(vec![("web", pool(1, json!({}))), ("other", pool(1, json!({})))]).await;
    bench.settled().await;
    bench.turn();
    assert!(bench.controller.unsettled.is_empty());
    let mut sidecar = bench.controller.shared.sessions.enter("shop/a").expect("room");
    sidecar.offered([&pool_name(&key("web"))].into_iter());
    bench.controller.answers_at = Some(bench.now);
    bench.turn();
    assert_eq!(bench.controller.unsettled.keys().collect::<Vec<_>>(), [&key("web")]);
}

#[tokio::test]
async fn a_refusal_stands_until_it_is_taken_back_whatever_endpoints_come_and_go() {
    let mut bench = Bench::synced(vec![("web", pool(1, json!({})))]).await;
    bench.settled().await;
    let (sessions, name) = (bench.controller.shared.sessions.clone(), pool_name(&key("web")));
    let mut sidecar = sessions.enter("shop/a").expect("room");
    sidecar.offered([&name].into_iter());
    sidecar.nacked(&name, 1, "port 18080 is in use");
    for (endpoints, said) in [(2, "Refused"), (3, "Programmed")] {
        bench.now += Duration::from_secs(20);
        let list = (1..=endpoints).map(|n| endpoint(&n.to_string(), n)).collect();
        bench.see(Observation::Slice(Seen::Put(key("a"), slice("web", list))));
        bench.turn();
        bench.now += BATCH;
        bench.turn();
        if said == "Programmed" {
            sidecar.acked(&name, 3);
        }
        bench.controller.unsettle(key("web"), bench.now);
        bench.now += Duration::from_secs(1);
        bench.turn();
        let written = bench.settled().await;
        assert_eq!(written[&format!("{STATUS}/web/status")]["status"]["conditions"][2]["reason"], said);
    }
}

#[tokio::test]
async fn a_transition_never_waits_for_the_counts_of_sidecars() {
    let mut bench = Bench::synced(vec![("web", pool(1, json!({})))]).await;
    bench.settled().await;
    let later = bench.now + crate::status::SIDECARS;
    bench.controller.unsettle(key("web"), later);
    bench.now += Duration::from_secs(2);
    bench.see(Observation::Service(Seen::Deleted(key("web"))));
    bench.turn();
    let written = bench.settled().await;
    let conditions = &written[&format!("{STATUS}/web/status")]["status"]["conditions"];
    assert_eq!(conditions[1]["reason"], "ServiceNotFound");
}
