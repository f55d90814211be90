//! The cluster under test: the user's (`KUBECONFIG`) or our own, with kubectl and helm for it.

use super::api::Api;
use super::command::{self, Running, Said};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A cluster that answers.
pub struct Cluster {
    kubeconfig: PathBuf,
    programs: PathBuf,
    state: Option<PathBuf>,
    /// Its API server.
    pub api: Api,
}

impl Cluster {
    /// The cluster that `KUBECONFIG` names, else the one of `make cluster`.
    pub fn find() -> Result<Self> {
        let cache = cache()?;
        let state = cache.join("cluster");
        let own = state.join("kubeconfig");
        let kubeconfig = std::env::var_os("KUBECONFIG").map_or_else(|| own.clone(), PathBuf::from);
        if !kubeconfig.is_file() {
            bail!("there is no {}; run `make cluster`, or set KUBECONFIG to your own cluster's", kubeconfig.display());
        }
        let programs = cache.join("bin/current");
        let state = (kubeconfig == own).then_some(state);
        let api = Api::start(&program(&programs, "kubectl", &kubeconfig))?;
        let cluster = Self { kubeconfig, programs, state, api };
        cluster.api.get("/version").context("the API server doesn't answer; run `make cluster` or e2e/cluster/status")?;
        Ok(cluster)
    }

    /// The folder with the state of our own cluster; an error on another one.
    pub fn state(&self) -> Result<&Path> {
        self.state.as_deref().context(
            "this needs the inside of the cluster (images, keys, processes); unset KUBECONFIG and run it on that of `make cluster`",
        )
    }

    /// Runs kubectl, however it ends.
    pub fn kubectl(&self, words: &[&str], input: &str) -> Result<Said> {
        command::run(self.command("kubectl").args(words), input.as_bytes(), LIMIT)
    }

    /// Starts kubectl and doesn't wait.
    pub fn start_kubectl(&self, words: &[&str]) -> Result<Running> {
        command::start(self.command("kubectl").args(words), b"")
    }

    /// What a successful kubectl printed.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        self.kubectl(words, "")?.successful(&format!("kubectl {}", words.join(" ")))
    }

    /// Applies objects as a user would.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        let said = self.kubectl(&["apply", "--server-side", "--filename", "-"], &list(objects))?;
        said.successful("kubectl apply").map(drop)
    }

    /// Applies objects that must be refused; what was said.
    pub fn apply_refused(&self, objects: &[Value]) -> Result<String> {
        let said = self.kubectl(&["apply", "--server-side", "--filename", "-"], &list(objects))?;
        said.refused("kubectl apply")
    }

    /// Runs helm, however it ends.
    pub fn helm(&self, words: &[&str], limit: Duration) -> Result<Said> {
        command::run(self.command("helm").args(words), b"", limit)
    }

    fn command(&self, name: &str) -> Command {
        program(&self.programs, name, &self.kubeconfig)
    }
}

fn program(programs: &Path, name: &str, kubeconfig: &Path) -> Command {
    let cached = programs.join(name);
    let mut command = if cached.exists() { Command::new(cached) } else { Command::new(name) };
    command.arg("--kubeconfig").arg(kubeconfig);
    command
}

/// Several objects as one document.
pub fn list(objects: &[Value]) -> String {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// Where programs, build output and the cluster's state are kept.
pub fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("EVENKEEL_CACHE") {
        return Ok(cache.into());
    }
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(base), _) => PathBuf::from(base),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => bail!("set HOME or EVENKEEL_CACHE"),
    };
    Ok(base.join("evenkeel"))
}

/// The top of the checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
