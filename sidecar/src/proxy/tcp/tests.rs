//! How a connection ends when nobody reads from one of its sides. Real sockets: what is known of a reset is the kernel's.

use super::*;
use crate::worker::Shared;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

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
        let serving = both_ways(&worker, &from_client, &to_server, &flows, || {});
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
        let serving = tokio::time::timeout(SILENCE, both_ways(&worker, &from_client, &to_server, &flows, || {}));
        let (end, ()) = tokio::join!(serving, resetting);
        assert_eq!(end.expect("it doesn't wait for the endpoint"), Err(Flag::Cancelled));
    });
}

#[test]
fn once_one_way_has_ended_five_minutes_of_silence_end_the_other_and_bytes_put_that_off() {
    on_worker(async |worker, Through { mut client, from_client, to_server, mut server }| {
        let (flows, start) = (Default::default(), Instant::now());
        let serving = both_ways(&worker, &from_client, &to_server, &flows, || {});
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
