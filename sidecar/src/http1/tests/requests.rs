//! Requests: what is refused and by which name, and what exactly goes upstream of what is accepted.

use super::super::{Fault, Framing, MAX_FIELDS, MAX_HEAD, MAX_TARGET, Version, status};
use super::{request, request_with};
use proptest::prelude::*;

/// Heads that are refused. The request line is given where `lines` starts with a method.
const REFUSED: &[(&str, Fault)] = &[
    // Framing headers.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::LengthAndEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Fault::LengthAndEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Fault::ContentLengthRepeated),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n", Fault::ContentLengthRepeated),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 \r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  5\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t5\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5_0\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,5\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n", Fault::ContentLength),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tchunked\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", Fault::Control),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::TransferEncoding),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n", Fault::ShadowName),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", Fault::ShadowName),
    ("POST / HTTP/1.1\r\nHost: a\r\ntransfer_encodinG: chunked\r\nContent-Length: 1\r\n\r\n", Fault::ShadowName),
    // Lines.
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Fault::SpaceBeforeColon),
    ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", Fault::SpaceBeforeColon),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Fault::Folded),
    ("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", Fault::Folded),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", Fault::Folded),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", Fault::Folded),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n \r\n\r\n", Fault::Folded),
    ("GET / HTTP/1.1\nHost: a\n\n", Fault::BareLf),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", Fault::BareLf),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", Fault::BareLf),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", Fault::BareCr),
    ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", Fault::BareCr),
    ("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareCr),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", Fault::Control),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", Fault::Control),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", Fault::Control),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[0m\r\n\r\n", Fault::Control),
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Control),
    ("GET /a\x0bb HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Control),
    ("GET / HTTP/1.1\r\nHost: a\r\nX[1]: b\r\n\r\n", Fault::HeaderName),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n", Fault::HeaderName),
    ("GET / HTTP/1.1\r\nHost: a\r\nXé: b\r\n\r\n", Fault::HeaderName),
    ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Fault::HeaderName),
    ("GET / HTTP/1.1\r\nHost: a\r\nNoColonHere\r\n\r\n", Fault::NoColon),
    ("\x16\x03\x01\x02\x00\x01", Fault::Control),
    // The request line.
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Fault::RequestLine),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET /\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET\r\n\r\n", Fault::RequestLine),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("G{T / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Fault::Version),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Fault::Version),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Fault::Version),
    ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Fault::Version),
    ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", Fault::Version),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", Fault::Version),
    ("GET / HTTP/1,1\r\nHost: a\r\n\r\n", Fault::Version),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Fault::Target),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Method),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Method),
    ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Method),
    // Host.
    ("GET / HTTP/1.1\r\n\r\n", Fault::HostMissing),
    ("GET http://a/ HTTP/1.1\r\n\r\n", Fault::HostMissing),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Fault::HostRepeated),
    ("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", Fault::HostRepeated),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: u:p@a\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", Fault::Host),
    ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", Fault::HostDiffers),
    ("GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::HostDiffers),
    // Nominations.
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Transfer-Encoding\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Cookie\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: authorization\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: proxy-authorization\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x_forwarded_for\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: forwarded\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Real-IP\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: via\r\n\r\n", Fault::Nomination),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close x\r\n\r\n", Fault::Nomination),
    // Expect.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", Fault::Expect),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nexpect: x\r\n\r\n", Fault::Expect),
    ("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\nExpect:\r\n\r\n", Fault::Expect),
];

#[test]
fn bad_heads_are_refused_by_name_however_they_arrive() {
    for (text, fault) in REFUSED {
        assert_eq!(request(text.as_bytes()).map(|_| ()), Err(*fault), "{text:?}");
    }
}

#[test]
fn statuses_are_those_of_the_rules() {
    for (text, fault) in REFUSED {
        let expected = match fault {
            Fault::Method => 405,
            Fault::Expect => 417,
            _ => 400,
        };
        assert_eq!(status::of_request_fault(*fault), expected, "{text:?}");
    }
    assert_eq!(status::of_request_fault(Fault::HeadTooLarge), 431);
    assert_eq!(status::of_request_fault(Fault::TooManyHeaders), 431);
    assert_eq!(status::of_request_fault(Fault::TargetTooLong), 414);
}

