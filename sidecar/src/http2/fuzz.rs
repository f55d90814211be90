//! What must hold of any frames, for the fuzzer and for tests: no panic, no split changes a result, every head that is handed
//! out is one that HTTP/1 reads, every answer of this side is whole frames, and little is held.

use super::{Connection, Event, Fatal, Limits, MAX_FRAME, PREFACE, Scheme, StreamId};
use crate::http1::response::Asked;
use crate::http1::{Framing, MAX_HEAD, RequestParser, ResponseParser};
use std::time::Instant;

/// What a connection may hold: tables, a head and its parts, a block that goes on, and what is pending.
const MOST_HELD: usize = 8 * MAX_HEAD;

/// Reads `bytes` as frames for a server.
pub(crate) fn check_server(bytes: &[u8]) {
    let frames = [PREFACE.as_slice(), &frame(4, 0, 0, &[]), &frames(bytes)].concat();
    let now = Instant::now();
    let whole = read(Connection::server(&Limits::default(), now), &frames, frames.len(), now);
    let split = read(Connection::server(&Limits::default(), now), &frames, 1, now);
    assert_eq!(whole, split, "byte by byte, the answer is another");
    let heads = whole.texts.iter().filter(|text| text.ends_with(b"\r\n\r\n"));
    heads.for_each(|text| {
        let parsed = RequestParser::default().advance(text);
        let refused_there = ["HostMissing", "Host", "Target", "Method", "TargetTooLong", "ShadowName", "Expect", "ContentLength"];
        match parsed {
            Ok(request) => assert_eq!(request.map(|r| r.head_len), Some(text.len())),
            Err(fault) => assert!(refused_there.contains(&format!("{fault:?}").as_str()), "{fault:?}"),
        }
    });
}

/// Reads `bytes` as frames for a client that has asked three times.
pub(crate) fn check_client(bytes: &[u8]) {
    let frames = [frame(4, 0, 0, &[]), frames(bytes)].concat();
    let now = Instant::now();
    let client = || {
        let mut client = Connection::client(&Limits::default(), Scheme::Https, now);
        for (method, end) in [("GET", true), ("HEAD", true), ("POST", false)] {
            let opened = client.open(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), end);
            opened.expect("there is room");
        }
        client
    };
    let whole = read(client(), &frames, frames.len(), now);
    assert_eq!(whole, read(client(), &frames, 1, now), "byte by byte, the answer is another");
    for text in whole.texts.iter().filter(|text| text.ends_with(b"\r\n\r\n")) {
        let parsed = ResponseParser::default().advance(text, Asked::default()).expect("it is an answer");
        assert_eq!(parsed.map(|response| response.head_len), Some(text.len()));
    }
}

/// Reads `bytes` as the header blocks of requests: each after a byte that is its length and one of flags, of which bit 0 says that
/// there is no body. A block in two frames is the same as in one, and HTTP/1 reads one framing that agrees.
pub(crate) fn check_heads(bytes: &[u8]) {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    const END: u8 = 1;
    const WHOLE: u8 = 4;
    let hello = [PREFACE.as_slice(), &frame(4, 0, 0, &[])].concat();
    let (mut whole, mut halves) = (hello.clone(), hello);
    let (mut rest, mut stream) = (bytes, 1);
    while let Some(([length, flags], after)) = rest.split_first_chunk() {
        let (block, after) = after.split_at(after.len().min(usize::from(*length)));
        let (first, second) = block.split_at(block.len() / 2);
        whole.extend(frame(HEADERS, WHOLE | flags & END, stream, block));
        halves.extend(frame(HEADERS, flags & END, stream, first));
        halves.extend(frame(CONTINUATION, WHOLE, stream, second));
        (rest, stream) = (after, stream + 2);
    }
    let now = Instant::now();
    let read = |bytes: &[u8]| read(Connection::server(&Limits::default(), now), bytes, bytes.len(), now);
    let (whole, halves) = (read(&whole), read(&halves));
    // Many blocks in two frames may be too many frames.
    if whole.end == halves.end {
        assert_eq!(whole, halves, "in two frames, the answer is another");
    }
    let ends = whole.others.iter().filter_map(|event| if let Event::Head { end, .. } = event { Some(end) } else { None });
    for (text, end) in whole.texts.iter().zip(ends) {
        if let Ok(Some(request)) = RequestParser::default().advance(text) {
            let has_no_body = matches!(request.body, Framing::None | Framing::Length(0));
            assert!(has_no_body || !end, "a body is promised that can't come");
            assert!(*end || request.body != Framing::None, "a body comes that HTTP/1 doesn't expect");
        }
    }
}

