//! Writes heads, chunks and trailers. What leaves is framed here, whatever came in.

use super::Framing;
use super::head::Head;
use super::request::Request;
use super::response::{Delivery, Persistence, Response};

/// Appends the head that goes upstream. `local_host` is written where an HTTP/1.0 client sent no Host: the authority
/// that it has reached, since HTTP/1.1 upstream must have one.
pub(crate) fn request_head(out: &mut Vec<u8>, buf: &[u8], head: &Head, request: &Request, local_host: &str) {
    out.extend_from_slice(request.method_text.of(buf));
    out.push(b' ');
    out.extend_from_slice(request.target.prefix.as_bytes());
    out.extend_from_slice(request.target.path.of(buf));
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !request.has_host {
        let host = request.target.authority.map_or(local_host.as_bytes(), |a| a.of(buf));
        out.extend_from_slice(b"Host: ");
        out.extend_from_slice(host);
        out.extend_from_slice(b"\r\n");
    }
    head.write_kept(buf, out);
    if request.expects_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if request.asks_websocket {
        out.extend_from_slice(WEBSOCKET);
    }
    framing(out, request.body);
    out.extend_from_slice(b"\r\n");
}

const WEBSOCKET: &[u8] = b"Connection: upgrade\r\nUpgrade: websocket\r\n";

/// Appends the head that goes to the client.
pub(crate) fn response_head(out: &mut Vec<u8>, buf: &[u8], head: &Head, response: &Response, delivery: &Delivery) {
    out.extend_from_slice(b"HTTP/1.1 ");
    let status = response.status_text.of(buf);
    out.extend_from_slice(status);
    if status.len() == 3 {
        out.push(b' ');
    }
    out.extend_from_slice(b"\r\n");
    head.write_kept(buf, out);
    framing(out, delivery.declared);
    match delivery.connection {
        Persistence::Default => {}
        Persistence::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Persistence::Upgrade => out.extend_from_slice(WEBSOCKET),
    }
    out.extend_from_slice(b"\r\n");
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// Appends `number` in digits.
pub(crate) fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// Appends one chunk; `data` isn't empty, since an empty chunk would end the body.
pub(crate) fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(!data.is_empty());
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = data.len();
    while rest > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk; trailer lines follow, then [`END_OF_TRAILERS`].
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n";
/// Ends a chunked body.
pub(crate) const END_OF_TRAILERS: &[u8] = b"\r\n";
