//! The stage: hands, invitations to speak, microphones.
//!
//! Who may speak is the charter's to say, and changes by commits. What is here is what members say of themselves
//! (a hand, a microphone) or ask of each other, by [words](super::words): everybody shows the same, and nobody can say
//! it for another. What a member says of themselves is their whole stance under a count that grows, so that words out
//! of order do no harm; an answer names the invitation it is to, so that an old one accepts no later one.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    bytes::{Reader, Writer},
    error::{Denial, Error, Result},
    identity::{Member, MemberId, Role},
    room::{
        Event, Room,
        judge::denial,
        policy::{Action, permits},
        roster::Roster,
        said::{Said, Stance},
        snapshot::{put_ids, read_ids},
        words::WordId,
    },
};

/// What the members have said.
#[derive(Default)]
pub(super) struct Stage {
    stances: BTreeMap<MemberId, Word>,
    /// Whose hand is up, the first first.
    hands: Vec<MemberId>,
    /// Who is invited to speak, by whom, and by which word.
    invitations: BTreeMap<MemberId, (MemberId, WordId)>,
    /// The last word of one's own that is on its way.
    mine: Stance,
}

/// A member's last word, and since when it may not open their microphone.
#[derive(Clone, Copy, Default)]
struct Word {
    stance: Stance,
    /// The epoch in which they were last muted: what they said before it does not switch their microphone on.
    muted_in: u64,
}

impl Stage {
    /// Whether `id` has switched their microphone off.
    fn is_mic_off(&self, id: &MemberId) -> bool {
        self.stances.get(id).is_some_and(|word| word.stance.mic_off)
    }

    /// Takes `member`'s word on themselves, said in `epoch`.
    pub(super) fn hear(&mut self, member: &Member, epoch: u64, mut word: Stance) -> Vec<Event> {
        let id = member.id;
        let Word { stance: was, muted_in } = self.stances.get(&id).copied().unwrap_or_default();
        if word.turn <= was.turn {
            return Vec::new();
        }
        word.mic_off |= member.muted_by.is_some() || epoch < muted_in;
        self.stances.insert(id, Word { stance: word, muted_in });
        let mut events = Vec::new();
        if was.mic_off != word.mic_off {
            events.push(Event::Mic { member: id, on: !word.mic_off });
        }
        let was_up = self.hands.contains(&id);
        if word.hand_up && !was_up && !member.role.on_stage() {
            self.hands.push(id);
            events.push(Event::HandRaised { member: id });
        } else if !word.hand_up && was_up {
            self.hands.retain(|hand| *hand != id);
            events.push(Event::HandLowered { member: id });
        }
        events
    }

