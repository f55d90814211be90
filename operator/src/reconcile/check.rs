//! What the active checks of one pool say, and when that isn't believed. When every check times out while Kubernetes says
//! ready, a network policy between operator and pods is the likelier cause: the verdict is set aside until a check gets
//! through. Pure: the prober runs the checks, the time is an argument.

use evenkeel_probe::CheckReason;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The checked endpoints of one pool.
#[derive(Debug, Default)]
pub struct Checks {
    watched: BTreeMap<String, Watched>,
    inherited: BTreeMap<String, CheckReason>,
    set_aside: bool,
}

#[derive(Debug)]
struct Watched {
    address: SocketAddr,
    since: Instant,
    /// What its own checks say.
    failing: Option<CheckReason>,
    /// What the operator before this one said; holds until its own checks had time to say something.
    inherited: Option<CheckReason>,
    /// They have had time to fail and haven't, or pass again.
    passed: bool,
}

/// Whether the checks are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// All checks time out; none is believed.
    pub set_aside: bool,
    /// When it may change without an event.
    pub again: Option<Instant>,
}

impl Checks {
    /// Endpoints that were down when the operator before this one ended: a restart must not send traffic to them.
    pub fn inherit(&mut self, down: impl Iterator<Item = (String, CheckReason)>) {
        self.inherited = down.collect();
    }

    /// Forgets endpoints that aren't checked any more and watches new ones, which count as healthy unless inherited. One at
    /// another address is new.
    pub fn converge(&mut self, targets: &BTreeMap<String, SocketAddr>, now: Instant) {
        self.watched.retain(|id, watched| targets.get(id) == Some(&watched.address));
        let inherited = std::mem::take(&mut self.inherited);
        for (id, address) in targets {
            self.watched.entry(id.clone()).or_insert_with(|| Watched {
                address: *address,
                since: now,
                failing: None,
                inherited: inherited.get(id).copied(),
                passed: false,
            });
        }
    }

    /// Whether something is known of an endpoint that readiness alone would forget.
    pub fn remember(&self, id: &str) -> bool {
        self.watched.contains_key(id) || self.inherited.contains_key(id)
    }

    /// Takes in a verdict; `false` if it is about an endpoint that isn't checked any more.
    pub fn observe(&mut self, id: &str, healthy: bool, reason: CheckReason) -> bool {
        let Some(watched) = self.watched.get_mut(id) else {
            return false;
        };
        watched.failing = (!healthy).then_some(reason);
        watched.inherited = None;
        watched.passed = healthy;
        true
    }

    /// Why an endpoint's checks fail, if they do.
    pub fn failing(&self, id: &str) -> Option<CheckReason> {
        let watched = self.watched.get(id)?;
        watched.failing.or(watched.inherited)
    }

    /// Whether its checks pass, as opposed to not having failed yet.
    pub fn passes(&self, id: &str) -> bool {
        self.watched.get(id).is_some_and(|watched| watched.passed)
    }

