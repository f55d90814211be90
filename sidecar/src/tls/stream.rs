//! One TLS connection of either role over a TCP socket. A connection that waits holds no buffer: bytes are read into, and
//! sealed in, buffers of the thread, and only what cannot be passed on at once is kept with the connection.

use super::session::{Advance, Session};
use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The longest record: 16 KiB, what encryption may add, and its head.
const RECORD: usize = 16 * 1024 + 256 + 5;
/// The most plaintext that is sealed at once: two records.
const MAX_PLAIN: usize = 32 * 1024;
/// What that becomes: both records' heads, nonces, types and tags, and a key update before them, and to spare.
const MAX_SEALED: usize = MAX_PLAIN + 512;
/// The most ciphertext that may wait for the rest of its record or handshake message: a client sends no long ones, a server
/// its certificates.
const MAX_WAITING: (usize, usize) = (RECORD, 64 * 1024);
/// The buffer that ciphertext is read into: what waits, then what a reader has room for.
const INCOMING: usize = MAX_WAITING.1 + MAX_READ;
/// The most that is read at once.
const MAX_READ: usize = 2 * RECORD;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; INCOMING].into(),
        plain: vec![0; MAX_PLAIN].into(),
        sealed: vec![0; MAX_SEALED].into(),
    });
}

/// Buffers that a thread's connections share, from one call to its return.
struct Scratch {
    incoming: Box<[u8]>,
    plain: Box<[u8]>,
    sealed: Box<[u8]>,
}

/// The protocol that the handshake agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// `h2`.
    Http2,
    /// `http/1.1`.
    Http1,
    /// None was asked for or none offered.
    None,
}

/// A TLS connection.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: Session,
    /// Ciphertext of a record that isn't whole yet.
    incoming: Vec<u8>,
    /// Plaintext that a reader had no room for.
    plain: Waiting,
    /// Ciphertext that the socket had no room for.
    outgoing: Waiting,
    read: Side,
    written: Side,
    /// Who waits until more can be written, and is to be woken then.
    writer: Option<Waker>,
}

/// Where one way of a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    /// Ended properly.
    Ended,
    /// Ended by an error.
    Broken,
}

/// Bytes that wait to be passed on.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    passed: usize,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.passed..]
    }

    /// So many more are passed on; nothing is kept of what is.
    fn pass(&mut self, count: usize) {
        self.passed += count;
        if self.passed == self.bytes.len() {
            *self = Self::default();
        }
    }
}

