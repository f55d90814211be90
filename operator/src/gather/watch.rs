//! The watches: one stream of observations over all kinds, each with its own backoff. An API server that is away, a right
//! or a CRD that is missing never ends the operator; it is said, with what to do. Only before the first list is it also
//! a matter of readiness: later the last known state is served on, and the feed must stay reachable.
//! Lists come in pages, not as streaming lists, which not every supported API server has switched on.

use super::cache::Seen;
use super::facts::{Key, Pod, SERVICE_LABEL, Service, Slice};
use super::world::{Listing, Observation, Pool};
use crate::blame::describe;
use crate::readiness::Readiness;
use evenkeel_crds::kube::{BalancerEndpoints, BalancerPool};
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::{Client, Resource};
use kube_runtime::WatchStreamExt;
use kube_runtime::utils::Backoff;
use kube_runtime::watcher::{self, DefaultBackoff, Event};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait before a watch is tried again: an operator that comes back late is worse than a few more requests.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A watch is renewed this often; one that is stalled is noticed a few seconds later.
const RENEW_SECONDS: u32 = 60;
/// The longest that the API server may say nothing within an answer. A quiet watch is renewed before; without it a list or
/// the start of a watch over a half-open connection would hang for ever.
pub const SILENCE: Duration = Duration::from_secs(RENEW_SECONDS as u64 + 10);
/// Objects in one page of a list.
const PAGE: u32 = 250;

/// Observations of all kinds, without end.
pub type Observations = SelectAll<BoxStream<'static, Observation>>;

/// Begins to watch all kinds. `url` is the API server's, for people.
pub fn observe(client: &Client, url: &str, readiness: &Arc<Readiness>) -> Observations {
    let source = |what| Source { what, url: url.into(), readiness: readiness.clone(), listed: false, said: None };
    let config = || watcher::Config::default().timeout(RENEW_SECONDS).page_size(PAGE);
    futures::stream::select_all([
        source("balancerpools").watch(
            Api::<BalancerPool>::all(client.clone()),
            config(),
            |pool| Some(read_pool(pool)),
            Observation::Pool,
        ),
        source("services").watch(
            Api::<core::Service>::all(client.clone()),
            config(),
            |service| Some(Service::from(service)),
            Observation::Service,
        ),
        source("endpointslices").watch(
            Api::<EndpointSlice>::all(client.clone()),
            config().labels(SERVICE_LABEL),
            Slice::read,
            Observation::Slice,
        ),
        source("pods").watch(
            Api::<PartialObjectMeta<core::Pod>>::all(client.clone()),
            config(),
            |pod| Some(Pod::from(pod.metadata)),
            Observation::Pod,
        ),
        source("namespaces").watch(
            Api::<PartialObjectMeta<core::Namespace>>::all(client.clone()),
            config(),
            |namespace| Some(namespace.metadata.labels.unwrap_or_default()),
            Observation::Namespace,
        ),
        source("balancerendpoints").watch(
            Api::<BalancerEndpoints>::all(client.clone()),
            config(),
            |listing| Some(read_listing(listing)),
            Observation::Listing,
        ),
    ])
}

/// What the operator keeps of a pool.
pub fn read_pool(pool: BalancerPool) -> Pool {
    Pool {
        spec: pool.spec().map(Arc::new).map_err(|error| error.to_string()),
        uid: pool.metadata.uid.unwrap_or_default(),
        created: pool.metadata.creation_timestamp.map_or(0, |made| made.0.as_second()),
        generation: pool.metadata.generation.unwrap_or_default(),
        status: pool.status.unwrap_or_default(),
    }
}

/// What the operator keeps of a listing.
pub fn read_listing(listing: BalancerEndpoints) -> Listing {
    Listing { owner: owner(listing.metadata), spec: listing.spec }
}

