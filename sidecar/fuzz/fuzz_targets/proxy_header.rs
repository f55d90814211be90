//! Any bytes are a PROXY header: no split changes it, none is waited for without end, and written again it is the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::proxy_header(bytes));
