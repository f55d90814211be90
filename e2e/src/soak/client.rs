//! One exchange of each kind but those of HTTP/2: `Ok` if it went as the kind should.

use super::backend::LARGE;
use crate::echo::client::Connection;
use crate::echo::message::{Reader, Response};
use crate::stand::process::local;
use anyhow::{Result, ensure};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest that one exchange may take.
pub const LIMIT: Duration = Duration::from_secs(10);
/// What a vanishing client says that it will send; it sends a quarter.
const BODY: usize = 200_000;
/// A slow reader's sips.
const SIP: usize = 16 << 10;

/// GET on this client's connection, which is kept or not.
pub async fn get(connection: &mut Connection, keep: bool) -> Result<()> {
    let close = if keep { "" } else { "Connection: close\r\n" };
    let request = format!("GET / HTTP/1.1\r\nHost: soak\r\n{close}\r\n");
    connection.exchange(request.as_bytes(), false, keep, LIMIT).await?.successful()?;
    Ok(())
}

/// A connection that TLS is spoken on, and whatever else is offered.
pub async fn tls(config: &Arc<rustls::ClientConfig>, port: u16) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(local(port)).await?;
    stream.set_nodelay(true)?;
    Ok(TlsConnector::from(config.clone()).connect(ServerName::try_from("soak")?, stream).await?)
}

/// GET of a path on a stream that is used for nothing else.
pub async fn fetch(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Result<Response> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    Ok(Reader::new(stream).response(false).await?)
}

/// An upgrade, and ten messages there and back.
pub async fn web_socket(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(local(port)).await?;
    let head = "GET /socket HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(answer.len() < 1024, "no answer to an upgrade: {}", answer.escape_ascii());
        answer.push(stream.read_u8().await?);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "no upgrade: {}", answer.escape_ascii());
    for number in 0..10u8 {
        let message = [number; 300];
        stream.write_all(&message).await?;
        let mut back = [0; 300];
        stream.read_exact(&mut back).await?;
        ensure!(back == message, "other bytes came back");
    }
    Ok(())
}

/// A datagram from a port of its own, and its answer. One that is lost is lost for a second at most.
pub async fn datagram(port: u16) -> Result<()> {
    let socket = UdpSocket::bind(local(0)).await?;
    socket.connect(local(port)).await?;
    socket.send(b"soak").await?;
    let mut answer = [0; 64];
    let length = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut answer)).await??;
    ensure!(answer[..length].ends_with(b"soak"), "another datagram came back");
    Ok(())
}

/// Goes in the midst of its body, with a FIN or with a reset.
pub async fn vanish(port: u16, resets: bool) -> Result<()> {
    let mut stream = TcpStream::connect(local(port)).await?;
    stream.write_all(format!("POST /upload HTTP/1.1\r\nHost: soak\r\nContent-Length: {BODY}\r\n\r\n").as_bytes()).await?;
    stream.write_all(&vec![b'x'; BODY / 4]).await?;
    if resets {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

/// Reads a large answer in sips for a second; then leaves, or reads the rest and sees that it is whole.
pub async fn sip(port: u16, leaves: bool) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SIP as u32)?;
    let mut stream = socket.connect(local(port)).await?;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n").await?;
    let (mut buffer, mut read) = (vec![0; SIP], 0);
    for _ in 0..20 {
        let count = stream.read(&mut buffer).await?;
        ensure!(read > 0 || buffer.starts_with(b"HTTP/1.1 200"), "no large answer");
        read += count;
        tokio::time::sleep(Duration::from_millis(50)).await; // this client is slow
    }
    if leaves {
        return Ok(());
    }
    read += tokio::io::copy(&mut stream, &mut tokio::io::sink()).await? as usize;
    ensure!(read > LARGE, "{read} bytes of an answer of more than {LARGE}");
    Ok(())
}
