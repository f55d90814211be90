//! HAProxy: pools of idle connections as large as they may become, splice where bytes pass.

use super::{Downstream, Setup, Upstream, each_port, proxy};
use crate::process::Programs;
use crate::tls;
use anyhow::Result;
use std::process::Command;

pub(super) fn command(programs: &Programs, setup: Setup, port: u16, backends: &[u16]) -> Result<Command> {
    let bind = match setup.downstream {
        Downstream::Http1 | Downstream::Tcp => String::new(),
        Downstream::Http2 => " proto h2".into(),
        Downstream::Tls => {
            let pem = tls::Certificate::make(programs)?.pem;
            format!(" ssl crt {} alpn http/1.1 ssl-min-ver TLSv1.3 curves X25519 no-tls-tickets", pem.display())
        }
    };
    let config = programs.write("haproxy.cfg", config(setup, port, &bind, backends))?;
    let mut command = proxy(&programs.cached("haproxy")?);
    command.arg("-db").arg("-f").arg(config);
    Ok(command)
}

fn config(setup: Setup, port: u16, bind: &str, backends: &[u16]) -> String {
    let mode = match setup.downstream {
        Downstream::Tcp => "mode tcp\n  option splice-request\n  option splice-response",
        _ => "mode http\n  option http-keep-alive\n  http-reuse always",
    };
    let proto = match setup.upstream {
        Upstream::Http1 => "",
        Upstream::Http2 | Upstream::Grpc => " proto h2",
    };
    let servers = each_port(backends, |at, port| format!("  server s{at} 127.0.0.1:{port}{proto} pool-max-conn 10000\n"));
    format!(
        "global
  nbthread 1
  maxconn 4096
  tune.pool-low-fd-ratio 100
  tune.pool-high-fd-ratio 100
  tune.ssl.cachesize 0
defaults
  {mode}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:{port}{bind}
  default_backend b
backend b
  balance leastconn
{servers}"
    )
}
