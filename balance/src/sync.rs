//! The primitives of shared live state: those of std, or under `--cfg shuttle` those of a model checker that tries the orders in
//! which threads may meet. Whatever workers race on comes from here.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(shuttle)]
pub(crate) use std::sync::PoisonError;
