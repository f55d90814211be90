//! The abuse suite: what a well-behaved client notices of attackers, beside what it notices of as many idle connections. The sidecar
//! has core 0, all others core 1. Where it may, it gives sidecar, client and backend a real-time priority and the attacker the lowest:
//! what is measured is the sidecar, not who else wants a core. Prints a table and fails if a median p99 is over twice the idle one, a
//! request failed, or memory went over its bound.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use evenkeel_e2e::abuse::attack::Attack;
use evenkeel_e2e::abuse::attacker;
use evenkeel_e2e::abuse::gauge::Gauge;
use evenkeel_e2e::stand::process::{Process, free_ports, local, pinned};
use evenkeel_e2e::stand::sidecar::{Setup, Sidecar};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Memory above what as many idle connections take: 32 KiB of buffers each way for each of 1,000 connections.
const BOUND_KIB: u64 = 64 * 1024;
/// How often p99 may grow.
const GROWTH: f64 = 2.0;

/// Abuse a sidecar, on this machine alone.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Role>,
    /// Pairs of an idle and a hostile turn, for each attack.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pairs: u32,
    /// Seconds a turn.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Only these attacks.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Attack>,
    /// Where the programs' files go.
    #[arg(long, default_value = "target/abuse")]
    folder: PathBuf,
}

#[derive(Subcommand)]
enum Role {
    /// Attack a sidecar of this machine: what the suite starts.
    Attack {
        /// Which one.
        attack: Attack,
        /// The sidecar's port.
        port: u16,
        /// Connections.
        connections: usize,
        /// Seconds.
        seconds: u64,
        /// Only hold the connections open.
        #[arg(long)]
        idle: bool,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::Attack { attack, port, connections, seconds, idle }) = arguments.command {
        let time = Duration::from_secs(seconds.min(120));
        return match idle {
            true => attacker::idle(port, connections, Attack::FLOODS.contains(&attack), time),
            false => attacker::attack(attack, port, connections, time),
        };
    }
    std::fs::create_dir_all(&arguments.folder).with_context(|| format!("cannot make {}", arguments.folder.display()))?;
    let folder = std::path::absolute(&arguments.folder)?;
    if !be_prompt() {
        eprintln!("no real-time priority (are you root?): other programs of this machine count, too");
    }
    let (_backend, address) = backend(&folder)?;
    let mut attacks: Vec<Attack> = Attack::FLOODS.into_iter().chain(Attack::SLOW).collect();
    if !arguments.only.is_empty() {
        attacks.clone_from(&arguments.only);
    }
    println!(
        "| attack | connections | p99 idle | p99 attacked | ratio | RSS idle | RSS attacked | failed |\n|---|---|---|---|---|---|---|---|"
    );
    let mut missed = Vec::new();
    for attack in attacks {
        let pairs: Vec<Pair> =
            (0..arguments.pairs).map(|_| Pair::measure(attack, address, &arguments, &folder)).collect::<Result<_>>()?;
        if !report(attack, &pairs) {
            missed.push(attack.name());
        }
    }
    if !missed.is_empty() {
        bail!("missed: {}", missed.join(", "));
    }
    Ok(())
}

/// A real-time priority for this process, on core 1, and for what it starts.
fn be_prompt() -> bool {
    let own = std::process::id().to_string();
    let runs =
        |program: &str, words: &[&str]| Command::new(program).args(words).output().is_ok_and(|output| output.status.success());
    runs("taskset", &["-a", "-c", "-p", "1", &own]) && runs("chrt", &["--all-tasks", "--fifo", "--pid", "5", &own])
}

/// One turn beside idle connections, one beside attackers, each with a sidecar of its own.
struct Pair {
    idle: Turn,
    attacked: Turn,
}

struct Turn {
    gauge: Gauge,
    rss_kib: u64,
}

impl Pair {
    fn measure(attack: Attack, backend: SocketAddr, arguments: &Arguments, folder: &Path) -> Result<Self> {
        let turn = |idle| Turn::measure(attack, idle, backend, arguments.seconds, folder);
        Ok(Self { idle: turn(true)?, attacked: turn(false)? })
    }

    fn ratio(&self) -> f64 {
        self.attacked.gauge.p99().as_secs_f64() / self.idle.gauge.p99().as_secs_f64()
    }
}

impl Turn {
    fn measure(attack: Attack, idle: bool, backend: SocketAddr, seconds: u64, folder: &Path) -> Result<Self> {
        let setup = Setup { core: Some(0), ..Setup::http(&[backend]) };
        let sidecar = Sidecar::start(&setup, folder)?;
        let mut command = Command::new("chrt");
        command.args(["--other", "0", "nice", "-n", "19"]).arg(std::env::current_exe()?).args([
            "attack",
            attack.name(),
            &sidecar.port.to_string(),
        ]);
        command.args([connections(attack).to_string(), (seconds + 2).to_string()]);
        if idle {
            command.arg("--idle");
        }
        let _attacker = Process::start("attacker", pinned(1, &command), folder)?;
        // A second for the connections to come, which the client sees but doesn't count.
        Gauge::measure(sidecar.port, Duration::from_secs(1))?;
        let gauge = Gauge::measure(sidecar.port, Duration::from_secs(seconds))?;
        Ok(Self { gauge, rss_kib: sidecar.process.rss_kib()? })
    }
}

/// Floods need few connections; slow clients need many.
fn connections(attack: Attack) -> usize {
    if Attack::SLOW.contains(&attack) { 1000 } else { 20 }
}

/// Prints the medians; whether they are good.
fn report(attack: Attack, pairs: &[Pair]) -> bool {
    let median = |of: &dyn Fn(&Pair) -> f64| {
        let mut values: Vec<f64> = pairs.iter().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let micros = |turn: &Turn| turn.gauge.p99().as_secs_f64() * 1e6;
    let mib = |turn: &Turn| turn.rss_kib as f64 / 1024.0;
    let ratio = median(&Pair::ratio);
    if let Some(why) = pairs.iter().find_map(|pair| pair.attacked.gauge.why.as_ref().or(pair.idle.gauge.why.as_ref())) {
        eprintln!("{attack}: a request failed: {why}");
    }
    let failed: usize = pairs.iter().map(|pair| pair.attacked.gauge.failed + pair.idle.gauge.failed).sum();
    let growth = pairs.iter().map(|pair| pair.attacked.rss_kib.saturating_sub(pair.idle.rss_kib)).max().unwrap_or(0);
    println!(
        "| {attack} | {} | {:.0} µs | {:.0} µs | {ratio:.2} | {:.1} MiB | {:.1} MiB | {failed} |",
        connections(attack),
        median(&|pair| micros(&pair.idle)),
        median(&|pair| micros(&pair.attacked)),
        median(&|pair| mib(&pair.idle)),
        median(&|pair| mib(&pair.attacked)),
    );
    ratio <= GROWTH && failed == 0 && growth <= BOUND_KIB
}

/// `echo`, on core 1 like the client.
fn backend(folder: &Path) -> Result<(Process, SocketAddr)> {
    let [port] = free_ports()?;
    let echo = std::env::current_exe()?.with_file_name("echo");
    let mut command = Command::new(echo);
    command.args(["serve", "--name", "backend", "--address", "127.0.0.1", "--port", &port.to_string()]);
    let mut process = Process::start("backend", pinned(1, &command), folder)?;
    process.wait_for_port(port)?;
    Ok((process, local(port)))
}
