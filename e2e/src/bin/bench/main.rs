//! The bench against peers: the same load through Evenkeel's sidecar, HAProxy and NGINX in turn, CPU per request compared pair by pair.
//! One core for the proxy, the other for wrk and the backend. Prints a table, writes `target/bench/summary.json`, and fails when a
//! figure isn't valid (failed requests, metrics that disagree with the load generator); a missed goal is printed, not a failure.

mod measure;
mod peer;
mod report;

use anyhow::{Context, Result, bail};
use clap::Parser;
use peer::{Backend, Peer};
use report::Round;
use std::path::PathBuf;
use std::time::Duration;

/// Compare the sidecar with HAProxy and NGINX on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Rounds; in each round every proxy has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Seconds of measured load a turn.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Client connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2000))]
    connections: u32,
    /// Where the result goes.
    #[arg(long, default_value = "target/bench/summary.json")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = arguments.out.parent().map(PathBuf::from).unwrap_or_default();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let programs = peer::Programs::find()?;
    let backend = Backend::start(&programs, &folder)?;
    let idle = measure::idle_rss(&programs, &folder, &backend)?;
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let mut turns = Vec::new();
        for peer in Peer::ALL {
            let running = peer.start(&programs, &folder, &backend)?;
            let turn = measure::turn(&running, &programs, arguments.connections, Duration::from_secs(arguments.seconds))
                .with_context(|| format!("{} in round {number}", peer.name()))?;
            eprintln!(
                "round {number}/{}  {:9} {:6.1} µs CPU/request  {:7.0} requests/s",
                arguments.rounds,
                peer.name(),
                turn.cpu_us,
                turn.per_second
            );
            turns.push((peer, turn));
        }
        rounds.push(Round(turns));
    }
    let summary = report::Summary::new(&arguments_label(&arguments), &rounds, &idle);
    print!("{}", summary.table());
    std::fs::write(&arguments.out, summary.json()).with_context(|| format!("cannot write {}", arguments.out.display()))?;
    println!("written to {}", arguments.out.display());
    if !summary.is_valid() {
        bail!("the figures aren't valid: see above");
    }
    Ok(())
}

fn arguments_label(arguments: &Arguments) -> String {
    format!("HTTP/1.1, 70 B, {} connections, {} × {} s", arguments.connections, arguments.rounds, arguments.seconds)
}
