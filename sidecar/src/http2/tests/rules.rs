//! What a peer may not send, frame by frame and stream by stream, and what it is told.

use super::*;

/// A server that has read these frames, and how that ended.
fn fate(frames: &[Vec<u8>]) -> Result<Vec<Event>, Reason> {
    let mut end = End::server();
    let fate = end.read(&frames.concat());
    if let Err(fatal) = fate {
        let last = end.written().pop().expect("the peer is told");
        assert_eq!((last.0, &last.3[4..]), (GOAWAY, fatal.code.0.to_be_bytes().as_slice()), "{fatal:?}");
        assert_eq!(end.connection.advance(b"", end.now), Err(fatal), "it stays at its end");
    }
    fate.map_err(|fatal| fatal.reason)
}

/// The same, but for the one event that says how a stream failed; the connection must go on.
fn stream_fate(frames: &[Vec<u8>]) -> Option<StreamFault> {
    let mut end = End::server();
    let events = end.read(&frames.concat()).expect("the connection goes on");
    let fault = events.iter().find_map(|event| match event {
        Event::Failed { fault, .. } => Some(*fault),
        _ => None,
    });
    if let Some(fault) = fault {
        let told = end.written().into_iter().find(|frame| frame.0 == RESET).expect("the peer is told");
        assert_eq!(told.3, fault.code().0.to_be_bytes());
        assert!(end.connection.is_idle(), "the stream is gone");
    }
    assert!(end.read(&frame(PING, 0, 0, b"12345678")).is_ok());
    assert_eq!(end.written().pop(), Some((PING, ACK, 0, b"12345678".to_vec())));
    fault
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE | END, stream, &block(&GET))
}

fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block(&POST))
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat())
}

#[test]
fn a_connection_starts_with_the_preface_and_settings() {
    let now = Instant::now();
    for (hello, reason) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), Reason::Preface),
        (b"PRI * HTTP/2.1".to_vec(), Reason::Preface),
        ([PREFACE.as_slice(), &frame(PING, 0, 0, b"12345678")].concat(), Reason::Preface),
        ([PREFACE.as_slice(), &frame(SETTINGS, ACK, 0, b"")].concat(), Reason::Preface),
        ([PREFACE.as_slice(), b"GET /".as_slice(), &[0; 4]].concat(), Reason::Preface),
    ] {
        let mut end = End::new(Role::Server);
        assert_eq!(end.read(&hello).map_err(|fatal| fatal.reason), Err(reason), "{hello:?}");
    }
    let mut client = Connection::client(&Limits::default(), Scheme::Http, now);
    assert!(client.pending().starts_with(PREFACE));
    assert!(client.advance(&get(1), now).is_err());
}

