//! The one test server and its clients: small, static, without TLS and without Kubernetes. What they print is what the
//! tests believe, so nothing here retries, hides or rounds a failure.

pub mod client;
pub mod load;
pub mod message;
pub mod server;
pub mod summary;
pub mod text;

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock in nanoseconds since 1970. All pods of a node read the same one.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
