//! Pipes through which bytes go from socket to socket without being copied. A worker has a few, made when first needed; who moves
//! bytes in bulk has one while they flow. A pipe with bytes left in it never comes back: they belong to one connection.

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::net::TcpStream;

/// The most that a worker has; who finds none free copies its bytes.
const MOST: usize = 32;
/// What a pipe may hold, in bytes, where the kernel allows that much.
const SIZE: usize = 256 << 10;

/// A worker's pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    free: RefCell<Vec<Ends>>,
    in_use: Cell<usize>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe in use by one way of one connection.
#[derive(Debug)]
pub(super) struct Pipe {
    pipes: Rc<Pipes>,
    /// Taken out only in Drop.
    ends: Option<Ends>,
    held: usize,
}

impl Pipes {
    /// One that is free, if there is one or may be one more.
    pub(super) fn take(self: &Rc<Self>) -> Option<Pipe> {
        if self.in_use.get() == MOST {
            return None;
        }
        let free = self.free.borrow_mut().pop();
        let ends = free.or_else(|| Ends::make().ok())?;
        self.in_use.set(self.in_use.get() + 1);
        Some(Pipe { pipes: self.clone(), ends: Some(ends), held: 0 })
    }

    /// How many are in use, and how many wait.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        (self.in_use.get(), self.free.borrow().len())
    }
}

impl Ends {
    fn make() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Over the user's limit it stays as it is, which is slower and no less right.
        let _ = fcntl_setpipe_size(&write, SIZE);
        Ok(Self { read, write })
    }
}

impl Pipe {
    /// Bytes that are in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves what there is from the socket into the pipe, which must be empty; nothing is the socket's end.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let Some(Ends { write, .. }) = &self.ends else { return Ok(0) };
        let moved = splice(from, None, write, None, SIZE, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves bytes from the pipe to the socket, as many as that takes.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let Some(Ends { read, .. }) = &self.ends else { return Ok(0) };
        let moved = splice(read, None, to, None, self.held, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?;
        self.held -= moved;
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.pipes.in_use.set(self.pipes.in_use.get() - 1);
        if let Some(ends) = self.ends.take().filter(|_| self.held == 0) {
            self.pipes.free.borrow_mut().push(ends);
        }
    }
}
