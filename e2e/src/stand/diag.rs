//! Asks the kernel how many bytes wait unread in another process's socket, so that bytes can be cut for sure: the next part
//! goes out when the one before has been read. No sleep stands in for it.

use super::PATIENCE;
use anyhow::{Result, bail};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const LISTENING: u8 = 10;
/// Header, fixed fields and the socket's identity (`struct inet_diag_msg` of linux/inet_diag.h).
const STATE_AT: usize = 17;
const TIMER_AT: usize = 18;
const RQUEUE_AT: usize = 72;
const KEEPALIVE: u8 = 2;

/// A question to the kernel that can be asked again and again.
pub struct Diag(Socket);

impl Diag {
    /// Opens the way to the kernel.
    pub fn new() -> Result<Self> {
        Ok(Self(Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_SOCK_DIAG)))?))
    }

    /// Waits until the other end of this loopback connection has read all that was written, or is gone.
    pub fn wait_until_read(&mut self, stream: &TcpStream) -> Result<()> {
        let (Ok(near), Ok(far)) = (stream.local_addr(), stream.peer_addr()) else { return Ok(()) };
        let deadline = Instant::now() + PATIENCE;
        while self.unread(far, near)? > 0 {
            if Instant::now() >= deadline {
                bail!("bytes from {near} wait unread at {far} for {PATIENCE:?}");
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Waits until the kernel asks the other end of this loopback connection's silence at times: whether it comes to that.
    pub fn is_kept_alive(&mut self, stream: &TcpStream) -> Result<bool> {
        let (near, far) = (stream.local_addr()?, stream.peer_addr()?);
        let deadline = Instant::now() + PATIENCE;
        // While bytes wait to be acknowledged, which is soon over here, another timer runs.
        while Instant::now() < deadline {
            if self.socket(far, near)?.is_some_and(|answer| answer[TIMER_AT] == KEEPALIVE) {
                return Ok(true);
            }
            std::thread::yield_now();
        }
        Ok(false)
    }

    /// The unread bytes of the socket that is bound to `near` and connected to `far`; 0 if there is none.
    fn unread(&mut self, near: SocketAddr, far: SocketAddr) -> Result<u32> {
        let Some(answer) = self.socket(near, far)? else { return Ok(0) };
        Ok(answer[RQUEUE_AT..RQUEUE_AT + 4].try_into().map_or(0, u32::from_ne_bytes))
    }

    /// What the kernel says of the socket that is bound to `near` and connected to `far`, if there is one.
    fn socket(&mut self, near: SocketAddr, far: SocketAddr) -> Result<Option<[u8; 1024]>> {
        let (SocketAddr::V4(near), SocketAddr::V4(far)) = (near, far) else { bail!("only IPv4 is asked for here") };
        let mut ask = Vec::with_capacity(72);
        ask.extend(72u32.to_ne_bytes()); // the length, then type, flags (a request), sequence, sender
        ask.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        ask.extend(1u16.to_ne_bytes());
        ask.extend([0; 8]);
        ask.extend([AF_INET, IPPROTO_TCP, 0, 0]);
        ask.extend(u32::MAX.to_ne_bytes()); // in any state
        ask.extend(near.port().to_be_bytes());
        ask.extend(far.port().to_be_bytes());
        for ip in [near.ip(), far.ip()] {
            ask.extend(ip.octets());
            ask.extend([0; 12]);
        }
        ask.extend([0; 4]); // any interface
        ask.extend([u8::MAX; 8]); // no cookie
        self.0.write_all(&ask)?;
        let mut answer = [0; 1024];
        let length = self.0.read(&mut answer)?;
        // An error message is shorter: no such socket.
        if length < RQUEUE_AT + 4 || answer[STATE_AT] == LISTENING {
            return Ok(None);
        }
        Ok(Some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_socket_is_kept_alive_once_it_is_told_to() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let (far, peer) = listener.accept().expect("accepts");
        let mut diag = Diag::new().expect("netlink");
        let local = far.local_addr().expect("an address");
        assert_ne!(diag.socket(local, peer).expect("answers").expect("a socket")[TIMER_AT], KEEPALIVE);
        socket2::SockRef::from(&far).set_keepalive(true).expect("an option");
        assert!(diag.is_kept_alive(&near).expect("answers"));
    }

    #[test]
    fn the_kernel_says_what_the_other_end_has_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let (mut far, peer) = listener.accept().expect("accepts");
        near.write_all(b"hello").expect("writes");
        let mut diag = Diag::new().expect("netlink");
        let local = far.local_addr().expect("an address");
        assert_eq!(diag.unread(local, peer).expect("answers"), 5);
        far.read_exact(&mut [0; 3]).expect("reads");
        assert_eq!(diag.unread(local, peer).expect("answers"), 2);
        far.read_exact(&mut [0; 2]).expect("reads");
        diag.wait_until_read(&near).expect("all is read");
    }
}
