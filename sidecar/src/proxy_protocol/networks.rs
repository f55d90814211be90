//! Sets of addresses, written as CIDR: who may speak for others.

use std::net::{IpAddr, Ipv6Addr};

/// Networks, each as its lowest and highest address; IPv4 as mapped into IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Networks(Vec<(u128, u128)>);

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network; write an address and a prefix length, as in 10.0.0.0/8, without bits beyond the prefix")]
pub(crate) struct BadNetwork(pub(crate) String);

impl Networks {
    /// Reads networks; an address alone is a network of one.
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, BadNetwork> {
        let one = |text: &'a str| network(text).ok_or_else(|| BadNetwork(text.chars().take(80).collect()));
        texts.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them has this address. An IPv4 address and its mapped form are the same.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = widen(address).to_bits();
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&address))
    }
}

fn network(text: &str) -> Option<(u128, u128)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length: u32 = match length {
        Some(text) if text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
        Some(_) => return None,
        None => bits,
    };
    let rest = u128::MAX.checked_shr(128 - bits.checked_sub(length)?).unwrap_or(0);
    let low = widen(address).to_bits();
    (low & rest == 0).then_some((low, low | rest))
}

/// The address in IPv6.
pub(super) fn widen(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
