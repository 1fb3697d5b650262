//! The door from inside: what a host or a moderator makes of knocks.
//!
//! The relay brings knocks to those who may let in. Each of them keeps a door of their own: who knocks, whom they
//! have let in or turned away. They need not agree: the room takes one commit that lets somebody in, and the others
//! learn of it by that.
//!
//! A relay may bring a knock again and again, and whoever holds a link may make as many as they like: a knock counts
//! once, is of no use when it is old, and what is kept is bounded.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use super::{
    Knock, KnockId, Link, LinkEntry, MAX_ADMITTERS, Terms, UnixTime, Verdict, bucket_for, make_doorplate, seal_answer,
};
use crate::{
    error::{Denial, Error, Item, Result},
    identity::{Member, MemberId, Role},
    room::{
        Event, Intent, Room,
        draft::Draft,
        group::{Bundle, split_welcome},
        judge::denial,
        policy::{Action, permits},
        said::Said,
        settings::Entry,
    },
};

/// How long those who were let in are gathered, so that one commit takes them all.
pub const GATHERING: Duration = Duration::from_millis(500);

/// The most who are let in by one commit.
pub const MAX_BATCH: usize = 256;

/// The most knocks that are looked at or let in at a time.
pub const MAX_WAITING: usize = 4_096;

/// How old a knock may be, by two clocks, in seconds, with [`UnixTime::SLACK`] to spare.
const FRESH: u64 = 10 * 60;

/// How many knocks are remembered, so that none counts twice.
const REMEMBERED: usize = 4 * MAX_WAITING;

/// How many knocks of one person are turned away before they are kept off.
const PATIENCE: u8 = 2;

/// How many bytes more than the room's charter a welcome for one has, at most.
const AROUND_THE_CHARTER: usize = 1_024;

