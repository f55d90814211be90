//! What a stream does once the handshake is done.

use super::*;
use rustls::version::{TLS12, TLS13};
use std::io::ErrorKind;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite, copy};

/// The two ends of one connection: ours at the server's side, the library's own at the client's.
async fn with_library(version: &'static rustls::SupportedProtocolVersion) -> (Box<TlsStream>, Library) {
    let authority = Authority::new();
    let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
    let (near, far) = pair().await;
    let client = authority.client(&[version], &["http/1.1"]);
    let (client, server) = tokio::join!(client.connect(name(), near), server::shake(&acceptor, far));
    (server.expect("a handshake"), client.expect("a handshake"))
}

type Library = tokio_rustls::client::TlsStream<TcpStream>;

/// Both ends ours.
async fn ours() -> (Box<TlsStream>, Box<TlsStream>) {
    let authority = Authority::new();
    let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
    let connector = authority.connector(&authority.upstream(Some(NAME), Verification::Full));
    let (near, far) = pair().await;
    let said = Said::default();
    let (client, server) = tokio::join!(connector.connect(near, Offer::Http2, &said), server::shake(&acceptor, far));
    (client.expect("a handshake"), server.expect("a handshake"))
}

/// Bytes without a pattern that a mistake could fit into.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Sends `bytes` from one end to the other and back at once, through a reader that has this much room.
async fn there_and_back<A, B>(mut one: A, mut other: B, bytes: &[u8], room: usize)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let echo = async {
        let mut buffer = vec![0; room];
        loop {
            match other.read(&mut buffer).await.expect("reads") {
                0 => break,
                count => other.write_all(&buffer[..count]).await.expect("writes"),
            }
        }
        other.shutdown().await.expect("ends");
    };
    let ask = async {
        let (mut from, mut to) = tokio::io::split(&mut one);
        let send = async {
            to.write_all(bytes).await.expect("writes");
            to.shutdown().await.expect("ends");
        };
        let mut back = Vec::new();
        let receive = from.read_to_end(&mut back);
        let ((), received) = tokio::join!(send, receive);
        received.expect("a proper end");
        assert!(back == bytes, "{} of {} bytes, or others", back.len(), bytes.len());
    };
    tokio::join!(echo, ask);
}

#[test]
fn bytes_pass_whole_and_in_order_under_back_pressure_in_both_versions() {
    run(async {
        let bytes = noise(3_000_000);
        for version in [&TLS12, &TLS13] {
            let (server, client) = with_library(version).await;
            there_and_back(client, server, &bytes, 50_000).await;
            let (server, client) = with_library(version).await;
            there_and_back(server, client, &bytes, 777).await;
        }
        let (client, server) = ours().await;
        there_and_back(client, server, &bytes, 16_384).await;
    });
}

#[test]
fn bytes_that_come_one_by_one_are_the_same() {
    run(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
        let connector = authority.connector(&authority.upstream(Some(NAME), Verification::Full));
        let ((near, mut from_near), (mut to_far, far)) = (pair().await, pair().await);
        let drip = tokio::task::spawn_local(async move {
            to_far.set_nodelay(true).expect("is set");
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (from_near.split(), to_far.split());
            let slowly = async {
                while let Ok(byte) = near_in.read_u8().await {
                    far_out.write_u8(byte).await.expect("is sent");
                    tokio::task::yield_now().await;
                }
                far_out.shutdown().await.expect("ends");
            };
            let _ = tokio::join!(slowly, copy(&mut far_in, &mut near_out));
        });
        let said = Said::default();
        let (client, server) = tokio::join!(connector.connect(near, Offer::Http2, &said), server::shake(&acceptor, far));
        there_and_back(client.expect("a handshake"), server.expect("a handshake"), &noise(3_000), 500).await;
        drip.await.expect("is done");
    });
}

#[test]
fn parts_of_one_write_go_in_one_record() {
    run(async {
        let (mut server, mut client) = with_library(&TLS13).await;
        let parts = [std::io::IoSlice::new(b"head "), std::io::IoSlice::new(b""), std::io::IoSlice::new(b"body")];
        let written = poll_fn(|cx| Pin::new(&mut *server).poll_write_vectored(cx, &parts)).await;
        assert_eq!(written.expect("writes"), 9);
        let mut first = [0; 64];
        let read = client.read(&mut first).await.expect("reads");
        assert_eq!(&first[..read], b"head body", "a record each would be read one by one");
    });
}

