//! What makes a member ask hosts where the room is, and how often.
//!
//! A member kept in an epoch gone by, or on one side of a fork, cannot open what is said elsewhere. What they see are
//! signals that say a later epoch than theirs, or one that they were in, and do not open: a *hint*. Anybody can make one,
//! the relay above all, so a hint leads to questions and to nothing else. A commit that is only late answers most: nobody
//! asks before a hint has stood for a second.
//!
//! However many hints come, a member sends no more than [`AT_ONCE`] questions a round, and rounds are 1, 2, 4, 5, 5, …
//! seconds apart. Once every host has answered, or was asked [`TRIES`] times while some did, hints count for nothing for
//! [`QUIET`], or until the next epoch.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{BACK_OFF, PATIENCE, STALE_AFTER, ask::Ask, signal::Nonce};
use crate::identity::MemberId;

/// How many hosts are asked in one round.
pub(super) const AT_ONCE: usize = 4;

/// How often one host is asked who does not answer, where others do.
pub(super) const TRIES: usize = 3;

/// How long hints count for nothing once hosts have answered.
pub(super) const QUIET: Duration = Duration::from_secs(60);

/// How many questions may be answered.
const MAX_OUT: usize = 2 * AT_ONCE;

#[derive(Default)]
pub(super) struct Doubt {
    hint: Option<Hint>,
    /// When a signal last came that did not open, whether it counted or not.
    seen: Option<Duration>,
    /// Until then hints count for nothing.
    quiet_until: Option<Duration>,
    /// How often each host was asked about this hint, and who has answered.
    tries: BTreeMap<MemberId, usize>,
    answered: BTreeSet<MemberId>,
    rounds: usize,
    last_round: Option<Duration>,
    /// Questions that may be answered, the last one last.
    out: VecDeque<Ask>,
}

struct Hint {
    since: Duration,
    last: Duration,
    /// The latest epoch that one said.
    epoch: u64,
    /// Some said an epoch that this member was in.
    is_apart: bool,
}

impl Doubt {
    /// A signal came that says `epoch` and does not open, to a member who is in `own`.
    pub(super) fn hint(&mut self, epoch: u64, own: u64, now: Duration) {
        self.seen = Some(now);
        if self.quiet_until.is_some_and(|until| now < until) {
            return;
        }
        let hint = self.hint.get_or_insert(Hint { since: now, last: now, epoch, is_apart: false });
        (hint.last, hint.epoch) = (now, hint.epoch.max(epoch));
        hint.is_apart |= epoch <= own;
    }

    /// The room is in `epoch`: what only hinted at it is no hint any more, and all else is looked at anew.
    pub(super) fn enter(&mut self, epoch: u64, now: Duration) {
        self.quiet_until = None;
        self.hint = self.hint.take().filter(|hint| hint.is_apart || hint.epoch > epoch);
        if let Some(hint) = &mut self.hint {
            hint.since = now;
        }
        self.begin();
    }

    /// When hosts are to be asked next, by a member who waits `spread` longer than others.
    pub(super) fn due(&self, spread: Duration) -> Option<Duration> {
        let first = self.hint.as_ref()?.since.saturating_add(PATIENCE / 2).saturating_add(spread);
        let back_off = BACK_OFF.get(self.rounds.saturating_sub(1)).or(BACK_OFF.last()).copied().unwrap_or(1);
        let again = self.last_round.map(|last| last.saturating_add(Duration::from_secs(back_off)));
        Some(again.map_or(first, |again| again.max(first)))
    }

    /// A hint that nothing has repeated for long is none.
    pub(super) fn expire(&mut self, now: Duration) {
        if self.hint.as_ref().is_some_and(|hint| now.saturating_sub(hint.last) >= STALE_AFTER) {
            self.hint = None;
            self.begin();
        }
    }

    /// Whom of `hosts` to ask in this round: those who were asked least, in another order for each who asks. Nobody if the
    /// question is settled.
    pub(super) fn round(&mut self, hosts: &[MemberId], me: &MemberId, now: Duration) -> Vec<MemberId> {
        let is_open = |doubt: &Self, host: &MemberId| {
            !doubt.answered.contains(host) && doubt.tries.get(host).is_none_or(|tries| *tries < TRIES)
        };
        if !hosts.iter().any(|host| is_open(self, host)) {
            if !self.answered.is_empty() {
                self.settle(now);
                return Vec::new();
            }
            // Nobody says anything: from the first again, and no more often.
            self.tries.clear();
        }
        let mut open: Vec<MemberId> = hosts.iter().filter(|host| is_open(self, host)).copied().collect();
        let place = |host: &MemberId| host.as_bytes().iter().zip(me.as_bytes()).map(|(a, b)| a ^ b).next();
        open.sort_by_key(|host| (self.tries.get(host).copied(), place(host), *host));
        open.truncate(AT_ONCE);
        open.iter().for_each(|host| *self.tries.entry(*host).or_default() += 1);
        (self.rounds, self.last_round) = (self.rounds.saturating_add(1), Some(now));
        open
    }