/// What is accepted, and the head that goes upstream.
const ACCEPTED: &[(&str, &str)] = &[
    ("GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: local:1\r\n\r\n"),
    ("GET http://a HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("GET HTTP://A:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("GET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?y HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("GET https://a/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"),
    ("BREW / HTTP/1.1\r\nHost: a_b.c:1\r\n\r\n", "BREW / HTTP/1.1\r\nHost: a_b.c:1\r\n\r\n"),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Obs: \u{e9}\tz\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Obs: \u{e9}\tz\r\n\r\n",
    ),
    // Forwarding headers pass untouched; hop-by-hop and nominated ones go.
    (
        "GET / HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nHost: a\r\nConnection: X-Drop, keep-alive\r\nx-drop: 1\r\nX-Keep: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nHost: a\r\nX-Keep: 2\r\n\r\n",
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nCookie: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: c\r\n\r\n",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 007\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 7\r\n\r\n",
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    (
        "POST / HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
];

#[test]
fn what_goes_upstream_is_framed_anew() {
    for (text, upstream) in ACCEPTED {
        let planned = request(text.as_bytes()).expect(text).expect(text);
        assert_eq!(planned.1, *upstream);
        assert_eq!(planned.0.head_len, text.len());
    }
}

fn plan(text: &str) -> super::Request {
    request(text.as_bytes()).expect(text).expect(text).0
}

#[test]
fn persistence_follows_version_and_connection() {
    for (line, version, expected) in [
        ("", "1.1", true),
        ("Connection: close\r\n", "1.1", false),
        ("Connection: keep-alive\r\n", "1.1", true),
        ("Connection: keep-alive, close\r\n", "1.1", false),
        ("Connection: keep-alive\r\nConnection: CLOSE\r\n", "1.1", false),
        ("", "1.0", false),
        ("Connection: Keep-Alive\r\n", "1.0", true),
        ("Connection: ,,keep-alive,\r\n", "1.0", true),
    ] {
        let plan = plan(&format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n"));
        assert_eq!(plan.keep_alive, expected, "{version} {line}");
        assert_eq!(plan.version == Version::Http10, version == "1.0");
    }
}

#[test]
fn only_bodiless_idempotent_requests_are_replayable() {
    for (method, length, expected) in [
        ("GET", "", true),
        ("HEAD", "", true),
        ("OPTIONS", "", true),
        ("PUT", "", true),
        ("DELETE", "", true),
        ("POST", "", false),
        ("PATCH", "", false),
        ("get", "", false),
        ("GET", "Content-Length: 3\r\n", false),
        ("PUT", "Transfer-Encoding: chunked\r\n", false),
    ] {
        let plan = plan(&format!("{method} / HTTP/1.1\r\nHost: a\r\n{length}\r\n"));
        assert_eq!(plan.is_replayable(), expected, "{method} {length}");
    }
}

#[test]
fn a_request_without_framing_has_no_body() {
    assert_eq!(plan("POST / HTTP/1.1\r\nHost: a\r\n\r\n").body, Framing::None);
}

/// Cuts around the places where limits bite; every place of 32 KiB would take minutes.
fn at_the_limit(text: &[u8]) -> Result<(), Fault> {
    let whole = request_with(text, &[]).map(|_| ());
    let near = |n: usize| n.saturating_sub(3)..=n + 3;
    let places: Vec<usize> = [1, MAX_TARGET, MAX_HEAD, text.len()].into_iter().flat_map(near).collect();
    for cut in places.into_iter().filter(|c| *c < text.len()) {
        assert_eq!(request_with(text, &[cut]).map(|_| ()), whole, "cut at {cut}");
    }
    whole
}

#[test]
fn limits_hold_to_the_byte() {
    let head = |length: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(length - frame)).into_bytes()
    };
    assert_eq!(at_the_limit(&head(MAX_HEAD)), Ok(()));
    assert_eq!(at_the_limit(&head(MAX_HEAD + 1)), Err(Fault::HeadTooLarge));
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1)).into_bytes();
    assert_eq!(at_the_limit(&target(MAX_TARGET)), Ok(()));
    assert_eq!(at_the_limit(&target(MAX_TARGET + 1)), Err(Fault::TargetTooLong));
    assert_eq!(at_the_limit(&target(MAX_HEAD)), Err(Fault::TargetTooLong));
    let lines = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1)).into_bytes();
    assert_eq!(at_the_limit(&lines(MAX_FIELDS)), Ok(()));
    assert_eq!(at_the_limit(&lines(MAX_FIELDS + 1)), Err(Fault::TooManyHeaders));
}

#[test]
fn a_key_is_the_first_value_that_is_not_empty() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nX-User:\r\nx-user: \t u1 \r\nX-USER: u2\r\n\r\n";
    let mut parser = super::RequestParser::default();
    parser.advance(text).expect("a good head");
    assert_eq!(parser.find_header(text, "x-user"), Some(b"u1".as_slice()));
    assert_eq!(parser.find_header(text, "x-other"), None);
}

proptest! {
    /// Good and bad heads, damaged in one place and cut anywhere: the cuts change nothing.
    #[test]
    fn any_split_gives_the_same_result(
        which in 0..REFUSED.len() + ACCEPTED.len(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let text = REFUSED.get(which).map_or_else(|| ACCEPTED[which - REFUSED.len()].0, |case| case.0);
        let mut bytes = text.as_bytes().to_vec();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(request_with(&bytes, &cuts), request_with(&bytes, &[]));
    }
}