#[test]
fn frames_that_break_the_connection_are_told_apart() {
    let half = || frame(HEADERS, 0, 1, &block(&GET));
    let cases: Vec<(&str, Vec<Vec<u8>>, Reason)> = vec![
        ("too long", vec![frame(DATA, 0, 1, &[0; 16_385])], Reason::FrameSize),
        ("unknown and too long", vec![frame(77, 0, 0, &[0; 16_385])], Reason::FrameSize),
        ("RST_STREAM of 3", vec![get(1), frame(RESET, 0, 1, &[0; 3])], Reason::FrameSize),
        ("WINDOW_UPDATE of 5", vec![frame(WINDOW, 0, 0, &[0, 0, 0, 1, 0])], Reason::FrameSize),
        ("SETTINGS of 5", vec![frame(SETTINGS, 0, 0, &[0; 5])], Reason::FrameSize),
        ("SETTINGS ack of 6", vec![frame(SETTINGS, ACK, 0, &[0; 6])], Reason::FrameSize),
        ("PING of 7", vec![frame(PING, 0, 0, &[0; 7])], Reason::FrameSize),
        ("GOAWAY of 7", vec![frame(GOAWAY, 0, 0, &[0; 7])], Reason::FrameSize),
        ("padded DATA of 0", vec![post(1), frame(DATA, PADDED, 1, b"")], Reason::FrameSize),
        ("HEADERS too short", vec![frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[0; 4])], Reason::FrameSize),
        ("DATA on 0", vec![frame(DATA, 0, 0, b"")], Reason::FrameStream),
        ("HEADERS on 0", vec![frame(HEADERS, WHOLE, 0, b"")], Reason::FrameStream),
        ("PRIORITY on 0", vec![frame(PRIORITY, 0, 0, &[0; 5])], Reason::FrameStream),
        ("RST_STREAM on 0", vec![frame(RESET, 0, 0, &[0; 4])], Reason::FrameStream),
        ("SETTINGS on 1", vec![frame(SETTINGS, 0, 1, b"")], Reason::FrameStream),
        ("PING on 1", vec![frame(PING, 0, 1, &[0; 8])], Reason::FrameStream),
        ("GOAWAY on 1", vec![frame(GOAWAY, 0, 1, &[0; 8])], Reason::FrameStream),
        ("CONTINUATION on 0", vec![frame(CONTINUATION, WHOLE, 0, b"")], Reason::FrameStream),
        ("padding over DATA", vec![post(1), frame(DATA, PADDED, 1, &[4, 0, 0, 0])], Reason::Padding),
        ("padding over HEADERS", vec![frame(HEADERS, PADDED | WHOLE, 1, &[3, 0x82, 0])], Reason::Padding),
        ("even stream", vec![get(2)], Reason::StreamId),
        ("smaller stream", vec![get(5), get(3)], Reason::StreamId),
        ("DATA on idle", vec![frame(DATA, 0, 1, b"x")], Reason::IdleStream),
        ("RST_STREAM on idle", vec![frame(RESET, 0, 1, &[0; 4])], Reason::IdleStream),
        ("WINDOW_UPDATE on idle", vec![frame(WINDOW, 0, 1, &[0, 0, 0, 1])], Reason::IdleStream),
        ("HEADERS after a reset", vec![post(1), frame(RESET, 0, 1, &[0; 4]), post(1)], Reason::ClosedStream),
        ("CONTINUATION alone", vec![frame(CONTINUATION, WHOLE, 1, b"")], Reason::Continuation),
        ("DATA in a block", vec![half(), frame(DATA, 0, 1, b"")], Reason::Continuation),
        ("PRIORITY in a block", vec![half(), frame(PRIORITY, 0, 1, &[0; 5])], Reason::Continuation),
        ("unknown in a block", vec![half(), frame(77, 0, 1, b"")], Reason::Continuation),
        ("another's block", vec![half(), frame(CONTINUATION, WHOLE, 3, b"")], Reason::Continuation),
        ("ENABLE_PUSH 2", vec![setting(2, 2)], Reason::Setting),
        ("INITIAL_WINDOW_SIZE 2^31", vec![setting(4, 1 << 31)], Reason::WindowOverflow),
        ("MAX_FRAME_SIZE small", vec![setting(5, 16_383)], Reason::Setting),
        ("MAX_FRAME_SIZE large", vec![setting(5, 1 << 24)], Reason::Setting),
        (
            "a window by settings",
            vec![get(1), frame(WINDOW, 0, 1, &[0x7f, 0xff, 0, 0]), setting(4, 1 << 17)],
            Reason::WindowOverflow,
        ),
        ("WINDOW_UPDATE of nothing", vec![frame(WINDOW, 0, 0, &[0; 4])], Reason::WindowIncrement),
        ("a window too large", vec![frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], Reason::WindowOverflow),
        ("PUSH_PROMISE", vec![get(1), frame(PUSH, WHOLE, 1, &[0, 0, 0, 2])], Reason::Push),
        ("PRIORITY on itself", vec![frame(PRIORITY, 0, 2, &[0, 0, 0, 2, 0])], Reason::Priority),
        ("PRIORITY of 4 on idle", vec![frame(PRIORITY, 0, 1, &[0; 4])], Reason::FrameSize),
    ];
    for (name, frames, reason) in cases {
        assert_eq!(fate(&frames), Err(reason), "{name}");
    }
}

#[test]
fn frames_that_mean_nothing_here_are_ignored() {
    let head = Event::Head { stream: StreamId(1), end: true };
    for ignored in [
        frame(77, 0xff, 9, &[7; 3000]),
        frame(SETTINGS, ACK, 0, b""),
        frame(PING, ACK, 0, b"unasked?"),
        frame(PRIORITY, 0, 7, &[0, 0, 0, 1, 9]),
    ] {
        assert_eq!(fate(&[ignored, get(1)]), Ok(vec![head.clone()]));
    }
    let reserved = frame(PING, 0, 1 << 31, b"12345678");
    assert_eq!(fate(&[reserved]), Ok(vec![]));
    let unknown_setting = [setting(99, u32::MAX), get(1)];
    assert_eq!(fate(&unknown_setting), Ok(vec![Event::PeerSettings, head.clone()]));
    let flags = frame(HEADERS, WHOLE | END | 0x52, 1, &block(&GET));
    assert_eq!(fate(&[flags]), Ok(vec![head]));
}

