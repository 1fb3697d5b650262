//! Coming back: a member whose keys are lost, old or of no use gets a new leaf in one round trip, and is who they were.
//!
//! They send a request ([`Room::come_back`], or [`Returning::with_ticket`] if nothing but a [`Ticket`] is left), which the
//! relay hands to everybody in the room and hosts and moderators can read. One of them answers with one commit
//! ([`Room::bring_back`]): the old leaf goes, the new one comes, and role and mute stay; the others see
//! [`Event::CameBack`]. Whoever holds a card of a member's can do the same without a request, and so does a knock of
//! somebody who is in the room already, if a person lets them in.
//!
//! What an attacker would like is to throw a member out by it. Every member judges the commit: who might remove and admit
//! the member anyway needs no more than a card of theirs; for anybody else the member has to have signed that they ask,
//! and such a word counts for the leaf they asked out of and once (`comeback/word.rs`). What a request says beside that (that one could not read a commit)
//! is a claim: it is counted, told, and changes nothing.

mod request;
mod returning;
mod word;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use self::request::Sealed;
use crate::{
    error::{Amount, Error, Result},
    identity::{LeafIndex, MemberId},
    room::{
        Admission, Card, Event, Intent, Room,
        door::UnixTime,
        draft::Draft,
        group::{Bundle, Group},
        judge::{denial, judge},
        receive::Hash,
        roster::Roster,
    },
};

pub(crate) use self::{
    request::{Ending, is_request},
    word::{ReturnWord, standing_after},
};
pub use self::{
    request::{REQUEST_LEN, RequestId},
    returning::{ComeBackError, ReturnError, Returning, Ticket},
};

/// How long a member waits for a second request to be heard; twice as long each time that the one before has brought
/// them back, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(256);

/// How long they are quiet until the next counts as the first.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// How old a word may be, by two clocks, in seconds, with [`UnixTime::SLACK`] to spare.
const FRESH: u64 = 10 * 60;

/// From then on nobody acts on a word whose date was right when it came, and an earlier date may be by a clock put right.
/// A word that was dated ahead counts once more when its time comes, unless a later one has brought its maker back.
const OVER: Duration = Duration::from_secs(FRESH + 2 * UnixTime::SLACK);

/// How many requests are tried to be opened in a second, whoever made them.
const TRIES: u32 = 32;

/// The most members of whom it is remembered when they asked.
const ASKED: usize = 4_096;

/// How many epochs back it is known who committed.
const COMMITS: usize = 64;

/// The most reports of commits that could not be read.
const REPORTS: usize = 256;

/// Who asks to be brought back, and whether oneself should.
#[derive(Default)]
pub(crate) struct Comeback {
    /// The commit that one could not read, while one is in the epoch it is of.
    stuck: Option<Ending>,
    /// There was what may be a commit of one's own leaf by another process.
    twin: bool,
    asked: BTreeMap<MemberId, Asking>,
    /// Which second this is, and how many requests were tried in it.
    tries: (u64, u32),
    /// The last commits, and whose they were; the oldest first.
    commits: VecDeque<(Ending, MemberId)>,
    /// Which commit could not be read, and by whom; the oldest first.
    reports: VecDeque<(Ending, MemberId)>,
}

/// The last request of a member that was heard.
struct Asking {
    /// When they made it, by their clock.
    at: UnixTime,
    came: Duration,
    /// Whether it was of no use for that date, by which theirs may be put right backwards.
    refused: bool,
    /// How long the next has to wait.
    pause: Duration,
    /// The epoch since which they sat where they did.
    since: u64,
}

impl Comeback {
    /// A commit of `by` has ended an epoch.
    pub(super) fn follow(&mut self, by: MemberId, ended: Ending) {
        (self.stuck, self.twin) = (None, false);
        self.commits.push_back((ended, by));
        if self.commits.len() > COMMITS {
            self.commits.pop_front();
        }
    }

    /// There was a commit that one cannot read.
    pub(crate) fn lose(&mut self, ending: Ending) {
        self.stuck = Some(ending);
    }

    /// Whether there is time for another request at `now`.
    fn may_try(&mut self, now: Duration) -> bool {
        if self.tries.0 != now.as_secs() {
            self.tries = (now.as_secs(), 0);
        }
        self.tries.1 = self.tries.1.saturating_add(1);
        self.tries.1 <= TRIES
    }

