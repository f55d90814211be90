//! The few rules that all fields share: bounds, times, forms of text, no item twice.

use crate::Rejection;
use evenkeel_crds::bounds::{self, Bounds};
use evenkeel_crds::duration::Duration;
use std::collections::BTreeSet;

/// A form of text: its length, a test, and how to say it.
#[derive(Clone, Copy)]
pub(super) struct Form {
    length: Bounds,
    holds: fn(&str) -> bool,
    expected: &'static str,
}

pub(super) const LABEL: Form = Form {
    length: bounds::LABEL_LENGTH,
    holds: is_label,
    expected: "1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends",
};
pub(super) const LABEL_KEY: Form =
    Form { length: Bounds::new(1, 317), holds: is_label_text, expected: "a label's key: letters, digits and any of `-_./`" };
pub(super) const LABEL_VALUE: Form = Form {
    length: Bounds::new(0, 63),
    holds: is_label_text,
    expected: "a label's value: at most 63 letters, digits and any of `-_.`",
};
pub(super) const HEADER: Form =
    Form { length: bounds::HEADER_LENGTH, holds: is_token, expected: "a header's name of at most 64 characters (RFC 9110)" };
pub(super) const PATH: Form = Form {
    length: bounds::PATH_LENGTH,
    holds: |s| s.starts_with('/') && s.bytes().all(|b| b.is_ascii_graphic()),
    expected: "a path of at most 1024 characters that starts with `/` and has no blanks",
};
pub(super) const HOST: Form =
    Form { length: bounds::HOST_LENGTH, holds: is_host, expected: "a lower-case host name, with a port if one is needed" };
pub(super) const DNS_NAME: Form =
    Form { length: bounds::HOST_LENGTH, holds: is_dns_name, expected: "a lower-case host name without a port" };
pub(super) const HOSTNAME: Form = Form {
    length: bounds::HOST_LENGTH,
    holds: is_hostname,
    expected: "a lower-case host name without a port, whose first label may be `*`",
};
pub(super) const FILE: Form = Form {
    length: bounds::FILE_LENGTH,
    holds: is_file,
    expected: "an absolute path of at most 255 letters, digits and any of `-_./`, no part of which begins with `..`",
};
pub(super) const ZONE: Form = Form { length: bounds::ZONE_LENGTH, holds: |_| true, expected: "1 to 63 characters" };

/// One item of a list.
pub(super) fn at(list: &str, index: usize) -> String {
    format!("{list}[{index}]")
}

pub(super) fn within<N: TryInto<u64>>(field: &str, value: N, bounds: Bounds) -> Result<(), Rejection> {
    let value = value.try_into().unwrap_or(u64::MAX);
    if bounds.hold(value) { Ok(()) } else { Err(Rejection::OutOfBounds { field: field.into(), value, bounds }) }
}

pub(super) fn prime(field: &str, value: u32) -> Result<(), Rejection> {
    if is_prime(value) {
        return Ok(());
    }
    // Between a number and its double there is always a prime (Bertrand's postulate).
    let mut near = (1..).flat_map(|step| [value.saturating_sub(step), value.saturating_add(step)]);
    let nearest = near.find(|n| is_prime(*n)).unwrap_or(2);
    Err(Rejection::NotPrime { field: field.into(), value, nearest })
}

/// By trial division: at most 2,300 steps for the numbers that bounds allow.
fn is_prime(n: u32) -> bool {
    n >= 2 && (2..).take_while(|d: &u32| d.saturating_mul(*d) <= n).all(|d| !n.is_multiple_of(d))
}

/// The time in milliseconds.
pub(super) fn time(field: &str, value: Duration, bounds: Bounds) -> Result<u64, Rejection> {
    let value = value.as_millis();
    if bounds.hold(value) { Ok(value) } else { Err(Rejection::TimeOutOfBounds { field: field.into(), value, bounds }) }
}

pub(super) fn form(field: &str, value: &str, form: Form) -> Result<(), Rejection> {
    if form.length.hold(value.chars().count() as u64) && (form.holds)(value) {
        return Ok(());
    }
    let value = value.chars().take(40).collect();
    Err(Rejection::Malformed { field: field.into(), value, expected: form.expected })
}

/// No two items have the same key. `member` is the key's field, empty if the item itself is the key.
pub(super) fn unique<T, K: Ord + ToString>(
    items: &[T],
    list: &str,
    member: &str,
    key: impl Fn(&T) -> K,
) -> Result<(), Rejection> {
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let key = key(item);
        let value = key.to_string();
        if !seen.insert(key) {
            let dot = if member.is_empty() { "" } else { "." };
            return Err(Rejection::Duplicate { field: format!("{}{dot}{member}", at(list, i)), value });
        }
    }
    Ok(())
}

fn is_label(s: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && !s.starts_with('-') && !s.ends_with('-')
}

/// Labels (RFC 1123), by dots.
pub fn is_dns_name(s: &str) -> bool {
    s.split('.').all(|label| !label.is_empty() && is_label(label))
}

/// The same, or with `*` as its first label.
pub fn is_hostname(s: &str) -> bool {
    is_dns_name(s.strip_prefix("*.").unwrap_or(s))
}

/// An absolute path that leads nowhere but down.
pub fn is_file(s: &str) -> bool {
    let is_part = |part: &str| {
        let rest = part.strip_prefix('.').unwrap_or(part);
        !rest.is_empty() && !rest.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    s.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_part))
}

fn is_label_text(s: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
}

fn is_token(s: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&b))
}

fn is_host(s: &str) -> bool {
    let (name, port) = s.split_once(':').map_or((s, None), |(name, port)| (name, Some(port)));
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        && port.is_none_or(|p| (1..=5).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
}
