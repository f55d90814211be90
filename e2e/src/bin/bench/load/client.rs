//! Our own load programs: this binary, started again on the load's core with a hidden command. Prints one JSON line.

use super::{Answered, Shot, handshakes, paced};
use crate::process::{LOAD_CORE, Programs, pinned};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// What a program of our own sends.
#[derive(Debug, Args)]
pub(crate) struct Client {
    kind: Kind,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    seconds: u64,
    #[arg(long)]
    connections: u32,
    #[arg(long)]
    rate: f64,
    #[arg(long)]
    certificate: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Handshakes,
    Paced,
}

/// What one thread saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Microseconds from when a request was due to its last byte; of those that succeeded.
    pub(super) took_us: Vec<u32>,
    /// Requests that didn't.
    pub(super) failed: u64,
    /// Bytes received.
    pub(super) bytes: u64,
}

pub(super) fn command(programs: &Programs, kind: &str, shot: Shot, connections: u32) -> Result<Command> {
    let mut command = pinned(LOAD_CORE, &programs.own("bench")?);
    command.args(["client", kind, "--connections", &connections.to_string(), "--port", &shot.port.to_string()]);
    command.args(["--seconds", &shot.seconds.to_string(), "--rate", &shot.rate.to_string()]);
    command.arg("--certificate").arg(programs.folder.join("tls.crt"));
    Ok(command)
}

pub(super) fn read(text: &str) -> Option<Answered> {
    serde_json::from_str(text).ok()
}

/// Sends it from one thread a connection.
pub(crate) fn run(client: &Client) -> Result<()> {
    let &Client { port, seconds, connections, rate, .. } = client;
    let job: Box<dyn Fn(u32) -> Seen + Sync> = match client.kind {
        Kind::Handshakes => {
            let config = handshakes::config(&client.certificate)?;
            Box::new(move |_| handshakes::run(&config, port, seconds))
        }
        Kind::Paced => Box::new(move |number| paced::run(port, seconds, rate / f64::from(connections), number)),
    };
    let seen: Vec<Seen> = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| {
                scope.spawn({
                    let job = &job;
                    move || job(number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Seen { failed: 1, ..Seen::default() })).collect()
    });
    println!("{}", serde_json::to_string(&sum(seen, seconds as f64))?);
    Ok(())
}

fn sum(seen: Vec<Seen>, seconds: f64) -> Answered {
    let (failed, bytes) = seen.iter().fold((0, 0), |(failed, bytes), seen| (failed + seen.failed, bytes + seen.bytes));
    let mut took: Vec<u32> = seen.into_iter().flat_map(|seen| seen.took_us).collect();
    took.sort_unstable();
    let p99 = took.get((took.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
    Answered { requests: took.len() as u64, failed, bytes, seconds, p99_us: p99.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_may_take_longer_than_p99() {
        let seen = |took: std::ops::Range<u32>, failed| Seen { took_us: took.collect(), failed, bytes: 1 };
        let answered = sum(vec![seen(101..201, 1), seen(1..101, 2)], 1.0);
        assert_eq!((answered.requests, answered.failed, answered.bytes, answered.p99_us), (200, 3, 2, 198.0));
        assert_eq!(sum(Vec::new(), 1.0).p99_us, 0.0);
    }
}
