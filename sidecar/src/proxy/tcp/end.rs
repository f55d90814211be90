//! One end of a relayed connection: a bare socket, which may be spliced and says of itself when it breaks, or something above one.

use crate::stream::Stream;
use socket2::SockRef;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

/// One end.
pub(crate) enum End<'a> {
    /// Bytes are those of the socket.
    Socket(&'a TcpStream),
    /// Bytes are made of those of the socket.
    Layered(&'a mut Stream),
}

impl<'a> End<'a> {
    /// The end that `stream` is.
    pub(crate) fn of(stream: &'a mut Stream) -> Self {
        match stream {
            Stream::Plain(socket) => Self::Socket(socket),
            layered => Self::Layered(layered),
        }
    }

    /// The socket, if bytes are those of it.
    pub(super) fn socket(&self) -> Option<&'a TcpStream> {
        match self {
            Self::Socket(socket) => Some(socket),
            Self::Layered(_) => None,
        }
    }

    /// Reads some bytes; none is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Socket(socket) => {
                let socket = *socket;
                let room = buffer.len();
                poll_io(cx, socket, Side::Read, || {
                    let read = rustix::io::read(socket, &mut *buffer)?;
                    // Less than there was room for: that was all, which the next read needn't find out.
                    Ok((read, read == 0 || read == room))
                })
            }
            Self::Layered(stream) => {
                let mut buffer = ReadBuf::new(buffer);
                stream.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
            }
        }
    }

    /// Writes some of `bytes`.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Socket(socket) => {
                let socket = *socket;
                poll_io(cx, socket, Side::Write, || {
                    let written = rustix::net::send(socket, bytes, rustix::net::SendFlags::NOSIGNAL)?;
                    Ok((written, written == bytes.len()))
                })
            }
            Self::Layered(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Ready once all that was written is on its way.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(_) => Poll::Ready(Ok(())),
            Self::Layered(stream) => stream.poll_flush(cx),
        }
    }

    /// Ends the writing side.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(socket) => Poll::Ready(SockRef::from(*socket).shutdown(Shutdown::Write)),
            Self::Layered(stream) => stream.poll_shutdown(cx),
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Read,
    Write,
}

/// One call on a socket that is ready for it. `call` says what it did and whether the socket may be ready still; where it isn't,
/// the next call waits for the kernel's word, which comes once there is more (edge-triggered).
pub(super) fn poll_io(
    cx: &mut Context<'_>,
    socket: &TcpStream,
    side: Side,
    mut call: impl FnMut() -> io::Result<(usize, bool)>,
) -> Poll<io::Result<usize>> {
    loop {
        let interest = match side {
            Side::Read => {
                ready!(socket.poll_read_ready(cx))?;
                Interest::READABLE
            }
            Side::Write => {
                ready!(socket.poll_write_ready(cx))?;
                Interest::WRITABLE
            }
        };
        let mut done = None;
        let called = socket.try_io(interest, || {
            let (moved, may_be_ready) = call()?;
            done = Some(moved);
            if may_be_ready { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
        });
        match (done, called) {
            (Some(moved), _) => return Poll::Ready(Ok(moved)),
            (None, Err(error)) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Poll::Ready(Err(error));
            }
            (None, _) => {}
        }
    }
}

/// Ends when the socket has broken, whether or not anybody reads from it.
pub(super) async fn broken(socket: Option<&TcpStream>) {
    match socket {
        Some(socket) => drop(socket.ready(Interest::ERROR).await),
        None => pending().await,
    }
}
