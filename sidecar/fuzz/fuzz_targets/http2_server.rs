//! Any bytes are frames from a client: no split changes an answer, and HTTP/1 takes a head whole or refuses it by its own rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::http2_server(bytes));
