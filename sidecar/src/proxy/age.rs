//! When a client's connection has served long enough, by its age or its requests: long-lived clients then connect anew, and so come to
//! other sidecars of a front and other workers. Pure; a tenth by chance keeps clients that came together from leaving together.

use evenkeel_balance::Rng;
use evenkeel_wire::ClientConnections;
use std::time::Duration;
use tokio::time::Instant;

/// What is left to one connection; by default there is no end to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    until: Option<Instant>,
    requests: Option<u32>,
}

impl Allowance {
    /// Of a connection that begins now.
    pub(crate) fn new(limits: &ClientConnections, now: Instant, rng: &mut impl Rng) -> Self {
        let until = limits.max_age_ms.map(|age| now + Duration::from_millis(jittered(age, rng)));
        // At least one, or nobody would be served at all.
        let requests = limits.max_requests.map(|most| u32::try_from(jittered(most.into(), rng)).unwrap_or(u32::MAX).max(1));
        Self { until, requests }
    }

    /// A request has come; whether it is to be the last.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if let Some(left) = &mut self.requests {
            *left = left.saturating_sub(1);
        }
        self.requests == Some(0) || self.until.is_some_and(|until| now >= until)
    }

    /// When it is too old, if ever: what is idle then is closed.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// Within a tenth of it, each value as likely.
fn jittered(value: u64, rng: &mut impl Rng) -> u64 {
    let tenth = value / 10;
    let spread = usize::try_from(2 * tenth + 1).unwrap_or(usize::MAX);
    value - tenth + rng.below(spread) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_balance::SmallRng;

    fn allowance(max_age_ms: Option<u64>, max_requests: Option<u32>, seed: u64) -> (Allowance, Instant) {
        let now = Instant::now();
        (Allowance::new(&ClientConnections { max_age_ms, max_requests }, now, &mut SmallRng::new(seed)), now)
    }

    #[test]
    fn without_limits_no_request_is_the_last() {
        let (mut none, now) = allowance(None, None, 1);
        let later = now + Duration::from_secs(1 << 30);
        assert!((0..100_000).all(|_| !none.take(later)) && none.until().is_none());
    }

    #[test]
    fn requests_are_as_many_as_may_give_or_take_a_tenth_that_differs() {
        let counts: Vec<usize> = (0..500)
            .map(|seed| {
                let (mut some, now) = allowance(None, Some(1_000), seed);
                (1..).find(|_| some.take(now)).expect("one is the last")
            })
            .collect();
        let (least, most) = (counts.iter().min().expect("some"), counts.iter().max().expect("some"));
        assert!((900..=905).contains(least) && (1_095..=1_100).contains(most), "{least} to {most}");
        let mean = counts.iter().sum::<usize>() / counts.len();
        assert!((990..=1_010).contains(&mean), "{mean}");
    }

    #[test]
    fn one_request_is_always_served_and_is_the_last() {
        for most in [0, 1] {
            let (mut one, now) = allowance(None, Some(most), 1);
            assert!(one.take(now) && one.take(now));
        }
    }

    #[test]
    fn the_first_request_after_its_age_is_the_last() {
        let ages: Vec<Duration> = (0..500)
            .map(|seed| {
                let (mut some, now) = allowance(Some(60_000), None, seed);
                let until = some.until().expect("ends");
                assert!(!some.take(until - Duration::from_millis(1)) && some.take(until));
                until - now
            })
            .collect();
        let (least, most) = (ages.iter().min().expect("some"), ages.iter().max().expect("some"));
        assert!(*least >= Duration::from_secs(54) && *most <= Duration::from_secs(66), "{least:?} to {most:?}");
        assert!(*most - *least > Duration::from_secs(11), "{least:?} to {most:?}: they would leave together");
    }
}
