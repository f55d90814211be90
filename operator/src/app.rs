//! Wires the operator together. Ports are bound first, then everything that needs the API server is tried until it works,
//! so that an API server that is away at start is said on `/readyz` and never ends the process.
//!
//! The rights that it needs, and no more:
//! - cluster-wide: `balancerpools` list, watch; `balancerpools/status` patch; `balancerendpoints` list, watch, create, patch,
//!   delete; `services`, `pods`, `namespaces` list, watch; `endpointslices.discovery.k8s.io` list, watch;
//!   `nodes` get (for the zones of sidecars); `tokenreviews.authentication.k8s.io` create; its own
//!   `mutatingwebhookconfigurations` get, patch, by name;
//! - in its own namespace: its own Secret get, update, by name.

use crate::auth::Authenticator;
use crate::blame::describe;
use crate::certs::{CertError, Certs, Settings};
use crate::controller::{Controller, Shared};
use crate::feed::sessions::Sessions;
use crate::feed::{self, Feed, Limits};
use crate::gather;
use crate::listen::{self, Listen};
use crate::metrics;
use crate::publish::Publisher;
use crate::readiness::Readiness;
use crate::registration::{self, REGISTRATION, WebhookPath};
use crate::webhook::{self, SidecarSettings, Webhook};
use crate::zones::Zones;
use evenkeel_probe::Prober;
use kube::{Client, Config};
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a connect to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause after something that needs the API server failed, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// The longest that loading the certificates may take.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The most connections of API servers at once, over all and of one: each needs one or two.
const MAX_WEBHOOK_CONNECTIONS: usize = 200;
const MAX_WEBHOOK_CONNECTIONS_PER_ADDRESS: usize = 16;
/// The feed's port at its Service.
const FEED_PORT: u16 = 16_443;
/// What is waited for until feed and webhook can be served.
const CERTIFICATES: &str = "certificates";

/// How the operator is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where sidecars connect.
    #[arg(long, default_value = "[::]:16443")]
    pub feed_address: SocketAddr,
    /// Where the API server sends new pods.
    #[arg(long, default_value = "[::]:16444")]
    pub webhook_address: SocketAddr,
    /// Metrics and probes.
    #[arg(long, default_value = "[::]:16081")]
    pub metrics_address: SocketAddr,
    /// The operator's own namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "evenkeel-system")]
    pub namespace: String,
    /// The Secret that keeps keys and certificates; it must exist.
    #[arg(long, default_value = "evenkeel-operator")]
    pub certificate_secret: String,
    /// The operator's MutatingWebhookConfiguration.
    #[arg(long, default_value = "evenkeel-operator")]
    pub webhook_configuration: String,
    /// The Services that the certificate is for, by name; the first leads to the feed.
    #[arg(long, value_delimiter = ',', default_value = "evenkeel-operator")]
    pub services: Vec<String>,
    /// Where sidecars find the feed; absent: the first Service.
    #[arg(long, env = "EVENKEEL_FEED_URL")]
    pub feed_url: Option<String>,
    /// The sidecar container as JSON: image, imagePullPolicy, resources, runAsUser. Absent: nothing is injected.
    #[arg(long, env = "EVENKEEL_SIDECAR")]
    pub sidecar: Option<SidecarSettings>,
}

/// Why the operator doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A port can't be had.
    #[error("{what} can't listen on {address}: {source}; end what uses the port, or choose another with --{what}-address")]
    Bind {
        /// Which of the ports.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// There is no way to know where the API server is.
    #[error("no API server is configured ({0}); run in a pod with a service account, or set KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration isn't usable.
    #[error("the configured API server can't be used: {}; correct the kubeconfig or the service account's files", describe(.0))]
    Client(#[source] kube::Error),
}

/// The ports, bound.
#[derive(Debug)]
pub struct Bound {
    /// Where sidecars connect.
    pub feed: TcpListener,
    /// Where the API server sends new pods.
    pub webhook: TcpListener,
    /// Metrics and probes.
    pub metrics: TcpListener,
}

/// Binds the ports; port 0 takes a free one.
pub async fn bind(options: &Options) -> Result<Bound, AppError> {
    Ok(Bound {
        feed: listener("feed", options.feed_address).await?,
        webhook: listener("webhook", options.webhook_address).await?,
        metrics: listener("metrics", options.metrics_address).await?,
    })
}

/// On a host without IPv6 the unspecified address means that of IPv4.
async fn listener(what: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if error.kind() != ErrorKind::AddrInUse && address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|source| AppError::Bind { what, address, source })
}

/// No request of the operator may hang. The time counts from the request, not from when its connection fell idle.
fn bound_waits(config: &mut Config) {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(gather::watch::SILENCE);
    config.reset_reader_on_write = true;
}

/// Runs until `stop` turns true, then ends in an orderly way.
pub async fn run(options: Options, bound: Bound, stop: watch::Receiver<bool>) -> Result<(), AppError> {
    let Bound { feed: feed_listener, webhook: webhook_listener, metrics: metrics_listener } = bound;
    let mut config = Config::infer().await?;
    bound_waits(&mut config);
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(AppError::Client)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), url, "starting");

    let random = RandomState::new();
    let readiness = Arc::new(Readiness::default());
    let sessions = Sessions::new();
    let publisher = Arc::new(Publisher::new(format!("{:016x}", random.hash_one("lineage"))));
    let (prober, verdicts) = Prober::new(random.hash_one("prober"));
    let (metrics, registry) = metrics::register(sessions.clone(), prober.counts());
    let shared = Shared { client, publisher, sessions, readiness, metrics };
    shared.readiness.expect(CERTIFICATES, "not loaded yet");
    if options.sidecar.is_some() {
        shared.readiness.expect(REGISTRATION, "the API server doesn't know the webhook yet");
    }

    let mut tasks = JoinSet::new();
    let shown = shared.readiness.clone();
    tasks.spawn(metrics::serve(metrics_listener, registry, shown, stop.clone()));
    let serving = Serving { options, shared: shared.clone(), stop: stop.clone() };
    tasks.spawn(serving.run(feed_listener, webhook_listener));
    let observations = gather::watch::observe(&shared.client, &url, &shared.readiness);
    tasks.spawn(Controller::new(shared, prober).run(observations, verdicts, stop));
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Feed and webhook, which need certificates first.
struct Serving {
    options: Options,
    shared: Shared,
    stop: watch::Receiver<bool>,
}

