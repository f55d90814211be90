//! The proxies that are compared with, each as its manual would have it for one HTTP backend with keep-alive; nothing that
//! makes its parser laxer or stricter is set.

use super::process::{Process, free_ports};
use super::programs::cached;
use super::sidecar::{Setup, Sidecar};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The sidecar in the embedded mode.
    Evenkeel,
    /// HAProxy 2.8.
    Haproxy,
    /// NGINX 1.31.
    Nginx,
    /// Envoy 1.40.
    Envoy,
}

/// A running proxy; ended when dropped.
pub enum Running {
    /// Ours.
    Own(Sidecar),
    /// Another one: its process and its port.
    Other(Process, u16),
}

impl Running {
    /// Where it takes requests.
    pub fn port(&self) -> u16 {
        match self {
            Self::Own(sidecar) => sidecar.port,
            Self::Other(_, port) => *port,
        }
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        match self {
            Self::Own(sidecar) => &mut sidecar.process,
            Self::Other(process, _) => process,
        }
    }
}

impl Peer {
    /// In the order of the table's columns.
    pub const ALL: [Self; 4] = [Self::Evenkeel, Self::Haproxy, Self::Nginx, Self::Envoy];

    /// As people write it, with the version that `e2e/cluster/deps` pins.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "Evenkeel",
            Self::Haproxy => "HAProxy 2.8",
            Self::Nginx => "NGINX 1.31",
            Self::Envoy => "Envoy 1.40",
        }
    }

    /// Starts it in front of this backend and waits until it takes connections; its files go into `folder`.
    pub fn start(self, backend: SocketAddr, folder: &Path) -> Result<Running> {
        if self == Self::Evenkeel {
            return Sidecar::start(&Setup::http(&[backend]), folder).map(Running::Own);
        }
        let [port] = free_ports()?;
        let mut process = self.launch(port, backend, folder)?;
        process.wait_for_port(port)?;
        Ok(Running::Other(process, port))
    }

    fn launch(self, port: u16, backend: SocketAddr, folder: &Path) -> Result<Process> {
        let mut command = match self {
            Self::Evenkeel | Self::Haproxy => Command::new(cached("haproxy")?),
            Self::Nginx => Command::new(cached("nginx")?),
            Self::Envoy => Command::new(cached("envoy")?),
        };
        match self {
            Self::Evenkeel | Self::Haproxy => {
                command.arg("-db").arg("-f").arg(write(folder, "haproxy.cfg", &haproxy(port, backend))?)
            }
            Self::Nginx => {
                let config = write(folder, "nginx.conf", &nginx(port, backend, folder))?;
                command.arg("-p").arg(folder).arg("-c").arg(config).args(["-e", "stderr"])
            }
            Self::Envoy => {
                let config = write(folder, "envoy.yaml", &envoy(port, backend))?;
                command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]).arg(config)
            }
        };
        Process::start("peer", command, folder)
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = std::path::absolute(folder.join(name))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn haproxy(port: u16, backend: SocketAddr) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  option http-keep-alive\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  server s {backend}\n"
    )
}

fn nginx(port: u16, backend: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {folder}/nginx-{kind};\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr error;\nevents {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n{temp}  upstream pool {{ server {backend}; keepalive 64; }}\n  server {{\n    listen 127.0.0.1:{port};\n    location / {{ proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_request_buffering off; proxy_buffering off; }}\n  }}\n}}\n"
    )
}

fn envoy(port: u16, backend: SocketAddr) -> String {
    let (ip, backend_port) = (backend.ip(), backend.port());
    format!(
        r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: stand
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: pool}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: pool
    connect_timeout: 5s
    type: STATIC
    load_assignment:
      cluster_name: pool
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {backend_port}}}}}}}}}]}}]
"#
    )
}
