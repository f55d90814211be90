//! What the crate promises, claim by claim, through its public API alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod breaker;
mod health;
mod least;
mod ring;
mod state;
mod world;
