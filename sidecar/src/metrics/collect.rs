//! From counts and live state to OpenMetrics text. Names are those of the metric catalogue; each scrape reads everything
//! anew, so that a series ends with its endpoint.

use super::histogram::Reading;
use super::pool::{EJECTIONS, PICKS, Totals};
use super::{Direction, Registry, Side};
use crate::proxy::flag::{Flag, Retried};
use crate::proxy::turned_away::TurnedAway;
use crate::proxy::udp::Dropped;
use crate::status::Status;
use crate::table::{Member, Table};
use crate::tls::Files;
use arc_swap::ArcSwap;
use evenkeel_balance::{Ejection, Health};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::RuntimeMetrics;

/// The most endpoints of a pool that a scrape shows the state of.
const MAX_SHOWN: usize = 1_000;

/// Writes the metrics page.
pub(crate) struct Exporter(prometheus_client::registry::Registry);

/// Where the numbers come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) table: Arc<ArcSwap<Table>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) status: Arc<Status>,
    pub(crate) tls: Arc<Files>,
    /// One for each worker.
    pub(crate) runtimes: Vec<RuntimeMetrics>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Exporter {
    pub(crate) fn new(sources: Sources) -> Self {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(sources));
        Self(registry)
    }

    /// The page in the OpenMetrics text format.
    pub(crate) fn page(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.0)?;
        Ok(page)
    }
}

/// What an endpoint may be used for, as shown: the floor, unless it is ejected beyond it.
pub(crate) fn state(member: &Member) -> &'static str {
    let endpoint = member.endpoint();
    match (endpoint.health(), endpoint.ejection()) {
        (Health::Usable, Ejection::Open { .. }) => "Ejected",
        (Health::Usable, Ejection::Probing) => "Probing",
        (health, _) => health.as_str(),
    }
}
const STATES: [&str; 6] = ["Usable", "Draining", "NotReady", "Down", "Ejected", "Probing"];

type Counter = fn(&Totals) -> Vec<(&'static str, u64)>;

/// Counters of a pool by one label: name, help, label, values.
const COUNTERS: [(&str, &str, &str, Counter); 8] = [
    ("evenkeel_bytes", "Bytes passed on, by the way they went", "direction", |totals| {
        Direction::ALL.iter().map(|way| (way.as_str(), totals.bytes[*way as usize])).collect()
    }),
    ("evenkeel_retries", "Further attempts, by what went wrong before", "reason", |totals| {
        Retried::ALL.iter().map(|reason| reason.as_str()).zip(totals.retries).collect()
    }),
    ("evenkeel_picks", "Endpoints picked, by why", "reason", |totals| {
        PICKS.iter().map(|reason| reason.as_str()).zip(totals.picks).collect()
    }),
    ("evenkeel_ejections", "Endpoints ejected, by why", "reason", |totals| {
        EJECTIONS.iter().map(|reason| reason.as_str()).zip(totals.ejections).collect()
    }),
    (
        "evenkeel_shed",
        "Requests (TCP: connections) turned away because the pool had as much as it may, by why",
        "reason",
        |totals| Flag::SHED.iter().map(|flag| (flag.as_str(), totals.ended_as(*flag))).collect(),
    ),
    ("evenkeel_connections_refused", "Connections turned away before they had a request, by why", "reason", |totals| {
        TurnedAway::ALL.iter().map(|reason| reason.as_str()).zip(totals.refused).collect()
    }),
    ("evenkeel_datagrams", "Datagrams passed on, by the way they went", "direction", |totals| {
        Direction::ALL.iter().map(|way| (way.as_str(), totals.datagrams[*way as usize])).collect()
    }),
    ("evenkeel_datagrams_dropped", "Datagrams that went no further, by why", "reason", |totals| {
        Dropped::ALL.iter().map(|reason| reason.as_str()).zip(totals.dropped).collect()
    }),
];

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let pools: Vec<_> = self.registry.snapshot().into_iter().map(|(name, pool)| (name, pool.totals())).collect();
        encode_requests(&mut encoder, &pools)?;
        for (name, help, label, values) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (pool, totals) in &pools {
                for (value, count) in values(totals).into_iter().filter(|(_, count)| *count > 0) {
                    let labels = [("pool", pool.as_str()), (label, value)];
                    counter(family.encode_family(&labels)?, count)?;
                }
            }
        }
        encode_connections(&mut encoder, &pools)?;
        self.encode_endpoints(&mut encoder)?;
        self.encode_files(&mut encoder)?;
        self.encode_process(&mut encoder)
    }
}

