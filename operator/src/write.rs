//! Writes to the API server: a pool's status and its listings. Each write is whole and idempotent, so one that fails is
//! simply decided anew. Nothing is decided here.

use crate::blame::describe;
use crate::gather::facts::Key;
use crate::gather::watch::read_listing;
use crate::gather::world::Listing;
use crate::listed::{Edit, POOL_LABEL};
use evenkeel_crds::endpoints::EndpointsSpec;
use evenkeel_crds::kube::{BalancerEndpoints, BalancerPool};
use evenkeel_crds::status::PoolStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, Resource};
use serde_json::json;
use std::time::Duration;

/// Whose fields these are.
const MANAGER: &str = "evenkeel-operator";
/// The longest a write may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The status of a pool.
    Status(Box<PoolStatus>),
    /// One of its listings.
    Listing(Edit),
}

/// A write that was made.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// The pool's status is this now.
    Status(Box<PoolStatus>),
    /// The listing is this now, or is gone.
    Listing(Key, Option<Listing>),
}

/// A write that wasn't made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server refused, or couldn't be reached.
    #[error("{}", describe(.0))]
    Api(#[from] kube::Error),
    /// It took too long.
    #[error("no answer from the API server in {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// Makes one write for the pool of that UID.
pub async fn write(client: &Client, pool: &Key, uid: &str, write: Write) -> Result<Written, WriteError> {
    let made = async {
        match write {
            Write::Status(status) => write_status(client, pool, status).await,
            Write::Listing(Edit::Put(name, spec)) => put_listing(client, pool, uid, &name, spec).await,
            Write::Listing(Edit::Delete(name)) => delete_listing(client, pool, &name).await,
        }
    };
    match tokio::time::timeout(TIMEOUT, made).await {
        Ok(made) => Ok(made?),
        Err(_) => Err(WriteError::Timeout),
    }
}

async fn write_status(client: &Client, pool: &Key, status: Box<PoolStatus>) -> Result<Written, kube::Error> {
    let api: Api<BalancerPool> = Api::namespaced(client.clone(), &pool.namespace);
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(&pool.name, &params, &patch).await?;
    Ok(Written::Status(status))
}

async fn put_listing(client: &Client, pool: &Key, uid: &str, name: &str, spec: EndpointsSpec) -> Result<Written, kube::Error> {
    let api: Api<BalancerEndpoints> = Api::namespaced(client.clone(), &pool.namespace);
    let mut object = BalancerEndpoints::new(name, spec);
    object.metadata.namespace = Some(pool.namespace.clone());
    object.metadata.labels = Some([(POOL_LABEL.to_string(), label(&pool.name))].into());
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: BalancerPool::api_version(&()).into(),
        kind: BalancerPool::kind(&()).into(),
        name: pool.name.clone(),
        uid: uid.into(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    let params = PatchParams::apply(MANAGER).force();
    let written = api.patch(name, &params, &Patch::Apply(&object)).await?;
    let key = Key::new(&pool.namespace, name);
    Ok(Written::Listing(key, Some(read_listing(written))))
}

async fn delete_listing(client: &Client, pool: &Key, name: &str) -> Result<Written, kube::Error> {
    let api: Api<BalancerEndpoints> = Api::namespaced(client.clone(), &pool.namespace);
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error),
    }
    Ok(Written::Listing(Key::new(&pool.namespace, name), None))
}

/// A label's value is at most 63 characters; a name may be longer, and then the owner reference alone tells.
fn label(name: &str) -> String {
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['.', '-']).into()
}
