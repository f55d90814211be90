//! The `Connection` header: what it says of the connection, and which headers it takes away.

use super::head::{Field, Head, Kind};
use super::{Fault, scan};

/// What all `Connection` lines of a head say together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `close` is among them.
    pub(crate) close: bool,
    /// `keep-alive` is among them.
    pub(crate) keep_alive: bool,
    /// `upgrade` is among them.
    pub(crate) upgrade: bool,
}

/// Which side wrote the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A request: taking away what decides on framing, routing or trust is refused.
    Client,
    /// An answer: some servers name framing headers here; those are written anew anyway.
    Server,
}

/// Reads the options and marks the headers that they nominate as not to be passed on.
pub(crate) fn read(head: &mut Head, buf: &[u8], sender: Sender) -> Result<Options, Fault> {
    let mut options = Options::default();
    for at in 0..head.fields().len() {
        let field = head.fields()[at];
        if field.kind != Kind::Connection {
            continue;
        }
        for option in field.value(buf).split(|b| *b == b',') {
            let option = scan::trim(option);
            if option.is_empty() {
                continue;
            }
            if !scan::is_token_text(option) {
                return Err(Fault::Nomination);
            }
            if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else if sender == Sender::Client && is_protected(option) {
                return Err(Fault::Nomination);
            } else {
                drop_nominated(head, buf, option);
            }
        }
    }
    Ok(options)
}

fn drop_nominated(head: &mut Head, buf: &[u8], name: &[u8]) {
    for field in head.fields_mut() {
        if field.name.of(buf).eq_ignore_ascii_case(name) {
            field.kept = false;
        }
    }
}

/// Headers that a client may not take away at the next hop: framing, the expectation about the body, routing,
/// authentication, and those that say where a request came from. An underscore counts as a hyphen.
fn is_protected(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 10] = [
        b"authorization",
        b"content-length",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"proxy-authorization",
        b"transfer-encoding",
        b"via",
        b"x-real-ip",
    ];
    NAMES.iter().any(|known| same_name(name, known)) || is_forwarding(name)
}

/// Headers that may not come as trailers: what is protected, and what is about the connection or the answer's user.
pub(crate) fn is_head_only(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] =
        [b"connection", b"keep-alive", b"proxy-authenticate", b"set-cookie", b"te", b"trailer", b"upgrade", b"www-authenticate"];
    is_protected(name) || NAMES.iter().any(|known| same_name(name, known))
}

fn is_forwarding(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    name.len() > PREFIX.len() && same_name(&name[..PREFIX.len()], PREFIX)
}

/// Whether `name` is `known` (lower case) but for case and for underscores in the place of hyphens.
pub(crate) fn same_name(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name.iter().zip(known).all(|(b, k)| match b {
            b'_' => *k == b'-',
            b => b.eq_ignore_ascii_case(k),
        })
}

/// The protocols that an `Upgrade` line names.
pub(crate) fn protocols<'a>(field: &Field, buf: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    field.value(buf).split(|b| *b == b',').map(scan::trim)
}

/// The one protocol that a client may go over to.
pub(crate) fn is_websocket(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"websocket")
}
