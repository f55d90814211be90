//! The binary: arguments, log, signals, exit codes. Everything else is in the library.

use anyhow::Context;
use clap::Parser;
use evenkeel_sidecar::app;
use evenkeel_sidecar::cli::{Cli, Command, LogFormat, Run};
use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What was given is wrong.
const USAGE: u8 = 2;
/// Something on this host failed.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let Command::Run(run) = Cli::parse().command;
    let code = match log(&run) {
        Ok(()) => serve(&run).unwrap_or_else(|error| complain(&error, FAILURE)),
        Err(error) => complain(&error, USAGE),
    };
    ExitCode::from(code)
}

fn log(run: &Run) -> anyhow::Result<()> {
    // Not `EnvFilter`: its regular expressions would be a tenth of the binary.
    let filter: Targets = run.log.parse().with_context(|| format!("--log is `{}`; write a level or TARGET=LEVEL,…", run.log))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match run.log_format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}

fn serve(run: &Run) -> anyhow::Result<u8> {
    let config = match run.config(seed()) {
        Ok(config) => config,
        Err(error) => return Ok(complain(&error, USAGE)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only name resolution blocks.
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .context("no resources for a runtime")?;
    runtime.block_on(async {
        let mut terminate = Terminate::new()?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let bound = match app::start(config).await {
            Ok(bound) => bound,
            Err(error) => return Ok(complain(&error, if error.is_usage() { USAGE } else { FAILURE })),
        };
        tracing::info!(admin = %bound.admin, metrics = %bound.metrics, version = env!("CARGO_PKG_VERSION"), "started");
        let reload = bound.reload.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                // One that is waiting already will do for both.
                let _ = reload.try_send(());
            }
        });
        let (first, at_first) = tokio::sync::oneshot::channel();
        let told_twice = async {
            terminate.next().await;
            let _ = first.send(());
            terminate.next().await;
        };
        tokio::select! {
            drained = bound.run(async { drop(at_first.await) }) => tracing::info!(?drained, "ended"),
            () = told_twice => tracing::warn!("ended at once, told twice"),
        }
        Ok(0)
    })
}

fn complain(error: &dyn Display, code: u8) -> u8 {
    eprintln!("evenkeel-sidecar: {error:#}");
    code
}

/// SIGTERM, or Ctrl-C.
struct Terminate(Signal, Signal);

impl Terminate {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self(listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Different for each process: sidecars must not draw in step.
fn seed() -> u64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
    nanos ^ (u64::from(std::process::id()) << 32)
}
