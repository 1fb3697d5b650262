//! The door from inside: what a host or a moderator makes of knocks.
//!
//! The relay brings knocks to those who may let in. Each of them keeps a door of their own: who knocks, whom they
//! have let in or turned away. They need not agree: the room takes one commit that lets somebody in, and the others
//! learn of it by that.
//!
//! Who knocks at a quiet door is let in at once; whoever comes soon after waits for the next commit, with all who come
//! meanwhile ([`GATHERING`]). By a link that lets in without being asked each of those who may waits for the ones whom
//! the doorplate names before them (`stagger.rs`), so that one commit is made and not one of each. What a person
//! decides waits for nobody.
//!
//! A relay may bring a knock again and again, and whoever holds a link may make as many as they like: a knock counts
//! once, is of no use when it is old, and what is kept is bounded. What costs least is looked at first: the form and the
//! link, then whether the knock came before, then whether there is time for another (`looks.rs`), and only then its
//! signatures and its seal. Only knocks that opened are remembered, so nobody spoils another's by naming it. What a
//! knock changes is a [`Turn`], which a room that is kept writes instead of all who wait.
//!
//! Refusals are this member's own (`refusals.rs`): they keep nobody out who is in the room, and end with what they stand on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use super::{
    Knock, KnockId, Link, LinkEntry, LinkId, MAX_ADMITTERS, Terms, UnixTime, Verdict, bucket_for,
    looks::Looks,
    make_doorplate,
    refusals::{Refusal, Refusals},
    seal_answer,
    turn::{Line, Turn},
    used::{self, Used},
};
use crate::{
    bytes::{Reader, Writer},
    error::{Error, Item, Result},
    identity::{Member, MemberId, Role},
    room::{
        Card, Event, Intent, MAX_ON_STAGE, Room, TREE_APART, TreeId,
        draft::Draft,
        group::{Bundle, DoorKeyPublic, Group, Making, split_welcome},
        judge::{Change, denial},
        policy::{Action, permits},
        said::Said,
        settings::Entry,
    },
};

/// How long after somebody was let in those who come are gathered, so that one commit takes them all. A thousand who
/// come within ten seconds are in by seventeen commits.
pub const GATHERING: Duration = Duration::from_millis(600);

/// The most who are let in by one commit.
pub const MAX_BATCH: usize = 256;

/// The most knocks that are looked at or let in at a time.
pub const MAX_WAITING: usize = 4_096;

/// How old a knock may be, by two clocks, in seconds, with [`UnixTime::SLACK`] to spare.
const FRESH: u64 = 10 * 60;

/// How many knocks are remembered, so that none counts twice.
const REMEMBERED: usize = 4 * MAX_WAITING;

/// How many of those a snapshot remembers.
const SAVED: usize = 1_024;

/// How many words are kept that turn away a knock which has not come yet.
const EARLY: usize = 256;

/// How many bytes more than the room's charter a welcome for one has, at most.
const AROUND_THE_CHARTER: usize = 1_024;

/// One member's end of the door.
#[derive(Default)]
pub(crate) struct Keeper {
    /// Those that came, the oldest first.
    seen: VecDeque<KnockId>,
    seen_at_all: BTreeSet<KnockId>,
    /// Who waits for a word, in order of arrival; each of them once, here or below.
    asking: Vec<Knock>,
    /// Who is to be let in by the next commit.
    welcome: Vec<Coming>,
    /// When the door's last commit was made, or a commit of anybody's was merged that let somebody in.
    last: Option<Duration>,
    /// The commit that is on its way, with what it brings those it lets in.
    opening: Option<Opening>,
    /// The last such commit that was received, in a room that is kept: nobody knows whether its answers were handed out.
    opened: Option<Opening>,
    /// Who was turned away, where and by whom.
    refusals: Refusals,
    /// Knocks that somebody else has turned away before they came here, and who; the oldest first.
    early: VecDeque<(KnockId, MemberId)>,
    /// Cards that have let their owners in.
    used: Used,
    /// How many knocks there is time for.
    looks: Looks,
    /// When members came in or came back, as far as knocks of theirs may be from before.
    came: BTreeMap<MemberId, Came>,
    /// Answers that came about while nobody was told anything: for the next who are.
    untold: Vec<Event>,
}

/// Why the door is shut to somebody, and whether for good.
type No = (&'static str, bool);

/// When somebody came in, and when they made the knock that let them in, if one did.
#[derive(Clone, Copy)]
struct Came {
    now: Duration,
    knock: Option<UnixTime>,
}

/// Somebody who is to be let in by the next commit.
struct Coming {
    knock: Knock,
    /// Since when; `None` until the time is told.
    since: Option<Duration>,
    wait: Wait,
}

/// What somebody waits for who is to be let in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// This member's turn: their link lets them in, and others may be first.
    Turn,
    /// The next commit: a person let them in.
    Commit,
    /// Nothing: they were in a commit that lost its race.
    Nothing,
}

impl Coming {
    const fn new(knock: Knock, wait: Wait) -> Self {
        Self { knock, since: None, wait }
    }
}

/// The door's commit on its way.
struct Opening {
    guests: Vec<Knock>,
    welcome: Vec<u8>,
    tree: Option<Vec<u8>>,
}

/// The answer to a knock, for the relay to keep for who made it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// Which knock: the relay knows it by the hash that [`KnockId::of`] gives.
    pub knock: KnockId,
    /// The bytes; they are as many whatever the verdict is.
    pub bytes: Vec<u8>,
}

impl Keeper {
    /// Whether `id` came before.
    fn is_known(&self, id: &KnockId) -> bool {
        self.seen_at_all.contains(id)
    }

    /// From here on `id` came before.
    fn see(&mut self, id: KnockId) {
        self.early.retain(|(early, _)| *early != id);
        if !self.seen_at_all.insert(id) {
            return;
        }
        self.seen.push_back(id);
        if self.seen.len() > REMEMBERED
            && let Some(oldest) = self.seen.pop_front()
        {
            self.seen_at_all.remove(&oldest);
        }
    }

    /// Does what becomes of a knock. A turn that has nothing to befall changes nothing.
    fn take(&mut self, turn: Turn) {
        match turn {
            Turn::Seen(id) => self.see(id),
            Turn::Waits(knock, line) => {
                self.see(knock.id());
                match (self.place_of(knock.member()), line) {
                    (Some(place), _) => *place = *knock,
                    (None, Line::Asking) => self.asking.push(*knock),
                    (None, Line::Welcome) => self.welcome.push(Coming::new(*knock, Wait::Turn)),
                }
            }
            Turn::LetIn(id) => {
                let knock = self.take_asking(&id);
                self.welcome.extend(knock.map(|knock| Coming::new(knock, Wait::Commit)));
            }
            Turn::Gone(id) => self.drop_where(|knock| knock.id() == id),
            Turn::Refused(refusal) => {
                self.see(refusal.knock);
                self.take_asking(&refusal.knock);
                self.refusals.add(refusal);
            }
        }
    }

