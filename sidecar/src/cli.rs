//! The command line, and from it to a checked [`Config`]: parsed once, here.

use crate::app::{Config, Source};
use crate::control::feed::{Ca, Settings};
use clap::{Args, Parser, Subcommand, ValueEnum};
use evenkeel_crds::bounds;
use evenkeel_plan::Mode;
use evenkeel_wire::TransportPort;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// The operator's feed port.
const FEED_PORT: u16 = 16443;
/// The most pools one sidecar may ask for.
const MAX_WANTED: usize = 1_000;

/// Evenkeel's sidecar: balances what an app sends to its loopback ports over the endpoints of pools.
#[derive(Debug, Parser)]
#[command(name = "evenkeel-sidecar", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve pools, from files or from the operator.
    #[command(after_help = EXAMPLES)]
    Run(Box<Run>),
}

const EXAMPLES: &str = "Examples:
  On a laptop, no cluster: pools from a file, live view on http://127.0.0.1:16080/table
    evenkeel-sidecar run --pools examples/least-connections.yaml
  In a pod, as the webhook starts it:
    evenkeel-sidecar run --feed https://evenkeel-operator.evenkeel-system.svc:16443 --feed-ca ca.pem \\
      --token-file /var/run/secrets/kubernetes.io/serviceaccount/token --pools-wanted checkout,billing/cart

Signals: SIGTERM or SIGINT: serve on until nobody is connected (at most --drain-timeout), a second one ends at once.
SIGHUP: read the --pools files again.
Exit codes: 0 ended as told, 1 something on this host failed (a port in use, say), 2 the arguments or files are wrong.";

/// How to serve.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    from: From,
    /// Trust these CA certificates of the feed (PEM file, read again at each connect); else EVENKEEL_FEED_CA with the PEM itself.
    #[arg(long, value_name = "FILE", help_heading = "Feed")]
    feed_ca: Option<PathBuf>,
    /// The CA certificates themselves, in PEM.
    #[arg(
        long,
        value_name = "PEM",
        env = "EVENKEEL_FEED_CA",
        hide_env_values = true,
        conflicts_with = "feed_ca",
        help_heading = "Feed"
    )]
    feed_ca_pem: Option<String>,
    /// The token that proves who this is (read again at each connect).
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token",
        help_heading = "Feed"
    )]
    token_file: PathBuf,
    /// Pools to ask for: NAME, NAMESPACE/NAME or * for all of the namespace, by commas.
    #[arg(long, value_name = "POOLS", env = "EVENKEEL_POOLS", help_heading = "Feed")]
    pools_wanted: Option<String>,
    /// The namespace of pools that are named without one.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", help_heading = "Feed")]
    namespace: Option<String>,
    /// The address that keys of type SourceIP mean for clients on loopback; [default: theirs, which is the same in each pod]
    #[arg(long, value_name = "IP", env = "POD_IP")]
    pod_ip: Option<String>,
    /// The zone that this process is in, for pools that are `zoneAware`; [default: with --feed what the operator says, else none]
    #[arg(long, value_name = "ZONE", env = "EVENKEEL_ZONE")]
    zone: Option<String>,
    /// The name by which this process is told from others, for pools with `subsetting`; [default: the host's, in a pod the pod's]
    #[arg(long, value_name = "NAME", env = "EVENKEEL_NAME")]
    name: Option<String>,
    /// The pod's name: its host name may be another, and one that others have too.
    #[arg(long, value_name = "NAME", env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
    /// Live view; loopback only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:16080")]
    admin_address: SocketAddr,
    /// Metrics and probes; [default: 127.0.0.1:16081, with --feed all addresses]
    #[arg(long, value_name = "ADDRESS")]
    metrics_address: Option<SocketAddr>,
    /// Threads of the data path; [default: one a core, at most 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
    /// Leave out listeners on these ports (by commas, those of UDP as 5353/UDP): the app has them itself.
    #[arg(long, value_name = "PORTS", env = "EVENKEEL_EXCLUDE_LISTENERS", value_delimiter = ',')]
    exclude_ports: Vec<String>,
    /// Write a line for each request.
    #[arg(long)]
    access_log: bool,
    /// How the log is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How much is logged: error, warn, info, debug, or a filter like `info,h2=debug`.
    #[arg(long, value_name = "FILTER", env = "EVENKEEL_LOG", default_value = "info")]
    pub log: String,
    /// After SIGTERM, wait this many seconds at most for open connections to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    drain_timeout: u32,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct From {
    /// Serve the BalancerPools of these files (sources: static).
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pools: Vec<PathBuf>,
    /// Serve what the operator at this URL says: https://HOST[:PORT].
    #[arg(long, value_name = "URL")]
    feed: Option<String>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is wrong with the arguments.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// No feed URL.
    #[error("--feed is `{0}`; write https://HOST[:PORT]")]
    Url(String),
    /// Nobody to trust.
    #[error("--feed needs the operator's CA: give --feed-ca FILE, or its PEM in EVENKEEL_FEED_CA")]
    NoCa,
    /// No pool to ask for.
    #[error("--feed needs pools to ask for: give --pools-wanted, or EVENKEEL_POOLS")]
    NoPools,
    /// Too many.
    #[error("--pools-wanted names {0} pools; at most {MAX_WANTED}")]
    TooManyPools(usize),
    /// A pool without a namespace.
    #[error("pool `{0}` has no namespace; write NAMESPACE/{0}, or give --namespace (POD_NAMESPACE)")]
    NoNamespace(String),
    /// Not an address.
    #[error("--pod-ip (POD_IP) is `{0}`; write an IPv4 or IPv6 address")]
    PodIp(String),
    /// Not a zone.
    #[error("--zone (EVENKEEL_ZONE) is `{0}`; write 1 to 63 characters, as in the zones of endpoints")]
    Zone(String),
    /// Not a port.
    #[error("--exclude-ports has `{0}`; write port numbers, by commas, those of UDP as 5353/UDP")]
    Port(String),
}

