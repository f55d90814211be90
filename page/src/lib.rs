//! Serves what a process says of itself (metrics, probes, its live view) on a plain port that anybody may reach: bounded in
//! connections, and in how long each of them lives. Knows nothing of what is served.

use axum::Router;
use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// The most connections at once; others wait in the backlog.
pub const MAX_CONNECTIONS: usize = 64;
/// The longest that one lives, whatever it does: a peer that is slow on purpose holds its place no longer.
pub const LIFE: Duration = Duration::from_secs(30);

/// Serves until dropped; ends only with an error that no later accept would get over.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    axum::serve(Bounded { listener, slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }, router).await
}

struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Mortal;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Mortal, SocketAddr) {
        let Ok(slot) = self.slots.clone().acquire_owned().await else { return std::future::pending().await };
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Mortal { stream, end: Box::pin(sleep(LIFE)), _slot: slot }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when its time is over.
struct Mortal {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Mortal {
    fn poll_alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Mortal {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Mortal {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    async fn start() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, Router::new().route("/", get("here"))));
        address
    }

    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.expect("connects")
    }

    async fn ask(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.write_all(ASK).await.expect("writes");
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_lives_no_longer_than_its_time_whatever_it_says() {
        let address = start().await;
        let (begun, mut silent, mut slow) = (Instant::now(), connect(address).await, connect(address).await);
        slow.write_all(&ASK[..10]).await.expect("writes");
        for stream in [&mut silent, &mut slow] {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        assert!(begun.elapsed() >= LIFE);
        assert!(ask(connect(address).await).await.ends_with("here"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_all_places_are_taken_waits_for_one() {
        let (address, begun) = (start().await, Instant::now());
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            idle.push(connect(address).await);
        }
        assert!(ask(connect(address).await).await.ends_with("here"));
        assert!(begun.elapsed() >= LIFE, "a place came free only when a life was over");
        drop(idle);
    }
}
