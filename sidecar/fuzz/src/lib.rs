//! What the sidecar parses, compiled alone, and the claims about it that hold of any bytes. Each claim stands beside the code that
//! makes it, in a module `fuzz`, and panics when it is broken.
#![allow(dead_code, unused_imports, reason = "a part of the sidecar without the rest")]

#[path = "../../src"]
mod sidecar {
    pub(crate) mod http1;
    pub(crate) mod http2;
    pub(crate) mod proxy_protocol;
    pub(crate) mod tls {
        pub(crate) mod fuzz;
        mod hello;
    }
}

use sidecar::{http1, http2, proxy_protocol, tls};

/// The head of a request.
pub fn request_head(bytes: &[u8]) {
    http1::fuzz::check_request(bytes);
}

/// The head of an answer.
pub fn response_head(bytes: &[u8]) {
    http1::fuzz::check_response(bytes);
}

/// A chunked body.
pub fn chunked_body(bytes: &[u8]) {
    http1::fuzz::check_chunked(bytes);
}

/// A PROXY header.
pub fn proxy_header(bytes: &[u8]) {
    proxy_protocol::fuzz::check(bytes);
}

/// HTTP/2 frames, to a server.
pub fn http2_server(bytes: &[u8]) {
    http2::fuzz::check_server(bytes);
}

/// HTTP/2 frames, to a client.
pub fn http2_client(bytes: &[u8]) {
    http2::fuzz::check_client(bytes);
}

/// Compressed heads of HTTP/2, and the HTTP/1 text that they become.
pub fn http2_heads(bytes: &[u8]) {
    http2::fuzz::check_heads(bytes);
}

/// The ClientHello of TLS.
pub fn client_hello(bytes: &[u8]) {
    tls::fuzz::check(bytes);
}
