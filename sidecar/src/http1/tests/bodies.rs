//! Bodies: chunks, extensions and trailers, and what is refused in them.

use super::super::write;
use super::super::{Fault, Framing, MAX_EXTENSION, MAX_FIELDS, MAX_TRAILER};
use super::{body, body_with};
use proptest::prelude::*;

const REFUSED: &[(&str, Fault)] = &[
    ("+5\r\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
    ("-5\r\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
    ("0x5\r\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
    (" 5\r\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
    ("5 \r\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
    ("5 ;a\r\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
    ("5\t\r\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
    ("1_0\r\n0123456789abcdef\r\n0\r\n\r\n", Fault::ChunkSize),
    ("5g\r\nhello\r\n", Fault::ChunkSize),
    ("\r\nhello\r\n", Fault::ChunkSize),
    (";a\r\nhello\r\n", Fault::ChunkSize),
    ("5\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
    ("5\r\r\nhello\r\n", Fault::ChunkSize),
    ("8000000000000000\r\n", Fault::ChunkSize),
    ("ffffffffffffffff\r\n", Fault::ChunkSize),
    ("10000000000000005\r\n", Fault::ChunkSize),
    ("00000000000000005\r\n", Fault::ChunkSize),
    ("5\r\nhelloX\r\n0\r\n\r\n", Fault::ChunkEnd),
    ("5\r\nhello\n0\r\n\r\n", Fault::ChunkEnd),
    ("5\r\nhello0\r\n\r\n", Fault::ChunkEnd),
    ("5\r\nhello\rX", Fault::ChunkEnd),
    ("5;a\0b\r\nhello\r\n0\r\n\r\n", Fault::ChunkExtension),
    ("5;a\nb\r\nhello\r\n0\r\n\r\n", Fault::ChunkExtension),
    ("5;a\tb\r\nhello\r\n0\r\n\r\n", Fault::ChunkExtension),
    ("0;\x7f\r\n\r\n", Fault::ChunkExtension),
    ("0\r\nContent-Length: 5\r\n\r\n", Fault::Trailer),
    ("0\r\ncontent_length: 5\r\n\r\n", Fault::Trailer),
    ("0\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::Trailer),
    ("0\r\nHost: a\r\n\r\n", Fault::Trailer),
    ("0\r\nX: y\r\nAuthorization: z\r\n\r\n", Fault::Trailer),
    ("0\r\nCookie: z\r\n\r\n", Fault::Trailer),
    ("0\r\nSet-Cookie: z\r\n\r\n", Fault::Trailer),
    ("0\r\nConnection: close\r\n\r\n", Fault::Trailer),
    ("0\r\nX-Forwarded-For: z\r\n\r\n", Fault::Trailer),
    ("0\r\nX : y\r\n\r\n", Fault::SpaceBeforeColon),
    ("0\r\n X: y\r\n\r\n", Fault::Folded),
    ("0\r\nX\r\n\r\n", Fault::NoColon),
    ("0\r\nX: y\n\r\n", Fault::BareLf),
    ("0\r\nX: y\rz\r\n\r\n", Fault::BareCr),
    ("0\r\nX: \0\r\n\r\n", Fault::Control),
    ("0\r\n\n", Fault::BareLf),
];

#[test]
fn bad_chunks_are_refused_and_hand_out_nothing_of_the_bad_construct() {
    for (text, fault) in REFUSED {
        let read = body(Framing::Chunked, text.as_bytes());
        assert_eq!(read.fault, Some(*fault), "{text:?}");
        assert!(!read.done);
        assert!(b"hello".starts_with(&read.data), "{text:?} gave {:?}", read.data);
        assert!(read.trailers.is_empty() || read.trailers == b"X: y\r\n");
    }
}

#[test]
fn chunks_extensions_and_trailers_are_read() {
    let read = body(Framing::Chunked, b"5;a=\"b\"\r\nhello\r\n00A\r\n, worlds!!\r\n0;x\r\nX: y\r\nZ:\t\xff\r\n\r\nGET /");
    assert_eq!(read.data, b"hello, worlds!!");
    assert_eq!(read.trailers, b"X: y\r\nZ:\t\xff\r\n");
    assert_eq!(read.rest, b"GET /");
    assert!(read.done);
}

#[test]
fn lengths_end_where_they_say() {
    let read = body(Framing::Length(5), b"hello, next");
    assert_eq!((read.data.as_slice(), read.rest.as_slice(), read.done), (b"hello".as_slice(), b", next".as_slice(), true));
    let short = body(Framing::Length(5), b"hell");
    assert_eq!((short.data.as_slice(), short.done), (b"hell".as_slice(), false));
    assert!(body(Framing::None, b"x").done);
    assert!(body(Framing::Length(0), b"x").done);
    assert!(!body(Framing::UntilClose, b"xyz").done);
}

fn fault_of(text: &str) -> Option<Fault> {
    let cuts: Vec<usize> = (0..text.len()).collect();
    let whole = body_with(Framing::Chunked, text.as_bytes(), &[]);
    assert_eq!(body_with(Framing::Chunked, text.as_bytes(), &cuts), whole);
    whole.fault
}

#[test]
fn limits_hold_to_the_byte() {
    let extension = |length: u32| fault_of(&format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(length as usize)));
    assert_eq!(extension(MAX_EXTENSION), None);
    assert_eq!(extension(MAX_EXTENSION + 1), Some(Fault::ChunkExtension));
    let line = |length: usize| fault_of(&format!("0\r\nX: {}\r\n\r\n", "y".repeat(length - 5)));
    assert_eq!(line(MAX_TRAILER), None);
    assert_eq!(line(MAX_TRAILER + 1), Some(Fault::TrailersTooLarge));
    let lines = |count: usize| fault_of(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(count)));
    assert_eq!(lines(MAX_FIELDS), None);
    assert_eq!(lines(MAX_FIELDS + 1), Some(Fault::TrailersTooLarge));
}

#[test]
fn many_small_chunks_with_long_extensions_are_refused() {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    assert_eq!(fault_of(&chunk.repeat(16)), None);
    assert_eq!(fault_of(&chunk.repeat(17)), Some(Fault::ChunkExtension));
}

proptest! {
    #[test]
    fn any_split_gives_the_same_result(
        which in 0..REFUSED.len(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut bytes = REFUSED[which].0.as_bytes().to_vec();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(body_with(Framing::Chunked, &bytes, &cuts), body_with(Framing::Chunked, &bytes, &[]));
    }

    /// What is written in chunks is read back whole.
    #[test]
    fn written_chunks_are_read_back(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8)) {
        let mut text = Vec::new();
        parts.iter().for_each(|part| write::chunk(&mut text, part));
        text.extend_from_slice(write::LAST_CHUNK);
        text.extend_from_slice(write::END_OF_TRAILERS);
        let read = body_with(Framing::Chunked, &text, &[]);
        prop_assert_eq!(read.data, parts.concat());
        prop_assert!(read.done && read.rest.is_empty());
    }
}
