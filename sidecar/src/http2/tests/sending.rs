//! What goes out: frames, windows, and the end of a connection; and how the two ends of this engine get on.

use super::*;
use proptest::prelude::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

fn asked(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE | END, stream, &block(&GET))
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW, 0, stream, &increment.to_be_bytes())
}

fn goaway(last: u32) -> (u8, u8, u32, Vec<u8>) {
    (GOAWAY, 0, 0, [last.to_be_bytes(), [0; 4]].concat())
}

#[test]
fn data_goes_out_in_frames_within_both_windows() {
    let mut end = End::server();
    end.read(&[asked(1), asked(3)].concat()).expect("two streams");
    let (one, three) = (StreamId(1), StreamId(3));
    end.connection.send_head(one, ANSWER, false);
    assert_eq!(end.connection.send_data(one, &[7; 70_000], true), 65_535);
    let frames: Vec<_> = end.written().iter().map(|f| (f.0, f.1, f.3.len())).collect();
    assert_eq!(frames[1..], [(DATA, 0, 16_384), (DATA, 0, 16_384), (DATA, 0, 16_384), (DATA, 0, 16_383)]);
    assert_eq!((end.connection.capacity(one), end.connection.capacity(three)), (0, 0));
    assert_eq!(end.connection.send_data(one, &[7; 10], true), 0);

    assert_eq!(end.read(&window(1, 4465)), Ok(vec![Event::Window { stream: Some(one) }]));
    assert_eq!(end.connection.capacity(one), 0);
    assert_eq!(end.read(&window(0, 10_000)), Ok(vec![Event::Window { stream: None }]));
    assert_eq!((end.connection.capacity(one), end.connection.capacity(three)), (4465, 10_000));
    assert_eq!(end.connection.send_data(one, &[7; 4465], true), 4465);
    assert_eq!(end.written(), vec![(DATA, END, 1, vec![7; 4465])]);
    assert_eq!(end.connection.active(), 1);
}

#[test]
fn the_last_frame_of_data_alone_ends_its_stream() {
    let mut end = End::server();
    end.read(&asked(1)).expect("a stream");
    end.connection.send_head(StreamId(1), ANSWER, false);
    assert_eq!(end.connection.send_data(StreamId(1), &[7; 40_000], true), 40_000);
    let frames: Vec<_> = end.written().iter().map(|f| (f.0, f.1, f.3.len())).collect();
    assert_eq!(frames[1..], [(DATA, 0, 16_384), (DATA, 0, 16_384), (DATA, END, 7_232)]);
}

#[test]
fn an_end_needs_no_window() {
    let mut end = End::server();
    end.read(&[frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), asked(1)].concat()).expect("a stream");
    end.written();
    let stream = StreamId(1);
    end.connection.send_head(stream, b"HTTP/1.1 100 Continue\r\n\r\n", false);
    end.connection.send_head(stream, ANSWER, false);
    assert_eq!(end.connection.send_data(stream, b"hello", true), 0);
    assert_eq!(end.connection.send_data(stream, b"", true), 0);
    let kinds: Vec<_> = end.written().iter().map(|f| (f.0, f.1)).collect();
    assert_eq!(kinds, [(HEADERS, WHOLE), (HEADERS, WHOLE), (DATA, END)]);
    assert!(end.connection.is_idle());
    assert_eq!(end.connection.send_data(stream, b"late", true), 4, "a stream that is gone takes everything");
    end.connection.send_head(stream, ANSWER, true);
    end.connection.reset(stream, Code::CANCEL);
    assert_eq!(end.written(), vec![]);
}

#[test]
fn a_setting_moves_the_windows_of_all_streams() {
    let mut end = End::server();
    end.read(&asked(1)).expect("a stream");
    let stream = StreamId(1);
    end.connection.send_head(stream, ANSWER, false);
    end.connection.send_data(stream, &[0; 1000], false);
    let size = |size: u32| frame(SETTINGS, 0, 0, &[&[0, 4], size.to_be_bytes().as_slice()].concat());
    assert_eq!(end.read(&size(100)), Ok(vec![Event::PeerSettings]));
    assert_eq!(end.connection.capacity(stream), 0);
    end.read(&size(1001)).expect("settings");
    assert_eq!(end.connection.capacity(stream), 1);
    let acks = end.written().into_iter().filter(|f| f.0 == SETTINGS).collect::<Vec<_>>();
    assert_eq!(acks, vec![(SETTINGS, ACK, 0, vec![]); 2]);
}

