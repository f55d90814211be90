//! Any bytes are an answer's head after a byte that says what was asked: what holds of a request's, and one framing at most.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::response_head(bytes));
