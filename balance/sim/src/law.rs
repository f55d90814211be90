//! The laws that work and gaps are drawn from, and the independent streams of chance behind them.
//! Seconds as `f64` here, nanoseconds as `u64` once drawn.

use evenkeel_balance::{Rng, SmallRng};

use crate::maths::{exp, ln, pow};

/// What a stream of random numbers is for. Each purpose has its own, so that one arm's picks never shift another arm's arrivals.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// When requests arrive, at which balancer.
    Arrivals = 1,
    /// How much work a request is.
    Work = 2,
    /// What antagonists do.
    Antagonists = 3,
    /// What arms draw.
    Picks = 4,
    /// What a claim draws to build its scenario.
    Scenario = 5,
    /// Where servers' own laws draw from.
    Servers = 6,
}

/// The stream of a seed for a purpose and a number (of a server or balancer).
pub fn stream(seed: u64, purpose: Purpose, number: usize) -> SmallRng {
    let mut mixer = SmallRng::new(seed ^ (purpose as u64) << 56 ^ (number as u64) << 32);
    let first = mixer.next_u64();
    SmallRng::new(first ^ mixer.next_u64().rotate_left(17))
}

/// Uniform in (0, 1].
pub fn unit(rng: &mut impl Rng) -> f64 {
    ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Uniform between two numbers.
pub fn between(low: f64, high: f64, rng: &mut impl Rng) -> f64 {
    low + (high - low) * unit(rng)
}

/// Seconds as nanoseconds.
pub fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// A law of durations, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub enum Law {
    /// Always the same.
    Constant(f64),
    /// Normal; what falls below zero is zero.
    Normal {
        /// Before the cut at zero.
        mean: f64,
        /// Standard deviation, before the cut.
        deviation: f64,
    },
    /// Exponential.
    Exponential {
        /// The mean.
        mean: f64,
    },
    /// Logarithmically normal.
    LogNormal {
        /// The median.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Pareto between two bounds: heavy-tailed work as Crovella and Harchol-Balter describe it.
    BoundedPareto {
        /// α.
        shape: f64,
        /// The least.
        low: f64,
        /// The most.
        high: f64,
    },
}

impl Law {
    /// One draw.
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        match *self {
            Self::Constant(seconds) => seconds,
            Self::Normal { mean, deviation } => (mean + deviation * normal(rng)).max(0.0),
            Self::Exponential { mean } => -mean * ln(unit(rng)),
            Self::LogNormal { median, sigma } => median * exp(sigma * normal(rng)),
            Self::BoundedPareto { shape, low, high } => {
                let cut = pow(low / high, shape);
                low * pow(1.0 - (1.0 - unit(rng)) * (1.0 - cut), -1.0 / shape)
            }
        }
    }

    /// The mean: what loads are reckoned with.
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Constant(seconds) => seconds,
            Self::Normal { mean, deviation } => {
                let z = mean / deviation;
                let density = exp(-z * z / 2.0) / (2.0 * std::f64::consts::PI).sqrt();
                mean * (1.0 + erf(z / std::f64::consts::SQRT_2)) / 2.0 + deviation * density
            }
            Self::Exponential { mean } => mean,
            Self::LogNormal { median, sigma } => median * exp(sigma * sigma / 2.0),
            Self::BoundedPareto { shape, low, high } => {
                let scale = pow(low, shape) / (1.0 - pow(low / high, shape));
                scale * shape / (shape - 1.0) * (pow(low, 1.0 - shape) - pow(high, 1.0 - shape))
            }
        }
    }
}

/// Standard normal (Marsaglia's polar method).
fn normal(rng: &mut impl Rng) -> f64 {
    loop {
        let (x, y) = (between(-1.0, 1.0, rng), between(-1.0, 1.0, rng));
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * ln(square) / square).sqrt();
        }
    }
}

/// The error function (Abramowitz and Stegun, 7.1.26), to 1.5·10⁻⁷.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let series = poly.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    (1.0 - series * exp(-x * x)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_law_has_the_mean_that_it_says() {
        let laws = [
            Law::Constant(0.04),
            Law::Normal { mean: 0.1, deviation: 0.1 },
            Law::Exponential { mean: 0.04 },
            Law::LogNormal { median: 0.167, sigma: 0.5 },
            Law::BoundedPareto { shape: 1.5, low: 1.0, high: 100.0 },
        ];
        for law in laws {
            let mut rng = stream(7, Purpose::Work, 0);
            let (mut sum, mut squares, count) = (0.0, 0.0, 400_000);
            for _ in 0..count {
                let draw = law.draw(&mut rng);
                sum += draw;
                squares += draw * draw;
            }
            let mean = sum / f64::from(count);
            let error = ((squares / f64::from(count) - mean * mean).max(0.0) / f64::from(count)).sqrt();
            assert!((mean - law.mean()).abs() <= 4.0 * error + 1e-9, "{law:?}: {mean} ± {error}, says {}", law.mean());
        }
    }

    #[test]
    fn a_bounded_pareto_keeps_its_bounds_and_its_tail() {
        let law = Law::BoundedPareto { shape: 1.1, low: 1.0, high: 1e4 };
        let mut rng = stream(3, Purpose::Work, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| law.draw(&mut rng)).collect();
        assert!(draws.iter().all(|draw| (1.0..=1e4 * 1.000_001).contains(draw)));
        // P(X > 10) = (10^-1.1 − 10^-4.4)/(1 − 10^-4.4) = 0.0794.
        let above = draws.iter().filter(|&&draw| draw > 10.0).count();
        assert!((7_600..8_280).contains(&above), "{above}");
    }
}
