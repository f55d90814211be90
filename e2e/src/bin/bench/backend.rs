//! What stands behind every proxy: an NGINX that answers on four ports, HTTP/1.1 and HTTP/2 alike. `/` is 70 bytes from
//! memory, `/1m` is 1 MiB, `/bench.Echo/Say` a gRPC answer of one message.

use crate::process::{LOAD_CORE, Process, Programs, free_ports, pinned};
use anyhow::Result;

/// The path of the small body.
pub(crate) const SMALL: &str = "/";
/// The path of the 1 MiB body.
pub(crate) const MIB: &str = "/1m";
/// The gRPC method: one message there, one back.
pub(crate) const GRPC: &str = "/bench.Echo/Say";
/// The message that is sent, with its prefix: 16 bytes in field 1.
pub(crate) const GRPC_MESSAGE: &[u8] = b"\0\0\0\0\x12\x0a\x10evenkeel--bench!";
/// The same in base64, since NGINX's configuration knows no zero byte.
const GRPC_ANSWER: &str = "AAAAABIKEGV2ZW5rZWVsLS1iZW5jaCE=";

/// The backend; ends with this value.
pub(crate) struct Backend {
    _nginx: Process,
    /// Its ports.
    pub(crate) ports: [u16; 4],
}

impl Backend {
    /// Starts it beside the load.
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        let ports = free_ports()?;
        let big = programs.write("1m", vec![b'x'; 1 << 20])?;
        let config = nginx_config(programs, "backend", 16384, &server(&ports, &big.display().to_string()))?;
        let mut command = pinned(LOAD_CORE, &programs.cached("nginx")?);
        command.arg("-p").arg(&programs.folder).arg("-c").arg(config).args(["-e", "stderr"]);
        Ok(Self { _nginx: Process::start(command, ports[0], &programs.log("backend"))?, ports })
    }
}

/// On all addresses, so that an endpoint list of thousands can name 127.0.0.0/8; for nobody else.
fn server(ports: &[u16], big: &str) -> String {
    let listens: String = ports.iter().map(|port| format!("    listen {port} backlog=4096;\n")).collect();
    let small = "x".repeat(70);
    format!(
        "open_file_cache max=10;
  open_file_cache_valid 1h;
  sendfile on;
  server {{
{listens}    http2 on;
    allow 127.0.0.0/8;
    deny all;
    location = {SMALL} {{ default_type text/plain; return 200 \"{small}\"; }}
    location = {MIB} {{ default_type text/plain; alias {big}; }}
    location = {GRPC} {{
      default_type application/grpc;
      add_trailer grpc-status 0;
      set_decode_base64 $answer {GRPC_ANSWER};
      echo_read_request_body;
      echo -n $answer;
    }}
  }}"
    )
}

/// A configuration of one NGINX process for so many connections, which it has memory for from the start; `http` is what
/// stands inside `http {}`.
pub(crate) fn nginx_config(programs: &Programs, name: &str, connections: u32, http: &str) -> Result<std::path::PathBuf> {
    let folder = programs.folder.display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {folder}/nginx-{kind};\n"))
        .collect();
    programs.write(
        &format!("nginx-{name}.conf"),
        format!(
            "daemon off;
master_process off;
pid {folder}/nginx-{name}.pid;
error_log stderr error;
worker_rlimit_nofile 65536;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 60s;
{temp}  {http}
}}
"
        ),
    )
}
