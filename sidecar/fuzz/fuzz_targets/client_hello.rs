//! Any bytes are the beginning of a TLS connection: neither cuts nor what follows the hello change what is read.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::client_hello(bytes));
