//! UDP: an endpoint for each session, that is for each source address of a listener's datagrams, as long as either side says
//! something. An answer is the endpoint's success; that nobody listens there, which the kernel tells, is a failed connect;
//! silence is nothing. Datagrams go whole or not at all, and what isn't passed on is counted by why.

mod dropped;
mod leg;
mod listener;
mod places;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use dropped::Dropped;
pub(crate) use places::Places;

use super::PAUSE;
use crate::worker::Worker;
use listener::Listener;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// Datagrams that are taken until others have their turn.
const BATCH: usize = 32;

/// Serves one worker's socket of a port until it is dropped, which ends its sessions. `held` lives as long as the socket.
pub(crate) async fn serve(worker: Rc<Worker>, socket: UdpSocket, port: u16, places: Places, held: Arc<()>) {
    let listener = Rc::new(Listener::new(worker, socket, port, places, held));
    let _closing = Closing(listener.clone());
    let mut pause = PAUSE.0;
    loop {
        match take_batch(&listener).await {
            Ok(()) => pause = PAUSE.0,
            Err(error) => {
                if pause == PAUSE.0 {
                    tracing::warn!(port, %error, "cannot take datagrams; they wait until resources are free");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

async fn take_batch(listener: &Rc<Listener>) -> io::Result<()> {
    listener.socket.readable().await?;
    let now = Instant::now();
    for _ in 0..BATCH {
        match listener.pass_datagram(now) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
            Err(error) => return Err(error),
        }
    }
    tokio::task::coop::consume_budget().await;
    Ok(())
}

/// Sessions hold the socket too: without their end it would go on taking datagrams that nobody reads.
struct Closing(Rc<Listener>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
