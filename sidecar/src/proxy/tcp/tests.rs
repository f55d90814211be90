//! How a connection ends when nobody reads from one of its sides. Real sockets: what is known of a reset is the kernel's.

use super::*;
use crate::stream::reset;
use crate::worker::Shared;
use std::cell::Cell;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const SILENCE: Duration = Duration::from_secs(300);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection through the proxy as all four ends of its two sockets see it.
struct Through {
    client: TcpStream,
    from_client: TcpStream,
    to_server: TcpStream,
    server: TcpStream,
}

fn sockets<'a>(client: &'a TcpStream, upstream: &'a TcpStream) -> (End<'a>, End<'a>) {
    (End::Socket(client), End::Socket(upstream))
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().expect("an address")), listener.accept());
    (near.expect("connects"), far.expect("a connection").0)
}

/// Runs a test on a worker whose clock stands still until nothing else happens. The kernel's word on a socket may come late on a
/// busy machine, which looks like that: so not for tests that leave much to it.
fn on_worker(test: impl AsyncFnOnce(Worker, Through)) {
    run(async |worker, through| {
        tokio::time::pause();
        test(worker, through).await;
    });
}

/// The same in real time, where nothing is to be waited for; a test that hangs fails.
fn in_real_time(test: impl AsyncFnOnce(Worker, Through)) {
    run(async |worker, through| tokio::time::timeout(PATIENCE, test(worker, through)).await.expect("the test hangs"));
}

fn run(test: impl AsyncFnOnce(Worker, Through)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(async {
        let shared = Shared { table: Arc::default(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
        let ((client, from_client), (to_server, server)) = (pair().await, pair().await);
        test(Worker::new(0, shared, 7), Through { client, from_client, to_server, server }).await;
    });
}

/// Waits without letting a clock that stands still move on.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// Writes until the other way takes no more, and the kernel doesn't either.
async fn fill(client: &TcpStream, flows: &Flows) {
    let mut blocked = 0;
    while blocked < 1000 {
        let _ = client.try_write(&[0; 65536]);
        tokio::task::yield_now().await;
        blocked = if flows.up.is_blocked.get() { blocked + 1 } else { 0 };
    }
}

#[test]
fn after_its_end_a_client_that_resets_ends_the_connection_at_once() {
    on_worker(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let (flows, start) = (Flows::default(), Instant::now());
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let resetting = async {
            client.shutdown().await.expect("ends its side");
            assert_eq!(server.read(&mut [0]).await.expect("the end passes"), 0);
            reset(&client);
            drop(client);
        };
        let (end, ()) = tokio::join!(serving, resetting);
        assert_eq!(end, Err(Flag::Cancelled));
        assert!(start.elapsed() < SILENCE, "{:?}", start.elapsed());
    });
}

#[test]
fn a_client_that_resets_under_back_pressure_ends_the_connection_at_once() {
    in_real_time(async |worker, Through { client, from_client, to_server, server: _server }| {
        let flows = Flows::default();
        let resetting = async {
            fill(&client, &flows).await;
            reset(&client);
            drop(client);
        };
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let (end, ()) = tokio::join!(serving, resetting);
        assert_eq!(end, Err(Flag::Cancelled));
    });
}

#[test]
fn whoever_resets_an_open_connection_is_named() {
    for (client_resets, flag) in [(true, Flag::Cancelled), (false, Flag::UpstreamReset)] {
        in_real_time(async |worker, Through { client, from_client, to_server, server }| {
            let flows = Flows::default();
            let (resets, _stays) = if client_resets { (client, server) } else { (server, client) };
            reset(&resets);
            drop(resets);
            let end = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {}).await;
            assert_eq!(end, Err(flag));
        });
    }
}

#[test]
fn once_one_way_has_ended_five_minutes_of_silence_end_the_other_and_bytes_put_that_off() {
    on_worker(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let (flows, start) = (Flows::default(), Instant::now());
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let talking = async {
            client.shutdown().await.expect("ends its side");
            tokio::time::sleep(SILENCE / 2).await;
            server.write_all(b"x").await.expect("is taken");
            assert_eq!(client.read_u8().await.expect("passes"), b'x');
        };
        let (end, ()) = tokio::join!(serving, talking);
        assert_eq!(end, Err(Flag::UpstreamTimeout));
        let took = start.elapsed();
        assert!(took >= SILENCE * 3 / 2 && took < SILENCE * 3 / 2 + Duration::from_secs(2), "{took:?}");
    });
}

