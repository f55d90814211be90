//! Attackers on sockets: floods that come back when they are shut out, slow clients, and as many that only idle.

use super::attack::Attack;
use crate::stand::frames::{self, Frame, kind, open, read_frame};
use crate::stand::process::local;
use anyhow::Result;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The pause before a flood comes back on a new connection: a round trip or two, and whatever the attacker does about a refusal.
const BACK: Duration = Duration::from_millis(100);
/// The pause between two bytes of a slow client.
const SLOWLY: Duration = Duration::from_millis(200);

/// How a flood on one connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The proxy closed the connection with this code.
    GoAway(u32),
    /// It closed the connection without a word that could be read.
    Closed,
    /// It took all.
    Tolerated,
}

/// Floods one connection with at most so many rounds, while what comes back is read; how it ended.
pub fn flood(attack: Attack, port: u16, rounds: u32) -> Result<End> {
    let stream = TcpStream::connect(local(port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    open(&stream, &[])?;
    let reading = stream.try_clone()?;
    let reader = std::thread::spawn(move || last_goaway(&reading));
    let mut writing = &stream;
    let flooded = writing.write_all(&attack.opening()).and_then(|()| {
        for number in 0..rounds {
            writing.write_all(&attack.round(number))?;
        }
        Ok(())
    });
    // All is said: a PING of which the answer shows that all was taken.
    let asked = flooded.and_then(|()| writing.write_all(&frames::frame(kind::PING, 0, 0, b"all read")));
    let _ = asked;
    Ok(reader.join().unwrap_or(End::Closed))
}

fn last_goaway(stream: &TcpStream) -> End {
    loop {
        match read_frame(stream) {
            Ok(frame @ Frame { kind: kind::GOAWAY, .. }) => return frame.code().map_or(End::Closed, End::GoAway),
            Ok(Frame { kind: kind::PING, payload, .. }) if payload == b"all read" => return End::Tolerated,
            Ok(_) => {}
            Err(_) => return End::Closed,
        }
    }
}

/// Attacks on so many connections until the time is over. Floods that are shut out come back on new connections.
pub fn attack(attack: Attack, port: u16, connections: usize, time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    if Attack::SLOW.contains(&attack) {
        return slow(attack, port, connections, deadline);
    }
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                while Instant::now() < deadline {
                    // An error is the proxy's refusal.
                    let _ = flood_until(attack, port, deadline);
                    std::thread::sleep(BACK);
                }
            });
        }
    });
    Ok(())
}

fn flood_until(attack: Attack, port: u16, deadline: Instant) -> Result<()> {
    let mut stream = TcpStream::connect(local(port))?;
    stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    open(&stream, &[])?;
    stream.write_all(&attack.opening())?;
    let mut number = 0;
    while Instant::now() < deadline {
        stream.write_all(&attack.round(number))?;
        number += 1;
    }
    Ok(())
}

/// Opens so many connections and says nothing until the time is over.
pub fn idle(port: u16, connections: usize, http2: bool, time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    let streams: Vec<TcpStream> = connect(port, connections, 0, deadline);
    if http2 {
        streams.iter().try_for_each(|stream| open(stream, &[]))?;
    }
    std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    Ok(())
}

fn slow(attack: Attack, port: u16, connections: usize, deadline: Instant) -> Result<()> {
    let window = if attack == Attack::SlowReads { 2048 } else { 0 };
    let mut streams = connect(port, connections, window, deadline);
    let start: &[u8] = match attack {
        Attack::SlowHeads => b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
        Attack::SlowBodies => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
        _ => b"GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    for stream in &mut streams {
        let _ = stream.write_all(start);
        stream.set_nonblocking(true)?;
    }
    let mut sip = [0; 64];
    while Instant::now() < deadline {
        streams.retain_mut(|stream| match attack {
            Attack::SlowReads => matches!(stream.read(&mut sip), Ok(1..)) || would_block(stream.read(&mut sip)),
            _ => stream.write_all(b"x").is_ok(),
        });
        // Those that were shut out come back.
        let missing = connections - streams.len();
        for mut stream in connect(port, missing, window, deadline) {
            if stream.write_all(start).is_ok() && stream.set_nonblocking(true).is_ok() {
                streams.push(stream);
            }
        }
        std::thread::sleep(SLOWLY);
    }
    Ok(())
}

fn would_block(result: std::io::Result<usize>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// As many connections as the proxy lets in; with a small receive window if it isn't 0.
fn connect(port: u16, connections: usize, window: usize, deadline: Instant) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    while streams.len() < connections && Instant::now() < deadline {
        let Ok(socket) = Socket::new(Domain::IPV4, Type::STREAM, None) else { break };
        if window > 0 {
            let _ = SockRef::from(&socket).set_recv_buffer_size(window);
        }
        let address: SocketAddr = local(port);
        if socket.connect_timeout(&address.into(), Duration::from_secs(1)).is_err() {
            break;
        }
        streams.push(socket.into());
    }
    streams
}
