//! What may be in use at once, and how long things may take.

use super::rule::{time, within};
use crate::Rejection;
use evenkeel_crds::bounds;
use evenkeel_crds::pool::{ClientConnections, Limits, Timeouts};
use evenkeel_wire as wire;

pub(super) fn compile(limits: &Limits) -> Result<wire::Limits, Rejection> {
    let Limits {
        max_parallel_requests_per_endpoint,
        max_parallel_requests,
        max_connections_per_endpoint,
        max_connections,
        max_pending_requests,
        pending_timeout,
    } = limits;
    for (member, count) in [
        ("maxParallelRequestsPerEndpoint", max_parallel_requests_per_endpoint),
        ("maxParallelRequests", max_parallel_requests),
        ("maxConnectionsPerEndpoint", max_connections_per_endpoint),
        ("maxConnections", max_connections),
    ] {
        count.map_or(Ok(()), |count| within(&format!("spec.limits.{member}"), count, bounds::PARALLEL))?;
    }
    within("spec.limits.maxPendingRequests", *max_pending_requests, bounds::PENDING)?;
    Ok(wire::Limits {
        max_parallel_requests_per_endpoint: *max_parallel_requests_per_endpoint,
        max_parallel_requests: *max_parallel_requests,
        max_connections_per_endpoint: *max_connections_per_endpoint,
        max_connections: *max_connections,
        max_pending_requests: *max_pending_requests,
        pending_timeout_ms: time("spec.limits.pendingTimeout", *pending_timeout, bounds::PENDING_TIMEOUT)?,
    })
}

/// The connect timeout, and the others.
pub(super) fn compile_timeouts(timeouts: &Timeouts) -> Result<(u64, wire::Timeouts), Rejection> {
    let Timeouts { connect, response_head, idle, request, stream_idle } = timeouts;
    let connect_ms = time("spec.timeouts.connect", *connect, bounds::CONNECT_TIMEOUT)?;
    let request = request.map(|request| time("spec.timeouts.request", request, bounds::LONG_TIMEOUT));
    let others = wire::Timeouts {
        response_head_ms: time("spec.timeouts.responseHead", *response_head, bounds::RESPONSE_HEAD_TIMEOUT)?,
        idle_ms: time("spec.timeouts.idle", *idle, bounds::LONG_TIMEOUT)?,
        request_ms: request.transpose()?,
        stream_idle_ms: time("spec.timeouts.streamIdle", *stream_idle, bounds::LONG_TIMEOUT)?,
    };
    Ok((connect_ms, others))
}

pub(super) fn compile_client_connections(client: &ClientConnections) -> Result<wire::ClientConnections, Rejection> {
    let ClientConnections { max_age, max_requests } = client;
    let max_age = max_age.map(|age| time("spec.clientConnections.maxAge", age, bounds::CONNECTION_AGE));
    max_requests.map_or(Ok(()), |max| within("spec.clientConnections.maxRequests", max, bounds::MAX_REQUESTS))?;
    Ok(wire::ClientConnections { max_age_ms: max_age.transpose()?, max_requests: *max_requests })
}
