//! What the crate promises, claim by claim, through its public API alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod assign;
mod bad_input;
mod breaker;
mod cost;
mod health;
mod joint;
mod least;
mod limit;
mod operations;
mod packing;
mod prequal;
mod priority;
mod random;
mod response_time;
mod ring;
mod round_robin;
mod slow_start;
mod state;
mod subset;
mod survival;
mod tables;
mod weights;
mod world;
mod zones;
