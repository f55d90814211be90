//! From a pool's spec and its gathered endpoints to what a sidecar is told, or a typed reason why not. Pure: no clock, no
//! IO, no randomness. The operator and the embedded mode call the same code, so the same YAML means the same in both.
//! A spec's shape is checked when it is read (`evenkeel-crds`), its meaning here.

pub mod address;
mod assemble;
mod compile;
pub mod document;
mod rejection;
mod remark;

pub use assemble::{Candidate, Found, Pod, assemble, static_candidates};
pub use compile::{Compiled, Mode, compile, is_dns_name, is_file, is_hostname, transport_port};
pub use rejection::Rejection;
pub use remark::remarks;