    /// Writes all of it.
    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        out.count("stances", self.stances.len())?;
        for (id, Word { stance, muted_in }) in &self.stances {
            out.put(id.as_bytes());
            out.put(&muted_in.to_be_bytes());
            put_stance(stance, out);
        }
        put_ids(self.hands.iter(), out)?;
        out.count("invitations", self.invitations.len())?;
        for (member, (by, word)) in &self.invitations {
            out.put(member.as_bytes());
            out.put(by.as_bytes());
            out.put(&word.0);
        }
        put_stance(&self.mine, out);
        Ok(())
    }

    /// What [`save`](Self::save) wrote.
    pub(super) fn load(saved: &mut Reader<'_>) -> Result<Self> {
        let mut stances = BTreeMap::new();
        for _ in 0..saved.count(46)? {
            let (id, muted_in) = (MemberId::from_bytes(saved.array()?), saved.number()?);
            stances.insert(id, Word { stance: read_stance(saved)?, muted_in });
        }
        let hands = read_ids(saved)?;
        let mut invitations = BTreeMap::new();
        for _ in 0..saved.count(80)? {
            let [member, by] = [saved.array()?, saved.array()?].map(MemberId::from_bytes);
            invitations.insert(member, (by, WordId(saved.array()?)));
        }
        Ok(Self { stances, hands, invitations, mine: read_stance(saved)? })
    }

    /// One has said this of oneself, and it is on its way.
    pub(super) const fn declared(&mut self, stance: Stance) {
        self.mine = stance;
    }

    /// `by`, whose role allows it, would like `member` to speak, and says so by that word.
    fn invite(&mut self, member: MemberId, by: MemberId, word: WordId) -> Event {
        self.invitations.insert(member, (by, word));
        Event::InvitedToSpeak { member, by }
    }

    /// `member` answers who invited them by that word.
    fn answer(&mut self, member: MemberId, to: WordId, accepted: bool) -> Option<Event> {
        let (by, _) = *self.invitations.get(&member).filter(|(_, word)| *word == to)?;
        self.invitations.remove(&member);
        Some(Event::InvitationAnswered { member, by, accepted })
    }

    /// Forgets what somebody said who is out.
    pub(super) fn forget(&mut self, id: &MemberId) {
        self.stances.remove(id);
        self.hands.retain(|hand| hand != id);
        self.invitations.remove(id);
    }

    /// `id` is muted in `epoch`: that switches their microphone off, and nobody but they switch it on. If it is oneself
    /// (`is_me`), a word on its way has been said before.
    pub(super) fn muted(&mut self, id: MemberId, epoch: u64, is_me: bool) {
        let word = self.stances.entry(id).or_default();
        word.stance.mic_off = true;
        word.muted_in = epoch;
        self.mine.mic_off |= is_me;
    }

    /// Forgets what the next epoch has no place for: the words of those who left, the hands of those on stage.
    pub(super) fn follow(&mut self, roster: &Roster) {
        let role = |id: &MemberId| roster.find(id).map(|member| member.role);
        self.stances.retain(|id, _| role(id).is_some());
        self.hands.retain(|id| role(id).is_some_and(|role| !role.on_stage()));
        self.invitations.retain(|id, (by, _)| role(id) == Some(Role::Listener) && role(by).is_some());
        let up: BTreeSet<&MemberId> = self.hands.iter().collect();
        for (id, word) in &mut self.stances {
            word.stance.hand_up &= up.contains(id);
        }
    }
}

/// Words to everybody. Each gives a message for everybody in the room, oneself included: it takes effect at one's own
/// end too where the relay puts it.
impl Room {
    /// Raises one's hand: "I would like to speak."
    ///
    /// # Errors
    /// [`Error::Unusable`] for somebody on stage; [`Error::Closed`].
    pub fn raise_hand(&mut self) -> Result<Vec<u8>> {
        if self.me().is_some_and(|me| me.role.on_stage()) {
            return Err(Error::Unusable { what: "hand", why: "you are on stage already: speak" });
        }
        self.declare(|stance| stance.hand_up = true)
    }

