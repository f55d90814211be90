//! Who comes when: the requests of a scenario, drawn from streams of their own, so that all arms of a seed meet the same ones at
//! the same moments. Nothing here knows what becomes of a request.

use evenkeel_balance::SmallRng;

use crate::events::Nanos;
use crate::law::{Purpose, nanos, stream, unit};
use crate::maths::ln;
use crate::scenario::{Arrivals, Scenario};

/// The requests of one run.
#[derive(Debug)]
pub(crate) struct Traffic<'a> {
    scenario: &'a Scenario,
    /// Of the balancers: cumulative, the last is 1.
    shares: Vec<f64>,
    arrivals: SmallRng,
    work: SmallRng,
}

/// A request that comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Whom it comes to.
    pub(crate) balancer: u32,
    /// On a server of speed 1.
    pub(crate) work: Nanos,
    /// Its cost class, if the scenario has any.
    pub(crate) class: Option<u64>,
}

impl<'a> Traffic<'a> {
    /// The same for every arm.
    pub(crate) fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let total: f64 = scenario.balancers.iter().map(|balancer| balancer.share).sum();
        let mut sum = 0.0;
        let shares = scenario.balancers.iter().map(|balancer| {
            sum += balancer.share / total;
            sum
        });
        Self {
            scenario,
            shares: shares.collect(),
            arrivals: stream(seed, Purpose::Arrivals, 0),
            work: stream(seed, Purpose::Work, 0),
        }
    }

    /// When the next request comes, after `from`; the end of time after the last.
    pub(crate) fn next_at(&mut self, from: Nanos) -> Nanos {
        let scenario = self.scenario;
        let length = nanos(scenario.length);
        let mut left = match scenario.arrivals {
            Arrivals::Poisson => -ln(unit(&mut self.arrivals)),
            Arrivals::Even => 1.0,
        };
        // The gap is measured in expected requests, so that it carries over where the rate changes.
        let mut at = from as f64 / 1e9;
        let step = scenario.rate.partition_point(|&(since, _)| nanos(since) <= from).max(1) - 1;
        for (index, &(_, rate)) in scenario.rate.iter().enumerate().skip(step) {
            let until = scenario.rate.get(index + 1).map_or(f64::INFINITY, |next| next.0);
            if rate > 0.0 && at + left / rate <= until {
                let next = nanos(at + left / rate).max(from);
                return if next < length { next } else { Nanos::MAX };
            }
            left -= (until - at) * rate;
            at = until;
        }
        Nanos::MAX
    }

    /// The request that comes then.
    pub(crate) fn draw(&mut self) -> Arrival {
        let place = unit(&mut self.arrivals);
        let balancer = self.shares.partition_point(|&share| share < place).min(self.shares.len() - 1) as u32;
        let seconds = self.scenario.work.draw(&mut self.work);
        Arrival { balancer, work: nanos(seconds), class: self.scenario.class_of(seconds) }
    }
}