    /// Whether `id` may be heard at `now`, who asked at `at` and sits where they do `since` an epoch; from here on they
    /// were.
    fn is_fresh(&mut self, id: MemberId, at: UnixTime, since: u64, now: Duration) -> bool {
        let mut pause = PAUSE;
        if let Some(last) = self.asked.get(&id) {
            let waited = now.saturating_sub(last.came);
            let is_over = at == last.at || (at < last.at && !last.refused);
            if waited < last.pause || (waited < OVER && is_over) {
                return false;
            }
            if waited < QUIET {
                pause = if since == last.since { last.pause } else { last.pause.saturating_mul(2).min(LONGEST_PAUSE) };
            }
        }
        self.asked.insert(id, Asking { at, came: now, refused: false, pause, since });
        true
    }

    /// What `id` asked at `asked_at` is of no use, because of one's own clock or theirs: if theirs is put right, the next
    /// may be of an earlier time.
    fn refuse(&mut self, id: &MemberId, asked_at: UnixTime) {
        if let Some(last) = self.asked.get_mut(id).filter(|last| last.at == asked_at) {
            last.refused = true;
        }
    }

    /// One is back oneself, and has met everybody anew.
    fn resume(&mut self, old: Self, roster: &Roster) {
        self.asked = old.asked;
        for (id, asking) in &mut self.asked {
            asking.since = roster.since(id).unwrap_or(asking.since);
        }
    }

    fn committer(&self, ended: Ending) -> Option<MemberId> {
        self.commits.iter().find(|(ending, _)| *ending == ended).map(|(_, by)| *by)
    }

    /// `reporter` says that they could not read a commit. Of one that the relay has shown to them and not to oneself they
    /// say nothing.
    fn report(&mut self, reporter: MemberId, ended: Ending) -> Option<Event> {
        let by = self.committer(ended).filter(|by| *by != reporter)?;
        if self.reports.contains(&(ended, reporter)) {
            return None;
        }
        self.reports.push_back((ended, reporter));
        if self.reports.len() > REPORTS {
            self.reports.pop_front();
        }
        let epoch = ended.epoch;
        let theirs = self.reports.iter().filter(|(ending, _)| self.committer(*ending) == Some(by));
        let (epochs, members): (BTreeSet<_>, BTreeSet<_>) = theirs.map(|(ending, by)| (ending.epoch, *by)).unzip();
        let reports = members.len();
        (reports > 1 || epochs.len() > 1).then_some(Event::FailingCommits { by, epoch, reports })
    }
}

/// Bringing others back.
impl Room {
    /// Brings a member back by a card of theirs, in the role they have and as muted as they are. They are put out of the
    /// room and let in again by one commit; nothing else changes.
    ///
    /// A host may bring anybody back, a moderator listeners and speakers. By a card that came with their request
    /// ([`Event::AsksBack`]) a moderator brings back moderators and hosts too, and anybody the host, if the room has no
    /// other host or moderator. A lock, a full room and a used link do not stand in the way. `wall` is the time of day.
    ///
    /// # Errors
    /// As every command; [`Error::NotAMember`] if its owner is not in the room: admit them; [`Error::Unusable`] if they
    /// are back by that card, or go by another name in the room; [`Error::Denied`] too if they asked for it by that card
    /// more than ten minutes ago, or their clock or one's own is wrong; [`Error::Unfit`] if it has no word and is out of date.
    pub fn bring_back(&mut self, card: &Card, wall: UnixTime) -> Result<Admission> {
        self.group()?;
        if let Some(asked_at) = card.asked_back_at() {
            let (age, ahead) = (wall.0.saturating_sub(asked_at.0), asked_at.0.saturating_sub(wall.0));
            let why = if age > FRESH + UnixTime::SLACK {
                format!(
                    "they asked {} ago by your clock, which is too long: they may ask again, and if that is refused too \
                     their clock is behind, or yours is ahead",
                    Amount(age)
                )
            } else if ahead > UnixTime::SLACK {
                format!(
                    "they ask by a time that is {} ahead of your clock: theirs is ahead, or yours is behind; once the wrong \
                     one is set they may ask again",
                    Amount(ahead)
                )
            } else {
                return self.bring_back_now(card);
            };
            self.comeback.refuse(&card.id(), asked_at);
            return Err(Error::Denied(Box::new(denial(card.name(), "come back", why))));
        }
        self.bring_back_now(card)
    }

