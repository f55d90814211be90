//! Why a spec isn't accepted. Each names the field and says what to do; the reason is the word of a condition.

use crate::address::Refusal;
use evenkeel_crds::bounds::Bounds;
use std::net::IpAddr;

/// Why a spec isn't accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A number, a length or a count outside its bounds.
    #[error("{field} is {value}; it must be from {} to {}", .bounds.min, .bounds.max)]
    OutOfBounds {
        /// The field.
        field: String,
        /// Its value.
        value: u64,
        /// What is allowed.
        bounds: Bounds,
    },
    /// Too short or too long a time.
    #[error("{field} is {}; it must be from {} to {}", ms(*.value), ms(.bounds.min), ms(.bounds.max))]
    TimeOutOfBounds {
        /// The field.
        field: String,
        /// Its value in milliseconds.
        value: u64,
        /// What is allowed, in milliseconds.
        bounds: Bounds,
    },
    /// A text of a form that isn't allowed.
    #[error("{field} is `{value}`; it must be {expected}")]
    Malformed {
        /// The field.
        field: String,
        /// Its value, shortened.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Two items of a list that must differ.
    #[error("{field} is {value}, as in an earlier item; each must be given once")]
    Duplicate {
        /// The field of the later item.
        field: String,
        /// What is given twice.
        value: String,
    },
    /// A port that the sidecar needs for itself.
    #[error("{field} is {port}, which the sidecar needs for itself; choose another")]
    ReservedPort {
        /// The field.
        field: String,
        /// The port.
        port: u16,
    },
    /// A union's type whose member is absent.
    #[error("{field}.{member} is missing; {chosen} needs it")]
    MemberMissing {
        /// The union.
        field: String,
        /// The member.
        member: &'static str,
        /// What needs it, as it reads in the YAML.
        chosen: &'static str,
    },
    /// A union's member that belongs to another type.
    #[error("{field}.{member} is given, but {chosen}; remove it or set {fitting}")]
    MemberForeign {
        /// The union.
        field: String,
        /// The member.
        member: &'static str,
        /// The type in force, as it reads in the YAML.
        chosen: String,
        /// The type that it belongs to, as it reads in the YAML.
        fitting: &'static str,
    },
    /// A source with no member or with several.
    #[error("{field} has {count} of the members service and static; give it exactly one")]
    SourceMembers {
        /// The source.
        field: String,
        /// How many there are.
        count: usize,
    },
    /// `static` in the cluster.
    #[error(
        "{field}: static addresses aren't allowed in the cluster yet; put the backends behind a Service (one without a selector, with \
         EndpointSlices of your own, for those outside of it) and use a `service` source"
    )]
    StaticInCluster {
        /// The source.
        field: String,
    },
    /// `service` without a cluster.
    #[error("{field}: there are no Services without a cluster; in a file of --pools use a `static` source")]
    ServiceInEmbedded {
        /// The source.
        field: String,
    },
    /// An address that no pool may use.
    #[error("{field} is {address}, {} address; use the address of a host that serves", .refusal.as_str())]
    Address {
        /// The field.
        field: String,
        /// The address.
        address: IpAddr,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// A number that must be a prime.
    #[error("{field} is {value}, which is no prime; the nearest is {nearest}")]
    NotPrime {
        /// The field.
        field: String,
        /// Its value.
        value: u32,
        /// A prime that is as near as any.
        nearest: u32,
    },
    /// A text that names no network.
    #[error("{field} is `{value}`; {problem}")]
    Network {
        /// The field.
        field: String,
        /// Its value, shortened.
        value: String,
        /// What is wrong with it.
        problem: evenkeel_wire::CidrError,
    },
    /// Two settings that exclude each other.
    #[error("{field} doesn't go with type: ConsistentHash: {why}; remove it or choose another algorithm")]
    NotWithHash {
        /// The field.
        field: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A value that must not exceed another.
    #[error("{field} is {value}, more than {other}, which is {limit}; make it at most that")]
    Exceeds {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// The field that bounds it.
        other: &'static str,
        /// That one's value.
        limit: String,
    },
}

impl Rejection {
    /// One CamelCase word, for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OutOfBounds { .. } | Self::TimeOutOfBounds { .. } => "OutOfBounds",
            Self::Malformed { .. } | Self::NotPrime { .. } | Self::Network { .. } => "InvalidValue",
            Self::Duplicate { .. } => "DuplicateValue",
            Self::ReservedPort { .. } => "ReservedPort",
            Self::MemberMissing { .. } | Self::MemberForeign { .. } | Self::SourceMembers { .. } => "UnionMismatch",
            Self::StaticInCluster { .. } | Self::ServiceInEmbedded { .. } => "SourceNotSupported",
            Self::Address { .. } => "AddressNotAllowed",
            Self::Exceeds { .. } | Self::NotWithHash { .. } => "ContradictingValues",
        }
    }
}

fn ms(ms: u64) -> evenkeel_crds::duration::Duration {
    evenkeel_crds::duration::Duration::from_millis(ms)
}
