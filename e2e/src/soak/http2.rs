//! HTTP/2 of the soak: a client of some streams, and a backend whose every answer is one message with trailers.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, client, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use std::net::Ipv4Addr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A message of no compression and ten bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x0aten bytes.";

/// Serves until the runtime ends; the port.
pub async fn serve() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream));
        }
    });
    Ok(port)
}

async fn connection(stream: TcpStream) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    let mut answering = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        // An error is the proxy's end of the stream.
        answering.spawn(answer(request.into_body(), respond));
        while answering.try_join_next().is_some() {}
    }
}

async fn answer(mut body: RecvStream, mut respond: SendResponse<Bytes>) -> Result<()> {
    read(&mut body).await?;
    let head = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut answer = respond.send_response(head, false)?;
    answer.send_data(Bytes::from_static(MESSAGE), false)?;
    answer.send_trailers(HeaderMap::from_iter([("grpc-status".parse()?, HeaderValue::from_static("0"))]))?;
    Ok(())
}

async fn read(body: &mut RecvStream) -> Result<usize> {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(length)
}

/// What goes through a client's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// GET: 200.
    Get,
    /// A call: a message back, and status 0.
    Call,
}

/// A connection with its client; both end when this is dropped, without a word.
pub struct Client {
    requests: client::SendRequest<Bytes>,
    scheme: &'static str,
    _connection: JoinSet<()>,
}

impl Client {
    /// Begins to speak HTTP/2; the scheme is that of all requests.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, scheme: &'static str) -> Result<Self> {
        let (requests, connection) = client::handshake(stream).await?;
        let mut driving = JoinSet::new();
        driving.spawn(async { drop(connection.await) });
        Ok(Self { requests, scheme, _connection: driving })
    }

    /// So many exchanges at once; an error if the connection is of no use any more, else how many went well.
    pub async fn exchange(&mut self, exchange: Exchange, streams: usize) -> Result<usize> {
        let mut answers = Vec::with_capacity(streams);
        for _ in 0..streams {
            self.requests = self.requests.clone().ready().await?;
            let (method, path) = if exchange == Exchange::Call { ("POST", "/soak.Echo/Say") } else { ("GET", "/") };
            let mut request = Request::builder().method(method).uri(format!("{}://soak{path}", self.scheme));
            if exchange == Exchange::Call {
                request = request.header("content-type", "application/grpc").header("te", "trailers");
            }
            let (answer, mut body) = self.requests.send_request(request.body(())?, exchange == Exchange::Get)?;
            if exchange == Exchange::Call {
                body.send_data(Bytes::from_static(MESSAGE), true)?;
            }
            answers.push(answer);
        }
        let mut good = 0;
        for answer in answers {
            good += usize::from(self::whole(answer, exchange).await.is_ok());
        }
        Ok(good)
    }
}

async fn whole(answer: client::ResponseFuture, exchange: Exchange) -> Result<()> {
    let answer = answer.await?;
    ensure!(answer.status() == 200, "status {}", answer.status());
    let mut body = answer.into_body();
    let length = read(&mut body).await?;
    if exchange == Exchange::Call {
        let trailers = body.trailers().await?.context("no trailers")?;
        ensure!(length == MESSAGE.len() && trailers["grpc-status"] == "0", "no whole answer to a call");
    }
    Ok(())
}