    /// Lowers one's hand.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn lower_hand(&mut self) -> Result<Vec<u8>> {
        self.declare(|stance| stance.hand_up = false)
    }

    /// Says that one's microphone is on or off, so that others show the truth: what they receive while it is off they
    /// do not play.
    ///
    /// Switch one's own voice at once with [`Voice::set_mic`](crate::Voice::set_mic), and do not wait for the relay.
    ///
    /// # Errors
    /// [`Error::Denied`] to switch it on while a host or a moderator has muted one; [`Error::Closed`].
    pub fn set_mic(&mut self, on: bool) -> Result<Vec<u8>> {
        if on && self.me().is_some_and(|me| me.muted_by.is_some()) {
            let why = "they are muted: a host or a moderator can let them speak again";
            return Err(Error::Denied(Box::new(denial(self.identity.name(), "switch their microphone on", why))));
        }
        self.declare(|stance| stance.mic_off = !on)
    }

    /// Says one's hand and microphone again, for those who came in since; `None` if there is nothing to say.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn restate(&mut self) -> Result<Option<Vec<u8>>> {
        self.group()?;
        let Stance { hand_up, mic_off, .. } = self.my_stance();
        if hand_up || mic_off { self.declare(|_| {}).map(Some) } else { Ok(None) }
    }

    /// Invites a listener to speak. If they accept, call them on stage with [`Room::set_role`].
    ///
    /// # Errors
    /// [`Error::Denied`] if one's role does not allow it; [`Error::NotAMember`]; [`Error::Unusable`] for somebody on
    /// stage; [`Error::Closed`].
    pub fn invite_to_speak(&mut self, member: &MemberId) -> Result<Vec<u8>> {
        let Some(Member { name, role, .. }) = self.member(member) else {
            return Err(Error::NotAMember { who: member.to_string(), epoch: self.epoch });
        };
        if role.on_stage() {
            return Err(Error::Unusable { what: "member", why: "they are on stage already" });
        }
        let me = self.charter.role(&self.identity.id());
        may_invite(me, self.identity.name(), name).map_err(|denial| Error::Denied(Box::new(denial)))?;
        self.say_to_all(&Said::Invite(*member))
    }

    /// Accepts or declines an invitation to speak.
    ///
    /// # Errors
    /// [`Error::Unusable`] if nobody has invited one; [`Error::Closed`].
    pub fn answer_invitation(&mut self, accept: bool) -> Result<Vec<u8>> {
        let Some((_, invitation)) = self.stage.invitations.get(&self.identity.id()).copied() else {
            return Err(Error::Unusable { what: "invitation", why: "nobody has invited you: raise your hand" });
        };
        self.say_to_all(&Said::Answer { invitation, yes: accept })
    }

    /// Whose hand is up, the first first.
    pub fn hands(&self) -> &[MemberId] {
        &self.stage.hands
    }

    /// Whether a member's microphone is on, as far as anybody has said: it is until they say otherwise.
    pub fn is_mic_on(&self, member: &MemberId) -> bool {
        !self.stage.is_mic_off(member)
    }

    /// Who has invited `member` to speak and has no answer yet.
    pub fn invited_by(&self, member: &MemberId) -> Option<MemberId> {
        self.stage.invitations.get(member).map(|(by, _)| *by)
    }

    fn my_stance(&self) -> Stance {
        let heard = self.stage.stances.get(&self.identity.id()).copied().unwrap_or_default().stance;
        // A word on its way stands for what is heard already.
        if self.stage.mine.turn > heard.turn { self.stage.mine } else { heard }
    }

    fn declare(&mut self, change: impl FnOnce(&mut Stance)) -> Result<Vec<u8>> {
        self.group()?;
        let mut stance = self.my_stance();
        change(&mut stance);
        stance.turn = stance.turn.max(self.stage.mine.turn).saturating_add(1);
        let message = self.say_to_all(&Said::Stance(stance))?;
        self.stage.declared(stance);
        Ok(message)
    }

    /// Makes a word for everybody, and keeps it until it comes back.
    pub(super) fn say_to_all(&mut self, said: &Said) -> Result<Vec<u8>> {
        self.group()?;
        if !self.echoes.has_room(self.epoch) {
            let why = "64 messages of yours have not come back from the relay: wait until some do, or until the next epoch but two";
            return Err(Error::Unusable { what: "message", why });
        }
        let talk = self.talk.as_mut().ok_or(Error::Closed { epoch: self.epoch })?;
        let message = talk.words.seal(&self.identity, &said.encode())?;
        self.journal.said(&message);
        self.echoes.said(&message, self.epoch);
        Ok(message)
    }

    /// Takes an invitation of `from` to `whom`, by that word.
    pub(super) fn hear_invitation(&mut self, from: &Member, whom: &MemberId, word: WordId) -> Vec<Event> {
        let Some(Member { name, role, .. }) = self.member(whom) else { return Vec::new() };
        if role.on_stage() {
            return Vec::new();
        }
        match may_invite(from.role, &from.name, name) {
            Ok(()) => vec![self.stage.invite(*whom, from.id, word)],
            Err(why) => vec![Event::Refused { actor: Some(from.id), why }],
        }
    }

    /// Takes an answer to the invitation that is that word.
    pub(super) fn hear_answer(&mut self, from: &Member, to: WordId, accepted: bool) -> Vec<Event> {
        self.stage.answer(from.id, to, accepted).into_iter().collect()
    }
}

fn put_stance(stance: &Stance, out: &mut Writer) {
    out.put(&stance.turn.to_be_bytes());
    out.flag(stance.hand_up);
    out.flag(stance.mic_off);
}

fn read_stance(saved: &mut Reader<'_>) -> Result<Stance> {
    Ok(Stance { turn: u32::from_be_bytes(saved.array()?), hand_up: saved.flag()?, mic_off: saved.flag()? })
}

/// Whoever may promote a listener may ask them.
fn may_invite(role: Role, name: &str, whom: &str) -> Result<(), Denial> {
    permits(role, Action::Move { from: Role::Listener, to: Role::Speaker })
        .map_err(|why| denial(name, &format!("invite {whom} to speak"), why))
}
