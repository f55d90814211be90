//! Claims on the files of `examples/` that show a protocol or a setting of the data path, each served as it stands but for its
//! ports and files: what its comment says is so.

#[path = "../common/mod.rs"]
mod common;

mod http;
mod limits;
mod proxied;
mod tls;
mod udp;
