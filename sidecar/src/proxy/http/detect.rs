//! Which HTTP a client speaks, told from the first bytes of its connection: HTTP/2 opens with a preface that no HTTP/1 request
//! begins with; where TLS has agreed on it, it is known. Nothing is consumed, and nothing is held until the first byte is there.

use super::buffer::{Buffers, Input};
use super::timer::Timer;
use crate::http2::PREFACE;
use crate::stream::Stream;
use crate::tls::Alpn;
use std::task::{Context, Poll, ready};

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// HTTP/1, or nothing that is known: its parser will say.
    Http1,
    /// HTTP/2, by prior knowledge or as ALPN has said.
    Http2,
    /// TLS, on a port where it isn't expected: no request begins so.
    Tls,
    /// The client has ended the connection, or was silent for too long.
    Over,
}

/// What client and listener have agreed on in the handshake: what comes after it must be that (RFC 7301, section 3.2).
pub(super) fn agreed(client: &Stream) -> Option<Opening> {
    let Stream::Tls(tls) = client else { return None };
    match tls.alpn() {
        Alpn::Http2 => Some(Opening::Http2),
        Alpn::Http1 => Some(Opening::Http1),
        Alpn::None => None,
    }
}

/// Waits until it is clear.
pub(super) fn poll(
    cx: &mut Context<'_>,
    client: &mut Stream,
    input: &mut Input,
    timer: &mut Timer,
    buffers: &Buffers,
) -> Poll<Opening> {
    loop {
        if let Some(opening) = read(input.bytes()) {
            return Poll::Ready(opening);
        }
        match input.poll_fill(cx, client, buffers) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Opening::Over),
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => {
                ready!(timer.poll(cx));
                // The beginning of a preface is the beginning of a head, too: the parser answers that it took too long.
                return Poll::Ready(if input.is_empty() { Opening::Over } else { Opening::Http1 });
            }
        }
    }
}

/// `None`: it could still be both.
fn read(bytes: &[u8]) -> Option<Opening> {
    /// The type of a record of the handshake (RFC 8446, section 5.1).
    const HANDSHAKE: u8 = 22;
    if bytes.first() == Some(&HANDSHAKE) {
        return Some(Opening::Tls);
    }
    let known = bytes.len().min(PREFACE.len());
    match bytes[..known] == PREFACE[..known] {
        false => Some(Opening::Http1),
        true if known == PREFACE.len() => Some(Opening::Http2),
        true => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_told_from_every_request_at_its_last_byte() {
        for length in 0..PREFACE.len() {
            assert_eq!(read(&PREFACE[..length]), None);
        }
        assert_eq!(read(PREFACE), Some(Opening::Http2));
        assert_eq!(read(&[PREFACE, b"\0\0\0".as_slice()].concat()), Some(Opening::Http2));
        assert_eq!(read(b"\x16\x03"), Some(Opening::Tls));
        for request in ["GET", "P", "PUT / HTTP/1.1", "PRI * HTTP/1.1\r\n"].map(str::as_bytes) {
            let expected = if PREFACE.starts_with(request) { None } else { Some(Opening::Http1) };
            assert_eq!(read(request), expected);
        }
    }
}
