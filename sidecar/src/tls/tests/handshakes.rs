//! How handshakes end: as each side wants it, or by a typed reason that is counted and told.

use super::*;
use crate::tls::server::HANDSHAKE_TIMEOUT;
use rustls::version::{TLS12, TLS13};

/// What a client of ours is told when it says `first`, and what is counted.
async fn answer_to(first: &[u8]) -> (Vec<u8>, Vec<String>) {
    let (stand, authority) = (Stand::new(), Authority::new());
    let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
    let (mut client, server) = pair().await;
    client.write_all(first).await.expect("is sent");
    let told = async {
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.expect("a proper end, not a reset that may overtake the answer");
        drop(client);
        told
    };
    let (accepted, told) = tokio::join!(stand.accept(&acceptor, server), told);
    assert!(accepted.is_none());
    (told, stand.refused())
}

#[test]
fn versions_and_protocols_are_agreed_on() {
    run(async {
        let authority = Authority::new();
        for (version, alpn, expected) in [
            (&TLS12, &["h2", "http/1.1"][..], Alpn::Http2),
            (&TLS13, &["h2", "http/1.1"], Alpn::Http2),
            (&TLS13, &["http/1.1"], Alpn::Http1),
            (&TLS12, &[], Alpn::None),
        ] {
            let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
            let (near, far) = pair().await;
            let client = authority.client(&[version], alpn);
            let (client, server) = tokio::join!(client.connect(name(), near), server::shake(&acceptor, far));
            let (client, server) = (client.expect("a handshake"), server.expect("a handshake"));
            assert_eq!(server.alpn(), expected);
            assert_eq!(client.get_ref().1.protocol_version(), Some(version.version));
        }
    });
}

#[test]
fn plain_http_on_a_tls_port_is_told_so_in_plain_text() {
    run(async {
        for first in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\nb",
        ] {
            let (told, refused) = answer_to(first.as_bytes()).await;
            let told = String::from_utf8(told).expect("text");
            assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("use https"), "{told}");
            assert_eq!(refused, ["PlainHttp 1"]);
        }
    });
}

#[test]
fn what_is_no_tls_and_no_http_is_turned_away_without_a_word() {
    run(async {
        assert_eq!(answer_to(b"\0\0\0\x17 something else").await, (Vec::new(), vec!["TlsExpected 1".to_owned()]));
        assert_eq!(answer_to(b"ssh-2.0").await.1, ["TlsExpected 1"]);
    });
}

#[test]
fn a_broken_hello_is_answered_by_an_alert() {
    run(async {
        let (told, refused) = answer_to(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff").await;
        assert_eq!((told.first(), refused), (Some(&21), vec!["TlsHandshake 1".to_owned()]));
    });
}

#[test]
fn each_disagreement_has_its_reason() {
    run(async {
        let authority = Authority::new();
        for (min_version, versions, alpn, trusts, reason) in [
            (TlsVersion::V1_3, &[&TLS12][..], &[][..], true, "TlsVersion 1"),
            (TlsVersion::V1_2, &[&TLS13], &["smtp"], true, "TlsProtocol 1"),
            (TlsVersion::V1_2, &[&TLS13], &[], false, "TlsAlert 1"),
            (TlsVersion::V1_2, &[&TLS12], &[], false, "TlsAlert 1"),
        ] {
            let (stand, acceptor) = (Stand::new(), authority.acceptor(Protocol::Http, min_version));
            let (near, far) = pair().await;
            let trusted = if trusts { &authority } else { &Authority::new() };
            let client = trusted.client(versions, alpn);
            let connect = async { client.connect(name(), near).await.map(drop) };
            let (connected, accepted) = tokio::join!(connect, stand.accept(&acceptor, far));
            assert!(connected.is_err() && accepted.is_none(), "{reason}");
            assert_eq!(stand.refused(), [reason]);
        }
    });
}

#[test]
fn a_client_that_goes_is_counted_only_if_it_had_said_something() {
    run(async {
        for (said, refused) in [(&b""[..], vec![]), (b"\x16\x03", vec!["TlsClosed 1".to_owned()])] {
            let (stand, authority) = (Stand::new(), Authority::new());
            let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
            let (mut client, server) = pair().await;
            client.write_all(said).await.expect("is sent");
            drop(client);
            assert!(stand.accept(&acceptor, server).await.is_none());
            assert_eq!(stand.refused(), refused);
        }
    });
}

#[test]
fn a_client_that_says_nothing_more_is_given_up_in_time() {
    run(async {
        let (stand, authority) = (Stand::new(), Authority::new());
        let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
        let (mut client, server) = pair().await;
        client.write_all(b"\x16\x03\x01\x01").await.expect("is sent");
        tokio::time::pause();
        let start = tokio::time::Instant::now();
        assert!(stand.accept(&acceptor, server).await.is_none());
        assert!(start.elapsed() < HANDSHAKE_TIMEOUT + Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(stand.refused(), ["TlsTimeout 1"]);
    });
}

#[test]
fn a_client_goes_on_with_its_session() {
    run(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor(Protocol::Http, TlsVersion::V1_2);
        for version in [&TLS12, &TLS13] {
            let client = authority.client(&[version], &[]);
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let (near, far) = pair().await;
                let (near, far) = tokio::join!(client.connect(name(), near), server::shake(&acceptor, far));
                let (mut near, mut far) = (near.expect("a handshake"), far.expect("a handshake"));
                far.write_all(b"!").await.expect("writes");
                near.read_u8().await.expect("reads, and the tickets before it");
                kinds.push(near.get_ref().1.handshake_kind());
                // An exchanged certificate doesn't end sessions.
                acceptor.exchange(&authority.pair()).expect("a good pair");
            }
            assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)], "{version:?}");
        }
    });
}

