//! Listeners: each with the members of its protocol, no other, and their defaults.

use super::rule::{self, at, form, time, unique, within};
use crate::Rejection;
use evenkeel_crds::bounds;
use evenkeel_crds::pool::{Listener, ListenerTls, Protocol, ProxyProtocol, TlsVersion, Udp};
use evenkeel_wire as wire;

/// Where a listener of a spec listens.
pub fn transport_port(listener: &Listener) -> wire::TransportPort {
    wire::TransportPort { number: listener.port, transport: spoken(listener.protocol).transport() }
}

pub(super) fn compile(listeners: &[Listener]) -> Result<Vec<wire::Listener>, Rejection> {
    within("the number of spec.listeners", listeners.len(), bounds::LISTENERS)?;
    unique(listeners, "spec.listeners", "name", |l| l.name.clone())?;
    unique(listeners, "spec.listeners", "port", transport_port)?;
    listeners.iter().enumerate().map(|(i, l)| compile_listener(&at("spec.listeners", i), l)).collect()
}

/// What sidecars must know so that no connection is served as it must not be.
pub(super) fn requires(listeners: &[wire::Listener]) -> Vec<String> {
    let needs = [
        (listeners.iter().any(|l| l.tls.is_some()), wire::feature::LISTENER_TLS),
        (listeners.iter().any(|l| l.proxy_protocol.is_some()), wire::feature::LISTENER_PROXY_PROTOCOL),
    ];
    needs.into_iter().filter(|(needed, _)| *needed).map(|(_, feature)| feature.into()).collect()
}

fn compile_listener(field: &str, listener: &Listener) -> Result<wire::Listener, Rejection> {
    let Listener { name, port, protocol, tls, proxy_protocol, hostnames, udp } = listener;
    form(&format!("{field}.name"), name, rule::LABEL)?;
    within(&format!("{field}.port"), *port, bounds::LISTENER_PORT)?;
    if bounds::RESERVED_PORTS.contains(port) {
        return Err(Rejection::ReservedPort { field: format!("{field}.port"), port: *port });
    }
    check_members(field, listener)?;
    let tls = tls.as_ref().map(|tls| compile_tls(&format!("{field}.tls"), tls)).transpose()?;
    let proxied = |proxied| compile_proxy_protocol(&format!("{field}.proxyProtocol.trusted"), proxied);
    let proxy_protocol = proxy_protocol.as_ref().map(proxied).transpose()?;
    let hostnames = hostnames.as_deref().map_or(Ok(Vec::new()), |names| compile_hostnames(field, names))?;
    let udp = match protocol {
        Protocol::Udp => Some(compile_udp(&format!("{field}.udp"), &udp.clone().unwrap_or_default())?),
        Protocol::Http | Protocol::Tcp | Protocol::Tls => None,
    };
    Ok(wire::Listener { name: name.clone(), port: *port, protocol: spoken(*protocol), tls, proxy_protocol, hostnames, udp })
}

fn spoken(protocol: Protocol) -> wire::Protocol {
    match protocol {
        Protocol::Http => wire::Protocol::Http,
        Protocol::Tcp => wire::Protocol::Tcp,
        Protocol::Udp => wire::Protocol::Udp,
        Protocol::Tls => wire::Protocol::Tls,
    }
}

/// Refuses members that belong to other protocols, and a protocol without the member that it needs.
fn check_members(field: &str, listener: &Listener) -> Result<(), Rejection> {
    let Listener { name: _, port: _, protocol, tls, proxy_protocol, hostnames, udp } = listener;
    let ends_tls = matches!(protocol, Protocol::Http | Protocol::Tcp);
    let foreign = [
        (tls.is_some() && !ends_tls, "tls", "protocol: HTTP or TCP"),
        (proxy_protocol.is_some() && *protocol == Protocol::Udp, "proxyProtocol", "another protocol"),
        (hostnames.is_some() && *protocol != Protocol::Tls, "hostnames", "protocol: TLS"),
        (udp.is_some() && *protocol != Protocol::Udp, "udp", "protocol: UDP"),
    ];
    if let Some((_, member, fitting)) = foreign.into_iter().find(|(foreign, ..)| *foreign) {
        let chosen = format!("protocol is {}", spelled(*protocol));
        return Err(Rejection::MemberForeign { field: field.into(), member, chosen, fitting });
    }
    if *protocol == Protocol::Tls && hostnames.is_none() {
        return Err(Rejection::MemberMissing { field: field.into(), member: "hostnames", chosen: "protocol: TLS" });
    }
    Ok(())
}

fn spelled(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Tls => "TLS",
    }
}

fn compile_tls(field: &str, tls: &ListenerTls) -> Result<wire::ListenerTls, Rejection> {
    let ListenerTls { certificate_file, key_file, min_version } = tls;
    form(&format!("{field}.certificateFile"), certificate_file, rule::FILE)?;
    form(&format!("{field}.keyFile"), key_file, rule::FILE)?;
    let min_version = match min_version {
        TlsVersion::V1_2 => wire::TlsVersion::V1_2,
        TlsVersion::V1_3 => wire::TlsVersion::V1_3,
    };
    Ok(wire::ListenerTls { certificate_file: certificate_file.clone(), key_file: key_file.clone(), min_version })
}

fn compile_proxy_protocol(list: &str, proxied: &ProxyProtocol) -> Result<wire::ProxyProtocolIn, Rejection> {
    let ProxyProtocol { trusted } = proxied;
    within(&format!("the number of {list}"), trusted.len(), bounds::TRUSTED)?;
    unique(trusted, list, "", |network| network.to_ascii_lowercase())?;
    let network = |(i, text): (usize, &String)| {
        text.parse().map_err(|problem| {
            let value = text.chars().take(50).collect();
            Rejection::Network { field: at(list, i), value, problem }
        })
    };
    Ok(wire::ProxyProtocolIn { trusted: trusted.iter().enumerate().map(network).collect::<Result<_, _>>()? })
}

fn compile_hostnames(field: &str, hostnames: &[String]) -> Result<Vec<String>, Rejection> {
    let list = format!("{field}.hostnames");
    within(&format!("the number of {list}"), hostnames.len(), bounds::HOSTNAMES)?;
    unique(hostnames, &list, "", String::clone)?;
    for (i, hostname) in hostnames.iter().enumerate() {
        form(&at(&list, i), hostname, rule::HOSTNAME)?;
    }
    Ok(hostnames.to_vec())
}

fn compile_udp(field: &str, udp: &Udp) -> Result<wire::UdpSettings, Rejection> {
    let Udp { idle_timeout, max_sessions_per_source } = udp;
    let idle_timeout_ms = time(&format!("{field}.idleTimeout"), *idle_timeout, bounds::SESSION_TIMEOUT)?;
    within(&format!("{field}.maxSessionsPerSource"), *max_sessions_per_source, bounds::SESSIONS_PER_SOURCE)?;
    Ok(wire::UdpSettings { idle_timeout_ms, max_sessions_per_source: *max_sessions_per_source })
}
