//! The bench against peers: the same load through Evenkeel's sidecar and each peer in turn, compared pair by pair. One core
//! for the proxy, the other for the load and the backend. Prints a table, writes `target/bench/summary.json`, and fails when
//! a figure isn't valid (failed requests, metrics that disagree with what was sent); a missed goal is printed, not a failure.

mod backend;
mod instructions;
mod load;
mod peer;
mod process;
mod report;
mod row;
mod tls;
mod turn;
mod weigh;

use anyhow::{Context, Result, bail};
use backend::Backend;
use clap::{Parser, Subcommand};
use load::{Shot, client};
use process::Programs;
use report::{Round, Summary};
use row::{ROWS, Row};
use std::path::{Path, PathBuf};
use weigh::{WEIGHTS, Weight};

/// Compare the sidecar with HAProxy, NGINX and Envoy on this machine: all rows in about 15 minutes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Only these rows.
    #[arg(long = "row", value_name = "NAME", num_args = 1.., value_parser = names())]
    rows: Vec<String>,
    /// Rounds; in each round every proxy has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Seconds of measured load a turn.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The sidecar's program; [default: the one beside this program].
    #[arg(long, global = true)]
    sidecar: Option<PathBuf>,
    /// Where the result goes.
    #[arg(long, default_value = "target/bench/summary.json", global = true)]
    out: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Count the instructions of one small HTTP/1.1 request, and fail where they are more than is checked in.
    Instructions,
    /// Send a load: the bench starts itself with this.
    #[command(hide = true)]
    Client(client::Client),
}

fn names() -> clap::builder::PossibleValuesParser {
    ROWS.iter().map(|row| row.name).chain(WEIGHTS.iter().map(|weight| weight.name)).collect::<Vec<_>>().into()
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Client(client)) = &arguments.command {
        return client::run(client);
    }
    let sidecar = match &arguments.sidecar {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("evenkeel-sidecar"),
    };
    let programs = Programs::new(arguments.out.parent().unwrap_or(Path::new(".")), &sidecar)?;
    match arguments.command {
        Some(_) => instructions::check(&programs),
        None => run(&programs, &arguments),
    }
}

fn run(programs: &Programs, arguments: &Arguments) -> Result<()> {
    let backend = Backend::start(programs)?;
    let mut summary = Summary::default();
    for row in ROWS.iter().filter(|row| arguments.asks_for(row.name)) {
        match compare(programs, &backend, row, arguments) {
            Ok(rounds) => summary.add_rounds(row, &rounds),
            Err(error) => {
                eprintln!("{}: {error:#}", row.name);
                summary.add_failure(row.name, &error);
            }
        }
    }
    let weights: Vec<&Weight> = WEIGHTS.iter().filter(|weight| arguments.asks_for(weight.name)).collect();
    if !weights.is_empty() {
        match weigh::weigh(programs, &backend, &weights) {
            Ok(weighed) => weights.iter().zip(weighed).for_each(|(weight, weighed)| summary.add_weight(weight, weighed)),
            Err(error) => summary.add_failure("memory", &error),
        }
    }
    println!("{}", summary.table());
    std::fs::write(&arguments.out, summary.json()).with_context(|| format!("cannot write {}", arguments.out.display()))?;
    println!("written to {}", arguments.out.display());
    if !summary.is_valid() {
        bail!("some figures aren't valid: see above");
    }
    Ok(())
}

impl Arguments {
    fn asks_for(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row == name)
    }
}

/// All rounds of a row; those with an odd number go through the peers backwards, so that nobody always comes after the same.
fn compare(programs: &Programs, backend: &Backend, row: &Row, arguments: &Arguments) -> Result<Vec<Round>> {
    eprintln!("{}: {}", row.name, row.title);
    let shot = Shot { port: 0, seconds: arguments.seconds, rate: turn::half_load(programs, backend, row)? };
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds {
        let mut peers = row.peers();
        if number % 2 == 1 {
            peers.reverse();
        }
        let mut round = Round::new();
        for peer in peers {
            let turn = turn::take(programs, backend, row, peer, shot)
                .with_context(|| format!("{} in round {}", peer.name(), number + 1))?;
            eprintln!(
                "  {}/{}  {:9} {:7.1} µs CPU/request {:8.0} requests/s {:7.1} MiB",
                number + 1,
                arguments.rounds,
                peer.name(),
                turn.cpu_us,
                turn.per_second,
                turn.rss_mib,
            );
            round.push((peer, turn));
        }
        rounds.push(round);
    }
    Ok(rounds)
}
