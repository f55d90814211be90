//! Sends the conformance table through the sidecar and its peers, and writes `docs/conformance.md`.

use anyhow::{Context, Result};
use clap::Parser;
use evenkeel_e2e::cases;
use evenkeel_e2e::conformance::lane::Lane;
use evenkeel_e2e::conformance::page;
use evenkeel_e2e::conformance::verdict::verdict;
use evenkeel_e2e::stand::peers::Peer;
use std::path::{Path, PathBuf};

/// Compare what HTTP/1 proxies refuse, repair and pass on.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the table goes.
    #[arg(long, default_value = "docs/conformance.md")]
    out: PathBuf,
    /// Where the proxies' files go.
    #[arg(long, default_value = "target/conformance")]
    folder: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut reference = start(Peer::Evenkeel, "reference", &arguments.folder)?;
    let mut columns = Vec::new();
    let mut table = Vec::new();
    for peer in Peer::ALL {
        let mut lane = start(peer, &peer.name().replace(" ", "-"), &arguments.folder)?;
        table = cases::http1(&lane.address()).map_err(anyhow::Error::msg)?;
        let mut column = Vec::new();
        for case in &table {
            let observed = lane.run(case, &[]).with_context(|| peer.name())?;
            column.push(verdict(case, &observed, &mut reference)?);
        }
        eprintln!("{}: {} cases", peer.name(), column.len());
        columns.push(column);
    }
    let rows: Vec<_> = table
        .into_iter()
        .enumerate()
        .map(|(at, case)| (case, columns.iter().filter_map(|column| column.get(at).copied()).collect()))
        .collect();
    std::fs::write(&arguments.out, page::write(&rows)).with_context(|| format!("cannot write {}", arguments.out.display()))?;
    println!("written to {}", arguments.out.display());
    Ok(())
}

fn start(peer: Peer, name: &str, folder: &Path) -> Result<Lane> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Lane::start(peer, &std::path::absolute(&folder)?)
}
