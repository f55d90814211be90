//! The balancing core in simulated fleets: a seeded, virtual-clock model of N balancers and M servers, the arms that are compared
//! in it, and the claims about them. Open loop only; never shipped. How to add a claim stands in the README beside.

pub mod arm;
pub mod claim;
pub mod claims;
pub mod events;
pub mod law;
pub mod maths;
pub mod outcome;
pub mod plain;
pub mod report;
pub mod scenario;
mod server;
mod traffic;
pub mod world;
