//! What a load run saw, as one JSON object. Both sides of the pipe use this type.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many failures are kept in words.
const KEPT_ERRORS: usize = 5;
/// Owners are written one character a key, so there can be this many names.
const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Why a request failed. A failure is final: the client never tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// The connection ended before the first byte of the answer.
    Closed,
    /// The connection ended or failed inside the exchange.
    Broken,
    /// No whole answer in time.
    Timeout,
    /// An answer that is not 2xx.
    Status,
    /// Bytes that are no answer.
    Protocol,
}

/// What one load run saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Requests (or TCP exchanges) begun.
    pub sent: u64,
    /// Answered as they should be.
    pub ok: u64,
    /// Not so, by kind.
    pub failed: BTreeMap<FailureKind, u64>,
    /// The first failures in words, with when they happened.
    pub errors: Vec<String>,
    /// Answers by the backend's name.
    pub backends: BTreeMap<String, u64>,
    /// Connections opened.
    pub connections: u64,
    /// Median latency in microseconds; with a rate, counted from when the request was due.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Wall clock at the start, nanoseconds since 1970.
    pub start_ns: u64,
    /// Wall clock at the end.
    pub end_ns: u64,
    /// Keys that reached more than one backend.
    pub wandering_keys: u64,
    /// The names that the characters of `owners` stand for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// One character a key: the index in `names` as 0-9a-zA-Z, `-` for no answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owners: String,
}

impl Summary {
    /// All failures.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// A backend's part of the answers, 0 to 1.
    pub fn share(&self, backend: &str) -> f64 {
        self.backends.get(backend).copied().unwrap_or(0) as f64 / self.ok.max(1) as f64
    }

    /// The owner of a key, where an answer said it.
    pub fn owner(&self, key: usize) -> Option<&str> {
        let digit = *self.owners.as_bytes().get(key)?;
        let index = DIGITS.iter().position(|&d| d == digit)?;
        self.names.get(index).map(String::as_str)
    }
}

/// Counts one exchange after the other.
#[derive(Debug, Default)]
pub struct Tally {
    summary: Summary,
    latencies: Vec<u32>,
    owners: Vec<Option<usize>>,
    wandering: std::collections::BTreeSet<usize>,
}

impl Tally {
    /// Nothing counted yet; `keys` owners are noted.
    pub fn new(keys: usize) -> Self {
        Self { owners: vec![None; keys], ..Self::default() }
    }

    /// A request is on its way.
    pub fn sent(&mut self) {
        self.summary.sent += 1;
    }

    /// A connection was opened.
    pub fn connected(&mut self) {
        self.summary.connections += 1;
    }

    /// An answer of this backend, to this key.
    pub fn answered(&mut self, backend: &str, key: u64, latency_us: u64) {
        self.summary.ok += 1;
        self.latencies.push(latency_us.min(u64::from(u32::MAX)) as u32);
        if let Some(count) = self.summary.backends.get_mut(backend) {
            *count += 1;
        } else {
            self.summary.backends.insert(backend.into(), 1);
        }
        let key = key as usize;
        if key < self.owners.len() {
            let name = self.name(backend);
            if self.owners[key].is_some_and(|before| before != name) {
                self.wandering.insert(key);
            }
            self.owners[key] = Some(name);
        }
    }

    /// A failure.
    pub fn failed(&mut self, kind: FailureKind, words: impl FnOnce() -> String) {
        *self.summary.failed.entry(kind).or_default() += 1;
        if self.summary.errors.len() < KEPT_ERRORS {
            self.summary.errors.push(words());
        }
    }

    fn name(&mut self, backend: &str) -> usize {
        let names = &mut self.summary.names;
        names.iter().position(|n| n == backend).unwrap_or_else(|| {
            names.push(backend.into());
            names.len() - 1
        })
    }

    /// The whole, when all is done.
    pub fn finish(mut self, start_ns: u64, end_ns: u64) -> Summary {
        self.latencies.sort_unstable();
        let count = self.latencies.len();
        let at = |permille: usize| {
            let index = (count * permille / 1000).min(count.saturating_sub(1));
            self.latencies.get(index).copied().unwrap_or(0).into()
        };
        let digit = |owner: &Option<usize>| owner.map_or('-', |index| DIGITS.get(index).map_or('-', |&d| d.into()));
        Summary {
            p50_us: at(500),
            p99_us: at(990),
            max_us: at(1000),
            start_ns,
            end_ns,
            wandering_keys: self.wandering.len() as u64,
            owners: self.owners.iter().map(digit).collect(),
            ..self.summary
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_changes_its_owner_is_counted_once() {
        let mut tally = Tally::new(3);
        for backend in ["a", "b", "a", "b"] {
            tally.answered(backend, 1, 10);
        }
        tally.answered("a", 0, 30);
        let summary = tally.finish(1, 2);
        assert_eq!(summary.wandering_keys, 1);
        assert_eq!(summary.owners, "01-");
        assert_eq!(summary.owner(0), Some("a"));
        assert_eq!(summary.owner(2), None);
        assert_eq!(summary.max_us, 30);
    }

    #[test]
    fn every_failure_is_counted_and_the_first_are_told() {
        let mut tally = Tally::new(0);
        for i in 0..9 {
            tally.failed(FailureKind::Closed, || format!("error {i}"));
        }
        let summary = tally.finish(0, 0);
        assert_eq!((summary.failures(), summary.errors.len()), (9, KEPT_ERRORS));
    }
}
