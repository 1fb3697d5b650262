//! Beside the voice: chat, reactions, and codes that two members compare.
//!
//! All of it travels as [words](super::words). What is in here goes when one is out of the room, and with
//! it every text and every key of a text.

use std::time::Duration;

use crate::{
    bytes::{Reader, Writer},
    error::{Error, Result},
    identity::{Member, MemberId, RoomCode},
    room::{
        Event, Room,
        chat::{CHAT_LABEL, Chat, ChatKeys, Message, MessageId, Reaction, SECRET_LEN},
        group::Group,
        said::Said,
        short_code::{self, Exchanges, Step},
        trust::{IdentityCheck, Trust},
        words::Words,
    },
};

/// What members say to each other beside the voice.
pub(super) struct Talk {
    /// How all of it, and all else that is said, travels.
    pub(super) words: Words,
    keys: ChatKeys,
    chat: Chat,
    codes: Exchanges,
}

impl Talk {
    pub(super) fn begin(me: MemberId, group: &Group) -> Result<Self> {
        let (epoch, secret) = (group.epoch(), group.export(CHAT_LABEL, SECRET_LEN)?);
        let codes = Exchanges::new(me, epoch, group.code());
        Ok(Self { words: Words::begin(group)?, keys: ChatKeys::new(epoch, secret)?, chat: Chat::default(), codes })
    }

    /// The room is in its next epoch.
    pub(super) fn enter(&mut self, group: &Group, code: RoomCode) -> Result<()> {
        self.codes.enter(group.epoch(), code);
        self.words.enter(group)?;
        self.keys.enter(group.epoch(), group.export(CHAT_LABEL, SECRET_LEN)?)
    }

    /// Writes which words came, and the chat. Codes are not compared over the end of a process.
    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        self.words.save(out)?;
        self.keys.save(out)?;
        self.chat.save(out)
    }

    /// What [`save`](Self::save) wrote.
    pub(super) fn load(saved: &mut Reader<'_>, me: MemberId, group: &Group, now: Duration) -> Result<Self> {
        let mut talk = Self::begin(me, group)?;
        talk.words.load(saved)?;
        talk.keys.load(saved)?;
        talk.chat = Chat::load(saved, now)?;
        Ok(talk)
    }

    /// Forgets what is not to outlive a process.
    pub(super) fn forget_unsaved(&mut self, me: MemberId, group: &Group) {
        self.chat.forget_vanishing();
        self.codes = Exchanges::new(me, group.epoch(), group.code());
    }

    /// What was said before one came back is there to be read while it lasts.
    pub(super) fn resume(&mut self, old: Self) {
        self.chat = old.chat;
    }

    /// Somebody is out of the room.
    pub(super) fn forget(&mut self, member: &MemberId) {
        self.codes.forget(member);
    }
}

/// Beside the voice.
impl Room {
    /// Says something to everybody in writing: a message for all, oneself included, and the id it has.
    ///
    /// With a `lifetime` (whole seconds) each honest member wipes the text from memory that long after it reached
    /// them, and calls [`Room::tick`] to that end. Nobody can make a dishonest one forget.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the text is empty, over [`MAX_TEXT`](crate::room::MAX_TEXT) bytes or holds a control
    /// character other than a line feed, or the lifetime is no whole number of seconds; [`Error::Closed`].
    pub fn say(&mut self, text: &str, lifetime: Option<Duration>) -> Result<(MessageId, Vec<u8>)> {
        let me = self.identity.id();
        let (id, sealed) = self.talk()?.keys.seal(&me, lifetime, text)?;
        Ok((id, self.say_to_all(&Said::Chat(sealed))?))
    }

