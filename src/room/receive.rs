//! Receiving: the one way a room changes.
//!
//! Reading, checking and merging a commit are one step here, for openmls reads each message once: one that was
//! read and not merged could not be read again.

use std::{collections::VecDeque, mem, time::Duration};

use sha2::{Digest as _, Sha256};

use crate::{
    bytes::{Reader, Writer},
    error::{Denial, Detail, Error, Item, Result},
    identity::{Member, MemberId, Role},
    media::sweep_stack,
    room::{
        Admitted, Event, Intent, MAX_MESSAGE, PublishedKeys, Room,
        chat::Reaction,
        check_size,
        comeback::{self, Comeback, Ending},
        door::Keeper,
        epoch_keys,
        group::{Bundle, Incoming, Staged},
        heartbeat::{Heart, is_signal},
        judge::{Change, Proposed, Verdict, denial, judge},
        open,
        roster::Shift,
        said::Said,
        settings::Setting,
        stage::Stage,
        words::{PAST_EPOCHS, WordId, is_word},
    },
};

/// How many refused commits of one epoch are known again.
const REFUSED: usize = 64;

/// A commit of one's own on its way.
pub(super) struct Pending {
    pub(super) hash: Hash,
    pub(super) intent: Intent,
    pub(super) verdict: Verdict,
    /// Whether it was made since the room was, or was restored.
    pub(super) is_of_this_process: bool,
    /// Its messages: whoever keeps the room has them to send again.
    pub(super) bundle: Bundle,
}

impl Pending {
    pub(super) fn new(bundle: Bundle, intent: Intent, verdict: Verdict) -> Self {
        Self { hash: hash(&bundle.commit), intent, verdict, is_of_this_process: true, bundle }
    }
}

impl Room {
    /// Takes the next message of the relay's order, one's own included, at the monotonic time `now`.
    ///
    /// A commit that the policy refuses is [`Event::Refused`] and changes nothing. A message of one's own that
    /// has nothing more to say gives no events; nor do the keys that somebody [publishes](PublishedKeys) who is out.
    ///
    /// # Errors
    /// The room is as it was: [`Error::TooLarge`] above [`MAX_MESSAGE`]; [`Error::Malformed`];
    /// [`Error::WrongEpoch`]; [`Error::Unauthentic`] (of another room, damaged, seen before); [`Error::WrongClock`] if this
    /// machine's clock, set right, may let it be read;
    /// [`Error::Unusable`] if it is a commit of one's own that was abandoned: others go on without you;
    /// [`Error::Closed`] once one is out.
    pub fn receive(&mut self, message: &[u8], now: Duration) -> Result<Vec<Event>> {
        let events = self.take_in(message, now);
        if events.is_ok() {
            self.leaves.hear(self.leaving.iter(), now);
        }
        sweep_stack();
        events
    }

