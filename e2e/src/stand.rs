//! What the protocol suites share: real programs on loopback (a sidecar with its pool, the peers configured alike), a backend
//! that records what it gets byte by byte, and clients that say exactly how their bytes are cut. Blocking; no runtime.

pub mod certificate;
pub mod client;
pub mod diag;
pub mod frames;
pub mod peers;
pub mod process;
pub mod programs;
pub mod recorder;
pub mod request;
pub mod server2;
pub mod sidecar;

/// The longest that anything here may take: a machine under load is no failure.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
