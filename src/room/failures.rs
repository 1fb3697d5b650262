//! How many messages that do not authenticate are looked at: what finding that out costs is bounded, however many come.
//!
//! Only failures are counted, so that what members say truly is never held back by how much of it there is. In a moment
//! that has seen too many failures nothing more is looked at, true or not: nothing has changed by what is passed over so,
//! and it is taken when it is given to the room again.

use std::time::Duration;

use crate::error::{Error, Result};

/// What was spent, which comes back as time goes by.
#[derive(Debug, Default)]
pub(super) struct Failures {
    near: Spent,
    far: Spent,
}

impl Failures {
    /// Failures a second of what costs one verification of a signature, 40 µs, and little else.
    pub(super) const A_SECOND: u64 = 1_100;

    /// Failures a second of commits that say that they are far ahead: each costs the steps of a ratchet, too. They have an
    /// account of their own, for nobody who commits and is heard is far ahead.
    pub(super) const FAR_A_SECOND: u64 = 100;

    /// Whether another message may be looked at.
    ///
    /// # Errors
    /// [`Error::Unusable`] if not.
    pub(super) fn allow(&self, now: Duration) -> Result<()> {
        let why = "so many came in this moment that do not authenticate that it was passed over, unread: nothing has \
                   changed; give it to the room again in some milliseconds";
        if self.near.allows(Self::A_SECOND, now) { Ok(()) } else { Err(Error::Unusable { what: "message", why }) }
    }

    /// The same of one that says that it is far ahead.
    ///
    /// # Errors
    /// [`Error::Unusable`] if not.
    pub(super) fn allow_far(&self, now: Duration) -> Result<()> {
        let why = "it says that it is far ahead of its sender, and so many such came in this moment that it was passed \
                   over, unread: if the room goes on without you, fetch it from the relay again";
        if self.far.allows(Self::FAR_A_SECOND, now) { Ok(()) } else { Err(Error::Unusable { what: "commit", why }) }
    }

    /// One did not authenticate.
    pub(super) fn spend(&mut self, now: Duration) {
        self.near.spend(Self::A_SECOND, now);
    }

    /// One that said that it was far ahead did not authenticate.
    pub(super) fn spend_far(&mut self, now: Duration) {
        self.far.spend(Self::FAR_A_SECOND, now);
    }
}

/// One account, in thousandths of a thing as of a time.
#[derive(Debug, Default)]
pub(super) struct Spent {
    spent: u64,
    at: Duration,
}

impl Spent {
    /// Whether there is one left at `now`, of so many a second.
    pub(super) fn allows(&self, a_second: u64, now: Duration) -> bool {
        self.by(a_second, now) <= (a_second - 1) * 1_000
    }

    /// Takes one.
    pub(super) fn spend(&mut self, a_second: u64, now: Duration) {
        *self = Self { spent: self.by(a_second, now).saturating_add(1_000).min(a_second * 1_000), at: now };
    }

    /// The clock was put back.
    pub(super) fn set_back(&mut self, by: Duration) {
        self.at = self.at.saturating_sub(by);
    }

    /// A clock that was put back gives nothing, and begins anew.
    fn by(&self, a_second: u64, now: Duration) -> u64 {
        let passed = u64::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(u64::MAX);
        self.spent.saturating_sub(passed.saturating_mul(a_second) / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_is_there_at_once_and_then_so_many_a_second() {
        let mut failures = Failures::default();
        let (mut near, mut far) = (0, 0);
        for ms in 0..10_000 {
            let now = Duration::from_millis(ms);
            for _ in 0..5 {
                if failures.allow(now).is_ok() {
                    failures.spend(now);
                    near += 1;
                }
                if failures.allow_far(now).is_ok() {
                    failures.spend_far(now);
                    far += 1;
                }
            }
        }
        assert!((11 * Failures::A_SECOND - 10..=11 * Failures::A_SECOND).contains(&near), "{near}");
        assert!((11 * Failures::FAR_A_SECOND - 10..=11 * Failures::FAR_A_SECOND).contains(&far), "{far}");
    }

    #[test]
    fn what_was_spent_comes_back_however_often_more_comes() {
        let mut failures = Failures::default();
        let mut near = 0;
        for step in 0..100_000 {
            let now = Duration::from_micros(step * 100);
            if failures.allow(now).is_ok() {
                failures.spend(now);
                near += 1;
            }
        }
        assert!((11 * Failures::A_SECOND - 10..=11 * Failures::A_SECOND).contains(&near), "{near}");
    }

    #[test]
    fn a_clock_that_goes_back_stops_nothing_for_longer_than_a_moment() {
        let mut failures = Failures::default();
        (0..5_000).for_each(|_| failures.spend(Duration::from_secs(100)));
        assert!(failures.allow(Duration::from_secs(100)).is_err());
        failures.spend(Duration::from_secs(50));
        assert!(failures.allow(Duration::from_millis(50_004)).is_ok());
    }
}
