//! The data path: accept → match → pool → pick → connect → forward → record. Everything before connect is pure.
//! Here: accept and match.

pub(crate) mod attempt;
pub(crate) mod flag;
pub(crate) mod http;
pub(crate) mod record;
pub(crate) mod tcp;

use crate::worker::Worker;
use evenkeel_wire::Protocol;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The pauses of a listener that has no descriptors left: doubling from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accepts for as long as the port is open. Each connection takes a slot; without one, and without descriptors, clients
/// wait in the backlog.
pub(crate) async fn accept(worker: Rc<Worker>, listener: TcpListener, port: u16, slots: Arc<Semaphore>) {
    let mut pause = PAUSE.0;
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE.0;
                tokio::task::spawn_local(serve(worker.clone(), stream, peer, port, slot));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if pause == PAUSE.0 {
                    tracing::warn!(port, %error, "cannot accept; clients wait until resources are free");
                }
                drop(slot);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// The client went away before it was accepted: nothing to do with the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}

async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, port: u16, _slot: OwnedSemaphorePermit) {
    let _open = worker.lifecycle().enter();
    let _ = stream.set_nodelay(true);
    // The port may have closed between accept and here: then the connection ends as if refused.
    let Some(route) = worker.table().route(port).cloned() else { return };
    match route.protocol {
        Protocol::Tcp => tcp::serve(worker, stream, peer, route.pool).await,
        Protocol::Http => http::serve(worker, stream, peer, port).await,
    }
}
