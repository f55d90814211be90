//! The wiring: from a configuration to a running sidecar. Dull on purpose. Tests bind port 0 and read [`Bound`].

use crate::control::embedded::{self, LoadError};
use crate::control::feed::{Follower, Settings};
use crate::control::refusal::Refusal;
use crate::control::{Control, Rules};
use crate::lifecycle::{Drained, Lifecycle};
use crate::listen::Ports;
use crate::metrics::{Exporter, Registry, Sources};
use crate::status::Status;
use crate::table::Table;
use crate::tls::Files;
use crate::worker::{self, Shared};
use crate::{admin, listen};
use arc_swap::ArcSwap;
use evenkeel_balance::{Rng, SmallRng};
use evenkeel_plan::Mode;
use evenkeel_wire::{PoolName, TransportPort};
use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::RuntimeMetrics;
use tokio::sync::mpsc;

/// How to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where pools come from.
    pub source: Source,
    /// The live view; loopback only.
    pub admin: SocketAddr,
    /// Metrics and probes.
    pub metrics: SocketAddr,
    /// Threads of the data path.
    pub workers: usize,
    /// Listeners on these ports are left out.
    pub excluded: BTreeSet<TransportPort>,
    /// A line for each request.
    pub access_log: bool,
    /// The pod's own address, if this is a pod.
    pub pod_ip: Option<IpAddr>,
    /// The zone that this process is in; absent: what the operator says, if there is one.
    pub zone: Option<String>,
    /// What tells this process from others that use the same pools.
    pub name: String,
    /// The longest that open connections hold up the end.
    pub drain_timeout: Duration,
    /// Where all randomness comes from.
    pub seed: u64,
}

/// Where pools come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Files.
    Files(Vec<PathBuf>),
    /// The operator.
    Feed(Box<Settings>),
}

/// Why the sidecar doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The files aren't usable.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A pool of the files cannot be served.
    #[error("pool {name}: {source}")]
    Pool {
        /// The pool.
        name: PoolName,
        /// Why not.
        source: Box<Refusal>,
    },
    /// The admin page would be open to others.
    #[error("--admin-address is {0}; the admin page has no authentication, so give a loopback address")]
    AdminNotLoopback(SocketAddr),
    /// A port of the process itself cannot be opened.
    #[error("{flag}: cannot listen on {address} ({source}); free the port or give another address")]
    Bind {
        /// Which address.
        flag: &'static str,
        /// What it says.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// No resources for a thread.
    #[error("cannot start a worker thread ({0}); lower --workers, or raise the limits on threads and memory")]
    Worker(#[source] std::io::Error),
}

impl StartError {
    /// Whether what was given is at fault, rather than the host.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Load(_) | Self::AdminNotLoopback(_) => true,
            Self::Pool { source, .. } => !matches!(**source, Refusal::Listen { .. }),
            Self::Bind { .. } | Self::Worker(_) => false,
        }
    }
}

/// A sidecar that is bound and serves; its control plane goes on in [`Bound::run`].
pub struct Bound {
    /// Where the live view is.
    pub admin: SocketAddr,
    /// Where metrics and probes are.
    pub metrics: SocketAddr,
    /// Ask it to read its files again.
    pub reload: mpsc::Sender<()>,
    lifecycle: Arc<Lifecycle>,
    drain_timeout: Duration,
    pages: Pages,
    plane: Plane,
    tls: Arc<Files>,
}

struct Pages {
    admin: (TcpListener, axum::Router),
    metrics: (TcpListener, axum::Router),
}

/// The control plane, not yet running.
enum Plane {
    Embedded { control: Box<Control>, files: Vec<PathBuf>, seed: u64, reload: mpsc::Receiver<()> },
    Feed(Box<Follower>),
}

