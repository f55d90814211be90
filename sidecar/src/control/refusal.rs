//! Why a pool isn't put into use. The text goes to the operator, and to people: it names the thing and what to do.

use crate::tls::TlsRefusal;
use evenkeel_balance::BuildError;
use evenkeel_wire::{PoolName, TransportPort};
use std::net::IpAddr;

/// Why one revision of one pool is refused; what was in use before stays.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It needs something that this version doesn't know.
    #[error("it needs `{0}`, which this version doesn't know; update the sidecar (restart the pod)")]
    UnknownFeature(String),
    /// More pools than a sidecar holds.
    #[error("this sidecar has {} pools already; ask for fewer", super::MAX_POOLS)]
    TooManyPools,
    /// More endpoints than a pool may have.
    #[error("over {} endpoints; split the pool", super::MAX_ENDPOINTS)]
    TooManyEndpoints,
    /// A field of the policy is out of its bounds.
    #[error("{field} is {value}; use {} to {}", bounds.min, bounds.max)]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it says.
        value: u64,
        /// What it may say.
        bounds: evenkeel_crds::bounds::Bounds,
    },
    /// A setting of the data path that isn't of its form, or doesn't go with the others.
    #[error("{place}: {what}; correct the pool's spec")]
    Setting {
        /// Where.
        place: String,
        /// What is wrong there.
        what: &'static str,
    },
    /// Two listeners of the pool have one port.
    #[error("two listeners have port {0}; give each its own")]
    PortTwice(TransportPort),
    /// An endpoint without an identity or a port.
    #[error("endpoint `{0}` has no port, or an id or ring key that is empty or over 400 bytes")]
    Endpoint(String),
    /// An endpoint where none may be.
    #[error("endpoint {id}: {address} is {} address, which no pool may use", kind.as_str())]
    Address {
        /// Its id.
        id: String,
        /// Its address.
        address: IpAddr,
        /// What is wrong with it.
        kind: evenkeel_plan::address::Refusal,
    },
    /// The list doesn't make a pool.
    #[error("{0}")]
    Build(#[source] BuildError),
    /// Another pool of this sidecar listens there.
    #[error("listener `{listener}`: port {port} belongs to pool {owner} in this sidecar; give one of the two another port")]
    PortTaken {
        /// The listener.
        listener: String,
        /// Its port.
        port: TransportPort,
        /// Who has it.
        owner: PoolName,
    },
    /// Another pool of this sidecar is what the name leads to there.
    #[error(
        "listener `{listener}`: on port {port} `{hostname}` leads to pool {owner} in this sidecar; give one of the two another \
         hostname or port"
    )]
    HostnameTaken {
        /// The listener.
        listener: String,
        /// Its port.
        port: TransportPort,
        /// The name.
        hostname: String,
        /// Who has it.
        owner: PoolName,
    },
    /// Another pool of this sidecar shares the port, and a PROXY header comes before it is known whose connection it is.
    #[error(
        "listener `{listener}`: on port {port} its proxyProtocol isn't that of pool {owner} in this sidecar; make them alike or give \
         one of the two another port"
    )]
    ProxyProtocolDiffers {
        /// The listener.
        listener: String,
        /// Its port.
        port: TransportPort,
        /// Who else has it.
        owner: PoolName,
    },
    /// The sidecar listens there itself.
    #[error("listener `{listener}`: this sidecar needs port {port} itself; give the listener another port")]
    OwnPort {
        /// The listener.
        listener: String,
        /// Its port.
        port: u16,
    },
    /// The port cannot be opened.
    #[error("listener `{listener}`: cannot listen on port {port} ({source}); free the port or give the listener another")]
    Listen {
        /// The listener.
        listener: String,
        /// Its port.
        port: TransportPort,
        /// Why not.
        source: std::io::Error,
    },
    /// What TLS would be made of isn't usable.
    #[error("{of}: {source}")]
    Tls {
        /// The listener, or the field.
        of: String,
        /// Why not.
        source: TlsRefusal,
    },
    /// Its text isn't understood.
    #[error("{0}")]
    NotUnderstood(String),
    /// It comes without a body, and isn't held here.
    #[error("revision {revision} isn't held here; send it whole")]
    NotHeld {
        /// The revision that was named.
        revision: u64,
    },
    /// It is older than what is in use.
    #[error("revision {revision} is older than {held}, which is in use")]
    Older {
        /// The revision that came.
        revision: u64,
        /// The one in use.
        held: u64,
    },
}

impl Refusal {
    /// Whether the same revision may be fine a moment later: somebody else has its port, or a file isn't what it will be.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_of_a_pool() || matches!(self, Self::Listen { .. } | Self::Tls { .. })
    }

    /// Whether another pool of this sidecar has its port or its hostname, and may give it up to this one.
    pub(crate) fn is_of_a_pool(&self) -> bool {
        matches!(self, Self::PortTaken { .. } | Self::HostnameTaken { .. } | Self::ProxyProtocolDiffers { .. })
    }
}
