//! What a connection holds, and that nothing of what has come is forgotten.

use super::*;
use crate::http2::{Connection, Limits, PREFACE, Scheme};
use std::net::Ipv4Addr;
use std::task::Waker;
use tokio::io::ReadBuf;
use tokio::net::{TcpListener, TcpStream};

/// SETTINGS, and HEADERS of an answer (200) or of a request (GET http://a/) on the first stream.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const ANSWER: [u8; 10] = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
const REQUEST: [u8; 15] = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'a'];
const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const RESET: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];

/// A megabyte more for this stream.
fn update(stream: u8) -> [u8; 13] {
    [0, 0, 4, 8, 0, 0, 0, 0, stream, 0, 0x10, 0, 0]
}

#[test]
fn a_reader_that_is_always_behind_holds_no_more_than_its_window() {
    const PIECE: usize = 16 * 1024;
    let shared = Shared::new(Connection::client(&Limits::default(), Scheme::Http, Instant::now()), false);
    let mut stream = Stream::unopened(shared.clone());
    stream.send_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    let receive = |mut bytes: &[u8]| {
        let state = &mut *shared.0.borrow_mut();
        while !bytes.is_empty() {
            let step = state.engine.advance(bytes, Instant::now()).expect("keeps to the rules");
            state.take(&step.event, bytes);
            bytes = &bytes[step.consumed..];
        }
        let pending = state.engine.pending().len();
        state.engine.sent(pending);
    };
    let held = || shared.0.borrow().slots.values().map(|slot| slot.received.capacity()).sum::<usize>();
    receive(&[&SETTINGS[..], &ANSWER].concat());
    let mut expected: u8 = 0;
    let mut left_of_head = b"HTTP/1.1 200\r\n\r\n".len();
    for count in 0..500_u32 {
        receive(&[&[0, 0x40, 0, 0, 0, 0, 0, 0, 1][..], &[count as u8; PIECE]].concat());
        if count == 0 {
            continue;
        }
        let mut room = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut room);
        assert!(stream.poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer).is_ready());
        let of_head = std::mem::take(&mut left_of_head);
        assert_eq!(buffer.filled().last(), Some(&expected), "after {of_head} bytes of the head");
        expected = expected.wrapping_add(1);
        assert!(held() <= 4 * 64 * 1024, "{} bytes after {count} pieces", held());
    }
    // What is left has its turn, and then nothing is held.
    let mut room = vec![0; 8 * PIECE];
    assert!(stream.poll_read(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut room)).is_ready());
    assert!(held() <= 4096, "{} bytes while it waits", held());
}

/// The last of what came was left because too much waited to be written. Then all of that leaves at once, and nothing else comes.
#[test]
fn what_was_left_while_the_peer_did_not_read_is_taken_once_it_has() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, socket) = (client.expect("connects"), accepted.expect("a connection").0);
        socket.writable().await.expect("is connected");
        while socket.try_write(&[0; 64 * 1024]).is_ok() {}
        let hello = [PREFACE.as_slice(), &SETTINGS, &update(0), &REQUEST, &update(1)].concat();
        assert_eq!(client.try_write(&hello).ok(), Some(hello.len()));
        let shared = Shared::new(Connection::server(&Limits::default(), Instant::now()), true);
        let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
        let driver_shared = shared.clone();
        tokio::task::spawn_local(async move {
            let mut driver = Driver::new(driver_shared, socket.into(), Input::default());
            let buffers = Buffers::default();
            poll_fn(|cx| driver.poll(cx, &buffers, &mut |stream| drop(sender.send(stream)))).await
        });
        let mut stream = accepted.recv().await.expect("a stream");
        stream.send_head(b"HTTP/1.1 200\r\n\r\n", false);
        let pending = || crate::proxy::http::mux::engine(&shared).pending().len();
        // As much waits as may, but for less than the answer to a ping.
        for _ in 0..100 {
            let missing = HIGH_WATER.saturating_sub(pending() + 4 * 9);
            if missing > 0 {
                let written = poll_fn(|cx| stream.poll_write(cx, &[b'x'; HIGH_WATER][..missing])).await;
                assert!(written.is_ok());
            }
            tokio::task::yield_now().await;
        }
        assert!((HIGH_WATER - 40..=HIGH_WATER).contains(&pending()), "{} wait", pending());
        let frames = [&PING[..], &PING, &PING, &PING, &RESET].concat();
        assert_eq!(client.try_write(&frames).ok(), Some(frames.len()));
        while pending() <= HIGH_WATER {
            tokio::task::yield_now().await;
        }
        client.readable().await.expect("something has come");
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..1_000 {
            let _ = std::io::Read::read(&mut &*socket2::SockRef::from(&client), &mut buffer);
        }
        let gone = tokio::time::timeout(Duration::from_secs(10), poll_fn(|cx| stream.poll_gone(cx)));
        assert!(gone.await.is_ok(), "the reset was never seen");
    });
}
