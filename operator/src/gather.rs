//! What the cluster says: watches turn objects into small facts, caches hold them, and `World` says which pools a fact
//! touches. Only `watch` speaks to the API server; the rest is pure.

pub mod cache;
pub mod facts;
pub mod watch;
pub mod world;

pub use world::{Observation, Touched, World};
