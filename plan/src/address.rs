//! Which addresses a pool may send traffic to. What a pool names must not lead to the sidecar's or the operator's own host,
//! nor to a cloud's metadata service. The same answer for every caller: spec, slices, and sidecars that were told.

use crate::Mode;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is never a pool's endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `0.0.0.0`, `::`: connects to this host.
    Unspecified,
    /// `127.0.0.0/8`, `::1`: this host. Only the embedded mode may.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`: metadata services live there. Only the embedded mode may.
    LinkLocal,
    /// `224.0.0.0/4`, `ff00::/8`: no host.
    Multicast,
    /// `255.255.255.255`: no host.
    Broadcast,
}

impl Refusal {
    /// As it reads in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "an unspecified",
            Self::Loopback => "a loopback",
            Self::LinkLocal => "a link-local",
            Self::Multicast => "a multicast",
            Self::Broadcast => "the broadcast",
        }
    }
}

/// Why the address is refused in this mode, if it is. A v4 address written as v6 (`::ffff:127.0.0.1`) counts as v4.
pub fn refusal(address: IpAddr, mode: Mode) -> Option<Refusal> {
    let kind = match address.to_canonical() {
        IpAddr::V4(v4) => v4_refusal(v4),
        IpAddr::V6(v6) => v6_refusal(v6),
    }?;
    match (mode, kind) {
        (Mode::Embedded, Refusal::Loopback | Refusal::LinkLocal) => None,
        _ => Some(kind),
    }
}

fn v4_refusal(address: Ipv4Addr) -> Option<Refusal> {
    match address {
        // All of 0.0.0.0/8 is "this host on this network" (RFC 1122, 3.2.1.3).
        a if a.octets()[0] == 0 => Some(Refusal::Unspecified),
        a if a.is_loopback() => Some(Refusal::Loopback),
        a if a.is_link_local() => Some(Refusal::LinkLocal),
        a if a.is_multicast() => Some(Refusal::Multicast),
        a if a.is_broadcast() => Some(Refusal::Broadcast),
        _ => None,
    }
}

fn v6_refusal(address: Ipv6Addr) -> Option<Refusal> {
    match address {
        a if a.is_unspecified() => Some(Refusal::Unspecified),
        a if a.is_loopback() => Some(Refusal::Loopback),
        a if a.is_unicast_link_local() => Some(Refusal::LinkLocal),
        a if a.is_multicast() => Some(Refusal::Multicast),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str, mode: Mode) -> Option<Refusal> {
        refusal(address.parse().expect("an address"), mode)
    }

    #[test]
    fn in_the_cluster_no_address_leads_to_the_caller_or_to_metadata() {
        for (address, why) in [
            ("0.0.0.0", Refusal::Unspecified),
            ("0.1.2.3", Refusal::Unspecified),
            ("::", Refusal::Unspecified),
            ("127.0.0.1", Refusal::Loopback),
            ("127.9.9.9", Refusal::Loopback),
            ("::1", Refusal::Loopback),
            ("169.254.169.254", Refusal::LinkLocal),
            ("fe80::1", Refusal::LinkLocal),
            ("224.0.0.1", Refusal::Multicast),
            ("ff02::1", Refusal::Multicast),
            ("255.255.255.255", Refusal::Broadcast),
            ("::ffff:127.0.0.1", Refusal::Loopback),
            ("::ffff:169.254.169.254", Refusal::LinkLocal),
            ("::ffff:0.0.0.0", Refusal::Unspecified),
        ] {
            assert_eq!(of(address, Mode::Cluster), Some(why), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd00::1", "::ffff:10.0.0.1"] {
            assert_eq!(of(address, Mode::Cluster), None, "{address}");
        }
    }

    #[test]
    fn the_embedded_mode_may_use_this_host_but_no_multicast() {
        assert_eq!(of("127.0.0.1", Mode::Embedded), None);
        assert_eq!(of("::1", Mode::Embedded), None);
        assert_eq!(of("0.0.0.0", Mode::Embedded), Some(Refusal::Unspecified));
        assert_eq!(of("::ffff:224.0.0.1", Mode::Embedded), Some(Refusal::Multicast));
    }
}
