//! TLS over real sockets, with certificates that the tests make: this stream against itself, and against the library's own
//! buffered connection, which is another implementation of everything but the protocol.

mod handshakes;
mod hellos;
mod paths;
mod reloads;
mod streams;

use super::stream::Alpn;
use super::*;
use crate::metrics::{Exporter, Registry, Sources};
use crate::proxy::turned_away::Caller;
use crate::proxy::turned_away::Said;
use crate::status::Status;
use crate::table::{Member, PoolEntry, Table};
use crate::worker::{Shared, Worker};
use evenkeel_wire::{Listener, ListenerTls, Policy, PoolName, Protocol, TlsVersion, UpstreamTls, Verification};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

const NAME: &str = "a.example";
/// Longer than anything here takes; a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test on one thread, as a worker does.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let tested = runtime.expect("a runtime").block_on(async { tokio::time::timeout(PATIENCE, test).await });
    tested.expect("the test hangs");
}

/// An authority, and what it writes into files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("writes");
        Self { issuer, folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn text(&self, file: &str) -> String {
        self.path(file).to_str().expect("text").into()
    }

    /// A certificate for this name, valid from one year to another, and its key, in PEM.
    fn issue(&self, name: &str, years: (i32, i32)) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a pair to `tls.crt` and `tls.key`.
    fn write(&self, (certificate, key): &(String, String)) {
        std::fs::write(self.path("tls.crt"), certificate).expect("writes");
        std::fs::write(self.path("tls.key"), key).expect("writes");
    }

    fn listener(&self, min_version: TlsVersion) -> ListenerTls {
        ListenerTls { certificate_file: self.text("tls.crt"), key_file: self.text("tls.key"), min_version }
    }

    fn upstream(&self, hostname: Option<&str>, verification: Verification) -> UpstreamTls {
        UpstreamTls { hostname: hostname.map(Into::into), ca_file: Some(self.text("ca.pem")), verification }
    }

    /// An acceptor with a good certificate for [`NAME`].
    fn acceptor(&self, protocol: Protocol, min_version: TlsVersion) -> Arc<Acceptor> {
        self.write(&self.issue(NAME, (2020, 2090)));
        Files::default().acceptor(&self.listener(min_version), protocol, SystemTime::now()).expect("good files")
    }

    /// Another good pair for [`NAME`].
    fn pair(&self) -> server::Pair {
        self.write(&self.issue(NAME, (2020, 2090)));
        files::read_pair(&[self.path("tls.crt"), self.path("tls.key")], certificate::Moment(1_800_000_000)).expect("a good pair")
    }

    /// The acceptor goes on with a certificate for this name.
    fn pair_for(&self, name: &str, acceptor: &Acceptor) {
        self.write(&self.issue(name, (2020, 2090)));
        let files = [self.path("tls.crt"), self.path("tls.key")];
        let pair = files::read_pair(&files, certificate::Moment(1_800_000_000)).expect("a good pair");
        acceptor.exchange(&pair).expect("a good pair");
    }

    fn connector(&self, upstream: &UpstreamTls) -> Arc<Connector> {
        Files::default().connector(upstream).expect("good files")
    }

    /// The library's own client.
    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&str]) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

fn name() -> ServerName<'static> {
    NAME.try_into().expect("a name")
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().expect("an address")), listener.accept());
    (near.expect("connects"), far.expect("a connection").0)
}

/// A worker and pools whose counts can be read.
struct Stand {
    worker: Rc<Worker>,
    pool: Arc<PoolEntry>,
    registry: Arc<Registry>,
}

impl Stand {
    /// A pool without anything.
    fn new() -> Self {
        Self::with([("test/pool", crate::control::tests::policy(), vec![])])
    }

    /// Pools with these policies and endpoints.
    fn with<const N: usize>(pools: [(&str, Policy, Vec<SocketAddr>); N]) -> Self {
        let (registry, files) = (Arc::new(Registry::new(1)), Files::default());
        let entries: Vec<_> = pools.map(|pool| Arc::new(entry(pool, &registry, &files))).into();
        let pool = entries[0].clone();
        let table = Table::new(entries.into_iter().map(|pool| (pool.name().clone(), pool)).collect(), |_| true);
        let table = Arc::new(arc_swap::ArcSwap::from_pointee(table));
        let shared = Shared { table, lifecycle: Arc::default(), access_log: false, pod_ip: None };
        Self { worker: Rc::new(Worker::new(0, shared, 7)), pool, registry }
    }

    async fn accept(&self, acceptor: &Acceptor, socket: TcpStream) -> Option<Box<TlsStream>> {
        let peer = socket.peer_addr().expect("an address");
        accept(&self.worker, &self.pool, acceptor, socket, Caller { port: 18443, peer, destination: peer }).await
    }

    /// The lines of the metrics page that begin so, without their beginning.
    fn counted(&self, head: &str) -> Vec<String> {
        let sources = Sources {
            table: Arc::default(),
            registry: self.registry.clone(),
            status: Arc::new(Status::new(String::new())),
            tls: Arc::default(),
            runtimes: Vec::new(),
        };
        let page = Exporter::new(sources).page().expect("a page");
        page.lines().filter_map(|line| line.strip_prefix(head)).map(Into::into).collect()
    }

    /// The reasons that were counted, each with its count.
    fn refused(&self) -> Vec<String> {
        let lines = self.counted("evenkeel_connections_refused_total{pool=\"test/pool\",reason=\"");
        lines.into_iter().map(|rest| rest.replace("\"}", "")).collect()
    }
}

fn entry((name, policy, endpoints): (&str, Policy, Vec<SocketAddr>), registry: &Registry, files: &Files) -> PoolEntry {
    let name: PoolName = name.parse().expect("a name");
    let metrics = registry.pool(&name);
    let book = evenkeel_balance::Book::new();
    let member = |address: &SocketAddr| {
        let (id, health) = (address.to_string(), evenkeel_balance::Health::Usable);
        let (ring_key, weight, zone, priority) = (id.clone(), 100, None, 0);
        let spec = evenkeel_balance::EndpointSpec { ring_key, id: id.clone(), address: *address, weight, zone, priority, health };
        Arc::new(Member::new(book.enter(spec, Instant::now()), metrics.enter(&id, &id)))
    };
    let members: Vec<_> = endpoints.iter().map(member).collect();
    let config = evenkeel_balance::Config::new(evenkeel_balance::Algorithm::RoundRobin);
    let records = members.iter().map(|member| member.endpoint().clone()).collect();
    let balance = evenkeel_balance::Pool::try_new(config, records, 7).expect("a pool");
    let tls = PoolTls::new(&policy, policy.listeners.iter(), files, SystemTime::now()).expect("good files");
    PoolEntry::new(name, 1, Arc::new(policy), balance, members, metrics).with_tls(tls)
}
