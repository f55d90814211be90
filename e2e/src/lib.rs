//! What the tests on a real cluster, the protocol suites, the demo and the benches share: the test server and its clients, and
//! real programs under tests that end with them.

pub mod abuse;
pub mod cases;
pub mod conformance;
pub mod echo;
#[cfg(feature = "cluster")]
pub mod harness;
pub mod scrape;
pub mod soak;
pub mod stand;
