//! Any bytes are a request's head: no split changes it, another parser takes it, too, and what goes on is read as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::request_head(bytes));
