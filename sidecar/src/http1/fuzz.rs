//! What must hold of any bytes, for the fuzzer and for tests: no split changes a result, nothing is accepted that a second
//! reader refuses, and what is written is read again as the same.

use super::response::{Asked, deliver};
use super::{
    Event, Fault, Framing, MAX_FIELDS, MAX_HEAD, Reader, Request, RequestParser, Response, ResponseParser, Version, write,
};

/// Reads `bytes` as the head of a request.
pub(crate) fn check_request(bytes: &[u8]) {
    let (whole, written) = read_request(bytes, bytes.len().max(1));
    assert_eq!(read_request(bytes, 1), (whole, written.clone()), "byte by byte, the answer is another");
    let Ok(Some(request)) = whole else { return };
    check_head(&bytes[..request.head_len]);
    httparse::Request::new(&mut [httparse::EMPTY_HEADER; 128]).parse(bytes).expect("another parser takes it");
    check_head(&written);
    let sends_length = matches!(request.body, Framing::Length(_));
    assert_eq!(count(&written, "content-length"), usize::from(sends_length));
    assert_eq!(count(&written, "transfer-encoding"), usize::from(request.body == Framing::Chunked));
    assert_eq!(count(&written, "host"), 1);
    assert_eq!(count(&written, "connection"), usize::from(request.asks_websocket));
    assert_eq!(count(&written, "expect"), usize::from(request.expects_continue));
    if !fits(&written) {
        return;
    }
    let (again, rewritten) = read_request(&written, written.len());
    let again = again.expect("is accepted").expect("is whole");
    assert_eq!(rewritten, written);
    let decisions = |r: Request| (r.method, r.body, r.expects_continue, r.asks_websocket);
    assert_eq!(decisions(again), decisions(request));
}

/// Reads `bytes` as the head of an answer; the first of them says what was asked for.
pub(crate) fn check_response(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let asked = Asked { head: flags & 1 > 0, websocket: flags & 2 > 0, expects_continue: flags & 4 > 0 };
    let (whole, written) = read_response(bytes, bytes.len().max(1), asked);
    assert_eq!(read_response(bytes, 1, asked), (whole, written.clone()), "byte by byte, the answer is another");
    let Ok(Some(response)) = whole else { return };
    check_head(&bytes[..response.head_len]);
    httparse::Response::new(&mut [httparse::EMPTY_HEADER; 128]).parse(bytes).expect("another parser takes it");
    check_head(&written);
    let lengths = (count(&written, "content-length"), count(&written, "transfer-encoding"));
    assert!(matches!(lengths, (0, 0) | (1, 0) | (0, 1)), "{lengths:?}");
    assert!(asked.websocket || response.status != 101);
    let has_none = asked.head || matches!(response.status, 0..200 | 204 | 304);
    assert_eq!(response.body == Framing::None, has_none);
    if !fits(&written) {
        return;
    }
    let (again, rewritten) = read_response(&written, written.len(), asked);
    let again = again.expect("is accepted").expect("is whole");
    assert_eq!((again.status, again.body, again.declared), (response.status, response.body, response.declared));
    assert_eq!(rewritten, written);
}

/// Reads `bytes` as a chunked body.
pub(crate) fn check_chunked(bytes: &[u8]) {
    let whole = read_body(bytes, bytes.len().max(1));
    assert_eq!(read_body(bytes, 1), whole, "byte by byte, the body is another");
    if whole.fault.is_some() || !whole.done {
        return;
    }
    let (data, trailers) = decode(&bytes[..whole.consumed]).expect("another reader takes it");
    assert_eq!((data, trailers), (whole.data.clone(), whole.trailers.clone()));
    let mut written = Vec::new();
    whole.data.chunks(7).for_each(|part| write::chunk(&mut written, part));
    written.extend_from_slice(write::LAST_CHUNK);
    written.extend_from_slice(&whole.trailers);
    written.extend_from_slice(write::END_OF_TRAILERS);
    let consumed = written.len();
    assert_eq!(read_body(&written, consumed), Read { consumed, ..whole });
}

type Outcome<P> = (Result<Option<P>, Fault>, Vec<u8>);

/// Offers ever more of `bytes`, `step` at a time; the plan and the head that goes on.
fn read_request(bytes: &[u8], step: usize) -> Outcome<Request> {
    let mut parser = RequestParser::default();
    for end in ends(bytes, step) {
        let read = parser.advance(&bytes[..end]);
        if let Ok(None) = read {
            continue;
        }
        let mut out = Vec::new();
        if let Ok(Some(request)) = &read {
            write::request_head(&mut out, bytes, parser.head(), request, "local:1");
        }
        return (read, out);
    }
    (Ok(None), Vec::new())
}

