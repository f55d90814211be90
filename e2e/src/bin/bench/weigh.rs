//! What the sidecar weighs with few and many endpoints: resident memory 10 s after start, and again 60 s after a load has
//! gone. All of them wait side by side.

use crate::backend::Backend;
use crate::peer::evenkeel;
use crate::process::{LOAD_CORE, PROXY_CORE, Process, Programs, free_ports, pinned};
use crate::row::HTTP1;
use anyhow::{Context, Result};
use evenkeel_e2e::echo::summary::Summary;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

const SETTLE: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(60);
const LOAD_SECONDS: u32 = 5;
/// Over all pools. Each endpoint's connections stay for seconds, so that more would be a test of descriptors.
const LOAD_RATE: usize = 1_000;

/// A row of memory.
pub(crate) struct Weight {
    /// What `--row` calls it.
    pub(crate) name: &'static str,
    /// Endpoints, least connections.
    pub(crate) endpoints: usize,
    /// MiB at most.
    pub(crate) most: f64,
    /// What it shall become after that.
    pub(crate) then: Option<f64>,
}

/// In their order.
pub(crate) const WEIGHTS: [Weight; 3] = [
    Weight { name: "rss", endpoints: 4, most: 6.0, then: Some(5.0) },
    Weight { name: "rss-1000", endpoints: 1_000, most: 10.0, then: None },
    Weight { name: "rss-10000", endpoints: 10_000, most: 20.0, then: None },
];

/// What one of them weighed, in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighed {
    /// 10 s after start.
    pub(crate) idle: f64,
    /// 60 s after the load had gone.
    pub(crate) after: f64,
    /// Requests of the load that failed.
    pub(crate) failed: u64,
}

/// A sidecar and its pools' ports.
struct Scale {
    process: Process,
    ports: Vec<u16>,
}

/// Weighs them all.
pub(crate) fn weigh(programs: &Programs, backend: &Backend, weights: &[&Weight]) -> Result<Vec<Weighed>> {
    let scales = weights.iter().map(|weight| start(programs, backend, weight)).collect::<Result<Vec<_>>>()?;
    eprintln!("memory: {} s after start", SETTLE.as_secs());
    sleep(SETTLE);
    let mut weighed = Vec::new();
    for scale in &scales {
        weighed.push(Weighed { idle: scale.process.rss_mib()?, after: 0.0, failed: 0 });
    }
    eprintln!("memory: {LOAD_SECONDS} s of load each, then {} s without", AFTER.as_secs());
    for (scale, weighed) in scales.iter().zip(&mut weighed) {
        weighed.failed = load(programs, &scale.ports)?;
    }
    sleep(AFTER);
    for (scale, weighed) in scales.iter().zip(&mut weighed) {
        weighed.after = scale.process.rss_mib()?;
    }
    Ok(weighed)
}

fn start(programs: &Programs, backend: &Backend, weight: &Weight) -> Result<Scale> {
    let [admin, metrics, ports @ ..] = free_ports::<10>()?;
    let ports = ports[..evenkeel::pools_for(weight.endpoints)].to_vec();
    let pools = match weight.endpoints {
        4 => evenkeel::pools(programs, HTTP1, ports[0], &backend.ports)?,
        many => evenkeel::many(programs, many, &ports, &backend.ports)?,
    };
    let command = evenkeel::command(pinned(PROXY_CORE, &programs.sidecar), pools, admin, metrics);
    Ok(Scale { process: Process::start(command, ports[0], &programs.log(weight.name))?, ports })
}

/// The same load on all ports at once; how many requests failed.
fn load(programs: &Programs, ports: &[u16]) -> Result<u64> {
    let rate = (LOAD_RATE / ports.len()).to_string();
    let loads = ports.iter().map(|port| {
        let mut command = pinned(LOAD_CORE, &programs.own("echo")?);
        command.args(["load", "--url", &format!("http://127.0.0.1:{port}/"), "--rate", &rate, "--concurrency", "16"]);
        command.args(["--duration", &format!("{LOAD_SECONDS}s")]);
        Ok(command.stdout(Stdio::piped()).spawn()?)
    });
    let mut failed = 0;
    for load in loads.collect::<Result<Vec<_>>>()? {
        let output = load.wait_with_output()?;
        let summary: Summary = serde_json::from_slice(&output.stdout).context("echo load printed no summary")?;
        failed += summary.failures();
    }
    Ok(failed)
}
