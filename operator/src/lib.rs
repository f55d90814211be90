//! The operator: gather → plan → publish → status. It reads Services, EndpointSlices and pods, compiles each
//! `BalancerPool` into frames, serves them to the sidecars and says in the resource's status what came of it.
//! `app` wires the parts; everything that decides is pure and needs no API server.

pub mod app;
pub mod auth;
pub mod blame;
pub mod certs;
pub mod controller;
pub mod feed;
pub mod gather;
pub mod listed;
pub mod listen;
pub mod metrics;
pub mod publish;
pub mod readiness;
pub mod reconcile;
pub mod registration;
mod settle;
pub mod status;
pub mod webhook;
pub mod write;
pub mod zones;
