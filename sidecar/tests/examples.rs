//! Claims on the files of `examples/`, each served as it stands, but for the ports: what its comment says of the traffic is so.

mod common;

use common::web::{AT_ONCE, Caller, Law, Web, arrived, load};
use common::{Sidecar, config, eventually, free_port};
use evenkeel_sidecar::app::{Config, Source};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An example that is being served.
struct Scene {
    name: String,
    port: u16,
    webs: Vec<Web>,
    sidecar: Sidecar,
    file: PathBuf,
    text: String,
    _folder: TempDir,
}

impl Scene {
    /// Backends behave by these laws.
    async fn start(name: &str, laws: [Law; 4]) -> Self {
        Self::start_with(name, laws, |_| {}, str::to_owned).await
    }

    /// With other flags, and with the file changed.
    async fn start_with(name: &str, laws: [Law; 4], flags: impl Fn(&mut Config), edit: impl Fn(&str) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, file) = (free_port().await, folder.path().join("pools.yaml"));
        let mut webs = Vec::new();
        for law in laws {
            webs.push(Web::start(law).await);
        }
        let text = read(name, port, &webs);
        std::fs::write(&file, edit(&text)).expect("writes");
        let mut config = config(Source::Files(vec![file.clone()]));
        flags(&mut config);
        let sidecar = Sidecar::start(config).await.expect("starts");
        Self { name: name.into(), port, webs, sidecar, file, text, _folder: folder }
    }

    /// Takes another text of the file into use.
    async fn reload(&self, text: &str) {
        let revision = self.pool().await["revision"].as_u64().expect("a number");
        std::fs::write(&self.file, text).expect("writes");
        self.sidecar.reload.send(()).await.expect("runs");
        let taken = || async { (self.pool().await["revision"].as_u64() > Some(revision)).then_some(()) };
        eventually("the file in use", taken).await;
    }

    /// The text without the backend of this number.
    fn without(&self, number: usize) -> String {
        let port = format!("port: {}", self.webs[number].port());
        let kept: Vec<&str> = self.text.lines().filter(|line| !line.contains(&port)).collect();
        kept.join("\n") + "\n"
    }

    async fn pool(&self) -> Value {
        self.sidecar.pool(&format!("default/{}", self.name)).await.expect("is in use")
    }

    /// What the live table says of a backend.
    async fn endpoint(&self, number: usize) -> Value {
        let address = self.webs[number].address.to_string();
        let pool = self.pool().await;
        let endpoints = pool["endpoints"].as_array().expect("a list");
        endpoints.iter().find(|endpoint| endpoint["address"] == address.as_str()).expect("is listed").clone()
    }

    /// Waits until the live table says so of a backend.
    async fn until(&self, number: usize, what: &str, holds: impl Fn(&Value) -> bool) {
        eventually(what, || async { holds(&self.endpoint(number).await).then_some(()) }).await;
    }

    /// Ends a backend and waits until its checks have failed.
    async fn kill(&mut self, number: usize) -> u16 {
        let address = self.webs[number].address;
        // Its place in the list stays taken, by one that isn't in the pool.
        drop(std::mem::replace(&mut self.webs[number], Web::start(AT_ONCE).await));
        self.until_of(address, "Down").await;
        address.port()
    }

    /// Starts it again where it was.
    async fn revive(&mut self, number: usize, port: u16) {
        let address = ([127, 0, 0, 1], port).into();
        self.webs[number] = Web::start_at(address, AT_ONCE).await;
        self.until_of(address, "Usable").await;
        let closed = |endpoint: &Value| endpoint["ejection"]["state"] == "Closed";
        // What has failed gets a request now and then until it is trusted again.
        let asked = || async {
            Caller::connect(self.port).await.ask("/", "ada").await;
            closed(&self.endpoint(number).await).then_some(())
        };
        eventually("its breaker closed", asked).await;
    }

    async fn until_of(&self, address: std::net::SocketAddr, health: &str) {
        let is = || async {
            let pool = self.pool().await;
            let endpoints = pool["endpoints"].as_array().expect("a list").clone();
            let found = endpoints.iter().find(|endpoint| endpoint["address"] == address.to_string().as_str());
            found.is_some_and(|endpoint| endpoint["health"] == health).then_some(())
        };
        eventually(&format!("{address} is {health}"), is).await;
    }

    fn ports(&self) -> Vec<u16> {
        self.webs.iter().map(Web::port).collect()
    }

    /// One caller, one request after the other: how many each backend answered.
    async fn in_turn(&self, requests: usize) -> BTreeMap<u16, usize> {
        load(self.port, 1, requests).await
    }
}

