//! TLS on the data path: client connections that end here, connections to endpoints that begin here, and the stream that both
//! are once the handshake is done. What is loaded from files is loaded by the control plane, never here.

#![allow(dead_code, unused_imports, reason = "the accept path and the connect path come to it with the listeners' settings")]

mod stream;

pub(crate) use stream::{Alpn, TlsStream};
