//! The operator's command line. Exit codes: 0 ended when told to, 1 it couldn't start, 2 a wrong flag.

use anyhow::Context;
use clap::Parser;
use evenkeel_operator::app::{self, Options};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged unless EVENKEEL_LOG says otherwise. The client logs each failed request, which whoever made it says better.
/// The chart shows the same.
const LOG: &str = "info,kube_client=off";

/// Reconciles BalancerPools and feeds the sidecars.
#[derive(Debug, Parser)]
#[command(name = "evenkeel-operator", version)]
enum Command {
    /// Run until SIGTERM.
    Run(Options),
}

fn main() -> ExitCode {
    let Command::Run(options) = Command::parse();
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The errors name their causes themselves.
            eprintln!("evenkeel-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: Options) -> anyhow::Result<()> {
    let words = std::env::var("EVENKEEL_LOG").unwrap_or_else(|_| LOG.into());
    let filter: Targets = words.parse().with_context(|| format!("EVENKEEL_LOG is `{words}`; write a level or TARGET=LEVEL,…"))?;
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(layer).init();
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    anyhow::ensure!(installed.is_ok(), "a TLS provider is installed already");
    // One thread: its work is small and bursty, and one heap stays small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

async fn run(options: Options) -> anyhow::Result<()> {
    let bound = app::bind(&options).await?;
    let (tell, stop) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be caught")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop");
        let _ = tell.send(true);
    });
    Ok(app::run(options, bound, stop).await?)
}
