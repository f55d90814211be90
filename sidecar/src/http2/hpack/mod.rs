//! Header compression (RFC 7541): blocks to fields and back, both sides' tables at most 4 KiB.

mod decode;
mod encode;
mod huffman;
mod static_table;
mod table;

pub(super) use decode::Decoder;
#[cfg(test)]
pub(super) use encode::string as write_string;
pub(super) use encode::{Encoder, Form, Part};
pub(super) use static_table::Kind;

/// The most that a dynamic table may hold, as RFC 7541, 4.1 counts: the default of both peers.
pub(super) const MAX_TABLE: u32 = 4096;

/// A block that cannot be decoded: both tables differ from now on, so the connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;
