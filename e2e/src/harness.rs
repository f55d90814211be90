//! What the tests on a cluster stand on: kubectl, helm and the API server's HTTP, each call with a deadline and an error
//! that shows what the cluster said. No Kubernetes crate: what users type is what is tested.

pub mod api;
pub mod cluster;
pub mod command;
pub mod feed;
pub mod images;
pub mod install;
pub mod manifest;
pub mod process;
pub mod results;
pub mod scene;
pub mod suite;
pub mod temp_ns;
pub mod wait;
