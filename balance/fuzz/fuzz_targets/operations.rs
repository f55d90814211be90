//! Any bytes are a sequence of operations on books and pools; see `machine`.
#![no_main]

#[path = "../machine/mod.rs"]
mod machine;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| machine::run(bytes));