    // A call of its own, so that what it leaves on the stack lies where `sweep_stack` lays zeros after it.
    #[inline(never)]
    fn take_in(&mut self, message: &[u8], now: Duration) -> Result<Vec<Event>> {
        check_size(Item::Message, message, MAX_MESSAGE)?;
        self.group()?;
        if is_signal(message) {
            return self.hear_signal(message, now);
        }
        let hash = hash(message);
        if let Some(pending) = self.pending.take_if(|pending| pending.hash == hash) {
            if pending.verdict.ends() {
                return Ok(self.end_by(pending.verdict.by, now));
            }
            let shift = open(&mut self.group, self.epoch)?.merge_pending()?;
            // Its path is for those in the room, and nobody has the key at one's own leaf but who made the commit.
            self.speaks |= pending.is_of_this_process;
            if self.journal.is_kept()
                && let Bundle { welcome: Some(welcome), tree, .. } = pending.bundle
            {
                self.admitted = Some(Admitted { welcome, tree });
            }
            let mut events = self.advance(pending.hash, pending.verdict, shift, None, now)?;
            events.extend(self.answer_yes(now));
            events.extend(self.look_at_door(now));
            return Ok(events);
        }
        match self.echoes.take(&hash) {
            None => {}
            Some(Echo::Said { .. }) => return self.hear_word(message, true, now),
            Some(Echo::Abandoned { epoch }) if epoch == self.epoch => {
                self.comeback.lose(Ending { epoch, commit: hash });
                let why = "the relay has taken a commit that you abandoned: the others go on without you; \
                           call `Room::come_back`";
                return Err(Error::Unusable { what: "Room::abandon", why });
            }
            Some(Echo::Idle | Echo::Abandoned { .. }) => return Ok(Vec::new()),
        }

        // No MLS message, and none of this room's business: they are for whoever is shown a recording one day.
        if PublishedKeys::from_bytes(message).is_ok() {
            return Ok(Vec::new());
        }
        if comeback::is_request(message) {
            return self.hear_request(message, now);
        }
        if is_word(message) {
            return self.hear_word(message, false, now);
        }

        if self.refused.contains(&hash) {
            return Err(Error::Malformed { what: Item::Message, why: "it was refused before" });
        }
        let group = open(&mut self.group, self.epoch)?;
        let incoming =
            group.read(message, self.charter.garden.as_ref(), &mut self.failures, now).inspect_err(|error| {
                if matches!(error, Error::WrongEpoch { message, room, .. } if message.saturating_add(1) == *room) {
                    self.stagger.hears_a_loser();
                }
            })?;
        // Whatever it says, its sender's ratchet has moved.
        self.journal.received(message);
        match incoming {
            Incoming::Commit(staged, proposed) => self.weigh(hash, staged, *proposed, now),
            Incoming::Unreadable { from } => Ok(vec![self.get_stuck(hash, from)]),
            Incoming::Twin => {
                self.suspect_twin();
                let why = Detail::new("it says that it is from your leaf, and is none that you made as it stands");
                Err(Error::Unauthentic { what: Item::Message, epoch: self.epoch, why })
            }
            Incoming::Foreign { from, what } => {
                let actor = from.and_then(|leaf| self.roster.at(leaf));
                let name = actor.map_or("somebody", |member| member.name.as_str());
                let why = denial(name, what, "no room takes that; a room has commands for what may be done");
                Ok(self.refuse(hash, actor.map(|member| member.id), why))
            }
        }
    }

    /// Merges another's commit, if the policy allows it.
    fn weigh(&mut self, commit: Hash, staged: Staged, proposed: Proposed, now: Duration) -> Result<Vec<Event>> {
        let actor = self.roster.at(proposed.committer).map(|member| member.id);
        let verdict = match judge(self.ground(), proposed) {
            Ok(verdict) => verdict,
            Err(why) => return Ok(self.refuse(commit, actor, why)),
        };
        if staged.removes_me() {
            let (by, me) = (verdict.by, self.identity.id());
            let is_back =
                |change: &Change| matches!(change, Change::CameBack(id) | Change::Joined { id, .. } if *id == me);
            let is_replaced = verdict.changes.iter().any(is_back);
            let asked = self.leaving.contains(&me);
            self.close(now);
            return Ok(vec![if is_replaced { Event::Replaced { by } } else { Event::Closed { by, asked } }]);
        }
        if verdict.ends() {
            return Ok(self.end_by(verdict.by, now));
        }
        let shift = open(&mut self.group, self.epoch)?.merge(staged)?;
        let lost = self.pending.take().map(|pending| {
            self.door.lost();
            self.echoes.lost(pending.hash);
            pending.intent
        });
        let mut events = self.advance(commit, verdict, shift, lost, now)?;
        events.extend(self.look_at_door(now));
        Ok(events)
    }

    /// A commit is against the rules. Finding that out again would cost as much as the first time.
    fn refuse(&mut self, commit: Hash, actor: Option<MemberId>, why: Denial) -> Vec<Event> {
        self.refused.push_back(commit);
        if self.refused.len() > REFUSED {
            self.refused.pop_front();
        }
        vec![Event::Refused { actor, why }]
    }

    /// Takes what somebody said, once. What this process has said itself `is_own`: nobody else can have made it.
    fn hear_word(&mut self, message: &[u8], is_own: bool, now: Duration) -> Result<Vec<Event>> {
        let word = self.talk_mut()?.words.open(message)?;
        let epoch = word.epoch;
        let since = self.roster.find(&word.who).zip(self.roster.since(&word.who));
        let Some(member) = since.filter(|(_, since)| *since <= epoch).map(|(member, _)| member.clone()) else {
            let why = Detail::new("whom it names is not in the room, or was not in that epoch");
            return Err(Error::Unauthentic { what: Item::Message, epoch: self.epoch, why });
        };
        let words = &mut self.talk.as_mut().ok_or(Error::Closed { epoch })?.words;
        words.check(&word)?;
        if !is_own {
            words.verify(&word, &mut self.failures, now)?;
        }
        words.mark(&word);
        self.stagger.hears(&member.id);
        self.journal.received(message);
        let flood = self.floods.count(member.id, now).map(|per_second| Event::Flood { member: member.id, per_second });
        let mut events = self.hear_said(&member, epoch, word.id(), word.said(), now)?;
        events.extend(flood);
        Ok(events)
    }

