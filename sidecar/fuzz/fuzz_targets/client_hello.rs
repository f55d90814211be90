#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| evenkeel_sidecar_fuzz::client_hello(bytes));
