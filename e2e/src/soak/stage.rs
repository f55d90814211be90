//! The programs of the soak and what is done to them: one sidecar with five pools in one file, `echo` backends that are killed,
//! stopped and started anew, and a file that is read again with other endpoints.

use crate::scrape::{self, Samples};
use crate::stand::PATIENCE;
use crate::stand::certificate::Certificate;
use crate::stand::process::{Process, local};
use crate::stand::programs;
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sidecar's listeners.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// HTTP to backends that are well, or killed.
    pub http: u16,
    /// The same behind TLS.
    pub https: u16,
    /// HTTP to the backend that behaves badly where asked to.
    pub odd: u16,
    /// HTTP/2 on both sides.
    pub grpc: u16,
    /// TCP.
    pub tcp: u16,
    /// UDP.
    pub udp: u16,
}

/// The backends within this process.
#[derive(Debug, Clone, Copy)]
pub struct Inner {
    /// [`super::backend::serve`], on all of 127/8.
    pub odd: u16,
    /// [`super::http2::serve`].
    pub grpc: u16,
}

/// Backends that are programs, by their places in [`Stage`].
const ECHOES: [(&str, Option<&str>); 4] = [("one", None), ("two", None), ("tcp", Some("--tcp")), ("udp", Some("--udp"))];

/// Faults come round in this many seconds.
pub const ROUND: u64 = 20;

/// All programs; they end with this.
pub struct Stage {
    sidecar: Process,
    metrics: u16,
    /// Where clients go.
    pub ports: Ports,
    inner: Inner,
    folder: PathBuf,
    /// What clients trust.
    pub certificate: Certificate,
    echoes: [(u16, Option<Process>); 4],
    reloads: u32,
}

impl Stage {
    /// Starts everything and waits until it serves.
    pub fn start(folder: &Path, inner: Inner) -> Result<Self> {
        let [http, https, odd, grpc, tcp, udp, metrics, admin, one, two, three, four] = quiet_ports()?;
        let certificate = Certificate::make_leaf(folder, "soak", 2)?;
        let mut echoes = [one, two, three, four].map(|port| (port, None));
        for (place, (port, running)) in echoes.iter_mut().enumerate() {
            *running = Some(start_echo(place, *port, folder)?);
        }
        let ports = Ports { http, https, odd, grpc, tcp, udp };
        let pools = pools(ports, inner, &certificate, echoes.each_ref().map(|(port, _)| *port), 0);
        let file = folder.join("pools.yaml");
        std::fs::write(&file, pools).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(programs::sidecar()?);
        command.args(["run", "--workers", "2", "--pools"]).arg(&file);
        command.args(["--admin-address", &local(admin).to_string(), "--metrics-address", &local(metrics).to_string()]);
        let mut sidecar = Process::start("sidecar", command, folder)?;
        sidecar.wait_until(|| scrape::fetch(local(metrics), "/readyz").is_ok())?;
        let folder = folder.to_owned();
        Ok(Self { sidecar, metrics, ports, inner, folder, certificate, echoes, reloads: 0 })
    }

    /// The process that is watched.
    pub fn sidecar(&self) -> &Process {
        &self.sidecar
    }

    /// Its metrics now.
    pub fn metrics(&self) -> Result<Samples> {
        scrape::scrape(local(self.metrics)).context("the sidecar's metrics")
    }

    /// An error if the sidecar has ended.
    pub fn check(&mut self) -> Result<()> {
        ensure!(self.sidecar.is_running(), "the sidecar has ended\n{}", self.sidecar.log());
        Ok(())
    }

    /// The fault of this second, if it has one.
    pub fn disturb(&mut self, second: u64) -> Result<()> {
        match second % ROUND {
            2 => self.echoes[0].1 = None,
            4 => self.restart(0)?,
            6 => self.signal_echo(1, "STOP")?,
            9 => self.signal_echo(1, "CONT")?,
            11 => self.echoes[2].1 = None,
            12 => self.restart(2)?,
            13 => self.echoes[3].1 = None,
            14 => self.restart(3)?,
            16 | 19 => self.reload()?,
            _ => {}
        }
        Ok(())
    }

    /// Everything runs, as it did at first.
    pub fn mend(&mut self) -> Result<()> {
        self.signal_echo(1, "CONT")?;
        for place in 0..self.echoes.len() {
            if self.echoes[place].1.is_none() {
                self.restart(place)?;
            }
        }
        Ok(())
    }

    fn restart(&mut self, place: usize) -> Result<()> {
        self.echoes[place].1 = Some(start_echo(place, self.echoes[place].0, &self.folder)?);
        Ok(())
    }

