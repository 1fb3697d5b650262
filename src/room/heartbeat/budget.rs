//! How many signatures of signals are verified: what is over it is dropped unread, so that no flood costs more.

use std::time::Duration;

use crate::room::failures::Spent;

/// A second's worth of signatures, refilled as time goes by.
#[derive(Debug, Default)]
pub(super) struct Budget(Spent);

impl Budget {
    /// Signatures a second: 200 of 47 µs are a hundredth of a core.
    pub(super) const A_SECOND: u64 = 200;

    /// Takes one at `now`, if there is any; who `hurries` has ten times as many.
    pub(super) fn take(&mut self, now: Duration, hurries: bool) -> bool {
        let a_second = if hurries { 10 * Self::A_SECOND } else { Self::A_SECOND };
        let fits = self.0.allows(a_second, now);
        if fits {
            // Who is refused leaves the account as it is: what comes back in less than a microsecond adds up.
            self.0.spend(a_second, now);
        }
        fits
    }

    pub(super) fn set_back(&mut self, by: Duration) {
        self.0.set_back(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_seconds_worth_at_once_and_then_so_many_a_second() {
        let mut budget = Budget::default();
        let mut taken = 0;
        for ms in 0..10_000 {
            taken += (0..10).filter(|_| budget.take(Duration::from_millis(ms), false)).count();
        }
        assert!((2_190..=2_200).contains(&taken), "{taken}");
        // As much, however often it is asked for.
        let (mut budget, mut taken) = (Budget::default(), 0);
        for step in 0..1_000_000 {
            taken += usize::from(budget.take(Duration::from_micros(step * 10), false));
        }
        assert!((2_190..=2_200).contains(&taken), "{taken}");
        let mut hurried = Budget::default();
        let at_once = (0..10_000).filter(|_| hurried.take(Duration::from_secs(1), true)).count() as u64;
        assert_eq!(at_once, 10 * Budget::A_SECOND);
    }
}
