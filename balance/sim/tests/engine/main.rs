//! The simulator against queueing theory, and the properties that every figure rests on.
#![allow(clippy::unwrap_used, missing_docs)]

mod accounts;
mod frozen;
mod queueing;
