//! Nothing grows with what a peer does, and what is cheap to send ends the connection before it is dear to answer.

use super::*;
use crate::http2::fuzz;
use proptest::prelude::*;
use std::time::Duration;

/// Reads `frame` over and over; how often it took, and how it ended.
fn flood(end: &mut End, mut frame: impl FnMut(u32) -> Vec<u8>) -> (u32, Reason) {
    for count in 0..100_000 {
        if let Err(fatal) = end.read(&frame(count)) {
            assert_eq!(fatal.code, Code::ENHANCE_YOUR_CALM);
            return (count, fatal.reason);
        }
        let pending = end.connection.pending().len();
        end.connection.sent(pending);
        end.texts.clear();
    }
    panic!("a flood without an end");
}

/// The frames of one turn of a flood.
type Flood = Box<dyn FnMut(u32) -> Vec<u8>>;

fn opened(count: u32) -> u32 {
    count * 2 + 1
}

#[test]
fn floods_of_frames_end_the_connection_by_their_names() {
    let head = |count| frame(HEADERS, WHOLE, opened(count), &block(&POST));
    let floods: Vec<(Reason, Flood)> = vec![
        (Reason::ResetFlood, Box::new(move |n| [head(n), frame(RESET, 0, opened(n), &[0, 0, 0, 8])].concat())),
        (Reason::FaultFlood, Box::new(move |n| [head(n), frame(WINDOW, 0, opened(n), &[0; 4])].concat())),
        (Reason::FaultFlood, Box::new(move |n| frame(HEADERS, WHOLE, opened(n), &block(&[("no", "head")])))),
        (Reason::FaultFlood, Box::new(move |n| frame(HEADERS, WHOLE, opened(n), &block(&POST)))),
        (Reason::PingFlood, Box::new(|_| frame(PING, 0, 0, &[0; 8]))),
        (Reason::SettingsFlood, Box::new(|_| frame(SETTINGS, 0, 0, &[]))),
        (Reason::PriorityFlood, Box::new(|_| frame(PRIORITY, 0, 3, &[0; 5]))),
        (Reason::WindowFlood, Box::new(|_| frame(WINDOW, 0, 0, &[0, 0, 0, 1]))),
        (Reason::UnknownFlood, Box::new(|_| frame(99, 0, 0, &[0; 5]))),
        (Reason::EmptyFlood, Box::new(move |n| if n == 0 { head(0) } else { frame(DATA, 0, 1, b"") })),
        (Reason::EmptyFlood, Box::new(move |n| if n == 0 { head(0) } else { frame(DATA, PADDED, 1, &[2, 0, 0]) })),
        (
            Reason::ContinuationFlood,
            Box::new(|n| if n == 0 { frame(HEADERS, 0, 1, b"") } else { frame(CONTINUATION, 0, 1, &[0x82]) }),
        ),
        (
            Reason::ContinuationFlood,
            Box::new(|n| if n == 0 { frame(HEADERS, 0, 1, b"") } else { frame(CONTINUATION, 0, 1, &[0x82; 16_000]) }),
        ),
    ];
    for (reason, next) in floods {
        let (count, ended) = flood(&mut End::server(), next);
        assert_eq!(ended, reason);
        assert!(count <= 1100, "{reason:?} after {count}");
    }
}

#[test]
fn a_client_that_resets_now_and_then_is_served_on() {
    let mut end = End::server();
    for count in 0..5000 {
        let id = opened(count);
        let frames = [frame(HEADERS, WHOLE, id, &block(&POST)), frame(RESET, 0, id, &[0, 0, 0, 8])].concat();
        assert!(end.read(&frames).is_ok());
        end.now += Duration::from_millis(12);
    }
}

#[test]
fn pings_and_window_updates_that_data_gives_cause_for_are_no_flood() {
    let mut end = End::server();
    end.read(&frame(HEADERS, WHOLE | END, 1, &block(&GET))).expect("a stream");
    end.connection.send_head(StreamId(1), b"HTTP/1.1 200 OK\r\n\r\n", false);
    for _ in 0..10_000 {
        assert_eq!(end.connection.send_data(StreamId(1), b"x", false), 1);
        let update = |stream| frame(WINDOW, 0, stream, &[0, 0, 0, 1]);
        let frames = [frame(PING, 0, 0, &[0; 8]), update(0), update(1)].concat();
        assert!(end.read(&frames).is_ok());
        end.written();
    }
}

#[test]
fn streams_beyond_the_limit_are_refused_as_unprocessed() {
    let mut end = End::server();
    for count in 0..100 {
        let events = end.read(&frame(HEADERS, WHOLE, opened(count), &block(&POST)));
        assert!(matches!(events.as_deref(), Ok([Event::Head { .. }])));
    }
    let stream = StreamId(opened(100));
    assert_eq!(end.read(&frame(HEADERS, WHOLE, stream.0, &block(&POST))), Ok(vec![Event::Refused { stream }]));
    assert_eq!(end.written().pop(), Some((RESET, 0, stream.0, vec![0, 0, 0, 7])));
    assert_eq!(end.connection.active(), 100);
}

/// A block that fills the table with one long line, and names it so many times.
fn bomb(names: usize) -> Vec<u8> {
    let mut bomb = [block(&GET).as_slice(), &[0x40, 1, b'x']].concat();
    crate::http2::hpack::write_string(&mut bomb, &[b'v'; 3900]);
    bomb.resize(bomb.len() + names, 0x80 | 62);
    bomb
}

