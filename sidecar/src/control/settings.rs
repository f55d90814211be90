//! What a policy's settings of the data path must keep: bounds, forms, and which goes with which. Pure. The operator has
//! checked all of it; a sidecar still doesn't take it on trust.

use super::convert::within;
use super::refusal::Refusal;
use evenkeel_crds::bounds::{self, Bounds};
use evenkeel_plan::{is_dns_name, is_file, is_hostname};
use evenkeel_wire::{
    ClientConnections, Limits, Listener, ListenerTls, Policy, Protocol, ProxyProtocolIn, Timeouts, UdpSettings, Upstream,
    UpstreamTls, Verification,
};

/// Refuses what cannot be served as it is meant.
pub(super) fn check(policy: &Policy) -> Result<(), Refusal> {
    policy.listeners.iter().try_for_each(check_listener)?;
    check_upstream(&policy.upstream)?;
    check_limits(&policy.limits)?;
    check_times(policy)
}

fn check_listener(listener: &Listener) -> Result<(), Refusal> {
    let Listener { name, port, protocol, tls, proxy_protocol, hostnames, udp } = listener;
    within("a listener's port", (*port).into(), bounds::LISTENER_PORT)?;
    let refused = |what| Refusal::Setting { place: format!("listener `{name}`"), what };
    if let Some(ListenerTls { certificate_file, key_file, min_version: _ }) = tls {
        if !matches!(protocol, Protocol::Http | Protocol::Tcp) {
            return Err(refused("its protocol doesn't end TLS"));
        }
        if !(is_path(certificate_file) && is_path(key_file)) {
            return Err(refused("its certificate and key need absolute paths"));
        }
    }
    if let Some(ProxyProtocolIn { trusted }) = proxy_protocol {
        if *protocol == Protocol::Udp {
            return Err(refused("datagrams have no PROXY header"));
        }
        within("the number of trusted networks", trusted.len() as u64, bounds::TRUSTED)?;
    }
    match protocol {
        Protocol::Tls => {
            within("the number of hostnames", hostnames.len() as u64, bounds::HOSTNAMES)?;
            let fit = |name: &String| bounds::HOST_LENGTH.hold(name.len() as u64) && is_hostname(name);
            if !hostnames.iter().all(fit) {
                return Err(refused("a hostname of its is none"));
            }
        }
        Protocol::Http | Protocol::Tcp | Protocol::Udp if !hostnames.is_empty() => {
            return Err(refused("its protocol doesn't go by hostnames"));
        }
        Protocol::Http | Protocol::Tcp | Protocol::Udp => {}
    }
    let Some(UdpSettings { idle_timeout_ms, max_sessions_per_source }) = *udp else { return Ok(()) };
    within("udp.idleTimeoutMs", idle_timeout_ms, bounds::SESSION_TIMEOUT)?;
    within("udp.maxSessionsPerSource", max_sessions_per_source.into(), bounds::SESSIONS_PER_SOURCE)
}

fn is_path(path: &str) -> bool {
    bounds::FILE_LENGTH.hold(path.len() as u64) && is_file(path)
}

fn check_upstream(upstream: &Upstream) -> Result<(), Refusal> {
    let Upstream { protocol: _, tls, proxy_protocol: _ } = upstream;
    let Some(UpstreamTls { hostname, ca_file, verification }) = tls else { return Ok(()) };
    let refused = |what| Err(Refusal::Setting { place: "upstream.tls".into(), what });
    let is_name = |name: &String| bounds::HOST_LENGTH.hold(name.len() as u64) && is_dns_name(name);
    if hostname.is_none() && *verification == Verification::Full {
        return refused("there is no hostname to verify");
    }
    if !hostname.as_ref().is_none_or(is_name) {
        return refused("its hostname is none");
    }
    if !ca_file.as_deref().is_none_or(is_path) {
        return refused("its authorities need an absolute path");
    }
    Ok(())
}

fn check_limits(limits: &Limits) -> Result<(), Refusal> {
    let Limits {
        max_parallel_requests_per_endpoint,
        max_parallel_requests,
        max_connections_per_endpoint,
        max_connections,
        max_pending_requests,
        pending_timeout_ms,
    } = *limits;
    for (field, count) in [
        ("limits.maxParallelRequestsPerEndpoint", max_parallel_requests_per_endpoint),
        ("limits.maxParallelRequests", max_parallel_requests),
        ("limits.maxConnectionsPerEndpoint", max_connections_per_endpoint),
        ("limits.maxConnections", max_connections),
    ] {
        given(field, count.map(u64::from), bounds::PARALLEL)?;
    }
    within("limits.maxPendingRequests", max_pending_requests.into(), bounds::PENDING)?;
    within("limits.pendingTimeoutMs", pending_timeout_ms, bounds::PENDING_TIMEOUT)
}

fn check_times(policy: &Policy) -> Result<(), Refusal> {
    let Timeouts { response_head_ms, idle_ms, request_ms, stream_idle_ms } = policy.timeouts;
    let ClientConnections { max_age_ms, max_requests } = policy.client_connections;
    within("connectTimeoutMs", policy.connect_timeout_ms, bounds::CONNECT_TIMEOUT)?;
    within("timeouts.responseHeadMs", response_head_ms, bounds::RESPONSE_HEAD_TIMEOUT)?;
    within("timeouts.idleMs", idle_ms, bounds::LONG_TIMEOUT)?;
    given("timeouts.requestMs", request_ms, bounds::LONG_TIMEOUT)?;
    within("timeouts.streamIdleMs", stream_idle_ms, bounds::LONG_TIMEOUT)?;
    given("clientConnections.maxAgeMs", max_age_ms, bounds::CONNECTION_AGE)?;
    given("clientConnections.maxRequests", max_requests.map(u64::from), bounds::MAX_REQUESTS)
}

