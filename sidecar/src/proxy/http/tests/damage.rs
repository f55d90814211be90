//! Damaged traffic from both sides: whatever is sent in whatever pieces, each connection ends, nothing panics and no
//! count is left behind. Seeded, on a clock that jumps.

use super::*;
use evenkeel_balance::{Rng, SmallRng};

const REQUESTS: [&str; 6] = [
    GET,
    "HEAD /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "PUT http://a/y HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
    "DELETE /z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
];
const ANSWERS: [&str; 6] = [
    OK,
    "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 500 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    "HTTP/1.1 304 Same\r\nContent-Length: 9\r\nKeep-Alive: timeout=5\r\n\r\n",
];

/// Some of `texts`, one after the other, damaged in up to two places.
fn damaged(texts: &[&str], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..rng.below(3) + 1).flat_map(|_| texts[rng.below(texts.len())].bytes()).collect();
    for _ in 0..rng.below(3) {
        let at = rng.below(bytes.len());
        match rng.below(3) {
            0 => bytes[at] = rng.below(256) as u8,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, b"\r\n \t:;0f\0\x80"[rng.below(10)]),
        }
    }
    bytes
}

/// Sends `bytes` in up to four pieces; that the other side may have closed is no matter.
async fn send_in_pieces(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], rng: &mut SmallRng) {
    let mut cuts: Vec<usize> = (0..rng.below(4)).map(|_| rng.below(bytes.len() + 1)).chain([bytes.len()]).collect();
    cuts.sort_unstable();
    let mut at = 0;
    for cut in cuts {
        let _ = stream.write_all(&bytes[at..cut]).await;
        at = cut;
        tokio::task::yield_now().await;
    }
}

/// Answers whatever comes with something damaged, sometimes more than once on a connection.
async fn answer(mut peer: Peer, mut rng: SmallRng) {
    let mut heard = [0; 512];
    while matches!(peer.0.read(&mut heard).await, Ok(count) if count > 0) {
        let bytes = damaged(&ANSWERS, &mut rng);
        send_in_pieces(&mut peer.0, &bytes, &mut rng).await;
        if rng.below(3) == 0 {
            return;
        }
    }
}

#[test]
fn damaged_traffic_ends_and_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(async {
        tokio::time::pause();
        let server = Server::start(V4).await;
        let proxy = Proxy::start(&[server.address()]).await;
        tokio::task::spawn_local(async move {
            for seed in 0.. {
                tokio::task::spawn_local(answer(server.accept().await, SmallRng::new(seed)));
            }
        });
        for seed in 0..1500 {
            let mut rng = SmallRng::new(1_000_000 + seed);
            let (client, from_proxy) = proxy.connect_raw().await;
            let serving = tokio::task::spawn_local(serve(
                proxy.worker.clone(),
                from_proxy,
                client.0.peer_addr().expect("a peer"),
                proxy.address.port(),
            ));
            let bytes = damaged(&REQUESTS, &mut rng);
            let (mut read, mut write) = client.0.into_split();
            let sending = async {
                send_in_pieces(&mut write, &bytes, &mut rng).await;
                let _ = write.shutdown().await;
            };
            let mut seen = Vec::new();
            let (_, _) = tokio::join!(sending, read.read_to_end(&mut seen));
            drop(read);
            serving.await.unwrap_or_else(|error| panic!("seed {seed}: {error}, {:?}", show(&bytes)));
            assert!(seen.is_empty() || seen.starts_with(b"HTTP/1.1 "), "seed {seed}: {:?}", show(&seen));
            assert_eq!(proxy.in_flight(), 0, "seed {seed}");
        }
    });
}
