//! The zone of a sidecar: that of its pod's node. Nodes are asked about one by one and remembered for a while; they aren't
//! watched, since a node's zone hardly ever changes and all that is asked of it is one label. Who can't be found has no zone.

use crate::blame::describe;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The label of a node that names its zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// How long a node's zone is remembered.
const REMEMBER: Duration = Duration::from_secs(600);
/// How long it is remembered that a node's zone couldn't be found out.
const REMEMBER_FAILURE: Duration = Duration::from_secs(30);
/// The most nodes that are remembered.
const MAX_REMEMBERED: usize = 20_000;
/// The most questions at once; others wait.
const MAX_QUESTIONS: usize = 8;
/// The longest that a sidecar's hello waits for its zone.
const PATIENCE: Duration = Duration::from_secs(2);

/// The seam to the API server.
pub trait FetchZones: Send + Sync + 'static {
    /// Asks for the zone of a node; the error says why there is no answer.
    fn fetch<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Option<String>, String>>;
}

impl FetchZones for kube::Client {
    fn fetch<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async move {
            let node = Api::<Node>::all(self.clone()).get_metadata(node).await.map_err(|error| describe(&error))?;
            Ok(zone_of(node.metadata.labels.unwrap_or_default()))
        })
    }
}

/// A label may be empty, which names no zone.
fn zone_of(mut labels: BTreeMap<String, String>) -> Option<String> {
    labels.remove(ZONE_LABEL).filter(|zone| !zone.is_empty())
}

/// Why a zone isn't found; each is said once, since it is the same for all nodes alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cause {
    Unnamed,
    Refused,
    Silent,
}

struct Remembered {
    zone: Option<String>,
    until: Instant,
}

/// Asks the API server and remembers the answer.
pub struct Zones {
    source: Arc<dyn FetchZones>,
    turns: Semaphore,
    remembered: Mutex<HashMap<String, Remembered>>,
    complained: Mutex<HashSet<Cause>>,
}

impl Zones {
    /// Knows no node yet.
    pub fn new(source: Arc<dyn FetchZones>) -> Self {
        Self { source, turns: Semaphore::new(MAX_QUESTIONS), remembered: Mutex::default(), complained: Mutex::default() }
    }

    /// The zone of a node, if it has one and it can be found out within [`PATIENCE`].
    pub async fn find(&self, node: Option<&str>, now: Instant) -> Option<String> {
        let Some(node) = node else {
            self.complain(Cause::Unnamed, "unknown", "its token doesn't name its node; Kubernetes 1.30 and newer do");
            return None;
        };
        if let Some(zone) = self.remembered(node, now) {
            return zone;
        }
        let (zone, span) = match tokio::time::timeout(PATIENCE, self.fetch(node, now)).await {
            Ok(Ok(zone)) => (zone, REMEMBER),
            Ok(Err(why)) => {
                self.complain(Cause::Refused, node, &why);
                (None, REMEMBER_FAILURE)
            }
            Err(_) => {
                self.complain(Cause::Silent, node, "the API server doesn't answer");
                (None, REMEMBER_FAILURE)
            }
        };
        self.remember(node, zone.clone(), now, span);
        zone
    }

    async fn fetch(&self, node: &str, now: Instant) -> Result<Option<String>, String> {
        let _turn = self.turns.acquire().await.map_err(|closed| closed.to_string())?;
        // Somebody of the same node may have asked while this one waited.
        match self.remembered(node, now) {
            Some(zone) => Ok(zone),
            None => self.source.fetch(node).await,
        }
    }

    fn remembered(&self, node: &str, now: Instant) -> Option<Option<String>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(node).filter(|entry| now < entry.until).map(|entry| entry.zone.clone())
    }

    fn remember(&self, node: &str, zone: Option<String>, now: Instant, span: Duration) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, entry| now < entry.until);
        }
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(node.into(), Remembered { zone, until: now + span });
        }
    }

    fn complain(&self, cause: Cause, node: &str, why: &str) {
        if self.complained.lock().unwrap_or_else(PoisonError::into_inner).insert(cause) {
            tracing::warn!(node, why, "a sidecar's zone is unknown, so its pools can't prefer one; said once");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Node `node-of-X` is in zone `zone-of-X`; `broken` can't be asked, `silent` never answers, others have no zone.
    #[derive(Default)]
    pub(crate) struct FakeNodes {
        asked: AtomicUsize,
    }

    impl FetchZones for FakeNodes {
        fn fetch<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Option<String>, String>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match node {
                "broken" => Box::pin(std::future::ready(Err("forbidden".into()))),
                "silent" => Box::pin(std::future::pending()),
                node => Box::pin(std::future::ready(Ok(node.strip_prefix("node-of-").map(|name| format!("zone-of-{name}"))))),
            }
        }
    }

    fn zones() -> (Arc<FakeNodes>, Zones) {
        let nodes = Arc::new(FakeNodes::default());
        (nodes.clone(), Zones::new(nodes))
    }

    #[test]
    fn an_empty_label_is_no_zone() {
        let labelled = |zone: &str| zone_of(BTreeMap::from([(ZONE_LABEL.to_owned(), zone.to_owned())]));
        assert_eq!((labelled(""), labelled("a").as_deref()), (None, Some("a")));
    }

    #[tokio::test]
    async fn a_node_is_asked_about_once_in_a_while() {
        let ((nodes, zones), now) = (zones(), Instant::now());
        for after in [0, 599] {
            let found = zones.find(Some("node-of-shop"), now + Duration::from_secs(after)).await;
            assert_eq!(found.as_deref(), Some("zone-of-shop"));
        }
        assert_eq!(nodes.asked.load(Ordering::Relaxed), 1);
        zones.find(Some("node-of-shop"), now + REMEMBER).await;
        assert_eq!(nodes.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn many_of_one_node_at_once_ask_once_each_turn() {
        let ((nodes, zones), now) = (zones(), Instant::now());
        let found = futures::future::join_all((0..100).map(|_| zones.find(Some("node-of-shop"), now))).await;
        assert!(found.iter().all(|zone| zone.as_deref() == Some("zone-of-shop")));
        assert!(nodes.asked.load(Ordering::Relaxed) <= MAX_QUESTIONS);
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_found_has_no_zone_and_waits_for_it_a_bounded_time() {
        let ((nodes, zones), now) = (zones(), Instant::now());
        let begun = tokio::time::Instant::now();
        for node in [None, Some("broken"), Some("silent"), Some("bare")] {
            assert_eq!(zones.find(node, now).await, None, "{node:?}");
        }
        assert!(begun.elapsed() <= PATIENCE, "{:?}", begun.elapsed());
        assert_eq!(zones.complained.lock().unwrap().len(), 3, "each cause is said");
        let asked = || nodes.asked.load(Ordering::Relaxed);
        assert_eq!(asked(), 3);
        zones.find(Some("broken"), now + REMEMBER_FAILURE / 2).await;
        assert_eq!(asked(), 3, "a failure is remembered, too");
        zones.find(Some("broken"), now + REMEMBER_FAILURE).await;
        assert_eq!(asked(), 4, "but not for long");
    }
}
