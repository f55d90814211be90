//! A worker: one thread, one single-threaded runtime, its own listeners. What it holds is shared by reference within the
//! thread; between workers only the table, the endpoints' records and the lifecycle are.

use crate::lifecycle::Lifecycle;
use crate::listen::{Bound, Command, Port};
use crate::proxy::udp::{self, Places};
use crate::proxy::{self, http, tcp, turned_away};
use crate::table::Table;
use arc_swap::ArcSwap;
use evenkeel_balance::SmallRng;
use evenkeel_wire::TransportPort;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::runtime::{LocalOptions, LocalRuntime, RuntimeMetrics};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::AbortHandle;

/// The size of the buffer that all connections of a worker share.
const SCRATCH: usize = 32 * 1024;

/// What all connections of one thread share.
pub(crate) struct Worker {
    index: usize,
    shared: Shared,
    rng: RefCell<SmallRng>,
    scratch: RefCell<Box<[u8]>>,
    http: http::PerWorker,
    pipes: Rc<tcp::Pipes>,
    turned_away: turned_away::Said,
    no_tls: turned_away::Said,
}

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// What to route by.
    pub(crate) table: Arc<ArcSwap<Table>>,
    /// Whether to stop, and what is still open.
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// Whether to write a line a request.
    pub(crate) access_log: bool,
    /// The pod's own address: the source of whatever comes from within the pod.
    pub(crate) pod_ip: Option<IpAddr>,
}

impl Worker {
    /// The context of worker `index`, which counts in the shard of that number.
    pub(crate) fn new(index: usize, shared: Shared, seed: u64) -> Self {
        Self {
            index,
            shared,
            rng: RefCell::new(SmallRng::new(seed)),
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            http: http::PerWorker::default(),
            pipes: Rc::default(),
            turned_away: turned_away::Said::default(),
            no_tls: turned_away::Said::default(),
        }
    }

    /// Its number, and that of its shard of every count.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The table as of now; not to be held across an await.
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.shared.table.load()
    }

    /// Whether the process has been told to stop: answers should close their connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.lifecycle.is_draining()
    }

    /// Stopping and what is open.
    pub(crate) fn lifecycle(&self) -> &Arc<Lifecycle> {
        &self.shared.lifecycle
    }

    /// Whether each request gets a line in the log.
    pub(crate) fn logs_access(&self) -> bool {
        self.shared.access_log
    }

    /// The address that a client's keys are made of. Within a pod every client comes from loopback, which is the same in all
    /// pods; the pod's own address tells them apart.
    pub(crate) fn source(&self, peer: IpAddr) -> IpAddr {
        self.shared.pod_ip.filter(|_| peer.to_canonical().is_loopback()).unwrap_or(peer)
    }

    /// This thread's random numbers; not to be called from within itself.
    pub(crate) fn with_rng<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }

    /// A buffer for what is read and passed on without an await in between.
    pub(crate) fn with_scratch<T>(&self, fill: impl FnOnce(&mut [u8]) -> T) -> T {
        fill(&mut self.scratch.borrow_mut())
    }

    /// How much has been said of connections that were turned away.
    pub(crate) fn turned_away(&self) -> &turned_away::Said {
        &self.turned_away
    }

    /// How much has been said of endpoints that there was no TLS with.
    pub(crate) fn no_tls(&self) -> &turned_away::Said {
        &self.no_tls
    }

    /// What bytes in bulk go through.
    pub(crate) fn pipes(&self) -> &Rc<tcp::Pipes> {
        &self.pipes
    }

    /// What HTTP keeps for each worker.
    pub(crate) fn http(&self) -> &http::PerWorker {
        &self.http
    }
}

/// Starts the thread and waits until it can serve; it ends when the sender of `commands` is dropped. What its runtime says of
/// itself.
pub(crate) fn spawn(index: usize, shared: Shared, seed: u64, commands: UnboundedReceiver<Command>) -> io::Result<RuntimeMetrics> {
    let build = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        let metrics = runtime.handle().metrics();
        Ok((runtime, metrics))
    };
    let run = move |runtime: LocalRuntime| runtime.block_on(serve(Rc::new(Worker::new(index, shared, seed)), commands));
    start_thread(format!("worker-{index}"), build, run)
}

/// Builds something in a new thread and runs it there; what is built beside it comes back. That it cannot be built is this
/// call's error: a thread that dies unnoticed would leave sockets behind that nobody accepts on.
fn start_thread<T, S: Send + 'static>(
    name: String,
    build: impl FnOnce() -> io::Result<(T, S)> + Send + 'static,
    run: impl FnOnce(T) + Send + 'static,
) -> io::Result<S> {
    let (told, ready) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name(name).spawn(move || match build() {
        Ok((built, beside)) => {
            let _ = told.send(Ok(beside));
            run(built);
        }
        Err(error) => drop(told.send(Err(error))),
    })?;
    ready.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended before it began")))
}

async fn serve(worker: Rc<Worker>, mut commands: UnboundedReceiver<Command>) {
    let mut ports: HashMap<TransportPort, Vec<AbortHandle>> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Open(Port { at, sockets, places, held }) => {
                let number = at.number;
                let serve = |socket| {
                    let serving = serve_socket(worker.clone(), socket, number, (places.clone(), held.clone()));
                    serving.inspect_err(|error| tracing::error!(number, %error, "a listener could not be used")).ok()
                };
                ports.entry(at).or_default().extend(sockets.into_iter().filter_map(serve));
            }
            // Its open connections go on.
            Command::Close(port) => ports.remove(&port).into_iter().flatten().for_each(|accepting| accepting.abort()),
        }
    }
}

/// Serves a socket until told otherwise.
fn serve_socket(worker: Rc<Worker>, socket: Bound, number: u16, (places, held): (Places, Arc<()>)) -> io::Result<AbortHandle> {
    let serving = match socket {
        Bound::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::task::spawn_local(async move {
                proxy::accept(worker, listener, number, places.slots().clone()).await;
                drop(held);
            })
        }
        Bound::Udp(socket) => {
            let socket = tokio::net::UdpSocket::from_std(socket)?;
            tokio::task::spawn_local(udp::serve(worker, socket, number, places, held))
        }
    };
    Ok(serving.abort_handle())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn worker(pod_ip: Option<IpAddr>) -> Worker {
        let shared = Shared { table: Arc::default(), lifecycle: Arc::default(), access_log: false, pod_ip };
        Worker::new(0, shared, 1)
    }

    #[test]
    fn a_worker_that_finds_no_resources_is_an_error_of_the_start() {
        let none = || Err::<((), ()), _>(io::ErrorKind::OutOfMemory.into());
        let started = start_thread("worker".into(), none, |()| unreachable!("nothing was built"));
        assert_eq!(started.map_err(|error| error.kind()), Err(io::ErrorKind::OutOfMemory));
        assert_eq!(start_thread("worker".into(), || Ok(((), 7)), |()| {}).expect("starts"), 7);
    }

    #[test]
    fn only_loopback_is_the_pods_own_address() {
        let [loopback, pod, other] = ["127.0.0.1", "10.0.0.7", "10.0.0.9"].map(|text| text.parse().expect("an address"));
        let mapped = "::ffff:127.0.0.1".parse().expect("an address");
        let in_pod = worker(Some(pod));
        for peer in [loopback, mapped, Ipv6Addr::LOCALHOST.into()] {
            assert_eq!(in_pod.source(peer), pod);
        }
        assert_eq!(in_pod.source(other), other);
        assert_eq!(worker(None).source(loopback), loopback);
    }
}