/// How a handshake with an endpoint ends that has a certificate for [`NAME`] of `theirs`, if `ours` is believed.
async fn reach(ours: &Authority, theirs: &Authority, upstream: &UpstreamTls) -> Result<Alpn, TlsFailure> {
    let acceptor = theirs.acceptor(Protocol::Http, TlsVersion::V1_2);
    let connector = ours.connector(upstream);
    let (near, far) = pair().await;
    let said = Said::default();
    let (connected, _) = tokio::join!(connector.connect(near, Offer::Http2, &said), server::shake(&acceptor, far));
    connected.map(|stream| stream.alpn())
}

#[test]
fn an_endpoint_is_believed_as_far_as_the_pool_says() {
    run(async {
        let (ours, other) = (Authority::new(), Authority::new());
        let (full, chain, off) = (Verification::Full, Verification::ChainOnly, Verification::Off);
        for (name, verification, theirs, expected) in [
            (Some(NAME), full, &ours, Ok(Alpn::Http2)),
            (Some("b.example"), full, &ours, Err(TlsFailure::Certificate)),
            (Some(NAME), full, &other, Err(TlsFailure::Certificate)),
            (Some("b.example"), chain, &ours, Ok(Alpn::Http2)),
            (None, chain, &ours, Ok(Alpn::Http2)),
            (Some(NAME), chain, &other, Err(TlsFailure::Certificate)),
            (Some(NAME), off, &other, Ok(Alpn::Http2)),
            (None, off, &other, Ok(Alpn::Http2)),
        ] {
            let reached = reach(&ours, theirs, &ours.upstream(name, verification)).await;
            assert_eq!(reached, expected, "{name:?} {verification:?}");
        }
    });
}

#[test]
fn endpoints_are_offered_what_will_be_spoken_and_http2_only_to_who_takes_it() {
    run(async {
        let authority = Authority::new();
        let connector = authority.connector(&authority.upstream(Some(NAME), Verification::Full));
        for (protocol, offer, expected) in [
            (Protocol::Http, Offer::Http2, Ok(Alpn::Http2)),
            (Protocol::Http, Offer::Http1, Ok(Alpn::Http1)),
            (Protocol::Http, Offer::Nothing, Ok(Alpn::None)),
            (Protocol::Tcp, Offer::Http1, Ok(Alpn::None)),
            (Protocol::Tcp, Offer::Http2, Err(TlsFailure::Refused)),
        ] {
            let acceptor = authority.acceptor(protocol, TlsVersion::V1_2);
            let (near, far) = pair().await;
            let said = Said::default();
            let (connected, _) = tokio::join!(connector.connect(near, offer, &said), server::shake(&acceptor, far));
            assert_eq!(connected.map(|stream| stream.alpn()), expected, "{offer:?}");
        }
    });
}

/// Why there is no TLS with an endpoint that answers `said` and ends.
async fn failure_at(said: &[u8]) -> Option<TlsFailure> {
    let authority = Authority::new();
    let connector = authority.connector(&authority.upstream(Some(NAME), Verification::Full));
    let (near, mut far) = pair().await;
    let endpoint = async {
        far.read_exact(&mut [0; 16]).await.expect("a hello");
        far.write_all(said).await.expect("is sent");
        far.shutdown().await.expect("ends");
        // The hello is read to its end, or the close would be a reset.
        let _ = far.read_to_end(&mut Vec::new()).await;
    };
    let said = Said::default();
    tokio::join!(connector.connect(near, Offer::Http2, &said), endpoint).0.err()
}

#[test]
fn an_endpoint_that_speaks_something_else_is_told_apart() {
    run(async {
        assert_eq!(failure_at(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, Some(TlsFailure::NoTls));
        assert_eq!(failure_at(b"\x15\x03\x03\x00\x02\x02\x28").await, Some(TlsFailure::Refused), "handshake_failure");
        assert_eq!(failure_at(b"").await, Some(TlsFailure::Closed));
        assert_eq!(failure_at(b"\x16\x03\x03\x40\x00\x02").await, Some(TlsFailure::Closed), "in the midst of a record");
    });
}