/// The example on these ports.
fn read(name: &str, port: u16, webs: &[Web]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/{name}.yaml"));
    let mut text = std::fs::read_to_string(path).expect("an example");
    for (number, web) in webs.iter().enumerate() {
        let (from, to) = (format!("port: 900{}", number + 1), format!("port: {}", web.port()));
        assert!(text.contains(&from), "{name} lists four backends");
        text = text.replace(&from, &to);
    }
    let listener = text.find("{name: http, port: ").expect("a listener") + "{name: http, port: ".len();
    text.replace_range(listener..listener + 5, &port.to_string());
    text
}

const SLOW: Law = |_| Duration::from_millis(100);

#[tokio::test]
async fn round_robin_gives_turns_by_weight() {
    let scene = Scene::start("round-robin", [AT_ONCE; 4]).await;
    let seen = scene.in_turn(50).await;
    let counts: Vec<_> = scene.ports().iter().map(|port| seen[port]).collect();
    assert_eq!(counts, [10, 20, 10, 10]);
}

/// Six deviations around the mean: one run in hundreds of millions fails by chance.
#[tokio::test]
async fn random_gives_shares_by_weight() {
    let scene = Scene::start("random", [AT_ONCE; 4]).await;
    let seen = load(scene.port, 4, 1_000).await;
    let counts: Vec<_> = scene.ports().iter().map(|port| seen[port]).collect();
    let near = |count: usize, mean: usize, off: usize| count.abs_diff(mean) <= off;
    assert!(near(counts[1], 400, 93) && [0, 2, 3].iter().all(|at| near(counts[*at], 200, 76)), "{counts:?}");
}

/// One request at a time: nothing is ever in flight, so that counts alone would give it a quarter.
#[tokio::test]
async fn least_response_time_leaves_a_slow_backend_alone() {
    let quick: Law = |_| Duration::from_millis(2);
    let scene = Scene::start("least-response-time", [quick, SLOW, quick, quick]).await;
    let seen = scene.in_turn(100).await;
    let slow = seen.get(&scene.ports()[1]).copied().unwrap_or(0);
    assert!(slow <= 8, "the slow one got {slow} of 100: {seen:?}");
}

#[tokio::test]
async fn shares_follow_the_inverse_of_response_times() {
    let laws: [Law; 4] = [
        |_| Duration::from_millis(20),
        |_| Duration::from_millis(20),
        |_| Duration::from_millis(40),
        |_| Duration::from_millis(80),
    ];
    let scene = Scene::start("response-time-weighted", laws).await;
    let ports = scene.ports();
    // By speed 8, 8, 4 and 2 of 22.
    let settled = || async {
        let seen = load(scene.port, 8, 240).await;
        let share = |at: usize| seen.get(&ports[at]).copied().unwrap_or(0) as f64 / 240.0;
        let fits = (0.27..0.46).contains(&share(0)) && (0.27..0.46).contains(&share(1));
        (fits && (0.12..0.25).contains(&share(2)) && (0.04..0.15).contains(&share(3))).then_some(())
    };
    eventually("shares of 36, 36, 18 and 9 percent", settled).await;
}