    /// Who turned `id` away before it came.
    fn turned_away_early(&self, id: &KnockId) -> Option<MemberId> {
        self.early.iter().find(|(early, _)| early == id).map(|(_, by)| *by)
    }

    fn take_asking(&mut self, id: &KnockId) -> Option<Knock> {
        let at = self.asking.iter().position(|waiting| waiting.id() == *id)?;
        Some(self.asking.remove(at))
    }

    /// `members` came in or came back at `now`.
    fn note(&mut self, members: &[MemberId], now: Duration) {
        let kept = Duration::from_secs(FRESH + 2 * UnixTime::SLACK);
        self.came.retain(|_, came| now.saturating_sub(came.now) < kept);
        for id in members {
            let waiting = self.asking.iter().chain(self.welcomed()).filter(|knock| knock.member() == *id);
            let known = self.came.get(id).and_then(|came| came.knock);
            let knock = waiting.map(Knock::made_at).chain(known).max();
            if self.came.len() >= MAX_WAITING
                && let Some(oldest) = self.came.iter().min_by_key(|(_, came)| came.now).map(|(id, _)| *id)
            {
                self.came.remove(&oldest);
            }
            self.came.insert(*id, Came { now, knock });
        }
    }

    /// Whether a knock of a member's is from before they came in, by their clock and one's own.
    fn is_from_before(&self, knock: &Knock, now: Duration, wall: UnixTime) -> bool {
        let made_at = knock.made_at();
        self.came.get(&knock.member()).is_some_and(|came| {
            let age = wall.0.saturating_sub(made_at.0);
            age >= now.saturating_sub(came.now).as_secs() || came.knock.is_some_and(|last| made_at <= last)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.asking.len() + self.welcome.len()
    }

    #[cfg(test)]
    pub(super) fn early_words(&self) -> usize {
        self.early.len()
    }

    /// Who is to be let in by the next commit.
    fn welcomed(&self) -> impl Iterator<Item = &Knock> {
        self.welcome.iter().map(|coming| &coming.knock)
    }

    /// It is `now`: whoever is to be let in waits from here on, if they have not yet. A clock that was set back keeps
    /// nobody longer than they would have waited.
    fn gather(&mut self, now: Duration) {
        for coming in &mut self.welcome {
            coming.since = Some(coming.since.map_or(now, |since| since.min(now)));
        }
        self.last = self.last.map(|last| last.min(now));
    }

    /// The door's commit lost its race: its guests wait for the next.
    pub(crate) fn lost(&mut self) {
        if let Some(opening) = self.opening.take() {
            let first = opening.guests.into_iter().map(|knock| Coming::new(knock, Wait::Nothing)).collect();
            let later = mem::replace(&mut self.welcome, first);
            self.welcome.extend(later);
        }
    }

    /// Nobody waits any more. What was is remembered, for who may let in today may do so again tomorrow.
    pub(crate) fn clear(&mut self) {
        let Self { seen, seen_at_all, refusals, used, looks, opened, came, last, .. } = mem::take(self);
        *self = Self { seen, seen_at_all, refusals, used, looks, opened, came, last, ..Self::default() };
    }

    /// Writes who knocks and who was turned away; what was seen before, as far as a relay would show it again.
    pub(crate) fn save(&self, out: &mut Writer) -> Result<()> {
        let seen = self.seen.iter().skip(self.seen.len().saturating_sub(SAVED));
        out.count("knocks", seen.len())?;
        seen.for_each(|id| out.put(&id.0));
        self.refusals.save(out)?;
        self.used.save(out)?;
        out.count("knocks", self.asking.len())?;
        self.asking.iter().try_for_each(|knock| knock.save(out))?;
        out.count("knocks", self.welcome.len())?;
        self.welcomed().try_for_each(|knock| knock.save(out))?;
        [&self.opening, &self.opened].into_iter().try_for_each(|opening| put_opening(opening.as_ref(), out))
    }

    /// What [`save`](Self::save) wrote.
    pub(crate) fn load(saved: &mut Reader<'_>, now: Duration) -> Result<Self> {
        let mut keeper = Self::default();
        for _ in 0..saved.count(16)? {
            keeper.see(KnockId(saved.array()?));
        }
        (keeper.refusals, keeper.used) = (Refusals::load(saved)?, Used::load(saved)?);
        let knocks = |saved: &mut Reader<'_>| -> Result<Vec<Knock>> {
            let knocks: Result<Vec<Option<Knock>>> = (0..saved.count(100)?).map(|_| Knock::load(saved)).collect();
            Ok(knocks?.into_iter().flatten().collect())
        };
        keeper.asking = knocks(saved)?;
        keeper.welcome = knocks(saved)?.into_iter().map(|knock| Coming::new(knock, Wait::Turn)).collect();
        keeper.gather(now);
        let opening = |saved: &mut Reader<'_>| -> Result<Option<Opening>> {
            let (guests, welcome, has_tree, tree) = (knocks(saved)?, saved.long()?, saved.flag()?, saved.long()?);
            let opening = Opening { guests, welcome: welcome.to_vec(), tree: has_tree.then(|| tree.to_vec()) };
            Ok(Some(opening).filter(|opening| !opening.guests.is_empty()))
        };
        (keeper.opening, keeper.opened) = (opening(saved)?, opening(saved)?);
        Ok(keeper)
    }

    /// Forgets the knocks that `is_over` says are.
    fn drop_where(&mut self, is_over: impl Fn(&Knock) -> bool) {
        self.asking.retain(|knock| !is_over(knock));
        self.welcome.retain(|coming| !is_over(&coming.knock));
    }

    /// Those who are on their way in, but for `who`.
    fn coming(&self, who: MemberId) -> impl Iterator<Item = &Knock> {
        let opening = self.opening.iter().flat_map(|opening| &opening.guests);
        opening.chain(self.welcomed()).filter(move |knock| knock.member() != who)
    }

    /// Where somebody waits who knocks again.
    fn place_of(&mut self, who: MemberId) -> Option<&mut Knock> {
        let welcome = self.welcome.iter_mut().map(|coming| &mut coming.knock);
        self.asking.iter_mut().chain(welcome).find(|knock| knock.member() == who)
    }
}

