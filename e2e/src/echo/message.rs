//! HTTP/1.1 messages off a byte stream: heads through httparse, bodies by length, by chunks or to the end.
//! Heads are at most 32 KiB, bodies at most 16 MiB. Framing that is not plain is an error; nothing is repaired.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

const MAX_HEAD: usize = 32 << 10;
const MAX_BODY: usize = 16 << 20;
const MAX_HEADERS: usize = 64;

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The stream failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The stream ended before the first byte.
    #[error("closed before the first byte")]
    Closed,
    /// The stream ended inside the message.
    #[error("ended in the middle")]
    Truncated,
    /// Not HTTP, or larger than this reader takes.
    #[error("not an HTTP message: {0}")]
    Malformed(&'static str),
}

/// A request, its body read and dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target.
    pub target: String,
    /// Whether the connection goes on after it.
    pub keep_alive: bool,
}

/// A response with its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The `x-backend` header, where there is one.
    pub backend: Option<String>,
    /// Whether the connection goes on after it.
    pub keep_alive: bool,
    /// The whole body.
    pub body: Vec<u8>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    ToTheEnd,
}

struct Head<T> {
    start: T,
    minor: u8,
    close: Option<bool>,
    length: Option<usize>,
    chunked: bool,
    backend: Option<String>,
}

/// A stream and what has been read of it too early.
pub struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from the stream's present place on.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// The stream itself, for writing.
    pub fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Whether bytes have arrived that nobody has asked for.
    pub fn has_leftover(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Waits for the first byte of the next message; false when the stream ends instead.
    pub async fn wait(&mut self) -> io::Result<bool> {
        Ok(!self.buffer.is_empty() || self.fill().await? > 0)
    }

    /// The next request, its body dropped.
    pub async fn request(&mut self) -> Result<Request, MessageError> {
        let head = self.head(request_head).await?;
        let framing = match (head.chunked, head.length) {
            (true, Some(_)) => return Err(MessageError::Malformed("two body lengths")),
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        self.body(framing).await?;
        let (method, target) = head.start;
        Ok(Request { method, target, keep_alive: !head.close.unwrap_or(head.minor == 0) })
    }

    /// The next final response; `bodiless` for the answer to HEAD.
    pub async fn response(&mut self, bodiless: bool) -> Result<Response, MessageError> {
        let head = loop {
            let head = self.head(response_head).await?;
            if head.start >= 200 {
                break head;
            }
        };
        let framing = match (head.chunked, head.length) {
            _ if bodiless || matches!(head.start, 204 | 304) => Framing::Length(0),
            (true, Some(_)) => return Err(MessageError::Malformed("two body lengths")),
            (true, None) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::ToTheEnd,
        };
        Ok(Response {
            status: head.start,
            backend: head.backend,
            keep_alive: framing != Framing::ToTheEnd && !head.close.unwrap_or(head.minor == 0),
            body: self.body(framing).await?,
        })
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    async fn head<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(usize, Head<T>)>, MessageError>,
    ) -> Result<Head<T>, MessageError> {
        loop {
            if let Some((length, head)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(MessageError::Malformed("head over 32 KiB"));
            }
            if self.fill().await? == 0 {
                return Err(if self.buffer.is_empty() { MessageError::Closed } else { MessageError::Truncated });
            }
        }
    }

    async fn body(&mut self, framing: Framing) -> Result<Vec<u8>, MessageError> {
        match framing {
            Framing::Length(length) => self.take(length).await,
            Framing::Chunked => self.chunks().await,
            Framing::ToTheEnd => {
                while self.fill().await? > 0 {
                    if self.buffer.len() > MAX_BODY {
                        return Err(MessageError::Malformed("body over 16 MiB"));
                    }
                }
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, MessageError> {
        if length > MAX_BODY {
            return Err(MessageError::Malformed("body over 16 MiB"));
        }
        while self.buffer.len() < length {
            if self.fill().await? == 0 {
                return Err(MessageError::Truncated);
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn line(&mut self) -> Result<String, MessageError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end).await?;
                self.take(2).await?;
                return String::from_utf8(line).map_err(|_| MessageError::Malformed("a chunk's size"));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(MessageError::Malformed("line over 32 KiB"));
            }
            if self.fill().await? == 0 {
                return Err(MessageError::Truncated);
            }
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, MessageError> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits.trim_end(), 16).map_err(|_| MessageError::Malformed("a chunk's size"))?;
            if body.len().saturating_add(size) > MAX_BODY {
                return Err(MessageError::Malformed("body over 16 MiB"));
            }
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size).await?);
            if !self.line().await?.is_empty() {
                return Err(MessageError::Malformed("a chunk's end"));
            }
        }
    }
}

