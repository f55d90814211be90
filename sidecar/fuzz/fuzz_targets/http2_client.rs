//! Any bytes are frames from a server to three open streams: no split changes an answer, and HTTP/1 reads every head.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::http2_client(bytes));