impl Run {
    /// The configuration that these arguments mean.
    pub fn config(&self, seed: u64) -> Result<Config, UsageError> {
        let source = match &self.from.feed {
            Some(url) => Source::Feed(Box::new(self.feed(url)?)),
            None => Source::Files(self.from.pools.clone()),
        };
        let metrics = self.metrics_address.unwrap_or_else(|| match source {
            Source::Files(_) => (Ipv4Addr::LOCALHOST, 16081).into(),
            Source::Feed(_) => every_address(16081),
        });
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Config {
            source,
            admin: self.admin_address,
            metrics,
            workers: self.workers.map_or(cores.min(2), usize::from),
            excluded: self.excluded()?,
            access_log: self.access_log,
            pod_ip: self.pod_ip()?,
            zone: self.zone()?,
            name: self.name(),
            drain_timeout: Duration::from_secs(self.drain_timeout.into()),
            seed,
        })
    }

    fn feed(&self, url: &str) -> Result<Settings, UsageError> {
        let bad = || UsageError::Url(url.into());
        let uri: http::Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if uri.scheme_str() != Some("https") || !matches!(path, "/" | "/v1/feed") {
            return Err(bad());
        }
        let port = uri.port_u16().unwrap_or(FEED_PORT);
        let uri = format!("https://{host}:{port}/v1/feed").parse().map_err(|_| bad())?;
        let ca = match (&self.feed_ca, &self.feed_ca_pem) {
            (Some(file), _) => Ca::File(file.clone()),
            (None, Some(pem)) => Ca::Pem(pem.clone()),
            (None, None) => return Err(UsageError::NoCa),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Settings { uri, host, port, ca, token_file: self.token_file.clone(), pools: self.wanted()?, addresses: Mode::Cluster })
    }

    fn wanted(&self) -> Result<Vec<String>, UsageError> {
        let names = self.pools_wanted.as_deref().unwrap_or_default();
        let names: BTreeSet<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        match names.len() {
            0 => return Err(UsageError::NoPools),
            many if many > MAX_WANTED => return Err(UsageError::TooManyPools(many)),
            _ => {}
        }
        let full = |name: &str| match (name.contains('/'), &self.namespace) {
            (true, _) => Ok(name.to_owned()),
            (false, Some(namespace)) => Ok(format!("{namespace}/{name}")),
            (false, None) => Err(UsageError::NoNamespace(name.into())),
        };
        names.into_iter().map(full).collect()
    }

    fn pod_ip(&self) -> Result<Option<IpAddr>, UsageError> {
        let given = self.pod_ip.as_deref().map(str::trim).filter(|address| !address.is_empty());
        given.map(|address| address.parse().map_err(|_| UsageError::PodIp(address.into()))).transpose()
    }

    /// Given as nothing counts as not given: so a template may leave it empty.
    fn zone(&self) -> Result<Option<String>, UsageError> {
        let given = self.zone.as_deref().map(str::trim).filter(|zone| !zone.is_empty());
        match given {
            Some(zone) if !bounds::ZONE_LENGTH.hold(zone.chars().count() as u64) => {
                Err(UsageError::Zone(zone.chars().take(80).collect()))
            }
            zone => Ok(zone.map(str::to_owned)),
        }
    }

    /// A pod's name is unique in its namespace only.
    fn name(&self) -> String {
        let given = |name: &Option<String>| name.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let in_namespace = |name: String| format!("{}/{name}", self.namespace.as_deref().unwrap_or_default());
        given(&self.name).unwrap_or_else(|| in_namespace(given(&self.pod_name).unwrap_or_else(host)))
    }

    fn excluded(&self) -> Result<BTreeSet<TransportPort>, UsageError> {
        let ports = self.exclude_ports.iter().map(|port| port.trim()).filter(|port| !port.is_empty());
        ports.map(|port| port.parse().map_err(|_| UsageError::Port(port.into()))).collect()
    }
}

