//! How long frames are under way, and how deep a buffer that calls for.
//!
//! A frame's *transit* is its arrival on our clock less its media time on the speaker's: the true delay plus an
//! unknown constant. The constant falls out against the *base*, the smallest transit of the last eight seconds;
//! what is left is the frame's *lateness*. The base follows two clocks that drift apart.

use std::time::Duration;

use super::{FRAME, Micros};

/// Frames remembered: eight seconds.
const WINDOW: usize = 400;

/// One frame in so many may come too late for the depth that is aimed at.
const LATE_IN: usize = 100;

/// With fewer frames than this seen, the depth aimed at is at least [`CAUTIOUS`].
const FEW: usize = 50;

/// The least depth aimed at while little is known of the network.
const CAUTIOUS: Micros = 60_000;

/// The transits of the frames of the last eight seconds.
#[derive(Debug)]
pub(super) struct Transits {
    seen: [Micros; WINDOW],
    len: usize,
    at: usize,
    base: Option<Micros>,
    /// The lateness that all but one frame in [`LATE_IN`] keep within.
    spread: Micros,
}

impl Transits {
    pub(super) const fn new() -> Self {
        Self { seen: [0; WINDOW], len: 0, at: 0, base: None, spread: 0 }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Takes in a frame's transit. One so late that no allowed depth would have saved it moves nothing: a burst
    /// that a key held up for a second must not make the room slow for eight.
    pub(super) fn push(&mut self, transit: Micros, deepest: Micros) {
        if self.base.is_some_and(|base| transit - base > deepest) {
            return;
        }
        if let Some(place) = self.seen.get_mut(self.at) {
            *place = transit;
        }
        self.at = (self.at + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);

        let mut sorted = self.seen;
        let seen = sorted.get_mut(..self.len).unwrap_or_default();
        let rank = (self.len - 1) - self.len / LATE_IN;
        let (before, high, _) = seen.select_nth_unstable(rank);
        let base = before.iter().copied().min().unwrap_or(*high).min(*high);
        self.spread = *high - base;
        self.base = Some(base);
    }

    /// The smallest transit of late.
    pub(super) const fn base(&self) -> Option<Micros> {
        self.base
    }

    /// The depth to aim at: what nearly all frames keep within, and one frame more, so that the frame after a
    /// lost one is usually there to restore it from.
    pub(super) fn target(&self, least: Micros, most: Micros) -> Micros {
        let cautious = if self.len < FEW { CAUTIOUS } else { 0 };
        (self.spread + FRAME).max(cautious).clamp(least, most)
    }
}

/// Microseconds, as a signed number that differences of cannot overflow.
pub(super) fn micros(time: Duration) -> Micros {
    const LIMIT: Micros = 1 << 60;
    Micros::try_from(time.as_micros()).unwrap_or(LIMIT).min(LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_leaves_one_frame_in_a_hundred_behind() {
        let mut transits = Transits::new();
        for i in 0..400 {
            transits.push(1_000_000 + if i % 100 == 7 { 300_000 } else { (i % 5) * 10_000 }, 400_000);
        }
        assert_eq!(transits.base(), Some(1_000_000));
        assert_eq!(transits.target(0, 400_000), 40_000 + FRAME);
        assert_eq!(transits.target(80_000, 400_000), 80_000);
        assert_eq!(transits.target(0, 50_000), 50_000);
    }

    #[test]
    fn a_frame_beyond_all_saving_does_not_make_the_room_slow() {
        let mut transits = Transits::new();
        for i in 0..100 {
            transits.push(if i % 2 == 0 { 0 } else { 900_000 }, 400_000);
        }
        assert_eq!(transits.target(0, 400_000), FRAME);
    }
}
