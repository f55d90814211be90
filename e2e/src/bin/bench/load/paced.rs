//! An open loop: requests are due at random moments (exponential gaps) whatever the answers do, and are timed from when they
//! were due, so that a proxy that stalls can't hide it by slowing the load down.

use super::client::Seen;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// In one piece: `write!` would make a system call of each part.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
/// The rest of an answer may take so long.
const LIMIT: Duration = Duration::from_secs(5);

/// One connection's part: so many requests a second.
pub(super) fn run(port: u16, seconds: u64, rate: f64, number: u32) -> Seen {
    let mut seen = Seen::default();
    let mut gaps = Gaps(u64::from(number) + 1);
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let mut due = start + gaps.next(rate);
    let mut connection = None;
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match exchange(&mut connection, port) {
            Ok(bytes) => {
                seen.took_us.push(due.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
                seen.bytes += bytes as u64;
            }
            Err(_) => {
                seen.failed += 1;
                connection = None;
            }
        }
        due += gaps.next(rate);
    }
    seen
}

fn exchange(connection: &mut Option<Connection>, port: u16) -> io::Result<usize> {
    match connection {
        Some(connection) => connection.exchange(),
        None => connection.insert(Connection::open(port)?).exchange(),
    }
}

/// A connection that asks for the small body.
pub(crate) struct Connection(TcpStream);

impl Connection {
    /// Opens it.
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self(stream))
    }

    /// One request and its answer; its length.
    pub(crate) fn exchange(&mut self) -> io::Result<usize> {
        self.0.write_all(REQUEST)?;
        read_answer(&mut self.0)
    }
}

/// Reads a 200 whose body is the backend's small one, and nothing else; its length.
pub(super) fn read_answer(stream: &mut impl Read) -> io::Result<usize> {
    const BODY: [u8; 70] = [b'x'; 70];
    let mut buffer = [0; 4096];
    let mut length = 0;
    loop {
        let count = stream.read(&mut buffer[length..])?;
        length += count;
        let answer = &buffer[..length];
        if answer.ends_with(&BODY) && answer[..length - BODY.len()].ends_with(b"\r\n\r\n") && answer.starts_with(b"HTTP/1.1 200")
        {
            return Ok(length);
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Seconds between arrivals of a Poisson process, by splitmix64.
struct Gaps(u64);

impl Gaps {
    fn next(&mut self, rate: f64) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let uniform = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        Duration::from_secs_f64(-uniform.ln() / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_backends_answer_is_an_answer() {
        let answer = |status: &str, body: usize| format!("HTTP/1.1 {status}\r\nContent-Length: 70\r\n\r\n{}", "x".repeat(body));
        let read = |text: String| read_answer(&mut text.as_bytes()).map_err(|error| error.kind());
        assert!(read(answer("200 OK", 70)).is_ok());
        for wrong in [answer("503 Service Unavailable", 70), answer("200 OK", 69), String::new()] {
            assert_eq!(read(wrong), Err(io::ErrorKind::UnexpectedEof));
        }
    }

    #[test]
    fn gaps_have_their_mean_and_their_spread() {
        let mut gaps = Gaps(1);
        let all: Vec<f64> = (0..20_000).map(|_| gaps.next(50.0).as_secs_f64()).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let over = all.iter().filter(|gap| **gap > mean).count() as f64 / all.len() as f64;
        assert!((mean - 0.02).abs() < 0.001, "{mean}");
        // Of exponential gaps 1/e are longer than the mean.
        assert!((over - 0.368).abs() < 0.02, "{over}");
    }
}
