//! Heads: what becomes of fields as HTTP/1.1 text, and of text as fields.

use super::*;
use crate::http1::response::Asked;
use crate::http1::{MAX_FIELDS, MAX_HEAD, RequestParser, ResponseParser};
use crate::http2::head::{Head, Shape};
use crate::http2::hpack::{Decoder, Encoder, Kind, Part};
use proptest::prelude::*;

fn request(end: bool, fields: &[(&str, &str)]) -> Result<String, StreamFault> {
    let mut server = End::server();
    let flags = WHOLE | if end { END } else { 0 };
    let events = server.read(&frame(HEADERS, flags, 1, &block(fields))).expect("the connection goes on");
    match events.as_slice() {
        [Event::Head { .. }] => Ok(server.texts.remove(0)),
        [Event::Failed { fault, .. }] => Err(*fault),
        other => panic!("{other:?}"),
    }
}

fn get(more: &[(&'static str, &'static str)]) -> Result<String, StreamFault> {
    request(true, &[&GET, more].concat())
}

#[test]
fn a_request_becomes_text_with_host_first() {
    let text = get(&[("accept", "*/*"), ("x-a", "1\t2")]);
    assert_eq!(text.as_deref(), Ok("GET / HTTP/1.1\r\nHost: a\r\naccept: */*\r\nx-a: 1\t2\r\n\r\n"));
    let order = [(":path", "/p?q"), (":authority", "b:1"), (":scheme", "https"), (":method", "PATCH")];
    assert_eq!(request(true, &order).as_deref(), Ok("PATCH /p?q HTTP/1.1\r\nHost: b:1\r\n\r\n"));
    assert_eq!(
        request(true, &[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), ("host", "c")]).as_deref(),
        Ok("OPTIONS * HTTP/1.1\r\nhost: c\r\n\r\n")
    );
    let connect = request(false, &[(":method", "CONNECT"), (":authority", "b:1")]).expect("text");
    assert_eq!(RequestParser::default().advance(connect.as_bytes()), Err(crate::http1::Fault::Method));
}

