//! Slow start (FEATURES A24): an endpoint that became ready a moment ago takes a growing part of its weight. Pure arithmetic; who
//! is new says the endpoint's clock, whether all are the pool's standing. (Envoy takes max(least, t ÷ window) instead of a line from the least.)
//! Turns, random picks and bounds go by that weight; where endpoints are compared, the part is the chance to be compared (`draw`).

use std::time::Duration;

/// How a new endpoint's weight grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// From ready to full weight.
    pub window: Duration,
    /// Where it begins, percent of the weight, 1–100.
    pub min_weight_percent: u8,
}

impl SlowStart {
    pub(crate) fn window_nanos(&self) -> u64 {
        u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX >> 8)
    }

    /// The part of its weight that an endpoint of this age has, in hundredths of a percent: linear from the least to 10,000.
    pub(crate) fn part(&self, age: u64) -> u32 {
        let window = self.window_nanos().max(1);
        let least = u64::from(self.min_weight_percent.clamp(1, 100)) * 100;
        if age >= window {
            return 10_000;
        }
        let grown = (u128::from(10_000 - least) * u128::from(age) / u128::from(window)) as u64;
        (least + grown) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_grows_in_a_line() {
        let slow = SlowStart { window: Duration::from_secs(10), min_weight_percent: 10 };
        let at = |seconds: f64| slow.part((seconds * 1e9) as u64);
        assert_eq!([at(0.0), at(5.0), at(9.0), at(10.0), at(99.0)], [1_000, 5_500, 9_100, 10_000, 10_000]);
    }

    #[test]
    fn an_empty_window_is_off() {
        let slow = SlowStart { window: Duration::ZERO, min_weight_percent: 10 };
        assert_eq!(slow.part(1), 10_000);
    }
}
