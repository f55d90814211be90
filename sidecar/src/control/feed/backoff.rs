//! How long to wait before the next attempt: doubling, with jitter, so that sidecars don't come back in step. Pure.

use evenkeel_balance::Rng;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
/// An operator that is back is found in less than 5 s, the connect included.
const LAST: Duration = Duration::from_secs(4);
/// The longest that an operator may send a sidecar away for.
const LONGEST: Duration = Duration::from_secs(60);

/// The attempts since the last good one.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The feed was good: the next failure is the first.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after a failure: half to all of 0.2 s · 2ⁿ, at most 4 s.
    pub(super) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        whole / 2 + jitter(whole / 2, rng)
    }

    /// The wait after a goodbye: as long as the operator said, and up to a fifth more.
    pub(super) fn after_goodbye(&self, wait: Duration, rng: &mut impl Rng) -> Duration {
        let wait = wait.min(LONGEST);
        wait + jitter(wait / 5, rng)
    }
}

fn jitter(most: Duration, rng: &mut impl Rng) -> Duration {
    Duration::from_millis(rng.below(usize::try_from(most.as_millis()).unwrap_or(usize::MAX).saturating_add(1)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_balance::SmallRng;

    #[test]
    fn waits_double_to_four_seconds_and_start_anew_after_a_good_feed() {
        let (mut backoff, mut rng) = (Backoff::default(), SmallRng::new(7));
        for whole in [200, 400, 800, 1600, 3200, 4000, 4000] {
            let wait = backoff.next(&mut rng).as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= FIRST);
    }

    #[test]
    fn a_goodbye_is_honoured_but_not_for_ever() {
        let (backoff, mut rng) = (Backoff::default(), SmallRng::new(7));
        let wait = backoff.after_goodbye(Duration::from_secs(2), &mut rng);
        assert!((2000..=2400).contains(&wait.as_millis()), "{wait:?}");
        assert!(backoff.after_goodbye(Duration::from_secs(1 << 40), &mut rng) <= LONGEST + LONGEST / 5);
    }
}
