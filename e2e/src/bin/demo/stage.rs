//! The processes of the demo: backends on the ports that `examples/` names, and one sidecar with three pools. All end with this value.

use anyhow::{Context, Result, bail};
use evenkeel_e2e::echo::summary::Summary;
use evenkeel_e2e::scrape::{self, Samples};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The backends' names, in the order of their ports.
pub(crate) const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Where the sidecar's live view is.
pub(crate) const ADMIN: SocketAddr = local(16080);
const METRICS: SocketAddr = local(16081);
const POOLS: [&str; 3] = ["least-connections", "consistent-hash", "bounded-ring"];
const PATIENCE: Duration = Duration::from_secs(10);

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Everything that runs.
pub(crate) struct Stage {
    programs: PathBuf,
    backends: [Option<Process>; 4],
    sidecar: Process,
}

/// A child that doesn't outlive this value.
struct Process(Child);

/// A load run under way.
pub(crate) struct Load(Process);

/// What a backend says of itself.
#[derive(serde::Deserialize)]
pub(crate) struct Stats {
    /// The most requests it had at once.
    pub(crate) peak: u64,
}

impl Stage {
    /// Starts all; ends when the sidecar is ready.
    pub(crate) fn start() -> Result<Self> {
        let programs = std::env::current_exe()?.parent().map(PathBuf::from).context("this program has no folder")?;
        for port in (9001..=9004).chain([ADMIN.port(), METRICS.port(), 18081, 18082, 18083]) {
            if TcpListener::bind(local(port)).is_err() {
                bail!(
                    "port {port} is in use; the demo needs 9001–9004, 16080, 16081 and 18081–18083. `ss -ltnp` shows who has it"
                );
            }
        }
        let examples = POOLS.map(|pool| PathBuf::from(format!("examples/{pool}.yaml")));
        if let Some(missing) = examples.iter().find(|path| !path.is_file()) {
            bail!("{} isn't here; run the demo from the top of the checkout", missing.display());
        }
        let mut command = Command::new(programs.join("evenkeel-sidecar"));
        command.args(["run", "--pools"]).args(&examples).stdout(Stdio::null()).stderr(Stdio::null());
        let backends = [None, None, None, None];
        let sidecar = Process(command.spawn().with_context(|| format!("cannot start {command:?}"))?);
        let mut stage = Self { programs, backends, sidecar };
        for index in 0..NAMES.len() {
            stage.revive(index, "10ms")?;
        }
        wait("the sidecar's /readyz", || scrape::fetch(METRICS, "/readyz").is_ok())?;
        Ok(stage)
    }

    /// (Re)starts a backend with this delay a request; ends when it listens.
    pub(crate) fn revive(&mut self, index: usize, delay: &str) -> Result<()> {
        self.backends[index] = None;
        let port = backend(index).port();
        let mut command = Command::new(self.programs.join("echo"));
        command.args(["serve", "--name", NAMES[index], "--port", &port.to_string(), "--delay", delay]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.backends[index] = Some(Process(command.spawn().with_context(|| format!("cannot start {command:?}"))?));
        wait(&format!("backend {}", NAMES[index]), || TcpStream::connect(backend(index)).is_ok())
    }

    /// Ends a backend without warning (SIGKILL).
    pub(crate) fn kill(&mut self, index: usize) {
        self.backends[index] = None;
    }

    /// Starts `echo load` with these arguments.
    pub(crate) fn load(&self, port: u16, arguments: &[&str]) -> Result<Load> {
        let mut command = Command::new(self.programs.join("echo"));
        command
            .args(["load", "--url", &format!("http://127.0.0.1:{port}/"), "--concurrency", "32"])
            .args(arguments)
            .stdout(Stdio::piped());
        Ok(Load(Process(command.spawn().with_context(|| format!("cannot start {command:?}"))?)))
    }

    /// What the backend says of itself since it was reset.
    pub(crate) fn stats(&self, index: usize) -> Result<Stats> {
        let text = scrape::fetch(backend(index), "/stats").with_context(|| format!("backend {}", NAMES[index]))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The sidecar's count of requests a backend, in the order of `NAMES`.
    pub(crate) fn counts(&self, pool: &str) -> Result<[f64; 4]> {
        let samples: Samples = scrape::scrape(METRICS).context("the sidecar's metrics")?;
        let count = |index| {
            samples.sum(
                "evenkeel_requests_total",
                &[("pool", pool), ("endpoint", &backend(index).to_string()), ("code_class", "2xx")],
            )
        };
        Ok([count(0), count(1), count(2), count(3)])
    }

    /// Waits until a backend's count in this pool grows.
    pub(crate) fn wait_used(&self, pool: &str, index: usize, port: u16) -> Result<Duration> {
        let (start, before) = (Instant::now(), self.counts(pool)?[index]);
        wait(&format!("requests to reach {} again", NAMES[index]), || {
            let sent =
                self.load(port, &["--requests", "64", "--keys", "64", "--header", "X-User: key-{i}"]).and_then(Load::finish);
            sent.is_ok() && self.counts(pool).is_ok_and(|counts| counts[index] > before)
        })?;
        Ok(start.elapsed())
    }

    /// The sidecar's resident memory.
    pub(crate) fn sidecar_memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.sidecar.0.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.map_or_else(|| "an unknown amount".into(), |kib| format!("{:.1} MiB", kib / 1024.0))
    }
}

impl Load {
    /// Whether it is still at it.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.0.0.try_wait()?.is_none())
    }

    /// Waits for its end and reads what it saw.
    pub(crate) fn finish(mut self) -> Result<Summary> {
        let mut text = String::new();
        if let Some(mut stdout) = self.0.0.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut text)?;
        }
        serde_json::from_str(&text).with_context(|| format!("echo load printed no summary: {text}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn backend(index: usize) -> SocketAddr {
    local(9001 + index as u16)
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > deadline {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20)); // between two looks
    }
    Ok(())
}
