//! When a certificate is valid: the one thing of it that is said to people and that no library here tells. Pure; reads as far
//! as it must (RFC 5280, section 4.1) and takes nothing else for granted.

use std::fmt;
use std::ops::RangeInclusive;

/// A moment, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64);

/// The first and the last moment of a certificate's life; `None` if it isn't to be understood.
pub(crate) fn validity(certificate: &[u8]) -> Option<RangeInclusive<Moment>> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    const INTEGER: u8 = 0x02;
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (signed, _) = expect(certificate, SEQUENCE)?;
    let after_version = if signed.first() == Some(&VERSION) { expect(signed, VERSION)?.1 } else { signed };
    let (_serial, rest) = expect(after_version, INTEGER)?;
    let (_algorithm, rest) = expect(rest, SEQUENCE)?;
    let (_issuer, rest) = expect(rest, SEQUENCE)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (from, rest) = moment(validity)?;
    let (until, _) = moment(rest)?;
    Some(from..=until)
}

/// The contents of the first element, which has this tag, and what follows it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = element(der)?;
    (found == tag).then_some((contents, rest))
}

/// Tag, contents and rest. Lengths of more than three bytes are longer than any file that is read.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// `YYMMDDhhmmssZ` or, from 2050 on, `YYYYMMDDhhmmssZ`.
fn moment(der: &[u8]) -> Option<(Moment, &[u8])> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let (tag, text, rest) = element(der)?;
    let (year, text) = match tag {
        UTC_TIME => {
            let (year, text) = number(text, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text)
        }
        GENERALIZED_TIME => number(text, 4)?,
        _ => return None,
    };
    let (month, text) = number(text, 2)?;
    let (day, text) = number(text, 2)?;
    let (hour, text) = number(text, 2)?;
    let (minute, text) = number(text, 2)?;
    let (second, text) = number(text, 2)?;
    let possible = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !possible || text != b"Z" {
        return None;
    }
    Some((Moment(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second), rest))
}

fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    let value = number.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))?;
    Some((value, rest))
}

/// Days from 1970 to a day of the Gregorian calendar. A year that begins in March has its leap day at its end, and the months
/// before are of 31 and 30 days in a pattern of five.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    /// Days from 1 March of the year 0 to 1970.
    const EPOCH: i64 = 719_468;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * months + 2) / 5 + day - 1 - EPOCH
}

impl fmt::Display for Moment {
    /// `2026-11-21 19:00:00 UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, second) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        // The estimate is never too late, and early by a few years at most.
        let mut year = 1970 + day.div_euclid(if day < 0 { 365 } else { 366 });
        while days(year + 1, 1, 1) <= day {
            year += 1;
        }
        let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap_or(1);
        let day = day - days(year, month, 1) + 1;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, date_time_ymd};

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn both_ends_of_a_certificates_life_are_read_before_and_after_2050() {
        let certificate = certificate((1999, 12, 31), (2052, 2, 29));
        let valid = validity(&certificate).expect("is understood");
        assert_eq!((valid.start().0, valid.end().0), (946_598_400, 2_592_777_600));
        assert_eq!(valid.end().to_string(), "2052-02-29 00:00:00 UTC");
    }

    #[test]
    fn a_certificate_that_is_cut_off_before_its_end_of_life_is_none() {
        let certificate = certificate((2020, 1, 1), (2030, 1, 1));
        let valid = validity(&certificate);
        assert!(valid.is_some());
        assert!((0..certificate.len()).all(|end| validity(&certificate[..end]).is_none()), "each length is checked");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            validity(&bytes);
        }

        #[test]
        fn what_is_shown_is_what_was_read(seconds in -2_000_000_000i64..10_000_000_000) {
            let shown = Moment(seconds).to_string();
            let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
            let der = [&[0x18, 15][..], digits.as_bytes(), b"Z"].concat();
            prop_assert_eq!(moment(&der).map(|(moment, _)| moment), Some(Moment(seconds)));
        }
    }
}
