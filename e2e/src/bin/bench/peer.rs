//! The proxies under test and the backend behind them: how each is configured and started. One worker each, pinned to core 0;
//! least connections and keep-alive on both sides for all; no peer starved. Nothing is measured here.

use anyhow::{Context, Result, bail};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The sidecar in the embedded mode.
    Evenkeel,
    /// HAProxy 2.8.
    Haproxy,
    /// NGINX 1.31.
    Nginx,
}

/// Where the programs are.
pub(crate) struct Programs {
    sidecar: PathBuf,
    haproxy: PathBuf,
    nginx: PathBuf,
    pub(crate) wrk: PathBuf,
}

/// A process that is ended with this value.
pub(crate) struct Running {
    /// Which proxy.
    pub(crate) peer: Option<Peer>,
    /// Its process.
    pub(crate) child: Child,
    /// Where it takes requests.
    pub(crate) port: u16,
    /// Where its metrics are, if it is ours.
    pub(crate) metrics: Option<u16>,
}

/// An NGINX that answers 70 bytes from memory on four ports.
pub(crate) struct Backend {
    _running: Running,
    ports: [u16; 4],
}

impl Programs {
    /// Looks beside this program, in the cache that `make deps` fills, and on the PATH.
    pub(crate) fn find() -> Result<Self> {
        let cache =
            std::env::var_os("EVENKEEL_CACHE").map(PathBuf::from).context("EVENKEEL_CACHE isn't set; run `make bench`")?;
        let own = std::env::current_exe()?.with_file_name("evenkeel-sidecar");
        let found = |path: PathBuf, how: &str| {
            if path.is_file() { Ok(path) } else { bail!("{} is missing; {how}", path.display()) }
        };
        Ok(Self {
            sidecar: found(own, "run `make bench`, which builds it")?,
            haproxy: found(cache.join("bin/current/haproxy"), "run `make deps`")?,
            nginx: found(cache.join("bin/current/nginx"), "run `make deps`")?,
            wrk: found("/usr/bin/wrk".into(), "run `make deps`")?,
        })
    }

    /// The sidecar's program.
    pub(crate) fn sidecar(&self) -> &Path {
        &self.sidecar
    }
}

impl Backend {
    /// Starts it on core 1.
    pub(crate) fn start(programs: &Programs, folder: &Path) -> Result<Self> {
        let ports = free_ports()?;
        let listens: String = ports.iter().map(|port| format!("    listen 127.0.0.1:{port};\n")).collect();
        let body = "x".repeat(70);
        let config = nginx_config(
            folder,
            "backend",
            &format!("server {{\n{listens}    location / {{ default_type text/plain; return 200 \"{body}\"; }}\n  }}"),
        )?;
        let running = spawn(None, nginx(programs, folder, &config, 1), ports[0], None)?;
        Ok(Self { _running: running, ports })
    }
}

impl Peer {
    /// In the order of their turns.
    pub(crate) const ALL: [Self; 3] = [Self::Evenkeel, Self::Haproxy, Self::Nginx];

    /// As people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "Evenkeel",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "NGINX",
        }
    }

    /// Starts it on core 0 and waits until it takes connections.
    pub(crate) fn start(self, programs: &Programs, folder: &Path, backend: &Backend) -> Result<Running> {
        let [port, metrics, admin, _] = free_ports()?;
        match self {
            Self::Evenkeel => {
                let pool = write(folder, "pool.yaml", &pool(port, &backend.ports))?;
                let mut command = pinned(0, programs.sidecar());
                command.args(["run", "--workers", "1", "--pools"]).arg(pool);
                command.args([
                    "--admin-address",
                    &format!("127.0.0.1:{admin}"),
                    "--metrics-address",
                    &format!("127.0.0.1:{metrics}"),
                ]);
                spawn(Some(self), command, port, Some(metrics))
            }
            Self::Haproxy => {
                let config = write(folder, "haproxy.cfg", &haproxy_config(port, &backend.ports))?;
                let mut command = pinned(0, &programs.haproxy);
                command.arg("-db").arg("-f").arg(config);
                spawn(Some(self), command, port, None)
            }
            Self::Nginx => {
                let servers: String = backend.ports.iter().map(|port| format!("    server 127.0.0.1:{port};\n")).collect();
                let config = nginx_config(
                    folder,
                    "proxy",
                    &format!(
                        "upstream pool {{\n    least_conn;\n{servers}    keepalive 4096;\n  }}\n  server {{\n    listen 127.0.0.1:{port};\n    location / {{ proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n  }}"
                    ),
                )?;
                spawn(Some(self), nginx(programs, folder, &config, 0), port, None)
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pinned(core: u32, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

fn nginx(programs: &Programs, folder: &Path, config: &Path, core: u32) -> Command {
    let mut command = pinned(core, &programs.nginx);
    command.arg("-p").arg(folder).arg("-c").arg(config).args(["-e", "stderr"]);
    command
}

fn spawn(peer: Option<Peer>, mut command: Command, port: u16, metrics: Option<u16>) -> Result<Running> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut running = Running { peer, child, port, metrics };
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = running.child.try_wait()? {
            bail!("{command:?} ended at once: {status}");
        }
        if Instant::now() > deadline {
            bail!("{command:?} doesn't listen on {port} after 10 s");
        }
        std::thread::sleep(Duration::from_millis(20)); // between two looks, not in place of one
    }
    Ok(running)
}

/// Four ports that were free a moment ago.
fn free_ports() -> Result<[u16; 4]> {
    let listeners: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = std::path::absolute(folder.join(name))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn pool(port: u16, backends: &[u16]) -> String {
    let endpoints: String = backends.iter().map(|port| format!("          - {{address: 127.0.0.1, port: {port}}}\n")).collect();
    format!(
        "apiVersion: evenkeel.dev/v1alpha1\nkind: BalancerPool\nmetadata: {{name: bench}}\nspec:\n  listeners:\n    - {{name: http, port: {port}, protocol: HTTP}}\n  sources:\n    - name: backends\n      static:\n        endpoints:\n{endpoints}  algorithm:\n    type: LeastConnections\n    leastConnections: {{choiceCount: 2}}\n"
    )
}

fn haproxy_config(port: u16, backends: &[u16]) -> String {
    let servers: String =
        backends.iter().enumerate().map(|(i, port)| format!("  server s{i} 127.0.0.1:{port} pool-max-conn 10000\n")).collect();
    format!(
        "global\n  nbthread 1\n  maxconn 4096\n  tune.pool-low-fd-ratio 100\n  tune.pool-high-fd-ratio 100\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  option http-keep-alive\n  http-reuse always\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  balance leastconn\n{servers}"
    )
}

fn nginx_config(folder: &Path, name: &str, http: &str) -> Result<PathBuf> {
    let folder_text = std::path::absolute(folder)?;
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {}/nginx-{kind};\n", folder_text.display()))
        .collect();
    write(
        folder,
        &format!("nginx-{name}.conf"),
        &format!(
            "daemon off;\nmaster_process off;\npid {}/nginx-{name}.pid;\nerror_log stderr error;\nevents {{ worker_connections 8192; }}\nhttp {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 60s;\n{temp}  {http}\n}}\n",
            folder_text.display()
        ),
    )
}
