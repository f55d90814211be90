//! The pages for people and machines: the live table on loopback, metrics and probes for the pod's network. Read only.

mod view;

use crate::metrics::Exporter;
use crate::status::Status;
use crate::table::Table;
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

const HELP: &str = "Evenkeel sidecar, live view (read only, loopback only)

  GET /table     pools and endpoints as they are now: algorithm, health, ejection, in-flight, priority, weight (JSON)
  GET /healthz   this process answers

Metrics and probes are on the other port (--metrics-address, 16081): /metrics /livez /readyz /startupz
";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page on loopback.
pub(crate) fn live_view(table: Arc<ArcSwap<Table>>) -> Router {
    Router::new().route("/", get(HELP)).route("/healthz", get("ok\n")).route("/table", get(show)).with_state(table)
}

async fn show(State(table): State<Arc<ArcSwap<Table>>>) -> Response {
    axum::Json(view::TableView::of(&table.load())).into_response()
}

/// The page for Prometheus and the kubelet.
pub(crate) fn metrics_and_probes(exporter: Exporter, status: Arc<Status>) -> Router {
    let probes = Router::new().route("/readyz", get(ready)).route("/startupz", get(ready)).with_state(status);
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(Arc::new(exporter));
    // Alive as long as it answers: what it waits for must never make the kubelet restart it.
    Router::new().route("/livez", get("ok\n")).merge(probes).merge(metrics)
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    let readiness = status.readiness();
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, readiness.text).into_response()
}

async fn metrics(State(exporter): State<Arc<Exporter>>) -> Response {
    match exporter.page() {
        Ok(page) => ([(header::CONTENT_TYPE, OPENMETRICS)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