fn given(field: &'static str, value: Option<u64>, bounds: Bounds) -> Result<(), Refusal> {
    value.map_or(Ok(()), |value| within(field, value, bounds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::policy;
    use evenkeel_wire::{TlsVersion, UpstreamProtocol};

    fn listening(listener: Listener) -> Policy {
        Policy { listeners: vec![listener], ..policy() }
    }

    fn tls(certificate_file: &str, key_file: &str) -> Option<ListenerTls> {
        let (certificate_file, key_file) = (certificate_file.into(), key_file.into());
        Some(ListenerTls { certificate_file, key_file, min_version: TlsVersion::V1_2 })
    }

    fn trusting(networks: &[&str]) -> Option<ProxyProtocolIn> {
        Some(ProxyProtocolIn { trusted: networks.iter().map(|network| network.parse().expect("a network")).collect() })
    }

    fn upstream(hostname: Option<&str>, ca_file: Option<&str>, verification: Verification) -> Policy {
        let tls = UpstreamTls { hostname: hostname.map(Into::into), ca_file: ca_file.map(Into::into), verification };
        let upstream = Upstream { protocol: UpstreamProtocol::Auto, tls: Some(tls), proxy_protocol: None };
        Policy { upstream, ..policy() }
    }

    #[test]
    fn what_goes_together_is_taken() {
        let new = |protocol| Listener::new("a", 18_000, protocol);
        for listener in [
            Listener { tls: tls("/etc/tls.crt", "/etc/tls.key"), ..new(Protocol::Http) },
            Listener { tls: tls("/a", "/b"), proxy_protocol: trusting(&["::1/128"]), ..new(Protocol::Tcp) },
            Listener { hostnames: vec!["*.a.b".into()], proxy_protocol: trusting(&["10.0.0.0/8"]), ..new(Protocol::Tls) },
            Listener { udp: Some(UdpSettings::default()), ..new(Protocol::Udp) },
            new(Protocol::Udp),
        ] {
            check(&listening(listener)).expect("is taken");
        }
        check(&upstream(Some("a.example.com"), None, Verification::Full)).expect("is taken");
        check(&upstream(None, Some("/ca.pem"), Verification::ChainOnly)).expect("is taken");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let new = |protocol| Listener::new("a", 18_000, protocol);
        let no_time = Some(UdpSettings { idle_timeout_ms: 0, max_sessions_per_source: 1 });
        let no_session = Some(UdpSettings { idle_timeout_ms: 1, max_sessions_per_source: 0 });
        let names = |name: &str| vec![name.to_owned()];
        let listeners = [
            Listener { tls: tls("/a", "/b"), hostnames: names("a"), ..new(Protocol::Tls) },
            Listener { tls: tls("/a", "/b"), ..new(Protocol::Udp) },
            Listener { tls: tls("a", "/b"), ..new(Protocol::Http) },
            Listener { tls: tls("/a", "/b/../c"), ..new(Protocol::Http) },
            Listener { tls: tls("/a", &format!("/{}", "b".repeat(255))), ..new(Protocol::Http) },
            Listener { proxy_protocol: trusting(&["10.0.0.0/8"]), ..new(Protocol::Udp) },
            Listener { proxy_protocol: trusting(&[]), ..new(Protocol::Tcp) },
            Listener { hostnames: names("A.example.com"), ..new(Protocol::Tls) },
            Listener { hostnames: names("a.example.com"), ..new(Protocol::Tcp) },
            new(Protocol::Tls),
            Listener { udp: no_time, ..new(Protocol::Udp) },
            Listener { udp: no_session, ..new(Protocol::Udp) },
            Listener::new("a", 80, Protocol::Tcp),
        ];
        let upstreams = [
            upstream(None, None, Verification::Full),
            upstream(Some("a b"), None, Verification::Off),
            upstream(Some("a"), Some("ca.pem"), Verification::Full),
        ];
        for policy in listeners.map(listening).into_iter().chain(upstreams) {
            check(&policy).expect_err(&format!("{:?} {:?} is taken", policy.listeners, policy.upstream));
        }
    }

    #[test]
    fn counts_and_times_out_of_their_bounds_are_refused() {
        let (limits, times) = (Limits::default(), Timeouts::default());
        let client = |max_age_ms, max_requests| ClientConnections { max_age_ms, max_requests };
        for policy in [
            Policy { limits: Limits { max_parallel_requests_per_endpoint: Some(0), ..limits }, ..policy() },
            Policy { limits: Limits { max_parallel_requests: Some(0), ..limits }, ..policy() },
            Policy { limits: Limits { max_connections_per_endpoint: Some(0), ..limits }, ..policy() },
            Policy { limits: Limits { max_connections: Some(0), ..limits }, ..policy() },
            Policy { limits: Limits { max_pending_requests: 10_001, ..limits }, ..policy() },
            Policy { limits: Limits { pending_timeout_ms: 0, ..limits }, ..policy() },
            Policy { timeouts: Timeouts { response_head_ms: 0, ..times }, ..policy() },
            Policy { timeouts: Timeouts { idle_ms: u64::MAX, ..times }, ..policy() },
            Policy { timeouts: Timeouts { request_ms: Some(0), ..times }, ..policy() },
            Policy { timeouts: Timeouts { stream_idle_ms: 0, ..times }, ..policy() },
            Policy { client_connections: client(Some(999), None), ..policy() },
            Policy { client_connections: client(None, Some(0)), ..policy() },
            Policy { connect_timeout_ms: 0, ..policy() },
        ] {
            let refusal = check(&policy).expect_err("out of bounds");
            assert!(matches!(refusal, Refusal::OutOfRange { .. }), "{refusal}");
        }
    }
}
