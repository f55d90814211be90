//! A session's way to one endpoint: a connected socket of its own, so that the kernel says when nobody listens there, and the
//! record of what went over it.

use crate::metrics::{Direction, OpenConnection, PoolMetrics, Side};
use crate::proxy::attempt::{Attempts, Chosen, ConnectError, Unreached};
use crate::proxy::flag::Flag;
use crate::proxy::record::Record;
use crate::table::{Member, PoolEntry};
use crate::worker::Worker;
use evenkeel_balance::{Endpoint, NoEndpoint, Outcome};
use rustix::net::SendFlags;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// Dropped, it settles its record.
pub(super) struct Leg {
    pub(super) socket: UdpSocket,
    pub(super) member: Arc<Member>,
    metrics: Arc<PoolMetrics>,
    worker: usize,
    record: RefCell<Record>,
    /// When the client last said something.
    asked_at: Cell<Instant>,
    answered: Cell<bool>,
    _open: OpenConnection,
}

/// Why a datagram didn't go.
pub(super) enum NotSent {
    /// There is no room for it now.
    Full,
    /// The endpoint, or the way to it, has refused one before.
    Refused,
}

impl Leg {
    /// Picks an endpoint for a session with this key, another one than `avoided` if there is one, and connects to it. What
    /// becomes of a session that finds none is recorded too.
    pub(super) fn open(
        worker: &Rc<Worker>,
        pool: &Arc<PoolEntry>,
        key: Option<u64>,
        avoided: Option<Arc<Endpoint>>,
    ) -> Result<Self, Flag> {
        let mut record = Record::start(worker.clone(), pool.clone());
        let reached = match reach(worker, Attempts::new(pool.clone(), key, None).avoiding(avoided.clone())) {
            // There is no other one; it may have come back.
            Err(Unreached::NoEndpoint(NoEndpoint::AllTried)) if avoided.is_some() => {
                reach(worker, Attempts::new(pool.clone(), key, None))
            }
            reached => reached,
        };
        let (chosen, socket) = match reached {
            Ok(reached) => reached,
            Err(unreached) => {
                let flag = unreached.into();
                record.set_flag(flag);
                return Err(flag);
            }
        };
        let member = chosen.member().clone();
        record.set_chosen(chosen);
        record.set_flag(Flag::None);
        Ok(Self {
            socket,
            member,
            metrics: pool.metrics().clone(),
            worker: worker.index(),
            record: RefCell::new(record),
            asked_at: Cell::new(Instant::now()),
            answered: Cell::new(false),
            _open: OpenConnection::new(pool.metrics().clone(), worker.index(), Side::Upstream),
        })
    }

    /// Sends one of the client's datagrams to the endpoint.
    pub(super) fn send(&self, datagram: &[u8], now: Instant) -> Result<(), NotSent> {
        match rustix::net::send(&self.socket, datagram, SendFlags::DONTWAIT) {
            Ok(_) => {
                self.asked_at.set(now);
                self.count(Direction::Upstream, datagram.len());
                Ok(())
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS | rustix::io::Errno::MSGSIZE) => Err(NotSent::Full),
            Err(_) => Err(NotSent::Refused),
        }
    }

    /// The endpoint has answered with so many bytes: it lives.
    pub(super) fn answered(&self, bytes: usize, now: Instant) {
        self.count(Direction::Downstream, bytes);
        if !self.answered.replace(true) {
            let mut record = self.record.borrow_mut();
            record.answer_begun(Outcome::Success, Some(now.saturating_duration_since(self.asked_at.get())));
            record.report(Outcome::Success);
        }
    }

    /// What the kernel has heard of datagrams that were sent; told once, to whoever asks first. An error alone makes no socket
    /// readable.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        let taken = self.socket.take_error().ok().flatten();
        // The next one is a new event.
        let _ = self.socket.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        taken
    }

    /// Nobody listens there, or there is no way: as good as a refused connect.
    pub(super) fn refused(&self) {
        let mut record = self.record.borrow_mut();
        record.report(Outcome::ConnectError);
        record.set_flag(Flag::ConnectFailure);
    }

    /// Why it ends, if that isn't as it should.
    pub(super) fn set_flag(&self, flag: Flag) {
        self.record.borrow_mut().set_flag(flag);
    }

    fn count(&self, direction: Direction, bytes: usize) {
        self.metrics.shard(self.worker).count_datagram(direction);
        self.record.borrow_mut().add_bytes(direction, bytes as u64);
    }
}

fn reach(worker: &Worker, mut attempts: Attempts) -> Result<(Chosen, UdpSocket), Unreached> {
    loop {
        let chosen = attempts.pick(worker)?;
        match connect(chosen.address()) {
            Ok(socket) => return Ok((chosen, socket)),
            Err(error) => attempts.give_up(worker, chosen, ConnectError::of(&error))?,
        }
    }
}

/// Waits for nothing: connecting a datagram's socket only sets where it leads.
fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let own: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(own)?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