/// The door, from inside.
impl Room {
    /// Issues a link: its secret, which is for those who are to come, and the commit that makes it good.
    ///
    /// The secret is kept nowhere in the room: keep the [`Link`] for as long as its doorplate is to be renewed.
    ///
    /// # Errors
    /// As every command; [`Error::Unusable`] if its role is above a speaker's, or the room has
    /// [`MAX_LINKS`](crate::room::MAX_LINKS).
    pub fn issue_link(&mut self, terms: Terms) -> Result<(Link, Vec<u8>)> {
        if terms.role > Role::Speaker {
            return Err(Error::Unusable { what: "link", why: "a link admits listeners or speakers" });
        }
        if terms.expires == Some(UnixTime(0)) {
            return Err(Error::Unusable { what: "link", why: "it would have expired in 1970" });
        }
        let link = Link::generate(self.identity.id())?;
        let entry = LinkEntry { id: link.id(), terms, issuer: self.identity.id() };
        let commit = self.commit(Intent::IssueLink(entry))?;
        Ok((link, commit))
    }

    /// The doorplate of a link of one's own: what its holders can read of the room, sealed from the relay that keeps
    /// it at [`Link::address`]. Make it anew after [`Event::DoorplateOutdated`].
    ///
    /// # Errors
    /// [`Error::Unusable`] if the link is no link of this room, or another host's; [`Error::Closed`].
    pub fn doorplate(&self, link: &Link) -> Result<Vec<u8>> {
        self.group()?;
        let Some(entry) = self.charter.link(&link.id()).filter(|entry| entry.issuer == self.identity.id()) else {
            let why = "it is no link of yours in this room: it has ended, or its commit is not merged yet";
            return Err(Error::Unusable { what: "link", why });
        };
        let admitters: Vec<_> = self.readers_of(&entry.issuer).collect();
        let proof = self.settings().seals().proof;
        make_doorplate(link, &self.identity, self.settings().title(), &self.id, entry.terms, proof, &admitters)
    }

    /// Whom the doorplates of `issuer` name, in order, with their door keys: those who read knocks.
    fn readers_of(&self, issuer: &MemberId) -> impl Iterator<Item = (MemberId, DoorKeyPublic)> {
        let admitters = self.charter.admitters(issuer).into_iter();
        admitters.filter_map(|id| Some((id, self.roster.door_key(&id)?))).take(MAX_ADMITTERS)
    }

    /// Takes a knock that the relay brought, at the monotonic time `now` and the time of day `wall`.
    ///
    /// In a room whose entry is [`Entry::Link`] who knocks is let in by the next [`Room::open_door`]; else it is an
    /// [`Event::Knocked`], to be answered by [`Room::let_in`] or [`Room::turn_away`]. Who is banned, was turned away
    /// twice at that link, shows a used card, or comes to a locked or a full room is answered at once
    /// ([`Event::Answered`]). Who knocks again while they wait keeps their place; of their two knocks the later counts, and the other is answered. Who is in the room
    /// and knocks with a fresh card, because they have lost their keys or because somebody shows an old knock of theirs, is
    /// always an [`Event::Knocked`]: ask them, if you can. [`Room::let_in`] brings them back in the role they have; a lock,
    /// a full room and a link for one do not keep them out.
    ///
    /// # Errors
    /// Nothing has changed: [`Error::Denied`] if one may not let anybody in, or if the link has ended or expired, or
    /// the knock is too old, with the reason; [`Error::Malformed`], [`Error::TooLarge`] if it is no knock of this
    /// room, was altered, or came before; [`Error::Unusable`] if [`MAX_WAITING`] wait already, or as many knocks were
    /// opened in this second as there is time for ([`KNOCKS_A_SECOND`](crate::room::door::KNOCKS_A_SECOND)): give it
    /// again later, it is not held against it; [`Error::Closed`].
    pub fn knocked(&mut self, knock: &[u8], now: Duration, wall: UnixTime) -> Result<Vec<Event>> {
        self.group()?;
        let me = self.charter.role(&self.identity.id());
        let denied = |who: &str, what: &str, why| Err(Error::Denied(Box::new(denial(who, what, why))));
        if let Err(why) = may_let_in(me) {
            return denied(self.identity.name(), "answer a knock", why);
        }
        let link = Knock::link_of(knock)?;
        let Some(LinkEntry { terms, .. }) = self.charter.link(&link).copied() else {
            return denied("somebody", "knock", "their link is none of this room: revoked, used, or another room's");
        };
        if terms.expires.is_some_and(|expires| expires.plus(UnixTime::SLACK) < wall) {
            return denied("somebody", "knock", "their link has expired; issue another");
        }
        let came_before = || Err(Error::Malformed { what: Item::Knock, why: "it came before" });
        if self.door.is_known(&KnockId::of(knock)) {
            return came_before();
        }
        if self.door.len() >= MAX_WAITING {
            let why = "4,096 people wait already: let in or turn away some of them, or revoke the link";
            return Err(Error::Unusable { what: "knock", why });
        }
        if !self.door.looks.take(link, self.charter.links().len(), now) {
            let why = "more came by its link in this second than there is time for: give it again in the next, or \
                       revoke the link if that goes on";
            return Err(Error::Unusable { what: "knock", why });
        }
        let knock = Knock::open(knock, self.group()?.door_key(), &link, &self.id)?;
        let (made_at, oldest) = (knock.made_at(), UnixTime(wall.0.saturating_sub(FRESH + UnixTime::SLACK)));
        if made_at < oldest || made_at > wall.plus(UnixTime::SLACK) {
            let why = "they did so too long ago, or their clock is wrong: they may knock again";
            return denied(knock.name(), "knock", why);
        }
        let (id, member) = (knock.id(), knock.member());
        let is_in = self.member(&member).is_some();
        // Their leaf is dated by their own clock as the knock is, whoever was there to see them come.
        let dated = self.roster.dated_leaf(&member).1;
        if is_in && (knock.made_at().0 <= dated || self.door.is_from_before(&knock, now, wall)) {
            // Remembered all the same: it is of no use when they have gone, either.
            self.turn(Turn::Seen(id));
            return denied(knock.name(), "knock", "they did so before they came in: nothing is to be done");
        }
        if let Some(by) = self.door.turned_away_early(&id) {
            let refusal = self.refusal_of(by, &knock);
            self.turn(Turn::Seen(id));
            self.turn(refusal.clone());
            let told = self.told_of(&refusal);
            self.door.untold.extend(told);
            return denied(knock.name(), "enter", "somebody else who may let in has turned this knock away");
        }
        let is_used = || self.door.used.contains(knock.card()).then_some((used::WHY, false));
        // What no fresh card would help comes first.
        let no = self.shut_for_ever(&knock).or_else(is_used).or_else(|| self.shut_to(&knock));
        if let Some(no) = no {
            self.turn(Turn::Seen(id));
            let mut events = mem::take(&mut self.door.untold);
            events.extend(self.answer_no(&[(knock, no)]));
            return Ok(events);
        }
        let mut events = Vec::new();
        match self.door.place_of(member) {
            // The same knock, sealed again by somebody who could read it: who knocks knows the first by its id.
            Some(place) if place.reply() == knock.reply() => {
                self.turn(Turn::Seen(id));
                return came_before();
            }
            Some(place) => {
                let is_later = knock.made_at() >= place.made_at();
                let older = if is_later { place.clone() } else { knock.clone() };
                events.extend(self.answer_no(&[(older, ("a later knock with the same key came since", false))]));
                if !is_later {
                    self.turn(Turn::Seen(id));
                    return Ok(events);
                }
            }
            None => {}
        }
        // By their knock a member would lose the leaf that they may well be at: that is for a person to judge.
        let line = if self.settings().entry() == Entry::Link && !is_in { Line::Welcome } else { Line::Asking };
        self.turn(Turn::Waits(Box::new(knock), line));
        self.door.gather(now);
        let untold = mem::take(&mut self.door.untold);
        events.splice(..0, untold);
        if self.door.asking.iter().any(|asking| asking.id() == id) {
            events.push(Event::Knocked { knock: id, member, link });
        }
        Ok(events)
    }

