//! Answers: how their bodies end, and what the client is told.

use super::super::response::{Delivery, Persistence, deliver};
use super::super::{Framing, Version};
use super::{Response, response};

fn plan(text: &str, to_head: bool) -> (Response, String) {
    response(text.as_bytes(), to_head).expect(text).expect(text)
}

#[test]
fn bodies_end_as_the_head_and_the_method_say() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (status, lines, to_head, body, declared, keep_alive) in [
        (200, "Content-Length: 5\r\n", false, Framing::Length(5), Framing::Length(5), true),
        (200, "Content-Length: 5\r\nContent-Length: 5\r\n", false, Framing::Length(5), Framing::Length(5), true),
        (200, chunked, false, Framing::Chunked, Framing::Chunked, true),
        (200, "", false, Framing::UntilClose, Framing::UntilClose, false),
        (200, "Content-Length: 5\r\n", true, Framing::None, Framing::Length(5), true),
        (200, chunked, true, Framing::None, Framing::Chunked, true),
        (200, "", true, Framing::None, Framing::None, true),
        (304, "Content-Length: 5\r\n", false, Framing::None, Framing::Length(5), true),
        (304, "", false, Framing::None, Framing::None, true),
        (204, "Content-Length: 5\r\n", false, Framing::None, Framing::None, true),
        (204, chunked, false, Framing::None, Framing::None, true),
        (103, "", false, Framing::None, Framing::None, true),
        (200, "Content-Length: 5\r\nConnection: close\r\n", false, Framing::Length(5), Framing::Length(5), false),
        // Both: the length is dropped and the connection isn't used again.
        (200, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", false, Framing::Chunked, Framing::Chunked, false),
    ] {
        let (plan, _) = plan(&format!("HTTP/1.1 {status} X\r\n{lines}\r\n"), to_head);
        assert_eq!((plan.body, plan.declared, plan.keep_alive), (body, declared, keep_alive), "{status} {lines} {to_head}");
    }
}

#[test]
fn an_old_server_must_ask_for_persistence() {
    assert!(!plan("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false).0.keep_alive);
    assert!(plan("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", false).0.keep_alive);
}

#[test]
fn the_servers_idle_timeout_is_read() {
    let idle = |value: &str| plan(&format!("HTTP/1.1 204 X\r\nKeep-Alive: {value}\r\n\r\n"), false).0.idle_seconds;
    assert_eq!(idle("timeout=5"), Some(5));
    assert_eq!(idle("max=9, timeout=15"), Some(15));
    assert_eq!(idle("timeout=x"), None);
}

#[test]
fn delivery_suits_the_clients_version() {
    let decide = |lines: &str, version, keep_alive| {
        let (plan, _) = plan(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), false);
        let Delivery { body, connection, .. } = deliver(&plan, version, keep_alive);
        (body, connection)
    };
    let (old, new) = (Version::Http10, Version::Http11);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = "Content-Length: 1\r\n";
    assert_eq!(decide(chunked, new, true), (Framing::Chunked, Persistence::Default));
    assert_eq!(decide(chunked, old, true), (Framing::UntilClose, Persistence::Close));
    assert_eq!(decide(length, old, true), (Framing::Length(1), Persistence::KeepAlive));
    assert_eq!(decide(length, old, false), (Framing::Length(1), Persistence::Close));
    assert_eq!(decide(length, new, false), (Framing::Length(1), Persistence::Close));
    assert_eq!(decide("", new, true), (Framing::UntilClose, Persistence::Close));
}