fn read_response(bytes: &[u8], step: usize, asked: Asked) -> Outcome<Response> {
    let mut parser = ResponseParser::default();
    for end in ends(bytes, step) {
        let read = parser.advance(&bytes[..end], asked);
        if let Ok(None) = read {
            continue;
        }
        let mut out = Vec::new();
        if let Ok(Some(response)) = &read {
            let delivery = deliver(response, Version::Http11, response.keep_alive);
            write::response_head(&mut out, bytes, parser.head(), response, &delivery);
        }
        return (read, out);
    }
    (Ok(None), Vec::new())
}

fn ends(bytes: &[u8], step: usize) -> impl Iterator<Item = usize> {
    (step..bytes.len()).step_by(step).chain([bytes.len()])
}

/// A head that is accepted or written: lines of CRLF, each of them good, and an empty one at its end alone.
fn check_head(head: &[u8]) {
    let text = head.strip_prefix(b"\r\n").unwrap_or(head);
    let lines = text.strip_suffix(b"\r\n\r\n").expect("an empty line ends it");
    for (at, line) in split(lines).into_iter().enumerate() {
        assert!(line.iter().all(|b| *b == b'\t' || !b.is_ascii_control()), "a control");
        let named = line.iter().position(|b| *b == b':').is_some_and(|colon| colon > 0 && !line[..colon].contains(&b' '));
        assert!(at == 0 || named, "a header line without a name");
    }
}

/// Whether a head that is written is one that would be taken: at the very limit, the one line that may be added (Host for an
/// HTTP/1.0 client, `Connection: close` for any) is too much.
fn fits(written: &[u8]) -> bool {
    const ADDED: usize = 64;
    // The start line, and two empty pieces at the end.
    let lines = split(written).len() - 3;
    assert!(lines <= MAX_FIELDS + 1 && written.len() <= MAX_HEAD + ADDED);
    lines <= MAX_FIELDS && written.len() <= MAX_HEAD
}

/// `text` at its CRLFs.
fn split(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = vec![];
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

/// How many header lines have this name, underscores counted as hyphens.
fn count(head: &[u8], name: &str) -> usize {
    let is_named = |line: &&&[u8]| {
        let end = line.iter().position(|b| *b == b':').unwrap_or(0);
        String::from_utf8_lossy(&line[..end]).replace('_', "-").eq_ignore_ascii_case(name)
    };
    split(head).iter().skip(1).filter(is_named).count()
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Read {
    data: Vec<u8>,
    trailers: Vec<u8>,
    consumed: usize,
    done: bool,
    fault: Option<Fault>,
}

/// Offers `bytes` in pieces of `step`, with what wasn't consumed before them.
fn read_body(bytes: &[u8], step: usize) -> Read {
    let mut reader = Reader::new(Framing::Chunked);
    let mut read = Read::default();
    for end in ends(bytes, step) {
        loop {
            let input = &bytes[read.consumed..end];
            let step = match reader.step(input) {
                Ok(step) => step,
                Err(fault) => {
                    // A bad construct is found sooner or later in it, depending on the cuts.
                    return Read { fault: Some(fault), consumed: 0, ..read };
                }
            };
            assert!(step.consumed <= input.len());
            match &step.event {
                Event::Data(range) => read.data.extend_from_slice(&input[..step.consumed][range.clone()]),
                Event::Trailer(range) => read.trailers.extend_from_slice(&input[..step.consumed][range.clone()]),
                Event::End => read.done = true,
                Event::More => {}
            }
            read.consumed += step.consumed;
            if matches!(step.event, Event::End) {
                return read;
            }
            if matches!(step.event, Event::More) {
                break;
            }
        }
    }
    // Where a size or an extension is cut off, so much of it as was there has been consumed.
    read
}

/// A whole chunked body read in the plainest way: its data and its trailers.
fn decode(mut text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut data = Vec::new();
    loop {
        let line = text.windows(2).position(|pair| pair == b"\r\n")?;
        let digits = text[..line].split(|b| *b == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        text = &text[line + 2..];
        if size == 0 {
            break;
        }
        data.extend_from_slice(text.get(..size)?);
        text = text[size..].strip_prefix(b"\r\n")?;
    }
    let trailers = text.strip_suffix(b"\r\n")?;
    (trailers.is_empty() || trailers.ends_with(b"\r\n")).then(|| (data, trailers.to_vec()))
}