fn counter(mut encoder: MetricEncoder<'_>, count: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, u64, f64>(&count, None)
}

fn encode_requests(encoder: &mut DescriptorEncoder<'_>, pools: &[(String, Totals)]) -> fmt::Result {
    let help = "Requests (TCP: connections, UDP: sessions) ended, by endpoint, class of the status and how they ended";
    let mut family = encoder.encode_descriptor("evenkeel_requests", help, None, MetricType::Counter)?;
    for (pool, totals) in pools {
        for (endpoint, cells) in &totals.requests {
            for (class, flag, count) in cells.counts() {
                let labels =
                    [("pool", pool.as_str()), ("endpoint", endpoint), ("code_class", class.as_str()), ("flags", flag.as_str())];
                counter(family.encode_family(&labels)?, count)?;
            }
        }
    }
    type Value = fn(&Totals) -> &Reading;
    let families: [(&str, &str, Value); 2] = [
        ("evenkeel_request_duration_seconds", "How long requests (TCP: connections, UDP: sessions) took", |totals| {
            &totals.durations
        }),
        ("evenkeel_queue_seconds", "How long those that had to wait for room waited, served or not", |totals| &totals.queued),
    ];
    for (name, help, value) in families {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (pool, totals) in pools {
            let reading = value(totals);
            let labels = [("pool", pool.as_str())];
            let mut series = family.encode_family(&labels)?;
            series.encode_histogram::<NoLabelSet>(reading.sum(), reading.count(), &reading.buckets(), None)?;
        }
    }
    Ok(())
}

/// A counter's family is named without its `_total`, and two families may not share a name. So that both names stay as the
/// catalogue has them, the total is a family of unknown type.
fn encode_connections(encoder: &mut DescriptorEncoder<'_>, pools: &[(String, Totals)]) -> fmt::Result {
    type Value = fn(&Totals) -> &[u64; 2];
    let families: [(&str, &str, MetricType, Value); 2] = [
        ("evenkeel_connections", "Connections open now, by side", MetricType::Gauge, |totals| &totals.open),
        ("evenkeel_connections_total", "Connections opened, by side", MetricType::Unknown, |totals| &totals.opened),
    ];
    for (name, help, kind, value) in families {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (pool, totals) in pools {
            for side in Side::ALL {
                let labels = [("pool", pool.as_str()), ("side", side.as_str())];
                family.encode_family(&labels)?.encode_gauge(&value(totals)[side as usize])?;
            }
        }
    }
    Ok(())
}

