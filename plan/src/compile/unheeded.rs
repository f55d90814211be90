//! Settings of the data path that change nothing, since no listener or no other setting leaves them room. What says no more
//! than the default is never meant.

use evenkeel_wire as wire;
use evenkeel_wire::{Limits, Listener, Policy, Protocol, Timeouts, UpstreamProtocol};

/// A sentence for each.
pub(super) fn warnings(policy: &Policy) -> Vec<String> {
    [by_listeners(policy), by_listener(policy), by_limits(&policy.limits), by_request_timeout(policy)].concat()
}

/// What only HTTP knows, where no listener speaks it, and what only connections know, where there are but datagrams.
fn by_listeners(policy: &Policy) -> Vec<String> {
    let Timeouts { response_head_ms, idle_ms, request_ms, stream_idle_ms } = Timeouts::default();
    let (timeouts, usual) = (&policy.timeouts, wire::ClientConnections::default());
    let none = |protocols: &[Protocol]| !policy.listeners.iter().any(|listener| protocols.contains(&listener.protocol));
    let of_http = [
        ("clientConnections", policy.client_connections != usual),
        ("upstream.protocol", policy.upstream.protocol != UpstreamProtocol::Auto),
        ("timeouts.responseHead", timeouts.response_head_ms != response_head_ms),
        ("timeouts.idle", timeouts.idle_ms != idle_ms),
        ("timeouts.request", timeouts.request_ms != request_ms),
    ];
    let (limits, unlimited) = (&policy.limits, Limits::default());
    let connect_ms = evenkeel_crds::pool::Timeouts::default().connect.as_millis();
    let of_connections = [
        ("timeouts.connect", policy.connect_timeout_ms != connect_ms),
        ("timeouts.streamIdle", timeouts.stream_idle_ms != stream_idle_ms),
        ("limits.maxConnectionsPerEndpoint", limits.max_connections_per_endpoint.is_some()),
        ("limits.maxConnections", limits.max_connections.is_some()),
        ("limits.maxPendingRequests", limits.max_pending_requests != unlimited.max_pending_requests),
        ("limits.pendingTimeout", limits.pending_timeout_ms != unlimited.pending_timeout_ms),
    ];
    let mut warnings = Vec::new();
    let mut say = |settings: &[(&str, bool)], lack: &str| {
        let meant = settings.iter().filter(|(_, meant)| *meant);
        warnings.extend(meant.map(|(setting, _)| format!("spec.{setting} has no effect: no listener has protocol {lack}")));
    };
    // Without any listener nothing has an effect, which is said once elsewhere.
    if !policy.listeners.is_empty() && none(&[Protocol::Http]) {
        say(&of_http, "HTTP");
        if none(&[Protocol::Tcp, Protocol::Tls]) {
            say(&of_connections, "HTTP, TCP or TLS");
        }
    }
    warnings
}

/// What is set for endpoints and doesn't go with one listener's protocol.
fn by_listener(policy: &Policy) -> Vec<String> {
    let wire::Upstream { protocol: _, tls, proxy_protocol } = &policy.upstream;
    let unfit = |listener: &Listener| {
        let (of_tls, of_proxy, what) = match listener.protocol {
            Protocol::Http | Protocol::Tcp => return Vec::new(),
            Protocol::Udp => (tls.is_some(), proxy_protocol.is_some(), "its datagrams"),
            Protocol::Tls => (tls.is_some(), false, "TLS that is passed through"),
        };
        let settings = [("tls", of_tls), ("proxyProtocol", of_proxy)].into_iter().filter(|(_, unfit)| *unfit);
        let said = |setting| format!("listener {}: spec.upstream.{setting} has no effect on {what}", listener.name);
        settings.map(|(setting, _)| said(setting)).collect()
    };
    policy.listeners.iter().flat_map(unfit).collect()
}

fn by_limits(limits: &Limits) -> Vec<String> {
    let Limits {
        max_parallel_requests_per_endpoint,
        max_parallel_requests,
        max_connections_per_endpoint,
        max_connections,
        max_pending_requests,
        pending_timeout_ms,
    } = *limits;
    let mut warnings = Vec::new();
    for (of_one, one, of_all, all) in [
        ("maxParallelRequestsPerEndpoint", max_parallel_requests_per_endpoint, "maxParallelRequests", max_parallel_requests),
        ("maxConnectionsPerEndpoint", max_connections_per_endpoint, "maxConnections", max_connections),
    ] {
        if let (Some(one), Some(all)) = (one, all)
            && one >= all
        {
            warnings.push(format!("spec.limits.{of_one} has no effect: {of_all} is {all}, no more than that"));
        }
    }
    let limited = [max_parallel_requests_per_endpoint, max_parallel_requests, max_connections_per_endpoint, max_connections];
    let limited = limited.iter().any(Option::is_some);
    let usual = Limits::default();
    let mut say = |setting, why| warnings.push(format!("spec.limits.{setting} has no effect: {why}, so no request waits"));
    if !limited && max_pending_requests != usual.max_pending_requests {
        say("maxPendingRequests", "nothing is limited");
    }
    if pending_timeout_ms != usual.pending_timeout_ms {
        match (limited, max_pending_requests) {
            (false, _) => say("pendingTimeout", "nothing is limited"),
            (true, 0) => say("pendingTimeout", "maxPendingRequests is 0"),
            (true, _) => {}
        }
    }
    warnings
}

/// Parts of a request that may take longer than the whole.
fn by_request_timeout(policy: &Policy) -> Vec<String> {
    let Some(request_ms) = policy.timeouts.request_ms else { return Vec::new() };
    let usual = Timeouts::default();
    let parts = [
        ("responseHead", policy.timeouts.response_head_ms, usual.response_head_ms),
        ("streamIdle", policy.timeouts.stream_idle_ms, usual.stream_idle_ms),
    ];
    let unheeded = parts.into_iter().filter(|(_, ms, usual)| ms != usual && *ms >= request_ms);
    let said = |(part, _, _): (&str, u64, u64)| {
        format!("spec.timeouts.{part} has no effect on requests: request, the whole, is no longer")
    };
    unheeded.map(said).collect()
}
