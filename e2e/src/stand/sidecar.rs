//! The real sidecar with one pool's file, on ports that were free.

use super::PATIENCE;
use super::process::{Process, free_ports, local, pinned};
use super::programs;
use crate::scrape::{self, Samples};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What the sidecar should be.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// More of the listener, in YAML's flow style after a comma; `protocol: HTTP` if it is empty.
    pub listener: String,
    /// Where requests go.
    pub endpoints: Vec<SocketAddr>,
    /// More of the spec, indented by two spaces, each line ended.
    pub spec: String,
    /// Bound to this core.
    pub core: Option<u32>,
}

impl Setup {
    /// An HTTP pool with these endpoints.
    pub fn http(endpoints: &[SocketAddr]) -> Self {
        Self { endpoints: endpoints.to_vec(), ..Self::default() }
    }

    /// A pool whose listener says this.
    pub fn listening(listener: &str, endpoints: &[SocketAddr]) -> Self {
        Self { listener: listener.into(), ..Self::http(endpoints) }
    }

    /// With more of the spec.
    pub fn with(self, spec: &str) -> Self {
        Self { spec: spec.into(), ..self }
    }

    fn pool(&self, port: u16) -> String {
        let endpoints: String =
            self.endpoints.iter().map(|at| format!("          - {{address: \"{}\", port: {}}}\n", at.ip(), at.port())).collect();
        let listener = if self.listener.is_empty() { "protocol: HTTP" } else { &self.listener };
        format!(
            "apiVersion: evenkeel.dev/v1alpha1\nkind: BalancerPool\nmetadata: {{name: stand}}\nspec:\n  listeners:\n    - {{name: main, port: {port}, {listener}}}\n  sources:\n    - name: all\n      static:\n        endpoints:\n{endpoints}{}",
            self.spec
        )
    }
}

/// A running sidecar with one worker; ended when dropped.
pub struct Sidecar {
    /// The process.
    pub process: Process,
    /// Its listener.
    pub port: u16,
    metrics: SocketAddr,
}

impl Sidecar {
    /// Starts it and waits until it is ready.
    pub fn start(setup: &Setup, folder: &Path) -> Result<Self> {
        let [port, metrics, admin] = free_ports()?;
        let file = folder.join("pool.yaml");
        std::fs::write(&file, setup.pool(port)).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(programs::sidecar()?);
        command.args(["run", "--workers", "1", "--pools"]).arg(&file);
        command.args(["--admin-address", &local(admin).to_string(), "--metrics-address", &local(metrics).to_string()]);
        if let Some(core) = setup.core {
            command = pinned(core, &command);
        }
        let mut process = Process::start("sidecar", command, folder)?;
        let metrics = local(metrics);
        process.wait_until(|| scrape::fetch(metrics, "/readyz").is_ok())?;
        Ok(Self { process, port, metrics })
    }

    /// Its metrics now.
    pub fn metrics(&self) -> Result<Samples> {
        scrape::scrape(self.metrics).context("the sidecar's metrics")
    }

    /// Waits until the sum of a metric's series with these labels is at least `least`.
    pub fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], least: f64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metrics()?.sum(name, labels);
            if value >= least {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{name}{labels:?} is {value}, not {least}\n{}", self.process.log());
            std::thread::sleep(std::time::Duration::from_millis(10)); // between two looks
        }
    }
}
