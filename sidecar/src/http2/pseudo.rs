//! Pseudo-headers (RFC 9113, 8.3): each judged as it comes and taken once, then written as the start line of HTTP/1.1 text. A
//! request's target and method are looked at when all of them are known, since one says what the other may be.

use super::StreamFault;
use super::hpack::Kind;
use crate::http1::{scan, write};
use std::ops::Range;

/// Those of one head; reused from head to head.
#[derive(Debug, Default)]
pub(super) struct Pseudo {
    /// The values that a request line is made of, one after the other.
    values: Vec<u8>,
    method: Option<Range<usize>>,
    path: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    has_scheme: bool,
    /// 0: there is none yet.
    status: u16,
}

impl Pseudo {
    /// Forgets the last head's.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        (self.method, self.path, self.authority) = (None, None, None);
        (self.has_scheme, self.status) = (false, 0);
    }

    /// Gives back a buffer that has grown beyond `kept` bytes, and forgets the last head's.
    pub(super) fn trim(&mut self, kept: usize) {
        if self.values.capacity() > kept {
            *self = Self::default();
        }
    }

    /// An answer's status; 0 of a request.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// A request's `:authority`.
    pub(super) fn authority(&self) -> Option<&[u8]> {
        self.authority.clone().map(|range| &self.values[range])
    }

    /// Takes one of a request. The bytes of all values so far.
    pub(super) fn read_of_request(&mut self, kind: Kind, value: &[u8]) -> Result<usize, StreamFault> {
        let place = match kind {
            Kind::Scheme => return self.read_scheme(value),
            Kind::Method => &mut self.method,
            Kind::Path => &mut self.path,
            Kind::Authority => &mut self.authority,
            _ => return Err(StreamFault::PseudoHeader),
        };
        if place.is_some() {
            return Err(StreamFault::PseudoHeader);
        }
        let start = self.values.len();
        *place = Some(start..start + value.len());
        self.values.extend_from_slice(value);
        Ok(self.values.len())
    }

    fn read_scheme(&mut self, value: &[u8]) -> Result<usize, StreamFault> {
        let fits = value.eq_ignore_ascii_case(b"http") || value.eq_ignore_ascii_case(b"https");
        if !fits || self.has_scheme {
            return Err(StreamFault::PseudoHeader);
        }
        self.has_scheme = true;
        Ok(self.values.len())
    }

    /// Takes one of an answer: there is but the status, of three digits, and none that changes the protocol (RFC 9113, 8.6).
    pub(super) fn read_of_response(&mut self, kind: Kind, value: &[u8]) -> Result<(), StreamFault> {
        let digits = value.len() == 3 && value.iter().all(u8::is_ascii_digit);
        let status = value.iter().take(3).fold(0, |n, b| n * 10 + u16::from(b.wrapping_sub(b'0')));
        match kind {
            Kind::Status if self.status != 0 => Err(StreamFault::PseudoHeader),
            Kind::Status if !digits || status < 100 || status == 101 => Err(StreamFault::Status),
            Kind::Status => {
                self.status = status;
                Ok(())
            }
            _ => Err(StreamFault::PseudoHeader),
        }
    }

    /// Writes an answer's status line. The fault: there was no status.
    pub(super) fn write_status_line(&self, text: &mut Vec<u8>) -> Result<(), StreamFault> {
        if self.status == 0 {
            return Err(StreamFault::PseudoHeader);
        }
        text.extend_from_slice(b"HTTP/1.1 ");
        write::decimal(text, u64::from(self.status));
        text.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Writes the request line, and Host of `:authority`. The fault: one is missing, or of no proper form.
    pub(super) fn write_request_line(&self, text: &mut Vec<u8>) -> Result<(), StreamFault> {
        let (method, target) = self.find_request().ok_or(StreamFault::PseudoHeader)?;
        for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
            text.extend_from_slice(part);
        }
        if let Some(authority) = self.authority() {
            for part in [b"Host: ", authority, b"\r\n"] {
                text.extend_from_slice(part);
            }
        }
        Ok(())
    }

    /// The method and the target, if all are there and of proper form (RFC 9113, 8.3.1 and 8.5).
    fn find_request(&self) -> Option<(&[u8], &[u8])> {
        let method = &self.values[self.method.clone()?];
        let target = match method {
            b"CONNECT" if self.path.is_some() || self.has_scheme => return None,
            b"CONNECT" => self.authority()?,
            _ if !self.has_scheme => return None,
            _ => &self.values[self.path.clone()?],
        };
        let in_form = target.starts_with(b"/") || method == b"CONNECT" || (target == b"*" && method == b"OPTIONS");
        // All bytes are looked at: that is done many at a time.
        let has_blank = target.iter().fold(false, |found, b| found | (*b <= b' '));
        (in_form && !has_blank && scan::is_token_text(method)).then_some((method, target))
    }
}

#[cfg(any(test, fuzzing))]
impl Pseudo {
    /// The bytes of its memory.
    pub(super) fn held(&self) -> usize {
        self.values.capacity()
    }
}