#[test]
fn an_answer_is_timed_from_the_last_byte_of_the_client_whatever_its_silence_before() {
    on_worker(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let (flows, heard): (Flows, Cell<_>) = Default::default();
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |first| {
            heard.set(Some((first, flows.up.silent_for())))
        });
        let talking = async {
            tokio::time::sleep(SILENCE / 2).await;
            client.write_all(b"?").await.expect("is taken");
            assert_eq!(server.read_u8().await.expect("passes"), b'?');
            tokio::time::sleep(Duration::from_secs(2)).await;
            server.write_all(b"!").await.expect("is taken");
            assert_eq!(client.read_u8().await.expect("passes"), b'!');
            let Some((First::Byte, Some(took))) = heard.get() else { panic!("{:?}", heard.get()) };
            assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&took), "{took:?}");
            drop((client, server));
        };
        let (end, ()) = tokio::join!(serving, talking);
        assert_eq!(end, Ok(()));
    });
}

/// What is heard of a connection whose client says `?`, and whose sides then end in this order.
fn heard_at_the_end(client_first: bool) -> Option<First> {
    let heard: Rc<Cell<Option<First>>> = Rc::default();
    let said = heard.clone();
    on_worker(async move |worker, Through { mut client, from_client, to_server, mut server }| {
        let flows = Flows::default();
        let serving =
            relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |first| said.set(Some(first)));
        let ending = async {
            client.write_all(b"?").await.expect("is taken");
            assert_eq!(server.read_u8().await.expect("passes"), b'?');
            let (first, last) = if client_first { (&mut client, &mut server) } else { (&mut server, &mut client) };
            first.shutdown().await.expect("ends its side");
            assert_eq!(last.read(&mut [0]).await.expect("the end passes"), 0);
            last.shutdown().await.expect("ends its side");
        };
        let (end, ()) = tokio::join!(serving, ending);
        assert_eq!(end, Ok(()));
    });
    heard.get()
}

#[test]
fn an_end_instead_of_an_answer_is_told_unless_the_client_has_ended_before() {
    assert_eq!(heard_at_the_end(false), Some(First::End));
    assert_eq!(heard_at_the_end(true), None, "who only takes in is no failure");
}

#[test]
fn nothing_either_way_for_the_idle_time_ends_the_connection_and_bytes_put_that_off() {
    on_worker(async |worker, Through { client, from_client, to_server, mut server }| {
        let (flows, start) = (Flows::default(), Instant::now());
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let talking = async {
            tokio::time::sleep(SILENCE / 2).await;
            server.write_all(b"x").await.expect("is taken");
            until(|| client.try_read(&mut [0]).is_ok()).await;
        };
        let (end, ()) = tokio::join!(serving, talking);
        assert_eq!(end, Err(Flag::StreamIdle));
        let took = start.elapsed();
        assert!(took >= SILENCE * 3 / 2 && took < SILENCE * 3 / 2 + Duration::from_secs(2), "{took:?}");
    });
}

#[test]
fn who_takes_nothing_for_the_idle_time_is_named() {
    on_worker(async |worker, Through { client, from_client, to_server, server: _server }| {
        let flows = Flows::default();
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let (end, ()) = tokio::join!(serving, fill(&client, &flows));
        assert_eq!(end, Err(Flag::UpstreamTimeout));
    });
}

/// Bytes that tell where they stand.
fn pattern(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

const BULK: usize = 8 << 20;

/// Sends bulk both ways at once, ends both sides, and says whether all came through; a write or two may be small on the way.
async fn exchange_bulk(client: &mut TcpStream, server: &mut TcpStream) {
    let (up, down) = (pattern(BULK, 1), pattern(BULK + 1, 2));
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let sent = tokio::join!(
        async {
            to_client.write_all(&up).await.expect("is taken");
            to_client.shutdown().await.expect("ends");
        },
        async {
            to_server.write_all(&down).await.expect("is taken");
            to_server.shutdown().await.expect("ends");
        },
        async { from_server.read_to_end(&mut at_server).await.expect("all passes") },
        async { from_client.read_to_end(&mut at_client).await.expect("all passes") },
    );
    assert_eq!((sent.2, sent.3), (BULK, BULK + 1));
    assert!(at_server == up && at_client == down, "other bytes than were sent");
}

#[test]
fn bulk_passes_whole_through_pipes_that_are_given_back() {
    in_real_time(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let flows = Flows::default();
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let (end, ()) = tokio::join!(serving, exchange_bulk(&mut client, &mut server));
        assert_eq!((end, flows.up.moved.get(), flows.down.moved.get()), (Ok(()), BULK as u64, BULK as u64 + 1));
        let (in_use, free) = worker.pipes().count();
        assert!(in_use == 0 && (1..=2).contains(&free), "{in_use} in use, {free} free");
    });
}