#[test]
fn a_body_without_a_length_is_said_to_be_of_any() {
    assert_eq!(request(false, &POST).as_deref(), Ok("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    let known = [POST.as_slice(), &[("content-length", "3")]].concat();
    assert_eq!(request(false, &known).as_deref(), Ok("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\n"));
    assert_eq!(request(true, &POST).as_deref(), Ok("POST / HTTP/1.1\r\nHost: a\r\n\r\n"));
}

#[test]
fn cookie_crumbs_are_joined() {
    let text = get(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]);
    assert_eq!(text.as_deref(), Ok("GET / HTTP/1.1\r\nHost: a\r\nx: y\r\ncookie: a=1; b=2; c=3\r\n\r\n"));
}

#[test]
fn a_host_that_is_the_authority_is_not_said_twice_and_another_is_refused() {
    assert_eq!(get(&[("host", "A")]).as_deref(), Ok("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(get(&[("host", "b")]), Err(StreamFault::HostDiffers));
    assert_eq!(get(&[("host", "a"), ("host", "a")]), Err(StreamFault::HostDiffers));
}

#[test]
fn fields_that_would_be_read_otherwise_in_http1_are_refused() {
    for (name, value, fault) in [
        ("X-Upper", "1", StreamFault::HeaderName),
        ("", "1", StreamFault::HeaderName),
        ("a b", "1", StreamFault::HeaderName),
        ("a\r\nb", "1", StreamFault::HeaderName),
        ("a:", "1", StreamFault::HeaderName),
        ("a\u{e4}", "1", StreamFault::HeaderName),
        ("a", "1\r\nb: 2", StreamFault::HeaderValue),
        ("a", "1\n2", StreamFault::HeaderValue),
        ("a", "1\0", StreamFault::HeaderValue),
        ("a", "1\x7f", StreamFault::HeaderValue),
        ("a", " 1", StreamFault::HeaderValue),
        ("a", "1\t", StreamFault::HeaderValue),
        ("cookie", "a\r\nb", StreamFault::HeaderValue),
        ("host", "a\r\nb", StreamFault::HeaderValue),
        ("connection", "close", StreamFault::ConnectionHeader),
        ("keep-alive", "1", StreamFault::ConnectionHeader),
        ("proxy-connection", "close", StreamFault::ConnectionHeader),
        ("transfer-encoding", "chunked", StreamFault::ConnectionHeader),
        ("upgrade", "h2c", StreamFault::ConnectionHeader),
        ("te", "gzip", StreamFault::ConnectionHeader),
        (":protocol", "websocket", StreamFault::PseudoHeader),
        (":status", "200", StreamFault::PseudoHeader),
        (":path", "/", StreamFault::PseudoHeader),
        (":method", "GET", StreamFault::PseudoHeader),
        (":scheme", "http", StreamFault::PseudoHeader),
        (":authority", "a", StreamFault::PseudoHeader),
    ] {
        assert_eq!(get(&[(name, value)]), Err(fault), "{name:?}: {value:?}");
        let later = [GET.as_slice(), &[("a", "b"), (name, value)]].concat();
        assert_eq!(request(true, &later), Err(fault), "after others, {name:?}: {value:?}");
    }
    assert!(get(&[("te", "trailers"), ("empty", "")]).is_ok());
}

#[test]
fn a_control_is_found_wherever_it_stands_in_a_value() {
    for control in (0u8..0x20).chain([0x7f]).filter(|b| *b != b'\t') {
        for (length, at) in (1..20).flat_map(|length| (0..length).map(move |at| (length, at))) {
            let mut head = Head::default();
            head.begin(Shape::Trailers);
            let mut value: Vec<u8> = (0..length).map(|i| [b'~', 0x80, 0xff, b'a', b'\x21'][i % 5]).collect();
            head.tail().extend_from_slice(&[b"a: ", value.as_slice()].concat());
            assert!(head.judge(Kind::Other, 0, 1).is_text);
            value[at] = control;
            head.begin(Shape::Trailers);
            head.tail().extend_from_slice(&[b"a: ", value.as_slice()].concat());
            assert!(!head.judge(Kind::Other, 0, 1).is_text, "{control} at {at} of {length}");
        }
    }
}

#[test]
fn pseudo_headers_are_whole_once_and_first() {
    let head = |change: usize, to: Option<(&'static str, &'static str)>| {
        let mut fields = GET.to_vec();
        fields.remove(change);
        fields.extend(to);
        request(true, &fields)
    };
    for (change, to) in [
        (0, None),
        (1, None),
        (2, None),
        (0, Some((":method", "G T"))),
        (0, Some((":method", ""))),
        (1, Some((":scheme", "ftp"))),
        (2, Some((":path", ""))),
        (2, Some((":path", "x"))),
        (2, Some((":path", "*"))),
        (2, Some((":path", "http://b/"))),
        (2, Some((":path", "/ HTTP/1.1"))),
        (2, Some((":path", "/\t"))),
    ] {
        let fault = head(change, to).expect_err("a fault");
        assert!(matches!(fault, StreamFault::PseudoHeader | StreamFault::HeaderValue), "{to:?}");
    }
    let late = [("a", "b"), (":method", "GET"), (":scheme", "http"), (":path", "/")];
    assert_eq!(request(true, &late), Err(StreamFault::PseudoHeader));
    let connect = [(":method", "CONNECT"), (":authority", "b:1"), (":path", "/")];
    assert_eq!(request(true, &connect), Err(StreamFault::PseudoHeader));
}

#[test]
fn a_fault_is_found_in_a_field_of_the_table_each_time() {
    let mut server = End::server();
    let kept = [0x40, 1, b'x', 1, b'\n'];
    let bad = [block(&GET).as_slice(), &kept].concat();
    server.read(&frame(HEADERS, WHOLE | END, 1, &bad)).expect("the connection goes on");
    let again = [block(&GET).as_slice(), &[0x80 | 62]].concat();
    let fault = Event::Failed { stream: StreamId(3), fault: StreamFault::HeaderValue };
    assert_eq!(server.read(&frame(HEADERS, WHOLE | END, 3, &again)), Ok(vec![fault]));
}

/// What is kept of the last block must not be taken for what the same bytes mean later.
#[test]
fn the_same_block_is_read_anew_when_it_means_something_else() {
    let mut server = End::server();
    let kept = |value| [block(&GET).as_slice(), &[0x40, 1, b'x', 1, value]].concat();
    let named = [block(&GET).as_slice(), &[0x80 | 62]].concat();
    let mut next = 1;
    let mut read = |block: &[u8], end| {
        server.read(&frame(HEADERS, WHOLE | if end { END } else { 0 }, next, block)).expect("a stream");
        next += 2;
        server.texts.pop().unwrap_or_default()
    };
    let text = |value| format!("GET / HTTP/1.1\r\nHost: a\r\nx: {value}\r\n\r\n");
    read(&kept(b'1'), true);
    assert_eq!([read(&named, true), read(&named, true)], [text('1'), text('1')]);
    read(&kept(b'2'), true);
    assert_eq!([read(&named, true), read(&named, true)], [text('2'), text('2')]);
    assert!(read(&named, false).contains("chunked"));
    assert_eq!(read(&named, true), text('2'));
    // A block that changes the table means something else the next time.
    let both = [named.as_slice(), &[0x40, 1, b'x', 1, b'3']].concat();
    let lines = |first| format!("GET / HTTP/1.1\r\nHost: a\r\nx: {first}\r\nx: 3\r\n\r\n");
    assert_eq!([read(&both, true), read(&both, true)], [lines('2'), lines('3')]);
}

#[test]
fn a_head_too_large_is_said_so_and_the_table_goes_on() {
    let mut server = End::server();
    let lines: Vec<(&str, &str)> = std::iter::repeat_n(("a", "b"), MAX_FIELDS + 1).collect();
    let large = "v".repeat(8200);
    let long: Vec<(&str, &str)> = (0..4).flat_map(|_| [("a", large.as_str()), ("cookie", "c")]).collect();
    let crumbs: Vec<(&str, &str)> = (0..5).map(|_| ("cookie", large.as_str())).collect();
    let kept = [0x40, 1, b'x', 1, b'y'];
    // The cookies are a line, too.
    let last: Vec<(&str, &str)> = [("cookie", "c")].into_iter().chain(std::iter::repeat_n(("a", "b"), MAX_FIELDS - 1)).collect();
    for (at, more) in [lines, long, crumbs, last].into_iter().enumerate() {
        let id = 1 + 4 * at as u32;
        let stream = StreamId(id);
        let bytes = [block(&[GET.as_slice(), &more].concat()).as_slice(), &kept].concat();
        let (first, rest) = bytes.split_at(bytes.len().min(16_000));
        let mut frames = frame(HEADERS, END, id, first);
        for piece in rest.chunks(16_000) {
            frames.extend(frame(CONTINUATION, 0, id, piece));
        }
        frames.extend(frame(CONTINUATION, WHOLE, id, b""));
        assert_eq!(server.read(&frames), Ok(vec![Event::HeadTooLarge { stream, end: true }]));
        server.connection.send_head(stream, b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n", true);
        assert!(server.written().iter().any(|frame| frame.0 == HEADERS && frame.1 == WHOLE | END && frame.2 == id));
        let next = [block(&GET).as_slice(), &[0x80 | 62]].concat();
        server.read(&frame(HEADERS, WHOLE | END, id + 2, &next)).expect("a stream");
        assert_eq!(server.texts.pop().as_deref(), Some("GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n\r\n"));
    }
}

#[test]
fn answers_become_text_that_says_how_they_end() {
    let answer = |request: &str, end: bool, fields: &[(&str, &str)]| {
        let mut client = End::client();
        client.connection.open(format!("{request} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), true).expect("a stream");
        let flags = WHOLE | if end { END } else { 0 };
        client.read(&frame(HEADERS, flags, 1, &block(fields))).expect("the connection goes on");
        client.texts.pop().unwrap_or_default()
    };
    let ok = (":status", "200");
    assert_eq!(answer("GET", false, &[ok, ("a", "b")]), "HTTP/1.1 200\r\na: b\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(answer("GET", true, &[ok]), "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(answer("HEAD", true, &[ok]), "HTTP/1.1 200\r\n\r\n");
    assert_eq!(answer("HEAD", true, &[ok, ("content-length", "7")]), "HTTP/1.1 200\r\ncontent-length: 7\r\n\r\n");
    assert_eq!(answer("GET", true, &[(":status", "204")]), "HTTP/1.1 204\r\n\r\n");
    assert_eq!(answer("GET", false, &[(":status", "103"), ("link", "x")]), "HTTP/1.1 103\r\nlink: x\r\n\r\n");
    let twice = [ok, ("content-length", "1"), ("content-length", "1")];
    assert_eq!(answer("GET", false, &twice), "HTTP/1.1 200\r\ncontent-length: 1\r\n\r\n");
    let cookies = [(":status", "404"), ("set-cookie", "a"), ("set-cookie", "b"), ("cookie", "c"), ("content-length", "0")];
    let text = answer("GET", true, &cookies);
    assert_eq!(text, "HTTP/1.1 404\r\nset-cookie: a\r\nset-cookie: b\r\ncookie: c\r\ncontent-length: 0\r\n\r\n");
}

/// A peer's view of a block that the encoder has written: as the text of a head.
fn read_back(decoder: &mut Decoder, shape: Shape, bytes: &[u8]) -> String {
    let mut head = Head::default();
    decoder.read(bytes, (shape, true), &mut head).expect("a block that decodes").expect("a head");
    String::from_utf8_lossy(head.text()).into()
}

#[test]
fn a_line_is_one_byte_from_its_third_time_on() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut lengths = Vec::new();
    for _ in 0..4 {
        let mut out = Vec::new();
        encoder.block(&mut out, (Part::Head, b"text"), |encoder, out| {
            encoder.status(out, *b"200");
            encoder.line(out, b"Content-Type:  application/json ");
            encoder.line(out, b"X-Served-By: someone");
        });
        lengths.push(out.len());
        let text = read_back(&mut decoder, Shape::Response { to_head: true }, &out);
        assert_eq!(text, "HTTP/1.1 200\r\ncontent-type: application/json\r\nx-served-by: someone\r\n\r\n");
    }
    assert_eq!(lengths[2..], [3, 3]);
    assert_eq!(lengths[0] - 1, lengths[1]);
}

#[test]
fn secrets_are_never_kept_and_lines_of_one_hop_are_left_out() {
    let mut encoder = Encoder::new();
    for _ in 0..3 {
        let mut out = Vec::new();
        for line in ["Connection: close", "Keep-Alive: a", "Transfer-Encoding: chunked", "Upgrade: x", "Proxy-Connection: y"] {
            encoder.line(&mut out, line.as_bytes());
        }
        encoder.line(&mut out, b"TE: gzip");
        encoder.line(&mut out, b"HTTP2-Settings: x");
        assert_eq!(out, b"");
        encoder.line(&mut out, b"Authorization: secret");
        assert_eq!(out, b"\x1f\x08\x06secret");
        out.clear();
        encoder.line(&mut out, b"set-cookie: s");
        assert_eq!(out, b"\x1f\x28\x01s");
    }
}

#[test]
fn a_table_that_the_peer_makes_smaller_is_announced() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut send = |encoder: &mut Encoder| {
        let mut out = Vec::new();
        encoder.block(&mut out, (Part::Head, b"a: b"), |encoder, out| {
            encoder.status(out, *b"200");
            encoder.line(out, b"a: b");
        });
        let text = read_back(&mut decoder, Shape::Response { to_head: true }, &out);
        assert_eq!(text, "HTTP/1.1 200\r\na: b\r\n\r\n");
        out
    };
    (0..3).for_each(|_| drop(send(&mut encoder)));
    encoder.set_max(0);
    assert_eq!(send(&mut encoder)[0], 0x20);
    encoder.set_max(100);
    encoder.set_max(50);
    encoder.set_max(1 << 20);
    assert_eq!(send(&mut encoder)[..4], [0x3f, 19, 0x3f, 0xe1]);
    (0..3).for_each(|_| drop(send(&mut encoder)));
}

fn lines() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof!["[a-z][a-z0-9-]{0,40}", Just("date".to_owned()), Just("x-long".to_owned())];
    let value = prop_oneof!["[!-~]([ -~]{0,60}[!-~])?", Just(String::new()), "[a-z]{1,3}"];
    proptest::collection::vec((name, value), 0..12)
}

proptest! {
    /// Over many heads on one connection, with the table at any size: what one end writes, the other reads.
    #[test]
    fn heads_survive_the_tables(heads in proptest::collection::vec((lines(), any::<bool>(), 0u32..5000), 1..12)) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut head = Head::default();
        // Each twice in a row, and all once more: with what is kept of the last one, and with what isn't.
        for (lines, upper, max) in heads.iter().flat_map(|head| [head, head]).chain(&heads) {
            encoder.set_max(*max);
            let kind = |name: &str| !matches!(name, "te" | "upgrade" | "content-length" | "host");
            let (mut written, mut expected) = (String::new(), "HTTP/1.1 299\r\n".to_owned());
            for (name, value) in lines.iter().filter(|(name, _)| kind(name)) {
                let name_written = if *upper { name.to_ascii_uppercase() } else { name.clone() };
                written += &format!("{name_written}: {value}\r\n");
                expected += &format!("{name}: {value}\r\n");
            }
            let mut out = Vec::new();
            encoder.block(&mut out, (Part::Head, written.as_bytes()), |encoder, out| {
                encoder.status(out, *b"299");
                written.lines().for_each(|line| encoder.line(out, line.as_bytes()));
            });
            let read = decoder.read(&out, (Shape::Response { to_head: true }, true), &mut head);
            prop_assert!(matches!(read, Ok(Ok(_))));
            prop_assert_eq!(String::from_utf8_lossy(head.text()), expected + "\r\n");
        }
    }

    /// Whatever fields come, `http1` reads the text, and no line was split.
    #[test]
    fn every_head_that_is_handed_out_is_one_that_http1_reads(
        fields in proptest::collection::vec(("[a-zA-Z :_-]{0,10}", "[ -~\r\n\t\0]{0,12}"), 0..6),
        end in any::<bool>(),
    ) {
        let more: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if let Ok(text) = request(end, &[GET.as_slice(), &more].concat()) {
            let parsed = RequestParser::default().advance(text.as_bytes());
            prop_assert!(parsed.is_ok_and(|request| request.is_some_and(|r| r.head_len == text.len())), "{:?}", text);
            prop_assert!(text.matches("\r\n").count() <= fields.len() + 4);
        }
    }

    #[test]
    fn every_answer_that_is_handed_out_is_one_that_http1_reads(
        status in 100u16..1000,
        fields in proptest::collection::vec(("[a-z-]{0,10}", "[ -~]{0,12}"), 0..6),
        end in any::<bool>(),
    ) {
        let mut client = End::client();
        client.connection.open(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true).expect("a stream");
        let status = status.to_string();
        let mut all = vec![(":status", status.as_str())];
        all.extend(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        client.read(&frame(HEADERS, WHOLE | if end { END } else { 0 }, 1, &block(&all))).expect("the connection goes on");
        if let Some(text) = client.texts.pop() {
            let parsed = ResponseParser::default().advance(text.as_bytes(), Asked::default());
            prop_assert!(parsed.is_ok_and(|answer| answer.is_some_and(|a| a.head_len == text.len())), "{:?}", text);
        }
    }
}

#[test]
fn a_text_of_the_most_that_is_allowed_is_one_that_http1_reads() {
    for length in MAX_HEAD - 400..MAX_HEAD {
        let value = "v".repeat(length);
        let mut head = Head::default();
        head.begin(Shape::Request);
        for (name, value) in POST.iter().chain(&[("a", value.as_str()), ("cookie", "c=1"), ("cookie", "d=2")]) {
            let mut decoder = Decoder::new();
            decoder.decode(&block(&[(name, value)]), &mut head).expect("a block that decodes");
        }
        if head.finish(false).is_ok() {
            let parsed = RequestParser::default().advance(head.text());
            assert!(parsed.is_ok_and(|request| request.is_some()), "{length}");
        }
    }
}
