//! Waiting for a condition: polls until a deadline, and a failure says what was last seen.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// What one look showed.
pub enum Look<T> {
    /// The condition holds.
    Is(T),
    /// Not yet; what was seen instead.
    Not(String),
}

impl<T> Look<T> {
    /// Holds with a value, or not yet because of what was seen.
    pub fn from(held: Option<T>, seen: impl FnOnce() -> String) -> Self {
        held.map_or_else(|| Self::Not(seen()), Self::Is)
    }
}

/// Polls every 50 ms until the condition holds. An error of a look counts as not yet: servers may be starting.
pub fn until<T>(what: &str, limit: Duration, look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    every(Duration::from_millis(50), what, limit, look)
}

/// Polls at this pace until the condition holds.
pub fn every<T>(pace: Duration, what: &str, limit: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = match look() {
            Ok(Look::Is(value)) => return Ok(value),
            Ok(Look::Not(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("{what}: not within {limit:?}; last seen: {seen}");
        }
        std::thread::sleep(pace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_says_what_was_last_seen() {
        let mut looks = 0;
        let outcome = every(Duration::from_millis(1), "four", Duration::from_millis(20), || {
            looks += 1;
            Ok(Look::<()>::Not(format!("look {looks}")))
        });
        let error = outcome.expect_err("never").to_string();
        assert!(error.starts_with("four: not within 20ms") && error.ends_with(&format!("look {looks}")), "{error}");
    }
}
