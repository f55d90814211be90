//! The class of a request's cost: requests of one class are expected to cost their endpoint the same. Pure; no allocation.

use crate::http1::{Framing, Request};
use evenkeel_balance::key_hash;
use evenkeel_wire::CostClass;

/// A chunked body may be of any length: a class of its own, beside those of 0 to 64 bits.
const UNKNOWN_LENGTH: u8 = 65;

/// The hash of the request's class; `buf` is what it was read from.
pub(super) fn of(class: &CostClass, request: &Request, buf: &[u8]) -> u64 {
    match *class {
        CostClass::Route { segments } => {
            let (method, path) = (request.method_text.of(buf), request.target.path.of(buf));
            key_hash(route(path, segments)) ^ key_hash(method).rotate_left(32)
        }
        CostClass::BodyLength => of_magnitude(magnitude(request.body)),
    }
}

/// The first segments of a path, without a slash at the end and without the query.
fn route(path: &[u8], segments: u32) -> &[u8] {
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let end = slashes.map(|(at, _)| at).nth(segments as usize).unwrap_or(path.len());
    let route = &path[..end];
    route.strip_suffix(b"/").unwrap_or(route)
}

/// Costs are kept by the hash's top byte: as that, no two magnitudes share a place.
fn of_magnitude(magnitude: u8) -> u64 {
    u64::from(magnitude) << 56
}

/// How many bits the length has.
fn magnitude(body: Framing) -> u8 {
    match body {
        Framing::None => 0,
        Framing::Length(length) => (u64::BITS - length.leading_zeros()) as u8,
        Framing::Chunked | Framing::UntilClose => UNKNOWN_LENGTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::RequestParser;

    fn class(class: &CostClass, start: &str, more: &str) -> u64 {
        let text = format!("{start} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        let request = RequestParser::default().advance(text.as_bytes()).expect("a good head").expect("a whole head");
        of(class, &request, text.as_bytes())
    }

    #[test]
    fn a_route_is_the_method_and_the_first_segments_of_the_path() {
        let of = |segments, start| class(&CostClass::Route { segments }, start, "");
        let same = ["GET /a/b", "GET /a/b/", "GET /a/b?q=/x", "GET /a/b/c/d", "GET http://a/a/b/c"];
        assert!(same.iter().all(|start| of(2, start) == of(2, same[0])));
        let apart = ["GET /a/b", "GET /a/c", "GET /a", "GET /", "POST /a/b", "GET /b/a"].map(|start| of(2, start));
        let distinct: std::collections::BTreeSet<_> = apart.into_iter().collect();
        assert_eq!(distinct.len(), apart.len());
        assert_eq!(of(1, "GET /a/b"), of(1, "GET /a/c"));
        assert_eq!(of(8, "GET http://a"), of(8, "GET /"));
    }

    #[test]
    fn a_length_is_known_to_the_next_power_of_two() {
        let of = |more: &str| class(&CostClass::BodyLength, "POST /", more);
        let length = |length: u32| of(format!("Content-Length: {length}\r\n").as_str());
        assert_eq!((length(4), length(1024)), (length(7), length(2047)));
        let apart = [of(""), length(1), length(3), length(4), length(8), of("Transfer-Encoding: chunked\r\n")];
        let distinct: std::collections::BTreeSet<_> = apart.into_iter().collect();
        assert_eq!(distinct.len(), apart.len());
        assert_eq!(of(""), length(0));
    }

    #[test]
    fn no_two_magnitudes_share_a_place_of_costs() {
        let places: std::collections::BTreeSet<_> = (0..=UNKNOWN_LENGTH).map(|magnitude| of_magnitude(magnitude) >> 56).collect();
        assert_eq!(places.len(), usize::from(UNKNOWN_LENGTH) + 1);
    }
}
