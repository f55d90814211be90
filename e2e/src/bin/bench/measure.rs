//! One turn of one proxy: load it, and read what the kernel says it used. CPU is the process's own nanoseconds
//! (`/proc/PID/task/*/schedstat`) over the requests that were answered.

use crate::peer::{Backend, Peer, Programs, Running};
use anyhow::{Context, Result, bail};
use evenkeel_e2e::scrape;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What a turn showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// CPU microseconds a request.
    pub(crate) cpu_us: f64,
    /// Requests a second.
    pub(crate) per_second: f64,
    /// Requests that failed or weren't answered with 2xx.
    pub(crate) failed: u64,
    /// Our own count over wrk's, where the proxy is ours.
    pub(crate) counted: Option<f64>,
    /// Resident memory right after the load, in KiB.
    pub(crate) rss_kib: u64,
}

/// What the sidecar weighs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight {
    /// Resident memory 10 s after start, four endpoints, one worker, in KiB.
    pub(crate) rss_kib: u64,
    /// The size of its program, in bytes.
    pub(crate) binary: u64,
}

/// Warms the proxy up, loads it for so long, and reads its account.
pub(crate) fn turn(running: &Running, programs: &Programs, connections: u32, length: Duration) -> Result<Turn> {
    wrk(programs, running.port, connections, Duration::from_secs(1))?;
    let pid = running.child.id();
    let (cpu, count) = (cpu_ns(pid)?, own_count(running)?);
    let load = wrk(programs, running.port, connections, length)?;
    let (cpu_after, count_after) = (cpu_ns(pid)?, own_count(running)?);
    if load.requests == 0 {
        bail!("no request was answered");
    }
    let counted = count.zip(count_after).map(|(before, after)| (after - before) / load.requests as f64);
    Ok(Turn {
        cpu_us: (cpu_after - cpu) as f64 / load.requests as f64 / 1e3,
        per_second: load.requests as f64 / length.as_secs_f64(),
        failed: load.failed,
        counted,
        rss_kib: rss_kib(pid)?,
    })
}

/// Starts the sidecar and lets it be for 10 s, which is what the figure is defined by.
pub(crate) fn idle_rss(programs: &Programs, folder: &Path, backend: &Backend) -> Result<Weight> {
    let running = Peer::Evenkeel.start(programs, folder, backend)?;
    std::thread::sleep(Duration::from_secs(10));
    Ok(Weight { rss_kib: rss_kib(running.child.id())?, binary: std::fs::metadata(programs.sidecar())?.len() })
}

struct Load {
    requests: u64,
    failed: u64,
}

fn wrk(programs: &Programs, port: u16, connections: u32, length: Duration) -> Result<Load> {
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(&programs.wrk)
        .args(["-t1", &format!("-c{connections}"), &format!("-d{}s", length.as_secs()), &format!("http://127.0.0.1:{port}/")])
        .output()
        .context("cannot run wrk; run `make deps`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_wrk(&text).with_context(|| format!("wrk printed no result: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn parse_wrk(text: &str) -> Option<Load> {
    let mut load = Load { requests: 0, failed: 0 };
    let mut seen = false;
    for line in text.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            load.requests = count.parse().ok()?;
            seen = true;
        } else if let Some(errors) = line.strip_prefix("Socket errors: ") {
            load.failed += errors.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            load.failed += count.parse::<u64>().ok()?;
        }
    }
    seen.then_some(load)
}

fn cpu_ns(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).context("schedstat has no CPU time")?;
    }
    Ok(sum)
}

fn rss_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")
}

/// The sum of `evenkeel_requests_total` over all its series.
fn own_count(running: &Running) -> Result<Option<f64>> {
    let (Some(Peer::Evenkeel), Some(port)) = (running.peer, running.metrics) else { return Ok(None) };
    let samples = scrape::scrape(([127, 0, 0, 1], port).into()).context("the sidecar's metrics")?;
    Ok(Some(samples.sum("evenkeel_requests_total", &[])))
}

#[cfg(test)]
mod tests {
    use super::parse_wrk;

    #[test]
    fn failures_of_wrk_are_added_up() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  5000 requests in 1.00s, 1MB read\n  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 4\nRequests/sec: 5000\n";
        let load = parse_wrk(text).expect("a result");
        assert_eq!((load.requests, load.failed), (5000, 10));
        assert!(parse_wrk("unable to connect").is_none());
    }
}
