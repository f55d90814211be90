//! Programs that end with the value that started them. What they print goes into a file, for the failure that quotes it.

use super::PATIENCE;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; its words go to `NAME.log` in this folder.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}; run `make deps`"))?;
        Ok(Self { name: name.into(), child, log })
    }

    /// Polls until `ready`; says what the program printed if it ends or takes too long.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once: {status}\n{}", self.name, self.log());
            }
            if Instant::now() >= deadline {
                bail!("{} isn't ready after {PATIENCE:?}\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(10)); // between two looks, not in place of one
        }
        Ok(())
    }

    /// Waits until it takes TCP connections at `port`.
    pub fn wait_for_port(&mut self, port: u16) -> Result<()> {
        self.wait_until(|| TcpStream::connect(local(port)).is_ok())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Its resident memory now, in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine's own.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Ports that nobody had a moment ago, for TCP and for UDP.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    while held.len() < N {
        let listener = TcpListener::bind(local(0))?;
        let port = listener.local_addr()?.port();
        if let Ok(socket) = UdpSocket::bind(local(port)) {
            held.push((port, listener, socket));
        }
    }
    let mut ports = [0; N];
    for (port, (free, ..)) in ports.iter_mut().zip(&held) {
        *port = *free;
    }
    Ok(ports)
}

/// The same command, bound to one core.
pub fn pinned(core: u32, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
    pinned
}