#[tokio::test]
async fn expensive_requests_spread_whatever_the_number_of_cheap_ones() {
    let law: Law = |path| if path.starts_with("/reports") { Duration::from_millis(60) } else { Duration::from_millis(1) };
    let scene = Scene::start("least-cost", [law; 4]).await;
    let mut caller = Caller::connect(scene.port).await;
    for _ in 0..10 {
        caller.ask("/reports/yearly?y=1", "ada").await;
        caller.ask("/users/ada", "ada").await;
    }
    scene.webs.iter().for_each(Web::hold);
    let before = |path: &str| scene.webs.iter().map(|web| web.count(path)).collect::<Vec<_>>();
    let (reports, users) = (before("/reports"), before("/users"));
    let mut open = Vec::new();
    let mut send = async |path: &str, all: &str, count: usize| {
        let mut caller = Caller::connect(scene.port).await;
        caller.send(path, "ada").await;
        open.push(caller);
        arrived(&scene.webs, all, count).await;
    };
    let (old_reports, old_users): (usize, usize) = (reports.iter().sum(), users.iter().sum());
    send("/reports/yearly?y=2", "/reports", old_reports + 1).await;
    for n in 1..=6 {
        send("/users/ada", "/users", old_users + n).await;
    }
    for n in 2..=4 {
        send("/reports/yearly?y=3", "/reports", old_reports + n).await;
    }
    let held =
        |path, before: &[usize]| scene.webs.iter().zip(before).map(|(web, before)| web.count(path) - before).collect::<Vec<_>>();
    assert_eq!(held("/reports", &reports), [1, 1, 1, 1], "cheap ones: {:?}", held("/users", &users));
}

/// Who serves each of so many users.
async fn owners(port: u16, users: usize) -> Vec<u16> {
    let mut caller = Caller::connect(port).await;
    let mut owners = Vec::new();
    for user in 0..users {
        owners.push(caller.ask("/", &format!("user-{user}")).await);
    }
    owners
}

/// The same user, the same backend; when one dies its users move and no others, and they come back with it.
async fn a_dead_backend_moves_only_its_own_users(example: &str) -> Scene {
    let mut scene = Scene::start(example, [AT_ONCE; 4]).await;
    let before = owners(scene.port, 80).await;
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 4, "each has some");
    assert_eq!(owners(scene.port, 80).await, before);
    let dead = scene.kill(2).await;
    for (was, is) in before.iter().zip(owners(scene.port, 80).await) {
        assert!(is != dead && (*was == dead || *was == is), "{was} → {is}");
    }
    scene.revive(2, dead).await;
    assert_eq!(owners(scene.port, 80).await, before);
    scene
}

#[tokio::test]
async fn by_a_maglev_table_a_backend_that_dies_moves_its_users_and_one_that_leaves_a_few_more() {
    let scene = a_dead_backend_moves_only_its_own_users("maglev").await;
    let before = owners(scene.port, 400).await;
    scene.reload(&scene.without(2)).await;
    let gone = scene.webs[2].port();
    let after = owners(scene.port, 400).await;
    let others = before.iter().zip(&after).filter(|(was, _)| **was != gone);
    let moved = others.filter(|(was, is)| was != is).count();
    assert!(moved <= 3, "{moved} of about 300 others moved: fewer than one in a hundred should");
    assert!(!after.contains(&gone));
}

#[tokio::test]
async fn by_rendezvous_only_the_users_of_a_backend_that_dies_or_leaves_move() {
    let scene = a_dead_backend_moves_only_its_own_users("rendezvous").await;
    let before = owners(scene.port, 400).await;
    scene.reload(&scene.without(2)).await;
    let gone = scene.webs[2].port();
    for (was, is) in before.iter().zip(owners(scene.port, 400).await) {
        assert!(is != gone && (*was == gone || *was == is), "{was} → {is}");
    }
}

