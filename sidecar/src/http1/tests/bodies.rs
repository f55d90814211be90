//! Bodies: where they end, and the limits to the byte.

use super::super::write;
use super::super::{Fault, Framing, MAX_EXTENSION, MAX_FIELDS, MAX_TRAILER};
use super::{body, body_with};
use proptest::prelude::*;

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
