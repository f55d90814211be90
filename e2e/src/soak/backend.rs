//! The backend within this process: HTTP/1.1 that behaves badly where it is asked to, by path. On all of 127/8, so that an
//! endpoint list can name ever new addresses; nobody else is served.

use crate::echo::message::Reader;
use anyhow::Result;
use socket2::SockRef;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// The length of the large answer.
pub const LARGE: usize = 1 << 20;

/// Serves until the runtime ends; the port.
pub async fn serve() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, SocketAddr::V4(peer))) if peer.ip().is_loopback() => {
                    tokio::spawn(connection(stream));
                }
                Ok(_) => {}
                // Out of descriptors, say: not at once again.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(port)
}

/// An error is the proxy's end of the connection.
async fn connection(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut reader = Reader::new(stream);
    let _ = answer_all(&mut reader).await;
}

async fn answer_all(reader: &mut Reader<TcpStream>) -> Result<()> {
    while reader.wait().await? {
        let request = reader.request().await?;
        let stream = reader.stream();
        match request.target.as_str() {
            "/hang" => {
                reader.wait().await?;
                return Ok(());
            }
            "/cut" => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes()).await?;
                stream.write_all(&[b'x'; 10_000]).await?;
                SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
                return Ok(());
            }
            "/large" => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes()).await?;
                stream.write_all(&vec![b'x'; LARGE]).await?;
            }
            "/socket" => {
                stream
                    .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                    .await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                return Ok(());
            }
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?,
        }
        if !request.keep_alive {
            return Ok(());
        }
    }
    Ok(())
}
