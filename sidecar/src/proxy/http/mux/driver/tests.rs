//! What a connection holds, and that nothing of what has come is forgotten.

use super::*;
use crate::http2::{Connection, Limits, PREFACE, Scheme};
use std::net::Ipv4Addr;
use std::task::Waker;
use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

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

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(test);
}

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (client, socket) = (client.expect("connects"), accepted.expect("a connection").0);
    socket.writable().await.expect("is connected");
    (client, socket)
}

fn server() -> Rc<Shared> {
    Shared::new(Connection::server(&Limits::default(), Instant::now()), true)
}

/// The streams that a connection accepts while it is driven, and how it ends.
fn drive(shared: &Rc<Shared>, socket: TcpStream) -> (UnboundedReceiver<Stream>, JoinHandle<Over>) {
    let (sender, accepted) = unbounded_channel();
    let mut driver = Driver::new(shared.clone(), socket.into(), Input::default());
    let over = tokio::task::spawn_local(async move {
        let buffers = Buffers::default();
        poll_fn(|cx| driver.poll(cx, &buffers, &mut |stream| drop(sender.send(stream)))).await
    });
    (accepted, over)
}

/// Answers until as much waits as may, but for less than the answer to a ping.
async fn fill(shared: &Shared, stream: &mut Stream) {
    stream.send_head(b"HTTP/1.1 200\r\n\r\n", false);
    let pending = || crate::proxy::http::mux::engine(shared).pending().len();
    for _ in 0..100 {
        let missing = HIGH_WATER.saturating_sub(pending() + 4 * 9);
        if missing > 0 {
            let written = poll_fn(|cx| stream.poll_write(cx, &[b'x'; HIGH_WATER][..missing])).await;
            assert!(written.is_ok());
        }
        tokio::task::yield_now().await;
    }
    assert!((HIGH_WATER - 40..=HIGH_WATER).contains(&pending()), "{} wait", pending());
}

/// A server's connection whose client has asked once and doesn't read: as much waits as may, but for less than the answer to a ping.
struct Clogged {
    client: TcpStream,
    shared: Rc<Shared>,
    accepted: UnboundedReceiver<Stream>,
    over: JoinHandle<Over>,
    stream: Stream,
}

impl Clogged {
    async fn start() -> Self {
        let (client, socket) = pair().await;
        while socket.try_write(&[0; 64 * 1024]).is_ok() {}
        let hello = [PREFACE.as_slice(), &SETTINGS, &update(0), &REQUEST, &update(1)].concat();
        assert_eq!(client.try_write(&hello).ok(), Some(hello.len()));
        let shared = server();
        let (mut accepted, over) = drive(&shared, socket);
        let mut stream = accepted.recv().await.expect("a stream");
        fill(&shared, &mut stream).await;
        Self { client, shared, accepted, over, stream }
    }

    /// Has the client send frames, the answers to which are more than may wait.
    async fn flood(&self, frames: &[u8]) {
        assert_eq!(self.client.try_write(frames).ok(), Some(frames.len()));
        while crate::proxy::http::mux::engine(&self.shared).pending().len() <= HIGH_WATER {
            tokio::task::yield_now().await;
        }
    }
}

/// Ends a connection so that the other end's writes fail.
fn break_off(client: TcpStream) {
    client.set_zero_linger().expect("is set");
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
    run(async {
        let mut clogged = Clogged::start().await;
        clogged.flood(&[&PING[..], &PING, &PING, &PING, &RESET].concat()).await;
        let Clogged { client, stream, .. } = &mut clogged;
        client.readable().await.expect("something has come");
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..1_000 {
            let _ = std::io::Read::read(&mut &*socket2::SockRef::from(&*client), &mut buffer);
        }
        let gone = tokio::time::timeout(Duration::from_secs(10), poll_fn(|cx| stream.poll_gone(cx)));
        assert!(gone.await.is_ok(), "the reset was never seen");
    });
}

/// More waited than may, and frames were left for that; then the connection broke. What nobody will read waits no more, and what
/// has come is taken, whether or not there is something `unread` in the socket, too.
async fn break_while_clogged(unread: &[u8]) -> (Over, Option<Stream>) {
    let clogged = Clogged::start().await;
    let mut late = REQUEST;
    late[8] = 3;
    clogged.flood(&[&PING.repeat(100)[..], &late].concat()).await;
    let Clogged { client, mut accepted, over, stream: _stream, .. } = clogged;
    assert_eq!(client.try_write(unread).ok(), Some(unread.len()));
    break_off(client);
    (over.await.expect("no panic"), accepted.recv().await)
}

#[test]
fn a_connection_that_breaks_while_it_is_clogged_is_over() {
    for unread in [&PING[..], &[]] {
        // A thread of its own: what doesn't end can't be stopped.
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            run(async {
                let (over, late) = break_while_clogged(unread).await;
                done.send((over, late.is_some())).expect("is waited for");
            });
        });
        assert_eq!(is_done.recv_timeout(Duration::from_secs(20)), Ok((Over::Gone, true)), "and the last request was taken");
    }
}

#[test]
fn an_answer_that_came_before_the_connection_broke_is_delivered() {
    run(async {
        let (server, socket) = pair().await;
        let shared = Shared::new(Connection::client(&Limits::default(), Scheme::Http, Instant::now()), false);
        let mut stream = Stream::unopened(shared.clone());
        stream.send_head(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", false);
        let answer = [&SETTINGS[..], &ANSWER].concat();
        assert_eq!(server.try_write(&answer).ok(), Some(answer.len()));
        break_off(server);
        socket.ready(Interest::ERROR).await.expect("the reset has come");
        let (_, over) = drive(&shared, socket);
        let mut room = [0; 64];
        let mut buffer = ReadBuf::new(&mut room);
        let read = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await;
        assert!(read.is_ok() && buffer.filled().starts_with(b"HTTP/1.1 200"), "{read:?}");
        assert_eq!(over.await.ok(), Some(Over::Gone));
    });
}

#[test]
fn a_client_that_says_goodbye_still_gets_its_answers() {
    const ANSWERED: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
    const GOODBYE: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    run(async {
        let (client, socket) = pair().await;
        let hello = [PREFACE.as_slice(), &SETTINGS, &REQUEST, &GOODBYE].concat();
        assert_eq!(client.try_write(&hello).ok(), Some(hello.len()));
        let shared = server();
        let (mut accepted, over) = drive(&shared, socket);
        let mut stream = accepted.recv().await.expect("a stream");
        assert!(!stream.is_cut_off());
        stream.send_head(b"HTTP/1.1 200\r\n\r\n", true);
        drop(stream);
        let mut read = Vec::new();
        while !read.windows(ANSWERED.len()).any(|bytes| bytes == ANSWERED) {
            client.readable().await.expect("a connection");
            let _ = client.try_read_buf(&mut read);
        }
        over.abort();
    });
}
