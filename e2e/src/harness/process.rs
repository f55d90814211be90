//! The processes of pods, seen from the machine that runs our own cluster.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

/// A process of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(u32);

/// The pod's process of this program.
pub fn find(pod: &Value, program: &str) -> Result<Process> {
    let uid = pod["metadata"]["uid"].as_str().context("the pod has no UID")?;
    let belongs = |pid: &u32| {
        let folder = Path::new("/proc").join(pid.to_string());
        let comm = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
        let cgroup = std::fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        // The kernel keeps 15 bytes of a program's name.
        comm.trim_end() == &program[..program.len().min(15)] && cgroup.contains(uid)
    };
    let entries = std::fs::read_dir("/proc")?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid = pids.find(belongs).with_context(|| {
        format!("no process {program} of pod {uid} on this machine; this test needs the cluster of `make cluster`")
    })?;
    Ok(Process(pid))
}

impl Process {
    /// Its resident memory in MiB.
    pub fn rss_mib(self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// The size of its program in MiB.
    pub fn program_mib(self) -> Result<f64> {
        let program = std::fs::metadata(format!("/proc/{}/exe", self.0))?;
        Ok(program.len() as f64 / f64::from(1 << 20))
    }

    /// Ends it without a word.
    pub fn kill(self) -> Result<()> {
        let pid = self.0.to_string();
        let mut kill = std::process::Command::new("kill");
        super::command::run(kill.args(["-KILL", &pid]), b"", std::time::Duration::from_secs(5))?.successful("kill").map(drop)
    }
}
