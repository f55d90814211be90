//! Keeps what is only missing for a moment: an endpoint that no slice lists any more stays for [`ABSENCE`], because the
//! slices' controller moves endpoints between slices in two writes. A pod that was seen deleted goes at once.

use super::dereference::Gathered;
use evenkeel_plan::{Candidate, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an endpoint may be missing before it is taken out.
pub const ABSENCE: Duration = Duration::from_secs(1);

/// What the pod watch says of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// Nothing against it.
    Alive,
    /// It has a deletion timestamp.
    Terminating,
    /// It was seen deleted.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    Pod(String, u16),
    Address(IpAddr, u16),
}

impl Identity {
    fn of(candidate: &Candidate) -> Self {
        match &candidate.pod {
            Some(pod) => Self::Pod(pod.uid.clone(), candidate.port),
            None => Self::Address(candidate.address, candidate.port),
        }
    }
}

/// The candidates of one pool as they were last, by source.
#[derive(Debug, Default)]
pub struct Hold {
    known: BTreeMap<(String, Identity), Known>,
}

#[derive(Debug)]
struct Known {
    candidate: Candidate,
    absent_since: Option<Instant>,
}

impl Hold {
    /// Adds what is missing for less than [`ABSENCE`] to its source and says when to look again. A source that the spec no
    /// longer has keeps nothing.
    pub fn hold(&mut self, gathered: &mut [Gathered], state: impl Fn(&Pod) -> PodState, now: Instant) -> Option<Instant> {
        let mut present = BTreeSet::new();
        for source in gathered.iter() {
            for candidate in &source.candidates {
                let key = (source.source.clone(), Identity::of(candidate));
                present.insert(key.clone());
                let known = Known { candidate: candidate.clone(), absent_since: None };
                self.known.insert(key, known);
            }
        }
        let mut again: Option<Instant> = None;
        self.known.retain(|key, known| {
            if present.contains(key) {
                return true;
            }
            let Some(source) = gathered.iter_mut().find(|g| g.source == key.0) else {
                return false;
            };
            let until = *known.absent_since.get_or_insert(now) + ABSENCE;
            match known.candidate.pod.as_ref().map_or(PodState::Alive, &state) {
                PodState::Gone => return false,
                _ if until <= now => return false,
                PodState::Terminating => known.candidate.terminating = true,
                PodState::Alive => {}
            }
            again = Some(again.map_or(until, |at| at.min(until)));
            source.candidates.push(known.candidate.clone());
            true
        });
        again
    }

    /// Whether something is kept that no slice lists.
    pub fn holds_any(&self) -> bool {
        self.known.values().any(|k| k.absent_since.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(uid: &str) -> Candidate {
        Candidate {
            address: [10, 0, 0, 1].into(),
            port: 80,
            weight: 100,
            zone: None,
            node: None,
            pod: Some(Pod { namespace: "shop".into(), name: format!("pod-{uid}"), uid: uid.into(), stateful: false }),
            ready: true,
            serving: true,
            terminating: false,
        }
    }

    fn gathered(uids: &[&str]) -> Vec<Gathered> {
        vec![Gathered { source: "svc".into(), priority: 0, candidates: uids.iter().map(|uid| candidate(uid)).collect() }]
    }

    fn held(hold: &mut Hold, uids: &[&str], state: PodState, now: Instant) -> (Vec<String>, bool) {
        let mut sources = gathered(uids);
        let again = hold.hold(&mut sources, |_| state, now);
        let left = sources[0].candidates.iter().filter(|c| !c.terminating);
        let names = left.filter_map(|c| Some(c.pod.as_ref()?.uid.clone()));
        (names.collect(), again.is_some())
    }

    const HALF: Duration = Duration::from_millis(500);

    #[test]
    fn what_only_moves_between_slices_never_leaves() {
        let (mut hold, t0) = (Hold::default(), Instant::now());
        held(&mut hold, &["a", "b"], PodState::Alive, t0);
        let (names, again) = held(&mut hold, &["b"], PodState::Alive, t0 + HALF);
        assert_eq!((names.len(), again), (2, true));
        let (names, again) = held(&mut hold, &["a", "b"], PodState::Alive, t0 + 2 * HALF);
        assert_eq!((names.len(), again), (2, false));
        let (names, _) = held(&mut hold, &["b"], PodState::Alive, t0 + 4 * HALF);
        assert_eq!(names.len(), 2, "the grace starts anew");
    }

    #[test]
    fn bare_absence_takes_out_after_a_second() {
        let (mut hold, t0) = (Hold::default(), Instant::now());
        held(&mut hold, &["a", "b"], PodState::Alive, t0);
        held(&mut hold, &["b"], PodState::Alive, t0);
        let (names, again) = held(&mut hold, &["b"], PodState::Alive, t0 + ABSENCE);
        assert_eq!((names, again), (vec!["b".to_string()], false));
        assert!(!hold.holds_any());
    }

    #[test]
    fn a_pod_seen_deleted_goes_at_once_and_a_terminating_one_is_marked() {
        let (mut hold, t0) = (Hold::default(), Instant::now());
        held(&mut hold, &["a", "b"], PodState::Alive, t0);
        let (names, again) = held(&mut hold, &["b"], PodState::Terminating, t0);
        assert_eq!((names, again), (vec!["b".to_string()], true));
        let (_, again) = held(&mut hold, &["b"], PodState::Gone, t0);
        assert!(!again);
    }

    #[test]
    fn a_source_taken_from_the_spec_keeps_nothing() {
        let (mut hold, t0) = (Hold::default(), Instant::now());
        held(&mut hold, &["a"], PodState::Alive, t0);
        let mut other = vec![Gathered { source: "other".into(), priority: 0, candidates: Vec::new() }];
        assert_eq!(hold.hold(&mut other, |_| PodState::Alive, t0), None);
        assert!(other[0].candidates.is_empty() && !hold.holds_any());
    }
}
