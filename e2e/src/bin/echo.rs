//! The command line of the test server and its clients. What they do stands in `evenkeel_e2e::echo`.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use evenkeel_e2e::echo::load::{self, Load, MAX_REQUESTS, Target};
use evenkeel_e2e::echo::server::{self, Config};
use evenkeel_e2e::echo::text::{HeaderTemplate, Url, duration};
use evenkeel_e2e::echo::{client, now_ns};
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A test server that says its name, and clients that count.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP/1.1 (or TCP, or UDP); the last line of the log is what was counted, as JSON.
    Serve(Serve),
    /// Send HTTP requests and print one JSON summary.
    Load(HttpLoad),
    /// Open TCP connections and print one JSON summary.
    TcpLoad(TcpLoad),
    /// Print the body of one answer; fails unless its status is 2xx.
    Get {
        /// What to ask for.
        url: Url,
        /// The method.
        #[arg(long, default_value = "GET")]
        method: String,
        /// The longest to wait.
        #[arg(long, default_value = "10s", value_parser = duration)]
        timeout: Duration,
    },
    /// Do nothing for a while: a preStop hook where there is no shell.
    Sleep {
        /// How long.
        #[arg(value_parser = duration)]
        time: Duration,
    },
}

#[derive(Args)]
struct Serve {
    /// The name in every answer.
    #[arg(long, env = "ECHO_NAME")]
    name: String,
    /// The port; 0 picks one, the first line of the log says which.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    address: IpAddr,
    /// The time that each request takes.
    #[arg(long, default_value = "0ms", value_parser = duration)]
    delay: Duration,
    /// Serve on for this long after SIGTERM.
    #[arg(long, default_value = "0ms", value_parser = duration)]
    drain: Duration,
    /// A further port for /healthz, /stats and /reset.
    #[arg(long)]
    health_port: Option<u16>,
    /// Bare TCP: say the name, then send back what comes in.
    #[arg(long)]
    tcp: bool,
    /// UDP: send back each datagram behind the name.
    #[arg(long, conflicts_with = "tcp")]
    udp: bool,
}

#[derive(Args)]
struct Amount {
    /// The most exchanges at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// Exchanges a second over all workers.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Stop after so many.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MAX_REQUESTS))]
    requests: Option<u64>,
    /// Stop after so long.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// The longest an exchange may take.
    #[arg(long, default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

#[derive(Args)]
struct HttpLoad {
    /// Where to.
    #[arg(long)]
    url: Url,
    /// A request header; `{i}` in its value is the key's number.
    #[arg(long = "header")]
    headers: Vec<HeaderTemplate>,
    /// Number the keys 0 to N-1 in turn; absent: each request has its own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    keys: Option<u64>,
    /// Print each key's backend.
    #[arg(long, requires = "keys")]
    out_keys: bool,
    /// Use connections again or not.
    #[arg(long, value_enum, default_value_t = Connections::Keep)]
    connections: Connections,
    #[command(flatten)]
    amount: Amount,
}

#[derive(Args)]
struct TcpLoad {
    /// Where to, as host:port.
    #[arg(long)]
    address: String,
    /// Bytes that go there and back on each connection.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    bytes: u32,
    #[command(flatten)]
    amount: Amount,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Connections {
    Keep,
    New,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(serve) => run_server(serve).await,
        Command::Load(HttpLoad { url, headers, keys, out_keys, connections, amount }) => {
            let target = Target::Http { url, headers, keep: connections == Connections::Keep };
            print_summary(amount.load(target, keys, out_keys)?).await
        }
        Command::TcpLoad(TcpLoad { address, bytes, amount }) => {
            let target = Target::Tcp { authority: address, bytes: bytes as usize };
            print_summary(amount.load(target, None, false)?).await
        }
        Command::Get { url, method, timeout } => {
            let response = client::fetch(&method, &url, "", b"", timeout).await?;
            let body = response.successful()?.body;
            Ok(std::io::stdout().write_all(&body)?)
        }
        Command::Sleep { time } => {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = asked_to_end()? => {}
            }
            Ok(())
        }
    }
}

/// Completes on SIGTERM or SIGINT. As the first process of a container it would otherwise not hear them.
fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("no SIGTERM handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no SIGINT handler")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn run_server(serve: Serve) -> anyhow::Result<()> {
    let end = asked_to_end()?;
    let bound = server::bind(Config {
        name: serve.name,
        address: (serve.address, serve.port).into(),
        control: serve.health_port.map(|port| (serve.address, port).into()),
        delay: serve.delay,
        drain: serve.drain,
        tcp: serve.tcp,
        udp: serve.udp,
    })
    .await
    .with_context(|| format!("cannot listen on {}:{}; choose another --port", serve.address, serve.port))?;
    println!("{}", serde_json::json!({"event": "listening", "address": bound.address, "control": bound.control, "ns": now_ns()}));
    let stats = bound.run(end).await;
    println!("{}", serde_json::json!({"event": "exit", "ns": now_ns(), "stats": stats}));
    Ok(())
}

impl Amount {
    fn load(self, target: Target, keys: Option<u64>, out_keys: bool) -> anyhow::Result<Load> {
        if self.requests.is_none() && self.duration.is_none() {
            bail!("a load must end: give --requests or --duration");
        }
        Ok(Load {
            target,
            concurrency: self.concurrency.into(),
            rate: self.rate,
            requests: self.requests,
            duration: self.duration,
            keys,
            out_keys,
            limit: self.timeout,
        })
    }
}

async fn print_summary(load: Load) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&load::run(load).await)?);
    Ok(())
}
