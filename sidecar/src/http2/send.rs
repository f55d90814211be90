//! What goes out: heads and trailers from HTTP/1.1 text, and data within the windows.

use super::connection::{Connection, Ending};
use super::frame;
use super::hpack::{Encoder, Form, Part};
use super::stream::{Ended, Stream, Window};
use super::{MAX_FRAME, NoStream, Role, Scheme, StreamId};
use crate::http1::scan;

/// Streams that may be opened before the server has said how many it takes (RFC 9113, 6.5.2, asks for at least so many).
const MAX_STREAMS: u32 = 100;

impl Connection {
    /// Client: opens a stream with a request head, HTTP/1.1 text with a Host line, with or without its empty line. Lines
    /// that concern one connection only are left out; `te: trailers` is added for gRPC.
    pub(crate) fn open(&mut self, head: &[u8], end: bool) -> Result<StreamId, NoStream> {
        self.may_open()?;
        let request = Request::read(head).ok_or(NoStream::Head)?;
        let id = self.last + if self.last == 0 { 1 } else { 2 };
        self.last = id;
        let Self { out, encoder, scheme, .. } = self;
        frame::headers(out, id, end, |out| {
            encoder.block(out, (Part::Head, head), |encoder, out| request.encode(encoder, *scheme, out));
        });
        let windows = (Window::new(self.peer.initial_window), self.limits.stream_window);
        let to_head = request.method == b"HEAD";
        self.streams.insert(Stream { to_head, local_ended: end, ..Stream::new(id, windows.0, windows.1) });
        Ok(StreamId(id))
    }

    /// Client: whether [`Connection::open`] would find room.
    pub(crate) fn may_open(&self) -> Result<(), NoStream> {
        if self.role != Role::Client || self.ending != Ending::Open || self.last >= 0x7fff_fffd {
            return Err(NoStream::GoingAway);
        }
        let most = self.peer.max_streams.unwrap_or(MAX_STREAMS).min(self.limits.max_streams);
        if self.streams.len() >= most as usize { Err(NoStream::AtLimit) } else { Ok(()) }
    }

    /// Server: sends an answer's head, HTTP/1.1 text, interim (1xx, never `end`) or final. Nothing if the stream is gone.
    pub(crate) fn send_head(&mut self, stream: StreamId, head: &[u8], end: bool) {
        if !self.may_send(stream) {
            return;
        }
        let Some((status, lines)) = head.get(9..12).zip(after_line(head)) else { return };
        let mut digits = [0; 3];
        digits.copy_from_slice(status);
        let Self { out, encoder, .. } = self;
        frame::headers(out, stream.0, end, |out| {
            encoder.block(out, (Part::Head, head), |encoder, out| {
                encoder.status(out, digits);
                Lines(lines).for_each(|line| encoder.line(out, line));
            });
        });
        if end {
            self.local_ended(stream.0);
        }
    }

