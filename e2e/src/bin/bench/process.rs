//! Processes of a run: started on a core of their own, waited for until they listen, and what the kernel says they used.

use anyhow::{Context, Result, bail};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the proxy under test runs, alone.
pub(crate) const PROXY_CORE: u32 = 0;
/// Where the load and the backend run.
pub(crate) const LOAD_CORE: u32 = 1;

/// How long a program may take until it listens.
const START: Duration = Duration::from_secs(15);

/// A process that ends with this value.
pub(crate) struct Process(Child);

/// A program on one core.
pub(crate) fn pinned(core: u32, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

impl Process {
    /// Starts it and waits until it takes connections on `port`; what it writes goes to `log`.
    pub(crate) fn start(mut command: Command, port: u16, log: &Path) -> Result<Self> {
        let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut process = Self(child);
        let deadline = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = process.0.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{command:?} ended at once: {status}\n{said}");
            }
            if Instant::now() > deadline {
                bail!("{command:?} doesn't listen on {port} after {START:?}; see {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(20)); // between two looks, not in place of one
        }
        Ok(process)
    }

    /// The CPU nanoseconds of all its threads so far. A thread that has ended isn't counted: all measured programs keep theirs.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).context("schedstat has no CPU time")?;
        }
        Ok(sum)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().context("cannot run kill")?;
        let ended = self.0.wait()?;
        if !told.success() || !ended.success() {
            bail!("a process that was asked to end didn't end well: {ended}");
        }
        Ok(())
    }

    /// Its resident memory in MiB.
    pub(crate) fn rss_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Where the programs are, and where a run keeps its configurations and logs.
pub(crate) struct Programs {
    /// For configurations, logs and the result; absolute.
    pub(crate) folder: PathBuf,
    /// The sidecar under test.
    pub(crate) sidecar: PathBuf,
    own: PathBuf,
    cache: PathBuf,
}

impl Programs {
    /// Looks beside this program and in the cache that `make bench` fills.
    pub(crate) fn new(folder: &Path, sidecar: &Path) -> Result<Self> {
        let cache = std::env::var_os("EVENKEEL_CACHE").context("EVENKEEL_CACHE isn't set; run `make bench`")?;
        let own = std::env::current_exe()?.parent().context("this program has no folder")?.to_owned();
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let sidecar = found(sidecar.into(), "run `make bench`, which builds it")?;
        Ok(Self { folder: std::path::absolute(folder)?, sidecar, own, cache: PathBuf::from(cache).join("bin/current") })
    }

    /// One of this workspace.
    pub(crate) fn own(&self, name: &str) -> Result<PathBuf> {
        found(self.own.join(name), "run `make bench`, which builds it")
    }

    /// A peer out of the cache.
    pub(crate) fn cached(&self, name: &str) -> Result<PathBuf> {
        found(self.cache.join(name), "run `make bench`, which installs it")
    }

    /// A tool of the host.
    pub(crate) fn host(&self, name: &str) -> Result<PathBuf> {
        found(Path::new("/usr/bin").join(name), "run `make bench`, which installs it")
    }

    /// A file of this run.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Where a process writes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

fn found(path: PathBuf, how: &str) -> Result<PathBuf> {
    if path.is_file() { Ok(path) } else { bail!("{} is missing; {how}", path.display()) }
}
