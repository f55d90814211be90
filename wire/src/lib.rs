//! The feed's frames, version 1: what the operator tells a sidecar and what the sidecar answers.
//! One JSON object a line, at most [`MAX_LINE`] bytes: an envelope `{type, pool, revision, body}` whose body is read
//! only after its type is known, so that a pool that isn't understood is refused alone.
//! These types are versioned on their own; they are not the CRD's types. No IO here.

pub mod cidr;
pub mod endpoint;
pub mod frame;
pub mod limits;
pub mod listener;
pub mod policy;
pub mod upstream;

pub use cidr::{Cidr, CidrError};
pub use endpoint::{Endpoint, Health, Target};
pub use frame::{ClientFrame, ClientHello, FrameError, Goodbye, Nack, ServerFrame, ServerHello};
pub use limits::{ClientConnections, Limits, Timeouts};
pub use listener::{Listener, ListenerTls, Protocol, ProxyProtocolIn, TlsVersion, Transport, TransportPort, UdpSettings};
pub use policy::{
    ActiveCheck, Algorithm, CheckKind, CostClass, HashKey, PassiveCheck, Policy, Retry, RetryOn, SlowStart, StatusRange, Subset,
    Table, feature,
};
pub use upstream::{ProxyVersion, Upstream, UpstreamProtocol, UpstreamTls, Verification};

/// The version of the feed's language that this crate speaks.
pub const VERSION: u32 = 1;
/// The longest line either side may write, its newline included, in bytes.
pub const MAX_LINE: usize = 1 << 20;
/// The most endpoints one `endpoints` frame carries; a longer list goes in parts.
pub const MAX_PART: usize = 500;

/// Names a pool across the cluster. Written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolName {
    /// The namespace; `default` in the embedded mode unless the file says otherwise.
    pub namespace: String,
    /// The name of the `BalancerPool`.
    pub name: String,
}

impl std::fmt::Display for PoolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::str::FromStr for PoolName {
    type Err = FrameError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.split_once('/') {
            Some((namespace, name)) if is_name(namespace, 63) && is_name(name, 253) => {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(FrameError::PoolName(s.chars().take(80).collect())),
        }
    }
}

/// Lower-case letters, digits, `-` and `.`, as Kubernetes names its objects.
fn is_name(s: &str, max: usize) -> bool {
    !s.is_empty() && s.len() <= max && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}
