//! How much each member says: a flood is told of, with a name to it.
//!
//! Nothing is refused by this count, for it goes by the clock, and members whose views differ by their clocks would go
//! apart. What bounds a flood is the same for all: in a full chat whoever takes up the most makes room, of what
//! people say of themselves the last word is kept, and commits go by turns (`MAX_STREAK`).

use std::{collections::BTreeMap, time::Duration};

use crate::identity::MemberId;

/// Over how long messages are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// How many of one member in that time are a flood: five a second, for ten seconds.
const MANY: u32 = 50;

/// Who has said how much. Members only, and so bounded by the room.
#[derive(Default)]
pub(super) struct Floods {
    windows: BTreeMap<MemberId, Window>,
}

struct Window {
    since: Duration,
    count: u32,
}

impl Floods {
    /// Counts a message of `member`; at the end of a window that was a flood, how many came a second.
    pub(super) fn count(&mut self, member: MemberId, now: Duration) -> Option<u32> {
        let window = self.windows.entry(member).or_insert(Window { since: now, count: 0 });
        let passed = now.saturating_sub(window.since);
        if passed < WINDOW && window.since <= now {
            window.count = window.count.saturating_add(1);
            return None;
        }
        let count = std::mem::replace(window, Window { since: now, count: 1 }).count;
        let seconds = u32::try_from(passed.as_secs()).unwrap_or(u32::MAX).max(1);
        (count >= MANY).then_some(count / seconds)
    }

    /// Forgets who is out of the room.
    pub(super) fn forget(&mut self, member: &MemberId) {
        self.windows.remove(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: MemberId = MemberId::from_bytes([1; 32]);

    fn told(per_second: u32, seconds: u32) -> Vec<u32> {
        let mut floods = Floods::default();
        let times = (0..per_second * seconds).map(|n| Duration::from_secs(n.into()) / per_second);
        times.filter_map(|now| floods.count(ANA, now)).collect()
    }

    #[test]
    fn a_flood_is_told_of_every_ten_seconds_and_talk_is_not() {
        assert_eq!(told(1_000, 35), [1_000; 3]);
        assert!(told(4, 60).is_empty());
    }

    #[test]
    fn a_clock_that_goes_back_begins_anew() {
        let mut floods = Floods::default();
        assert!((0..1_000).all(|_| floods.count(ANA, Duration::from_secs(100)).is_none()));
        assert_eq!(floods.count(ANA, Duration::from_secs(50)), Some(1_000));
        assert_eq!(floods.count(ANA, Duration::from_secs(61)), None);
    }
}