    /// Decides whether the checks are believed. `settled` is how long a check takes at most to find an endpoint that
    /// doesn't answer; one that is younger and hasn't failed yet proves nothing, nor does one that times out while it isn't
    /// `ready` either.
    pub fn judge(&mut self, settled: Duration, now: Instant, ready: impl Fn(&str) -> bool) -> Judgement {
        let (mut timing_out, mut undecided, mut reached) = (0, 0, false);
        let mut again: Option<Instant> = None;
        for (id, watched) in &mut self.watched {
            let decided_at = watched.since + settled;
            match watched.failing {
                Some(CheckReason::Timeout | CheckReason::Unreachable) => timing_out += usize::from(ready(id)),
                Some(_) => reached = true,
                None if watched.passed || decided_at <= now => {
                    watched.inherited = None;
                    watched.passed = true;
                    reached = true;
                }
                None => {
                    undecided += 1;
                    again = Some(again.map_or(decided_at, |at| at.min(decided_at)));
                }
            }
        }
        let newly = !self.set_aside && undecided > 0;
        self.set_aside = timing_out > 0 && !reached && !newly;
        Judgement { set_aside: self.set_aside, again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Duration = Duration::from_secs(7);

    fn checks(ids: &[&str], now: Instant) -> Checks {
        let mut checks = Checks::default();
        checks.converge(&targets(ids), now);
        checks
    }

    fn targets(ids: &[&str]) -> BTreeMap<String, SocketAddr> {
        ids.iter().map(|id| (id.to_string(), ([10, 0, 0, 1], 80).into())).collect()
    }

    fn fail(checks: &mut Checks, id: &str, reason: CheckReason) {
        assert!(checks.observe(id, false, reason));
    }

    #[test]
    fn all_timing_out_is_set_aside_and_one_that_answers_ends_it() {
        let t0 = Instant::now();
        let mut checks = checks(&["a", "b"], t0);
        let later = t0 + SETTLED;
        fail(&mut checks, "a", CheckReason::Timeout);
        assert!(!checks.judge(SETTLED, later, |_| true).set_aside, "b answers");
        fail(&mut checks, "b", CheckReason::Timeout);
        assert!(checks.judge(SETTLED, later, |_| true).set_aside);
        checks.observe("b", true, CheckReason::Passing);
        assert!(!checks.judge(SETTLED, later, |_| true).set_aside);
        assert_eq!(checks.failing("a"), Some(CheckReason::Timeout));
    }

    #[test]
    fn a_refused_connect_proves_the_way_is_open() {
        let t0 = Instant::now();
        let mut checks = checks(&["a", "b"], t0);
        fail(&mut checks, "a", CheckReason::Timeout);
        fail(&mut checks, "b", CheckReason::Refused);
        assert!(!checks.judge(SETTLED, t0 + SETTLED, |_| true).set_aside);
    }

    #[test]
    fn a_new_endpoint_proves_nothing_until_its_checks_had_time_to_fail() {
        let t0 = Instant::now();
        let mut checks = checks(&["a"], t0);
        fail(&mut checks, "a", CheckReason::Timeout);
        assert!(checks.judge(SETTLED, t0 + SETTLED, |_| true).set_aside);
        let t1 = t0 + 2 * SETTLED;
        checks.converge(&targets(&["a", "new"]), t1);
        let judgement = checks.judge(SETTLED, t1, |_| true);
        assert!(judgement.set_aside);
        assert_eq!(judgement.again, Some(t1 + SETTLED));
        assert!(!checks.judge(SETTLED, t1 + SETTLED, |_| true).set_aside);
    }

    #[test]
    fn a_verdict_about_an_endpoint_that_left_is_ignored() {
        let mut checks = checks(&["a"], Instant::now());
        checks.converge(&targets(&[]), Instant::now());
        assert!(!checks.observe("a", false, CheckReason::Refused));
        assert_eq!(checks.failing("a"), None);
    }

    #[test]
    fn what_was_down_before_a_restart_stays_down_until_its_checks_had_time_to_pass() {
        let t0 = Instant::now();
        let mut checks = Checks::default();
        checks.inherit([("a".to_string(), CheckReason::Timeout)].into_iter());
        checks.converge(&targets(&["a"]), t0);
        let judgement = checks.judge(SETTLED, t0, |_| true);
        assert_eq!(judgement, Judgement { set_aside: false, again: Some(t0 + SETTLED) });
        assert_eq!(checks.failing("a"), Some(CheckReason::Timeout));
        checks.judge(SETTLED, t0 + SETTLED, |_| true);
        assert_eq!(checks.failing("a"), None);
        checks.converge(&targets(&["a", "b"]), t0);
        assert_eq!(checks.failing("b"), None, "only the first list inherits");
    }

    #[test]
    fn an_endpoint_at_another_address_is_judged_anew() {
        let t0 = Instant::now();
        let mut checks = checks(&["a"], t0);
        fail(&mut checks, "a", CheckReason::Refused);
        checks.converge(&BTreeMap::from([("a".to_string(), ([10, 0, 0, 2], 80).into())]), t0);
        assert_eq!(checks.failing("a"), None);
    }
}