    fn signal_echo(&self, place: usize, name: &str) -> Result<()> {
        self.echoes[place].1.as_ref().map_or(Ok(()), |echo| signal(echo, name))
    }

    /// Another endpoint for that of the last time, an address that was never there before.
    fn reload(&mut self) -> Result<()> {
        self.reloads += 1;
        let echoes = self.echoes.each_ref().map(|(port, _)| *port);
        let pools = pools(self.ports, self.inner, &self.certificate, echoes, self.reloads);
        std::fs::write(self.folder.join("pools.yaml"), pools)?;
        signal(&self.sidecar, "HUP")
    }

    /// Waits until the sidecar has read the last file, so that a fault that does nothing isn't taken for one.
    pub fn check_reloads(&self) -> Result<()> {
        let deadline = std::time::Instant::now() + PATIENCE;
        // The first reading is revision 1; signals that come while one is being heeded are heeded as one.
        while self.metrics()?.sum("evenkeel_feed_revision", &[]) / 5.0 < f64::from(self.reloads / 2 + 1) {
            ensure!(std::time::Instant::now() < deadline, "files aren't read again\n{}", self.sidecar.log());
            std::thread::sleep(std::time::Duration::from_millis(50)); // between two looks
        }
        Ok(())
    }
}

fn signal(process: &Process, name: &str) -> Result<()> {
    let told = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status()?;
    ensure!(told.success(), "kill -{name} failed");
    Ok(())
}

/// Doesn't wait until it listens: that it doesn't yet is part of what clients meet.
fn start_echo(place: usize, port: u16, folder: &Path) -> Result<Process> {
    let (name, speaks) = ECHOES[place];
    let mut command = Command::new(std::env::current_exe()?.with_file_name("echo"));
    command.args(["serve", "--name", name, "--address", "127.0.0.1", "--port", &port.to_string()]).args(speaks);
    Process::start(name, command, folder)
}

/// The pools; `turn` makes an address of 127.1/16 that the backend within this process answers on.
fn pools(ports: Ports, inner: Inner, certificate: &Certificate, [one, two, tcp, udp]: [u16; 4], turn: u32) -> String {
    let at = |port: u16| format!("127.0.0.1, port: {port}");
    let newest = format!("127.1.{}.{}, port: {}", turn / 250 % 250, turn % 250 + 1, inner.odd);
    let Ports { http, https, odd, grpc, tcp: tcp_port, udp: udp_port } = ports;
    let mut text = String::new();
    let mut pool = |name: &str, listeners: &[String], endpoints: &[String], spec: &str| {
        let _ = write!(
            text,
            "---\napiVersion: evenkeel.dev/v1alpha1\nkind: BalancerPool\nmetadata: {{name: {name}}}\nspec:\n  listeners:\n"
        );
        text.extend(listeners.iter().map(|listener| format!("    - {{{listener}}}\n")));
        text.push_str("  sources:\n    - name: all\n      static:\n        endpoints:\n");
        text.extend(endpoints.iter().map(|endpoint| format!("          - {{address: {endpoint}}}\n")));
        text.push_str(spec);
    };
    let timeouts = "  timeouts: {responseHead: 1s, idle: 10s}\n";
    let plain = format!("name: http, port: {http}, protocol: HTTP");
    let tls = format!("name: https, port: {https}, {}", certificate.listener());
    pool("web", &[plain, tls], &[at(one), at(two), newest.clone()], timeouts);
    pool("odd", &[format!("name: http, port: {odd}, protocol: HTTP")], &[at(inner.odd), newest], timeouts);
    let http2 = "  upstream: {protocol: HTTP2}\n";
    pool("grpc", &[format!("name: http, port: {grpc}, protocol: HTTP")], &[at(inner.grpc)], http2);
    pool("tcp", &[format!("name: tcp, port: {tcp_port}, protocol: TCP")], &[at(tcp)], "");
    let listener = format!("name: udp, port: {udp_port}, protocol: UDP, udp: {{idleTimeout: 2s, maxSessionsPerSource: 1000}}");
    pool("udp", &[listener], &[at(udp)], "");
    text
}

/// Free ports that the kernel gives to nobody who doesn't ask for them: a backend that is away for a while finds its own again,
/// and no connection to it meets itself.
fn quiet_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in 20_000..30_000 {
        if held.len() == N {
            break;
        }
        if let (Ok(listener), Ok(socket)) = (TcpListener::bind(local(port)), UdpSocket::bind(local(port))) {
            ports[held.len()] = port;
            held.push((listener, socket));
        }
    }
    ensure!(held.len() == N, "no free ports from 20000 to 29999");
    Ok(ports)
}
