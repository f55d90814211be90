//! Any bytes are a chunked body: no split changes its data, a plain second reader agrees, and written again it is the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::chunked_body(bytes));
