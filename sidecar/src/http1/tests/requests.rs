//! Requests: what is decided about those that are accepted, and the limits to the byte.

use super::super::{Fault, Framing, MAX_FIELDS, MAX_HEAD, MAX_TARGET, Version};
use super::{request, request_with};

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
