//! What is sent, by kind, and how often it went as it should.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A kind of load, or of harm that a client or a backend does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GET on a kept connection: 200.
    Kept,
    /// GET on a connection of its own: 200.
    Single,
    /// GET over TLS, a handshake each: 200.
    Tls,
    /// GET on streams of HTTP/2: 200.
    Http2,
    /// The same over TLS.
    Http2Tls,
    /// A call and its trailers, HTTP/2 on both sides: status 0.
    Grpc,
    /// An upgrade, then bytes there and back.
    WebSocket,
    /// Bytes there and back.
    Tcp,
    /// Datagrams there and back.
    Udp,
    /// The backend takes the request and hangs: 5xx.
    Hang,
    /// The backend resets its connection in the midst of the answer: no whole 200.
    Cut,
    /// The client goes in the midst of its body: nothing is expected.
    Vanish,
    /// A large answer in small sips, left or read to the end: 200 and all of it.
    Slow,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Kept,
        Self::Single,
        Self::Tls,
        Self::Http2,
        Self::Http2Tls,
        Self::Grpc,
        Self::WebSocket,
        Self::Tcp,
        Self::Udp,
        Self::Hang,
        Self::Cut,
        Self::Vanish,
        Self::Slow,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "http1-kept",
            Self::Single => "http1-single",
            Self::Tls => "http1-tls",
            Self::Http2 => "http2",
            Self::Http2Tls => "http2-tls",
            Self::Grpc => "grpc",
            Self::WebSocket => "websocket",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Hang => "hanging-backend",
            Self::Cut => "reset-in-answer",
            Self::Vanish => "vanishing-client",
            Self::Slow => "slow-reader",
        }
    }
}

/// Counts of all kinds.
#[derive(Debug, Default)]
pub struct Tally([[AtomicU64; 2]; Kind::ALL.len()]);

/// Counts of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Went as it should.
    pub good: u64,
    /// Went otherwise: its backend was down, for one.
    pub other: u64,
}

impl Count {
    /// A load of which less than half went well is none, and a soak without it shows nothing.
    pub fn is_enough(self) -> bool {
        self.good > self.other
    }
}

impl Tally {
    /// Counts one.
    pub fn add(&self, kind: Kind, good: bool) {
        self.0[kind as usize][usize::from(!good)].fetch_add(1, Relaxed);
    }

    /// The counts now.
    pub fn counts(&self) -> BTreeMap<&'static str, Count> {
        let count = |kind: Kind| {
            let [good, other] = [0, 1].map(|which| self.0[kind as usize][which].load(Relaxed));
            (kind.name(), Count { good, other })
        };
        Kind::ALL.into_iter().map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_mostly_failed_is_not_enough() {
        let tally = Tally::default();
        assert!(!tally.counts()["slow-reader"].is_enough());
        tally.add(Kind::Slow, true);
        assert!(tally.counts()["slow-reader"].is_enough());
        tally.add(Kind::Slow, false);
        assert_eq!(tally.counts()["slow-reader"], Count { good: 1, other: 1 });
        assert!(!tally.counts()["slow-reader"].is_enough());
        assert_eq!(tally.counts()["udp"], Count::default());
    }
}
