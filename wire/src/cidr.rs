//! A network, as `trusted` lists name it: `10.0.0.0/8`, `fd00::/8`. One that no address could be in cannot be made.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// Its first address: no bit after the prefix is set.
    first: IpAddr,
    prefix: u8,
}

/// Why a text names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address, no prefix, or a prefix that is too long.
    #[error("it isn't a network such as 10.0.0.0/8 or fd00::/8")]
    Malformed,
    /// It names an address within a network.
    #[error("it has bits after the prefix; the network is {0}")]
    HostBits(Cidr),
    /// Addresses of IPv4 are written as such.
    #[error("addresses of IPv4 are compared as such; write the network in IPv4's form")]
    MappedV4,
}

impl Cidr {
    /// Whether the address is in it; one of IPv4 that is mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.first)
    }
}

/// The address without the bits after the prefix; none where the prefix is longer than the address.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let host = 32u32.checked_sub(prefix)?;
            Some(IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(host).unwrap_or(0)).into()))
        }
        IpAddr::V6(v6) => {
            let host = 128u32.checked_sub(prefix)?;
            Some(IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(host).unwrap_or(0)).into()))
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(s: &str) -> Result<Self, CidrError> {
        let (address, prefix) = s.split_once('/').ok_or(CidrError::Malformed)?;
        let is_number = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
        let address: IpAddr = address.parse().map_err(|_| CidrError::Malformed)?;
        let prefix: u8 = prefix.parse().ok().filter(|_| is_number).ok_or(CidrError::Malformed)?;
        if address.to_canonical() != address {
            return Err(CidrError::MappedV4);
        }
        let first = masked(address, prefix).ok_or(CidrError::Malformed)?;
        let cidr = Self { first, prefix };
        if first == address { Ok(cidr) } else { Err(CidrError::HostBits(cidr)) }
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(s: String) -> Result<Self, CidrError> {
        s.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(s: &str) -> Cidr {
        s.parse().unwrap_or_else(|error| panic!("{s}: {error}"))
    }

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.168.1.7/32", "192.168.1.7", "192.168.1.6"),
            ("::1/128", "::1", "::2"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "::1", "203.0.113.9"),
        ] {
            let held = |address: &str| cidr(network).contains(address.parse().expect("an address"));
            assert!(held(inside) && !held(outside), "{network}");
            assert_eq!(cidr(network).to_string(), network);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_its_reason() {
        for text in ["", "10.0.0.0", "10.0.0.0/", "/8", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10.0.0.0/8 ", "10.0.0/8", "a/8"]
        {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Malformed), "{text}");
        }
        assert_eq!("10.0.0.1/8".parse::<Cidr>(), Err(CidrError::HostBits(cidr("10.0.0.0/8"))));
        assert_eq!("::ffff:10.0.0.0/104".parse::<Cidr>(), Err(CidrError::MappedV4));
    }
}