impl Serving {
    async fn run(mut self, feed: TcpListener, webhook: TcpListener) {
        let settings = Settings {
            namespace: self.options.namespace.clone(),
            secret: self.options.certificate_secret.clone(),
            services: self.options.services.clone(),
        };
        let Some(certs) = self.certificates(&settings).await else {
            return;
        };
        let readiness = self.shared.readiness.clone();
        if let Err(error) = self.serve(certs, &settings, feed, webhook).await {
            tracing::error!(%error, "TLS can't be set up; feed and webhook aren't served");
            readiness.wait_for(CERTIFICATES, error.to_string());
        }
    }

    /// Tries until they are there; `None` when told to stop.
    async fn certificates(&mut self, settings: &Settings) -> Option<Arc<Certs>> {
        let mut pause = PAUSES.0;
        loop {
            let loaded = Certs::load(&self.shared.client, settings, SystemTime::now());
            match tokio::time::timeout(LOAD_TIMEOUT, loaded).await {
                Ok(Ok(certs)) => {
                    self.shared.readiness.arrived(CERTIFICATES);
                    return Some(Arc::new(certs));
                }
                Ok(Err(error)) => self.shared.readiness.wait_for(CERTIFICATES, error.to_string()),
                Err(_) => self.shared.readiness.wait_for(CERTIFICATES, "the API server doesn't answer"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES.1),
                _ = self.stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    async fn serve(
        self,
        certs: Arc<Certs>,
        settings: &Settings,
        feed: TcpListener,
        webhook: TcpListener,
    ) -> Result<(), CertError> {
        let Self { options, shared, stop } = self;
        let Shared { client, publisher, sessions, readiness, metrics: _ } = shared;
        let gate = (Authenticator::new(Arc::new(client.clone())), Zones::new(Arc::new(client.clone())));
        let streams = feed::router(Feed::new(publisher, sessions, gate, Limits::default(), stop.clone()));
        let streams = listen::serve(
            Listen {
                listener: feed,
                tls: certs.server_config(&["h2"])?,
                max_connections: feed::MAX_CONNECTIONS,
                max_per_address: feed::MAX_CONNECTIONS_PER_ADDRESS,
                http2_only: true,
                stop: stop.clone(),
            },
            streams,
        );
        let tls = certs.server_config(&["h2", "http/1.1"])?;
        let path = WebhookPath::random()?;
        let url = options.feed_url.unwrap_or_else(|| feed_url(settings));
        let reviews = async {
            let Some(sidecar) = options.sidecar else {
                tracing::info!("no sidecar is configured; the webhook isn't served");
                return;
            };
            let routes = webhook::router(Webhook::new(path.clone(), client.clone(), certs.clone(), sidecar, url));
            let listen = Listen {
                listener: webhook,
                tls,
                max_connections: MAX_WEBHOOK_CONNECTIONS,
                max_per_address: MAX_WEBHOOK_CONNECTIONS_PER_ADDRESS,
                http2_only: false,
                stop,
            };
            let name = &options.webhook_configuration;
            tokio::select! {
                () = listen::serve(listen, routes) => {}
                () = registration::keep(&client, name, &path, &certs, &readiness) => {}
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(streams, reviews) } => {}
            () = certs.maintain(&client, settings) => {}
        }
        Ok(())
    }
}

/// Where sidecars find the feed: the first Service, at the feed's usual port.
fn feed_url(settings: &Settings) -> String {
    let service = settings.services.first().map_or("evenkeel-operator", String::as_str);
    format!("https://{service}.{}.svc:{FEED_PORT}", settings.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(flags: &[&str]) -> Options {
        let all = ["x", "--feed-address=127.0.0.1:0", "--webhook-address=127.0.0.1:0", "--metrics-address=127.0.0.1:0"];
        Line::parse_from(all.iter().chain(flags)).options
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("an address");
        let options = Options { webhook_address: address, ..options(&[]) };
        let said = bind(&options).await.expect_err("it is taken").to_string();
        assert!(said.starts_with(&format!("webhook can't listen on {address}: ")), "{said}");
        assert!(said.ends_with("choose another with --webhook-address"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_never_answers_holds_a_request_for_a_bounded_time() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", silent.local_addr().expect("an address"));
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = silent.accept().await {
                open.push(stream);
            }
        });
        let mut config = Config::new(url.parse().expect("a URL"));
        bound_waits(&mut config);
        let client = Client::try_from(config).expect("a client");
        let asked = tokio::time::timeout(2 * gather::watch::SILENCE, client.apiserver_version()).await;
        assert!(asked.expect("it ends by itself").is_err());
    }

    #[tokio::test]
    async fn port_zero_takes_a_free_one() {
        let bound = bind(&options(&[])).await.expect("free ports");
        assert_ne!(bound.feed.local_addr().expect("an address").port(), 0);
    }
}
