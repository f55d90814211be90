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

/// The longest that can be written in one part.
const MAX_MS: u64 = 99_999 * 3_600_000;

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
        if parts == 0 || ms > MAX_MS { Err(error()) } else { Ok(Self::from_millis(ms)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_millis();
        let parts = [(ms / 3_600_000, "h"), (ms / 60_000 % 60, "m"), (ms / 1_000 % 60, "s"), (ms % 1_000, "ms")];
        if ms == 0 {
            return f.write_str("0s");
        }
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written_in_gateway_api() {
        for (text, ms) in
            [("0s", 0), ("1ms", 1), ("500ms", 500), ("2s", 2_000), ("1m30s", 90_000), ("1h", 3_600_000), ("30h1ms", 108_000_001)]
        {
            assert_eq!(text.parse(), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(Duration::from_millis(ms).to_string(), text);
        }
        assert_eq!("90s".parse(), Ok(Duration::from_millis(90_000)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "2", "s", "2 s", "-2s", "1.5s", "2d", "123456s", "1s1s1s1s1s", "99999h1ms", "2sec", "٢s"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_duration_reads_back_as_printed() {
        for ms in [1, 999, 1_001, 59_999, 60_001, 99_999_999, 108_000_001, 3_661_001, MAX_MS] {
            let duration = Duration::from_millis(ms);
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
