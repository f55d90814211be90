//! The operator's own numbers and its probes, on one plain HTTP port: `/metrics`, `/livez`, `/readyz`.
//! `/livez` says only that the process serves: an API server that is away is no reason to restart it.

use crate::feed::sessions::Sessions;
use crate::readiness::Readiness;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use evenkeel_probe::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The type of the text format that [`encode`] writes.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the reconcile loop measures.
#[derive(Debug, Clone)]
pub struct Metrics {
    reconcile: Histogram,
    propagation: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Metrics {
    /// How long one pool's step took.
    pub fn reconciled(&self, took: Duration) {
        self.reconcile.observe(took.as_secs_f64());
    }

    /// How long after an event was seen its frames were published.
    pub fn propagated(&self, took: Duration) {
        self.propagation.observe(took.as_secs_f64());
    }
}

/// Registers everything that the operator measures.
pub fn register(sessions: Arc<Sessions>, probes: Arc<Counts>) -> (Metrics, Registry) {
    let mut registry = Registry::default();
    let metrics = Metrics {
        reconcile: Histogram::new(exponential_buckets(0.000_1, 4.0, 8)),
        propagation: Histogram::new(exponential_buckets(0.000_5, 2.0, 13)),
    };
    registry.register(
        "evenkeel_operator_reconcile_duration_seconds",
        "How long bringing one pool up to date took",
        metrics.reconcile.clone(),
    );
    registry.register(
        "evenkeel_operator_propagation_seconds",
        "From an event seen to its frames published",
        metrics.propagation.clone(),
    );
    let build = Family::<Build, Gauge>::default();
    let version = env!("CARGO_PKG_VERSION");
    build.get_or_create(&Build { version }).set(1);
    registry.register("evenkeel_build_info", "The version that runs", build);
    registry.register_collector(Box::new(Kept { sessions, probes }));
    (metrics, registry)
}

/// Numbers that others keep, read when they are asked for.
#[derive(Debug)]
struct Kept {
    sessions: Arc<Sessions>,
    probes: Arc<Counts>,
}

impl Collector for Kept {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let clients = ConstGauge::new(i64::try_from(self.sessions.open()).unwrap_or(i64::MAX));
        let descriptor = encoder.encode_descriptor(
            "evenkeel_operator_feed_clients",
            "Sidecars connected to the feed",
            None,
            clients.metric_type(),
        )?;
        clients.encode(descriptor)?;
        let mut probes = encoder.encode_descriptor(
            "evenkeel_operator_probe",
            "Active checks made",
            None,
            ConstCounter::new(0u64).metric_type(),
        )?;
        for (result, count) in self.probes.iter() {
            let labels = [("result", result.as_str())];
            ConstCounter::new(count).encode(probes.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Shown {
    registry: Registry,
    readiness: Arc<Readiness>,
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, registry: Registry, readiness: Arc<Readiness>, mut stop: watch::Receiver<bool>) {
    let shown = Arc::new(Shown { registry, readiness });
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown);
    tokio::select! {
        result = evenkeel_page::serve(listener, router) => if let Err(error) = result {
            tracing::error!(%error, "metrics and probes aren't served any more");
        },
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    match shown.readiness.report() {
        None => "ok\n".into_response(),
        Some(waiting) => (StatusCode::SERVICE_UNAVAILABLE, waiting).into_response(),
    }
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shown.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