/// `[::]` takes IPv4 too; where there is no IPv6, `0.0.0.0`.
fn every_address(port: u16) -> SocketAddr {
    let v6 = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0);
    match std::net::TcpListener::bind(v6) {
        Ok(_) => SocketAddr::new(v6.ip(), port),
        Err(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, UsageError> {
        let all = ["evenkeel-sidecar", "run"].iter().chain(arguments);
        let Command::Run(run) = Cli::try_parse_from(all).expect("arguments that clap takes").command;
        run.config(1)
    }

    fn settings(arguments: &[&str]) -> Settings {
        match config(arguments).expect("a good configuration").source {
            Source::Feed(settings) => *settings,
            Source::Files(_) => panic!("a feed was asked for"),
        }
    }

    #[test]
    fn pools_without_a_namespace_are_the_pods_own() {
        let settings = settings(&[
            "--feed",
            "https://operator.svc",
            "--feed-ca",
            "ca.pem",
            "--namespace",
            "shop",
            "--pools-wanted",
            " b , other/c,*",
        ]);
        assert_eq!(settings.pools, ["shop/*", "shop/b", "other/c"]);
        assert_eq!(settings.uri, "https://operator.svc:16443/v1/feed");
    }

    #[test]
    fn zone_and_name_are_as_given_and_pods_of_one_name_in_two_namespaces_differ() {
        let of = |arguments: &[&str]| {
            let config = config(&[&["--pools", "a.yaml"], arguments].concat()).expect("a good configuration");
            (config.zone, config.name)
        };
        assert_eq!(of(&["--zone", "a", "--name", "one"]), (Some("a".into()), "one".into()));
        assert_eq!(of(&["--zone", "", "--name", ""]).0, None);
        assert_ne!(of(&["--namespace", "shop"]).1, of(&["--namespace", "stock"]).1);
        assert_eq!(of(&["--namespace", "shop"]).1, of(&["--namespace", "shop"]).1);
        assert_eq!(of(&["--namespace", "shop", "--pod-name", "app-0"]).1, "shop/app-0");
    }

    #[test]
    fn an_address_in_brackets_is_a_host() {
        let settings = settings(&["--feed", "https://[::1]:1234/", "--feed-ca", "ca.pem", "--pools-wanted", "shop/a"]);
        assert_eq!((settings.host.as_str(), settings.port), ("::1", 1234));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let feed = ["--feed", "https://operator.svc", "--feed-ca", "ca.pem"];
        let with = |more: &[&'static str]| config(&[&feed[..], more].concat()).map(|_| ()).map_err(|error| error.to_string());
        assert!(with(&[]).is_err_and(|text| text.contains("--pools-wanted")));
        assert!(with(&["--pools-wanted", "a"]).is_err_and(|text| text.contains("NAMESPACE/a")));
        assert!(with(&["--pools-wanted", "a/b", "--exclude-ports", "80,x"]).is_err_and(|text| text.contains("`x`")));
        assert!(with(&["--pools-wanted", "a/b", "--pod-ip", "10.0.0"]).is_err_and(|text| text.contains("`10.0.0`")));
        let long: &'static str = Box::leak("z".repeat(64).into_boxed_str());
        assert!(with(&["--pools-wanted", "a/b", "--zone", long]).is_err_and(|text| text.contains("--zone")));
        let plain = config(&["--feed", "http://operator.svc", "--feed-ca", "ca.pem", "--pools-wanted", "a/b"]);
        assert!(matches!(plain, Err(UsageError::Url(_))));
    }

    #[test]
    fn files_and_feed_exclude_each_other() {
        assert!(Cli::try_parse_from(["x", "run", "--pools", "a.yaml", "--feed", "https://b"]).is_err());
        assert!(Cli::try_parse_from(["x", "run"]).is_err());
    }
}
