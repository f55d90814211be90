//! One worker's socket of a UDP port and the sessions that came over it. A source that has no room for a further session gives up
//! its own longest silent one, if that has been silent for a while; nobody gives way to another source, lest who makes up
//! sources push out those that are at work.

use super::Dropped;
use super::leg::{Leg, NotSent};
use super::places::{Place, Places};
use super::session::Session;
use crate::metrics::{OpenConnection, Side};
use crate::proxy::flag::Flag;
use crate::proxy::tcp::source_key;
use crate::table::{PoolEntry, Route};
use crate::worker::Worker;
use evenkeel_balance::Endpoint;
use evenkeel_wire::UdpSettings;
use rustix::net::SendFlags;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// No datagram is longer.
const LONGEST: usize = 65_535;
/// A session that has been silent for so long may give way to another one of its source.
pub(super) const GIVES_WAY: Duration = Duration::from_secs(1);
/// Of a source with more sessions than these, the longest silent one isn't looked for any further.
const LOOKED_AT: usize = 128;

/// A socket, its sessions, and the buffer that all datagrams go through.
pub(super) struct Listener {
    worker: Rc<Worker>,
    pub(super) socket: UdpSocket,
    port: u16,
    places: Places,
    buffer: RefCell<Box<[u8]>>,
    sessions: RefCell<HashMap<SocketAddr, Rc<Session>>>,
    by_source: RefCell<HashMap<IpAddr, Vec<Rc<Session>>>>,
    /// Lives as long as the socket does.
    _held: Arc<()>,
}

impl Listener {
    pub(super) fn new(worker: Rc<Worker>, socket: UdpSocket, port: u16, places: Places, held: Arc<()>) -> Self {
        let buffer = RefCell::new(vec![0; LONGEST].into());
        let (sessions, by_source) = Default::default();
        Self { worker, socket, port, places, buffer, sessions, by_source, _held: held }
    }

    /// Whether the process has been told to stop.
    pub(super) fn is_draining(&self) -> bool {
        self.worker.is_draining()
    }

    /// Takes one datagram and passes it on; an error says that there is none, or why none can be taken.
    pub(super) fn pass_datagram(self: &Rc<Self>, now: Instant) -> io::Result<()> {
        let mut buffer = self.buffer.borrow_mut();
        let (length, source) = self.socket.try_recv_from(&mut buffer)?;
        if let Err(reason) = self.send(source, &buffer[..length], now) {
            self.drop_for(reason);
        }
        Ok(())
    }

    /// Takes one of the endpoint's answers and passes it on; an error says that there is none, or that the endpoint refuses.
    pub(super) fn pass_answer(&self, leg: &Leg, source: SocketAddr, now: Instant) -> io::Result<()> {
        let mut buffer = self.buffer.borrow_mut();
        let length = leg.socket.try_recv(&mut buffer)?;
        leg.answered(length, now);
        if rustix::net::sendto(&self.socket, &buffer[..length], SendFlags::DONTWAIT, &source).is_err() {
            self.drop_for(Dropped::ClientFull);
        }
        Ok(())
    }

    fn drop_for(&self, reason: Dropped) {
        if let Some(Route { pool, .. }) = self.route() {
            pool.metrics().shard(self.worker.index()).count_dropped(reason);
            tracing::debug!(pool = pool.label(), port = self.port, reason = reason.as_str(), "datagram dropped");
        }
    }

    fn route(&self) -> Option<Route> {
        self.worker.table().datagram_route(self.port).cloned()
    }