fn owner(meta: ObjectMeta) -> Option<String> {
    let owners = meta.owner_references.unwrap_or_default();
    owners.into_iter().next().map(|owner| owner.uid)
}

/// One kind that is watched.
struct Source {
    what: &'static str,
    url: String,
    readiness: Arc<Readiness>,
    listed: bool,
    said: Option<String>,
}

impl Source {
    fn watch<K, V>(
        self,
        api: Api<K>,
        config: watcher::Config,
        read: fn(K) -> Option<V>,
        wrap: fn(Seen<V>) -> Observation,
    ) -> BoxStream<'static, Observation>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        V: Send + 'static,
    {
        self.readiness.expect(self.what, format!("listing them at {}", self.url));
        let events = watcher::watcher(api, config).backoff(Patient(DefaultBackoff::default()));
        self.observations(events, read, wrap).boxed()
    }

    fn observations<K: Resource, V>(
        mut self,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        read: fn(K) -> Option<V>,
        wrap: fn(Seen<V>) -> Observation,
    ) -> impl Stream<Item = Observation> {
        events.filter_map(move |event| {
            let seen = match event {
                Ok(event) => {
                    self.well(&event);
                    seen(event, read)
                }
                Err(error) => {
                    self.ill(&error);
                    None
                }
            };
            std::future::ready(seen.map(wrap))
        })
    }

    fn well<K>(&mut self, event: &Event<K>) {
        if matches!(event, Event::InitDone) {
            self.listed = true;
            self.readiness.arrived(self.what);
        }
        if !matches!(event, Event::Init) {
            self.said = None;
        }
    }

    /// The same trouble is said once in a row.
    fn ill(&mut self, error: &watcher::Error) {
        let why = advice(error, &self.url);
        if !self.listed {
            self.readiness.wait_for(self.what, why);
        } else if self.said.as_ref() != Some(&why) {
            tracing::warn!(what = self.what, why, "watch failed; the last known state is served on");
            self.said = Some(why);
        }
    }
}

fn seen<K: Resource, V>(event: Event<K>, read: fn(K) -> Option<V>) -> Option<Seen<V>> {
    let keyed = |object: K| (Key::of(object.meta()), read(object));
    match event {
        Event::Init => Some(Seen::Restarted),
        Event::InitDone => Some(Seen::ListEnded),
        Event::InitApply(object) => match keyed(object) {
            (key, Some(fact)) => Some(Seen::Listed(key, fact)),
            (_, None) => None,
        },
        Event::Apply(object) => match keyed(object) {
            (key, Some(fact)) => Some(Seen::Put(key, fact)),
            (key, None) => Some(Seen::Deleted(key)),
        },
        Event::Delete(object) => Some(Seen::Deleted(Key::of(object.meta()))),
    }
}

/// What went wrong and what to do, for people.
fn advice(error: &watcher::Error, url: &str) -> String {
    let (code, said) = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            kube::Error::Api(status) => (Some(status.code), describe(error)),
            _ => (None, describe(error)),
        },
        watcher::Error::WatchError(status) => (Some(status.code), status.message.clone()),
        watcher::Error::NoResourceVersion => (None, error.to_string()),
    };
    let hint = match code {
        Some(401) => "the API server doesn't accept the token; check the service account",
        Some(403) => "the right is missing; apply the chart's ClusterRole and its binding",
        Some(404) => "the kind is unknown; apply the CRDs of the chart",
        Some(410) => "too much has happened meanwhile; the list is made anew",
        Some(_) => "the API server refuses for now",
        None => "the API server can't be reached; check its address, the network and its certificate",
    };
    format!("{hint}; {url} says: {said}; trying again")
}

/// The usual backoff of watches, bounded by [`MAX_BACKOFF`].
struct Patient(DefaultBackoff);

impl Iterator for Patient {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(MAX_BACKOFF))
    }
}

impl Backoff for Patient {
    fn reset(&mut self) {
        self.0.reset();
    }
}
