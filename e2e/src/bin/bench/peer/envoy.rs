//! Envoy with one worker: its defaults but for limits, which would starve it.

use super::{Downstream, Setup, Upstream, each_port, proxy};
use crate::process::Programs;
use anyhow::{Result, bail};
use std::process::Command;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

pub(super) fn command(programs: &Programs, setup: Setup, port: u16, backends: &[u16]) -> Result<Command> {
    let codec = match setup.downstream {
        Downstream::Http1 => "HTTP1",
        Downstream::Http2 => "HTTP2",
        Downstream::Tcp | Downstream::Tls => bail!("no row compares this with Envoy"),
    };
    let upstream = match setup.upstream {
        Upstream::Http1 => "http_protocol_options",
        Upstream::Http2 | Upstream::Grpc => "http2_protocol_options",
    };
    let config = programs.write("envoy.yaml", config(codec, upstream, port, backends))?;
    let mut command = proxy(&programs.cached("envoy")?);
    command.arg("-c").arg(config).args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
    Ok(command)
}

fn config(codec: &str, upstream: &str, port: u16, backends: &[u16]) -> String {
    let endpoints = each_port(backends, |_, port| {
        format!(
            "        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"
        )
    });
    format!(
        "static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: {codec}
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {{prefix: /}}
                route: {{cluster: backend, timeout: 0s}}
          http_filters:
          - name: router
            typed_config: {{'@type': {TYPES}.filters.http.router.v3.Router}}
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 5s
    lb_policy: LEAST_REQUEST
    least_request_lb_config: {{choice_count: 2}}
    circuit_breakers:
      thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': {TYPES}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{{upstream}: {{}}}}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
{endpoints}"
    )
}