#[test]
fn bulk_that_comes_in_pieces_smaller_than_a_buffer_goes_through_a_pipe_too() {
    in_real_time(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let flows = Flows::default();
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let moving = async {
            let mut piece = pattern(16 << 10, 4);
            for _ in 0..8 {
                client.write_all(&piece).await.expect("is taken");
                server.read_exact(&mut piece).await.expect("passes");
            }
            until(|| worker.pipes().count() == (0, 1)).await;
        };
        tokio::select! {
            end = serving => panic!("ended: {end:?}"),
            () = moving => {}
        }
    });
}

#[test]
fn without_a_free_pipe_bulk_is_copied() {
    in_real_time(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let taken: Vec<_> = std::iter::from_fn(|| worker.pipes().take()).collect();
        let flows = Flows::default();
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let (end, ()) = tokio::join!(serving, exchange_bulk(&mut client, &mut server));
        assert_eq!((end, worker.pipes().count()), (Ok(()), (taken.len(), 0)));
    });
}

#[test]
fn bulk_passes_whole_where_bytes_are_not_those_of_a_socket() {
    in_real_time(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let (mut from_client, mut to_server) = (Stream::from(from_client), Stream::from(to_server));
        let flows = Flows::default();
        let ends = (End::Layered(&mut from_client), End::Layered(&mut to_server));
        let serving = relay(&worker, ends, &flows, Patience::Always(SILENCE), |_| {});
        let (end, ()) = tokio::join!(serving, exchange_bulk(&mut client, &mut server));
        assert_eq!((end, worker.pipes().count()), (Ok(()), (0, 0)));
    });
}

#[test]
fn a_connection_that_waits_holds_no_pipe_whatever_it_has_moved() {
    in_real_time(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let flows = Flows::default();
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let moving = async {
            let sent = pattern(BULK, 3);
            let mut received = vec![0; BULK];
            for _ in 0..2 {
                let (mut from_server, _) = server.split();
                let (sent, read) = tokio::join!(client.write_all(&sent), from_server.read_exact(&mut received));
                assert!(sent.is_ok() && read.is_ok());
                until(|| worker.pipes().count() == (0, 1)).await;
            }
        };
        tokio::select! {
            end = serving => panic!("ended: {end:?}"),
            () = moving => {}
        }
    });
}

#[test]
fn bytes_left_in_a_pipe_go_with_their_connection() {
    in_real_time(async |worker, Through { client, from_client, to_server, server }| {
        let flows = Flows::default();
        let resetting = async {
            fill(&client, &flows).await;
            // This is about a pipe; where the last piece was small there is none.
            while worker.pipes().count() != (1, 0) {
                let _ = server.try_read(&mut vec![0; BULK]);
                fill(&client, &flows).await;
            }
            reset(&client);
            drop(client);
        };
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let (end, ()) = tokio::join!(serving, resetting);
        assert_eq!((end, worker.pipes().count()), (Err(Flag::Cancelled), (0, 0)));
    });
}

#[test]
fn a_reset_in_the_midst_of_bulk_is_the_end_of_it() {
    in_real_time(async |worker, Through { client, from_client, to_server, mut server }| {
        let flows = Flows::default();
        let serving = relay(&worker, sockets(&from_client, &to_server), &flows, Patience::Always(SILENCE), |_| {});
        let talking = async {
            let mut read = vec![0; 65536];
            while flows.up.moved.get() < BULK as u64 {
                let _ = client.try_write(&[0; 65536]);
                let _ = tokio::time::timeout(Duration::from_millis(1), server.read(&mut read)).await;
            }
            reset(&server);
            drop(server);
        };
        let (end, ()) = tokio::join!(serving, talking);
        assert_eq!((end, worker.pipes().count().0), (Err(Flag::UpstreamReset), 0));
    });
}

/// What the kernel is asked for; that it does so takes half a minute without a network.
#[tokio::test]
async fn a_watched_socket_neither_waits_for_words_nor_for_acknowledgements_for_long() {
    let (near, _far) = pair().await;
    let near = Stream::Plain(near);
    watch_for_silence(&near);
    let socket = SockRef::from(near.socket().expect("a socket"));
    assert!(socket.keepalive().expect("an option"));
    assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(30)));
}