/// Binds everything and, in the embedded mode, serves the files' pools.
pub async fn start(config: Config) -> Result<Bound, StartError> {
    let Config { source, admin, metrics, workers, excluded, access_log, pod_ip, zone, name, drain_timeout, seed } = config;
    if !admin.ip().to_canonical().is_loopback() {
        return Err(StartError::AdminNotLoopback(admin));
    }
    let loaded = match &source {
        Source::Files(files) => embedded::load(files, 1)?,
        Source::Feed(_) => Vec::new(),
    };
    let admin = bind("--admin-address", admin).await?;
    let metrics = bind("--metrics-address", metrics).await?;
    let mut rng = SmallRng::new(seed);
    let table = Arc::new(ArcSwap::from_pointee(Table::default()));
    let registry = Arc::new(Registry::new(workers));
    let lifecycle = Arc::new(Lifecycle::default());
    let shared = Shared { table: table.clone(), lifecycle: lifecycle.clone(), access_log, pod_ip };
    let (ports, runtimes) = start_workers(workers, &shared, &mut rng)?;
    let (addresses, waits_for) = match &source {
        Source::Files(_) => (Mode::Embedded, String::new()),
        Source::Feed(settings) => (settings.addresses, format!("the operator at {}", settings.uri)),
    };
    let own = BTreeSet::from([admin.1.port(), metrics.1.port()]);
    let identity = evenkeel_balance::key_hash(name.as_bytes());
    let rules = Rules { addresses, excluded, own, zone, identity, seed: rng.next_u64() };
    let status = Arc::new(Status::new(waits_for));
    let mut control = Control::new(table.clone(), registry.clone(), ports, rules);
    let tls = control.tls().clone();
    let (reload, reloads) = mpsc::channel(1);
    let plane = match source {
        Source::Files(files) => {
            embedded::begin(&mut control, loaded).map_err(|(name, source)| StartError::Pool { name, source })?;
            status.synced();
            Plane::Embedded { control: control.into(), files, seed: rng.next_u64(), reload: reloads }
        }
        Source::Feed(settings) => Plane::Feed(Box::new(Follower::new(*settings, control, status.clone(), rng.next_u64()))),
    };
    let exporter = Exporter::new(Sources { table: table.clone(), registry, status: status.clone(), tls: tls.clone(), runtimes });
    Ok(Bound {
        admin: admin.1,
        metrics: metrics.1,
        reload,
        lifecycle,
        drain_timeout,
        pages: Pages {
            admin: (admin.0, admin::live_view(table)),
            metrics: (metrics.0, admin::metrics_and_probes(exporter, status)),
        },
        plane,
        tls,
    })
}

fn start_workers(count: usize, shared: &Shared, rng: &mut SmallRng) -> Result<(Ports, Vec<RuntimeMetrics>), StartError> {
    let (mut commands, mut runtimes) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for index in 0..count {
        let (sender, receiver) = mpsc::unbounded_channel::<listen::Command>();
        runtimes.push(worker::spawn(index, shared.clone(), rng.next_u64(), receiver).map_err(StartError::Worker)?);
        commands.push(sender);
    }
    // Without a /proc nothing is known, and the usual limit is assumed.
    let connections = listen::count_slots(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default());
    tracing::debug!(connections, "the most client connections, by the limit on open files");
    Ok((Ports::new(commands, connections), runtimes))
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { flag, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Bound {
    /// Runs until `stop` ends, then goes on until nobody is connected any more.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Drained {
        let Self { lifecycle, drain_timeout, pages, plane, tls, .. } = self;
        let serving = async {
            tokio::join!(serve(pages.admin), serve(pages.metrics), plane.run(), tls.watch());
        };
        let ending = async {
            stop.await;
            tracing::info!(open = lifecycle.open(), "told to stop; serving until nobody is connected");
            lifecycle.drain(drain_timeout).await
        };
        tokio::select! {
            () = serving => unreachable!("pages and control plane run for ever"),
            drained = ending => drained,
        }
    }
}

impl Plane {
    async fn run(self) {
        match self {
            Self::Embedded { control, files, seed, reload } => embedded::run(*control, files, seed, reload).await,
            Self::Feed(follower) => follower.run().await,
        }
    }
}

async fn serve((listener, router): (TcpListener, axum::Router)) {
    if let Err(error) = evenkeel_page::serve(listener, router).await {
        tracing::error!(%error, "a page ended");
    }
    std::future::pending().await
}
