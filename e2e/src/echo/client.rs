//! One exchange with a server: HTTP or TCP, over a connection that is kept or new. It never tries twice; a kept
//! connection that the server has already closed is replaced before anything is sent on it.

use super::message::{MessageError, Reader, Response};
use super::summary::FailureKind;
use super::text::Url;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
#[error("{kind:?}: {words}")]
pub struct Failure {
    /// The kind that is counted.
    pub kind: FailureKind,
    /// What happened, for people.
    pub words: String,
}

impl Failure {
    fn new(kind: FailureKind, words: impl ToString) -> Self {
        Self { kind, words: words.to_string() }
    }

    fn broken(error: io::Error) -> Self {
        Self::new(FailureKind::Broken, error)
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Self {
        let kind = match &error {
            MessageError::Closed => FailureKind::Closed,
            MessageError::Io(_) | MessageError::Truncated => FailureKind::Broken,
            MessageError::Malformed(_) => FailureKind::Protocol,
        };
        Self::new(kind, error)
    }
}

impl Response {
    /// The response itself if its status is 2xx.
    pub fn successful(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let body = String::from_utf8_lossy(&self.body);
        let words = format!("status {}: {}", self.status, body.trim_end());
        Err(Failure::new(FailureKind::Status, words))
    }
}

/// Opens a connection to `host:port`.
pub async fn connect(authority: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|error| Failure::new(FailureKind::Connect, format!("{authority}: {error}")))?;
    stream.set_nodelay(true).map_err(Failure::broken)?;
    Ok(stream)
}

/// A client of one server with at most one kept connection.
pub struct Connection {
    authority: String,
    kept: Option<Reader<TcpStream>>,
    opened: u64,
}

impl Connection {
    /// Not connected yet.
    pub fn new(authority: impl Into<String>) -> Self {
        Self { authority: authority.into(), kept: None, opened: 0 }
    }

    /// How many connections were opened since it was last asked.
    pub fn take_opened(&mut self) -> u64 {
        std::mem::take(&mut self.opened)
    }

    /// Sends a whole request and reads its answer. `keep` allows the connection to be used again.
    pub async fn exchange(&mut self, request: &[u8], bodiless: bool, keep: bool, limit: Duration) -> Result<Response, Failure> {
        match timeout(limit, self.try_exchange(request, bodiless, keep)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::new(FailureKind::Timeout, format!("no whole answer in {limit:?}"))),
        }
    }

    // `kept` is empty while an exchange runs, so a cancelled one leaves no half-read connection behind.
    async fn try_exchange(&mut self, request: &[u8], bodiless: bool, keep: bool) -> Result<Response, Failure> {
        let mut reader = match self.kept.take().filter(|_| keep).and_then(still_open) {
            Some(reader) => reader,
            None => {
                let stream = connect(&self.authority).await?;
                self.opened += 1;
                Reader::new(stream)
            }
        };
        let written = reader.stream().write_all(request).await;
        let outcome = reader.response(bodiless).await;
        // An answer that was given before a write failed still counts.
        if let (Err(error), Err(_)) = (written, &outcome) {
            return Err(Failure::broken(error));
        }
        let response = outcome?;
        if keep && response.keep_alive && !reader.has_leftover() {
            self.kept = Some(reader);
        }
        Ok(response)
    }
}

/// The connection, unless the server has closed it or sent something unasked.
fn still_open(mut reader: Reader<TcpStream>) -> Option<Reader<TcpStream>> {
    let idle = reader.stream().try_read(&mut [0]);
    matches!(idle, Err(error) if error.kind() == io::ErrorKind::WouldBlock).then_some(reader)
}

/// One request with an own connection and its answer, whatever its status.
pub async fn fetch(method: &str, url: &Url, headers: &str, body: &[u8], limit: Duration) -> Result<Response, Failure> {
    let mut request =
        format!("{method} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}", url.path, url.authority).into_bytes();
    if !body.is_empty() || method != "GET" && method != "HEAD" {
        request.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    Connection::new(&url.authority).exchange(&request, method == "HEAD", false, limit).await
}

/// Connects, reads the server's name, sends `bytes` and gets them back. The name, when all went well.
pub async fn tcp_exchange(authority: &str, bytes: &[u8], limit: Duration) -> Result<String, Failure> {
    let exchange = async {
        let mut stream = connect(authority).await?;
        let name = read_name(&mut stream).await?;
        stream.write_all(bytes).await.map_err(Failure::broken)?;
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).await.map_err(Failure::broken)?;
        if back != bytes {
            return Err(Failure::new(FailureKind::Protocol, "other bytes came back"));
        }
        Ok(name)
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(Failure::new(FailureKind::Timeout, format!("not done in {limit:?}"))))
}

async fn read_name(stream: &mut TcpStream) -> Result<String, Failure> {
    let mut name = Vec::new();
    loop {
        match stream.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) if name.len() < 256 => name.push(byte),
            Ok(_) => return Err(Failure::new(FailureKind::Protocol, "no name")),
            Err(error) if name.is_empty() && error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Failure::new(FailureKind::Closed, "closed before the name"));
            }
            Err(error) => return Err(Failure::broken(error)),
        }
    }
    String::from_utf8(name).map_err(|_| Failure::new(FailureKind::Protocol, "no name"))
}
