//! The engine against the `h2` crate, in both roles: requests with bodies beyond every window, many at a time, with
//! trailers, over tables that fill up and run over.

use super::*;
use bytes::Bytes;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Messages that are under way: what came, and what is still to go out.
#[derive(Default)]
struct Message {
    head: String,
    received: Vec<u8>,
    trailers: String,
    to_send: Vec<u8>,
    is_whole: bool,
    is_answered: bool,
}

/// One end of this engine on a stream of bytes.
struct Driver {
    connection: Connection,
    messages: BTreeMap<StreamId, Message>,
    io: DuplexStream,
    input: Vec<u8>,
}

impl Driver {
    fn new(connection: Connection, io: DuplexStream) -> Self {
        Self { connection, messages: BTreeMap::new(), io, input: vec![] }
    }

    /// Writes what is pending, then reads once and takes it all; false at the end.
    async fn turn(&mut self) -> bool {
        let pending = self.connection.pending().to_vec();
        if self.io.write_all(&pending).await.is_err() {
            return false;
        }
        self.connection.sent(pending.len());
        let count = self.io.read_buf(&mut self.input).await.unwrap_or(0);
        let mut at = 0;
        loop {
            let step = self.connection.advance(&self.input[at..], Instant::now()).expect("the peer follows the rules");
            self.take(&step.event, at);
            at += step.consumed;
            if step.event == Event::More {
                break;
            }
        }
        self.input.drain(..at);
        count > 0
    }

    fn take(&mut self, event: &Event, at: usize) {
        let text = || String::from_utf8_lossy(self.connection.text()).into_owned();
        match event {
            Event::Head { stream, end } => {
                let head = text();
                let message = self.messages.entry(*stream).or_default();
                (message.head, message.is_whole) = (head, *end);
            }
            Event::Data { stream, range, end } => {
                let message = self.messages.get_mut(stream).expect("a head came first");
                message.received.extend(&self.input[at..][range.clone()]);
                message.is_whole = *end;
                self.connection.release(*stream, range.len());
            }
            Event::Trailers { stream } => {
                let trailers = text();
                let message = self.messages.get_mut(stream).expect("a head came first");
                (message.trailers, message.is_whole) = (trailers, true);
            }
            Event::Failed { .. } | Event::HeadTooLarge { .. } | Event::Refused { .. } => panic!("{event:?}"),
            _ => {}
        }
    }

    /// Sends what the windows allow, and trailers after it.
    fn send(&mut self) {
        for (stream, message) in self.messages.iter_mut().filter(|(_, message)| !message.to_send.is_empty()) {
            let count = self.connection.send_data(*stream, &message.to_send, false);
            message.to_send.drain(..count);
            if message.to_send.is_empty() {
                self.connection.send_trailers(*stream, format!("X-Sum: {stream:?}\r\n").as_bytes());
            }
        }
    }
}

fn body(number: usize) -> Vec<u8> {
    (0..number * 3331 % 150_000 + 1).map(|at| (at * number) as u8).collect()
}

/// The echo of a whole request.
fn answer(driver: &mut Driver) {
    for (stream, message) in driver.messages.iter_mut().filter(|(_, message)| message.is_whole && !message.is_answered) {
        let path = message.head.split(' ').nth(1).unwrap_or_default();
        let head = format!("HTTP/1.1 200 OK\r\nX-Path: {path}\r\nX-Trailers: {}\r\n\r\n", message.trailers.trim());
        driver.connection.send_head(*stream, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", false);
        driver.connection.send_head(*stream, head.as_bytes(), false);
        message.is_answered = true;
        message.to_send = std::mem::take(&mut message.received);
    }
    driver.send();
}

async fn collect(mut stream: h2::RecvStream) -> (Vec<u8>, Option<http::HeaderMap>) {
    let mut data = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.expect("data");
        stream.flow_control().release_capacity(piece.len()).expect("to be released");
        data.extend(&piece);
    }
    (data, stream.trailers().await.expect("trailers"))
}

#[tokio::test]
async fn another_client_is_served() {
    let (ours, theirs) = tokio::io::duplex(9000);
    let serving = tokio::spawn(async move {
        let mut driver = Driver::new(Connection::server(&Limits::default(), Instant::now()), ours);
        while driver.turn().await {
            answer(&mut driver);
        }
        driver.connection.is_idle()
    });
    let (client, connection) = h2::client::handshake(theirs).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..150 {
        let client = client.clone();
        asking.spawn(async move {
            let mut client = client.ready().await.expect("a stream");
            let request = http::Request::put(format!("http://a/{number}")).header("x-number", number);
            let request = request.header("x-same", "same").body(()).expect("a request");
            let (response, mut stream) = client.send_request(request, false).expect("sent");
            stream.send_data(Bytes::from(body(number)), false).expect("sent");
            stream.send_trailers([(http::HeaderName::from_static("x-end"), number.into())].into_iter().collect()).expect("sent");
            let response = response.await.expect("an answer");
            assert_eq!(response.headers()["x-path"], format!("/{number}"));
            assert_eq!(response.headers()["x-trailers"], format!("x-end: {number}"));
            let (data, trailers) = collect(response.into_body()).await;
            assert!(data == body(number), "{number}");
            assert!(trailers.is_some_and(|trailers| trailers.contains_key("x-sum")));
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.expect("it passed");
    }
    drop(client);
    connection.await.expect("it ran").expect("no error");
    assert!(serving.await.expect("it passed"), "no stream is left");
}

#[tokio::test]
async fn another_server_is_asked() {
    let (ours, theirs) = tokio::io::duplex(9000);
    let serving = tokio::spawn(async move {
        let mut connection = h2::server::handshake(theirs).await.expect("a connection");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let (parts, request) = request.into_parts();
                assert_eq!(parts.uri.scheme_str(), Some("http"));
                let (data, trailers) = collect(request).await;
                let response = http::Response::builder().header("x-path", parts.uri.path()).header("x-same", "same");
                let mut stream = respond.send_response(response.body(()).expect("an answer"), false).expect("sent");
                stream.send_data(Bytes::from(data), false).expect("sent");
                stream.send_trailers(trailers.expect("trailers")).expect("sent");
            });
        }
    });
    let mut driver = Driver::new(Connection::client(&Limits::default(), Scheme::Http, Instant::now()), ours);
    let (mut next, mut done) = (0, 0);
    while done < 150 {
        while next < 150 && driver.connection.may_open().is_ok() {
            let head =
                format!("PUT /{next} HTTP/1.1\r\nHost: a\r\nX-Same: same\r\nX-Number: {next}\r\nConnection: close\r\n\r\n");
            let stream = driver.connection.open(head.as_bytes(), false).expect("a stream");
            driver.messages.insert(stream, Message { to_send: body(next), ..Message::default() });
            next += 1;
        }
        driver.send();
        assert!(driver.turn().await);
        let whole: Vec<_> = driver.messages.iter().filter(|(_, message)| message.is_whole).map(|(id, _)| *id).collect();
        for stream in whole {
            let message = driver.messages.remove(&stream).expect("it is there");
            let number = stream.get() as usize / 2;
            assert!(message.head.contains(&format!("x-path: /{number}\r\n")), "{}", message.head);
            assert!(message.received == body(number), "{number}");
            assert_eq!(message.trailers, format!("x-sum: {stream:?}\r\n"));
            done += 1;
        }
    }
    assert!(driver.connection.is_idle());
    drop(driver);
    serving.await.expect("it passed");
}
