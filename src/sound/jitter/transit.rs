//! How late frames are, and how deep a buffer that calls for.
//!
//! A frame's *transit* is its arrival on our clock less its position on the speaker's: the true delay plus an unknown
//! constant. The constant falls out against the *base*, the transit of the fastest; what is left is the frame's
//! *lateness*. The base falls at once. It rises when all frames of the last [`RECENT`] arrivals come later than it:
//! then it is no jitter but the speaker's clock, which stood still in a pause or runs slowly, or a longer way.
//!
//! Frames that arrive at one moment were held up by one thing, and count as one.

use std::time::Duration;

use super::{FRAME, Micros};

/// Arrivals remembered: eight seconds of frames that come one by one.
const WINDOW: usize = 400;

/// Arrivals that lift the base, if all of them come later than it.
const RECENT: usize = 8;

/// A base is lifted by no less than this.
const LIFT: Micros = 10_000;

/// In so many arrivals the spread is measured once.
const EVERY: usize = 16;

/// Frames so close to each other arrive at one moment.
const MOMENT: Micros = 2_000;

/// One arrival in so many may come too late for the depth that is aimed at.
const LATE_IN: usize = 100;

/// With fewer arrivals than this seen, the depth aimed at is at least [`CAUTIOUS`].
const FEW: usize = 50;

/// The least depth aimed at while little is known of the network.
const CAUTIOUS: Micros = 60_000;

/// What the arrivals of the last eight seconds say.
#[derive(Debug)]
pub(super) struct Transits {
    /// The lateness of each arrival.
    late: [Micros; WINDOW],
    len: usize,
    at: usize,
    /// The least and the greatest transit of each of the last arrivals, by its place in `late`.
    recent: [(Micros, Micros); RECENT],
    /// When the last frame arrived.
    last: Option<Micros>,
    base: Option<Micros>,
    /// The lateness that all but one arrival in [`LATE_IN`] keep within.
    spread: Micros,
}

impl Transits {
    pub(super) const fn new() -> Self {
        Self { late: [0; WINDOW], len: 0, at: 0, recent: [(0, 0); RECENT], last: None, base: None, spread: 0 }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Takes in the transit of a frame that arrived at `now`. Arrivals so late that no allowed depth would have
    /// saved them do not count for the spread: what a key held up for a second must not make the room slow.
    pub(super) fn push(&mut self, transit: Micros, now: Micros, deepest: Micros) {
        let same = self.last.is_some_and(|last| (now - last).abs() <= MOMENT) && self.len > 0;
        self.last = Some(now);
        if !same {
            self.at = (self.at + 1) % WINDOW;
            self.len = (self.len + 1).min(WINDOW);
        }
        let base = self.base.map_or(transit, |base| base.min(transit));
        self.base = Some(base);
        let Some(recent) = self.recent.get_mut(self.at % RECENT) else { return };
        *recent = if same { (transit.min(recent.0), transit.max(recent.1)) } else { (transit, transit) };
        let late = recent.1 - base;
        self.set_late(0, late);
        // A frame that is later than nearly all counts at once, one that is not with the others.
        if self.lift(base) || late > self.spread || self.at.is_multiple_of(EVERY) {
            self.measure(deepest);
        }
    }

    /// Lifts the base to the fastest of the last arrivals, if that is well above it, and judges these by it.
    fn lift(&mut self, base: Micros) -> bool {
        let fastest = self.recent.iter().map(|(least, _)| *least).min().unwrap_or(base);
        if self.len < RECENT || fastest - base <= LIFT.max(self.spread / 2) {
            return false;
        }
        self.base = Some(fastest);
        for back in 0..RECENT {
            let most = self.recent.get((self.at + WINDOW - back) % RECENT).map_or(fastest, |(_, most)| *most);
            self.set_late(back, most - fastest);
        }
        true
    }

    fn set_late(&mut self, back: usize, late: Micros) {
        if let Some(place) = self.late.get_mut((self.at + WINDOW - back) % WINDOW) {
            *place = late;
        }
    }

    fn measure(&mut self, deepest: Micros) {
        // The ring fills from its second place on, so the first is the last to be taken in.
        let late = self.late.iter().cycle().skip(1).take(self.len).filter(|late| **late <= deepest);
        let mut sorted = [0; WINDOW];
        let mut within = 0_usize;
        for (place, late) in sorted.iter_mut().zip(late) {
            *place = *late;
            within += 1;
        }
        let Some(rank) = within.checked_sub(1 + within / LATE_IN) else {
            self.spread = 0;
            return;
        };
        let within = sorted.get_mut(..within).unwrap_or_default();
        let (_, high, _) = within.select_nth_unstable(rank);
        self.spread = *high;
    }

    /// The transit of the fastest.
    pub(super) const fn base(&self) -> Option<Micros> {
        self.base
    }

    /// The lateness that nearly all arrivals keep within.
    pub(super) const fn spread(&self) -> Micros {
        self.spread
    }

    /// The depth to aim at: what nearly all arrivals keep within, and one frame more, so that the frame after a
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
            let lateness = if i % 100 == 7 { 300_000 } else { (i % 5) * 10_000 };
            transits.push(1_000_000 + lateness, i * FRAME, 400_000);
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
            transits.push(if i % 2 == 0 { 0 } else { 900_000 }, i * FRAME, 400_000);
        }
        assert_eq!(transits.target(0, 400_000), FRAME);
    }

    #[test]
    fn frames_that_come_all_at_once_count_as_one() {
        let mut transits = Transits::new();
        for i in 0..200 {
            transits.push(0, i * FRAME, 400_000);
        }
        for i in 0..15 {
            transits.push(300_000 - i * FRAME, 215 * FRAME, 400_000);
        }
        assert_eq!(transits.base(), Some(0));
        assert_eq!(transits.target(0, 400_000), FRAME);
    }

    #[test]
    fn a_clock_that_stands_still_in_pauses_is_no_jitter() {
        let mut transits = Transits::new();
        let mut shift = 0;
        for i in 0..2_000 {
            // 30 frames and a pause of 80 ms.
            shift += if i % 30 == 0 { 80_000 } else { 0 };
            transits.push(shift, i * FRAME + shift, 400_000);
            assert!(shift - transits.base().unwrap() <= 80_000);
        }
        assert_eq!(transits.target(0, 400_000), FRAME);
    }

    #[test]
    fn jitter_lifts_no_base() {
        let mut transits = Transits::new();
        let mut at = 1_u64;
        for i in 0..2_000 {
            // 0 to 100 ms, evenly.
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            transits.push((at >> 33) as Micros % 100_000, i * FRAME, 400_000);
        }
        assert!(transits.base().unwrap() < 60_000, "{transits:?}");
        assert!(transits.target(0, 400_000) >= 100_000, "{}", transits.target(0, 400_000));
    }
}
