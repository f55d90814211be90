//! Rise and fall of an active check, pure: results in, transitions out. Who checks, how and when is the prober's business.

/// The verdict on one endpoint: it starts healthy, falls after some failures in a row and rises after some successes in a row.
#[derive(Debug, Clone)]
pub struct Check {
    unhealthy: u32,
    healthy: u32,
    is_healthy: bool,
    /// Results in a row that contradict the verdict.
    against: u32,
}

impl Check {
    /// `unhealthy` failures in a row take out, `healthy` successes in a row bring back; 0 counts as 1.
    pub fn new(unhealthy: u32, healthy: u32) -> Self {
        Self { unhealthy: unhealthy.max(1), healthy: healthy.max(1), is_healthy: true, against: 0 }
    }

    /// Takes one result; the new verdict if this result changed it.
    pub fn observe(&mut self, ok: bool) -> Option<bool> {
        if ok == self.is_healthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if self.is_healthy { self.unhealthy } else { self.healthy };
        if self.against < needed {
            return None;
        }
        self.is_healthy = ok;
        self.against = 0;
        Some(ok)
    }

    /// The verdict.
    pub fn healthy(&self) -> bool {
        self.is_healthy
    }

    /// Other thresholds from now on; verdict and counts stay.
    pub fn set_thresholds(&mut self, unhealthy: u32, healthy: u32) {
        self.unhealthy = unhealthy.max(1);
        self.healthy = healthy.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_and_rises_only_after_a_full_row() {
        let mut check = Check::new(3, 2);
        let results = [false, false, true, false, false, false, true, false, true, true, true];
        let seen: Vec<_> = results.iter().map(|&ok| check.observe(ok)).collect();
        let none = None;
        assert_eq!(seen, [none, none, none, none, none, Some(false), none, none, none, Some(true), none]);
        assert!(check.healthy());
    }

    #[test]
    fn zero_counts_as_one() {
        let mut check = Check::new(0, 0);
        assert_eq!(check.observe(false), Some(false));
        assert_eq!(check.observe(true), Some(true));
    }
}