#[test]
fn what_is_read_may_be_sent_again_and_no_more() {
    let mut end = End::server();
    end.read(&frame(HEADERS, WHOLE, 1, &block(&POST))).expect("a stream");
    for _ in 0..4 {
        end.read(&frame(DATA, 0, 1, &[0; 16_384])).expect("data");
    }
    assert_eq!(end.written(), vec![]);
    end.connection.release(StreamId(1), 32_767);
    assert_eq!(end.written(), vec![]);
    end.connection.release(StreamId(1), 1);
    assert_eq!(end.written(), vec![(WINDOW, 0, 1, 32_768u32.to_be_bytes().to_vec())]);
    end.read(&frame(DATA, 0, 1, &[0; 16_384])).expect("data");
    end.read(&frame(DATA, 0, 1, &[0; 16_384])).expect("data");
    let over = Event::Failed { stream: StreamId(1), fault: StreamFault::WindowExceeded };
    assert_eq!(end.read(&frame(DATA, 0, 1, &[0; 1])), Ok(vec![over]));
}

#[test]
fn all_streams_together_may_not_send_more_than_the_connection_has() {
    let mut end = End::server();
    for stream in (1..).step_by(2).take(16) {
        end.read(&frame(HEADERS, WHOLE, stream, &block(&POST))).expect("a stream");
        (0..4).for_each(|_| drop(end.read(&frame(DATA, 0, stream, &[0; 16_384])).expect("data")));
    }
    let more = [frame(HEADERS, WHOLE, 33, &block(&POST)), frame(DATA, 0, 33, &[0; 1])].concat();
    assert_eq!(end.read(&more).map_err(|fatal| fatal.reason), Err(Reason::WindowExceeded));
}

#[test]
fn padding_is_given_back_at_once_and_hands_out_nothing() {
    let mut end = End::server();
    end.read(&frame(HEADERS, WHOLE, 1, &block(&POST))).expect("a stream");
    let padded = [&[200, b'x'], [0; 200].as_slice()].concat();
    let mut events = Vec::new();
    for _ in 0..200 {
        events.extend(end.read(&frame(DATA, PADDED, 1, &padded)).expect("data"));
    }
    assert_eq!(end.data, [b'x'; 200]);
    assert_eq!(events.len(), 200);
    assert!(end.written().iter().any(|f| (f.0, f.2) == (WINDOW, 1)));
}

#[test]
fn a_client_opens_as_many_streams_as_the_server_takes() {
    let mut end = End::client();
    end.read(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 2])).expect("settings");
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut open = || end.connection.open(head, true);
    assert_eq!((open(), open(), open()), (Ok(StreamId(1)), Ok(StreamId(3)), Err(NoStream::AtLimit)));
    end.connection.reset(StreamId(1), Code::CANCEL);
    assert_eq!(end.connection.open(head, true), Ok(StreamId(5)));
    assert_eq!(end.connection.open(b"GET / HTTP/1.1\r\n\r\n", true), Err(NoStream::AtLimit));
}

#[test]
fn a_server_that_goes_away_takes_what_it_says_and_the_rest_is_unprocessed() {
    let mut end = End::client();
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..3 {
        end.connection.open(head, true).expect("a stream");
    }
    let last = StreamId(3);
    let away = frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(end.read(&away), Ok(vec![Event::GoAway { last, code: Code::NO_ERROR }]));
    assert_eq!(end.connection.active(), 2);
    assert_eq!(end.connection.open(head, true), Err(NoStream::GoingAway));
    let reset = |code: u32| frame(RESET, 0, 3, &code.to_be_bytes());
    let refused = Event::Reset { stream: last, code: Code::REFUSED_STREAM, processed: false };
    assert_eq!(end.read(&reset(7)), Ok(vec![refused]));
    assert!(end.connection.is_closing() && !end.connection.is_idle());
}

