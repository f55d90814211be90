//! Whether a sidecar that is loaded and disturbed for long stays the size that it is: memory, descriptors and tasks, sampled from
//! outside. Loopback only; load, backends and faults end with the values that started them.

pub mod backend;
pub mod client;
pub mod http2;
pub mod load;
pub mod sample;
pub mod stage;
pub mod tally;
pub mod verdict;

use anyhow::{Context, Result};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A thread with a runtime; all its tasks and sockets end when this is dropped.
pub struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts `tasks`, which must spawn what goes on, and waits until it has returned.
    pub fn start<T: Send + 'static>(tasks: impl AsyncFnOnce() -> Result<T> + Send + 'static) -> Result<(Self, T)> {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let started = tasks().await;
                let goes_on = started.is_ok();
                let _ = tell.send(started);
                if goes_on {
                    let _ = stopped.await;
                }
            });
        });
        let background = Self { stop: Some(stop), thread: Some(thread) };
        Ok((background, told.recv().context("a thread ended before it began")??))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