    fn hear_said(
        &mut self,
        member: &Member,
        epoch: u64,
        word: WordId,
        said: &[u8],
        now: Duration,
    ) -> Result<Vec<Event>> {
        Ok(match Said::decode(said)? {
            None => Vec::new(),
            Some(Said::Leave) => self.wants_to_leave(member.id),
            Some(Said::Stance(stance)) => self.stage.hear(member, epoch, stance),
            Some(Said::Invite(whom)) => self.hear_invitation(member, &whom, word),
            Some(Said::Answer { invitation, yes }) => self.hear_answer(member, invitation, yes),
            Some(Said::Chat(line)) => self.hear_chat(member, epoch, &line, now)?,
            Some(Said::Reaction(reaction)) => {
                vec![Event::Reacted { member: member.id, reaction: Reaction::from_peer(&reaction)? }]
            }
            Some(Said::Code { to, step }) => self.hear_code(member, &to, &step, now)?,
            Some(Said::TurnedAway { knock, whose }) => self.hear_turned_away(member, &knock, whose),
            Some(Said::Forgiven(whose)) => self.hear_forgiven(member, whose),
        })
    }

    fn wants_to_leave(&mut self, member: MemberId) -> Vec<Event> {
        if self.leaving.insert(member) { vec![Event::WantsToLeave { member }] } else { Vec::new() }
    }

    /// Enters the epoch that the group has just entered, by that commit.
    fn advance(
        &mut self,
        commit: Hash,
        verdict: Verdict,
        mut shift: Shift,
        lost: Option<Intent>,
        now: Duration,
    ) -> Result<Vec<Event>> {
        let Verdict { by, mut changes, charter } = verdict;
        let was_asked = self.ground().is_asked(&by) && changes == [Change::Refreshed];
        let charter_before = charter.map(|charter| mem::replace(&mut self.charter, charter));
        let group = self.group()?;
        let (epoch, code) = (group.epoch(), group.code());
        let changed = group.changed_seats(&mut shift, |leaf| self.roster.at(leaf).is_some())?;
        self.journal.whole();
        self.refused.clear();
        self.count_turn(by, &changes, was_asked);
        let ended = mem::replace(&mut self.epoch, epoch);
        (self.code, self.since) = (code, now);
        self.note_used_cards(&changes);
        self.comeback.follow(by, Ending { epoch: ended, commit });
        self.roster.follow(&shift, changed, charter_before.as_ref(), &self.charter, epoch);
        self.stage.follow(&self.roster);
        if lost.is_some() {
            self.tend_later(now);
        }
        self.tend(shift.has_added, now);
        self.stagger.hears(&by);
        self.stagger.keep(|id| self.roster.find(id).is_some());

        self.note_media_key();
        let group = self.group.as_ref().ok_or(Error::Closed { epoch })?;
        let keys = epoch_keys(group, &self.charter, &self.roster, now, self.speaks)?;
        if let Some(talk) = &mut self.talk {
            talk.enter(group, code)?;
        }
        let mut events = vec![Event::Rekeyed(keys)];
        events.extend(lost.map(|intent| Event::Superseded { by, intent }));
        self.put_in_order(&mut changes);
        let outdated = changes.iter().any(|change| match change {
            Change::Set(Setting::Title(_)) => true,
            Change::Removed(Member { role, .. }) => *role >= Role::Moderator,
            Change::Moved { id, from } => (*from).max(self.charter.role(id)) >= Role::Moderator,
            // Who came back has another door key.
            Change::Joined { id, .. } | Change::CameBack(id) => self.charter.role(id) >= Role::Moderator,
            _ => false,
        });
        for change in changes {
            self.tell(change, by, &mut events);
        }
        let me = self.identity.id();
        if outdated && self.charter.links().any(|link| link.issuer == me) {
            events.push(Event::DoorplateOutdated);
        }
        events.extend(self.beat_on(now));
        Ok(events)
    }

