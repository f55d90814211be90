//! One proxy's turn under a row's load: CPU is the process's own nanoseconds over the requests that were answered; memory is
//! read halfway through the load.

use crate::backend::Backend;
use crate::load::{Answered, Load, Shot};
use crate::peer::{Downstream, Peer, Running, Setup};
use crate::process::Programs;
use crate::row::Row;
use anyhow::{Context, Result, bail};
use evenkeel_e2e::scrape;
use std::thread;
use std::time::{Duration, Instant};

/// How long the sidecar may take to see that the load's connections have ended.
const SETTLED: Duration = Duration::from_secs(5);

/// What a turn showed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn {
    /// CPU microseconds a request; 0 where there is no proxy.
    pub(crate) cpu_us: f64,
    /// Requests a second.
    pub(crate) per_second: f64,
    /// Resident memory during the load; 0 where there is no proxy.
    pub(crate) rss_mib: f64,
    /// The 99th percentile, of a paced load.
    pub(crate) p99_us: f64,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// How far our own count is from what was sent, as a part of it; of our own turns.
    pub(crate) miscounted: Option<f64>,
}

/// Starts the proxy, warms it up, loads it for so long, and reads its accounts.
pub(crate) fn take(programs: &Programs, backend: &Backend, row: &Row, peer: Peer, shot: Shot) -> Result<Turn> {
    let running = peer.start(programs, &backend.ports, row.setup)?;
    let shot = Shot { port: running.port, ..shot };
    row.load.run(programs, Shot { seconds: 1, ..shot }).context("warming up")?;
    let before = Account::read(&running, row.setup)?;
    let (answered, rss_mib) = thread::scope(|scope| {
        let load = scope.spawn(|| row.load.run(programs, shot));
        thread::sleep(Duration::from_secs(shot.seconds) / 2);
        let rss = running.process.as_ref().map(|process| process.rss_mib()).transpose();
        let answered = load.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the load's thread panicked")));
        (answered, rss)
    });
    let answered = answered?;
    let after = Account::read(&running, row.setup)?;
    let counted = before.counted.zip(after.counted).map(|(before, after)| after - before);
    Ok(Turn {
        cpu_us: (after.cpu_ns - before.cpu_ns) as f64 / answered.requests as f64 / 1e3,
        per_second: answered.requests as f64 / answered.seconds,
        rss_mib: rss_mib?.unwrap_or_default(),
        p99_us: answered.p99_us,
        failed: answered.failed,
        miscounted: counted.map(|counted| off(counted, answered, row)),
    })
}

/// What a proxy has used and counted so far.
struct Account {
    cpu_ns: u64,
    counted: Option<f64>,
}

impl Account {
    fn read(running: &Running, setup: Setup) -> Result<Self> {
        let cpu_ns = running.process.as_ref().map_or(Ok(0), |process| process.cpu_ns())?;
        // Only then: to be asked costs, too.
        let counted = running.metrics.map(|port| own_count(port, setup)).transpose()?;
        Ok(Self { cpu_ns, counted })
    }
}

/// Requests that our metrics count; in TCP mode, which knows none, bytes. Both are settled when the load's connections have
/// ended.
fn own_count(port: u16, setup: Setup) -> Result<f64> {
    let deadline = Instant::now() + SETTLED;
    let samples = loop {
        let samples = scrape::scrape(([127, 0, 0, 1], port).into()).context("the sidecar's metrics")?;
        let open = samples.sum("evenkeel_connections", &[("side", "downstream")]);
        let in_flight = samples.sum("evenkeel_inflight", &[]);
        if open == 0.0 && in_flight == 0.0 {
            break samples;
        }
        if Instant::now() > deadline {
            bail!("{open} client connections and {in_flight} requests are still open {SETTLED:?} after the load");
        }
        thread::sleep(Duration::from_millis(20)); // between two looks, not in place of one
    };
    Ok(match setup.downstream {
        Downstream::Tcp => samples.sum("evenkeel_bytes_total", &[("direction", "downstream")]),
        Downstream::Http1 | Downstream::Http2 | Downstream::Tls => samples.sum("evenkeel_requests_total", &[]),
    })
}

/// How far the count is from what was sent: all that was answered, and at most what was on its way when the load ended.
fn off(counted: f64, answered: Answered, row: &Row) -> f64 {
    let requests = answered.requests as f64;
    let each = if row.setup.downstream == Downstream::Tcp { answered.bytes as f64 / requests } else { 1.0 };
    let most = (requests + row.load.in_flight() as f64) * each;
    (requests * each - counted).max(counted - most).max(0.0) / (requests * each)
}

/// Requests a second at half of what HAProxy can take with so many connections; 0 for loads that aren't paced.
pub(crate) fn half_load(programs: &Programs, backend: &Backend, row: &Row) -> Result<f64> {
    let Load::Paced { connections } = row.load else { return Ok(0.0) };
    let running = Peer::Haproxy.start(programs, &backend.ports, row.setup)?;
    let full = Load::Http1 { connections, path: crate::backend::SMALL, tls: false };
    let answered = full.run(programs, Shot { port: running.port, seconds: 3, rate: 0.0 })?;
    Ok(answered.requests as f64 / answered.seconds / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ROWS;

    fn off_of(name: &str, counted: f64, answered: Answered) -> f64 {
        off(counted, answered, ROWS.iter().find(|row| row.name == name).expect("a row"))
    }

    #[test]
    fn what_was_on_its_way_at_the_end_may_be_counted_or_not() {
        let answered = Answered { requests: 10_000, bytes: 1_000_000, ..Answered::default() };
        assert_eq!(off_of("http1", 10_000.0, answered), 0.0);
        assert_eq!(off_of("http1", 10_064.0, answered), 0.0);
        assert!((off_of("http1", 10_164.0, answered) - 0.01).abs() < 1e-9);
        assert!((off_of("http1", 9_800.0, answered) - 0.02).abs() < 1e-9);
    }

    #[test]
    fn bytes_count_where_requests_cannot_be_seen() {
        let answered = Answered { requests: 1_000, bytes: 1_000 << 20, ..Answered::default() };
        assert_eq!(off_of("tcp-1m", f64::from(1_010 << 20), answered), 0.0);
        assert!(off_of("tcp-1m", f64::from(900 << 20), answered) > 0.09);
    }
}
