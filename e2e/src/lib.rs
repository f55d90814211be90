//! What the tests on a real cluster, the demo and the benches share: the test server and its clients.

pub mod cases;
pub mod echo;
#[cfg(feature = "cluster")]
pub mod harness;
pub mod scrape;
