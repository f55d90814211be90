//! What hostile clients do to a sidecar, and what a well-behaved one notices of it. Loopback only, and every loop has an end.

pub mod attack;
pub mod attacker;
pub mod gauge;
