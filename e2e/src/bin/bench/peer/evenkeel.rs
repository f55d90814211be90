//! The sidecar in the embedded mode, metrics on: a pool for a [`Setup`], or as many pools as thousands of endpoints need.

use super::{Downstream, Setup, Upstream, each_port};
use crate::process::Programs;
use crate::tls;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// The most static endpoints of a source, and the most sources of a pool.
const A_SOURCE: usize = 100;
const A_POOL: usize = 16 * A_SOURCE;

/// The sidecar with one worker: the arguments for `command`, which names its program.
pub(crate) fn command(mut command: Command, pools: PathBuf, admin: u16, metrics: u16) -> Command {
    command.args(["run", "--workers", "1", "--pools"]).arg(pools);
    command.args(["--admin-address", &format!("127.0.0.1:{admin}"), "--metrics-address", &format!("127.0.0.1:{metrics}")]);
    command
}

/// The file with the one pool that the setup asks for.
pub(crate) fn pools(programs: &Programs, setup: Setup, port: u16, backends: &[u16]) -> Result<PathBuf> {
    let protocol = match setup.downstream {
        Downstream::Tcp => "TCP",
        Downstream::Http1 | Downstream::Http2 | Downstream::Tls => "HTTP",
    };
    let tls = match setup.downstream {
        Downstream::Tls => {
            let tls::Certificate { certificate, key, .. } = tls::Certificate::make(programs)?;
            format!(", tls: {{certificateFile: {}, keyFile: {}}}", certificate.display(), key.display())
        }
        Downstream::Http1 | Downstream::Http2 | Downstream::Tcp => String::new(),
    };
    let upstream = match setup.upstream {
        Upstream::Http1 | Upstream::Grpc => "",
        Upstream::Http2 => "  upstream: {protocol: HTTP2}\n",
    };
    let listener = format!("{{name: bench, port: {port}, protocol: {protocol}{tls}}}");
    let endpoints = each_port(backends, |_, port| endpoint("127.0.0.1", port));
    let source = format!("    - name: backends\n      static:\n        endpoints:\n{endpoints}");
    programs.write("pool.yaml", pool("bench", &listener, &source) + upstream)
}

/// A file with `count` endpoints on as many loopback addresses, least connections, in pools as large as they may be; one port
/// each.
pub(crate) fn many(programs: &Programs, count: usize, ports: &[u16], backends: &[u16]) -> Result<PathBuf> {
    let all: Vec<usize> = (0..count).collect();
    let documents = all.chunks(A_POOL).zip(ports).enumerate().map(|(number, (ids, port))| {
        let sources: String = ids
            .chunks(A_SOURCE)
            .map(|ids| {
                let endpoints: String = ids.iter().map(|id| endpoint(&address(*id), backends[id % backends.len()])).collect();
                format!("    - name: s{}\n      static:\n        endpoints:\n{endpoints}", ids[0])
            })
            .collect();
        pool(&format!("bench-{number}"), &format!("{{name: bench, port: {port}, protocol: HTTP}}"), &sources)
    });
    programs.write(&format!("pools-{count}.yaml"), documents.collect::<Vec<_>>().join("---\n"))
}

/// How many pools so many endpoints need.
pub(crate) fn pools_for(count: usize) -> usize {
    count.div_ceil(A_POOL)
}

fn address(id: usize) -> String {
    format!("127.1.{}.{}", id / 250, id % 250 + 1)
}

fn endpoint(address: &str, port: u16) -> String {
    format!("          - {{address: {address}, port: {port}}}\n")
}

fn pool(name: &str, listener: &str, sources: &str) -> String {
    format!(
        "apiVersion: evenkeel.dev/v1alpha1
kind: BalancerPool
metadata: {{name: {name}}}
spec:
  listeners:
    - {listener}
  sources:
{sources}  algorithm:
    type: LeastConnections
    leastConnections: {{choiceCount: 2}}
"
    )
}
