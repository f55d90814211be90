//! The soak: mixed load with faults through one sidecar for long, and whether memory, descriptors and tasks stay flat meanwhile and
//! come back afterwards. Prints each minute's last sample and a table; fails if something isn't flat or a kind of load didn't go.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use evenkeel_e2e::soak::load::Load;
use evenkeel_e2e::soak::sample::Sample;
use evenkeel_e2e::soak::stage::{Inner, Stage};
use evenkeel_e2e::soak::tally::{Count, Tally};
use evenkeel_e2e::soak::verdict::{Verdict, judge};
use evenkeel_e2e::soak::{Background, backend, http2};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Looks, a second apart, of which the least is a sample.
const EVERY: u64 = 5;
/// How long all that was opened may take to be closed after the load: the longest wait of a connection is an idle one's.
const SETTLE: Duration = Duration::from_secs(90);
/// Descriptors that a worker keeps for its next bulk: 32 pipes of two ends.
const KEPT: u64 = 2 * 32 * 2;
/// Tasks that stay above those of the start: none but what two looks may differ by.
const STRAY: u64 = 2;

/// Soak a sidecar, on this machine alone.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
    /// For logs, the pools' file and the summary.
    #[arg(long, default_value = "target/soak")]
    folder: PathBuf,
}

/// What `summary.json` says.
#[derive(Serialize)]
struct Summary {
    minutes: u64,
    flat: bool,
    verdicts: [Verdict; 3],
    before: Sample,
    after: Sample,
    settled: bool,
    counts: BTreeMap<&'static str, Count>,
    samples: Vec<Sample>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.folder).with_context(|| format!("cannot make {}", arguments.folder.display()))?;
    let folder = std::path::absolute(&arguments.folder)?;
    let (_signals, ()) = Background::start(heed_signals)?;
    let (_backends, inner) = Background::start(async || Ok(Inner { odd: backend::serve().await?, grpc: http2::serve().await? }))?;
    let mut stage = Stage::start(&folder, inner)?;
    let before = Sample::take(&stage, 0)?;
    println!("minute |   RSS KiB | descriptors | sockets | tasks |   good |  other");
    println!("     0 | {}", row(&before, &BTreeMap::new()));
    let tally = Arc::new(Tally::default());
    let samples = soak(&mut stage, &tally, arguments.minutes)?;
    stage.mend()?;
    let (after, settled) = settle(&mut stage, &before)?;
    stage.check_reloads()?;
    let counts = tally.counts();
    let verdicts = judge(&samples).context("too few samples")?;
    let idle: Vec<_> = counts.iter().filter(|(_, count)| !count.is_enough()).map(|(name, _)| *name).collect();
    let flat = verdicts.iter().all(|verdict| verdict.flat) && settled;
    let summary = Summary { minutes: arguments.minutes, flat, verdicts, before, after, settled, counts, samples };
    print(&summary);
    let file = folder.join("summary.json");
    std::fs::write(&file, serde_json::to_string_pretty(&summary)?).with_context(|| format!("cannot write {}", file.display()))?;
    if !idle.is_empty() {
        bail!("too little of this load went well, so the rest says nothing of it: {}", idle.join(", "));
    }
    if !flat {
        bail!("not flat; see {}", file.display());
    }
    Ok(())
}

/// Told to end: what was started must not outlive this.
static TOLD: AtomicBool = AtomicBool::new(false);

async fn heed_signals() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        TOLD.store(true, Relaxed);
    });
    Ok(())
}

fn check(stage: &mut Stage) -> Result<()> {
    ensure!(!TOLD.load(Relaxed), "told to end");
    stage.check()
}

/// The load and the faults; the samples.
fn soak(stage: &mut Stage, tally: &Arc<Tally>, minutes: u64) -> Result<Vec<Sample>> {
    let load = Load::new(stage.ports, tally.clone(), &stage.certificate.certificate)?;
    let (_clients, ()) = Background::start(async move || {
        load.spawn();
        Ok(())
    })?;
    let (start, mut samples, mut least) = (Instant::now(), Vec::new(), None);
    for second in 1..=minutes * 60 {
        let due = start + Duration::from_secs(second);
        std::thread::sleep(due.saturating_duration_since(Instant::now())); // the pace
        check(stage)?;
        stage.disturb(second)?;
        let look = Sample::take(stage, second)?;
        let sample = least.map_or(look, |least: Sample| least.least(look));
        least = Some(sample).filter(|_| second % EVERY != 0);
        if least.is_none() {
            samples.push(sample);
        }
        if let (0, Some(sample)) = (second % 60, samples.last()) {
            println!("{:6} | {}", second / 60, row(sample, &tally.counts()));
        }
    }
    Ok(samples)
}

/// Nobody is connected any more: waits until the sidecar is as it was before. What it was at last, and whether that is so.
fn settle(stage: &mut Stage, before: &Sample) -> Result<(Sample, bool)> {
    let since = Instant::now();
    loop {
        check(stage)?;
        let sample = Sample::take(stage, since.elapsed().as_secs())?;
        let settled = sample.sockets <= before.sockets
            && sample.descriptors <= before.descriptors + KEPT
            && sample.tasks <= before.tasks + STRAY;
        if settled || since.elapsed() > SETTLE {
            return Ok((sample, settled));
        }
        std::thread::sleep(Duration::from_secs(1)); // between two looks
    }
}

fn row(sample: &Sample, counts: &BTreeMap<&'static str, Count>) -> String {
    let Sample { rss_kib, descriptors, sockets, tasks, .. } = sample;
    let [good, other] = [|count: &Count| count.good, |count: &Count| count.other].map(|of| counts.values().map(of).sum::<u64>());
    format!("{rss_kib:9} | {descriptors:11} | {sockets:7} | {tasks:5} | {good:6} | {other:6}")
}

fn print(summary: &Summary) {
    println!("\n| kind | good | other |\n|---|---|---|");
    for (name, count) in &summary.counts {
        println!("| {name} | {} | {} |", count.good, count.other);
    }
    println!(
        "\n| measure | before | middle third | last third | at most | an hour's growth | after | flat |\n|---|---|---|---|---|---|---|---|"
    );
    for (verdict, measure) in summary.verdicts.iter().zip(evenkeel_e2e::soak::verdict::MEASURES) {
        let Verdict { name, middle, last, bound, per_hour, flat } = verdict;
        let [before, after] = [&summary.before, &summary.after].map(measure.of);
        let flat = if *flat { "yes" } else { "NO" };
        println!("| {name} | {before} | {middle} | {last} | {bound:.0} | {per_hour:.0} | {after} | {flat} |");
    }
    let Sample { second, sockets, .. } = summary.after;
    let settled = if summary.settled { "back to the start" } else { "NOT back to the start" };
    println!("\n{settled} {second} s after the load: {} sockets before, {sockets} after", summary.before.sockets);
}