#[test]
fn blocks_that_cannot_be_decoded_end_the_connection() {
    for (name, bytes) in [
        ("index 0", vec![0x80]),
        ("an index beyond the table", vec![0x80 | 62]),
        ("a name beyond the table", vec![0x7f, 0x00, 0x01, b'x']),
        ("a cut integer", vec![0xff]),
        ("an endless integer", vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("a cut string", vec![0x00, 0x05, b'a']),
        ("a literal without a value", vec![0x00, 0x01, b'a']),
        ("a table too large", vec![0x3f, 0xe2, 0x1f]),
        ("a table that changes after a field", vec![0x82, 0x20]),
        ("padding of zeros", vec![0x00, 0x81, 0x18, 0x01, b'a']),
        ("a symbol of the end", vec![0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00]),
    ] {
        assert_eq!(fate(&[frame(HEADERS, WHOLE, 1, &bytes)]), Err(Reason::Compression), "{name}");
    }
    let resized = [&[0x3f, 0xe1, 0x1f, 0x20], block(&GET).as_slice()].concat();
    assert_eq!(fate(&[frame(HEADERS, WHOLE | END, 1, &resized)]).map(|events| events.len()), Ok(1));
}

#[test]
fn frames_that_break_their_stream_leave_the_others() {
    let length = |length| with(&POST, &[("content-length", length)]);
    let declared = |text, flags| frame(HEADERS, WHOLE | flags, 1, &length(text));
    let itself = [&[0, 0, 0, 1, 0], block(&GET).as_slice()].concat();
    let cases: Vec<(&str, Vec<Vec<u8>>, StreamFault)> = vec![
        ("DATA after the end", vec![get(1), frame(DATA, 0, 1, b"x")], StreamFault::StreamClosed),
        ("HEADERS after the end", vec![get(1), get(1)], StreamFault::StreamClosed),
        ("DATA after a reset", vec![post(1), frame(RESET, 0, 1, &[0; 4]), frame(DATA, 0, 1, b"x")], StreamFault::StreamClosed),
        ("trailers that don't end", vec![post(1), frame(HEADERS, WHOLE, 1, &block(&[("a", "b")]))], StreamFault::Trailers),
        (
            "a pseudo-header in trailers",
            vec![post(1), frame(HEADERS, WHOLE | END, 1, &block(&[(":path", "/")]))],
            StreamFault::PseudoHeader,
        ),
        (
            "framing in trailers",
            vec![post(1), frame(HEADERS, WHOLE | END, 1, &block(&[("content-length", "0")]))],
            StreamFault::Trailers,
        ),
        ("WINDOW_UPDATE of nothing", vec![get(1), frame(WINDOW, 0, 1, &[0; 4])], StreamFault::WindowIncrement),
        ("a window too large", vec![get(1), frame(WINDOW, 0, 1, &[0x7f, 0xff, 0xff, 0xff])], StreamFault::WindowOverflow),
        ("PRIORITY of 4", vec![post(1), frame(PRIORITY, 0, 1, &[0; 4])], StreamFault::FrameSize),
        ("PRIORITY on itself", vec![post(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])], StreamFault::Priority),
        ("HEADERS on itself", vec![frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &itself)], StreamFault::Priority),
        ("no body but a length", vec![declared("1", END)], StreamFault::ContentLength),
        ("a body too long", vec![declared("1", 0), frame(DATA, 0, 1, b"xy")], StreamFault::ContentLength),
        ("a body too short", vec![declared("3", 0), frame(DATA, END, 1, b"xy")], StreamFault::ContentLength),
        (
            "too short in two",
            vec![declared("3", 0), frame(DATA, 0, 1, b"x"), frame(DATA, END, 1, b"y")],
            StreamFault::ContentLength,
        ),
        ("too short before trailers", vec![declared("3", 0), frame(HEADERS, WHOLE | END, 1, b"")], StreamFault::ContentLength),
        ("a length with a sign", vec![declared("+3", 0)], StreamFault::ContentLength),
        ("a length without bound", vec![declared("99999999999999999999", 0)], StreamFault::ContentLength),
        (
            "two lengths",
            vec![frame(HEADERS, WHOLE, 1, &with(&POST, &[("content-length", "3"), ("content-length", "3")]))],
            StreamFault::ContentLength,
        ),
    ];
    for (name, frames, fault) in cases {
        assert_eq!(stream_fate(&frames), Some(fault), "{name}");
    }
    assert_eq!(stream_fate(&[declared("3", 0), frame(DATA, 0, 1, b"xy"), frame(DATA, END, 1, b"z")]), None);
}

