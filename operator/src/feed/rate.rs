//! How often sessions may be opened: a bucket of tokens, filled steadily, or one for each address. Pure; time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    most: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second: per_second.into(), most: burst.into(), left: burst.into(), at: now }
    }

    /// Whether one more may come now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.left = self.level(now);
        self.at = now;
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }

    fn level(&self, now: Instant) -> f64 {
        let since: Duration = now.saturating_duration_since(self.at);
        (self.left + since.as_secs_f64() * self.per_second).min(self.most)
    }
}

/// The most addresses that are told apart at once; more than there are sessions.
const MAX_ADDRESSES: usize = 20_000;

/// A bucket for each address, forgotten once it is full again.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: u32,
    burst: u32,
    rates: HashMap<IpAddr, Rate>,
}

impl Rates {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, rates: HashMap::new() }
    }

    /// Whether one more may come from there now. An address too many may not until another is forgotten.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.rates.len() >= MAX_ADDRESSES && !self.rates.contains_key(&address) {
            self.rates.retain(|_, rate| rate.level(now) < rate.most);
            if self.rates.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let (per_second, burst) = (self.per_second, self.burst);
        self.rates.entry(address).or_insert_with(|| Rate::new(per_second, burst, now)).take(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut rate = Rate::new(10, 3, start);
        assert_eq!((0..5).filter(|_| rate.take(start)).count(), 3);
        let later = start + Duration::from_millis(150);
        assert_eq!((0..5).filter(|_| rate.take(later)).count(), 1);
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!((0..5).filter(|_| rate.take(much_later)).count(), 3);
    }

    #[test]
    fn an_address_that_asks_too_often_slows_down_itself_only() {
        let start = Instant::now();
        let mut rates = Rates::new(10, 3);
        let [greedy, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        assert_eq!((0..5).filter(|_| rates.take(greedy, start)).count(), 3);
        assert_eq!((0..5).filter(|_| rates.take(other, start)).count(), 3);
    }

    #[test]
    fn addresses_are_forgotten_when_their_buckets_are_full_again() {
        let start = Instant::now();
        let mut rates = Rates::new(10, 3);
        let mut addresses = (0..u32::try_from(MAX_ADDRESSES).unwrap()).map(|n| IpAddr::from(n.to_be_bytes()));
        assert!(addresses.all(|address| rates.take(address, start)));
        let one_more = IpAddr::from([255, 0, 0, 1]);
        assert!(!rates.take(one_more, start));
        assert!(rates.take(one_more, start + Duration::from_secs(1)));
        assert_eq!(rates.rates.len(), 1);
    }
}