/// Why a handshake doesn't succeed.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer speaks no TLS: so its first bytes begin.
    NoTls([u8; 4]),
    /// Against the rules, or against ours.
    Tls(rustls::Error),
    /// The connection ended; whether after a byte.
    Ended { silent: bool },
    /// The socket failed.
    Socket(io::Error),
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, session: Session) -> Self {
        let (incoming, plain, outgoing) = (Vec::new(), Waiting::default(), Waiting::default());
        Self { socket, session, incoming, plain, outgoing, read: Side::Open, written: Side::Open, writer: None }
    }

    /// The socket beneath: for its addresses and options, never for its bytes.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What the handshake agreed on.
    pub(crate) fn alpn(&self) -> Alpn {
        match self.session.state().alpn_protocol() {
            Some(b"h2") => Alpn::Http2,
            Some(b"http/1.1") => Alpn::Http1,
            _ => Alpn::None,
        }
    }

    /// Whether nothing has come that a reader would see: neither a byte nor an end nor an error. What the protocol sends for
    /// itself (session tickets, key updates) is taken in. For a connection that waits and that nobody polls.
    pub(crate) fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let mut room = ReadBuf::new(&mut byte);
        Pin::new(self).poll_read(&mut Context::from_waker(Waker::noop()), &mut room).is_pending()
    }

    /// Says that this side ends properly, if that can be said without waiting: for a connection that is done with.
    pub(crate) fn end(&mut self) {
        if self.written == Side::Open && self.read != Side::Broken {
            self.queue_end();
            self.try_send();
        }
    }

    fn queue_end(&mut self) {
        self.session.end(&mut self.incoming, &mut self.outgoing.bytes);
        self.written = Side::Ended;
    }

    /// Goes on with the handshake until it is done and its last bytes are sent.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_send(cx)).map_err(Broken::Socket)?;
            if !self.session.state().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx, &mut ReadBuf::new(&mut [])))?;
        }
    }

    /// What the handshake begins with, if this side begins; to be sent by [`TlsStream::poll_handshake`].
    pub(super) fn begin(&mut self) -> Result<(), Broken> {
        self.session.advance(&mut [], |_| {}, &mut self.outgoing.bytes).map(drop).map_err(Broken::Tls)
    }

    /// Sends what waits to be sent.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = Pin::new(&mut self.socket).poll_write(cx, self.outgoing.rest());
            match ready!(written)? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => self.outgoing.pass(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what goes at once. What doesn't may never go.
    pub(super) fn try_send(&mut self) {
        if let Ok(count) = self.socket.try_write(self.outgoing.rest()) {
            self.outgoing.pass(count);
        }
    }

    /// Lets `bytes` go before all else and as they are: for a peer that speaks no TLS.
    pub(super) fn send_plainly(&mut self, bytes: &[u8]) {
        self.outgoing = Waiting { bytes: bytes.to_vec(), passed: 0 };
    }

    /// The bytes of memory that it holds besides its keys.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.incoming.capacity() + self.plain.bytes.capacity() + self.outgoing.bytes.capacity()
    }

    /// Gives up on TLS.
    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Who only reads must not keep the peer from what was written before. An error shows to the writer, and a writer that waits in
    /// another task stays the one that is woken.
    fn send_as_reader(&mut self, cx: &mut Context<'_>) {
        if !self.outgoing.is_empty() && self.writer.as_ref().is_none_or(|writer| writer.will_wake(cx.waker())) {
            let _ = self.poll_send(cx);
        }
    }

    fn note_writer(&mut self, cx: &Context<'_>, waits: bool) {
        match (&mut self.writer, waits) {
            (Some(writer), true) => writer.clone_from(cx.waker()),
            (writer, true) => *writer = Some(cx.waker().clone()),
            (writer, false) => *writer = None,
        }
    }

    /// Reads once and takes in what came; ready if there was anything, even if it held no plaintext.
    fn poll_receive(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<Result<(), Broken>> {
        SCRATCH.with_borrow_mut(|Scratch { incoming: scratch, .. }| {
            let waits = self.incoming.len();
            let most = waits + (room.remaining() + RECORD).min(MAX_READ);
            scratch[..waits].copy_from_slice(&self.incoming);
            let mut buffer = ReadBuf::new(&mut scratch[waits..most]);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)).map_err(Broken::Socket)?;
            let read = buffer.filled().len();
            let taken = match read {
                0 => Err(Broken::Ended { silent: waits == 0 && self.is_untouched() }),
                _ => self.take_in(&mut scratch[..waits + read], room),
            };
            if taken.is_err() {
                self.read = Side::Broken;
            }
            Poll::Ready(taken)
        })
    }

    /// `bytes` are what waited and what came.
    fn take_in(&mut self, bytes: &mut [u8], room: &mut ReadBuf<'_>) -> Result<(), Broken> {
        /// The types of records: a connection begins with one of the handshake (22) or an alert (21), and what comes first
        /// against these rules is still TLS.
        const TYPES: std::ops::RangeInclusive<u8> = 20..=24;
        if self.is_untouched() && !TYPES.contains(&bytes[0]) {
            return Err(Broken::NoTls(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0))));
        }
        let Self { session, plain, outgoing, .. } = self;
        let keep = |record: &[u8]| {
            let fits = record.len().min(room.remaining());
            room.put_slice(&record[..fits]);
            plain.bytes.extend_from_slice(&record[fits..]);
        };
        let Advance { used, ended } = session.advance(bytes, keep, &mut outgoing.bytes).map_err(Broken::Tls)?;
        let rest = &bytes[used..];
        if rest.len() > self.most_waiting() {
            return Err(Broken::Tls(rustls::Error::PeerSentOversizedRecord));
        }
        // Capacity that isn't used is memory that waits along.
        self.incoming = rest.to_vec();
        if ended {
            self.read = Side::Ended;
        }
        Ok(())
    }

    fn most_waiting(&self) -> usize {
        match self.session {
            Session::Client(_) if self.session.state().is_handshaking() => MAX_WAITING.1,
            _ => MAX_WAITING.0,
        }
    }

    /// Whether not a whole message of the peer's has come yet.
    fn is_untouched(&self) -> bool {
        self.session.state().protocol_version().is_none()
    }

    /// Seals as much of `parts` as goes at once and sends it, or keeps it to be sent.
    fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|Scratch { plain, sealed, .. }| {
            let one = match parts {
                [part] => &part[..part.len().min(MAX_PLAIN)],
                _ => gather(parts, plain),
            };
            if one.is_empty() {
                return Ok(0);
            }
            let count = self.session.seal(one, &mut self.incoming, sealed).ok_or(ErrorKind::BrokenPipe)?;
            let sent = match self.socket.try_write(&sealed[..count]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                written => written?,
            };
            self.outgoing.bytes.extend_from_slice(&sealed[sent..count]);
            Ok(one.len())
        })
    }
}

/// The parts in one piece, as far as they fit.
fn gather<'a>(parts: &[IoSlice<'_>], into: &'a mut [u8]) -> &'a [u8] {
    let mut filled = 0;
    for part in parts {
        let fits = part.len().min(into.len() - filled);
        into[filled..filled + fits].copy_from_slice(&part[..fits]);
        filled += fits;
    }
    &into[..filled]
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl AsyncRead for TlsStream {
    /// An end without the peer's word that it is one is an error: something may have been cut off.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.send_as_reader(cx);
        let before = room.filled().len();
        loop {
            if !self.plain.is_empty() {
                let fits = self.plain.rest().len().min(room.remaining());
                room.put_slice(&self.plain.rest()[..fits]);
                self.plain.pass(fits);
            }
            match self.read {
                _ if room.filled().len() > before || room.remaining() == 0 => return Poll::Ready(Ok(())),
                Side::Open => {}
                Side::Ended => return Poll::Ready(Ok(())),
                Side::Broken => return Poll::Ready(Err(ErrorKind::ConnectionAborted.into())),
            }
            let received = ready!(self.poll_receive(cx, room)).map_err(io::Error::from);
            self.send_as_reader(cx);
            received?;
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// Takes a part only while nothing waits to be sent, so that no more than that part ever does.
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.written != Side::Open {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let ready = match self.poll_send(cx) {
            Poll::Ready(Ok(())) => self.socket.poll_write_ready(cx),
            waits => waits,
        };
        self.note_writer(cx, ready.is_pending());
        ready!(ready)?;
        let written = self.write(parts);
        if written.is_err() {
            self.written = Side::Broken;
        }
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.poll_send(cx);
        self.note_writer(cx, sent.is_pending());
        sent
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.written == Side::Open {
            self.queue_end();
        }
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::NoTls(_) => ErrorKind::InvalidData.into(),
            Broken::Tls(error) => Self::new(ErrorKind::InvalidData, error),
            Broken::Ended { .. } => ErrorKind::UnexpectedEof.into(),
            Broken::Socket(error) => error,
        }
    }
}
