//! What the decision needs from the API server: the pools of the pod's namespace and the Services that they are made
//! of. Asked at each admission, so that a pool made a moment before the pod counts.

use super::decide::{PoolView, Pools};
use evenkeel_crds::kube::BalancerPool;
use evenkeel_plan::transport_port;
use evenkeel_wire::PoolName;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams};
use std::collections::BTreeMap;

type Selectors = BTreeMap<String, BTreeMap<String, String>>;

/// The namespace's pools. One whose spec isn't understood is left out: it gets no listeners either.
pub(super) async fn fetch_pools(client: &kube::Client, namespace: &str) -> Result<Pools, kube::Error> {
    let all = ListParams::default();
    let pools = Api::<BalancerPool>::namespaced(client.clone(), namespace).list(&all).await?.items;
    if pools.is_empty() {
        return Ok(Pools::new());
    }
    let services = Api::<Service>::namespaced(client.clone(), namespace).list(&all).await?.items;
    let selectors = services.into_iter().filter_map(|service| Some((service.metadata.name?, service.spec?.selector?)));
    let selectors = selectors.collect();
    Ok(pools.into_iter().filter_map(|pool| view(pool, namespace, &selectors)).collect())
}

fn view(pool: BalancerPool, namespace: &str, selectors: &Selectors) -> Option<(PoolName, PoolView)> {
    let spec = pool.spec();
    let name = PoolName { namespace: namespace.into(), name: pool.metadata.name? };
    let spec = spec.inspect_err(|error| tracing::debug!(pool = %name, %error, "a pool isn't understood")).ok()?;
    let services = spec.sources.iter().filter_map(|source| source.service.as_ref());
    let view = PoolView {
        listeners: spec.listeners.iter().map(|listener| (listener.name.clone(), transport_port(listener))).collect(),
        selectors: services.filter_map(|service| selectors.get(&service.name).cloned()).collect(),
    };
    Some((name, view))
}
