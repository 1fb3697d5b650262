//! The replay window of one sender in one epoch (after RFC 6479): which counters were opened.
//!
//! Invariant: a counter is fresh at most once. The check is apart from the mark, because only a packet whose tag
//! has verified may mark: an attacker who could mark unauthenticated counters could silence anybody.

/// How many words of 64 counters the window has. One of them is always being filled.
const WORDS: u64 = 8;

/// How far behind the newest a counter may be and still be told from a replay: nine seconds of 20 ms frames.
pub(crate) const WIDTH: u64 = (WORDS - 1) * 64;

/// Which counters were seen, down to [`WIDTH`] behind the newest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// One more than the newest counter seen; zero while there is none.
    next: u64,
    /// Bit `counter % 64` of word `counter / 64 % WORDS`.
    seen: [u64; WORDS as usize],
}

/// Why a counter is not fresh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stale {
    /// It was seen.
    Seen,
    /// It lies so far behind the newest that nobody can say.
    TooOld,
}

impl Window {
    /// Whether `counter` may still be opened. Changes nothing.
    #[inline]
    pub(crate) fn check(&self, counter: u64) -> Result<(), Stale> {
        if counter >= self.next {
            // The last counter of all could never be told from its replay, having no next.
            return if counter < u64::MAX { Ok(()) } else { Err(Stale::Seen) };
        }
        if self.next - counter > WIDTH {
            return Err(Stale::TooOld);
        }
        match self.seen.get(word(counter)) {
            Some(word) if word & bit(counter) == 0 => Ok(()),
            _ => Err(Stale::Seen),
        }
    }

    /// Marks a counter that [`check`](Self::check) let pass and whose packet has verified.
    #[inline]
    pub(crate) fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            self.advance(counter);
        }
        if let Some(word) = self.seen.get_mut(word(counter)) {
            *word |= bit(counter);
        }
    }

    /// Everything in it: for a digest, and for [`from_words`](Self::from_words).
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.next).chain(self.seen)
    }

    /// Bytes of a window that is written as its [`words`](Self::words).
    pub(crate) const SAVED: usize = (1 + WORDS as usize) * 8;

    /// The window that [`words`](Self::words) told.
    pub(crate) fn from_words<E>(mut next: impl FnMut() -> Result<u64, E>) -> Result<Self, E> {
        let mut window = Self { next: next()?, ..Self::default() };
        for word in &mut window.seen {
            *word = next()?;
        }
        Ok(window)
    }

    /// Makes `counter` the newest and empties the words it moves into.
    #[inline]
    fn advance(&mut self, counter: u64) {
        // The word of the newest counter seen; before the first there is none, and word 0 is empty anyway.
        let (from, to) = (self.next.saturating_sub(1) / 64, counter / 64);
        for step in 1..=(to - from).min(WORDS) {
            if let Some(word) = self.seen.get_mut(((from + step) % WORDS) as usize) {
                *word = 0;
            }
        }
        self.next = counter.saturating_add(1);
    }
}

#[inline]
const fn word(counter: u64) -> usize {
    (counter / 64 % WORDS) as usize
}

#[inline]
const fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    /// The same promise, kept the slow way.
    #[derive(Default)]
    struct Model {
        seen: HashSet<u64>,
        next: u64,
    }

    impl Model {
        fn check(&self, counter: u64) -> Result<(), Stale> {
            if counter + WIDTH < self.next {
                Err(Stale::TooOld)
            } else if self.seen.contains(&counter) {
                Err(Stale::Seen)
            } else {
                Ok(())
            }
        }

        fn mark(&mut self, counter: u64) {
            self.seen.insert(counter);
            self.next = self.next.max(counter + 1);
        }
    }

    #[test]
    fn the_window_says_what_a_set_of_all_counters_says() {
        for seed in 0..300 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut window, mut model) = (Window::default(), Model::default());
            let mut at = if random.random() { 0 } else { random.random_range(0..1 << 40) };
            for step in 0..2_000 {
                at = match random.random_range(0..100) {
                    0 => at + random.random_range(0..3 * WIDTH),
                    1 => at + random.random_range(0..1 << 33),
                    _ => at + 1,
                };
                let back = if random.random_range(0..4) == 0 { random.random_range(0..2 * WIDTH) } else { 0 };
                let counter = at.saturating_sub(back);
                assert_eq!(window.check(counter), model.check(counter), "seed {seed}, step {step}, {counter}");
                // Some packets never verify, and must leave no mark.
                if window.check(counter).is_ok() && random.random_range(0..8) != 0 {
                    window.mark(counter);
                    model.mark(counter);
                }
            }
        }
    }

    #[test]
    fn nine_seconds_behind_the_newest_a_frame_is_still_told_from_a_replay() {
        let mut window = Window::default();
        window.mark(1000);
        assert_eq!((window.check(1000 - 447), window.check(1000 - 448)), (Ok(()), Err(Stale::TooOld)));
    }

    #[test]
    fn the_first_counter_may_be_any_but_the_last_of_all() {
        assert_eq!(Window::default().check(u64::MAX), Err(Stale::Seen));
        for first in [0, 1, 63, 64, 511, 512, u64::MAX - 1] {
            let mut window = Window::default();
            assert_eq!(window.check(first), Ok(()));
            let before: Vec<_> = window.words().collect();
            window.mark(first);
            assert_ne!(window.words().collect::<Vec<_>>(), before);
            assert_eq!(window.check(first), Err(Stale::Seen), "{first}");
        }
    }
}
