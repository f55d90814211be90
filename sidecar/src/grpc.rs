//! What a proxy must know of gRPC over HTTP/2: which requests are gRPC, how long they may take, how their ends are told.
//! Pure. Source: gRPC over HTTP/2 (grpc/grpc, doc/PROTOCOL-HTTP2.md) and its status codes (doc/statuscodes.md).

use crate::http1::write::decimal;
use std::time::Duration;

/// The header that carries a request's deadline, as time left.
pub(crate) const TIMEOUT: &str = "grpc-timeout";
/// The header or trailer that says how a call ended.
const STATUS: &[u8] = b"grpc-status";
/// A value has at most so many digits.
const DIGITS: usize = 8;

/// A code of a call's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u8);

impl Status {
    /// UNKNOWN
    pub(crate) const UNKNOWN: Self = Self(2);
    /// DEADLINE_EXCEEDED
    pub(crate) const DEADLINE_EXCEEDED: Self = Self(4);
    /// RESOURCE_EXHAUSTED
    pub(crate) const RESOURCE_EXHAUSTED: Self = Self(8);
    /// UNIMPLEMENTED
    pub(crate) const UNIMPLEMENTED: Self = Self(12);
    /// INTERNAL
    pub(crate) const INTERNAL: Self = Self(13);
    /// UNAVAILABLE: may be tried again.
    pub(crate) const UNAVAILABLE: Self = Self(14);
    /// DATA_LOSS
    pub(crate) const DATA_LOSS: Self = Self(15);

    /// What a client of gRPC is told where one of HTTP gets this status.
    pub(crate) fn of_http(status: u16) -> Self {
        match status {
            400 | 408 | 417 => Self::INTERNAL,
            405 => Self::UNIMPLEMENTED,
            414 | 431 => Self::RESOURCE_EXHAUSTED,
            502 | 503 => Self::UNAVAILABLE,
            504 => Self::DEADLINE_EXCEEDED,
            _ => Self::UNKNOWN,
        }
    }

    /// The status of HTTP that says the same of an endpoint.
    pub(crate) fn as_http(self) -> u16 {
        match self {
            Self::UNAVAILABLE => 503,
            Self::UNKNOWN | Self::INTERNAL | Self::DATA_LOSS => 500,
            _ => 200,
        }
    }

    /// The first status among these lines (`name: value` CRLF each), if there is one that can be read.
    pub(crate) fn find(lines: &[u8]) -> Option<Self> {
        let line = lines.split(|byte| *byte == b'\n').find_map(|line| {
            let (name, value) = line.split_at_checked(STATUS.len())?;
            name.eq_ignore_ascii_case(STATUS).then_some(value.strip_prefix(b":")?)
        })?;
        std::str::from_utf8(line).ok()?.trim().parse().ok().map(Self)
    }

    /// Appends the lines that say it, with a message for people.
    pub(crate) fn write(self, reason: &str, advice: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"grpc-status: ");
        decimal(out, u64::from(self.0));
        out.extend_from_slice(b"\r\ngrpc-message: ");
        for part in ["evenkeel: ", reason, ": ", advice] {
            encode(part, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Percent-encodes what a message may not hold as it is.
fn encode(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

/// Whether a request with this content type is gRPC: `application/grpc`, alone or followed by `+` or `;`.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let Some((name, rest)) = content_type.split_at_checked(NAME.len()) else { return false };
    name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Reads the value of `grpc-timeout`; `None` if it isn't one, and then there is no deadline.
pub(crate) fn read_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The value for what is left, rounded down so that no hop adds time; always nine bytes, so that it can be written over.
pub(crate) fn timeout(left: Duration) -> [u8; DIGITS + 1] {
    const MOST: u128 = 99_999_999;
    let units = [(left.as_micros(), b'u'), (left.as_millis(), b'm'), (u128::from(left.as_secs()), b'S')];
    let (count, unit) = units.into_iter().find(|(count, _)| *count <= MOST).unwrap_or((MOST, b'S'));
    let mut text = [unit; DIGITS + 1];
    let mut rest = count;
    for digit in text[..DIGITS].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_is_grpc() {
        for good in ["application/grpc", "application/grpc+proto", "Application/GRPC;x=y"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for other in ["", "application/grp", "application/grpc-web", "application/grpcx", "text/html"] {
            assert!(!is_grpc(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn timeouts_are_read_in_every_unit_and_refused_beyond_eight_digits() {
        let read = |text: &str| read_timeout(text.as_bytes());
        let seconds = ["1H", "60M", "3600S", "3600000m"].map(read);
        assert_eq!(seconds, [Some(Duration::from_secs(3600)); 4]);
        assert_eq!((read("7u"), read("7n")), (Some(Duration::from_micros(7)), Some(Duration::from_nanos(7))));
        for bad in ["", "S", "1", "-1S", "1.5S", "123456789S", " 1S", "1s", "1 S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert!(read("99999999H").is_some());
    }

    #[test]
    fn what_is_left_never_grows_on_the_way() {
        for left in [0, 1, 999, 1_000, 99_999_999_999, 100_000_000_000, 90_000_000_000_000_000].map(Duration::from_nanos) {
            let passed = read_timeout(&timeout(left)).expect("readable");
            assert!(passed <= left && left - passed < left / 1000 + Duration::from_micros(1), "{left:?} became {passed:?}");
        }
        assert_eq!(&timeout(Duration::from_millis(1500)), b"01500000u");
    }

    #[test]
    fn a_status_is_found_among_trailers_whatever_its_case() {
        assert_eq!(Status::find(b"a: b\r\nGrpc-Status: 14\r\n"), Some(Status::UNAVAILABLE));
        assert_eq!(Status::find(b"grpc-status-x: 1\r\n"), None);
        assert_eq!(Status::find(b"grpc-status: x\r\n"), None);
        assert_eq!(Status::find(b"\r\ng"), None);
    }

    #[test]
    fn a_message_is_one_line_of_printable_text() {
        let mut out = Vec::new();
        Status::UNAVAILABLE.write("Empty", "100 % gone\n", &mut out);
        assert_eq!(out, b"grpc-status: 14\r\ngrpc-message: evenkeel: Empty: 100 %25 gone%0A\r\n");
    }
}
