//! The resources as the API server holds them. Reading is lenient: whatever an object's spec or status says, the object can
//! be listed and watched, so that one bad object never holds up the others; what is wrong with it is said when asked for.

mod definition;
mod rules;
mod schema;

pub use definition::{Definition, definitions};

use crate::endpoints::EndpointsSpec;
use crate::pool::PoolSpec;
use crate::status::PoolStatus;
use crate::{GROUP, VERSION};
use ::kube::api::ObjectMeta;
use k8s_openapi::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// A `BalancerPool`, its spec unread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancerPool {
    #[serde(default = "api_version")]
    api_version: String,
    #[serde(default = "pool_kind")]
    kind: String,
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Its spec as it stands there; [`Self::spec`] reads it.
    #[serde(default)]
    pub spec: Value,
    /// Its status; one that can't be read counts as absent, since it will be written anew.
    #[serde(default, deserialize_with = "readable", skip_serializing_if = "Option::is_none")]
    pub status: Option<PoolStatus>,
}

/// A `BalancerEndpoints`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancerEndpoints {
    #[serde(default = "api_version")]
    api_version: String,
    #[serde(default = "endpoints_kind")]
    kind: String,
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Its list; one that can't be read counts as empty, since it will be written anew.
    #[serde(default, deserialize_with = "readable")]
    pub spec: EndpointsSpec,
}

/// A spec that isn't of the shape that this version knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// Where, as `spec.listeners[0].port`.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

impl std::error::Error for SpecError {}

impl BalancerPool {
    /// A pool to be created.
    pub fn new(name: &str, spec: &PoolSpec) -> Self {
        Self {
            api_version: api_version(),
            kind: pool_kind(),
            metadata: named(name),
            spec: serde_json::to_value(spec).expect("a spec holds nothing that JSON cannot"),
            status: None,
        }
    }

    /// Its spec, or where it isn't understood.
    pub fn spec(&self) -> Result<PoolSpec, SpecError> {
        serde_path_to_error::deserialize(&self.spec).map_err(|error| {
            let path = match error.path().to_string() {
                path if path == "." => "spec".into(),
                path => format!("spec.{path}"),
            };
            SpecError { path, problem: error.into_inner().to_string() }
        })
    }
}

impl BalancerEndpoints {
    /// A part of a pool's list, to be written.
    pub fn new(name: &str, spec: EndpointsSpec) -> Self {
        Self { api_version: api_version(), kind: endpoints_kind(), metadata: named(name), spec }
    }
}

macro_rules! resource {
    ($type:ident, $plural:literal) => {
        impl ::kube::Resource for $type {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($type).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                VERSION.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(BalancerPool, "balancerpools");
resource!(BalancerEndpoints, "balancerendpoints");

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }
}

fn api_version() -> String {
    format!("{GROUP}/{VERSION}")
}

fn pool_kind() -> String {
    "BalancerPool".into()
}

fn endpoints_kind() -> String {
    "BalancerEndpoints".into()
}

fn readable<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Value::deserialize(deserializer).map(|value| serde_json::from_value(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(spec: Value, status: Value) -> BalancerPool {
        serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec, "status": status}))
            .expect("any spec can be listed")
    }

    #[test]
    fn an_object_with_any_spec_can_be_listed() {
        for spec in [json!(null), json!(3), json!([]), json!({"sources": 7}), json!({"other": {}})] {
            let pool = object(spec, json!({"endpoints": "many"}));
            assert_eq!(pool.status, None);
            assert!(pool.spec().is_err());
        }
        let none: BalancerPool = serde_json::from_value(json!({"metadata": {}})).expect("even without a spec");
        assert_eq!(none.spec().expect_err("no spec").path, "spec");
    }

    #[test]
    fn a_spec_error_says_where() {
        let spec = json!({"sources": [{"name": "a"}], "listeners": [{"name": "a", "port": 8080}, {"name": "b", "port": "x"}]});
        let error = object(spec, json!(null)).spec().expect_err("port is no number");
        assert_eq!(error.path, "spec.listeners[1].port");
        let error = object(json!({"sources": [], "slowSart": {}}), json!(null)).spec().expect_err("unknown field");
        assert!(error.to_string().contains("unknown field `slowSart`"), "{error}");
    }

    #[test]
    fn an_object_to_be_applied_names_its_kind() {
        let value = serde_json::to_value(BalancerEndpoints::new("a", EndpointsSpec::default())).expect("json");
        assert_eq!(value["apiVersion"], "evenkeel.dev/v1alpha1");
        assert_eq!(value["kind"], "BalancerEndpoints");
    }
}