type Parsed<T> = Result<Option<(usize, Head<T>)>, MessageError>;

fn request_head(buffer: &[u8]) -> Parsed<(String, String)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parser = httparse::Request::new(&mut headers);
    let status = parser.parse(buffer).map_err(|_| MessageError::Malformed("its head"))?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let start = (parser.method.unwrap_or_default().to_owned(), parser.path.unwrap_or_default().to_owned());
    let head = fields(start, parser.version.unwrap_or(1), parser.headers)?;
    Ok(Some((length, head)))
}

fn response_head(buffer: &[u8]) -> Parsed<u16> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parser = httparse::Response::new(&mut headers);
    let status = parser.parse(buffer).map_err(|_| MessageError::Malformed("its head"))?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let start = parser.code.unwrap_or(0);
    let head = fields(start, parser.version.unwrap_or(1), parser.headers)?;
    Ok(Some((length, head)))
}

fn fields<T>(start: T, minor: u8, headers: &[httparse::Header<'_>]) -> Result<Head<T>, MessageError> {
    let mut head = Head { start, minor, close: None, length: None, chunked: false, backend: None };
    for header in headers {
        let value = std::str::from_utf8(header.value).map_err(|_| MessageError::Malformed("a header that is not text"))?;
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| MessageError::Malformed("its length"))?;
            if head.length.replace(length).is_some() {
                return Err(MessageError::Malformed("two body lengths"));
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if head.chunked || !value.eq_ignore_ascii_case("chunked") {
                return Err(MessageError::Malformed("its transfer encoding"));
            }
            head.chunked = true;
        } else if header.name.eq_ignore_ascii_case("connection") {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("close") {
                    head.close = Some(true);
                } else if word.eq_ignore_ascii_case("keep-alive") {
                    head.close = head.close.or(Some(false));
                }
            }
        } else if header.name.eq_ignore_ascii_case("x-backend") {
            head.backend = Some(value.to_owned());
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pipelined_requests_come_out_in_order() {
        let bytes = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /b HTTP/1.0\r\n\r\n";
        let mut reader = Reader::new(&bytes[..]);
        let first = reader.request().await.expect("the first");
        assert_eq!((first.target.as_str(), first.keep_alive), ("/a", true));
        let second = reader.request().await.expect("the second");
        assert_eq!((second.target.as_str(), second.keep_alive), ("/b", false));
        assert!(matches!(reader.request().await, Err(MessageError::Closed)));
    }

    #[tokio::test]
    async fn chunks_are_joined_and_trailers_dropped() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Backend: a\r\n\r\n\
            3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n";
        let mut reader = Reader::new(&bytes[..]);
        let response = reader.response(false).await.expect("a response");
        assert_eq!(response.body, b"abcde");
        assert_eq!(response.backend.as_deref(), Some("a"));
        assert!(response.keep_alive && !reader.has_leftover());
    }

    #[tokio::test]
    async fn a_cut_body_is_said() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort";
        let outcome = Reader::new(&bytes[..]).response(false).await;
        assert!(matches!(outcome, Err(MessageError::Truncated)));
    }

    #[tokio::test]
    async fn a_body_to_the_end_ends_the_connection() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nall";
        let response = Reader::new(&bytes[..]).response(false).await.expect("a response");
        assert_eq!(response.body, b"all");
        assert!(!response.keep_alive);
    }

    #[tokio::test]
    async fn two_lengths_are_refused() {
        let bytes = b"GET / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n";
        let outcome = Reader::new(&bytes[..]).request().await;
        assert!(matches!(outcome, Err(MessageError::Malformed(_))));
    }
}
