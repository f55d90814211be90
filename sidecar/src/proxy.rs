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
    let Some(route) = worker.table().route(port).cloned() else { return tcp::reset(&stream) };
    match route.protocol {
        Protocol::Tcp => tcp::serve(worker, stream, peer, route.pool).await,
        Protocol::Http => http::serve(worker, stream, peer, port, route.pool).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Shared;
    use tokio::io::AsyncReadExt;

    #[test]
    fn a_connection_that_no_route_takes_is_reset_as_if_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.expect("a runtime").block_on(async {
            let shared = Shared { table: Arc::default(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
            let worker = Rc::new(Worker::new(0, shared, 7));
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("an address");
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (stream, peer) = accepted.expect("a connection");
            let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("a slot");
            serve(worker, stream, peer, address.port(), slot).await;
            let end = client.expect("connects").read(&mut [0]).await;
            assert_eq!(end.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
        });
    }
}
