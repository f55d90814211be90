//! Words of the command line: durations, URLs and headers. Parsed once, at the edge; errors say what to write instead.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a word of the command line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a duration.
    #[error("`{0}` is not a duration; write it like 250ms, 3s or 2m")]
    Duration(String),
    /// Not a URL that this client speaks.
    #[error("`{0}` is not a URL of this client; write it like http://127.0.0.1:8080/path")]
    Url(String),
    /// Not a header.
    #[error("`{0}` is not a header; write it like 'X-User: key-{{i}}'")]
    Header(String),
}

/// Reads `250ms`, `3s` or `2m`.
pub fn duration(text: &str) -> Result<Duration, TextError> {
    let refused = || TextError::Duration(text.into());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| refused())?;
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(refused()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(refused)
}

/// An `http://host[:port][/path]` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `host:port`, as the system's resolver takes it and as the Host header says it.
    pub authority: String,
    /// The path and query, starting with `/`.
    pub path: String,
}

impl FromStr for Url {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let refused = || TextError::Url(text.into());
        let rest = text.strip_prefix("http://").ok_or_else(refused)?;
        let (host, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        let visible = |part: &str| part.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || !visible(host) || !visible(path) {
            return Err(refused());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self { authority: if has_port { host.into() } else { format!("{host}:80") }, path: path.into() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// A request header whose value may hold `{i}`, the number of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate {
    name: String,
    value: String,
}

impl HeaderTemplate {
    /// Appends the header as a line, for the key of this number.
    pub fn write(&self, key: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b": ");
        let value = self.value.replace("{i}", &key.to_string());
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

impl FromStr for HeaderTemplate {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (name, value) = text
            .split_once(':')
            .filter(|(name, value)| {
                !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_graphic())
                    && value.bytes().all(|b| (b' '..=b'~').contains(&b))
            })
            .ok_or_else(|| TextError::Header(text.into()))?;
        Ok(Self { name: name.into(), value: value.trim().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "3", "s", "-1s", "1h", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_default_to_port_80_and_the_root() {
        let url: Url = "http://shop".parse().expect("a URL");
        assert_eq!((url.authority.as_str(), url.path.as_str()), ("shop:80", "/"));
        let url: Url = "http://[::1]:8080/a?b".parse().expect("a URL");
        assert_eq!(url.to_string(), "http://[::1]:8080/a?b");
        for wrong in ["https://shop", "http:///x", "http://a b/", "shop:80"] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_header_carries_the_keys_number() {
        let header: HeaderTemplate = "X-User: key-{i}".parse().expect("a header");
        let mut out = Vec::new();
        header.write(7, &mut out);
        assert_eq!(out, b"X-User: key-7\r\n");
        assert!("X User: a".parse::<HeaderTemplate>().is_err());
        assert!("X-User: a\r\nb: c".parse::<HeaderTemplate>().is_err());
    }
}
