//! The ports of the data path. The control plane binds them, one socket for each worker and loopback address, so that a port
//! in use is known before a table is put into use; it hands them out when the table is, so that nobody is accepted too early.

use crate::proxy::udp::Places;
use evenkeel_wire::{Transport, TransportPort};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most client connections of one listener.
pub(crate) const MAX_CONNECTIONS: usize = 10_000;
const BACKLOG: i32 = 1024;

/// What is left for everything but clients when descriptors are counted: checks (256 at once), pages (64), listeners, the feed.
const RESERVED_DESCRIPTORS: usize = 512;
/// The fewest connections that a process takes, however few descriptors it has.
const FEWEST_CONNECTIONS: usize = 64;
/// Where nothing is known of a limit, the usual one.
const USUAL_DESCRIPTORS: usize = 1024;

/// How many client connections the process has descriptors for: each needs one, and one upstream. `limits` is what Linux says in
/// `/proc/self/limits`.
pub(crate) fn count_slots(limits: &str) -> usize {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let descriptors = match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => usize::MAX,
        soft => soft.and_then(|soft| soft.parse().ok()).unwrap_or(USUAL_DESCRIPTORS),
    };
    (descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).clamp(FEWEST_CONNECTIONS, Semaphore::MAX_PERMITS)
}

/// Places for client connections: of one port, shared by the workers, and of the process, shared by all ports.
#[derive(Clone)]
pub(crate) struct Slots {
    port: Arc<Semaphore>,
    process: Arc<Semaphore>,
    /// That there was none left is said once.
    told: Arc<AtomicBool>,
}

/// A connection's places; free again when dropped.
pub(crate) struct Slot {
    _port: OwnedSemaphorePermit,
    _process: OwnedSemaphorePermit,
}

impl Slots {
    /// Those of a new port.
    pub(crate) fn new(process: Arc<Semaphore>) -> Self {
        Self { port: Arc::new(Semaphore::new(MAX_CONNECTIONS)), process, told: Arc::default() }
    }

    /// Waits for a place of the port; `None` at the process's end.
    pub(crate) async fn of_port(&self) -> Option<OwnedSemaphorePermit> {
        self.port.clone().acquire_owned().await.ok()
    }

    /// Then for one of the process.
    pub(crate) async fn of_process(&self, of_port: OwnedSemaphorePermit, port: u16) -> Option<Slot> {
        let process = match self.process.clone().try_acquire_owned() {
            Ok(process) => process,
            Err(_) => {
                if !self.told.swap(true, Relaxed) {
                    tracing::warn!(port, "no descriptors left for more connections, clients wait; raise the limit on open files");
                }
                self.process.clone().acquire_owned().await.ok()?
            }
        };
        Some(Slot { _port: of_port, _process: process })
    }

    /// Both at once, if there are both now.
    pub(crate) fn try_take(&self) -> Result<Slot, Full> {
        let port = self.port.clone().try_acquire_owned().map_err(|_| Full::Port)?;
        let process = self.process.clone().try_acquire_owned().map_err(|_| Full::Process)?;
        Ok(Slot { _port: port, _process: process })
    }
}

/// Which places are all taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Port,
    Process,
}

/// To a worker.
pub(crate) enum Command {
    /// Accept on these sockets.
    Open(Port),
    /// Stop accepting on this port; open connections go on.
    Close(TransportPort),
}

/// One worker's sockets of one port.
pub(crate) struct Port {
    /// The port.
    pub(crate) at: TransportPort,
    /// One for each loopback address.
    pub(crate) sockets: Vec<Bound>,
    /// Two places for each connection or session.
    pub(crate) places: Places,
    /// Lives as long as the sockets do.
    pub(crate) held: Arc<()>,
}

/// A socket that has its port.
pub(crate) enum Bound {
    /// It listens.
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// The ports that are open.
pub(crate) struct Ports {
    process: Arc<Semaphore>,
    workers: Vec<UnboundedSender<Command>>,
    open: BTreeMap<TransportPort, Weak<()>>,
    /// Of these, those that no worker has yet: clients wait in the backlog.
    bound: BTreeMap<TransportPort, Vec<Port>>,
    /// Told to close; until the workers have done so, they are ours.
    closing: BTreeMap<TransportPort, Weak<()>>,
}

impl Ports {
    /// None yet; `workers` will accept, so many connections in all.
    pub(crate) fn new(workers: Vec<UnboundedSender<Command>>, connections: usize) -> Self {
        Self {
            process: Arc::new(Semaphore::new(connections)),
            workers,
            open: BTreeMap::new(),
            bound: BTreeMap::new(),
            closing: BTreeMap::new(),
        }
    }

    /// Whether the port is open.
    pub(crate) fn is_open(&self, port: TransportPort) -> bool {
        self.open.contains_key(&port)
    }

