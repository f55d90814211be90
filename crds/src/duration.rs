//! Durations as people write them in YAML: `2s`, `500ms`, `1m30s` (the subset of GEP-2257 that Gateway API uses).

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A span of time in whole milliseconds, written `2s`, `500ms`, `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

/// What a duration looks like (GEP-2257).
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// Not a duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseDurationError(String);

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(std::time::Duration::from_millis(ms))
    }

    /// In milliseconds.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a duration; write 2s, 500ms or 1m30s", self.0)
    }
}

impl std::error::Error for ParseDurationError {}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let error = || ParseDurationError(s.chars().take(40).collect());
        let (mut rest, mut ms, mut parts) = (s, 0u64, 0);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 5 || parts == 4 {
                return Err(error());
            }
            let (number, tail) = rest.split_at(digits);
            let (scale, unit) = match tail.as_bytes() {
                [b'm', b's', ..] => (1, 2),
                [b's', ..] => (1_000, 1),
                [b'm', ..] => (60_000, 1),
                [b'h', ..] => (3_600_000, 1),
                _ => return Err(error()),
            };
            ms += number.parse::<u64>().map_err(|_| error())? * scale;
            rest = &tail[unit..];
            parts += 1;
        }
        if parts == 0 { Err(error()) } else { Ok(Self::from_millis(ms)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_millis() {
            ms if ms > 0 && ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms > 0 && ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms if ms > 99_999 => write!(f, "{}s{}ms", ms / 1_000, ms % 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "maxLength": 28})
    }
}
