//! The proxies under test. Of each: how it is configured for a [`Setup`], and how it is started. One worker each, alone
//! on its core; least connections and keep-alive on both sides for all; access logs off; no peer starved.

mod envoy;
pub(crate) mod evenkeel;
mod haproxy;
mod nginx;

use crate::process::{PROXY_CORE, Process, Programs, free_ports, pinned};
use anyhow::Result;
use std::process::Command;

/// Who has a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The sidecar in the embedded mode.
    Evenkeel,
    /// HAProxy 2.8; in TCP mode with splice.
    Haproxy,
    /// HAProxy 2.8 as a TCP relay, whatever the others do: the floor.
    Relay,
    /// NGINX 1.31.
    Nginx,
    /// Envoy 1.40.
    Envoy,
    /// Nobody: the load goes to the backend.
    Direct,
}

/// What is spoken with the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Downstream {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// HTTP/1.1 over TLS 1.3, X25519, a P-256 certificate, no tickets.
    Tls,
    /// Bytes.
    Tcp,
}

/// What the proxy speaks with the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// HTTP/1.1, or bytes.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// Left to what a gRPC request asks for; told to proxies that must be told.
    Grpc,
}

/// What a row asks of every proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    /// In front.
    pub(crate) downstream: Downstream,
    /// Behind.
    pub(crate) upstream: Upstream,
}

/// A proxy that runs; ends with this value.
pub(crate) struct Running {
    /// Its process; the backend's own is nobody's to measure.
    pub(crate) process: Option<Process>,
    /// Where it takes load.
    pub(crate) port: u16,
    /// Where its metrics are, if it is ours.
    pub(crate) metrics: Option<u16>,
}

impl Peer {
    /// As people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "Evenkeel",
            Self::Haproxy => "HAProxy",
            Self::Relay => "TCP relay",
            Self::Nginx => "NGINX",
            Self::Envoy => "Envoy",
            Self::Direct => "direct",
        }
    }

    /// Starts it in front of the backends and waits until it takes connections.
    pub(crate) fn start(self, programs: &Programs, backends: &[u16], setup: Setup) -> Result<Running> {
        let [port, metrics, admin] = free_ports()?;
        let (command, metrics) = match self {
            Self::Direct => return Ok(Running { process: None, port: backends[0], metrics: None }),
            Self::Evenkeel => {
                let pools = evenkeel::pools(programs, setup, port, backends)?;
                (evenkeel::command(proxy(&programs.sidecar), pools, admin, metrics), Some(metrics))
            }
            Self::Haproxy => (self::haproxy::command(programs, setup, port, backends)?, None),
            Self::Relay => {
                let setup = Setup { downstream: Downstream::Tcp, upstream: Upstream::Http1 };
                (self::haproxy::command(programs, setup, port, backends)?, None)
            }
            Self::Nginx => (self::nginx::command(programs, port, backends)?, None),
            Self::Envoy => (self::envoy::command(programs, setup, port, backends)?, None),
        };
        let process = Process::start(command, port, &programs.log(self.name()))?;
        Ok(Running { process: Some(process), port, metrics })
    }
}

/// A proxy's program on its core.
fn proxy(program: &std::path::Path) -> Command {
    pinned(PROXY_CORE, program)
}

/// Lines for each of the backends' ports.
fn each_port(ports: &[u16], line: impl Fn(usize, u16) -> String) -> String {
    ports.iter().enumerate().map(|(at, port)| line(at, *port)).collect()
}