    /// Sends as much of `data` as the windows allow, and says how much that was. `end`: the stream ends with it, if all
    /// was sent; an empty `data` always is. A stream that is gone takes everything.
    pub(crate) fn send_data(&mut self, stream: StreamId, data: &[u8], end: bool) -> usize {
        let Some(found) = self.streams.get_mut(stream.0).filter(|found| !found.local_ended) else { return data.len() };
        let count = data.len().min(found.outbound.available()).min(self.outbound.available());
        let ends = end && count == data.len();
        if count == 0 && !ends {
            return 0;
        }
        if count == 0 && self.last_data.is_some_and(|(id, at)| id == stream.0 && at >= self.written) {
            // What has just been written of it hasn't left yet: a frame less for both sides.
            let at = self.last_data.map_or(0, |(_, at)| at);
            self.out[at + frame::FLAGS] |= frame::END_STREAM;
            self.local_ended(stream.0);
            return 0;
        }
        found.outbound.take(count);
        self.outbound.take(count);
        self.budget.earn_by_data();
        let (mut rest, out) = (&data[..count], &mut self.out);
        loop {
            let (piece, after) = rest.split_at(rest.len().min(MAX_FRAME));
            self.last_data = Some((stream.0, out.len()));
            frame::data_head(out, piece.len(), ends && after.is_empty(), stream.0);
            out.extend_from_slice(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if ends {
            self.local_ended(stream.0);
        }
        count
    }

    /// How many bytes the windows allow to be sent on the stream now.
    #[cfg(test)]
    pub(crate) fn capacity(&self, stream: StreamId) -> usize {
        let stream = self.streams.get(stream.0);
        stream.map_or(0, |stream| stream.outbound.available().min(self.outbound.available()))
    }

    /// Ends the stream with trailer lines (`Name: value` CRLF each); without any, it just ends.
    pub(crate) fn send_trailers(&mut self, stream: StreamId, lines: &[u8]) {
        if !self.may_send(stream) {
            return;
        }
        if Lines(lines).next().is_none() {
            self.send_data(stream, &[], true);
            return;
        }
        let Self { out, encoder, .. } = self;
        frame::headers(out, stream.0, true, |out| {
            encoder.block(out, (Part::Trailers, lines), |encoder, out| {
                Lines(lines).for_each(|line| encoder.line(out, line));
            });
        });
        self.local_ended(stream.0);
    }

    fn may_send(&self, stream: StreamId) -> bool {
        self.streams.get(stream.0).is_some_and(|stream| !stream.local_ended)
    }

    /// This side has sent all.
    fn local_ended(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.local_ended = true;
        if stream.remote_ended {
            self.end(id, Ended::Closed);
        }
    }
}

/// A request's head, taken apart.
struct Request<'a> {
    method: &'a [u8],
    path: &'a [u8],
    authority: &'a [u8],
    lines: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(head: &'a [u8]) -> Option<Self> {
        let lines = after_line(head)?;
        let line = &head[..head.len() - lines.len()];
        let mut words = line.split(|b| *b == b' ');
        let (method, path) = (words.next()?, words.next()?);
        let authority = Lines(lines).find_map(|line| value_of(line, b"host:"))?;
        Some(Self { method, path, authority, lines })
    }

    fn encode(&self, encoder: &mut Encoder, scheme: Scheme, out: &mut Vec<u8>) {
        match self.method {
            b"GET" => encoder.static_entry(out, 2),
            b"POST" => encoder.static_entry(out, 3),
            method => encoder.pseudo(out, Form::Method, method),
        }
        encoder.static_entry(out, if scheme == Scheme::Http { 6 } else { 7 });
        match self.path {
            b"/" => encoder.static_entry(out, 4),
            path => encoder.pseudo(out, Form::Path, path),
        }
        encoder.pseudo(out, Form::Authority, self.authority);
        let mut is_grpc = false;
        for line in Lines(self.lines) {
            match line[0].to_ascii_lowercase() {
                b'h' if value_of(line, b"host:").is_some() => continue,
                b't' if value_of(line, b"te:").is_some() => continue,
                b'c' => is_grpc |= value_of(line, b"content-type:").is_some_and(|v| v.starts_with(b"application/grpc")),
                _ => {}
            }
            encoder.line(out, line);
        }
        // gRPC wants to hear that trailers are understood; what a client says of it concerns the client's hop alone.
        if is_grpc {
            encoder.line(out, b"te: trailers");
        }
    }
}

/// The value of a line if it starts with `name`, in lower case and with its colon.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| scan::trim(value))
}

/// What follows the first line.
fn after_line(head: &[u8]) -> Option<&[u8]> {
    let end = find_cr(head)?;
    head.get(end + 2..)
}

/// Where the first CR stands; eight bytes at a time. A borrow can only mark bytes above a true hit.
#[inline]
fn find_cr(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const CRS: u64 = ONES * b'\r' as u64;
    let mut rest = text;
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight) ^ CRS;
        let hits = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if hits != 0 {
            return Some(text.len() - rest.len() + (hits.trailing_zeros() / 8) as usize);
        }
        rest = after;
    }
    let at = rest.iter().position(|b| *b == b'\r')?;
    Some(text.len() - rest.len() + at)
}

/// The lines of a head without their CRLF, up to the empty one.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = find_cr(self.0)?;
        let line = &self.0[..end];
        self.0 = self.0.get(end + 2..).unwrap_or_default();
        (!line.is_empty()).then_some(line)
    }
}