impl Sources {
    fn encode_endpoints(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let table = self.table.load();
        let members = || {
            table.pools().values().flat_map(|pool| {
                let pool_label = pool.label().to_owned();
                pool.members().take(MAX_SHOWN).map(move |member| (pool_label.clone(), member))
            })
        };
        let mut family =
            encoder.encode_descriptor("evenkeel_inflight", "Requests an endpoint has now", None, MetricType::Gauge)?;
        for (pool, member) in members() {
            let labels = [("pool", pool.as_str()), ("endpoint", member.label())];
            family.encode_family(&labels)?.encode_gauge(&member.endpoint().in_flight())?;
        }
        let mut family =
            encoder.encode_descriptor("evenkeel_pending", "Requests that wait for room now", None, MetricType::Gauge)?;
        for pool in table.pools().values() {
            family.encode_family(&[("pool", pool.label())])?.encode_gauge(&(pool.capacity().queue().pending() as u64))?;
        }
        let help = "1 for the state that an endpoint is in";
        let mut family = encoder.encode_descriptor("evenkeel_endpoint_state", help, None, MetricType::Gauge)?;
        for (pool, member) in members() {
            for possible in STATES {
                let labels = [("pool", pool.as_str()), ("endpoint", member.label()), ("state", possible)];
                family.encode_family(&labels)?.encode_gauge(&u32::from(possible == state(member)))?;
            }
        }
        let help = "Percent of a normal endpoint, less while it starts slowly";
        let mut family = encoder.encode_descriptor("evenkeel_endpoint_weight", help, None, MetricType::Gauge)?;
        let now = Instant::now();
        for pool in table.pools().values() {
            let stands = pool.balance().members().iter().zip(pool.balance().stands(now)).take(MAX_SHOWN);
            for (endpoint, stand) in stands {
                let labels = [("pool", pool.label()), ("endpoint", pool.member(endpoint).label())];
                family.encode_family(&labels)?.encode_gauge(&(f64::from(stand.weight) / 100.0))?;
            }
        }
        Ok(())
    }

    fn encode_files(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let files = self.tls.shown();
        let help = "When the certificate in use ends, in seconds since 1970";
        let name = "evenkeel_certificate_not_after_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (file, not_after) in files.iter().filter_map(|shown| Some((shown.file.as_str(), shown.not_after?))) {
            family.encode_family(&[("file", file)])?.encode_gauge(&not_after)?;
        }
        let help = "Changes of certificates and authorities that aren't used, by why";
        let mut family = encoder.encode_descriptor("evenkeel_certificate_refused", help, None, MetricType::Counter)?;
        for (file, reason, count) in files.iter().flat_map(|shown| shown.refused.iter().map(|(why, n)| (&shown.file, *why, *n))) {
            counter(family.encode_family(&[("file", file.as_str()), ("reason", reason)])?, count)?;
        }
        Ok(())
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(age) = self.status.feed_age() {
            let help = "Since the feed last said something";
            let mut family = encoder.encode_descriptor("evenkeel_feed_age_seconds", help, None, MetricType::Gauge)?;
            family.encode_gauge(&age.as_secs_f64())?;
        }
        let help = "The revision of each pool in use, within its lineage";
        let mut family = encoder.encode_descriptor("evenkeel_feed_revision", help, None, MetricType::Gauge)?;
        for pool in self.table.load().pools().values() {
            let labels = [("pool", pool.label())];
            family.encode_family(&labels)?.encode_gauge(&pool.revision())?;
        }
        let help = "Tasks alive now: a few for each listener, connection, UDP session and stream of HTTP/2";
        let mut family = encoder.encode_descriptor("evenkeel_tasks", help, None, MetricType::Gauge)?;
        for (worker, runtime) in self.runtimes.iter().enumerate() {
            let labels = [("worker", worker.to_string())];
            family.encode_family(&labels)?.encode_gauge(&(runtime.num_alive_tasks() as u64))?;
        }
        let help = "Always 1; the labels say which build runs";
        let mut family = encoder.encode_descriptor("evenkeel_build_info", help, None, MetricType::Gauge)?;
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        family.encode_family(&labels)?.encode_gauge(&1u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_label_stands_in_the_page_for_users() {
        let page = include_str!("../../../docs/observability.md");
        let words = (Flag::ALL.iter().map(|flag| flag.as_str()))
            .chain(Retried::ALL.iter().map(|reason| reason.as_str()))
            .chain(TurnedAway::ALL.iter().map(|reason| reason.as_str()))
            .chain(Dropped::ALL.iter().map(|reason| reason.as_str()))
            .chain(PICKS.iter().map(|reason| reason.as_str()))
            .chain(EJECTIONS.iter().map(|reason| reason.as_str()));
        for word in words {
            assert!(page.contains(&format!("`{word}`")), "{word} isn't in docs/observability.md");
        }
    }
}
