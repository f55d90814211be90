//! A well-behaved client: one kept connection, a request at each beat, and how long each took.

use crate::stand::client::has_answers;
use crate::stand::process::local;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A beat of the client's.
const BEAT: Duration = Duration::from_millis(2);
/// No request may take this long.
const LIMIT: Duration = Duration::from_secs(10);

/// What the client has seen.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// Sorted times.
    times: Vec<Duration>,
    /// Requests that weren't answered with 200.
    pub failed: usize,
    /// Why the first of them failed.
    pub why: Option<String>,
}

impl Gauge {
    /// Asks for so long. A connection that is lost counts as failed and is made anew.
    pub fn measure(port: u16, time: Duration) -> Result<Self> {
        let mut gauge = Self { times: Vec::new(), failed: 0, why: None };
        let mut stream = connect(port)?;
        let (start, mut beat) = (Instant::now(), Instant::now());
        while start.elapsed() < time {
            let asked = Instant::now();
            match ask(&mut stream) {
                Ok(()) => gauge.times.push(asked.elapsed()),
                Err(error) => {
                    gauge.failed += 1;
                    gauge.why.get_or_insert_with(|| format!("{error:#}"));
                    stream = connect(port)?;
                }
            }
            beat += BEAT;
            // What took longer than a beat isn't made up for: the next beat starts now.
            beat = beat.max(Instant::now());
            std::thread::sleep(beat - Instant::now());
        }
        gauge.times.sort_unstable();
        Ok(gauge)
    }

    /// Requests that were answered.
    pub fn answered(&self) -> usize {
        self.times.len()
    }

    /// The time that 99 of 100 requests took at most.
    pub fn p99(&self) -> Duration {
        self.times.get(self.times.len() * 99 / 100).copied().unwrap_or(LIMIT)
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&local(port), LIMIT).context("the well-behaved client can't connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"GET /good HTTP/1.1\r\nHost: good\r\n\r\n")?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !has_answers(&heard, &[], 1) {
        let count = stream.read(&mut buffer)?;
        anyhow::ensure!(count > 0, "the connection was closed");
        heard.extend_from_slice(&buffer[..count]);
    }
    anyhow::ensure!(heard.starts_with(b"HTTP/1.1 200"), "{}", heard.escape_ascii());
    Ok(())
}
