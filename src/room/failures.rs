//! How many messages that do not authenticate are looked at: what finding that out costs is bounded, however many come.
//!
//! Only failures are counted, so that what members say truly is never held back by how much of it there is. In a second
//! that has seen too many failures nothing more is looked at, true or not: nothing has changed by what is refused
//! so, and it is taken when it is given again.

use std::time::Duration;

/// Why nothing more is looked at.
pub(super) const TOO_MANY_FAILURES: &str =
    "so many came this second that do not authenticate that no more are looked at: give it to the room again a second later";

/// A second's worth of failures, which comes back as time goes by.
#[derive(Debug)]
pub(super) struct Failures {
    /// In thousandths of a failure, as of `at`.
    left: u64,
    at: Duration,
}

impl Failures {
    /// Failures a second, each of which may cost the verification of a signature.
    pub(super) const A_SECOND: u64 = 1_000;

    const FULL: u64 = Self::A_SECOND * 1_000;

    /// Whether another message may be looked at.
    pub(super) fn allow(&self, now: Duration) -> bool {
        self.by(now) >= 1_000
    }

    /// One did not authenticate.
    pub(super) fn spend(&mut self, now: Duration) {
        *self = Self { left: self.by(now).saturating_sub(1_000), at: now };
    }

    /// A clock that was put back gives nothing, and begins anew.
    fn by(&self, now: Duration) -> u64 {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        self.left.saturating_add(passed.saturating_mul(Self::A_SECOND)).min(Self::FULL)
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self { left: Self::FULL, at: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_is_there_at_once_and_then_so_many_a_second() {
        let mut failures = Failures::default();
        let mut looked_at = 0;
        for ms in 0..10_000 {
            for _ in 0..3 {
                if failures.allow(Duration::from_millis(ms)) {
                    failures.spend(Duration::from_millis(ms));
                    looked_at += 1;
                }
            }
        }
        assert_eq!(looked_at, 11 * Failures::A_SECOND - 1);
        assert!(Failures::default().allow(Duration::ZERO));
    }

    #[test]
    fn a_clock_that_goes_back_stops_nothing_for_longer_than_a_second() {
        let mut failures = Failures::default();
        (0..2 * Failures::A_SECOND).for_each(|_| failures.spend(Duration::from_secs(100)));
        assert!(!failures.allow(Duration::from_secs(100)));
        failures.spend(Duration::from_secs(50));
        assert!(failures.allow(Duration::from_millis(50_002)));
    }
}
