//! What one small HTTP/1.1 request costs the sidecar: instructions in user space and system calls, counted by Callgrind on
//! the program that ships. They hardly depend on the machine or on what else runs there, so a limit can be checked in.

use crate::load::paced::Connection;
use crate::peer::evenkeel;
use crate::process::{Process, Programs, free_ports};
use crate::row::HTTP1;
use anyhow::{Context, Result, bail};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

/// What a request may cost, 3 % above what it does. When a change is worth more than that, write the new figure here and say
/// in the commit what it buys.
const MOST: Cost = Cost { instructions: 14_250.0, system_calls: 22.5 };

/// Two runs, and the difference counts: what start and end cost is in both.
const RUNS: (u32, u32) = (500, 2500);

/// As NGINX writes it.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.31.3\r\nDate: Sat, 21 Nov 2026 19:19:10 GMT\r\nContent-Type: text/plain\r\n\
    Content-Length: 70\r\nConnection: keep-alive\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    instructions: f64,
    /// Readings of the clock are among them: Callgrind has no vDSO.
    system_calls: f64,
}

/// Counts, and fails where a request costs more than [`MOST`].
pub(crate) fn check(programs: &Programs) -> Result<()> {
    let backends = backends()?;
    let (few, many) = (count(programs, &backends, RUNS.0)?, count(programs, &backends, RUNS.1)?);
    let requests = f64::from(RUNS.1 - RUNS.0);
    let each = |few: u64, many: u64| many.saturating_sub(few) as f64 / requests;
    let cost = Cost { instructions: each(few.0, many.0), system_calls: each(few.1, many.1) };
    println!(
        "one HTTP/1.1 request: {:.0} instructions (≤ {:.0}), {:.1} system calls and readings of the clock (≤ {:.1})",
        cost.instructions, MOST.instructions, cost.system_calls, MOST.system_calls
    );
    if cost.instructions > MOST.instructions || cost.system_calls > MOST.system_calls {
        bail!("more than is checked in; where it is worth that, raise MOST in {}", file!());
    }
    Ok(())
}

/// Servers on four ports that answer each request as the bench's backend does, in one piece.
fn backends() -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for _ in 0..4 {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        ports.push(listener.local_addr()?.port());
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| answer(stream)))));
    }
    Ok(ports)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    let mut length = 0;
    loop {
        match stream.read(&mut buffer[length..])? {
            0 => return Ok(()),
            count => length += count,
        }
        if buffer[..length].ends_with(b"\r\n\r\n") {
            stream.write_all(ANSWER)?;
            length = 0;
        }
    }
}

/// Instructions and system calls of a whole run with so many requests, one after the other.
fn count(programs: &Programs, backends: &[u16], requests: u32) -> Result<(u64, u64)> {
    let [port, admin, metrics] = free_ports()?;
    let out = programs.folder.join("callgrind.out");
    let mut command = Command::new(programs.host("valgrind")?);
    command.args(["--tool=callgrind", "--collect-systime=yes"]).arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(&programs.sidecar);
    let pools = evenkeel::pools(programs, HTTP1, port, backends)?;
    let command = evenkeel::command(command, pools, admin, metrics);
    let sidecar = Process::start(command, port, &programs.log("callgrind"))?;
    let mut connection = Connection::open(port)?;
    for _ in 0..requests {
        connection.exchange()?;
    }
    drop(connection);
    sidecar.end()?;
    summary(&out)
}

/// `events: Ir sysCount sysTime` and `summary: …` of Callgrind's output.
fn summary(out: &Path) -> Result<(u64, u64)> {
    let text = String::from_utf8_lossy(&std::fs::read(out).with_context(|| format!("{}", out.display()))?).into_owned();
    parse(&text).with_context(|| format!("{} has no sums of instructions and system calls", out.display()))
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let line = |label: &str| text.lines().find_map(|line| line.strip_prefix(label)).map(str::split_whitespace);
    let mut sums = line("events:")?.zip(line("summary:")?);
    let instructions = sums.find(|(event, _)| *event == "Ir")?.1.parse().ok()?;
    let system_calls = sums.find(|(event, _)| *event == "sysCount")?.1.parse().ok()?;
    Some((instructions, system_calls))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sums_are_found_by_their_events() {
        assert_eq!(parse("events: Ir sysCount sysTime\nfn=(1)\nsummary: 37140416 55570 5706\n"), Some((37_140_416, 55_570)));
        assert_eq!(parse("events: Ir\nsummary: 37140416\n"), None);
    }
}
