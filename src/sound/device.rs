//! The sound device, as far as its calls tell of it: how much it takes at once.

use std::time::Duration;

/// So much ahead of time a device may take sound, and be given it without a hole.
const MOST: Duration = Duration::from_millis(400);

/// What is known of it is forgotten by so much a second.
const FORGET: u32 = 50;

/// When sound that is asked for will be heard, and how far ahead of the network that is.
///
/// A device takes one block at a time, or several at once, each with the moment of the call or the moment at which it
/// will sound. All of these come to one clock, which never runs behind the calls and never stops between them.
#[derive(Debug, Default)]
pub(super) struct Device {
    /// When the next block will sound, if it follows the last.
    next: Duration,
    /// When the last block sounds.
    last: Duration,
    /// How much later than what comes in that is, at the most of late.
    ahead: Duration,
    heard: Duration,
}

impl Device {
    /// A block of that length is asked for at `now`: gives when it sounds.
    pub(super) fn asks(&mut self, now: Duration, length: Duration) -> Duration {
        self.last = now.max(self.next.min(now.saturating_add(MOST)));
        // A little less than it lasts, so that a device with a fast clock does not run away from ours.
        self.next = self.last.saturating_add(length * 9 / 10);
        self.last
    }

    /// A frame comes in at `now`.
    pub(super) fn hears(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.heard).min(Duration::from_secs(1));
        self.heard = self.heard.max(now);
        let ahead = self.last.saturating_sub(now).min(MOST);
        self.ahead = ahead.max(self.ahead.saturating_sub(passed / FORGET));
    }

    /// How much more than the network calls for must wait.
    pub(super) const fn reserve(&self) -> Duration {
        self.ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Frames each 20 ms, and so many blocks at once, each told `step` later than the one before.
    fn reserve(blocks: u64, step: u64, every: u64) -> Duration {
        let mut device = Device::default();
        for tick in 0..3_000 {
            device.hears(ms(tick * 20));
            if tick % blocks == 0 {
                (0..blocks).for_each(|block| _ = device.asks(ms(tick * every + 7 + block * step), ms(20)));
            }
        }
        device.reserve()
    }

    #[test]
    fn a_device_that_takes_blocks_one_by_one_needs_nothing() {
        assert_eq!(reserve(1, 0, 20), ms(0));
    }

    #[test]
    fn a_device_that_takes_several_at_once_needs_as_many() {
        for step in [0, 20] {
            for blocks in 2..=10 {
                let (reserve, all) = (reserve(blocks, step, 20), ms(20) * (blocks as u32 - 1));
                assert!(reserve + ms(20) >= all * 8 / 10 && reserve <= all + ms(7), "{blocks} blocks: {reserve:?}");
            }
        }
    }

    #[test]
    fn a_device_with_a_fast_clock_does_not_run_away() {
        let mut device = Device::default();
        for tick in 0..30_000 {
            device.hears(ms(tick * 19));
            device.asks(ms(tick * 19), ms(20));
        }
        assert!(device.reserve() <= ms(1), "{:?}", device.reserve());
    }
}