#[test]
fn an_end_is_proper_only_if_the_peer_says_so() {
    run(async {
        for version in [&TLS12, &TLS13] {
            let (mut server, mut client) = with_library(version).await;
            client.write_all(b"all").await.expect("writes");
            client.shutdown().await.expect("ends");
            let mut read = Vec::new();
            server.read_to_end(&mut read).await.expect("a proper end");
            assert_eq!(read, b"all");
            server.write_all(b"still").await.expect("the other way is open");
            server.end();
            drop(server);
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.expect("a proper end");
            assert_eq!(read, b"still");

            let (mut server, mut client) = with_library(version).await;
            client.write_all(b"cut").await.expect("writes");
            let (mut socket, _) = client.into_inner();
            socket.shutdown().await.expect("ends without a word");
            let mut read = Vec::new();
            let end = server.read_to_end(&mut read).await.map_err(|error| error.kind());
            assert_eq!((end, &read[..]), (Err(ErrorKind::UnexpectedEof), &b"cut"[..]));
        }
    });
}

#[test]
fn a_record_that_was_changed_on_the_way_is_an_error_and_its_sender_is_told() {
    run(async {
        let (mut server, client) = with_library(&TLS13).await;
        let (mut socket, mut session) = client.into_inner();
        std::io::Write::write_all(&mut session.writer(), b"secret").expect("takes it");
        let mut sealed = Vec::new();
        session.write_tls(&mut sealed).expect("writes");
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        socket.write_all(&sealed).await.expect("is sent");
        let error = server.read(&mut [0; 16]).await.expect_err("is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        let again = server.read(&mut [0; 16]).await;
        assert!(again.is_err(), "nothing after it is taken either");
        drop(server);
        let mut said = Vec::new();
        let _ = socket.read_to_end(&mut said).await;
        session.read_tls(&mut &said[..]).expect("reads");
        let told = session.process_new_packets().expect_err("an alert");
        assert_eq!(told, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    });
}

#[test]
fn a_peer_that_renews_its_keys_goes_on() {
    run(async {
        let (mut server, mut client) = with_library(&TLS13).await;
        for _ in 0..3 {
            client.get_mut().1.refresh_traffic_keys().expect("may renew");
            client.write_all(b"ask").await.expect("writes");
            let mut asked = [0; 3];
            server.read_exact(&mut asked).await.expect("reads");
            server.write_all(b"answer").await.expect("writes");
            let mut answer = [0; 6];
            client.read_exact(&mut answer).await.expect("reads");
            assert_eq!((&asked, &answer), (b"ask", b"answer"));
        }
    });
}

#[test]
fn a_waiting_connection_is_silent_whatever_the_protocol_says_for_itself() {
    run(async {
        let (mut client, mut server) = ours().await;
        // Tickets come after the handshake, and nobody has read them yet.
        client.socket().readable().await.expect("tickets");
        assert!(client.is_silent());
        assert!(client.is_silent(), "nor was anything lost of it");
        server.write_all(b"x").await.expect("writes");
        client.socket().readable().await.expect("a byte");
        assert!(!client.is_silent());
        let (mut client, server) = ours().await;
        drop(server);
        while client.is_silent() {
            client.socket().readable().await.expect("an end");
        }
    });
}

#[test]
fn a_connection_that_waits_holds_no_buffer() {
    run(async {
        let (mut client, mut server) = ours().await;
        let bytes = noise(200_000);
        let send = async {
            client.write_all(&bytes).await.expect("writes");
            client.flush().await.expect("is sent");
        };
        let mut received = vec![0; bytes.len()];
        let (_, read) = tokio::join!(send, server.read_exact(&mut received));
        read.expect("reads");
        assert_eq!((client.held(), server.held()), (0, 0));
    });
}

#[test]
fn who_only_reads_still_gets_out_what_was_written() {
    run(async {
        let (mut client, mut server) = ours().await;
        // As much as goes without anybody at the other end reading; the last of it waits in the stream.
        let mut written = 0;
        let filling = poll_fn(|cx| {
            while let Poll::Ready(count) = Pin::new(&mut *client).poll_write(cx, &[7; 20_000]) {
                written += count.expect("writes");
            }
            // Nobody writes or flushes from here on.
            assert!(Pin::new(&mut *client).poll_flush(cx).is_pending());
            Poll::Ready(())
        });
        tokio::task::unconstrained(filling).await;
        assert!(client.held() > 0, "the socket took everything; the test shows nothing");
        let reading = async { client.read(&mut [0; 1]).await.expect("reads") };
        let serving = async {
            let mut received = vec![0; written];
            server.read_exact(&mut received).await.expect("all of it comes");
            server.write_all(b"!").await.expect("writes");
        };
        let (read, ()) = tokio::join!(reading, serving);
        assert_eq!(read, 1);
    });
}
