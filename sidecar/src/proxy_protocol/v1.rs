//! Version 1: one line of text.

use super::{Addresses, Ends, Fault, Header, Parsed};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How every line begins.
pub(super) const BEGIN: &[u8] = b"PROXY ";
/// The longest line, its CRLF included.
pub(super) const MAX: usize = 107;

/// `bytes` begin as [`BEGIN`] does.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Fault> {
    let window = &bytes[..bytes.len().min(MAX)];
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if window.len() < MAX { Ok(None) } else { Err(Fault::TooLong) };
    };
    match (window[end], window.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if window.len() < MAX => return Ok(None),
        (b'\r', None) => return Err(Fault::TooLong),
        // A bare CR or LF.
        _ => return Err(Fault::Line),
    }
    let rest = window[..end].strip_prefix(BEGIN).ok_or(Fault::Line)?;
    let header = parse_fields(rest)?;
    Ok(Some(Parsed { header, length: end + 2 }))
}

fn parse_fields(fields: &[u8]) -> Result<Header, Fault> {
    let fields = str::from_utf8(fields).map_err(|_| Fault::Line)?;
    let (family, rest) = fields.split_once(' ').unwrap_or((fields, ""));
    match family {
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Ok(Header::Own),
        "TCP4" | "TCP6" => {}
        _ => return Err(Fault::Family),
    }
    let mut fields = rest.split(' ');
    let mut next = || fields.next().ok_or(Fault::Line);
    let texts = [next()?, next()?, next()?, next()?];
    if fields.next().is_some() {
        return Err(Fault::Line);
    }
    let [source, destination, source_port, destination_port] = texts;
    let address = |text| if family == "TCP4" { v4(text) } else { v6(text) };
    let (source, destination) = (address(source)?, address(destination)?);
    Ok(Header::Of(Addresses {
        source: SocketAddr::new(source, port(source_port)?),
        destination: SocketAddr::new(destination, port(destination_port)?),
    }))
}

fn v4(text: &str) -> Result<IpAddr, Fault> {
    text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Fault::Address)
}

/// Groups of hexadecimal digits only: the dotted end that Rust understands too isn't allowed here.
fn v6(text: &str) -> Result<IpAddr, Fault> {
    match text.parse::<Ipv6Addr>() {
        Ok(address) if !text.contains('.') => Ok(IpAddr::V6(address)),
        _ => Err(Fault::Address),
    }
}

/// Digits without a sign or a leading zero.
fn port(text: &str) -> Result<u16, Fault> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| Fault::Port) } else { Err(Fault::Port) }
}

pub(super) fn write(ends: Ends, [source_port, destination_port]: [u16; 2], out: &mut Vec<u8>) {
    // To a vector nothing fails.
    let _ = match ends {
        Ends::V4(source, destination) => {
            write!(out, "PROXY TCP4 {source} {destination} {source_port} {destination_port}\r\n")
        }
        Ends::V6(source, destination) => {
            let (source, destination) = (Groups(source), Groups(destination));
            write!(out, "PROXY TCP6 {source} {destination} {source_port} {destination_port}\r\n")
        }
    };
}

/// An IPv6 address without the dotted end that a mapped one is shown with.
struct Groups(Ipv6Addr);

impl std::fmt::Display for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.to_ipv4_mapped() {
            Some(_) => {
                let [.., high, low] = self.0.segments();
                write!(f, "::ffff:{high:x}:{low:x}")
            }
            // `::a.b.c.d` is shown with dots too.
            None if self.0.segments()[..6] == [0; 6] && self.0.segments()[6] != 0 => {
                let [.., high, low] = self.0.segments();
                write!(f, "::{high:x}:{low:x}")
            }
            None => self.0.fmt(f),
        }
    }
}
