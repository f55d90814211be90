//! The API of Evenkeel: `BalancerPool` and `BalancerEndpoints`, group `evenkeel.dev`, version `v1alpha1`.
//! Plain serde and schemars; what needs kube stands in the module `kube` behind the feature of that name.
//! Reading a spec checks its shape only; what it means is decided in `evenkeel-plan`.

pub mod bounds;
pub mod duration;
pub mod endpoints;
#[cfg(feature = "kube")]
pub mod kube;
pub mod pool;
pub mod status;

/// The API group.
pub const GROUP: &str = "evenkeel.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";