    /// Opens a port on 127.0.0.1, and on ::1 where there is one; nobody is accepted before [`Ports::accept`]. An open port stays
    /// as it is.
    pub(crate) fn open(&mut self, at: TransportPort) -> io::Result<()> {
        if self.is_open(at) {
            return Ok(());
        }
        self.closing.retain(|_, held| held.strong_count() > 0);
        let ours = self.closing.contains_key(&at);
        let mut sockets: Vec<Vec<Bound>> = self.workers.iter().map(|_| Vec::new()).collect();
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let address = SocketAddr::new(address, at.number);
            match bind_all(address, at.transport, self.workers.len(), ours) {
                Ok(bound) => sockets.iter_mut().zip(bound).for_each(|(sockets, socket)| sockets.push(socket)),
                Err(error) if address.is_ipv6() && is_no_ipv6(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let (places, held) = (Places::new(Slots::new(self.process.clone())), Arc::new(()));
        self.open.insert(at, Arc::downgrade(&held));
        let port = |sockets| Port { at, sockets, places: places.clone(), held: held.clone() };
        self.bound.insert(at, sockets.into_iter().map(port).collect());
        Ok(())
    }

    /// The workers accept on all that is open.
    pub(crate) fn accept(&mut self) {
        for ports in std::mem::take(&mut self.bound).into_values() {
            // A worker ends only when the process does.
            self.workers.iter().zip(ports).for_each(|(worker, port)| drop(worker.send(Command::Open(port))));
        }
    }

    /// Closes all ports but these.
    pub(crate) fn retain(&mut self, is_used: impl Fn(TransportPort) -> bool) {
        for (port, held) in self.open.extract_if(.., |port, _| !is_used(*port)) {
            if self.bound.remove(&port).is_some() {
                continue;
            }
            self.workers.iter().for_each(|worker| drop(worker.send(Command::Close(port))));
            self.closing.insert(port, held);
        }
    }
}

/// EAFNOSUPPORT or EADDRNOTAVAIL: this host has no ::1.
fn is_no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

fn bind_all(address: SocketAddr, transport: Transport, count: usize, ours: bool) -> io::Result<Vec<Bound>> {
    // SO_REUSEPORT would let a second process of the same user share the port in silence. So look first without it, unless
    // it is this process that still has it.
    if !ours {
        drop(bind(address, transport, false)?);
    }
    (0..count)
        .map(|_| {
            let socket = bind(address, transport, true)?;
            match transport {
                Transport::Tcp => {
                    socket.listen(BACKLOG)?;
                    Ok(Bound::Tcp(socket.into()))
                }
                Transport::Udp => Ok(Bound::Udp(socket.into())),
            }
        })
        .collect()
}

fn bind(address: SocketAddr, transport: Transport, shared: bool) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    // For UDP it would mean what SO_REUSEPORT does, without asking for the same user.
    socket.set_reuse_address(transport == Transport::Tcp)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn a_port_that_somebody_listens_on_is_refused_even_if_he_shares_it() {
        let taken = bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), Transport::Tcp, true).expect("a free port");
        taken.listen(1).expect("listens");
        let port = taken.local_addr().ok().and_then(|address| address.as_socket()).expect("has an address").port();
        let port = TransportPort::tcp(port);
        let (worker, _commands) = unbounded_channel();
        let mut ports = Ports::new(vec![worker], 1);
        assert_eq!(ports.open(port).map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
        assert!(!ports.is_open(port));
    }

    #[test]
    fn connections_are_as_many_as_descriptors_allow_and_some_are_reserved() {
        let limits = |soft: &str| {
            let first = "Limit                     Soft Limit           Hard Limit           Units\n";
            count_slots(&format!("{first}Max open files            {soft}                 524288               files\n"))
        };
        assert_eq!((limits("1024"), limits("65536")), (256, 32_512));
        assert_eq!((limits("100"), limits("unlimited")), (FEWEST_CONNECTIONS, Semaphore::MAX_PERMITS));
        assert_eq!(count_slots(""), limits("1024"));
    }

    #[test]
    fn each_worker_gets_its_own_sockets_and_is_told_of_the_end() {
        let (first, mut at_first) = unbounded_channel();
        let (second, mut at_second) = unbounded_channel();
        let mut ports = Ports::new(vec![first, second], 1);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let port = TransportPort::tcp(port);
        ports.open(port).expect("opens");
        ports.accept();
        ports.retain(|_| false);
        ports.open(port).expect("opens again while the workers still close it");
        ports.retain(|_| false);
        for worker in [&mut at_first, &mut at_second] {
            assert!(matches!(worker.try_recv(), Ok(Command::Open(opened)) if opened.at == port && !opened.sockets.is_empty()));
            assert!(matches!(worker.try_recv(), Ok(Command::Close(closed)) if closed == port));
            assert!(worker.try_recv().is_err(), "of a port that was closed before its time no worker hears");
        }
    }
}
