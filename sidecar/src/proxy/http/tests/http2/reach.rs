//! How a stream reaches an endpoint: what becomes of the connect when its client goes, and which connections make room for it
//! where places are few.

use super::*;

/// A listener whose queue is full: connects are neither taken nor refused.
fn full() -> (SocketAddr, Vec<socket2::Socket>) {
    let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let listener = socket();
    listener.bind(&SocketAddr::from((V4, 0)).into()).expect("a free port");
    listener.listen(0).expect("listens");
    let address = listener.local_addr().expect("an address").as_socket().expect("of IP");
    let waiting = std::iter::repeat_with(|| {
        let client = socket();
        client.set_nonblocking(true).expect("is set");
        let _ = client.connect(&address.into());
        client
    });
    (address, std::iter::once(listener).chain(waiting.take(4)).collect())
}

#[test]
fn for_a_stream_that_is_cut_off_no_second_endpoint_is_connected_to_and_the_first_is_judged() {
    run(async || {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let full = [full(), full()];
            let front = Front::start(&full.each_ref().map(|(address, _)| *address), protocol).await;
            let mut client = front.client().await;
            let (_response, mut stream) = client.send_request(get("/"), false).expect("is sent");
            while front.in_flight() == 0 {
                tokio::task::yield_now().await;
            }
            tokio::time::pause();
            let start = Moment::now();
            stream.send_reset(Reason::CANCEL);
            // Once this is answered, the reset has been read. Until then the clock stands still.
            let (refused, _) = client.ready().await.expect("room").send_request(large(), true).expect("is sent");
            let busy = async {
                while Moment::now() == start {
                    tokio::task::yield_now().await
                }
            };
            tokio::select! { refused = refused => assert_eq!(refused.expect("an answer").status(), 431), () = busy => {} }
            assert_eq!(Moment::now(), start);
            while front.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(start.elapsed() < 2 * CONNECT_TIMEOUT - Duration::from_secs(1), "{:?}", start.elapsed());
            tokio::time::resume();
        }
    });
}

#[test]
fn a_kept_connection_makes_room_for_one_of_another_protocol_to_the_same_endpoint() {
    run(async || {
        let server = Endpoint2::start().await;
        let limits = Limits { max_connections_per_endpoint: Some(1), ..Limits::default() };
        let front = Front::start_with(&[server.address()], UpstreamProtocol::Auto, limits).await;
        let mut client = front.client().await;
        let call = Request::post("http://a/s/m").header("content-type", "application/grpc").body(()).expect("a request");
        let (response, _) = client.send_request(call, true).expect("is sent");
        let ended = serve_one(&server).await;
        assert_eq!(read(response.await.expect("an answer").body_mut()).await.0, "ok");
        let mut client = front.client_of_http1().await;
        client.send(GET).await;
        let mut upstream = Peer(server.0.accept().await.expect("a connection").0);
        upstream.expect(GET).await;
        upstream.send(OK).await;
        client.expect(OK).await;
        ended.await.expect("no panic");
    });
}

/// Answers the next request of the next connection, which then goes on until its end.
async fn serve_one(server: &Endpoint2) -> tokio::task::JoinHandle<()> {
    let mut connection = server.accept(10).await;
    let (_request, respond) = next(&mut connection).await;
    answer(respond, "ok");
    tokio::task::spawn_local(async move { while connection.accept().await.is_some() {} })
}

#[test]
fn a_shared_connection_without_a_request_makes_room_for_another_endpoint() {
    run(async || {
        let servers = [Endpoint2::start().await, Endpoint2::start().await];
        let limits = Limits { max_connections: Some(1), ..Limits::default() };
        let endpoints = [servers[0].address(), servers[1].address()];
        let front = Front::start_with(&endpoints, UpstreamProtocol::Http2, limits).await;
        let mut client = front.client_of_http1().await;
        client.send(GET).await;
        let (ended, other) =
            tokio::select! { ended = serve_one(&servers[0]) => (ended, 1), ended = serve_one(&servers[1]) => (ended, 0) };
        client.expect(ANSWERED).await;
        let mut second = front.client_of_http1().await;
        second.send(GET).await;
        let _second = serve_one(&servers[other]).await;
        second.expect(ANSWERED).await;
        ended.await.expect("no panic");
    });
}

#[test]
fn a_shared_connection_without_a_request_makes_room_for_another_worker() {
    run(async || {
        for limits in [
            Limits { max_connections: Some(1), ..Limits::default() },
            Limits { max_connections_per_endpoint: Some(1), ..Limits::default() },
        ] {
            let server = Endpoint2::start().await;
            let front = Front::start_with(&[server.address()], UpstreamProtocol::Http2, limits).await;
            let mut client = front.client_of_http1().await;
            client.send(GET).await;
            let ended = serve_one(&server).await;
            client.expect(ANSWERED).await;
            let mut other = front.client_of_another_worker().await;
            other.send(GET).await;
            let _second = serve_one(&server).await;
            other.expect(ANSWERED).await;
            ended.await.expect("no panic");
        }
    });
}
