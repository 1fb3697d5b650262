//! What became of one speaker's frames of late, so that an ear can say why somebody is not heard.
//!
//! Of all that happens to a frame only the last of each kind is kept, with its time: a few stores a frame, and nothing
//! that a speaker could make grow.

use std::time::Duration;

use super::Arrival;
use crate::heard::Fate;

/// How recent a thing must be to tell how somebody is heard: a second, fifty frames.
pub(super) const RECENT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lately {
    /// A frame was kept.
    kept: Option<Duration>,
    /// A frame was decoded.
    played: Option<Duration>,
    /// A frame was dropped as it came.
    dropped: Option<(Duration, Fate)>,
    /// A frame had its turn, and was not heard.
    unheard: Option<(Duration, Fate)>,
}

impl Lately {
    /// A frame came at `now`.
    pub(super) fn comes(&mut self, arrival: Arrival, now: Duration) {
        match arrival {
            Arrival::Kept => self.kept = Some(now),
            Arrival::Duplicate => self.dropped = Some((now, Fate::Doubled)),
            Arrival::Late => self.dropped = Some((now, Fate::Late)),
            Arrival::Stray => self.dropped = Some((now, Fate::Stray)),
            Arrival::Own => {}
        }
    }

    /// What came at `now` was refused, as `fate`.
    pub(super) fn refuse(&mut self, fate: Fate, now: Duration) {
        self.dropped = Some((now, fate));
    }

    /// So many more frames than before had their turn at `now`; without a decoder some of these were `faint`.
    pub(super) fn turn(&mut self, played: u64, undecodable: u64, faint: u64, decoded: bool, now: Duration) {
        if decoded && played > undecodable {
            self.played = Some(now);
        } else if decoded && undecodable > 0 {
            self.unheard = Some((now, Fate::Undecodable));
        } else if faint > 0 {
            self.unheard = Some((now, Fate::Faint));
        }
    }

    /// What becomes of their frames at `now`: none if nothing came within the last second. Sound was `asked` for last
    /// then.
    pub(super) fn fate(&self, asked: Duration, now: Duration) -> Option<Fate> {
        // Either way: a clock that jumped back must not keep them heard until it has caught up.
        let recent = |at: Duration| now.abs_diff(at) <= RECENT;
        let newest = |of: Option<(Duration, Fate)>| of.filter(|(at, _)| recent(*at)).map(|(_, fate)| fate);
        let (kept, dropped) = (self.kept.is_some_and(recent), newest(self.dropped));
        if !kept && dropped.is_none() {
            return None;
        }
        if self.played.is_some_and(recent) {
            return Some(Fate::Played);
        }
        if kept {
            // What is dropped beside frames that are kept keeps nobody from being heard.
            let waits = if recent(asked) { Fate::Played } else { Fate::NotAsked };
            return Some(newest(self.unheard).unwrap_or(waits));
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// What is told at `now`, with sound asked for then.
    fn told(lately: &Lately, now: u64) -> Option<Fate> {
        lately.fate(ms(now), ms(now))
    }

    #[test]
    fn each_thing_is_told_for_a_second_whichever_way_the_clock_jumps() {
        let drops = [
            (Arrival::Duplicate, Some(Fate::Doubled)),
            (Arrival::Late, Some(Fate::Late)),
            (Arrival::Stray, Some(Fate::Stray)),
            (Arrival::Kept, Some(Fate::Played)),
            (Arrival::Own, None),
        ];
        for (arrival, fate) in drops {
            let mut lately = Lately::default();
            lately.comes(arrival, ms(5000));
            assert_eq!([4000, 5000, 6000].map(|now| told(&lately, now)), [fate; 3], "{arrival:?}");
            assert_eq!([3999, 6001].map(|now| told(&lately, now)), [None; 2], "{arrival:?}");
        }
        assert_eq!(told(&Lately::default(), 0), None);
    }

    #[test]
    fn a_frame_that_waits_is_as_good_as_played_while_somebody_asks_for_sound() {
        let mut lately = Lately::default();
        lately.comes(Arrival::Kept, ms(5000));
        assert_eq!(lately.fate(ms(4500), ms(5500)), Some(Fate::Played));
        assert_eq!(lately.fate(ms(4499), ms(5500)), Some(Fate::NotAsked));
        lately.turn(1, 0, 0, true, ms(4500));
        assert_eq!(lately.fate(ms(4499), ms(5500)), Some(Fate::Played), "it was heard within the last second");
    }

    #[test]
    fn what_is_dropped_beside_what_is_kept_is_not_the_reason() {
        let mut lately = Lately::default();
        lately.comes(Arrival::Kept, ms(0));
        lately.comes(Arrival::Duplicate, ms(1000));
        assert_eq!([1000, 1001].map(|now| told(&lately, now)), [Some(Fate::Played), Some(Fate::Doubled)]);
        lately.refuse(Fate::NoVoiceFrame, ms(1500));
        assert_eq!(told(&lately, 1500), Some(Fate::NoVoiceFrame), "the newest of several");
    }

    #[test]
    fn a_turn_is_heard_if_one_frame_of_it_was_decoded() {
        let turns = [
            ((2, 1, 0, true), Fate::Played),
            ((1, 1, 0, true), Fate::Undecodable),
            ((1, 0, 1, false), Fate::Faint),
            // Nothing was to be heard, or nothing had its turn.
            ((1, 0, 0, false), Fate::Played),
            ((0, 0, 0, true), Fate::Played),
        ];
        for ((played, undecodable, faint, decoded), fate) in turns {
            let mut lately = Lately::default();
            lately.comes(Arrival::Kept, ms(600));
            lately.turn(played, undecodable, faint, decoded, ms(500));
            assert_eq!(told(&lately, 1500), Some(fate));
            lately.comes(Arrival::Kept, ms(1501));
            assert_eq!(told(&lately, 1501), Some(Fate::Played), "{fate:?} is over");
        }
    }
}
