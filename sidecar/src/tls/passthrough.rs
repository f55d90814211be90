//! TLS that doesn't end here: the pool is that of the name which the client asks for. The hello is looked at and stays in the
//! socket, so that what follows is TCP like any other.

use super::hello::{self, Hello, HelloFault};
use super::server::{HANDSHAKE_TIMEOUT, LINGER, is_http, linger, told_in_plain};
use crate::proxy::turned_away::{self, Caller, TurnedAway};
use crate::table::PoolEntry;
use crate::worker::Worker;
use rustix::net::RecvFlags;
use rustls::AlertDescription::{self, DecodeError, UnrecognisedName};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Where a connection on the port leads. `None`: it was turned away, which is counted for `first`, the first of the port's pools,
/// said, and told to the client.
pub(crate) async fn find_pool(
    worker: &Worker,
    first: &PoolEntry,
    socket: TcpStream,
    caller: Caller,
) -> Option<(TcpStream, Arc<PoolEntry>)> {
    let mut asked = None;
    let (reason, told) = match timeout(HANDSHAKE_TIMEOUT, peek(worker, &socket)).await {
        Ok(Ok(Hello { server_name: Some(name) })) => match worker.table().route_by_name(caller.port, &name) {
            Some(route) => return Some((socket, route.pool.clone())),
            None => {
                asked = Some(name);
                (TurnedAway::UnknownServerName, Told::Alert(UnrecognisedName))
            }
        },
        Ok(Ok(Hello { server_name: None })) => (TurnedAway::NoServerName, Told::Alert(UnrecognisedName)),
        Ok(Err(NoHello::Silent)) => return None,
        Ok(Err(NoHello::Closed)) => (TurnedAway::TlsClosed, Told::Nothing),
        Ok(Err(NoHello::Fault(HelloFault::NoTls, first))) if is_http(first) => (TurnedAway::PlainHttp, Told::Plainly),
        Ok(Err(NoHello::Fault(HelloFault::NoTls, _))) => (TurnedAway::TlsExpected, Told::Nothing),
        Ok(Err(NoHello::Fault(..))) => (TurnedAway::TlsHandshake, Told::Alert(DecodeError)),
        Err(_) => (TurnedAway::TlsTimeout, Told::Nothing),
    };
    turned_away::note(worker, first, caller, reason, asked.as_deref().unwrap_or_default());
    refuse(socket, told).await;
    None
}

/// Why there is no hello.
enum NoHello {
    /// The client went without a byte, as probes do.
    Silent,
    /// It went in the midst of the hello.
    Closed,
    /// What came is none; so it begins.
    Fault(HelloFault, [u8; 4]),
}

/// What a client hears that is turned away.
pub(crate) enum Told {
    Nothing,
    /// That this is no plain HTTP.
    Plainly,
    /// A fatal alert in the clear, which is all that can be said before keys are agreed on.
    Alert(AlertDescription),
}

/// Looks at the hello, again whenever more of it comes, and leaves it where it is.
async fn peek(worker: &Worker, socket: &TcpStream) -> Result<Hello, NoHello> {
    let gone = |seen| if seen == 0 { NoHello::Silent } else { NoHello::Closed };
    let mut seen = 0;
    loop {
        let ready = socket.ready(Interest::READABLE).await.map_err(|_| gone(seen))?;
        let looked = socket.try_io(Interest::READABLE, || worker.with_scratch(|buffer| look(socket, buffer, &mut seen)));
        match looked {
            Ok(hello) => return hello,
            // What is there isn't enough: only more of it is news, which the kernel tells (edge-triggered). An end is told for
            // good.
            Err(error) if error.kind() == ErrorKind::WouldBlock && !ready.is_read_closed() => {}
            Err(_) => return Err(gone(seen)),
        }
    }
}

fn look(socket: &TcpStream, buffer: &mut [u8], seen: &mut usize) -> io::Result<Result<Hello, NoHello>> {
    let (_, there) = rustix::net::recv(socket, &mut buffer[..hello::MAX_HELLO], RecvFlags::PEEK)?;
    *seen = there;
    match hello::parse(&buffer[..there]) {
        Ok(Some(hello)) => Ok(Ok(hello)),
        Ok(None) => Err(ErrorKind::WouldBlock.into()),
        Err(fault) => Ok(Err(NoHello::Fault(fault, std::array::from_fn(|at| if at < there { buffer[at] } else { 0 })))),
    }
}

/// Ends a connection by the last word to its client.
pub(crate) async fn refuse(socket: TcpStream, told: Told) {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    let said = match told {
        Told::Nothing => return,
        Told::Plainly => socket.try_write(&told_in_plain()),
        Told::Alert(alert) => socket.try_write(&[ALERT, 3, 3, 0, 2, FATAL, alert.into()]),
    };
    // Boxed: no connection that is welcome carries the room for this along.
    let _ = timeout(LINGER.0, Box::pin(linger(socket, said.is_ok()))).await;
}
