//! Peak-EWMA as Finagle and Linkerd have it: rises to a slower answer at once, decays over 10 s, 30 ms before the first answer. As
//! there, each reading ages the estimate in place, so that between rare peaks it is a maximum that fades. FROZEN, see the parent.

use std::cell::Cell;

use crate::events::Nanos;
use crate::maths::exp;

const DECAY: f64 = 10e9;
const BEFORE_FIRST: f64 = 30e6;

#[derive(Debug, Clone)]
pub(super) struct PeakEwma {
    nanos: Cell<f64>,
    at: Cell<Nanos>,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { nanos: Cell::new(BEFORE_FIRST), at: Cell::new(0) }
    }
}

impl PeakEwma {
    pub(super) fn observe(&self, took: Nanos, now: Nanos) {
        let (took, old) = (took as f64, self.nanos.get());
        let kept = exp(-((now - self.at.replace(now)) as f64) / DECAY);
        self.nanos.set(if took > old { took } else { old * kept + took * (1.0 - kept) });
    }

    pub(super) fn cost(&self, in_flight: u32, now: Nanos) -> f64 {
        if now > self.at.get() {
            self.observe(0, now);
        }
        self.nanos.get() * (f64::from(in_flight) + 1.0)
    }
}
