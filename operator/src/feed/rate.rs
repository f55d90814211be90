//! How often sessions may be opened: a bucket of tokens, filled steadily. Pure; time is an argument.

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
        let since: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.left = (self.left + since.as_secs_f64() * self.per_second).min(self.most);
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
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
}
