//! The rows: which load, which setup, and what our figure may be of a peer's. This is the list of goals; nothing runs here.

use crate::backend::{MIB, SMALL};
use crate::load::Load;
use crate::peer::{Downstream, Peer, Setup, Upstream};

/// One comparison under one load.
pub(crate) struct Row {
    /// What `--row` calls it.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// How the proxies are configured.
    pub(crate) setup: Setup,
    /// What is sent.
    pub(crate) load: Load,
    /// What is asked of the figures.
    pub(crate) goals: &'static [Goal],
}

/// What our figure over a peer's may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// Which figure.
    pub(crate) figure: Figure,
    /// Whose.
    pub(crate) peer: Peer,
    /// The most.
    pub(crate) most: f64,
    /// What it shall become after that.
    pub(crate) then: Option<f64>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU microseconds a request.
    Cpu,
    /// Resident MiB during the load.
    Rss,
    /// The 99th percentile, in microseconds, less that without a proxy.
    AddedP99,
}

const fn cpu(peer: Peer, most: f64) -> Goal {
    Goal { figure: Figure::Cpu, peer, most, then: None }
}

const fn setup(downstream: Downstream, upstream: Upstream) -> Setup {
    Setup { downstream, upstream }
}

/// HTTP/1.1 on both sides.
pub(crate) const HTTP1: Setup = setup(Downstream::Http1, Upstream::Http1);
const STREAMS_GOALS: &[Goal] = &[Goal { then: Some(1.0), ..cpu(Peer::Haproxy, 1.2) }, cpu(Peer::Envoy, 0.3)];

const fn http1(connections: u32, path: &'static str) -> Load {
    Load::Http1 { connections, path, tls: false }
}

const fn http2(grpc: bool) -> Load {
    Load::Http2 { connections: 16, streams: 16, grpc }
}

/// In their order.
pub(crate) const ROWS: [Row; 10] = [
    Row {
        name: "http1",
        title: "HTTP/1.1, 70 B, 64 connections",
        setup: HTTP1,
        load: http1(64, SMALL),
        goals: &[cpu(Peer::Haproxy, 0.8), cpu(Peer::Nginx, 0.55), cpu(Peer::Envoy, 0.3), cpu(Peer::Relay, 1.1)],
    },
    Row {
        name: "http1-2000",
        title: "HTTP/1.1, 70 B, 2,000 connections",
        setup: HTTP1,
        load: http1(2000, SMALL),
        goals: &[cpu(Peer::Haproxy, 0.75), Goal { figure: Figure::Rss, ..cpu(Peer::Nginx, 1.0) }],
    },
    Row {
        name: "http1-1m",
        title: "HTTP/1.1, 1 MiB, 16 connections",
        setup: HTTP1,
        load: http1(16, MIB),
        goals: &[cpu(Peer::Haproxy, 0.9)],
    },
    Row {
        name: "tcp-1m",
        title: "TCP mode, 1 MiB, 16 connections (HAProxy splices)",
        setup: setup(Downstream::Tcp, Upstream::Http1),
        load: http1(16, MIB),
        goals: &[cpu(Peer::Haproxy, 1.0)],
    },
    Row {
        name: "http2-http1",
        title: "HTTP/2 in, HTTP/1.1 out, 70 B, 16 connections × 16 streams",
        setup: setup(Downstream::Http2, Upstream::Http1),
        load: http2(false),
        goals: STREAMS_GOALS,
    },
    Row {
        name: "http2",
        title: "HTTP/2 on both sides, 70 B, 16 × 16",
        setup: setup(Downstream::Http2, Upstream::Http2),
        load: http2(false),
        goals: STREAMS_GOALS,
    },
    Row {
        name: "grpc",
        title: "gRPC unary, 16 × 16",
        setup: setup(Downstream::Http2, Upstream::Grpc),
        load: http2(true),
        goals: STREAMS_GOALS,
    },
    Row {
        name: "tls",
        title: "TLS 1.3 in, keep-alive, 70 B, 64 connections",
        setup: setup(Downstream::Tls, Upstream::Http1),
        load: Load::Http1 { connections: 64, path: SMALL, tls: true },
        goals: &[cpu(Peer::Haproxy, 0.75)],
    },
    Row {
        name: "tls-new",
        title: "TLS 1.3 in, a new connection each (P-256, X25519, none resumed)",
        setup: setup(Downstream::Tls, Upstream::Http1),
        load: Load::Handshakes { connections: 16 },
        goals: &[cpu(Peer::Haproxy, 1.0)],
    },
    Row {
        name: "p99",
        title: "added p99, HTTP/1.1, 70 B, 64 connections, half of HAProxy's load",
        setup: HTTP1,
        load: Load::Paced { connections: 64 },
        goals: &[Goal { figure: Figure::AddedP99, ..cpu(Peer::Haproxy, 1.0) }],
    },
];

impl Row {
    /// Who has a turn in each round: ours first, then each peer of the goals once.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let mut peers = vec![Peer::Evenkeel];
        if self.goals.iter().any(|goal| goal.figure == Figure::AddedP99) {
            peers.push(Peer::Direct);
        }
        for goal in self.goals {
            if !peers.contains(&goal.peer) {
                peers.push(goal.peer);
            }
        }
        peers
    }
}

impl Figure {
    /// As the table writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU µs/request",
            Self::Rss => "RSS MiB",
            Self::AddedP99 => "added p99 µs",
        }
    }
}
