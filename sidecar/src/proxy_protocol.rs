//! The PROXY protocol, versions 1 and 2: what comes before the first byte of a connection and says whose it is. Pure and strict:
//! a header is understood whole or refused with a [`Fault`], and how its bytes arrive changes nothing.
//! Source: HAProxy's `doc/proxy-protocol.txt`, 2020/03/05.

mod crc32c;
mod v1;
mod v2;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

use evenkeel_wire::ProxyVersion;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 2 that is taken: its own 16 bytes, the largest address block (216) and TLVs, among them a
/// certificate's names. No header of version 1 is longer than [`v1::MAX`].
pub(crate) const MAX: usize = 4096;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// The sender's own (LOCAL, a check of its own for instance), or it doesn't say (UNKNOWN, AF_UNSPEC, a UNIX socket): the
    /// addresses of the connection itself hold.
    Own,
    /// Somebody's for whom the sender speaks.
    Of(Addresses),
}

/// Both ends of the connection that is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Addresses {
    /// The client.
    pub(crate) source: SocketAddr,
    /// What it connected to.
    pub(crate) destination: SocketAddr,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The first bytes are those of neither version: the sender speaks something else.
    #[error("the connection doesn't begin with a PROXY header")]
    Missing,
    /// No end within the bound.
    #[error("the header is too long")]
    TooLong,
    /// Version 1: not the fields that it must have, or not one space between them.
    #[error("the line is malformed")]
    Line,
    /// A family that version 1 doesn't know, or version 2 of something that isn't a stream.
    #[error("the protocol family is none that a stream may have")]
    Family,
    /// An address that isn't written as the family says.
    #[error("an address is malformed")]
    Address,
    /// A port that isn't a plain number up to 65535.
    #[error("a port is malformed")]
    Port,
    /// A version other than 2 behind the signature of version 2.
    #[error("the version isn't 2")]
    Version,
    /// A command other than LOCAL and PROXY.
    #[error("the command is unknown")]
    Command,
    /// The header is too short for its family's addresses.
    #[error("the length is less than the addresses need")]
    Length,
    /// The TLVs don't fill exactly what is left.
    #[error("the TLVs don't fit the length")]
    Tlv,
    /// The checksum isn't that of the header, or there are two.
    #[error("the checksum is wrong")]
    Checksum,
}

/// A header that is there whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) header: Header,
    /// So many bytes were the header; what follows is the connection's own.
    pub(crate) length: usize,
}

/// Reads the header at the beginning of `bytes`; `None` while there is less than all of it. More bytes never change an answer.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Fault> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(have, want)| have == want);
    if begins(v1::BEGIN) {
        v1::parse(bytes)
    } else if begins(v2::SIGNATURE) {
        v2::parse(bytes)
    } else {
        Err(Fault::Missing)
    }
}

/// The most that [`write`] appends.
pub(crate) const MAX_WRITTEN: usize = v1::MAX;

/// Appends the header of a connection between these addresses.
pub(crate) fn write(version: ProxyVersion, addresses: Addresses, out: &mut Vec<u8>) {
    let Addresses { source, destination } = addresses;
    let ends = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ends::V4(from, to),
        (from, to) => Ends::V6(widen(from), widen(to)),
    };
    let ports = [source.port(), destination.port()];
    match version {
        ProxyVersion::V1 => v1::write(ends, ports, out),
        ProxyVersion::V2 => v2::write(ends, ports, out),
    }
}

/// Both addresses in the one family that a header has.
enum Ends {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

fn widen(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