    /// Does what becomes of a knock, and notes it for a restore.
    fn turn(&mut self, turn: Turn) {
        if self.journal.is_kept() {
            match turn.write() {
                Ok(turn) => self.journal.knocked(&turn.done()),
                Err(_) => self.journal.whole(),
            }
        }
        self.door.take(turn);
    }

    /// Does again what became of a knock after the room was saved.
    pub(crate) fn take_turn_again(&mut self, turn: &[u8], now: Duration) -> Result<()> {
        if let Some(turn) = Turn::read(turn)? {
            self.door.take(turn);
            self.door.gather(now);
        }
        Ok(())
    }

    /// Who knocks and has no answer yet, in order of arrival.
    pub fn knocks(&self) -> impl ExactSizeIterator<Item = &Knock> {
        self.door.asking.iter()
    }

    /// Lets in who made a knock: they are in the commit that the next [`Room::open_door`] gives.
    ///
    /// # Errors
    /// They wait as before: [`Error::Denied`] if the door is shut to them as things are, with the reason;
    /// [`Error::Unusable`] if nobody waits by that name: somebody else has answered, or it never came.
    pub fn let_in(&mut self, knock: &KnockId, now: Duration) -> Result<()> {
        let waiting = self.door.asking.iter().find(|waiting| waiting.id() == *knock).ok_or_else(nobody)?;
        self.check_unused(waiting.card())?;
        if let Some((why, _)) = self.shut_to(waiting) {
            return Err(Error::Denied(Box::new(denial(waiting.name(), "enter", why))));
        }
        self.turn(Turn::LetIn(*knock));
        self.door.gather(now);
        Ok(())
    }

    /// Turns away who made a knock, with at most 100 bytes to it: an answer for the relay to keep for them, and a
    /// word to the others who might let them in, which every member can read: it tells the key of who was turned away,
    /// not their name.
    ///
    /// Who was turned away twice at a link, by whomever, is kept off there ([`Event::KeptOff`]) until the link ends, one of
    /// those two has the office no more, or somebody takes it back ([`Room::forgive`]). It counts at the end of those who
    /// had the knock before them, and never against a member of the room. To keep somebody out for good, [`Room::ban`] them.
    ///
    /// # Errors
    /// [`Error::Unusable`] if nobody waits by that name, or the reason is too long, does not show, or turns or breaks a line;
    /// [`Error::Closed`].
    pub fn turn_away(&mut self, knock: &KnockId, reason: &str) -> Result<(Answer, Vec<u8>)> {
        self.group()?;
        let bucket = self.bucket();
        let waiting = self.door.asking.iter().find(|waiting| waiting.id() == *knock).ok_or_else(nobody)?.clone();
        let member = waiting.member();
        let for_good = self.member(&member).is_none() && self.door.refusals.is_last(&member, &waiting.link());
        let bytes = seal_answer(&Verdict::Refused { for_good, reason }, &waiting, bucket)?;
        let word = self.say_to_all(&Said::TurnedAway { knock: *knock.as_bytes(), whose: member })?;
        // The others, and this member, are told of it where the relay puts the word.
        let turn = self.refusal_of(self.identity.id(), &waiting);
        self.turn(turn);
        Ok((Answer { knock: *knock, bytes }, word))
    }

    /// Takes back all that is held against somebody at the door: they may knock again. It is a word to everybody who may
    /// let in, for each of them keeps a door of their own and would answer them no; it takes effect at this end too where
    /// the relay puts it ([`Event::Forgiven`]). A ban stays: [`Room::lift_ban`].
    ///
    /// # Errors
    /// [`Error::Denied`] if this member's role does not allow it; [`Error::Unusable`] as every word; [`Error::Closed`].
    pub fn forgive(&mut self, member: &MemberId) -> Result<Vec<u8>> {
        self.group()?;
        may_let_in(self.charter.role(&self.identity.id())).map_err(|why| {
            Error::Denied(Box::new(denial(self.identity.name(), "take back that somebody was turned away", why)))
        })?;
        self.say_to_all(&Said::Forgiven(*member))
    }

    /// Who is kept off, and at which link, as far as this member's end of the door goes ([`Event::KeptOff`]).
    pub fn kept_off(&self) -> impl Iterator<Item = (MemberId, LinkId)> {
        self.door.refusals.kept_off()
    }

