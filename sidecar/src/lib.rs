//! The sidecar: a proxy on the pod's loopback that routes by pools, and the control plane that feeds it, from files or
//! from the operator. `app` wires it; the binary only reads arguments.

mod admin;
pub mod app;
pub mod cli;
pub mod control;
mod grpc;
mod http1;
mod http2;
pub mod lifecycle;
mod listen;
mod metrics;
mod proxy;
mod proxy_protocol;
mod status;
mod stream;
mod table;
mod tls;
mod worker;
