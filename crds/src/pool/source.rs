//! Where a pool's endpoints come from. Types only.

use crate::bounds;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// Where endpoints come from: exactly one of the members service and static.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Its name in this pool.
    #[schemars(
        length(min = bounds::LABEL_LENGTH.min, max = bounds::LABEL_LENGTH.max), regex(pattern = bounds::LABEL_PATTERN)
    )]
    pub name: String,
    /// Endpoints of a higher number are used only when too few of the lower ones are usable: fewer than `panicThreshold` percent
    /// of those with the lowest number.
    #[serde(default)]
    #[schemars(range(min = bounds::PRIORITY.min, max = bounds::PRIORITY.max))]
    pub priority: u8,
    /// The endpoints of a Service of the pool's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSource>,
    /// Endpoints named here; not in the cluster yet.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    pub fixed: Option<StaticSource>,
}

/// The endpoints of a Service of the pool's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSource {
    /// The Service.
    #[schemars(
        length(min = bounds::LABEL_LENGTH.min, max = bounds::LABEL_LENGTH.max), regex(pattern = bounds::LABEL_PATTERN)
    )]
    pub name: String,
    /// The Service's port, by name or number. May be absent if it has one port only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortRef>,
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PortRef {
    /// The Service's port number.
    Number(u16),
    /// The Service's port name.
    Name(String),
}

/// By hand, since a derived one can't say what is wrong.
impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = PortRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port's number or name")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<PortRef, E> {
                let port = u16::try_from(number).ok().filter(|port| bounds::PORT.hold(u64::from(*port)));
                port.map(PortRef::Number).ok_or_else(|| E::custom(format!("{number} is no port; give one from 1 to 65535")))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<PortRef, E> {
                self.visit_u64(u64::try_from(number).unwrap_or(0))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<PortRef, E> {
                Ok(PortRef::Name(name.into()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for PortRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PortRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Bounds on a number leave names alone, and the other way round.
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": bounds::PORT.min,
            "maximum": bounds::PORT.max,
            "minLength": bounds::LABEL_LENGTH.min,
            "maxLength": bounds::LABEL_LENGTH.max,
            "pattern": bounds::LABEL_PATTERN,
        })
    }
}

/// Endpoints named in the resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticSource {
    /// The endpoints.
    #[schemars(length(min = bounds::STATIC_ENDPOINTS.min, max = bounds::STATIC_ENDPOINTS.max))]
    pub endpoints: Vec<StaticEndpoint>,
}

/// One endpoint named in the resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticEndpoint {
    /// An IPv4 or IPv6 address; names belong into a source of their own.
    #[schemars(with = "String", length(min = 2, max = 45))]
    pub address: IpAddr,
    /// The port.
    #[schemars(range(min = bounds::PORT.min, max = bounds::PORT.max))]
    pub port: u16,
    /// Percent of a normal endpoint.
    #[serde(default = "weight")]
    #[schemars(range(min = bounds::WEIGHT.min, max = bounds::WEIGHT.max))]
    pub weight: u16,
    /// The zone that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = bounds::ZONE_LENGTH.min, max = bounds::ZONE_LENGTH.max))]
    pub zone: Option<String>,
}

fn weight() -> u16 {
    100
}