    /// Counts how many commits in a row were made by members who neither let in nor put out, and were not asked to.
    fn count_turn(&mut self, by: MemberId, changes: &[Change], was_asked: bool) {
        let lets_in = changes.iter().any(|change| matches!(change, Change::Joined { .. } | Change::CameBack(_)));
        let may_moderate = self.roster.find(&by).is_some_and(|member| member.role >= Role::Moderator);
        self.streak = if lets_in || may_moderate { 0 } else { self.streak.saturating_add(u8::from(!was_asked)) };
    }

    /// Puts changes in an order that all members share: openmls gives back a commit's parts in any.
    fn put_in_order(&self, changes: &mut [Change]) {
        let leaf = |id: &MemberId| self.member(id).map(|member| member.leaf);
        changes.sort_by_cached_key(|change| match change {
            Change::Removed(member) => (0, Some(member.leaf)),
            Change::Joined { id, .. } | Change::CameBack(id) => (1, leaf(id)),
            Change::Moved { id, .. } => (2, leaf(id)),
            Change::Muted(id) | Change::MuteLifted(id) => (3, leaf(id)),
            // In the judge's order, which all members share.
            _ => (4, None),
        });
    }

    /// Puts a change in the terms of those who use the room.
    fn tell(&mut self, change: Change, by: MemberId, events: &mut Vec<Event>) {
        let event = match change {
            Change::Joined { id, link } => {
                events.push(Event::Joined { member: id, by, link });
                return events.extend(self.doubt(&id));
            }
            Change::CameBack(member) => {
                if let Some(talk) = &mut self.talk {
                    talk.forget(&member);
                }
                self.stage.forget(&member);
                self.leaving.remove(&member);
                let is_muted = self.member(&member).is_some_and(|member| member.muted_by.is_some());
                if is_muted {
                    self.stage.muted(member, self.epoch, false);
                }
                events.push(Event::CameBack { member, by });
                Event::Mic { member, on: !is_muted }
            }
            Change::Removed(Member { id: member, name, .. }) => {
                if let Some(talk) = &mut self.talk {
                    talk.forget(&member);
                }
                self.floods.forget(&member);
                // Who is put out and let in again by one commit begins anew.
                self.stage.forget(&member);
                if self.member(&member).is_some() {
                    events.push(Event::Mic { member, on: true });
                }
                let asked = self.leaving.remove(&member);
                if asked { Event::Left { member, name } } else { Event::Removed { member, name, by } }
            }
            Change::Banned(member) => Event::Banned { member, by },
            Change::BanLifted(member) => Event::BanLifted { member, by },
            Change::Moved { id, from } => Event::RoleChanged { member: id, from, by },
            Change::Muted(member) => {
                self.stage.muted(member, self.epoch, member == self.identity.id());
                events.push(Event::Muted { member, by });
                Event::Mic { member, on: false }
            }
            Change::MuteLifted(member) => {
                events.push(Event::MuteLifted { member, by });
                // Who came in while they were muted has not heard that their microphone is off.
                Event::Mic { member, on: false }
            }
            Change::Leaving(member) => return events.extend(self.wants_to_leave(member)),
            Change::HostsGone => Event::ListenOnly { by },
            Change::Set(setting) => Event::SettingChanged { setting, by },
            Change::LinkIssued(link) => Event::LinkIssued { link, by },
            Change::LinkEnded(link) => Event::LinkEnded { link, by },
            Change::Refreshed => Event::Refreshed { member: by },
            Change::Ended => Event::Ended { by },
        };
        events.push(event);
    }

    /// A host has ended the room.
    fn end_by(&mut self, by: MemberId, now: Duration) -> Vec<Event> {
        self.close(now);
        vec![Event::Ended { by }]
    }

    /// Erases what one has no right to once out. What is to be published of one's own stays until then.
    fn close(&mut self, now: Duration) {
        self.journal.whole();
        self.admitted = None;
        self.spent.close(now);
        self.group = None;
        self.pending = None;
        self.leaving.clear();
        self.stage = Stage::default();
        self.talk = None;
        self.door = Keeper::default();
        self.heart = Heart::default();
        self.comeback = Comeback::default();
    }
}

pub(super) type Hash = [u8; 32];

pub(super) fn hash(message: &[u8]) -> Hash {
    Sha256::digest(message).into()
}