    /// The commit that lets in all who are to be; `None` if there is none, it is too soon, or a commit of one's own is on
    /// its way. Call it after each knock and each message, and when [`Room::next_duty`] says so.
    ///
    /// The first who comes is let in at once. Whoever comes within [`GATHERING`] after this member made a commit of the
    /// door, or after a commit was received that let somebody in, waits until it is over: so they come in together, and
    /// nobody makes two commits of the door in half a second, but for those that lose their race.
    ///
    /// Where a link lets in without being asked, of all who may answer a knock one is to do so: each waits
    /// [`STAGGER`](crate::room::STAGGER) for everybody whom the doorplate names before them, the issuer first. Whoever
    /// has let that pass is not waited for again until something of theirs is heard.
    ///
    /// Their answers come with [`Event::Answered`] when the commit is received; if it loses its race they wait for
    /// the next, which is due at once. Who cannot be let in, for there is something about their card, is answered no by
    /// the next events of [`Room::receive`] or [`Room::knocked`], and keeps nobody else out.
    ///
    /// # Errors
    /// [`Error::Randomness`]; [`Error::Closed`].
    pub fn open_door(&mut self, now: Duration) -> Result<Option<Vec<u8>>> {
        self.door.gather(now);
        if self.is_pending() || self.opening_due(now).is_none_or(|due| due > now) {
            return Ok(None);
        }
        let orders = self.orders();
        let is_late = |coming: &&Coming| coming.wait == Wait::Turn && self.due(coming, &orders, now) <= now;
        let late: BTreeSet<_> = self.door.welcome.iter().filter(is_late).map(|coming| coming.knock.link()).collect();
        let commit = self.open_at_once()?;
        if commit.is_some() {
            self.door.last = Some(now);
            // The others had their turn, and nothing came of it.
            for order in late.iter().filter_map(|link| orders.get(link)) {
                self.stagger.steps_in(order, &self.identity.id());
            }
        }
        Ok(commit)
    }

    /// When [`Room::open_door`] or [`Room::let_go`] gives a commit, if nothing comes meanwhile: at `now` or before if it
    /// does already. `None` if nobody is to be let in or to be let go, if a commit of one's own is on its way, or if so many
    /// of them came to nothing in this epoch that others could not read another. Ask again
    /// after each knock and each message, and after each call of the two.
    pub fn next_duty(&self, now: Duration) -> Option<Duration> {
        if self.is_pending() || self.group.as_ref().is_none_or(Group::has_no_commits_left) {
            return None;
        }
        self.opening_due(now).into_iter().chain(self.letting_go_due(now)).min()
    }

    /// When the door is to be opened, by a clock that shows `now`.
    fn opening_due(&self, now: Duration) -> Option<Duration> {
        let orders = self.orders();
        let first = self.door.welcome.iter().map(|coming| self.due(coming, &orders, now)).min()?;
        // Those to whom it is shut are answered in the next epoch.
        self.door.welcomed().any(|knock| self.shut_after(knock, 0, |_| false).is_none()).then_some(first)
    }

    /// When somebody's wait is over, with the [`orders`](Self::orders) of their links.
    fn due(&self, coming: &Coming, orders: &BTreeMap<LinkId, Vec<MemberId>>, now: Duration) -> Duration {
        let since = coming.since.map_or(now, |since| since.min(now));
        let gathered = self.door.last.map_or(since, |last| since.max(last.min(now).saturating_add(GATHERING)));
        match coming.wait {
            Wait::Nothing => since,
            Wait::Commit => gathered,
            Wait::Turn => {
                let order = orders.get(&coming.knock.link()).map_or(&[][..], Vec::as_slice);
                gathered.saturating_add(self.stagger.wait(order, &self.identity.id()))
            }
        }
    }

    /// Whose turn it is to answer knocks, in order, by each of the links that somebody comes by.
    fn orders(&self) -> BTreeMap<LinkId, Vec<MemberId>> {
        let links: BTreeSet<_> = self.door.welcomed().map(Knock::link).collect();
        let entries = links.iter().filter_map(|link| self.charter.link(link));
        entries.map(|entry| (entry.id, self.readers_of(&entry.issuer).map(|(id, _)| id).collect())).collect()
    }

    /// The commit that lets in all who are to be.
    pub(crate) fn open_at_once(&mut self) -> Result<Option<Vec<u8>>> {
        self.group()?;
        if self.is_pending() {
            return Err(Error::CommitPending { epoch: self.epoch });
        }
        let (mut batch, _) = self.sift();
        // A card that the group layer does not take spoils the commit, and it does not say whose it was.
        loop {
            let Some(first) = batch.first() else { return Ok(None) };
            match self.open_to(&batch) {
                Ok(commit) => return Ok(Some(commit)),
                Err(error @ (Error::Randomness | Error::Closed { .. } | Error::Unusable { what: "commit", .. })) => {
                    return Err(error);
                }
                Err(_) if batch.len() > 1 => batch.truncate(batch.len() / 2),
                Err(_) => {
                    let (id, why) = (first.id(), "the card cannot be admitted: knock again with a fresh one");
                    self.turn(Turn::Gone(id));
                    let events = self.answer_no(&[(first.clone(), (why, false))]);
                    self.door.untold.extend(events);
                    return Ok(None);
                }
            }
        }
    }

    fn open_to(&mut self, batch: &[Knock]) -> Result<Vec<u8>> {
        let cards = self.roles_for(batch);
        let draft = Draft::admitting(self.ground(), &cards, true)?;
        let Bundle { commit, welcome, tree } = self.commit_draft(&Intent::OpenDoor, draft)?;
        // There is one whenever somebody is admitted.
        let welcome = welcome.unwrap_or_default();
        let ids: BTreeSet<_> = batch.iter().map(Knock::id).collect();
        self.door.drop_where(|knock| ids.contains(&knock.id()));
        self.door.opening = Some(Opening { guests: batch.to_vec(), welcome, tree });
        Ok(commit)
    }

    /// The role that each comes in with: their link's. Who finds the stage full comes in all the same, to listen.
    fn roles_for(&self, batch: &[Knock]) -> Vec<(Card, Role)> {
        let mut places = MAX_ON_STAGE.saturating_sub(self.charter.standings().count());
        let role = |knock: &Knock| {
            if self.member(&knock.member()).is_some() {
                // Who comes back keeps their role.
                return Role::Listener;
            }
            let role = self.charter.link(&knock.link()).map_or(Role::Listener, |link| link.terms.role);
            if role == Role::Listener || places == 0 {
                return Role::Listener;
            }
            places -= 1;
            role
        };
        batch.iter().map(Knock::card).cloned().zip(batch.iter().map(role)).collect()
    }

    /// Who could be let in by the next commit, and to whom the door is shut as things are: at most [`MAX_BATCH`] of
    /// either.
    fn sift(&self) -> (Vec<Knock>, Vec<(Knock, No)>) {
        let (mut open, mut shut) = (Vec::new(), Vec::new());
        let mut used = BTreeSet::new();
        for knock in self.door.welcomed() {
            match self.shut_after(knock, open.len(), |link| used.contains(link)) {
                None if open.len() < MAX_BATCH => {
                    used.insert(knock.link());
                    open.push(knock.clone());
                }
                Some(no) if shut.len() < MAX_BATCH => shut.push((knock.clone(), no)),
                _ => {}
            }
        }
        (open, shut)
    }