    /// As [`bring_back`](Self::bring_back), by a card whose date is checked.
    pub(super) fn bring_back_now(&mut self, card: &Card) -> Result<Admission> {
        self.group()?;
        if self.is_back_by(card) {
            let why = "its owner is in the room by that card: nothing is to be done, and it is of no more use";
            return Err(Error::Unusable { what: "card", why });
        }
        // What stands against it at every member's end is told first.
        if self.may_bring_back(card) {
            self.check_unused(card)?;
        }
        let Bundle { commit, welcome, tree } = self.carry_out(Intent::BringBack(Box::new(card.clone())))?;
        // There is one whenever somebody comes in.
        Ok(Admission { commit, welcome: welcome.unwrap_or_default(), tree })
    }

    /// Whether the owner of `card` is in the room by it.
    pub(super) fn is_back_by(&self, card: &Card) -> bool {
        let leaf = self.member(&card.id()).map(|member| member.leaf);
        self.group.as_ref().zip(leaf).is_some_and(|(group, leaf)| group.came_by(leaf, card))
    }

    /// Whether one may bring the owner of `card` back, as the room is.
    pub(super) fn may_bring_back(&self, card: &Card) -> bool {
        let Ok(me) = self.group().map(Group::me) else { return false };
        let intent = Intent::BringBack(Box::new(card.clone()));
        let draft = Draft::new(self.ground(), self.identity.id(), &intent);
        draft.is_ok_and(|draft| judge(self.ground(), draft.proposed(self.ground(), me)).is_ok())
    }

    /// Takes a request, if it is for oneself to read and to answer.
    pub(super) fn hear_request(&mut self, message: &[u8], now: Duration) -> Result<Vec<Event>> {
        let sealed = Sealed::read(message, &self.id)?;
        if !self.comeback.may_try(now) {
            return Ok(Vec::new());
        }
        let Some(request) = sealed.open(self.group()?.door_key())? else { return Ok(Vec::new()) };
        let member = request.card.id();
        let is_of_no_use = self.is_back_by(&request.card) || self.check_unused(&request.card).is_err();
        if is_of_no_use || !self.may_bring_back(&request.card) {
            return Ok(Vec::new());
        }
        if self.comeback.asked.len() >= ASKED {
            let here: BTreeSet<MemberId> = self.roster().map(|member| member.id).collect();
            self.comeback.asked.retain(|id, _| here.contains(id));
        }
        let since = self.roster.since(&member);
        if !since.is_some_and(|since| self.comeback.is_fresh(member, request.asked_at, since, now)) {
            return Ok(Vec::new());
        }
        let named = request.stuck.and_then(|ending| self.comeback.report(member, ending));
        let stuck = request.stuck.map(|ending| ending.epoch);
        let (card, request) = (Box::new(request.card), request.id);
        Ok([Event::AsksBack { member, card, request, stuck }].into_iter().chain(named).collect())
    }

    /// Something says that it is a commit of one's own leaf that this process did not make. Anybody in the room can make
    /// that up: it counts once a host is seen to have gone on.
    pub(super) fn suspect_twin(&mut self) {
        self.comeback.twin = true;
    }

    /// Whether there was, or may have been, a commit in this epoch that one cannot read.
    pub(super) const fn is_stuck(&self) -> bool {
        self.comeback.stuck.is_some() || self.comeback.twin
    }