/// Once over the bound, nothing is copied any more.
#[test]
fn a_small_block_does_not_become_a_large_head() {
    let mut end = End::server();
    let stream = StreamId(1);
    assert_eq!(end.read(&frame(HEADERS, WHOLE | END, 1, &bomb(12_000))), Ok(vec![Event::HeadTooLarge { stream, end: true }]));
    assert!(end.connection.text().len() <= crate::http1::MAX_HEAD);
}

/// Each of them is answered with a 431, but not without end.
#[test]
fn a_client_that_goes_on_sending_heads_that_are_too_large_is_cut_off() {
    let mut end = End::server();
    let bomb = bomb(100);
    let count = (0..1000).take_while(|count| end.read(&frame(HEADERS, WHOLE | END, opened(*count), &bomb)).is_ok()).count();
    assert!((5..=20).contains(&count), "{count}");
}

#[test]
fn an_idle_connection_keeps_no_large_buffer() {
    let mut end = End::server();
    let value = "v".repeat(12_000);
    let fields = [GET.as_slice(), &[("a", value.as_str())]].concat();
    end.read(&frame(HEADERS, WHOLE | END, 1, &block(&fields))).expect("a stream");
    assert!(end.connection.held() > 12_000);
    end.connection.send_head(StreamId(1), b"HTTP/1.1 200 OK\r\n\r\n", false);
    end.connection.send_data(StreamId(1), &[0; 60_000], true);
    assert!(end.connection.held() > 60_000);
    end.written();
    assert!(end.connection.is_idle());
    assert!(end.connection.held() < 4096, "{}", end.connection.held());
}

#[test]
fn what_is_remembered_of_ended_streams_is_bounded() {
    let mut end = End::server();
    let mut most = 0;
    for count in 0..5000 {
        let id = opened(count);
        end.read(&frame(HEADERS, WHOLE | END, id, &block(&GET))).expect("a stream");
        end.connection.send_head(StreamId(id), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true);
        end.written();
        most = most.max(end.connection.held());
    }
    assert!(most < 4096, "{most}");
}

/// Far more than is remembered of them: late data on a stream that was reset here resets it once more, and no head can
/// come back.
#[test]
fn a_stream_that_is_forgotten_stays_closed() {
    let mut end = End::server();
    for count in 0..200 {
        end.read(&frame(HEADERS, WHOLE, opened(count), &block(&POST))).expect("a stream");
        end.connection.reset(StreamId(opened(count)), Code::CANCEL);
    }
    end.written();
    let closed = Event::Failed { stream: StreamId(1), fault: StreamFault::StreamClosed };
    assert_eq!(end.read(&frame(DATA, 0, 1, b"x")), Ok(vec![closed]));
    let again = end.read(&frame(HEADERS, WHOLE, 3, &block(&POST)));
    assert_eq!(again.map_err(|fatal| fatal.reason), Err(Reason::StreamId));
}

#[test]
fn what_a_reader_has_taken_that_is_always_behind_is_forgotten() {
    let mut end = End::server();
    end.read(&frame(HEADERS, WHOLE | END, 1, &block(&GET))).expect("a stream");
    end.connection.send_head(StreamId(1), b"HTTP/1.1 200 OK\r\n\r\n", false);
    end.written();
    let mut sent = Vec::new();
    for count in 0..1_000_u32 {
        let update = |stream| frame(WINDOW, 0, stream, &10_000_u32.to_be_bytes());
        end.read(&[update(0), update(1)].concat()).expect("more may be sent");
        assert_eq!(end.connection.send_data(StreamId(1), &[count as u8; 10_000], false), 10_000);
        let taken = end.connection.pending().len().saturating_sub(12_000);
        sent.extend_from_slice(&end.connection.pending()[..taken]);
        end.connection.sent(taken);
        assert!(end.connection.held() < 100_000, "{} bytes after {count} rounds", end.connection.held());
    }
    end.connection.send_data(StreamId(1), &[], true);
    sent.extend_from_slice(end.connection.pending());
    let pieces = (0..1_000_u32).flat_map(|count| frame(DATA, if count == 999 { END } else { 0 }, 1, &[count as u8; 10_000]));
    assert!(sent.into_iter().eq(pieces), "nothing is lost, and the last frame is the end");
}

proptest! {
    #[test]
    fn any_frames_are_read_by_a_server(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz::check_server(&bytes);
    }

    #[test]
    fn any_frames_are_read_by_a_client(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz::check_client(&bytes);
    }

    /// Heads that mostly make sense, of indexed fields and short literals.
    #[test]
    fn any_heads_are_read(
        heads in proptest::collection::vec((0u8..12, 0u8..255, proptest::collection::vec(0u8..80, 0..30)), 0..8),
    ) {
        let frames: Vec<u8> = heads.iter().flat_map(|(stream, flags, fields)| {
            let mut block = vec![0x82, 0x86, 0x84];
            block.extend(fields.iter().flat_map(|field| match field {
                0..70 => vec![0x80 | field],
                70..75 => vec![0x40, 2, b'x', b'a' + field % 5, 2, b'a' + field % 3, b'b'],
                _ => vec![0x40 | 28, 1, b'0' + field % 5],
            }));
            [vec![1, flags & 5, *stream, block.len() as u8], block].concat()
        }).collect();
        fuzz::check_server(&frames);
        fuzz::check_client(&frames);
    }
}
