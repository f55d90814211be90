//! What a peer may make this side do without asking for anything: a bucket of each kind of frame that is cheap to send,
//! refilled by time, and by the requests and data that give good cause for such frames.

use super::fault::Reason;
use std::time::{Duration, Instant};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// A stream reset by the peer before it was done (rapid reset, CVE-2023-44487).
    Reset,
    /// A stream that had to be reset here because of the peer's frames (made you reset, CVE-2025-8671).
    Fault,
    /// A PING that asks for an answer.
    Ping,
    /// A SETTINGS that asks for an answer.
    Settings,
    /// A DATA or CONTINUATION frame without anything in it.
    Empty,
    /// A PRIORITY frame.
    Priority,
    /// A WINDOW_UPDATE frame.
    Window,
    /// A frame of an unknown kind, or on a stream that has gone.
    Unknown,
}

const KINDS: usize = 8;

/// For each cost: how many at once, and how many more each second.
const RATES: [(u32, u32); KINDS] = [(200, 100), (100, 10), (200, 20), (50, 2), (100, 10), (300, 20), (1000, 200), (1000, 200)];
/// Causes: what a frame of data or a new stream adds.
const PER_DATA: [(Cost, u32); 2] = [(Cost::Window, 4), (Cost::Ping, 1)];
const PER_STREAM: [(Cost, u32); 2] = [(Cost::Window, 4), (Cost::Priority, 2)];

/// The buckets of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    left: [u32; KINDS],
    filled: Instant,
}

impl Budget {
    /// Full ones.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: RATES.map(|(burst, _)| burst), filled: now }
    }

    /// Takes one; refused if there is none left.
    pub(super) fn spend(&mut self, cost: Cost, now: Instant) -> Result<(), Reason> {
        let left = &mut self.left[cost as usize];
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        self.refill(now);
        match self.left[cost as usize].checked_sub(1) {
            Some(left) => {
                self.left[cost as usize] = left;
                Ok(())
            }
            None => Err(reason(cost)),
        }
    }

    /// Data has gone out or come in, or a stream was opened.
    pub(super) fn earn_by_data(&mut self) {
        self.earn(PER_DATA);
    }

    /// The same of a stream.
    pub(super) fn earn_by_stream(&mut self) {
        self.earn(PER_STREAM);
    }

    fn earn(&mut self, causes: [(Cost, u32); 2]) {
        for (cost, count) in causes {
            let left = &mut self.left[cost as usize];
            *left = (*left + count).min(RATES[cost as usize].0);
        }
    }

    /// Whole seconds only, so that nothing is lost to rounding.
    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs();
        self.filled += Duration::from_secs(seconds);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        for (left, (burst, rate)) in self.left.iter_mut().zip(RATES) {
            *left = left.saturating_add(rate.saturating_mul(seconds)).min(burst);
        }
    }
}

fn reason(cost: Cost) -> Reason {
    match cost {
        Cost::Reset => Reason::ResetFlood,
        Cost::Fault => Reason::FaultFlood,
        Cost::Ping => Reason::PingFlood,
        Cost::Settings => Reason::SettingsFlood,
        Cost::Empty => Reason::EmptyFlood,
        Cost::Priority => Reason::PriorityFlood,
        Cost::Window => Reason::WindowFlood,
        Cost::Unknown => Reason::UnknownFlood,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Cost; KINDS] =
        [Cost::Reset, Cost::Fault, Cost::Ping, Cost::Settings, Cost::Empty, Cost::Priority, Cost::Window, Cost::Unknown];

    #[test]
    fn a_burst_is_allowed_and_then_its_rate() {
        let start = Instant::now();
        for cost in ALL {
            let (burst, rate) = RATES[cost as usize];
            let mut budget = Budget::new(start);
            assert!((0..burst).all(|_| budget.spend(cost, start).is_ok()));
            assert_eq!(budget.spend(cost, start), Err(reason(cost)));
            let later = start + Duration::from_millis(1900);
            assert!((0..rate).all(|_| budget.spend(cost, later).is_ok()));
            assert!(budget.spend(cost, later).is_err());
            assert!(budget.spend(cost, later + Duration::from_millis(100)).is_ok());
        }
    }

    #[test]
    fn good_cause_refills_but_never_beyond_the_burst() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        (0..10_000).for_each(|_| budget.earn_by_data());
        assert!((0..200).all(|_| budget.spend(Cost::Ping, now).is_ok()));
        assert!(budget.spend(Cost::Ping, now).is_err());
        budget.earn_by_data();
        assert!(budget.spend(Cost::Ping, now).is_ok());
        assert!(budget.spend(Cost::Ping, now).is_err());
    }
}