    /// A question has gone out.
    pub(super) fn asks(&mut self, ask: Ask) {
        if self.out.len() >= MAX_OUT {
            self.out.pop_front();
        }
        self.out.push_back(ask);
    }

    /// The question with that nonce, if it is this member's and unanswered.
    pub(super) fn asked(&self, nonce: &Nonce) -> Option<&Ask> {
        self.out.iter().find(|ask| ask.nonce == *nonce)
    }

    /// A host of `hosts` has answered it, and `is_here` if they are where this member is. Gives when it was asked, and since
    /// when something hinted that it should be.
    ///
    /// Who is elsewhere may go on: they are asked again.
    pub(super) fn take(
        &mut self,
        nonce: &Nonce,
        hosts: &[MemberId],
        is_here: bool,
        now: Duration,
    ) -> Option<(Duration, Duration)> {
        let at = self.out.iter().position(|ask| ask.nonce == *nonce)?;
        let ask = self.out.remove(at)?;
        let since = self.hint.as_ref().map_or(ask.at, |hint| hint.since);
        // What stood for longer may have been made up.
        let since = since.clamp(ask.at.saturating_sub(PATIENCE), ask.at);
        if self.hint.is_some() && !is_here {
            self.answered.remove(&ask.to);
            self.tries.remove(&ask.to);
        } else if self.hint.is_some() {
            self.answered.insert(ask.to);
            if hosts.iter().all(|host| self.answered.contains(host)) {
                self.settle(now);
            }
        }
        Some((ask.at, since))
    }

    #[cfg(test)]
    pub(super) fn asked_first(&self) -> &Ask {
        &self.out[0]
    }