/// All that came of some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    data: Vec<(StreamId, Vec<u8>)>,
    texts: Vec<Vec<u8>>,
    others: Vec<Event>,
    end: Option<Fatal>,
    written: Vec<u8>,
}

fn read(mut connection: Connection, bytes: &[u8], piece: usize, now: Instant) -> Read {
    let mut read = Read { data: vec![], texts: vec![], others: vec![], end: None, written: vec![] };
    let (mut at, mut there) = (0, 0);
    while there < bytes.len() && read.end.is_none() {
        there = (there + piece).min(bytes.len());
        loop {
            let input = &bytes[at..there];
            let step = match connection.advance(input, now) {
                Ok(step) => step,
                Err(fatal) => {
                    read.end = Some(fatal);
                    break;
                }
            };
            assert!(step.consumed <= input.len());
            at += step.consumed;
            read.take(&connection, input, step.event.clone());
            if step.event == Event::More {
                assert!(input.len() - step.consumed < MAX_FRAME + 9);
                break;
            }
        }
        read.written.extend_from_slice(connection.pending());
        connection.sent(connection.pending().len());
        assert!(connection.held() <= MOST_HELD);
    }
    check_frames(&read.written);
    read
}

impl Read {
    fn take(&mut self, connection: &Connection, input: &[u8], event: Event) {
        match event {
            Event::More | Event::None => {}
            Event::Head { stream, end } => {
                self.texts.push(connection.text().to_vec());
                self.others.push(Event::Head { stream, end });
            }
            Event::Trailers { stream } => {
                self.texts.push(connection.text().to_vec());
                self.others.push(Event::Trailers { stream });
            }
            Event::Data { stream, range, end } => {
                let data = &input[range];
                match self.data.last_mut() {
                    Some((last, before)) if *last == stream => before.extend_from_slice(data),
                    _ => self.data.push((stream, data.to_vec())),
                }
                if end {
                    self.others.push(Event::Data { stream, range: 0..0, end });
                }
            }
            event => self.others.push(event),
        }
    }
}

/// Frames from any bytes: kind, flags, stream and length in one byte each, and so much payload.
fn frames(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(([kind, flags, stream, length], after)) = rest.split_first_chunk() {
        let (payload, after) = after.split_at(after.len().min(usize::from(*length)));
        out.extend(frame(kind % 11, *flags, u32::from(stream % 12), payload));
        rest = after;
    }
    out
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [length.as_slice(), &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn check_frames(written: &[u8]) {
    let mut rest = written.strip_prefix(PREFACE.as_slice()).unwrap_or(written);
    while !rest.is_empty() {
        let length = usize::from(rest[1]) << 8 | usize::from(rest[2]);
        assert!(rest[0] == 0 && length <= MAX_FRAME && rest[3] < 10);
        rest = &rest[9 + length..];
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_claimed_of_heads_holds_of_the_seeds_and_of_their_beginnings() {
        let seeds =
            std::fs::read_dir(format!("{}/fuzz/corpus/http2_heads", env!("CARGO_MANIFEST_DIR"))).expect("a folder of seeds");
        for seed in seeds {
            let bytes = std::fs::read(seed.expect("a file").path()).expect("is read");
            (0..=bytes.len()).for_each(|end| super::check_heads(&bytes[..end]));
        }
    }
}
