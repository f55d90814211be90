//! HTTP/2 frames as bytes, good ones and bad ones (RFC 9113, 4.1). Headers are literals that no table takes part in (RFC 7541,
//! 6.2.2), so that a test can write anything. Blocking, over one socket.

use anyhow::{Result, bail, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub mod kind {
    #![allow(missing_docs, reason = "names of RFC 9113, 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Error codes that tests name.
pub mod code {
    #![allow(missing_docs, reason = "names of RFC 9113, 7")]
    pub const NO_ERROR: u32 = 0;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// END_STREAM of HEADERS and DATA; ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 4;
/// SETTINGS_MAX_CONCURRENT_STREAMS.
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// One frame that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it ends its stream's side.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// The error code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }
}

/// A frame with its length as it is.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// SETTINGS with these.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// GOAWAY.
pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// WINDOW_UPDATE.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// HEADERS of one frame.
pub fn headers(stream: u32, lines: &[(&str, &str)], end: bool) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &block(lines))
}

/// A header block of literals without indexing, names and values as they are.
pub fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in lines {
        bytes.push(0);
        string(&mut bytes, name.as_bytes());
        string(&mut bytes, value.as_bytes());
    }
    bytes
}

/// A string literal that isn't Huffman-coded (RFC 7541, 5.2).
pub fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    integer(bytes, 0, 7, text.len());
    bytes.extend_from_slice(text);
}

/// An integer after `pattern` in a prefix of so many bits (RFC 7541, 5.1).
pub fn integer(bytes: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let most = (1usize << bits) - 1;
    if value < most {
        return bytes.push(pattern | value as u8);
    }
    bytes.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// The next frame; an end of the connection is an error.
pub fn read_frame(mut stream: &TcpStream) -> Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    ensure!(length <= 1 << 20, "a frame of {length} bytes: is this HTTP/2? {}", head.escape_ascii());
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Ok(Frame { kind: head[3], flags: head[4], stream: id, payload })
}

/// Reads a client's preface.
pub fn read_preface(mut stream: &TcpStream) -> Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface)?;
    if preface != PREFACE {
        bail!("no HTTP/2 preface: {}", preface.escape_ascii());
    }
    Ok(())
}

/// Opens a client's connection: preface and SETTINGS.
pub fn open(mut stream: &TcpStream, own: &[(u16, u32)]) -> Result<()> {
    stream.write_all(&[PREFACE, &settings(own)].concat())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_the_rfc() {
        let coded = |bits, value| {
            let mut bytes = Vec::new();
            integer(&mut bytes, 0, bits, value);
            bytes
        };
        assert_eq!(coded(5, 10), [0b01010]);
        assert_eq!(coded(5, 1337), [0b11111, 0b1001_1010, 0b1010]);
        assert_eq!(coded(8, 42), [42]);
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let (far, _) = listener.accept().expect("accepts");
        near.write_all(&goaway(7, code::ENHANCE_YOUR_CALM)).expect("writes");
        let read = read_frame(&far).expect("a frame");
        assert_eq!((read.kind, read.stream, read.code()), (kind::GOAWAY, 0, Some(11)));
    }
}
