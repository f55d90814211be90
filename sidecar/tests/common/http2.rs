//! HTTP/2 and gRPC as another implementation speaks them: a client, and a backend that speaks nothing else.

use super::PATIENCE;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// One connection of a client.
pub(crate) struct Http2Client {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// All of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) trailers: HeaderMap,
}

impl Http2Client {
    /// Without TLS, by prior knowledge.
    pub(crate) async fn connect(port: u16) -> Self {
        Self::over(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connects")).await
    }

    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        Self { send, connection: tokio::spawn(connection) }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(format!("http://example{path}")).body(()).expect("a request");
        self.ask(request, Bytes::new()).await
    }

    /// A message, of which the five bytes before it are part.
    pub(crate) async fn call(&mut self, path: &str, message: &'static [u8]) -> Answer {
        let request = Request::post(format!("http://example{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        self.ask(request, Bytes::from_static(message)).await
    }

    async fn ask(&mut self, request: Request<()>, body: Bytes) -> Answer {
        let asking = async {
            let mut send = self.send.clone().ready().await.expect("open");
            let (answer, mut upload) = send.send_request(request, body.is_empty()).expect("is sent");
            if !body.is_empty() {
                upload.send_data(body, true).expect("is sent");
            }
            let (head, mut stream) = answer.await.expect("is answered").into_parts();
            let body = read(&mut stream).await;
            let trailers = stream.trailers().await.expect("ends well").unwrap_or_default();
            Answer { status: head.status.as_u16(), body: String::from_utf8(body).expect("text"), trailers }
        };
        timeout(PATIENCE, asking).await.expect("is answered in time")
    }

    /// Ends when the other side has ended the connection, well or not.
    pub(crate) async fn ended(mut self) -> Result<(), h2::Error> {
        timeout(PATIENCE, &mut self.connection).await.expect("ends").expect("doesn't panic")
    }
}

async fn read(stream: &mut RecvStream) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        let part = part.expect("ends well");
        stream.flow_control().release_capacity(part.len()).expect("is known");
        body.extend_from_slice(&part);
    }
    body
}

/// A backend that speaks HTTP/2 alone: to a GET it says its port, to a gRPC call the message and a status in a trailer.
pub(crate) struct Http2Backend {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Http2Backend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, address.port()));
            }
        });
        Self { address, serving }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Http2Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One connection, until it ends.
pub(crate) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, port: u16) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, port));
    }
}

async fn answer(request: Request<RecvStream>, mut respond: h2::server::SendResponse<Bytes>, port: u16) {
    let (head, mut stream) = request.into_parts();
    let body = read(&mut stream).await;
    if head.headers.get("content-type").is_some_and(|kind| kind == "application/grpc") {
        let answer = Response::builder().header("content-type", "application/grpc").body(()).expect("an answer");
        let mut send = respond.send_response(answer, false).expect("is sent");
        finish(&mut send, body.into(), Some(("grpc-status", "0")));
    } else {
        let mut send = respond.send_response(Response::new(()), false).expect("is sent");
        finish(&mut send, port.to_string().into(), None);
    }
}

fn finish(send: &mut SendStream<Bytes>, body: Bytes, trailer: Option<(&'static str, &'static str)>) {
    send.send_data(body, trailer.is_none()).expect("is sent");
    if let Some((name, value)) = trailer {
        let trailers = HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))]);
        send.send_trailers(trailers).expect("is sent");
    }
}
