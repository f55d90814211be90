//! The static table (RFC 7541, appendix A), and what its names, and others, mean to a proxy.

/// What a header name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in super::super) enum Kind {
    /// Any other that is a token in lower case.
    Other,
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
    /// Begins with a colon, and is none of these.
    UnknownPseudo,
    /// `cookie`
    Cookie,
    /// `content-length`
    ContentLength,
    /// `host`
    Host,
    /// `te`
    Te,
    /// Concerns one HTTP/1 connection only (RFC 9113, 8.2.2).
    Connection,
    /// No token in lower case.
    Invalid,
}

impl Kind {
    /// The meaning of `name`.
    pub(in super::super) const fn of(name: &[u8]) -> Self {
        match name {
            b"cookie" => Self::Cookie,
            b"content-length" => Self::ContentLength,
            b"host" => Self::Host,
            b"te" => Self::Te,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => Self::Connection,
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":status" => Self::Status,
            [b':', ..] => Self::UnknownPseudo,
            [] => Self::Invalid,
            _ => Self::of_token(name),
        }
    }

    /// Whether this is a pseudo-header that is known (RFC 9113, 8.3).
    pub(in super::super) const fn is_pseudo(self) -> bool {
        matches!(self, Self::Method | Self::Scheme | Self::Path | Self::Authority | Self::Status)
    }

    const fn of_token(name: &[u8]) -> Self {
        let mut at = 0;
        while at < name.len() {
            if !LOWER_TOKEN[name[at] as usize] {
                return Self::Invalid;
            }
            at += 1;
        }
        Self::Other
    }
}

const LOWER_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        table[b] = crate::http1::scan::is_token(byte) && !byte.is_ascii_uppercase();
        b += 1;
    }
    table
};

/// An entry of the static table.
pub(super) struct Entry {
    pub(super) name: &'static [u8],
    pub(super) value: &'static [u8],
    pub(super) kind: Kind,
}

const fn with(name: &'static str, value: &'static str) -> Entry {
    Entry { name: name.as_bytes(), value: value.as_bytes(), kind: Kind::of(name.as_bytes()) }
}

const fn named(name: &'static str) -> Entry {
    with(name, "")
}

/// Index 1 is the first.
pub(super) static ENTRIES: [Entry; 61] = [
    named(":authority"),
    with(":method", "GET"),
    with(":method", "POST"),
    with(":path", "/"),
    with(":path", "/index.html"),
    with(":scheme", "http"),
    with(":scheme", "https"),
    with(":status", "200"),
    with(":status", "204"),
    with(":status", "206"),
    with(":status", "304"),
    with(":status", "400"),
    with(":status", "404"),
    with(":status", "500"),
    named("accept-charset"),
    with("accept-encoding", "gzip, deflate"),
    named("accept-language"),
    named("accept-ranges"),
    named("accept"),
    named("access-control-allow-origin"),
    named("age"),
    named("allow"),
    named("authorization"),
    named("cache-control"),
    named("content-disposition"),
    named("content-encoding"),
    named("content-language"),
    named("content-length"),
    named("content-location"),
    named("content-range"),
    named("content-type"),
    named("cookie"),
    named("date"),
    named("etag"),
    named("expect"),
    named("expires"),
    named("from"),
    named("host"),
    named("if-match"),
    named("if-modified-since"),
    named("if-none-match"),
    named("if-range"),
    named("if-unmodified-since"),
    named("last-modified"),
    named("link"),
    named("location"),
    named("max-forwards"),
    named("proxy-authenticate"),
    named("proxy-authorization"),
    named("range"),
    named("referer"),
    named("refresh"),
    named("retry-after"),
    named("server"),
    named("set-cookie"),
    named("strict-transport-security"),
    named("transfer-encoding"),
    named("user-agent"),
    named("vary"),
    named("via"),
    named("www-authenticate"),
];

/// The index of `name`, in lower case; 0 if it isn't there.
pub(super) fn find(name: &[u8]) -> u8 {
    match name {
        b"accept" => 19,
        b"accept-charset" => 15,
        b"accept-encoding" => 16,
        b"accept-language" => 17,
        b"accept-ranges" => 18,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"authorization" => 23,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-length" => 28,
        b"content-location" => 29,
        b"content-range" => 30,
        b"content-type" => 31,
        b"cookie" => 32,
        b"date" => 33,
        b"etag" => 34,
        b"expect" => 35,
        b"expires" => 36,
        b"from" => 37,
        b"host" => 38,
        b"if-match" => 39,
        b"if-modified-since" => 40,
        b"if-none-match" => 41,
        b"if-range" => 42,
        b"if-unmodified-since" => 43,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"max-forwards" => 47,
        b"proxy-authenticate" => 48,
        b"proxy-authorization" => 49,
        b"range" => 50,
        b"referer" => 51,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"server" => 54,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"transfer-encoding" => 57,
        b"user-agent" => 58,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_at_its_own_index() {
        for (at, entry) in ENTRIES.iter().enumerate().filter(|(_, entry)| entry.name[0] != b':') {
            assert_eq!(usize::from(find(entry.name)), at + 1);
        }
        assert_eq!(find(b"x-other"), 0);
    }

    #[test]
    fn a_name_is_a_token_in_lower_case() {
        assert_eq!(Kind::of(b"x-a_1!"), Kind::Other);
        for name in [b"".as_slice(), b"X-a", b"x a", b"x:a", b"x\0", b"\x7f", b"\xc3\xa4", b"a\r\nb"] {
            assert_eq!(Kind::of(name), Kind::Invalid, "{name:?}");
        }
        assert_eq!(Kind::of(b":protocol"), Kind::UnknownPseudo);
    }
}
