//! Frames (RFC 9113, 4 and 6): what stands in the nine bytes before each, which lengths and streams a kind may have, and
//! how those that go out are written.

use super::MAX_FRAME;
use super::fault::{Code, Reason};

/// Bytes before a payload.
pub(super) const HEAD: usize = 9;
/// Where in a frame its flags are.
pub(super) const FLAGS: usize = 4;

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// To be ignored (RFC 9113, 5.5).
    Unknown,
}

impl Kind {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// The nine bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// 0: the whole connection.
    pub(super) stream: u32,
}

impl FrameHead {
    /// Reads it; none while bytes are missing.
    pub(super) fn read(buf: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *buf.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        })
    }

    /// Whether a flag is set.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Refuses lengths and streams that the kind cannot have, before the payload is there. PRIORITY's length concerns its
    /// stream alone and is looked at later.
    pub(super) fn check(&self) -> Result<(), Reason> {
        let fits = match self.kind {
            _ if self.length > MAX_FRAME => false,
            Kind::Data | Kind::Headers if self.has(PADDED) => self.length >= 1,
            Kind::Reset | Kind::WindowUpdate => self.length == 4,
            Kind::Settings if self.has(ACK) => self.length == 0,
            Kind::Settings => self.length.is_multiple_of(6),
            Kind::Ping => self.length == 8,
            Kind::GoAway => self.length >= 8,
            _ => true,
        };
        let on_connection = self.stream == 0;
        let belongs = match self.kind {
            Kind::Settings | Kind::Ping | Kind::GoAway => on_connection,
            Kind::Data | Kind::Headers | Kind::Priority | Kind::Reset | Kind::Continuation => !on_connection,
            Kind::WindowUpdate | Kind::Unknown => true,
            Kind::PushPromise => return Err(Reason::Push),
        };
        match (fits, belongs) {
            (_, false) => Err(Reason::FrameStream),
            (false, _) => Err(Reason::FrameSize),
            (true, true) => Ok(()),
        }
    }
}

/// The big-endian number at `at`; 0 beyond the end.
pub(super) fn number(payload: &[u8], at: usize) -> u32 {
    let bytes = payload.get(at..).and_then(|rest| rest.first_chunk::<4>());
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Appends the nine bytes of a frame; `number` is the kind's.
fn head(out: &mut Vec<u8>, length: usize, number: u8, flags: u8, stream: u32) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, number, flags, s0, s1, s2, s3]);
}

/// Appends the nine bytes of a DATA frame.
pub(super) fn data_head(out: &mut Vec<u8>, length: usize, end: bool, stream: u32) {
    head(out, length, 0, if end { END_STREAM } else { 0 }, stream);
}

/// Appends RST_STREAM.
pub(super) fn reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    head(out, 4, 3, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends SETTINGS.
pub(super) fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    head(out, settings.len() * 6, 4, 0, 0);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the answer to SETTINGS.
pub(super) fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, 4, ACK, 0);
}

/// Appends PING.
pub(super) fn ping(out: &mut Vec<u8>, ack: bool, opaque: [u8; 8]) {
    head(out, 8, 6, if ack { ACK } else { 0 }, 0);
    out.extend_from_slice(&opaque);
}

/// Appends GOAWAY.
pub(super) fn go_away(out: &mut Vec<u8>, last: u32, code: Code) {
    head(out, 8, 7, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE.
pub(super) fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    head(out, 4, 8, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends HEADERS, and CONTINUATION where the block is longer than a frame: `block` writes it.
pub(super) fn headers(out: &mut Vec<u8>, stream: u32, end: bool, block: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let flags = if end { END_STREAM } else { 0 };
    head(out, 0, 1, flags | END_HEADERS, stream);
    block(out);
    let length = out.len() - start - HEAD;
    if length > MAX_FRAME {
        return split_headers(out, start, flags, stream);
    }
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    out[start..start + 3].copy_from_slice(&[l0, l1, l2]);
}

fn split_headers(out: &mut Vec<u8>, start: usize, flags: u8, stream: u32) {
    let block = out.split_off(start).split_off(HEAD);
    let pieces = block.chunks(MAX_FRAME);
    let last = pieces.len() - 1;
    for (at, piece) in pieces.enumerate() {
        let (number, flags) = if at == 0 { (1, flags) } else { (9, 0) };
        head(out, piece.len(), number, if at == last { flags | END_HEADERS } else { flags }, stream);
        out.extend_from_slice(piece);
    }
}
