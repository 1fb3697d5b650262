//! How long frames are under way, and how deep a buffer that calls for.
//!
//! A frame's *transit* is its arrival on our clock less its media time on the speaker's: the true delay plus an
//! unknown constant. The constant falls out against the *base*, the smallest transit of the last eight seconds;
//! what is left is the frame's *lateness*. The base follows two clocks that drift apart.
//!
//! Frames that arrive at one moment were held up by one thing, and count as one.

use std::time::Duration;

use super::{FRAME, Micros};

/// Arrivals remembered: eight seconds of frames that come one by one.
const WINDOW: usize = 400;

/// Frames so close to each other arrive at one moment.
const MOMENT: Micros = 2_000;

/// One arrival in so many may come too late for the depth that is aimed at.
const LATE_IN: usize = 100;

/// With fewer arrivals than this seen, the depth aimed at is at least [`CAUTIOUS`].
const FEW: usize = 50;

/// The least depth aimed at while little is known of the network.
const CAUTIOUS: Micros = 60_000;

/// The transits of the arrivals of the last eight seconds.
#[derive(Debug)]
pub(super) struct Transits {
    /// The least and the greatest of each arrival.
    seen: [(Micros, Micros); WINDOW],
    len: usize,
    at: usize,
    /// When the last frame arrived.
    last: Option<Micros>,
    base: Option<Micros>,
    /// The lateness that all but one arrival in [`LATE_IN`] keep within.
    spread: Micros,
}

impl Transits {
    pub(super) const fn new() -> Self {
        Self { seen: [(0, 0); WINDOW], len: 0, at: 0, last: None, base: None, spread: 0 }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Takes in the transit of a frame that arrived at `now`. Arrivals so late that no allowed depth would have
    /// saved them do not count for the spread: what a key held up for a second must not make the room slow.
    pub(super) fn push(&mut self, transit: Micros, now: Micros, deepest: Micros) {
        let same = self.last.is_some_and(|last| (now - last).abs() <= MOMENT);
        self.last = Some(now);
        if !same || self.len == 0 {
            self.at = (self.at + 1) % WINDOW;
            self.len = (self.len + 1).min(WINDOW);
        }
        if let Some((least, most)) = self.seen.get_mut(self.at) {
            (*least, *most) = if same { (transit.min(*least), transit.max(*most)) } else { (transit, transit) };
        }

        // The ring fills from its second place on, so the first is the last to be taken in.
        let seen = || self.seen.iter().cycle().skip(1).take(self.len);
        let base = seen().map(|(least, _)| *least).min().unwrap_or(transit);
        let mut sorted = [0; WINDOW];
        let mut within = 0_usize;
        for (place, most) in sorted.iter_mut().zip(seen().map(|(_, most)| *most).filter(|most| most - base <= deepest))
        {
            *place = most;
            within += 1;
        }
        let Some(rank) = within.checked_sub(1 + within / LATE_IN) else {
            (self.base, self.spread) = (Some(base), 0);
            return;
        };
        let within = sorted.get_mut(..within).unwrap_or_default();
        let (_, high, _) = within.select_nth_unstable(rank);
        self.spread = *high - base;
        self.base = Some(base);
    }

    /// The smallest transit of late.
    pub(super) const fn base(&self) -> Option<Micros> {
        self.base
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
}