/// One member's end of the door.
#[derive(Default)]
pub(crate) struct Keeper {
    /// Those that came, the oldest first, with when they were made.
    seen: VecDeque<KnockId>,
    seen_at_all: BTreeSet<KnockId>,
    /// Who waits for a word, in order of arrival.
    asking: Vec<Knock>,
    /// Who is to be let in by the next commit.
    welcome: Vec<Knock>,
    /// When the first of them came.
    since: Option<Duration>,
    /// The commit that is on its way, with what it brings those it lets in.
    opening: Option<Opening>,
    /// How often somebody was turned away.
    refusals: BTreeMap<MemberId, u8>,
}

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
    /// Whether `id` came before; from here on it did.
    fn is_known(&mut self, id: KnockId) -> bool {
        if !self.seen_at_all.insert(id) {
            return true;
        }
        self.seen.push_back(id);
        if self.seen.len() > REMEMBERED
            && let Some(oldest) = self.seen.pop_front()
        {
            self.seen_at_all.remove(&oldest);
        }
        false
    }

    fn is_kept_off(&self, id: &MemberId) -> bool {
        self.refusals.get(id).is_some_and(|times| *times >= PATIENCE)
    }

    /// Counts a refusal; gives whether it was the last.
    fn refuse(&mut self, id: MemberId) -> bool {
        if self.refusals.len() >= REMEMBERED && !self.refusals.contains_key(&id) {
            self.refusals.pop_first();
        }
        let times = self.refusals.entry(id).or_default();
        *times = times.saturating_add(1);
        *times >= PATIENCE
    }

    fn len(&self) -> usize {
        self.asking.len() + self.welcome.len()
    }

    fn let_in(&mut self, knock: Knock, now: Duration) {
        self.since.get_or_insert(now);
        self.welcome.push(knock);
    }

    /// The door's commit lost its race: its guests wait for the next.
    pub(crate) fn lost(&mut self) {
        if let Some(opening) = self.opening.take() {
            let later = mem::replace(&mut self.welcome, opening.guests);
            self.welcome.extend(later);
            self.since.get_or_insert(Duration::ZERO);
        }
    }

    /// Forgets the knocks that `is_over` says are.
    fn drop_where(&mut self, is_over: impl Fn(&Knock) -> bool) -> Vec<Knock> {
        let mut gone = Vec::new();
        for list in [&mut self.asking, &mut self.welcome] {
            gone.extend(list.extract_if(.., |knock| is_over(knock)));
        }
        if self.welcome.is_empty() {
            self.since = None;
        }
        gone
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
        let admitters: Vec<_> = self
            .charter
            .admitters(&entry.issuer)
            .into_iter()
            .filter_map(|id| Some((id, self.roster.door_key(&id)?)))
            .take(MAX_ADMITTERS)
            .collect();
        make_doorplate(link, &self.identity, self.settings().title(), &self.id, entry.terms, &admitters)
    }

    /// Takes a knock that the relay brought, at the monotonic time `now` and the time of day `wall`.
    ///
    /// In a room whose entry is [`Entry::Link`] who knocks is let in by the next [`Room::open_door`]; else it is an
    /// [`Event::Knocked`], to be answered by [`Room::let_in`] or [`Room::turn_away`]. Who is banned, was turned away
    /// twice, or comes to a locked or a full room is answered at once ([`Event::Answered`]).
    ///
    /// # Errors
    /// Nothing has changed: [`Error::Denied`] if one may not let anybody in, or if the link has ended or expired, or
    /// the knock is too old, with the reason; [`Error::Malformed`], [`Error::TooLarge`] if it is no knock of this
    /// room, was altered, or came before; [`Error::Unusable`] if [`MAX_WAITING`] wait already; [`Error::Closed`].
    pub fn knocked(&mut self, knock: &[u8], now: Duration, wall: UnixTime) -> Result<Vec<Event>> {
        let door = self.group()?.door_key();
        let me = self.charter.role(&self.identity.id());
        let denied = |who: &str, what: &str, why| Err(Error::Denied(Box::new(denial(who, what, why))));
        if let Err(why) = permits(me, Action::Admit { role: Role::Listener }) {
            return denied(self.identity.name(), "answer a knock", why);
        }
        let id = Knock::link_of(knock)?;
        let Some(LinkEntry { terms, .. }) = self.charter.link(&id).copied() else {
            return denied("somebody", "knock", "their link is none of this room: revoked, used, or another room's");
        };
        if terms.expires.is_some_and(|expires| expires.plus(UnixTime::SLACK) < wall) {
            return denied("somebody", "knock", "their link has expired; issue another");
        }
        let knock = Knock::open(knock, door, &id, &self.id)?;
        let (made_at, oldest) = (knock.made_at(), UnixTime(wall.0.saturating_sub(FRESH + UnixTime::SLACK)));
        if made_at < oldest || made_at > wall.plus(UnixTime::SLACK) {
            let why = "they did so too long ago, or their clock is wrong: they may knock again";
            return denied(knock.name(), "knock", why);
        }
        if self.door.len() >= MAX_WAITING {
            let why = "4,096 people wait already: let in or turn away some of them, or revoke the link";
            return Err(Error::Unusable { what: "knock", why });
        }
        if self.door.is_known(knock.id()) {
            return Err(Error::Malformed { what: Item::Knock, why: "it came before" });
        }
        if let Some((why, for_good)) = self.shut_to(&knock) {
            return self.answer_no(&knock, why, for_good);
        }
        let (id, member, link) = (knock.id(), knock.member(), knock.link());
        if self.settings().entry() == Entry::Link {
            self.door.let_in(knock, now);
            return Ok(Vec::new());
        }
        self.door.asking.push(knock);
        Ok(vec![Event::Knocked { knock: id, member, link }])
    }

    /// Who knocks and has no answer yet, in order of arrival.
    pub fn knocks(&self) -> impl ExactSizeIterator<Item = &Knock> {
        self.door.asking.iter()
    }

    /// Lets in who made a knock: they are in the commit that the next [`Room::open_door`] gives.
    ///
    /// # Errors
    /// [`Error::Unusable`] if nobody waits by that name: somebody else has answered, or it never came.
    pub fn let_in(&mut self, knock: &KnockId, now: Duration) -> Result<()> {
        let knock = self.take_knock(knock)?;
        self.door.let_in(knock, now);
        Ok(())
    }

    /// Turns away who made a knock, with at most 100 bytes to it: an answer for the relay to keep for them, and a
    /// word to the others who might let them in. Who was turned away twice is kept off.
    ///
    /// # Errors
    /// [`Error::Unusable`] if nobody waits by that name, or the reason is too long or holds a control character;
    /// [`Error::Closed`].
    pub fn turn_away(&mut self, knock: &KnockId, reason: &str) -> Result<(Answer, Vec<u8>)> {
        self.group()?;
        let bucket = self.bucket()?;
        let waiting = self.door.asking.iter().find(|waiting| waiting.id() == *knock).ok_or_else(nobody)?;
        let member = waiting.member();
        let for_good = self.door.refusals.get(&member).is_some_and(|times| times.saturating_add(1) >= PATIENCE);
        let bytes = seal_answer(&Verdict::Refused { for_good, reason }, waiting, bucket)?;
        let word = self.say_to_all(&Said::TurnedAway { knock: *knock.as_bytes(), whose: member })?;
        self.take_knock(knock)?;
        self.door.refuse(member);
        Ok((Answer { knock: *knock, bytes }, word))
    }

    /// The commit that lets in all who are to be, once [`GATHERING`] has passed since the first of them; `None` if
    /// there is none, it is too soon, or a commit of one's own is on its way. Call it a few times a second.
    ///
    /// Their answers come with [`Event::Answered`] when the commit is received; if it loses its race they wait for
    /// the next.
    ///
    /// # Errors
    /// As [`Room::admit_all`].
    pub fn open_door(&mut self, now: Duration) -> Result<Option<Vec<u8>>> {
        let due = self.door.since.is_some_and(|since| now.saturating_sub(since) >= GATHERING);
        if !due || self.is_pending() {
            return Ok(None);
        }
        self.open_at_once()
    }

    /// The commit that lets in all who are to be.
    pub(crate) fn open_at_once(&mut self) -> Result<Option<Vec<u8>>> {
        self.group()?;
        let batch: Vec<Knock> = self.door.welcome.iter().take(MAX_BATCH).cloned().collect();
        if batch.is_empty() {
            return Ok(None);
        }
        let me = self.charter.role(&self.identity.id());
        let cards: Vec<_> = batch
            .iter()
            .map(|knock| {
                let terms = self.charter.link(&knock.link()).map(|link| link.terms.role);
                let role = terms.filter(|role| permits(me, Action::Admit { role: *role }).is_ok());
                (knock.card().clone(), role.unwrap_or_default())
            })
            .collect();
        let draft = Draft::admitting(self.ground(), &cards)?;
        let Bundle { commit, welcome, tree } = self.commit_draft(&Intent::OpenDoor, draft, true)?;
        let Some(welcome) = welcome else { return Err(nobody()) };
        self.door.welcome.drain(..batch.len());
        self.door.since = self.door.since.filter(|_| !self.door.welcome.is_empty());
        self.door.opening = Some(Opening { guests: batch, welcome, tree });
        Ok(Some(commit))
    }

    /// The door's own commit is merged: the answers to those it let in.
    pub(crate) fn answer_yes(&mut self) -> Result<Option<Event>> {
        let Some(Opening { guests, welcome, tree }) = self.door.opening.take() else { return Ok(None) };
        let bucket = self.bucket()?;
        let answers = guests.iter().map(|knock| {
            let welcome = split_welcome(&welcome, knock.card())?;
            let bytes =
                seal_answer(&Verdict::Admitted { welcome: &welcome }, knock, bucket.max(bucket_for(welcome.len())))?;
            Ok(Answer { knock: knock.id(), bytes })
        });
        Ok(Some(Event::Answered { answers: answers.collect::<Result<_>>()?, tree }))
    }

    /// The room is in its next epoch: knocks that it has an answer to wait no longer.
    pub(crate) fn look_at_door(&mut self) -> Result<Vec<Event>> {
        let me = self.charter.role(&self.identity.id());
        if permits(me, Action::Admit { role: Role::Listener }).is_err() {
            self.door = Keeper::default();
            return Ok(Vec::new());
        }
        let (roster, charter) = (&self.roster, &self.charter);
        self.door.drop_where(|knock| roster.find(&knock.member()).is_some());
        let shut: Vec<KnockId> = {
            let is_shut = |knock: &Knock| charter.link(&knock.link()).is_none() || charter.is_banned(&knock.member());
            self.door.asking.iter().chain(&self.door.welcome).filter(|knock| is_shut(knock)).map(Knock::id).collect()
        };
        let mut events = Vec::new();
        for knock in self.door.drop_where(|knock| shut.contains(&knock.id())) {
            let (why, for_good) = self.shut_to(&knock).unwrap_or(("the door is shut", false));
            events.extend(self.answer_no(&knock, why, for_good)?);
        }
        Ok(events)
    }

    /// Somebody else who may has turned a knock away.
    pub(crate) fn hear_turned_away(&mut self, from: &Member, knock: &[u8; 16], whose: MemberId) {
        if permits(from.role, Action::Admit { role: Role::Listener }).is_err() || from.id == self.identity.id() {
            return;
        }
        let before = self.door.asking.len();
        self.door.asking.retain(|waiting| waiting.id().as_bytes() != knock);
        if self.door.asking.len() < before || !self.door.refusals.contains_key(&whose) {
            self.door.refuse(whose);
        }
    }

    /// Why the door is shut to a knock, and whether for good.
    fn shut_to(&self, knock: &Knock) -> Option<(&'static str, bool)> {
        let settings = self.settings();
        let member = knock.member();
        let link = self.charter.link(&knock.link());
        let is_used = |other: &Knock| other.link() == knock.link();
        if self.charter.is_banned(&member) {
            return Some(("they are banned", true));
        }
        if self.door.is_kept_off(&member) {
            return Some(("they were turned away twice", true));
        }
        if self.member(&member).is_some() {
            return Some(("somebody with that key is in the room", false));
        }
        if settings.locked() {
            return Some(("the room is locked", false));
        }
        if self.roster.len() + self.door.welcome.len() >= settings.capacity() {
            return Some(("the room is full", false));
        }
        match link {
            None => Some(("their link has ended", false)),
            Some(link) if link.terms.one_shot && self.door.welcome.iter().any(is_used) => {
                Some(("their link is for one, and somebody else came by it", false))
            }
            Some(_) => None,
        }
    }

    fn answer_no(&self, knock: &Knock, why: &'static str, for_good: bool) -> Result<Vec<Event>> {
        let bytes = seal_answer(&Verdict::Refused { for_good, reason: why }, knock, self.bucket()?)?;
        let why: Denial = denial(knock.name(), "enter", why);
        let answers = vec![Answer { knock: knock.id(), bytes }];
        Ok(vec![Event::Refused { actor: Some(knock.member()), why }, Event::Answered { answers, tree: None }])
    }

    fn take_knock(&mut self, knock: &KnockId) -> Result<Knock> {
        let at = self.door.asking.iter().position(|waiting| waiting.id() == *knock).ok_or_else(nobody)?;
        Ok(self.door.asking.remove(at))
    }

    /// How long answers are in this epoch, whatever they say.
    fn bucket(&self) -> Result<usize> {
        Ok(bucket_for(self.charter.encode()?.len() + AROUND_THE_CHARTER))
    }
}

fn nobody() -> Error {
    Error::Unusable { what: "knock", why: "nobody waits by that name: somebody else has answered, or it never came" }
}
