//! Any bytes are header blocks of requests: in two frames each means what it does in one, and its framing is the stream's.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::http2_heads(bytes));