    /// There was a commit of whoever sits at `from` that this member cannot read.
    pub(super) fn get_stuck(&mut self, commit: Hash, from: Option<LeafIndex>) -> Event {
        self.comeback.lose(Ending { epoch: self.epoch, commit });
        let by = from.and_then(|leaf| self.roster.at(leaf)).map(|member| member.id);
        Event::Stuck { epoch: self.epoch, by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> MemberId {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        MemberId::from_bytes(key)
    }

    fn ending(epoch: u64) -> Ending {
        Ending { epoch, commit: [0; 32] }
    }

    #[test]
    fn whose_commits_fail_for_two_members_or_in_two_epochs_is_named() {
        let mut comeback = Comeback::default();
        for (epoch, by) in [(0, 7), (1, 7), (2, 8)] {
            comeback.follow(id(by), ending(epoch));
        }
        let elsewhere = Ending { commit: [1; 32], ..ending(0) };
        assert!((1..5).all(|reporter| comeback.report(id(reporter), elsewhere).is_none()), "another commit");
        let mut named = |reporter, epoch| match comeback.report(id(reporter), ending(epoch)) {
            Some(Event::FailingCommits { by, epoch, reports }) => Some((by, epoch, reports)),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(named(1, 0), None, "one may lie");
        assert_eq!(named(1, 0), None, "and say it twice");
        assert_eq!(named(1, 2), None, "that was another's");
        assert_eq!(named(7, 0), None, "nobody reports themselves");
        assert_eq!(named(2, 9), None, "no such epoch was");
        assert_eq!(named(1, 1), Some((id(7), 1, 1)), "two epochs");
        assert_eq!(named(2, 2), Some((id(8), 2, 2)), "two members");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut comeback = Comeback::default();
        for n in 0..2_000_u16 {
            comeback.follow(id(n), ending(n.into()));
            comeback.report(id(n + 1), ending(n.into()));
            assert!(comeback.commits.len() <= COMMITS && comeback.reports.len() <= REPORTS);
        }
        assert_eq!(comeback.committer(ending(1_999)), Some(id(1_999)));
        assert_eq!(comeback.committer(ending(1_999 - COMMITS as u64)), None);
    }

    #[test]
    fn who_was_refused_for_a_date_is_heard_by_an_earlier_one_and_not_by_the_same() {
        let mut comeback = Comeback::default();
        let at = Duration::from_secs;
        let hears = |comeback: &mut Comeback, asked_at, now| comeback.is_fresh(id(1), UnixTime(asked_at), 0, at(now));
        assert!(hears(&mut comeback, 900, 0) && !hears(&mut comeback, 100, 2));
        comeback.refuse(&id(1), UnixTime(899));
        assert!(!hears(&mut comeback, 100, 2), "that was another");
        comeback.refuse(&id(1), UnixTime(900));
        assert!(!hears(&mut comeback, 900, 2), "said again");
        assert!(hears(&mut comeback, 100, 2) && !hears(&mut comeback, 99, 4));
    }

    #[test]
    fn a_second_has_time_for_so_many_requests_and_a_member_for_one() {
        let mut comeback = Comeback::default();
        let at = Duration::from_millis;
        assert_eq!((0..100).filter(|_| comeback.may_try(at(5))).count(), TRIES as usize);
        assert!(comeback.may_try(at(1_000)));
        let mut hears = |n, asked_at, since, now| comeback.is_fresh(id(n), UnixTime(asked_at), since, at(now));
        assert!(hears(1, 9, 0, 0));
        assert!(!hears(1, 9, 0, 5_000), "said again");
        assert!(!hears(1, 8, 0, 5_000), "older");
        assert!(!hears(1, 10, 0, 999), "too soon");
        assert!(hears(2, 1, 0, 999));
        assert!((10..20).all(|n| hears(1, n, 0, 1_000 * (n - 9))), "nobody has brought them back");
        // Who is brought back waits twice as long each time, and nobody longer than 256 s.
        let (mut now, mut asked_at, mut since) = (10_000, 20, 0);
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 256] {
            (asked_at, since) = (asked_at + 1, since + 1);
            assert!(!hears(1, asked_at, since, now + pause * 1_000 - 1), "{pause}");
            now += pause * 1_000;
            assert!(hears(1, asked_at, since, now), "{pause}");
        }
        now += 600_000;
        assert!(!hears(1, 5, since + 1, now), "older, and somebody may still act on it");
        assert!(
            hears(1, 99, since + 1, now) && hears(1, 100, since + 2, now + 1_000),
            "ten quiet minutes are forgotten"
        );
        assert!(!hears(1, 5, since + 2, now + 1_200_999) && hears(1, 5, since + 2, now + 1_201_000));
    }
}