    /// The door's own commit is merged: the answers to those it let in.
    pub(crate) fn answer_yes(&mut self, now: Duration) -> Option<Event> {
        let opening = self.door.opening.take()?;
        for knock in &opening.guests {
            self.door.came.insert(knock.member(), Came { now, knock: Some(knock.made_at()) });
        }
        let event = Event::Answered { answers: self.answers_of(&opening), tree: opening.tree.clone() };
        self.door.opened = self.journal.is_kept().then_some(opening);
        Some(event)
    }

    /// The answers to those whom the door's last commit let in, once more.
    pub(crate) fn answers_again(&self) -> Option<(Vec<Answer>, Option<&[u8]>)> {
        let opened = self.door.opened.as_ref()?;
        Some((self.answers_of(opened), opened.tree.as_deref()))
    }

    fn answers_of(&self, Opening { guests, welcome, tree }: &Opening) -> Vec<Answer> {
        let bucket = self.bucket();
        let tree = tree.as_deref().map(TreeId::of);
        // The room has moved on: an answer that fails must not keep that from anybody.
        let answers = guests.iter().filter_map(|knock| {
            let welcome = split_welcome(welcome, knock.card()).ok()?;
            let bucket = bucket.max(bucket_for(welcome.len()));
            let bytes = seal_answer(&Verdict::Admitted { welcome: &welcome, tree }, knock, bucket).ok()?;
            Some(Answer { knock: knock.id(), bytes })
        });
        answers.collect()
    }

    /// The room is in its next epoch: knocks that it has an answer to wait no longer.
    pub(crate) fn look_at_door(&mut self, now: Duration) -> Vec<Event> {
        self.end_refusals();
        let came: Vec<MemberId> = self.roster.came_in(self.epoch).collect();
        // Of somebody with a door key it is seen as they go.
        for id in came.iter().filter(|id| self.roster.door_key(id).is_none()) {
            let leaf = self.member(id).map(|member| member.leaf);
            let card = self.group.as_ref().zip(leaf).and_then(|(group, leaf)| group.making_at(leaf));
            if let Some(card) = card {
                self.door.used.note(*id, card);
            }
        }
        let me = self.charter.role(&self.identity.id());
        if may_let_in(me).is_err() {
            self.door.clear();
            return Vec::new();
        }
        self.door.note(&came, now);
        if !came.is_empty() {
            self.door.last = Some(now);
        }
        // Who has come in since has no need to; of whom was in before it is the way back.
        let (roster, epoch) = (&self.roster, self.epoch);
        self.door.drop_where(|knock| roster.since(&knock.member()) == Some(epoch));
        let (_, mut shut) = self.sift();
        let asking = self.door.asking.iter().filter_map(|knock| Some((knock.clone(), self.shut_for_ever(knock)?)));
        shut.extend(asking.take(MAX_BATCH));
        let ids: BTreeSet<_> = shut.iter().map(|(knock, _)| knock.id()).collect();
        self.door.drop_where(|knock| ids.contains(&knock.id()));
        self.door.gather(now);
        let mut events = mem::take(&mut self.door.untold);
        events.extend(self.answer_no(&shut));
        events
    }

    /// Somebody who may has turned a knock away. It counts for a knock that has come here, or once it does.
    ///
    /// A restore hears the word again, and comes to the same.
    pub(crate) fn hear_turned_away(&mut self, from: &Member, knock: &[u8; 16], whose: MemberId) -> Vec<Event> {
        if may_let_in(from.role).is_err() {
            return Vec::new();
        }
        let id = KnockId(*knock);
        if from.id == self.identity.id() {
            // It counted as it was said.
            let last = self.door.refusals.of(&whose, &id).filter(|refusal| self.door.refusals.ends(refusal));
            return last.map(kept_off).into_iter().collect();
        }
        let Some(waiting) = self.door.asking.iter().find(|waiting| waiting.id() == id) else {
            let may = may_let_in(self.charter.role(&self.identity.id())).is_ok();
            if may && !self.door.is_known(&id) && !self.door.early.iter().any(|(early, _)| *early == id) {
                self.door.early.push_back((id, from.id));
                if self.door.early.len() > EARLY {
                    self.door.early.pop_front();
                }
            }
            return Vec::new();
        };
        if waiting.member() != whose {
            return Vec::new();
        }
        let refusal = self.refusal_of(from.id, waiting);
        self.door.take(refusal.clone());
        self.told_of(&refusal)
    }

    /// What it is that `by` turns `knock` away: a member of the room is refused this once, and nothing is held against
    /// them.
    fn refusal_of(&self, by: MemberId, knock: &Knock) -> Turn {
        let whose = knock.member();
        if self.member(&whose).is_some() {
            return Turn::Gone(knock.id());
        }
        Turn::Refused(Refusal { whose, knock: knock.id(), link: knock.link(), by })
    }

    /// What is to be told of a refusal that has counted.
    fn told_of(&self, refusal: &Turn) -> Vec<Event> {
        match refusal {
            Turn::Refused(refusal) if self.door.refusals.ends(refusal) => vec![kept_off(refusal)],
            _ => Vec::new(),
        }
    }

    /// Somebody takes back what is held against `whose`.
    pub(crate) fn hear_forgiven(&mut self, from: &Member, whose: MemberId) -> Vec<Event> {
        if let Err(why) = may_let_in(from.role) {
            let why = denial(&from.name, "take back that somebody was turned away", why);
            return vec![Event::Refused { actor: Some(from.id), why }];
        }
        let event = Event::Forgiven { member: whose, by: from.id };
        self.door.refusals.forgive(&whose).then_some(event).into_iter().collect()
    }

    /// Refusals stand on the link, on the office of whoever made them, and on nobody's having come in since.
    fn end_refusals(&mut self) {
        let (charter, roster) = (&self.charter, &self.roster);
        let is_in_office = |by: &MemberId| may_let_in(charter.role(by)).is_ok();
        self.door.refusals.retain(|Refusal { whose, link, by, .. }| {
            is_in_office(by) && charter.link(link).is_some() && roster.find(whose).is_none()
        });
        self.door.early.retain(|(_, by)| is_in_office(by));
    }

