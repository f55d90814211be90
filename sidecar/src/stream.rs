//! What a request is read from and an answer written to, on either side: a socket, or a stream within an HTTP/2 connection.
//! Bytes in and out, how it ends, whether it is still good; what the bytes mean is not known here.
//!
//! On an HTTP/2 stream the first bytes read are a head in HTTP/1 text, and heads are handed over apart from bodies; bodies are
//! bare bytes, since HTTP/2 frames them by itself.

use crate::http1::{Framing, Response};
use crate::proxy::http::mux;
use crate::tls::TlsStream;
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One side of an exchange.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Bytes as they are.
    Plain(TcpStream),
    /// TLS that ends or begins here.
    Tls(Box<TlsStream>),
    /// A stream of an HTTP/2 connection.
    H2(mux::Stream),
}

impl Stream {
    /// Reads into what is free of `buf`; nothing added is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::H2(stream) => stream.poll_read(cx, buf),
        }
    }

    /// Writes some of `bytes`.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::H2(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Writes some of the two parts, in one call where that is possible.
    pub(crate) fn poll_write_both(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
            Self::H2(stream) => stream.poll_write(cx, first),
        }
    }

    /// Ready once all that was written is on its way.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(_) | Self::H2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ends the writing side properly.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::H2(stream) => {
                stream.finish(&[]);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether heads travel apart and bodies need no framing here.
    pub(crate) fn frames_bodies(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Hands a head over where heads travel apart; whether they do. `end`: there is no body.
    pub(crate) fn send_head(&mut self, head: &[u8], end: bool) -> bool {
        match self {
            Self::Plain(_) | Self::Tls(_) => false,
            Self::H2(stream) => {
                stream.send_head(head, end);
                true
            }
        }
    }

    /// The message is whole. Trailer lines are for streams that take no framed bodies.
    pub(crate) fn finish(&mut self, trailers: &[u8]) {
        if let Self::H2(stream) = self {
            stream.finish(trailers);
        }
    }

    /// The trailer lines that ended a body that came without framing.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        match self {
            Self::Plain(_) | Self::Tls(_) => Vec::new(),
            Self::H2(stream) => stream.take_trailers(),
        }
    }

    /// An answer as the client is to be told of it, and how its body comes from here.
    pub(crate) fn framing_of(&self, response: Response) -> (Response, Framing) {
        match self {
            Self::Plain(_) | Self::Tls(_) => (response, response.body),
            Self::H2(stream) => stream.framing_of(response),
        }
    }

    /// Makes the coming drop a proper end: over TLS that has to be said, or what was sent may have been cut off.
    pub(crate) fn end(&mut self) {
        if let Self::Tls(stream) = self {
            stream.end();
        }
    }

    /// Makes the coming drop visible as an abort: what was cut off must not look whole.
    pub(crate) fn abort(&mut self) {
        match self {
            Self::Plain(stream) => reset(stream),
            Self::Tls(stream) => reset(stream.socket()),
            Self::H2(stream) => stream.abort(),
        }
    }

    /// Whether nothing has come since the last message: any byte, end or error on a waiting connection spoils it. Costs no system
    /// call unless something has happened.
    pub(crate) fn is_silent(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => stream.is_silent(),
            Self::H2(_) => false,
        }
    }

    /// The address of this end, where it is a socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.local_addr().ok(),
            Self::Tls(stream) => stream.socket().local_addr().ok(),
            Self::H2(_) => None,
        }
    }

    /// The socket beneath, for its options; never for its bytes.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.socket()),
            Self::H2(_) => None,
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

/// Makes the coming close a reset.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
