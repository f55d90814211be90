//! Why a datagram goes no further, in one word: metric label and log field alike.

/// Why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dropped {
    /// No endpoint could be picked or reached; the record of the session that wasn't says which.
    NoEndpoint,
    /// Its source has as many sessions as it may, and all have been used lately.
    SourceLimit,
    /// The listener has as many sessions as it may, and its source has none that could give way.
    ListenerLimit,
    /// The process has no descriptors left.
    LocalExhaustion,
    /// The socket to the endpoint takes no more for now.
    UpstreamFull,
    /// The socket to the client takes no more for now, or not this one.
    ClientFull,
}

impl Dropped {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 6] =
        [Self::NoEndpoint, Self::SourceLimit, Self::ListenerLimit, Self::LocalExhaustion, Self::UpstreamFull, Self::ClientFull];

    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "NoEndpoint",
            Self::SourceLimit => "SourceLimit",
            Self::ListenerLimit => "ListenerLimit",
            Self::LocalExhaustion => "LocalExhaustion",
            Self::UpstreamFull => "UpstreamFull",
            Self::ClientFull => "ClientFull",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_all() {
        for (at, reason) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }
}