    /// The cards by which those have come in whom a commit puts out or brings in: they admit nobody any more. Told while the
    /// roster is what it was before.
    pub(crate) fn note_used_cards(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Removed(Member { id, .. }) | Change::CameBack(id) = change
                && let (Some(door), date) = self.roster.dated_leaf(id)
            {
                self.door.used.note(*id, Making { key: door.0, date });
            }
        }
    }

    /// That a card has not let its owner in before, as far as this member has seen.
    pub(crate) fn check_unused(&self, card: &Card) -> Result<()> {
        // Whom no fresh card would help is told so by the judge.
        if self.door.used.contains(card) && !self.charter.is_banned(&card.id()) {
            return Err(Error::Denied(Box::new(denial(card.name(), "enter", used::WHY))));
        }
        Ok(())
    }

    /// Why the door is shut to a knock, and whether for good.
    fn shut_to(&self, knock: &Knock) -> Option<No> {
        let who = knock.member();
        let opening = self.door.opening.iter().flat_map(|opening| &opening.guests);
        if opening.into_iter().any(|coming| coming.member() == who) {
            return Some(("somebody with that key is on the way in", false));
        }
        let coming = self.door.coming(who).count();
        self.shut_after(knock, coming, |link| self.door.coming(who).any(|other| other.link() == *link))
    }

    /// Why the door is shut to a knock after `coming` others came in, by links some of which `is_used`.
    fn shut_after(&self, knock: &Knock, coming: usize, is_used: impl Fn(&LinkId) -> bool) -> Option<No> {
        let settings = self.settings();
        if let Some(no) = self.shut_for_ever(knock) {
            return Some(no);
        }
        if self.member(&knock.member()).is_some() {
            if self.is_back_by(knock.card()) {
                return Some(("somebody with that key is in the room", false));
            }
            // They have lost their keys: whatever else keeps people out, they are in.
            let why = "somebody with that key is in the room; ask a host to bring you back";
            return (!self.may_bring_back(knock.card())).then_some((why, false));
        }
        if settings.locked() {
            return Some(("the room is locked", false));
        }
        if self.roster.len() + coming >= settings.capacity() {
            return Some(("the room is full", false));
        }
        let one_shot = self.charter.link(&knock.link()).is_some_and(|link| link.terms.one_shot);
        (one_shot && is_used(&knock.link())).then_some(("the link is for one, and somebody else came by it", false))
    }

    /// Why the door is shut to a knock, whatever becomes of the room.
    fn shut_for_ever(&self, knock: &Knock) -> Option<No> {
        let who = knock.member();
        if self.charter.is_banned(&who) {
            return Some(("banned from the room", true));
        }
        if self.door.refusals.is_kept_off(&who, &knock.link()) && self.member(&who).is_none() {
            return Some(("turned away twice", true));
        }
        self.charter.link(&knock.link()).is_none().then_some(("the link has ended", false))
    }

    /// What is to be told of those to whom the door is shut.
    fn answer_no(&self, shut: &[(Knock, No)]) -> Vec<Event> {
        let bucket = self.bucket();
        let (mut events, mut answers) = (Vec::new(), Vec::new());
        for (knock, (why, for_good)) in shut {
            let verdict = Verdict::Refused { for_good: *for_good, reason: why };
            // One that fails, for want of randomness, leaves somebody waiting who may knock again.
            answers.extend(seal_answer(&verdict, knock, bucket).map(|bytes| Answer { knock: knock.id(), bytes }));
            events.push(Event::Refused { actor: Some(knock.member()), why: denial(knock.name(), "enter", *why) });
        }
        if !answers.is_empty() {
            events.push(Event::Answered { answers, tree: None });
        }
        events
    }

    /// How long answers are in this epoch, whatever they say: as long as a yes of the commit that has led here.
    fn bucket(&self) -> usize {
        // A charter that the room agrees on has been written before.
        let charter = self.charter.encode().map_or(0, |charter| charter.len());
        let is_inside = self.roster.len() <= TREE_APART;
        let tree = self.group.as_ref().filter(|_| is_inside).map_or(0, Group::tree_len);
        bucket_for(charter + AROUND_THE_CHARTER + tree)
    }
}

fn put_opening(opening: Option<&Opening>, out: &mut Writer) -> Result<()> {
    let guests = opening.map_or(&[][..], |opening| &opening.guests);
    out.count("knocks", guests.len())?;
    guests.iter().try_for_each(|knock| knock.save(out))?;
    out.long("welcome", opening.map_or(&[][..], |opening| &opening.welcome))?;
    let tree = opening.and_then(|opening| opening.tree.as_deref());
    out.flag(tree.is_some());
    out.long("tree", tree.unwrap_or_default())
}

/// Whether somebody in the role has a door to keep; if not, the rule against it.
fn may_let_in(role: Role) -> Result<(), &'static str> {
    permits(role, Action::Admit { role: Role::Listener })
}

fn kept_off(last: &Refusal) -> Event {
    Event::KeptOff { member: last.whose, link: last.link, by: last.by }
}