#[tokio::test]
async fn a_new_backend_starts_with_less_than_its_share_and_gets_it_in_the_end() {
    let work: Law = |_| Duration::from_millis(5);
    let shorter = |text: &str| {
        assert!(text.contains("window: 20s"));
        text.replace("window: 20s", "window: 6s")
    };
    let first_three = |text: &str| {
        let text = shorter(text);
        let fourth = text.lines().filter(|line| line.contains("address:")).nth(3).expect("four backends").to_owned();
        text.replace(&fourth, "")
    };
    let started = Instant::now();
    let scene = Scene::start_with("slow-start", [work; 4], |_| {}, first_three).await;
    for old in 0..3 {
        let endpoint = scene.endpoint(old).await;
        assert_eq!(endpoint["warming"], false, "while all are new none is spared: {endpoint}");
    }
    // As long as the three are new themselves, a fourth wouldn't be spared.
    while started.elapsed() < Duration::from_secs(7) {
        load(scene.port, 12, 120).await;
    }
    scene.reload(&shorter(&scene.text)).await;
    let new = scene.webs[3].port();
    let share = |seen: &BTreeMap<u16, usize>| seen.get(&new).copied().unwrap_or(0) as f64 / seen.values().sum::<usize>() as f64;
    let weight = async || scene.endpoint(3).await["effectiveWeight"].as_f64().expect("a number");
    let (first, then) = (load(scene.port, 12, 240).await, weight().await);
    assert!(then < 60.0, "the first look came too late: {then}");
    assert!(share(&first) < 0.18, "{first:?} at up to {then} percent");
    scene.until(3, "the new one warm", |endpoint| endpoint["warming"] == false).await;
    let last = load(scene.port, 12, 480).await;
    assert!((0.2..0.3).contains(&share(&last)), "{last:?}");
}

#[tokio::test]
async fn requests_stay_in_the_zone_until_it_is_down() {
    let zone = |config: &mut Config| config.zone = Some("a".into());
    let work: Law = |_| Duration::from_millis(10);
    let mut scene = Scene::start_with("zone-aware", [work; 4], zone, str::to_owned).await;
    let ports = scene.ports();
    let own = |seen: &BTreeMap<u16, usize>| ports[..2].iter().filter_map(|port| seen.get(port)).sum::<usize>();
    let stay = || async { (own(&load(scene.port, 2, 100).await) >= 95).then_some(()) };
    eventually("95 of 100 requests in the own zone", stay).await;
    scene.kill(0).await;
    scene.kill(1).await;
    assert_eq!(own(&scene.in_turn(60).await), 0, "and none of them failed");
}

#[tokio::test]
async fn without_a_zone_of_its_own_all_zones_are_alike() {
    let scene = Scene::start("zone-aware", [AT_ONCE; 4]).await;
    assert_eq!(scene.in_turn(80).await.len(), 4);
}

#[tokio::test]
async fn a_sidecar_uses_as_many_as_its_subset_has_and_another_one_others() {
    let mut used = BTreeSet::new();
    for n in 0..6 {
        let name = |config: &mut Config| config.name = format!("sidecar-{n}");
        let scene = Scene::start_with("subsetting", [AT_ONCE; 4], name, str::to_owned).await;
        let seen: Vec<_> = scene.in_turn(60).await.into_keys().collect();
        assert_eq!(seen.len(), 2, "sidecar-{n}");
        let mut candidates = Vec::new();
        for number in 0..4 {
            candidates.push(scene.endpoint(number).await["candidate"] == true);
        }
        assert_eq!(candidates.iter().filter(|is| **is).count(), 2);
        used.extend(seen.iter().map(|port| scene.ports().iter().position(|at| at == port)));
    }
    assert!(used.len() >= 3, "six sidecars use more than two places of the list: {used:?}");
}

#[tokio::test]
async fn backups_are_used_only_while_too_few_primaries_are_left() {
    let mut scene = Scene::start("priority", [AT_ONCE; 4]).await;
    let ports = scene.ports();
    let seen = |counts: BTreeMap<u16, usize>| counts.into_keys().collect::<Vec<_>>();
    let sorted = |ports: &[u16]| ports.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    assert_eq!(seen(scene.in_turn(60).await), sorted(&ports[..2]));
    scene.kill(0).await;
    assert_eq!(seen(scene.in_turn(60).await), [ports[1]], "one of two is half, which is enough");
    scene.kill(1).await;
    assert_eq!(seen(scene.in_turn(60).await), sorted(&ports[2..]));
    scene.revive(1, ports[1]).await;
    assert_eq!(seen(scene.in_turn(60).await), [ports[1]]);
}