    /// How much is kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.out.len() + self.tries.len() + self.answered.len()
    }

    /// When something that did not open last came.
    pub(super) const fn seen(&self) -> Option<Duration> {
        self.seen
    }

    /// Since when there has been something to ask about; `now` if there is nothing.
    pub(super) fn since(&self, now: Duration) -> Duration {
        self.hint.as_ref().map_or(now, |hint| hint.since)
    }

    pub(super) fn set_back(&mut self, by: Duration) {
        for at in [&mut self.seen, &mut self.quiet_until, &mut self.last_round] {
            *at = at.map(|at| at.saturating_sub(by));
        }
        if let Some(hint) = &mut self.hint {
            (hint.since, hint.last) = (hint.since.saturating_sub(by), hint.last.saturating_sub(by));
        }
        self.out.clear();
    }

    fn settle(&mut self, now: Duration) {
        self.hint = None;
        self.quiet_until = Some(now.saturating_add(QUIET));
        self.begin();
    }

    fn begin(&mut self) {
        self.tries.clear();
        self.answered.clear();
        self.rounds = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::Identity, room::heartbeat::signal::Wire};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn people(many: usize) -> (Vec<MemberId>, Identity) {
        let identity = || Identity::generate("somebody").unwrap();
        ((0..many).map(|_| identity().id()).collect(), identity())
    }

    /// One round, after which those it asks are waited for.
    fn round(doubt: &mut Doubt, hosts: &[MemberId], me: &Identity, now: Duration) -> Vec<Nonce> {
        let asked = doubt.round(hosts, &me.id(), now);
        let sent = asked.iter().map(|host| Wire::new(b"room").ask(me, *host, now).unwrap().1);
        sent.map(|ask| (ask.nonce, doubt.asks(ask)).0).collect()
    }

    #[test]
    fn a_hint_that_a_commit_explains_within_a_second_asks_nothing() {
        let mut doubt = Doubt::default();
        doubt.hint(5, 4, s(10));
        doubt.hint(5, 4, s(10) + PATIENCE / 4);
        assert_eq!(doubt.due(Duration::ZERO), Some(s(10) + PATIENCE / 2));
        assert_eq!(doubt.due(s(1)), Some(s(11) + PATIENCE / 2));
        doubt.enter(5, s(10) + PATIENCE / 4);
        assert_eq!(doubt.due(Duration::ZERO), None);
        // One of a later epoch still, or of another history, stands, and as if it had come with the commit.
        for (said, own) in [(7, 5), (5, 5)] {
            let mut doubt = Doubt::default();
            doubt.hint(said, own, s(10));
            doubt.enter(own + 1, s(11));
            assert_eq!(doubt.due(Duration::ZERO), Some(s(11) + PATIENCE / 2), "{said}");
            // Unless nothing repeats it.
            doubt.expire(s(10) + STALE_AFTER - Duration::from_millis(1));
            assert!(doubt.due(Duration::ZERO).is_some());
            doubt.expire(s(10) + STALE_AFTER);
            assert!(doubt.due(Duration::ZERO).is_none());
        }
    }

    #[test]
    fn rounds_come_by_the_back_off_and_reach_every_host() {
        let (hosts, me) = people(10);
        let mut doubt = Doubt::default();
        let (mut now, mut gaps, mut asked) = (s(10), Vec::new(), BTreeMap::new());
        doubt.hint(5, 4, now);
        for turn in 1..20 {
            let due = doubt.due(Duration::ZERO).unwrap();
            gaps.push((due - now).as_secs());
            now = due;
            let who = doubt.round(&hosts, &me.id(), now);
            assert_eq!(who.len(), if turn % 8 == 0 { 2 } else { AT_ONCE }, "thirty asks, then from the first again");
            who.iter().for_each(|host| *asked.entry(*host).or_insert(0) += 1);
            if turn == 3 {
                assert_eq!(asked.len(), 10, "each once before any a third time");
                assert!(asked.values().all(|times| (1..=2).contains(times)));
            }
        }
        assert_eq!(gaps[..6], [1, 1, 2, 4, 5, 5]);
        assert!(gaps[6..].iter().all(|gap| *gap == 5));
    }

    #[test]
    fn once_all_have_answered_it_is_quiet_for_a_minute_or_until_the_next_epoch() {
        let (hosts, me) = people(3);
        for enters in [false, true] {
            let mut doubt = Doubt::default();
            doubt.hint(5, 4, s(10));
            let out = round(&mut doubt, &hosts, &me, s(11));
            for (at, nonce) in out.iter().enumerate() {
                assert!(doubt.due(Duration::ZERO).is_some(), "{at} have answered");
                assert_eq!(doubt.take(nonce, &hosts, true, s(12)), Some((s(11), s(10))));
                assert_eq!(doubt.take(nonce, &hosts, true, s(12)), None, "twice");
            }
            doubt.hint(5, 4, s(12) + QUIET - Duration::from_millis(1));
            assert_eq!(doubt.due(Duration::ZERO), None);
            if enters {
                doubt.enter(5, s(13));
                doubt.hint(6, 5, s(14));
                assert_eq!(doubt.due(Duration::ZERO), Some(s(15)));
            } else {
                doubt.hint(5, 4, s(12) + QUIET);
                assert_eq!(doubt.due(Duration::ZERO), Some(s(13) + QUIET));
            }
        }
    }

    #[test]
    fn who_answers_from_elsewhere_is_asked_again_for_as_long_as_the_hint_stands() {
        let (hosts, me) = people(2);
        let mut doubt = Doubt::default();
        for turn in 0..20 {
            let now = s(10 + 5 * turn);
            doubt.hint(5, 4, now);
            let out = round(&mut doubt, &hosts, &me, now);
            assert_eq!(out.len(), 2, "{turn}");
            out.iter().for_each(|nonce| assert!(doubt.take(nonce, &hosts, false, now).is_some()));
            assert!(doubt.due(Duration::ZERO).is_some(), "{turn}");
        }
        assert!(doubt.size() <= 4, "{}", doubt.size());
    }

    #[test]
    fn who_does_not_answer_where_others_do_is_asked_three_times() {
        let (hosts, me) = people(2);
        let mut doubt = Doubt::default();
        doubt.hint(5, 4, s(10));
        let out = round(&mut doubt, &hosts, &me, s(11));
        doubt.take(&out[0], &hosts, true, s(11)).unwrap();
        for turn in 2..=TRIES {
            assert_eq!(round(&mut doubt, &hosts, &me, s(20)).len(), 1, "{turn}");
        }
        assert!(round(&mut doubt, &hosts, &me, s(30)).is_empty() && doubt.due(Duration::ZERO).is_none());
        // However long a hint has stood, it dates what an answer says by two seconds at most.
        doubt.hint(5, 4, s(30) + QUIET);
        let out = round(&mut doubt, &hosts, &me, s(100));
        assert_eq!(doubt.take(&out[0], &hosts, true, s(101)), Some((s(100), s(100) - PATIENCE)));
    }
}
