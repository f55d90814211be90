//! HTTP/1 without IO and without a clock: bytes in, plans and bytes out.
//! Reject, never repair: what two readers could read in two ways is refused with a typed [`Fault`]. Every head and body
//! that leaves is framed anew. Any split of the input gives the same result.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod head;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod scan;
pub(crate) mod status;
pub(crate) mod target;
pub(crate) mod write;

#[cfg(test)]
mod tests;

pub(crate) use body::{Event, Reader};
pub(crate) use fault::Fault;
pub(crate) use request::{Request, RequestParser};
pub(crate) use response::{Response, ResponseParser};

/// The longest head, in bytes, its empty line included.
pub(crate) const MAX_HEAD: usize = 32 * 1024;
/// The most header lines of a head, or trailer lines of a body.
pub(crate) const MAX_FIELDS: usize = 100;
/// The longest request target, in bytes.
pub(crate) const MAX_TARGET: usize = 8 * 1024;
/// The longest extension of one chunk, in bytes.
pub(crate) const MAX_EXTENSION: u32 = 1024;
/// The longest trailer line, in bytes.
pub(crate) const MAX_TRAILER: usize = 8 * 1024;
/// The most interim answers (1xx) before the final one.
pub(crate) const MAX_INTERIM: u32 = 10;

/// A version that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// Reads `HTTP/1.0` or `HTTP/1.1`, in capitals.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Fault> {
        match text {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            _ => Err(Fault::Version),
        }
    }
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, with trailers after the last.
    Chunked,
    /// All until the connection ends; answers only.
    UntilClose,
}
