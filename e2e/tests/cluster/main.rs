//! Claims that hold on a real cluster and may be tested side by side, each in a namespace of its own.

mod access;
mod hashing;
mod health;
mod injection;
mod observing;
mod refusals;
mod spread;
