//! Which status a client gets, and the small answers that the proxy gives itself.

use super::Fault;
use super::write::decimal;

/// The status for a request that is refused.
pub(crate) fn of_request_fault(fault: Fault) -> u16 {
    match fault {
        Fault::HeadTooLarge | Fault::TooManyHeaders => 431,
        Fault::TargetTooLong => 414,
        Fault::Method => 405,
        Fault::Expect => 417,
        _ => 400,
    }
}

/// The usual reason phrase of the statuses that the proxy gives itself.
fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

/// A whole answer of the proxy's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canned<'a> {
    /// The status.
    pub(crate) status: u16,
    /// The reason's label.
    pub(crate) reason: &'a str,
    /// What is wrong and what to do, for people.
    pub(crate) advice: &'a str,
    /// What else may help; mostly nothing.
    pub(crate) hint: &'a str,
    /// Whether the connection ends after it.
    pub(crate) close: bool,
    /// Whether it answers a HEAD: no body.
    pub(crate) to_head: bool,
}

impl Canned<'_> {
    /// Appends the answer, and says how long its head is.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let Self { status, reason, advice, hint, close, to_head } = *self;
        let body = [b"evenkeel: ", reason.as_bytes(), b": ", advice.as_bytes(), hint.as_bytes(), b"\n"];
        out.extend_from_slice(b"HTTP/1.1 ");
        decimal(out, u64::from(status));
        out.push(b' ');
        out.extend_from_slice(phrase(status).as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: text/plain\r\nContent-Length: ");
        decimal(out, body.iter().map(|part| part.len() as u64).sum());
        if status == 405 {
            out.extend_from_slice(b"\r\nAllow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
        }
        // Whatever it is that is missing, it may be there a moment later.
        if status == 503 {
            out.extend_from_slice(b"\r\nRetry-After: 1");
        }
        if close {
            out.extend_from_slice(b"\r\nConnection: close");
        }
        out.extend_from_slice(b"\r\n\r\n");
        let length = out.len() - start;
        if !to_head {
            body.iter().for_each(|part| out.extend_from_slice(part));
        }
        length
    }
}
