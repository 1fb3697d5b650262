//! What one member knows of one host's beats, and when they were made on one's own clock.
//!
//! A relay may keep a beat back and bring it later, so that when it *came* says nothing. What does is a ping: the beat
//! that answers it was made after it went out. From then on the host's own clock tells how much later than that beat
//! another of the same run was made.

use std::{collections::VecDeque, time::Duration};

use super::signal::Beat;

/// How many runs of one host are kept: each restart of their app is one.
const MAX_RUNS: usize = 4;

/// How long one answered ping is good for: two clocks that go differently by one in a hundred are 1.8 s apart by then.
pub(super) const BOUND_FOR: Duration = Duration::from_secs(180);

/// From then on a later answer counts in place of a better one.
const OLD: Duration = Duration::from_secs(120);

/// A beat that would have been made later than this from now shows that a clock has jumped.
const SLACK: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Host {
    /// The last to appear is the last.
    runs: VecDeque<Run>,
    /// When a beat last came that had not come before.
    pub(super) heard: Duration,
    /// The same, of one for an epoch that one has been in.
    pub(super) vouched: Option<Duration>,
    /// It was told that they have fallen silent.
    pub(super) silent: bool,
    /// They are in this later epoch, and since then one has made no progress towards it.
    pub(super) ahead: Option<(u64, Duration)>,
    /// They have seen another history, by their beat.
    pub(super) split: bool,
    /// In which epoch they last were there.
    pub(super) split_in: u64,
    /// And in which run.
    pub(super) split_by: [u8; 8],
    /// The last epoch of which that was told.
    pub(super) split_told: Option<u64>,
}

#[derive(Debug)]
struct Run {
    id: [u8; 8],
    sent: u64,
    epoch: u64,
    transcript: [u8; 32],
    bound: Option<Bound>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    /// One's own clock, at the least, when the host's showed zero: in milliseconds.
    zero: i128,
    /// When the ping went out.
    asked: Duration,
}

/// What a beat told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    /// It is later than all of its run.
    pub(super) is_new: bool,
    /// It is the first of its run.
    pub(super) is_first: bool,
    /// No sooner than this it was made.
    pub(super) made: Option<Duration>,
}

impl Host {
    /// A host of whom nothing has come, and who is waited for since then.
    pub(super) fn awaited(since: Duration) -> Self {
        Self { heard: since, ..Self::default() }
    }

    /// Takes a beat that came at `now` and answers the ping that went out at `asked`.
    pub(super) fn take(&mut self, beat: &Beat, asked: Option<Duration>, now: Duration) -> Taken {
        let place = self.runs.iter().position(|run| run.id == beat.run);
        let (mut run, is_first) = match place.and_then(|place| self.runs.remove(place)) {
            Some(run) => (run, false),
            None => {
                let Beat { run: id, sent, epoch, transcript, .. } = *beat;
                if self.runs.len() >= MAX_RUNS {
                    self.runs.pop_front();
                }
                (Run { id, sent, epoch, transcript, bound: None }, true)
            }
        };
        let is_new = is_first || beat.sent > run.sent;
        if is_new {
            (run.sent, run.epoch, run.transcript) = (beat.sent, beat.epoch, beat.transcript);
        }
        if let Some(asked) = asked {
            let bound = Bound { zero: millis(asked) - i128::from(beat.sent), asked };
            let better = |old: Bound| bound.zero > old.zero || now.saturating_sub(old.asked) > OLD;
            if run.bound.is_none_or(better) {
                run.bound = Some(bound);
            }
        }
        let made = run.made(beat.sent, now);
        // Runs stay in order of appearance, that a replay of an old one does not push out a young one.
        self.runs.insert(place.unwrap_or(self.runs.len()), run);
        if is_new {
            (self.heard, self.silent) = (now, false);
        }
        Taken { is_new, is_first, made }
    }

    /// When, at the least, they were in this epoch, by the last beat of each run.
    pub(super) fn was_in(&mut self, epoch: u64, transcript: &[u8; 32], now: Duration) -> Option<Duration> {
        let there = self.runs.iter_mut().filter(|run| run.epoch == epoch && run.transcript == *transcript);
        there.filter_map(|run| run.made(run.sent, now)).max()
    }

