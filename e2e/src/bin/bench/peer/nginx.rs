//! NGINX in front of the backend's NGINX: HTTP/1.1 on both sides.

use super::{each_port, proxy};
use crate::backend::nginx_config;
use crate::process::Programs;
use anyhow::Result;
use std::process::Command;

pub(super) fn command(programs: &Programs, port: u16, backends: &[u16]) -> Result<Command> {
    let servers = each_port(backends, |_, port| format!("    server 127.0.0.1:{port};\n"));
    let http = format!(
        "upstream pool {{
    least_conn;
{servers}    keepalive 4096;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://pool;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
    }}
  }}"
    );
    let config = nginx_config(programs, "proxy", 8192, &http)?;
    let mut command = proxy(&programs.cached("nginx")?);
    command.arg("-p").arg(&programs.folder).arg("-c").arg(config).args(["-e", "stderr"]);
    Ok(command)
}