#[test]
fn a_server_says_goodbye_twice_and_serves_what_was_under_way() {
    let mut end = End::server();
    end.read(&asked(1)).expect("a stream");
    end.connection.shutdown();
    end.connection.shutdown();
    let said = end.written();
    assert_eq!((said.len(), &said[0]), (2, &goaway(0x7fff_ffff)));
    assert!(!end.connection.is_closing());
    assert_eq!(end.read(&asked(3)).map(|events| events.len()), Ok(1));
    end.read(&frame(PING, ACK, 0, b"another.")).expect("a ping");
    assert_eq!(end.written(), vec![]);
    end.read(&frame(PING, ACK, 0, &said[1].3)).expect("a ping");
    assert_eq!(end.written(), vec![goaway(3)]);
    assert!(end.connection.is_closing());
    assert_eq!(end.read(&asked(5)), Ok(vec![Event::Refused { stream: StreamId(5) }]));
    end.connection.send_head(StreamId(1), ANSWER, true);
    end.connection.send_head(StreamId(3), ANSWER, true);
    assert!(end.connection.is_idle());
}

#[test]
fn a_block_longer_than_a_frame_is_continued() {
    let mut end = End::server();
    end.read(&asked(1)).expect("a stream");
    let value = "v".repeat(10_000);
    let head = format!("HTTP/1.1 200 OK\r\nA: {value}\r\nB: {value}\r\nC: {value}\r\nD: {value}\r\n\r\n");
    end.connection.send_head(StreamId(1), head.as_bytes(), true);
    let frames: Vec<_> = end.written().iter().map(|f| (f.0, f.1, f.3.len())).collect();
    assert_eq!(frames[..2], [(HEADERS, END, 16_384), (CONTINUATION, 0, 16_384)]);
    assert_eq!((frames.len(), frames[2].1), (3, WHOLE));
}

#[test]
fn grpc_hears_that_trailers_are_understood() {
    let (mut client, mut server) = (End::client(), End::server());
    let head = b"POST /s/m HTTP/1.1\r\nHost: a\r\ncontent-type: application/grpc\r\nTE: trailers\r\n\r\n";
    for _ in 0..3 {
        client.connection.open(head, true).expect("a stream");
        server.read(client.connection.pending()).expect("a request");
        client.written();
        let text = server.texts.pop().unwrap_or_default();
        assert_eq!(text, "POST /s/m HTTP/1.1\r\nHost: a\r\ncontent-type: application/grpc\r\nte: trailers\r\n\r\n");
    }
}

/// Moves all that is pending from one end to the other, in pieces of `piece` bytes.
fn carry(from: &mut End, to: &mut End, piece: usize) -> Vec<Event> {
    let bytes = from.connection.pending().to_vec();
    from.connection.sent(bytes.len());
    bytes.chunks(piece).flat_map(|piece| to.read(piece).expect("the ends understand each other")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// However the bytes are cut, the same arrives: a request with a body and trailers, and its answer.
    #[test]
    fn any_split_of_the_bytes_gives_the_same(piece in 1usize..40, length in 0usize..3000, pad in 0u8..5) {
        let (mut client, mut server) = (End::new(Role::Client), End::new(Role::Server));
        let body: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let head = format!("PUT /{pad} HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "b".repeat(usize::from(pad)));
        let stream = client.connection.open(head.as_bytes(), false).expect("a stream");
        prop_assert_eq!(client.connection.send_data(stream, &body, false), length);
        client.connection.send_trailers(stream, b"T: u\r\n");
        carry(&mut client, &mut server, piece);
        prop_assert_eq!(&server.data, &body);
        prop_assert_eq!(server.texts.last().map(String::as_str), Some("t: u\r\n"));

        server.connection.send_head(stream, ANSWER, false);
        prop_assert_eq!(server.connection.send_data(stream, b"hello", true), 5);
        let events = carry(&mut server, &mut client, piece);
        let ended = matches!(events.last(), Some(Event::Data { end: true, .. }));
        prop_assert!(ended);
        prop_assert_eq!(client.data, b"hello");
        prop_assert_eq!(&client.texts, &["HTTP/1.1 200\r\ncontent-length: 5\r\n\r\n"]);
        prop_assert!(client.connection.is_idle() && server.connection.is_idle());
    }
}
