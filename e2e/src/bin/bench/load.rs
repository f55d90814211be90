//! The load of a row: which program sends it and how its report is read. One turn of load is one process on the load's core.

pub(crate) mod client;
mod h2load;
mod handshakes;
pub(crate) mod paced;
mod wrk;

use crate::process::Programs;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::process::Command;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// HTTP/1.1 as fast as the answers come (wrk).
    Http1 {
        /// Connections.
        connections: u32,
        /// What is asked for.
        path: &'static str,
        /// Over TLS.
        tls: bool,
    },
    /// HTTP/2 as fast as the answers come (h2load).
    Http2 {
        /// Connections.
        connections: u32,
        /// Streams on each.
        streams: u32,
        /// A gRPC call in place of a GET.
        grpc: bool,
    },
    /// A TLS 1.3 connection for each request, none resumed (our own client).
    Handshakes {
        /// Connections at once.
        connections: u32,
    },
    /// HTTP/1.1 at half of what HAProxy can take, each request when it is due and timed from then (our own client).
    Paced {
        /// Connections.
        connections: u32,
    },
}

/// One turn of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shot {
    /// Where to.
    pub(crate) port: u16,
    /// For so long.
    pub(crate) seconds: u64,
    /// Requests a second; of [`Load::Paced`] alone.
    pub(crate) rate: f64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// Requests that were answered in full.
    pub(crate) requests: u64,
    /// Requests that failed or whose answer wasn't a success.
    pub(crate) failed: u64,
    /// Bytes received; 0 where the program doesn't say.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// The 99th percentile of the time from when a request was due; 0 where nothing was due.
    pub(crate) p99_us: f64,
}

impl Load {
    /// Requests that may be on their way when the load ends: sent and served, but never counted as answered.
    pub(crate) fn in_flight(self) -> u64 {
        match self {
            Self::Http1 { connections, .. } | Self::Handshakes { connections } | Self::Paced { connections } => {
                connections.into()
            }
            Self::Http2 { connections, streams, .. } => (connections * streams).into(),
        }
    }

    /// Sends it and waits for its end.
    pub(crate) fn run(self, programs: &Programs, shot: Shot) -> Result<Answered> {
        let (command, read): (Command, fn(&str) -> Option<Answered>) = match self {
            Self::Http1 { connections, path, tls } => (wrk::command(programs, shot, connections, path, tls)?, wrk::read),
            Self::Http2 { connections, streams, grpc } => {
                (h2load::command(programs, shot, connections, streams, grpc)?, h2load::read)
            }
            Self::Handshakes { connections } => (client::command(programs, "handshakes", shot, connections)?, client::read),
            Self::Paced { connections } => (client::command(programs, "paced", shot, connections)?, client::read),
        };
        let answered = send(command, read)?;
        if answered.requests == 0 {
            bail!("no request was answered");
        }
        Ok(answered)
    }
}

fn send(mut command: Command, read: impl Fn(&str) -> Option<Answered>) -> Result<Answered> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = || format!("{command:?} gave no result: {text}{}", String::from_utf8_lossy(&output.stderr));
    read(&text).with_context(said)
}
