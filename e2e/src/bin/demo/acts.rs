//! The three acts and the claims that each makes. Shares and failures are what the clients and the backends counted themselves.

use crate::stage::{Load, NAMES, Stage};
use crate::view::View;
use anyhow::Result;
use evenkeel_e2e::echo::summary::Summary;
use std::time::{Duration, Instant};

/// Something that must be true, and what was seen.
pub(crate) struct Claim {
    /// What must be true.
    pub(crate) says: &'static str,
    /// What was seen.
    pub(crate) seen: String,
    /// Whether it was.
    pub(crate) held: bool,
}

type Act = fn(&mut Stage, &mut View) -> Result<Vec<Claim>>;

/// In their order.
pub(crate) const ALL: [Act; 3] = [least_connections, consistent_hash, bounded_ring];

const B: usize = 1;
const D: usize = 3;
const KEYS: [&str; 5] = ["--requests", "4000", "--keys", "1000", "--out-keys"];

fn claim(says: &'static str, seen: String, held: bool) -> Claim {
    Claim { says, seen, held }
}

fn no_failures(summary: &Summary) -> Claim {
    let seen = format!("{} of {} failed {}", summary.failures(), summary.sent, summary.errors.join("; "));
    claim("no request fails", seen, summary.failures() == 0 && summary.sent > 0)
}

/// Shows the bars until the load has ended; `at` is told how long it has run.
fn watch(
    stage: &mut Stage,
    view: &mut View,
    pool: &str,
    mut load: Load,
    mut at: impl FnMut(&mut Stage, &mut View, Duration) -> Result<()>,
) -> Result<Summary> {
    let start = Instant::now();
    let (mut before, mut seen) = (stage.counts(pool)?, start);
    while load.is_running()? {
        std::thread::sleep(Duration::from_millis(250)); // the picture's pace
        at(stage, view, start.elapsed())?;
        let (counts, now) = (stage.counts(pool)?, Instant::now());
        let seconds = (now - seen).as_secs_f64();
        view.rates(std::array::from_fn(|index| (counts[index] - before[index]) / seconds));
        (before, seen) = (counts, now);
    }
    load.finish()
}

fn least_connections(stage: &mut Stage, view: &mut View) -> Result<Vec<Claim>> {
    let pool = "default/least-connections";
    view.act(
        "1. Least connections",
        "Three backends take 10 ms, d takes 100 ms. 32 requests are always in flight. b is killed and revived.",
    );
    stage.revive(D, "100ms")?;
    let load = stage.load(18081, &["--duration", "9s"])?;
    let (mut killed, mut revived) = (false, None);
    let mut back = None;
    let summary = watch(stage, view, pool, load, |stage, view, elapsed| {
        if !killed && elapsed > Duration::from_secs(3) {
            killed = true;
            view.event("b is killed");
            stage.kill(B);
        }
        if killed && revived.is_none() && elapsed > Duration::from_millis(5_500) {
            stage.revive(B, "10ms")?;
            revived = Some((Instant::now(), stage.counts(pool)?[B]));
            view.event("b is revived");
        }
        if let (Some((since, count)), None) = (revived, back)
            && stage.counts(pool)?[B] > count
        {
            back = Some(since.elapsed());
            view.event("b is used again");
        }
        Ok(())
    })?;
    stage.revive(D, "10ms")?;
    let slow = summary.share(NAMES[D]) * 4.0;
    let seen = back.map_or_else(|| "not before the end".into(), |took| format!("after {:.1} s", took.as_secs_f64()));
    Ok(vec![
        no_failures(&summary),
        claim("the slow backend gets under 25 % of a fair share", format!("{:.1} %", slow * 100.0), slow < 0.25),
        claim("a revived backend is used again within 3 s", seen, back.is_some_and(|took| took < Duration::from_secs(3))),
    ])
}

fn consistent_hash(stage: &mut Stage, view: &mut View) -> Result<Vec<Claim>> {
    let pool = "default/consistent-hash";
    view.act("2. Consistent hashing", "1,000 users, each known by the header X-User. b is killed, later revived.");
    let pass = |stage: &mut Stage, view: &mut View| {
        let arguments: Vec<&str> = KEYS.into_iter().chain(["--header", "X-User: key-{i}"]).collect();
        let load = stage.load(18082, &arguments)?;
        watch(stage, view, pool, load, |_, _, _| Ok(()))
    };
    let whole = pass(stage, view)?;
    view.event("b is killed");
    stage.kill(B);
    let without = pass(stage, view)?;
    view.event("b is revived");
    stage.revive(B, "10ms")?;
    stage.wait_used(pool, B, 18082)?;
    let again = pass(stage, view)?;
    let owners = |summary: &Summary| (0..1000).map(|key| summary.owner(key).unwrap_or("-").to_owned()).collect::<Vec<_>>();
    let (first, second, third) = (owners(&whole), owners(&without), owners(&again));
    let strayed = first.iter().zip(&second).filter(|(before, after)| *before != NAMES[B] && before != after).count();
    let returned = first.iter().zip(&third).filter(|(before, after)| before == after).count();
    let shares: Vec<String> = NAMES.iter().map(|name| format!("{name} {:.0} %", whole.share(name) * 100.0)).collect();
    let spread = NAMES.iter().all(|name| (0.15..=0.35).contains(&whole.share(name)));
    Ok(vec![
        no_failures(&whole),
        claim("a user stays with one backend", format!("{} of 1,000 wandered", whole.wandering_keys), whole.wandering_keys == 0),
        claim("every backend owns 15 to 35 % of the users", shares.join(", "), spread),
        no_failures(&without),
        claim("only b's users move when b dies", format!("{strayed} others moved"), strayed == 0),
        claim("they come back when b does", format!("{returned} of 1,000 are where they were"), returned == 1000),
    ])
}

fn bounded_ring(stage: &mut Stage, view: &mut View) -> Result<Vec<Claim>> {
    let pool = "default/bounded-ring";
    view.act(
        "3. Consistent hashing with bounded load",
        "One user sends everything, 32 at a time. No backend may have over 1.25 × the mean: 10.",
    );
    for index in 0..NAMES.len() {
        stage.revive(index, "10ms")?;
    }
    stage.wait_used(pool, B, 18083)?;
    for index in 0..NAMES.len() {
        stage.revive(index, "10ms")?; // a fresh process has a fresh peak
    }
    let load = stage.load(18083, &["--requests", "12000", "--header", "X-User: hot"])?;
    let summary = watch(stage, view, pool, load, |_, _, _| Ok(()))?;
    let mut shares: Vec<f64> = NAMES.iter().map(|name| summary.share(name) * 100.0).collect();
    shares.sort_by(|a, b| b.total_cmp(a));
    let near = shares.iter().zip([31.25, 31.25, 31.25, 6.25]).all(|(share, want)| (share - want).abs() <= 4.0);
    let peaks = (0..NAMES.len()).map(|index| Ok(stage.stats(index)?.peak)).collect::<Result<Vec<u64>>>()?;
    let words: Vec<String> = shares.iter().map(|share| format!("{share:.0}")).collect();
    Ok(vec![
        no_failures(&summary),
        claim("the shares are near 31, 31, 31, 6 %", words.join(", "), near),
        claim("no backend has more than 10 at once", format!("peaks {peaks:?}"), peaks.iter().all(|&peak| peak <= 10)),
    ])
}
