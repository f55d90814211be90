//! Choosing an endpoint, pure: live endpoint state by identity, the health floor and the passive breaker, and the algorithms.
//! No clock, no sockets, no threads: time and chance are arguments. A [`Pool`] is an immutable snapshot over live [`Endpoint`]s;
//! a pick takes no lock and no memory.

mod book;
mod breaker;
mod check;
mod endpoint;
mod hash;
mod picker;
mod pool;
mod rng;
mod standing;

pub use book::Book;
pub use breaker::{EjectReason, Ejection, Outcome, Passive, Transition};
pub use check::Check;
pub use endpoint::{Endpoint, EndpointSpec, Health, InFlight};
pub use hash::key_hash;
pub use picker::{Algorithm, Table};
pub use pool::{BuildError, Config, NoEndpoint, Pick, PickArgs, PickReason, Pool};
pub use rng::{Rng, SmallRng};