    fn send(self: &Rc<Self>, source: SocketAddr, datagram: &[u8], now: Instant) -> Result<(), Dropped> {
        let known = self.sessions.borrow().get(&source).cloned();
        let session = match known {
            Some(session) => session,
            None => self.open(source, now)?,
        };
        session.touch(now);
        // What is refused is so for a datagram before it; this one has another try, with another endpoint.
        for _ in 0..2 {
            let leg = match session.leg() {
                Some(leg) => leg,
                None => {
                    let Route { pool, .. } = self.route().ok_or(Dropped::NoEndpoint)?;
                    session.move_to(self.connect(&pool, source, session.avoided())?)
                }
            };
            match leg.send(datagram, now) {
                Ok(()) => return Ok(()),
                Err(NotSent::Full) => return Err(Dropped::UpstreamFull),
                Err(NotSent::Refused) => session.refuse(&leg),
            }
        }
        Err(Dropped::NoEndpoint)
    }

    fn connect(&self, pool: &Arc<PoolEntry>, source: SocketAddr, avoided: Option<Arc<Endpoint>>) -> Result<Leg, Dropped> {
        let key = source_key(pool.policy(), self.worker.source(source.ip()));
        Leg::open(&self.worker, pool, key, avoided).map_err(|flag| match flag {
            Flag::LocalExhaustion => Dropped::LocalExhaustion,
            _ => Dropped::NoEndpoint,
        })
    }

    /// A new session, if there is a place for it and an endpoint.
    fn open(self: &Rc<Self>, source: SocketAddr, now: Instant) -> Result<Rc<Session>, Dropped> {
        let Route { pool, listener, .. } = self.route().ok_or(Dropped::NoEndpoint)?;
        let UdpSettings { idle_timeout_ms, max_sessions_per_source } = listener.udp.unwrap_or_default();
        let place = self.find_place(source.ip(), max_sessions_per_source, now)?;
        let leg = self.connect(&pool, source, None)?;
        let open = OpenConnection::new(pool.metrics().clone(), self.worker.index(), Side::Downstream);
        let accounts = (place, self.worker.lifecycle().enter(), open);
        let session = Rc::new(Session::new(source, Duration::from_millis(idle_timeout_ms), leg, accounts));
        self.enter(&session);
        tokio::task::spawn_local(session.clone().run(self.clone()));
        Ok(session)
    }

    fn find_place(&self, source: IpAddr, most: u32, now: Instant) -> Result<Place, Dropped> {
        let taken = self.places.take(source, most);
        if taken.is_err() && self.make_way(source, now) {
            return self.places.take(source, most);
        }
        taken
    }

    /// Ends the session of this source that has been silent for longest, if that is long.
    fn make_way(&self, source: IpAddr, now: Instant) -> bool {
        let by_source = self.by_source.borrow();
        let of_source = by_source.get(&source).into_iter().flatten().take(LOOKED_AT);
        let longest = of_source.max_by_key(|session| session.silent_for(now)).cloned();
        drop(by_source);
        match longest.filter(|session| session.silent_for(now) >= GIVES_WAY) {
            Some(session) => {
                self.end(&session, Flag::GaveWay);
                true
            }
            None => false,
        }
    }

    fn enter(&self, session: &Rc<Session>) {
        self.sessions.borrow_mut().insert(session.source, session.clone());
        let mut by_source = self.by_source.borrow_mut();
        let of_source = by_source.entry(session.source.ip()).or_default();
        session.position.set(of_source.len());
        of_source.push(session.clone());
    }

    /// Ends a session and forgets it.
    pub(super) fn end(&self, session: &Rc<Session>, flag: Flag) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.get(&session.source).is_some_and(|known| Rc::ptr_eq(known, session)) {
            sessions.remove(&session.source);
            let mut by_source = self.by_source.borrow_mut();
            if let Some(of_source) = by_source.get_mut(&session.source.ip()) {
                let at = session.position.get();
                of_source.swap_remove(at);
                of_source.get(at).into_iter().for_each(|moved| moved.position.set(at));
                if of_source.is_empty() {
                    by_source.remove(&session.source.ip());
                }
            }
        }
        session.end(flag);
    }

    /// Ends all sessions: nothing is heard on this socket any more.
    pub(super) fn close(&self) {
        let all: Vec<_> = self.sessions.borrow().values().cloned().collect();
        all.iter().for_each(|session| self.end(session, Flag::Cancelled));
    }
}