/// One's own messages that the relay sends back, by hash: openmls cannot read what it wrote, and words that have not
/// come back are to be sent again after a restore.
#[derive(Default)]
pub(super) struct Echoes {
    /// The oldest first.
    seen: VecDeque<(Hash, Echo)>,
}

enum Echo {
    /// Said in `epoch`: it is heard when it comes back.
    Said { epoch: u64, message: Vec<u8> },
    /// It lost its race: nothing to do.
    Idle,
    /// Dropped in `epoch` by one's own wish.
    Abandoned { epoch: u64 },
}

impl Echoes {
    /// The most words on their way, and half of what is kept.
    const MOST: usize = 64;

    pub(super) fn said(&mut self, message: &[u8], epoch: u64) {
        self.push(hash(message), Echo::Said { epoch, message: message.to_vec() });
    }

    fn lost(&mut self, hash: Hash) {
        self.push(hash, Echo::Idle);
    }

    pub(super) fn abandoned(&mut self, hash: Hash, epoch: u64) {
        self.push(hash, Echo::Abandoned { epoch });
    }

    /// Writes them.
    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        out.count("messages", self.seen.len())?;
        for (hash, echo) in &self.seen {
            out.put(hash);
            match echo {
                Echo::Idle => out.put(&[0]),
                Echo::Said { epoch, message } => {
                    out.put(&[1]);
                    out.put(&epoch.to_be_bytes());
                    out.long("message", message)?;
                }
                Echo::Abandoned { epoch } => {
                    out.put(&[2]);
                    out.put(&epoch.to_be_bytes());
                }
            }
        }
        Ok(())
    }

    /// What [`save`](Self::save) wrote.
    pub(super) fn load(saved: &mut Reader<'_>) -> Result<Self> {
        let mut echoes = Self::default();
        for _ in 0..saved.count(33)? {
            let hash = saved.array()?;
            let echo = match saved.byte()? {
                0 => Echo::Idle,
                1 => Echo::Said { epoch: saved.number()?, message: saved.long()?.to_vec() },
                2 => Echo::Abandoned { epoch: saved.number()? },
                _ => return Err(saved.malformed("it holds a message of unknown kind")),
            };
            echoes.push(hash, echo);
        }
        Ok(echoes)
    }

    /// The words that have not come back, said in `oldest` or later, the first first.
    pub(super) fn on_their_way(&self, oldest: u64) -> impl Iterator<Item = &[u8]> {
        self.seen.iter().filter_map(move |(_, echo)| match echo {
            Echo::Said { epoch, message, .. } if *epoch >= oldest => Some(message.as_slice()),
            _ => None,
        })
    }

    /// Whether there is room for another word, said in `epoch`, that is to come back. Words of epochs that are too far gone
    /// to be heard are on their way no more.
    pub(super) fn has_room(&self, epoch: u64) -> bool {
        self.on_their_way(epoch.saturating_sub(PAST_EPOCHS)).count() < Self::MOST
    }

    /// The oldest makes room, what is to be heard yet last of all.
    fn push(&mut self, hash: Hash, echo: Echo) {
        if self.seen.len() >= 2 * Self::MOST {
            let at = self.seen.iter().position(|(_, echo)| !matches!(echo, Echo::Said { .. }));
            self.seen.remove(at.unwrap_or(0));
        }
        self.seen.push_back((hash, echo));
    }

    /// What came back. What was said is heard once; of all else the memory stays, for the relay may send it again.
    fn take(&mut self, hash: &Hash) -> Option<Echo> {
        let (_, echo) = self.seen.iter_mut().rev().find(|(seen, _)| seen == hash)?;
        match echo {
            Echo::Said { .. } => Some(mem::replace(echo, Echo::Idle)),
            Echo::Idle => Some(Echo::Idle),
            Echo::Abandoned { epoch } => Some(Echo::Abandoned { epoch: *epoch }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_are_few_and_the_youngest() {
        let mut echoes = Echoes::default();
        for n in 0..1_000_u32 {
            echoes.said(&n.to_be_bytes(), 0);
            assert!(echoes.seen.len() <= 2 * Echoes::MOST);
        }
        assert!(!echoes.has_room(PAST_EPOCHS) && echoes.has_room(PAST_EPOCHS + 1), "what is lost is not waited for");
        assert!(echoes.take(&hash(&999_u32.to_be_bytes())).is_some());
        assert!(echoes.take(&hash(&0_u32.to_be_bytes())).is_none());
    }
}
