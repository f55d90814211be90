//! How a request or a TCP connection ended, in one word: metric label, log field and response flag alike.

use evenkeel_balance::NoEndpoint;

/// The end of one request (HTTP) or connection (TCP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flag {
    /// Nothing was wrong on the way, whatever the status says.
    None,
    /// The pool has no endpoint.
    Empty,
    /// None of the pool's endpoints may be used.
    NoneUsable,
    /// Every endpoint has been tried.
    AllTried,
    /// All that may be used has as many requests as it may, and this one doesn't wait.
    Overloaded,
    /// The same, and as many wait as may.
    QueueFull,
    /// The same, and it has waited for as long as it may.
    QueueTimeout,
    /// The connect was refused, timed out or was unreachable, and no try was left.
    ConnectFailure,
    /// There was no TLS with the endpoint: it isn't believed, refused, or speaks something else; and no try was left.
    UpstreamTls,
    /// This host has no ports, descriptors or memory left for a connect; no endpoint is to blame.
    LocalExhaustion,
    /// The endpoint ended or reset the connection too early.
    UpstreamReset,
    /// The endpoint took too long.
    UpstreamTimeout,
    /// The endpoint's answer was no HTTP, or not to be passed on.
    UpstreamProtocol,
    /// The whole took longer than the pool allows.
    RequestTimeout,
    /// The endpoint left the pool while the connection was open.
    EndpointGone,
    /// The request was not to be understood or not to be passed on.
    BadRequest,
    /// The client took too long.
    ClientTimeout,
    /// Nothing moved either way for too long, and both sides were still open.
    StreamIdle,
    /// A UDP session gave its place to another one of the same source.
    GaveWay,
    /// The client ended or reset the connection too early, or the proxy was told to stop.
    Cancelled,
}

impl Flag {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 20] = [
        Self::None,
        Self::Empty,
        Self::NoneUsable,
        Self::AllTried,
        Self::Overloaded,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::ConnectFailure,
        Self::UpstreamTls,
        Self::LocalExhaustion,
        Self::UpstreamReset,
        Self::UpstreamTimeout,
        Self::UpstreamProtocol,
        Self::RequestTimeout,
        Self::EndpointGone,
        Self::BadRequest,
        Self::ClientTimeout,
        Self::StreamIdle,
        Self::GaveWay,
        Self::Cancelled,
    ];

    /// Those of requests that were turned away because the pool had as much as it may.
    pub(crate) const SHED: [Self; 3] = [Self::Overloaded, Self::QueueFull, Self::QueueTimeout];

    /// The word; `-` if there is nothing to say.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Empty => "Empty",
            Self::NoneUsable => "NoneUsable",
            Self::AllTried => "AllTried",
            Self::Overloaded => "Overloaded",
            Self::QueueFull => "QueueFull",
            Self::QueueTimeout => "QueueTimeout",
            Self::ConnectFailure => "ConnectFailure",
            Self::UpstreamTls => "UpstreamTls",
            Self::LocalExhaustion => "LocalExhaustion",
            Self::UpstreamReset => "UpstreamReset",
            Self::UpstreamTimeout => "UpstreamTimeout",
            Self::UpstreamProtocol => "UpstreamProtocol",
            Self::RequestTimeout => "RequestTimeout",
            Self::EndpointGone => "EndpointGone",
            Self::BadRequest => "BadRequest",
            Self::ClientTimeout => "ClientTimeout",
            Self::StreamIdle => "StreamIdle",
            Self::GaveWay => "GaveWay",
            Self::Cancelled => "Cancelled",
        }
    }
}

impl From<NoEndpoint> for Flag {
    fn from(none: NoEndpoint) -> Self {
        match none {
            NoEndpoint::Empty => Self::Empty,
            NoEndpoint::NoneUsable => Self::NoneUsable,
            NoEndpoint::AllTried => Self::AllTried,
            NoEndpoint::Saturated => Self::Overloaded,
        }
    }
}

/// The class of a status; `none` where no answer was sent, as always in TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CodeClass {
    /// No answer.
    None,
    /// 100 to 199.
    Informational,
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirection,
    /// 400 to 499.
    ClientError,
    /// 500 to 599, and whatever lies beyond.
    ServerError,
}

impl CodeClass {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 6] =
        [Self::None, Self::Informational, Self::Success, Self::Redirection, Self::ClientError, Self::ServerError];

    /// The class of a status code.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            0..=99 => Self::None,
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// `2xx` and so on.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// Why a request was tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Retried {
    /// The connect was refused; now another endpoint.
    Refused,
    /// The connect took too long; now another endpoint.
    Timeout,
    /// There was no way to it; now another endpoint.
    Unreachable,
    /// There was no TLS with it; now another endpoint.
    Tls,
    /// A connection ended before the first byte of the answer; now a new one to the same endpoint.
    StaleConnection,
    /// That one did so too; now another endpoint.
    Silent,
}

impl Retried {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 6] =
        [Self::Refused, Self::Timeout, Self::Unreachable, Self::Tls, Self::StaleConnection, Self::Silent];

    /// The reason's label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "Refused",
            Self::Timeout => "Timeout",
            Self::Unreachable => "Unreachable",
            Self::Tls => "Tls",
            Self::StaleConnection => "StaleConnection",
            Self::Silent => "Silent",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_all() {
        for (at, flag) in Flag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, at);
        }
        for (at, class) in CodeClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
        for (at, retried) in Retried::ALL.into_iter().enumerate() {
            assert_eq!(retried as usize, at);
        }
    }
}
