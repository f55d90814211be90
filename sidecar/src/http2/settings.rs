//! SETTINGS (RFC 9113, 6.5): what this side asks for, and what the peer may ask for.

use super::fault::Reason;
use super::frame::number;
use super::{Limits, Role};
use crate::http1::MAX_HEAD;

/// The window that every stream, and the connection, has at first.
pub(super) const FIRST_WINDOW: u32 = 65_535;

const TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_STREAMS: u16 = 3;
const INITIAL_WINDOW: u16 = 4;
const FRAME_SIZE: u16 = 5;
const MAX_HEAD_LIST: u16 = 6;

/// What this side asks for.
pub(super) fn own(role: Role, limits: &Limits) -> [(u16, u32); 3] {
    let first = match role {
        Role::Server => (MAX_STREAMS, limits.max_streams),
        Role::Client => (ENABLE_PUSH, 0),
    };
    [first, (INITIAL_WINDOW, limits.stream_window), (MAX_HEAD_LIST, MAX_HEAD as u32)]
}

/// A setting of the peer's that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// How large its table for headers may be.
    TableSize(u32),
    /// How many streams may be opened.
    MaxStreams(u32),
    /// What a stream's window is at first.
    InitialWindow(u32),
}

/// Reads the payload of a SETTINGS frame, whose length is known to fit; `role` is this side's.
pub(super) fn read(payload: &[u8], role: Role) -> impl Iterator<Item = Result<Option<Setting>, Reason>> {
    payload.chunks_exact(6).map(move |entry| {
        let id = u16::from_be_bytes([entry[0], entry[1]]);
        let value = number(entry, 2);
        Ok(match id {
            TABLE_SIZE => Some(Setting::TableSize(value)),
            // Only a client may switch push on; no server has a use for it here.
            ENABLE_PUSH if value > u32::from(role == Role::Server) => return Err(Reason::Setting),
            MAX_STREAMS => Some(Setting::MaxStreams(value)),
            INITIAL_WINDOW if value > 0x7fff_ffff => return Err(Reason::WindowOverflow),
            INITIAL_WINDOW => Some(Setting::InitialWindow(value)),
            FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => return Err(Reason::Setting),
            // Frames stay as small as any peer takes them.
            _ => None,
        })
    })
}
