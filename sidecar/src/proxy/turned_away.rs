//! Why a client's connection ends before there is a request or an endpoint for it, or whatever its requests were, in one word: metric label and log field
//! alike. Each one is counted; of each worker only so many a second get a line in the log, whatever clients do.

use crate::proxy_protocol::Addresses;
use crate::table::PoolEntry;
use crate::worker::Worker;
use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Lines that may come at once, and how long it takes until there may be another one.
const LINES: u32 = 10;
const REFILL: Duration = Duration::from_secs(1);

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TurnedAway {
    /// Plain HTTP on a port where TLS ends; answered with a 400 in plain text.
    PlainHttp,
    /// Something else that is no TLS, on a port for TLS.
    TlsExpected,
    /// TLS on a port that speaks plain HTTP; answered with an alert.
    TlsUnexpected,
    /// The client knows no version of TLS that the listener takes.
    TlsVersion,
    /// The client and the listener have no cipher, group or signature scheme in common.
    TlsCipher,
    /// The client asks for protocols alone that the listener doesn't speak.
    TlsProtocol,
    /// The client ended the handshake by an alert: usually it doesn't trust the certificate.
    TlsAlert,
    /// Anything else that breaks the handshake's rules.
    TlsHandshake,
    /// The client went away in the midst of the handshake.
    TlsClosed,
    /// The handshake, or the client's hello, took too long.
    TlsTimeout,
    /// The client's hello names no server, on a port that passes TLS through by name.
    NoServerName,
    /// No pool has the name that the client's hello asks for.
    UnknownServerName,
    /// There is no PROXY header where there must be one.
    ProxyHeaderMissing,
    /// The PROXY header isn't to be understood.
    ProxyHeaderBad,
    /// The PROXY header, or the connection, comes from a network that isn't trusted.
    ProxyHeaderForbidden,
    /// The PROXY header took too long.
    ProxyHeaderTimeout,
    /// An HTTP/2 connection that broke the protocol.
    Http2Broken,
    /// An HTTP/2 connection that asked for more work than any client needs.
    Http2Flood,
}

impl TurnedAway {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 18] = [
        Self::PlainHttp,
        Self::TlsExpected,
        Self::TlsUnexpected,
        Self::TlsVersion,
        Self::TlsCipher,
        Self::TlsProtocol,
        Self::TlsAlert,
        Self::TlsHandshake,
        Self::TlsClosed,
        Self::TlsTimeout,
        Self::NoServerName,
        Self::UnknownServerName,
        Self::ProxyHeaderMissing,
        Self::ProxyHeaderBad,
        Self::ProxyHeaderForbidden,
        Self::ProxyHeaderTimeout,
        Self::Http2Broken,
        Self::Http2Flood,
    ];

    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PlainHttp => "PlainHttp",
            Self::TlsExpected => "TlsExpected",
            Self::TlsUnexpected => "TlsUnexpected",
            Self::TlsVersion => "TlsVersion",
            Self::TlsCipher => "TlsCipher",
            Self::TlsProtocol => "TlsProtocol",
            Self::TlsAlert => "TlsAlert",
            Self::TlsHandshake => "TlsHandshake",
            Self::TlsClosed => "TlsClosed",
            Self::TlsTimeout => "TlsTimeout",
            Self::NoServerName => "NoServerName",
            Self::UnknownServerName => "UnknownServerName",
            Self::ProxyHeaderMissing => "ProxyHeaderMissing",
            Self::ProxyHeaderBad => "ProxyHeaderBad",
            Self::ProxyHeaderForbidden => "ProxyHeaderForbidden",
            Self::ProxyHeaderTimeout => "ProxyHeaderTimeout",
            Self::Http2Broken => "Http2Broken",
            Self::Http2Flood => "Http2Flood",
        }
    }
}

/// Who is turned away, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    /// The listener's port.
    pub(crate) port: u16,
    /// The other end of the connection, or whom it speaks for.
    pub(crate) peer: SocketAddr,
    /// What that connected to.
    pub(crate) destination: SocketAddr,
}

impl Caller {
    /// As a PROXY header says it.
    pub(crate) fn addresses(self) -> Addresses {
        Addresses { source: self.peer, destination: self.destination }
    }
}

/// Counts it for `pool` and says it, unless too much has been said lately. `detail` is what is known beyond the reason; what
/// the client sent may be in it only in bounds.
pub(crate) fn note(worker: &Worker, pool: &PoolEntry, caller: Caller, reason: TurnedAway, detail: impl fmt::Display) {
    pool.metrics().shard(worker.index()).count_refused(reason);
    let Some(unsaid) = worker.turned_away().admit(Instant::now()) else { return };
    let Caller { port, peer, .. } = caller;
    tracing::info!(pool = pool.label(), port, %peer, reason = reason.as_str(), %detail, unsaid, "connection turned away");
}

/// How much a worker has said lately of one kind of thing.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Lines of the burst that are used up, as of the moment beside it.
    used: Cell<u32>,
    as_of: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl Said {
    /// Whether another line may be written at `now`, and how many were left out since the last.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let as_of = self.as_of.get().unwrap_or(now);
        let refilled = (now.saturating_duration_since(as_of).as_millis() / REFILL.as_millis()).min(LINES.into()) as u32;
        let used = self.used.get().saturating_sub(refilled);
        self.as_of.set(Some(if used == 0 { now } else { as_of + REFILL * refilled }));
        if used == LINES {
            self.used.set(used);
            self.unsaid.set(self.unsaid.get() + 1);
            return None;
        }
        self.used.set(used + 1);
        Some(self.unsaid.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_all() {
        for (at, reason) in TurnedAway::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }

    #[test]
    fn lines_are_bounded_whatever_comes_and_what_is_left_out_is_counted() {
        let (said, start) = (Said::default(), Instant::now());
        let admitted = (0..1_000).filter(|_| said.admit(start).is_some()).count();
        assert_eq!(admitted, LINES as usize);
        assert_eq!(said.admit(start + REFILL), Some(1_000 - u64::from(LINES)));
        assert_eq!(said.admit(start + REFILL), None);
        assert_eq!(said.admit(start + REFILL * 3 / 2), None, "half a refill is none");
        assert_eq!(said.admit(start + REFILL * 2), Some(2), "and isn't lost");
        let later = start + REFILL * 1_000;
        assert_eq!((0..1_000).filter(|_| said.admit(later).is_some()).count(), LINES as usize, "silence saves up one burst");
    }
}
