//! Version 2: sixteen bytes, the addresses, then TLVs, of which only the checksum means something here.

use super::crc32c::crc32c;
use super::{Addresses, Ends, Fault, Header, MAX, Parsed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// How every header begins.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;

const VERSION: u8 = 0x20;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const STREAM_V4: u8 = 0x11;
const STREAM_V6: u8 = 0x21;
const STREAM_UNIX: u8 = 0x31;

/// What a checksum's TLV is called, and how many bytes one has.
const CRC32C: (u8, usize) = (0x03, 4);

/// `bytes` begin as [`SIGNATURE`] does.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Fault> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return if bytes.len() > SIGNATURE.len() { command(bytes[SIGNATURE.len()]).map(|_| None) } else { Ok(None) };
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let command = command(version_and_command)?;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    let addresses = if command == LOCAL { 0 } else { addresses_length(family)? };
    if length > MAX {
        return Err(Fault::TooLong);
    }
    if length < FIXED + addresses {
        return Err(Fault::Length);
    }
    let Some(whole) = bytes.get(..length) else { return Ok(None) };
    let block = &whole[FIXED..];
    let header = match (command, family) {
        // Whatever they say of addresses is to be ignored, TLVs included.
        (LOCAL, _) | (_, 0) => return Ok(Some(Parsed { header: Header::Own, length })),
        (_, STREAM_V4) => addresses_of(block, v4),
        (_, STREAM_V6) => addresses_of(block, v6),
        _ => Header::Own,
    };
    check_tlvs(whole, FIXED + addresses)?;
    Ok(Some(Parsed { header, length }))
}

fn command(byte: u8) -> Result<u8, Fault> {
    match (byte & 0xf0, byte & 0x0f) {
        (VERSION, command @ (LOCAL | PROXY)) => Ok(command),
        (VERSION, _) => Err(Fault::Command),
        _ => Err(Fault::Version),
    }
}

/// The bytes of both addresses and ports. A family that isn't in the protocol, or has no streams, is an error: this is one.
fn addresses_length(family: u8) -> Result<usize, Fault> {
    match family {
        0 => Ok(0),
        STREAM_V4 => Ok(12),
        STREAM_V6 => Ok(36),
        STREAM_UNIX => Ok(216),
        _ => Err(Fault::Family),
    }
}

/// Both addresses, then both ports; `block` is long enough.
fn addresses_of<const N: usize>(block: &[u8], address: impl Fn([u8; N]) -> std::net::IpAddr) -> Header {
    let end = |at: usize| {
        let mut octets = [0; N];
        octets.copy_from_slice(&block[at * N..(at + 1) * N]);
        let port = 2 * N + 2 * at;
        SocketAddr::new(address(octets), u16::from_be_bytes([block[port], block[port + 1]]))
    };
    Header::Of(Addresses { source: end(0), destination: end(1) })
}

fn v4(octets: [u8; 4]) -> std::net::IpAddr {
    Ipv4Addr::from(octets).into()
}

fn v6(octets: [u8; 16]) -> std::net::IpAddr {
    Ipv6Addr::from(octets).into()
}

/// Walks the TLVs from `at`: they must end where the header does, and a checksum must be right.
fn check_tlvs(whole: &[u8], mut at: usize) -> Result<(), Fault> {
    let mut checksum = None;
    while at < whole.len() {
        let [kind, high, low] = *whole[at..].first_chunk().ok_or(Fault::Tlv)?;
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        let bytes = whole.get(value.clone()).ok_or(Fault::Tlv)?;
        if kind == CRC32C.0 {
            let said = bytes.try_into().map(u32::from_be_bytes).map_err(|_| Fault::Checksum)?;
            if checksum.replace((value.start, said)).is_some() {
                return Err(Fault::Checksum);
            }
        }
        at = value.end;
    }
    match checksum {
        // It was taken with its own place filled with zeros.
        Some((place, said)) if crc32c([&whole[..place], &[0; CRC32C.1], &whole[place + CRC32C.1..]]) != said => {
            Err(Fault::Checksum)
        }
        _ => Ok(()),
    }
}

pub(super) fn write(ends: Ends, ports: [u16; 2], out: &mut Vec<u8>) {
    let (family, length): (u8, u16) = match ends {
        Ends::V4(..) => (STREAM_V4, 12),
        Ends::V6(..) => (STREAM_V6, 36),
    };
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[VERSION | PROXY, family]);
    out.extend_from_slice(&length.to_be_bytes());
    match ends {
        Ends::V4(source, destination) => [source, destination].iter().for_each(|end| out.extend_from_slice(&end.octets())),
        Ends::V6(source, destination) => [source, destination].iter().for_each(|end| out.extend_from_slice(&end.octets())),
    }
    ports.iter().for_each(|port| out.extend_from_slice(&port.to_be_bytes()));
}