    /// Reacts to what is heard: a message for all, oneself included.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn react(&mut self, reaction: &Reaction) -> Result<Vec<u8>> {
        self.say_to_all(&Said::Reaction(reaction.as_str().as_bytes().to_vec()))
    }

    /// What was said in writing and is not wiped yet, the oldest first. Empty once one is out.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.talk.iter().flat_map(|talk| talk.chat.iter())
    }

    /// One message, if it is not wiped yet.
    pub fn message(&self, id: &MessageId) -> Option<&Message> {
        self.talk.as_ref()?.chat.get(id)
    }

    /// Wipes a message at one's own end; `false` if it is not there.
    pub fn forget_message(&mut self, id: &MessageId) -> bool {
        self.journal.whole();
        self.talk.as_mut().is_some_and(|talk| talk.chat.forget(id))
    }

    /// Does what the time calls for: wipes what has outlived its time, and keeps the [`heartbeat`](crate::room::heartbeat)
    /// going, which begins with the first tick. Call it when [`Room::next_tick`] says so, or each second, and treat its
    /// events as those of [`Room::receive`].
    ///
    /// Call it in a deniable room that one is out of, too. When [`PUBLISH_AFTER`](crate::room::PUBLISH_AFTER) has passed
    /// it gives the media keys that one has used, once, as an [`Event::Send`] for the relay to hand to everybody
    /// ([`PublishedKeys`](crate::room::PublishedKeys)).
    pub fn tick(&mut self, now: Duration) -> Vec<Event> {
        let Some(talk) = &mut self.talk else {
            let published = self.spent.publish(&self.id, now);
            if published.is_some() {
                self.journal.whole();
            }
            return published.map(Event::Send).into_iter().collect();
        };
        let vanished = talk.chat.expire(now);
        if !vanished.is_empty() {
            // What is stored holds them sealed, and the keys to them.
            self.journal.whole();
        }
        let messages = vanished.into_iter().map(|message| Event::Vanished { message });
        let codes = talk.codes.expire(now).into_iter().map(|with| Event::CodeLapsed { with });
        let mut events: Vec<Event> = messages.chain(codes).collect();
        events.extend(self.beat(now));
        events
    }

    /// When [`Room::tick`] has something to do next: for the heartbeat, or for a message whose time is over; once out,
    /// when one's media keys are to be published, if they are. Ask again after each message that comes.
    pub fn next_tick(&self) -> Option<Duration> {
        let Some(talk) = &self.talk else { return self.spent.due() };
        talk.chat.next_expiry().into_iter().chain(self.next_beat()).min()
    }

    /// Asks a member to compare six digits, or agrees to what they asked ([`Event::CodeAsked`]): a message for all.
    /// When both have agreed each gets the same [`Event::ShortCode`], if they share the room: read it to each other.
    ///
    /// It is for reading aloud; [`Room::code`] is the whole, in words. Whoever is between the two guesses it right
    /// once in a million tries, and each try that fails is seen.
    ///
    /// # Errors
    /// [`Error::NotAMember`]; [`Error::Unusable`] if that is oneself, or it is under way; [`Error::Closed`].
    pub fn compare_with(&mut self, member: &MemberId, now: Duration) -> Result<Vec<u8>> {
        if self.member(member).is_none() {
            return Err(Error::NotAMember { who: member.to_string(), epoch: self.epoch });
        }
        let step = self.talk_mut()?.codes.begin(member, now)?;
        self.say_code(*member, &step)
    }

    /// Lets the app say who stands behind a key, from here on and for everybody in the room: the events tell what it
    /// doubts. Until then a room trusts the first key it meets under each name
    /// ([`TrustOnFirstUse`](super::TrustOnFirstUse)). Whoever has just come in learns by a fresh one of those which members
    /// have names that look the same.
    pub fn check_identities(&mut self, check: impl IdentityCheck + 'static) -> Vec<Event> {
        self.trust = Box::new(check);
        let members: Vec<MemberId> = self.roster().map(|member| member.id).collect();
        members.iter().filter_map(|id| self.doubt(id)).collect()
    }

    /// What the identity check says against a member.
    pub(super) fn doubt(&mut self, id: &MemberId) -> Option<Event> {
        let member = self.roster.find(id)?;
        match self.trust.check(&member.name, id) {
            Trust::Known | Trust::FirstSeen => None,
            trust => Some(Event::Doubtful { member: *id, trust }),
        }
    }

    /// Takes a line of chat.
    pub(super) fn hear_chat(&mut self, from: &Member, epoch: u64, line: &[u8], now: Duration) -> Result<Vec<Event>> {
        let talk = self.talk_mut()?;
        let opened = talk.keys.open(epoch, &from.id, line)?;
        let message = opened.id;
        let dropped = talk.chat.push(opened, now)?;
        let vanished = dropped.into_iter().map(|message| Event::Vanished { message });
        Ok(vanished.chain([Event::Said { message }]).collect())
    }

    /// Takes a step of a short code's exchange.
    pub(super) fn hear_code(&mut self, from: &Member, to: &MemberId, step: &[u8], now: Duration) -> Result<Vec<Event>> {
        let with = from.id;
        if *to != self.identity.id() || with == *to {
            return Ok(Vec::new());
        }
        let step = short_code::Message::from_bytes(step)?;
        Ok(match self.talk_mut()?.codes.take(&with, &step, now)? {
            Step::Asked => vec![Event::CodeAsked { by: with }],
            Step::Send(answer) => vec![Event::Send(self.say_code(with, &answer)?)],
            Step::SendAndCode(answer, code) => {
                vec![Event::Send(self.say_code(with, &answer)?), Event::ShortCode { with, code }]
            }
            Step::Code(code) => vec![Event::ShortCode { with, code }],
            Step::Ignored(_) => Vec::new(),
        })
    }

    fn say_code(&mut self, to: MemberId, step: &short_code::Message) -> Result<Vec<u8>> {
        self.say_to_all(&Said::Code { to, step: step.to_bytes() })
    }

    fn talk(&self) -> Result<&Talk> {
        self.talk.as_ref().ok_or(Error::Closed { epoch: self.epoch })
    }

    pub(super) fn talk_mut(&mut self) -> Result<&mut Talk> {
        self.talk.as_mut().ok_or(Error::Closed { epoch: self.epoch })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use hkdf::Hkdf;
    use sha2::Sha256;
    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        Identity, Settings,
        dump::{Needle, alone},
        media::scrub_stack,
    };

    fn chat_secret(room: &Room) -> Zeroizing<Vec<u8>> {
        room.group().unwrap().export(CHAT_LABEL, SECRET_LEN).unwrap()
    }

    /// The key of one message, as chat.rs documents it.
    #[inline(never)]
    fn message_key(room: &Room, id: &MessageId) -> Needle {
        let mut key = Zeroizing::new([0; 32]);
        let name = id.to_bytes();
        let info = [b"parlor chat message 1\0".as_slice(), &room.epoch.to_be_bytes(), &name[..32], &name[32..]];
        Hkdf::<Sha256>::from_prk(&chat_secret(room)).unwrap().expand_multi_info(&info, key.as_mut_slice()).unwrap();
        Needle::of(key.as_slice())
    }

    #[test]
    fn the_base_key_of_the_voices_is_nowhere_in_memory_once_they_have_their_keys() {
        let _alone = alone();
        let (mut room, mut voice) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        for _ in 0..2 {
            let (label, len) = (crate::media::BASE_KEY_LABEL, voice.suite().key_len());
            let base = Needle::of(&room.group().unwrap().export(label, len).unwrap());
            assert_eq!(base.found(), []);
            let refresh = room.refresh().unwrap();
            for event in room.receive(&refresh, Duration::ZERO).unwrap() {
                event.tell(&mut voice).unwrap();
            }
            assert_eq!(base.found(), []);
        }
    }

    #[test]
    fn keys_of_chat_are_nowhere_in_memory_once_their_epoch_is_long_over_or_one_is_out() {
        let _alone = alone();
        let now = Duration::ZERO;
        let (mut room, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        let (id, line) = room.say("hello", None).unwrap();
        room.receive(&line, now).unwrap();
        let key = message_key(&room, &id);
        scrub_stack();
        assert_eq!(key.found(), []);
        let early = Needle::of(&chat_secret(&room));
        for epoch in 1..=3 {
            assert!(!early.found().is_empty(), "epoch {epoch}");
            let refresh = room.refresh().unwrap();
            room.receive(&refresh, now).unwrap();
        }
        assert_eq!(early.found(), []);
        let last = Needle::of(&chat_secret(&room));
        assert!(!last.found().is_empty());
        let end = room.end().unwrap();
        room.receive(&end, now).unwrap();
        assert_eq!(last.found(), []);
    }
}
