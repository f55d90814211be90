//! The operator: gather → plan → publish → status. It reads Services, EndpointSlices and pods, compiles each
//! `BalancerPool` into frames, serves them to the sidecars and says in the resource's status what came of it.
//! `app` wires the parts; everything that decides is pure and needs no API server.

pub mod publish;