#[test]
fn nothing_of_a_body_that_breaks_its_length_is_handed_out() {
    let mut end = End::server();
    let head = frame(HEADERS, WHOLE, 1, &with(&POST, &[("content-length", "3")]));
    end.read(&[head, frame(DATA, 0, 1, b"xy"), frame(DATA, 0, 1, b"too much")].concat()).expect("the connection goes on");
    assert_eq!(end.data, b"xy");
}

#[test]
fn frames_on_a_stream_that_was_reset_here_are_ignored_but_their_headers_are_learnt() {
    let mut end = End::server();
    end.read(&post(1)).expect("a stream");
    end.connection.reset(StreamId(1), Code::CANCEL);
    let kept = [0x40, 1, b'x', 1, b'y'];
    let late = [frame(DATA, 0, 1, &[0; 1000]), frame(HEADERS, WHOLE | END, 1, &kept)].concat();
    assert_eq!(end.read(&late), Ok(vec![]));
    let again = [block(&GET).as_slice(), &[0x80 | 62]].concat();
    end.read(&frame(HEADERS, WHOLE | END, 3, &again)).expect("a stream");
    assert_eq!(end.texts.pop().as_deref(), Some("GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n\r\n"));
}

#[test]
fn a_client_refuses_what_only_a_client_may_send() {
    for (frames, reason) in [
        (get(2), Reason::StreamId),
        (get(3), Reason::IdleStream),
        (frame(DATA, 0, 3, b""), Reason::IdleStream),
        (setting(2, 1), Reason::Setting),
        (frame(PUSH, WHOLE, 1, &[0, 0, 0, 2]), Reason::Push),
    ] {
        let mut end = End::client();
        end.connection.open(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true).expect("a stream");
        assert_eq!(end.read(&frames).map_err(|fatal| fatal.reason), Err(reason));
    }
}

#[test]
fn answers_that_break_a_rule_fail_their_stream() {
    let answer = |flags, fields: &[(&str, &str)]| frame(HEADERS, WHOLE | flags, 1, &block(fields));
    let ok = (":status", "200");
    let cases: Vec<(&str, Vec<Vec<u8>>, StreamFault)> = vec![
        ("no status", vec![answer(END, &[("a", "b")])], StreamFault::PseudoHeader),
        ("two statuses", vec![answer(END, &[ok, ok])], StreamFault::PseudoHeader),
        ("a request's", vec![answer(END, &[ok, (":path", "/")])], StreamFault::PseudoHeader),
        ("a status of two digits", vec![answer(END, &[(":status", "99")])], StreamFault::Status),
        ("a status with a sign", vec![answer(END, &[(":status", "+20")])], StreamFault::Status),
        ("a switch of protocols", vec![answer(0, &[(":status", "101")])], StreamFault::Status),
        ("an interim answer that ends", vec![answer(END, &[(":status", "103")])], StreamFault::Status),
        ("te", vec![answer(END, &[ok, ("te", "trailers")])], StreamFault::ConnectionHeader),
        ("data first", vec![frame(DATA, 0, 1, b"x")], StreamFault::DataBeforeHead),
        (
            "data after an interim answer",
            vec![answer(0, &[(":status", "100")]), frame(DATA, 0, 1, b"x")],
            StreamFault::DataBeforeHead,
        ),
        ("two lengths", vec![answer(0, &[ok, ("content-length", "1"), ("content-length", "2")])], StreamFault::ContentLength),
        ("a body for 204", vec![answer(0, &[(":status", "204")]), frame(DATA, END, 1, b"x")], StreamFault::UnexpectedBody),
        (
            "a body for 304",
            vec![answer(0, &[(":status", "304"), ("content-length", "1")]), frame(DATA, END, 1, b"x")],
            StreamFault::UnexpectedBody,
        ),
        ("no body but a length", vec![answer(END, &[ok, ("content-length", "1")])], StreamFault::ContentLength),
    ];
    for (name, frames, fault) in cases {
        let mut end = End::client();
        end.connection.open(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true).expect("a stream");
        let events = end.read(&frames.concat()).expect("the connection goes on");
        assert_eq!(events.last(), Some(&Event::Failed { stream: StreamId(1), fault }), "{name}");
    }
}