    /// One's own clock has jumped, back if `by` says how far.
    pub(super) fn clock_jumped(&mut self, by: Option<Duration>, now: Duration) {
        if let Some(by) = by {
            self.runs.iter_mut().for_each(|run| run.bound = None);
            self.heard = self.heard.saturating_sub(by);
            self.vouched = self.vouched.map(|at| at.saturating_sub(by));
        }
        self.ahead = self.ahead.map(|(epoch, _)| (epoch, now));
    }
}

impl Run {
    /// When, at the least, the beat was made that says `sent`; none if it was before one's clock began.
    fn made(&mut self, sent: u64, now: Duration) -> Option<Duration> {
        let Bound { zero, asked } = self.bound?;
        let made = zero + i128::from(sent);
        if made > millis(now.saturating_add(SLACK)) || now.saturating_sub(asked) > BOUND_FOR {
            self.bound = None;
            return None;
        }
        u64::try_from(made).ok().map(Duration::from_millis)
    }
}

fn millis(time: Duration) -> i128 {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(run: u8, sent: u64) -> Beat {
        Beat { run: [run; 8], sent, epoch: 1, transcript: [1; 32], answers: Vec::new() }
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_beat_is_as_old_as_the_ping_it_answers_and_others_by_the_hosts_clock() {
        let mut host = Host::default();
        assert_eq!(host.take(&beat(1, 70_000), None, ms(9_000)).made, None, "nobody knows when");
        assert_eq!(host.take(&beat(1, 71_000), Some(ms(9_100)), ms(10_000)).made, Some(ms(9_100)));
        assert_eq!(host.take(&beat(1, 76_000), None, ms(60_000)).made, Some(ms(14_100)), "whenever it comes");
        assert_eq!(host.take(&beat(1, 70_000), None, ms(60_000)).made, Some(ms(8_100)));
        assert_eq!(host.take(&beat(1, 70_000 - 8_100), None, ms(60_000)).made, Some(ms(0)));
        assert_eq!(host.take(&beat(1, 70_000 - 8_101), None, ms(60_000)).made, None, "before one's clock began");
        assert_eq!(host.take(&beat(2, 76_000), None, ms(60_000)).made, None, "another run is another clock");
        // A better answer counts, a worse one does not.
        assert_eq!(host.take(&beat(1, 80_000), Some(ms(19_000)), ms(60_000)).made, Some(ms(19_000)));
        assert_eq!(host.take(&beat(1, 81_000), Some(ms(19_500)), ms(60_000)).made, Some(ms(20_000)));
        // Unless the better one is old.
        assert_eq!(host.take(&beat(1, 160_000), Some(ms(90_000)), ms(139_001)).made, Some(ms(90_000)));
    }

    #[test]
    fn a_clock_that_jumped_gives_no_bound_and_neither_does_an_answer_of_long_ago() {
        let mut host = Host::default();
        host.take(&beat(1, 1_000), Some(ms(1_000)), ms(1_000));
        assert_eq!(host.take(&beat(1, 3_600_000), None, ms(2_000)).made, None);
        assert_eq!(host.take(&beat(1, 2_000), None, ms(2_000)).made, None, "the bound is gone");
        host.take(&beat(1, 2_000), Some(ms(2_000)), ms(2_000));
        assert_eq!(host.take(&beat(1, 3_000), None, ms(1_999)).made, None, "2 ms too far ahead");
        host.take(&beat(1, 2_000), Some(ms(2_000)), ms(2_000));
        assert!(host.take(&beat(1, 182_000), None, ms(182_000)).made.is_some());
        assert_eq!(host.take(&beat(1, 182_001), None, ms(182_001)).made, None);
        for sent in [0, u64::MAX] {
            host.take(&beat(1, sent), Some(Duration::MAX), ms(0));
            host.take(&beat(1, u64::MAX - sent), Some(ms(0)), Duration::from_secs(u64::MAX / 4));
        }
    }

    #[test]
    fn of_many_runs_the_last_few_are_kept() {
        let mut host = Host::default();
        for run in 0..100 {
            assert!(host.take(&beat(run, 5), None, ms(run.into())).is_first);
            assert!(!host.take(&beat(run, 5), None, ms(run.into())).is_new);
            assert!(host.runs.len() <= MAX_RUNS);
        }
        assert!(!host.take(&beat(96, 5), None, ms(0)).is_first && host.take(&beat(95, 5), None, ms(0)).is_first);
    }
}
