//! Request targets and authorities: which forms are accepted, and what goes upstream in their place.

use super::{Fault, MAX_TARGET, head::Span};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The path and query that go upstream; empty if the URL had none.
    pub(crate) path: Span,
    /// What goes before `path`: `/` where the URL had no path, `*` where OPTIONS asked for a whole server by its URL.
    pub(crate) prefix: &'static str,
    /// The authority of an absolute URL.
    pub(crate) authority: Option<Span>,
    /// The port that may be left out of it: the URL's scheme says so.
    pub(crate) usual_port: &'static str,
}

/// Reads the target that stands at `span`. `options`: the method is OPTIONS.
pub(crate) fn read(buf: &[u8], span: Span, options: bool) -> Result<Target, Fault> {
    let text = span.of(buf);
    if text.len() > MAX_TARGET {
        return Err(Fault::TargetTooLong);
    }
    if !text.iter().all(|b| matches!(b, b'!'..=b'~') && *b != b'#') {
        return Err(Fault::Target);
    }
    match text.first() {
        Some(b'/') => Ok(Target { path: span, prefix: "", authority: None, usual_port: "" }),
        Some(b'*') if options && text.len() == 1 => Ok(Target { path: span, prefix: "", authority: None, usual_port: "" }),
        _ => absolute(text, span, options),
    }
}

fn absolute(text: &[u8], span: Span, options: bool) -> Result<Target, Fault> {
    let starts = |scheme: &[u8]| text.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme));
    let (skip, usual_port) = match () {
        () if starts(b"http://") => (b"http://".len(), "80"),
        () if starts(b"https://") => (b"https://".len(), "443"),
        () => return Err(Fault::Target),
    };
    let rest = &text[skip..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    if !is_authority(&rest[..end]) {
        return Err(Fault::Target);
    }
    let prefix = match rest.get(end) {
        Some(b'/') => "",
        None if options => "*",
        _ => "/",
    };
    let start = span.start() + skip;
    let authority = Some(Span::new(start, start + end));
    Ok(Target { path: Span::new(start + end, span.end()), prefix, authority, usual_port })
}

/// A host with an optional port: a registered name, an IPv4 address or a bracketed IPv6 address; no userinfo, no list.
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = split(text);
    let host_fits = match host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")) {
        Some(inner) => std::str::from_utf8(inner).is_ok_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.iter().all(|b| is_name_byte(*b)),
    };
    let port_fits = port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && port.iter().fold(0u32, |n, b| n * 10 + u32::from(b - b'0')) <= 65535;
    host_fits && port_fits
}

/// Whether both name the same host and port; the usual port may be left out.
pub(crate) fn is_same_authority(a: &[u8], b: &[u8], usual_port: &str) -> bool {
    let ((a_host, a_port), (b_host, b_port)) = (split(a), split(b));
    let is_same_port = match (a_port, b_port) {
        (b"", port) | (port, b"") => port.is_empty() || port == usual_port.as_bytes(),
        (a_port, b_port) => a_port == b_port,
    };
    is_same_port && a_host.eq_ignore_ascii_case(b_host)
}

/// Host and port; the port is empty where there is none.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let from = text.iter().rposition(|b| *b == b']').unwrap_or(0);
    match text[from..].iter().position(|b| *b == b':') {
        Some(colon) => (&text[..from + colon], &text[from + colon + 1..]),
        None => (text, b""),
    }
}

/// Unreserved characters, percent signs, and those sub-delimiters that don't make a list (RFC 3986, 3.2.2).
fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'=')
}
