//! How a connection ends when nobody reads from one of its sides. Real sockets: what is known of a reset is the kernel's.

use super::*;
use crate::worker::Shared;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A connection through the proxy as all four ends of its two sockets see it.
struct Through {
    client: TcpStream,
    from_client: TcpStream,
    to_server: TcpStream,
    server: TcpStream,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().expect("an address")), listener.accept());
    (near.expect("connects"), far.expect("a connection").0)
}

/// Runs a test on a worker whose clock stands still until nothing else happens.
fn on_worker(test: impl AsyncFnOnce(Worker, Through)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(async {
        tokio::time::pause();
        let shared = Shared { table: Arc::default(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
        let ((client, from_client), (to_server, server)) = (pair().await, pair().await);
        test(Worker::new(0, shared, 7), Through { client, from_client, to_server, server }).await;
    });
}

#[test]
fn after_its_end_a_client_that_resets_ends_the_connection_at_once() {
    on_worker(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let (flows, start) = (Default::default(), Instant::now());
        let serving = both_ways(&worker, &from_client, &to_server, &flows, |_| {});
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
    on_worker(async |worker, Through { client, from_client, to_server, server: _server }| {
        let flows: [Flow; 2] = Default::default();
        let resetting = async {
            while !flows[0].is_blocked.get() {
                let _ = client.try_write(&[0; 65536]);
                tokio::task::yield_now().await;
            }
            reset(&client);
            drop(client);
        };
        let serving = tokio::time::timeout(SILENCE, both_ways(&worker, &from_client, &to_server, &flows, |_| {}));
        let (end, ()) = tokio::join!(serving, resetting);
        assert_eq!(end.expect("it doesn't wait for the endpoint"), Err(Flag::Cancelled));
    });
}

#[test]
fn once_one_way_has_ended_five_minutes_of_silence_end_the_other_and_bytes_put_that_off() {
    on_worker(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let (flows, start) = (Default::default(), Instant::now());
        let serving = both_ways(&worker, &from_client, &to_server, &flows, |_| {});
        let talking = async {
            client.shutdown().await.expect("ends its side");
            tokio::time::sleep(SILENCE / 2).await;
            server.write_all(b"x").await.expect("is taken");
            assert_eq!(client.read_u8().await.expect("passes"), b'x');
        };
        let (end, ()) = tokio::join!(serving, talking);
        assert_eq!(end, Err(Flag::UpstreamTimeout));
        let took = start.elapsed();
        assert!(took >= SILENCE * 3 / 2 && took < SILENCE * 3 / 2 + SILENCE / LOOKS * 2, "{took:?}");
    });
}

#[test]
fn an_answer_is_timed_from_the_last_byte_of_the_client_whatever_its_silence_before() {
    on_worker(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let (flows, heard): ([Flow; 2], Cell<_>) = Default::default();
        let serving =
            both_ways(&worker, &from_client, &to_server, &flows, |first| heard.set(Some((first, flows[0].silent_for()))));
        let talking = async {
            tokio::time::sleep(SILENCE * 2).await;
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
        let flows: [Flow; 2] = Default::default();
        let serving = both_ways(&worker, &from_client, &to_server, &flows, |first| said.set(Some(first)));
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