fn nobody() -> Error {
    Error::Unusable { what: "knock", why: "nobody waits by that name: somebody else has answered, or it never came" }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Waiting,
            party::{Door, LATER, guest},
        },
        *,
    };
    use crate::room::Setting;

    const NOW: Duration = Duration::from_secs(7);

    fn knock(door: &Door, name: &str) -> (Waiting, Vec<u8>) {
        guest(name).knock(&door.link, &door.plate(1), "", LATER).unwrap()
    }

    fn number(n: usize) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        id
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_youngest() {
        let mut keeper = Keeper::default();
        for n in 0..3 * REMEMBERED {
            assert!(!keeper.is_known(&KnockId(number(n))));
            keeper.see(KnockId(number(n)));
            assert!(keeper.seen.len() <= REMEMBERED && keeper.seen_at_all.len() == keeper.seen.len());
        }
        assert_eq!(keeper.seen.len(), REMEMBERED);
        assert!(keeper.is_known(&KnockId(number(2 * REMEMBERED))));
        assert!(!keeper.is_known(&KnockId(number(2 * REMEMBERED - 1))));
    }

    /// As many asking as there may be, all by ben's knock.
    fn crowd(door: &mut Door) {
        let (_, bytes) = knock(door, "ben");
        door.host.knocked(&bytes, NOW, LATER).unwrap();
        let ben = door.host.door.asking[0].clone();
        let many = (1..MAX_WAITING).map(|n| {
            let mut other = ben.clone();
            other.id = KnockId(number(n));
            other
        });
        door.host.door.asking.extend(many);
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let mut door = Door::new();
        crowd(&mut door);
        let (_, bytes) = knock(&door, "cem");
        let error = door.host.knocked(&bytes, NOW, LATER).unwrap_err();
        assert!(error.to_string().contains("4,096 people wait already"), "{error}");
        // It is not held against them.
        door.host.turn_away(&KnockId(number(1)), "").unwrap();
        assert!(matches!(&door.host.knocked(&bytes, NOW, LATER).unwrap()[..], [Event::Knocked { .. }]));
    }

    #[test]
    fn a_crowd_whose_link_ends_is_answered_little_by_little() {
        let mut door = Door::new();
        crowd(&mut door);
        let mut commit = door.host.revoke_link(&door.link.id()).unwrap();
        for left in [MAX_WAITING - MAX_BATCH, MAX_WAITING - 2 * MAX_BATCH] {
            let events = door.host.receive(&commit, NOW).unwrap();
            let answered = events.iter().find_map(|event| match event {
                Event::Answered { answers, .. } => Some(answers.len()),
                _ => None,
            });
            assert_eq!((answered, door.host.knocks().len()), (Some(MAX_BATCH), left));
            commit = door.host.refresh().unwrap();
        }
        let last = door.host.knocks().last().unwrap().id();
        let error = door.host.let_in(&last, NOW).unwrap_err();
        assert!(error.to_string().contains("the link has ended"), "{error}");
    }

    #[test]
    fn a_card_that_cannot_be_admitted_keeps_nobody_else_out() {
        let mut door = Door::new();
        let waiting: Vec<_> = ["ben", "eve", "cem", "mal", "dan"]
            .map(|name| {
                let (waiting, bytes) = knock(&door, name);
                door.host.knocked(&bytes, NOW, LATER).unwrap();
                door.host.let_in(&waiting.id(), NOW).unwrap();
                waiting
            })
            .into();
        // As if they had expired since, or brought another's keys: the group layer takes neither.
        for (bad, name) in [(1, "eve"), (3, "mal")] {
            let card = &mut door.host.door.welcome[bad].knock.card;
            *card = Card::new(vec![0; 9], card.id(), name.into(), card.proof().copied(), None);
        }
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        let mut commits = 0;
        for _ in 0..20 {
            if let Some(commit) = door.host.open_door(NOW + GATHERING).unwrap() {
                commits += 1;
                let events = door.host.receive(&commit, NOW).unwrap();
                // The yes comes first.
                let mut refused = false;
                for event in events {
                    match event {
                        Event::Answered { answers, .. } if !refused => yes.extend(answers),
                        Event::Answered { answers, .. } => no.extend(answers),
                        Event::Refused { why, .. } => {
                            assert!(why.why.contains("cannot be admitted"), "{why}");
                            refused = true;
                        }
                        _ => {}
                    }
                }
            }
        }
        let ids = |answers: &[Answer]| answers.iter().map(|answer| answer.knock).collect::<Vec<_>>();
        assert_eq!(ids(&yes), [0, 2, 4].map(|at| waiting[at].id()));
        assert_eq!(ids(&no), [1, 3].map(|at| waiting[at].id()));
        assert_eq!((commits, door.host.roster().count()), (3, 4));
        // With nobody else to let in the answer comes as soon as anything is told.
        let (mal, bytes) = knock(&door, "mal");
        door.host.knocked(&bytes, NOW, LATER).unwrap();
        door.host.let_in(&mal.id(), NOW).unwrap();
        let card = &mut door.host.door.welcome[0].knock.card;
        *card = Card::new(vec![0; 9], card.id(), "mal".into(), card.proof().copied(), None);
        assert!(door.host.open_door(NOW + GATHERING).unwrap().is_none());
        assert!(door.host.open_door(NOW + GATHERING).unwrap().is_none());
        let (_, bytes) = knock(&door, "fay");
        let events = door.host.knocked(&bytes, NOW, LATER).unwrap();
        assert!(matches!(&events[..], [Event::Refused { .. }, Event::Answered { .. }, Event::Knocked { .. }]));
    }

    #[test]
    fn an_answer_has_room_for_charter_and_tree_and_what_a_welcome_has_around_them() {
        let mut door = Door::new();
        for one_shot in [false, true] {
            let (link, commit) = door.host.issue_link(Terms { role: Role::Speaker, one_shot, expires: None }).unwrap();
            door.host.receive(&commit, NOW).unwrap();
            let plate = link.read_doorplate(&door.host.doorplate(&link).unwrap()).unwrap();
            let (waiting, bytes) = guest(&"n".repeat(64)).knock(&link, &plate, "", LATER).unwrap();
            door.host.knocked(&bytes, NOW, LATER).unwrap();
            door.host.let_in(&waiting.id(), NOW).unwrap();
            let commit = door.host.open_door(NOW + GATHERING).unwrap().unwrap();
            let opening = door.host.door.opening.as_ref().unwrap();
            let welcome = split_welcome(&opening.welcome, opening.guests[0].card()).unwrap().len();
            door.host.receive(&commit, NOW).unwrap();
            let tree = door.host.group().unwrap().tree_len();
            let around = welcome - door.host.charter.encode().unwrap().len() - tree;
            assert!(around <= AROUND_THE_CHARTER / 2, "{around} bytes");
        }
    }

    #[test]
    fn who_comes_for_a_full_stage_is_a_listener() {
        let mut door = Door::new();
        let (link, commit) =
            door.host.issue_link(Terms { role: Role::Speaker, one_shot: false, expires: None }).unwrap();
        door.host.receive(&commit, NOW).unwrap();
        let more = [Setting::Capacity(None), Setting::Entry(Entry::Link)];
        let commit = door.host.set_all(&more).unwrap();
        door.host.receive(&commit, NOW).unwrap();
        door.link = link;
        let plate = door.link.read_doorplate(&door.host.doorplate(&door.link).unwrap()).unwrap();
        for name in ["ben", "cem"] {
            let (_, bytes) = guest(name).knock(&door.link, &plate, "", LATER).unwrap();
            door.host.knocked(&bytes, NOW, LATER).unwrap();
        }
        // All places but one are taken, by people that this test does not bring in.
        let taken = (1..MAX_ON_STAGE - 1).map(|n| {
            let mut id = [0xFF; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            MemberId(id)
        });
        taken.for_each(|id| door.host.charter.set_role(id, Role::Speaker, 1));
        let welcome: Vec<_> = door.host.door.welcomed().cloned().collect();
        let roles: Vec<Role> = door.host.roles_for(&welcome).into_iter().map(|(_, role)| role).collect();
        assert_eq!(roles, [Role::Speaker, Role::Listener]);
    }

    #[test]
    fn who_may_let_in_no_more_forgets_who_waits_and_not_who_was_turned_away() {
        let mut door = Door::new();
        crowd(&mut door);
        let ben = door.host.door.asking[0].member();
        for n in [1, 2] {
            door.host.turn_away(&KnockId(number(n)), "").unwrap();
        }
        let keeper = &mut door.host.door;
        keeper.clear();
        // Ben's first knock, and the two made of it.
        assert_eq!((keeper.len(), keeper.seen.len()), (0, 3));
        assert!(door.host.kept_off().eq([(ben, door.link.id())]));
    }
}
