//! Chat beside the voice: texts that only members read, and that are gone when their time is over.
//!
//! ```text
//! MLS exporter ─► chat secret of an epoch ─► HKDF-Expand(epoch, sender, number) ─► key of one message
//! ```
//!
//! A text is sealed here before the group layer carries it, and opened after: no other library ever holds it in the
//! clear, so nothing but this module has to wipe it. Its key seals this one message, and so the nonce is zeros.
//!
//! Invariant: text lies in three places only, all on the heap, none of which ever grows or moves: what is being
//! sealed, what was just opened, and a [`Message`]. Each is wiped when it is dropped. The caller's own copies are the
//! caller's.
//!
//! Who said a message is for the room to prove, by its MLS signature: every member holds every chat key. A hostile
//! member can fill the chat, which drops the oldest messages then, and nothing more. The length of a text shows in
//! steps of 64 bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem, str,
    time::Duration,
};

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    bytes::{Reader, Writer},
    error::{Detail, Error, Item, Result},
    identity::MemberId,
    media::{Backend, Suite, scrub_stack, sframe::Aead},
    random,
    text::{self, check_line},
};

/// The longest text of a chat message in bytes of UTF-8.
pub const MAX_TEXT: usize = 2_000;

/// The longest reaction in bytes of UTF-8: one emoji, with its skin tone and its joiners.
pub const MAX_REACTION: usize = 16;

/// The most messages that a chat keeps.
pub(crate) const MAX_MESSAGES: usize = 1_000;

/// The most text that a chat keeps, in bytes.
pub(crate) const MAX_CHAT: usize = 256 * 1024;

/// The MLS exporter label of an epoch's chat secret, with an empty context.
pub(crate) const CHAT_LABEL: &str = "parlor chat 1";

/// The length of a chat secret.
pub(crate) const SECRET_LEN: usize = 32;

/// The chat secrets of this many past epochs are kept, for messages that a commit has overtaken.
const PAST_EPOCHS: usize = 2;

const VERSION: u8 = 1;
/// Version and number, in the clear.
const HEADER: usize = 1 + 16;
/// Lifetime and length, before the text.
const PREFIX: usize = 4 + 2;
/// What is sealed is padded to a multiple of this.
const PAD: usize = 64;
const TAG: usize = 16;
const MAX_SEALED: usize = HEADER + (PREFIX + MAX_TEXT).next_multiple_of(PAD) + TAG;
const NONCE: [u8; 12] = [0; 12];

/// Names one message in its room: who said it, and a random number of theirs, so that nobody can take the id of
/// another's message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    from: MemberId,
    number: [u8; 16],
}

impl MessageId {
    /// The id whose bytes these are.
    pub fn from_bytes(bytes: &[u8; 48]) -> Self {
        let mut id = Self { from: MemberId::from_bytes([0; 32]), number: [0; 16] };
        let (from, number) = bytes.split_at(32);
        id.from.0.copy_from_slice(from);
        id.number.copy_from_slice(number);
        id
    }

    /// Who said it, then its number.
    pub fn to_bytes(&self) -> [u8; 48] {
        let mut bytes = [0; 48];
        for (to, from) in bytes.iter_mut().zip(self.from.as_bytes().iter().chain(&self.number)) {
            *to = *from;
        }
        bytes
    }

    /// Who said it.
    pub const fn from(&self) -> MemberId {
        self.from
    }
}

impl fmt::Display for MessageId {
    /// Who said it and four bytes of its number: enough to tell messages apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.number;
        write!(f, "{}/{a:02x}{b:02x}{c:02x}{d:02x}", self.from)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// What one has answered a message with, without words: an emoji.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Reaction(Box<str>);

impl Reaction {
    /// A reaction of 1 to [`MAX_REACTION`] bytes of UTF-8, without spaces and whatever turns or breaks a line,
    /// and with something that shows.
    ///
    /// That it is an emoji is not checked: which there are changes with every year's Unicode.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) if it is anything else.
    pub fn new(text: &str) -> Result<Self> {
        let why = if text.is_empty() {
            "a reaction is not empty"
        } else if text.len() > MAX_REACTION {
            "a reaction is at most 16 bytes, room for one emoji"
        } else if text.contains(char::is_whitespace) || check_line(text).is_err() {
            "a reaction shows, and holds no space and nothing that turns or breaks a line"
        } else {
            return Ok(Self(text.into()));
        };
        Err(Error::Malformed { what: Item::Message, why })
    }

    /// The reaction in a member's message.
    pub(crate) fn from_peer(bytes: &[u8]) -> Result<Self> {
        let text = str::from_utf8(bytes);
        Self::new(text.map_err(|_| Error::Malformed { what: Item::Message, why: "a reaction is UTF-8" })?)
    }

    /// The emoji.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The chat secrets of the room's epoch and of the last few, wiped when they are gone by or dropped.
pub(crate) struct ChatKeys {
    current: Secret,
    past: VecDeque<Secret>,
}

struct Secret {
    epoch: u64,
    bytes: Zeroizing<Vec<u8>>,
}

impl ChatKeys {
    /// The keys of a room that one enters in `epoch`; `secret` is what MLS exports there under [`CHAT_LABEL`],
    /// [`SECRET_LEN`] bytes.
    pub(crate) fn new(epoch: u64, secret: Zeroizing<Vec<u8>>) -> Result<Self> {
        Ok(Self { current: Secret::new(epoch, secret)?, past: VecDeque::with_capacity(PAST_EPOCHS + 1) })
    }

    /// The room is in `epoch`, a later one.
    pub(crate) fn enter(&mut self, epoch: u64, secret: Zeroizing<Vec<u8>>) -> Result<()> {
        let secret = Secret::new(epoch, secret)?;
        if epoch <= self.current.epoch {
            return Err(Error::Unusable { what: "epoch", why: "a chat goes to later epochs only" });
        }
        self.past.push_front(mem::replace(&mut self.current, secret));
        self.past.truncate(PAST_EPOCHS);
        Ok(())
    }

    /// Writes the secrets of past epochs: that of the current one is MLS's to give.
    pub(crate) fn save(&self, out: &mut Writer) -> Result<()> {
        out.count("chat secrets", self.past.len())?;
        for Secret { epoch, bytes } in &self.past {
            out.put(&epoch.to_be_bytes());
            out.put(bytes);
        }
        Ok(())
    }

    /// Takes in what [`save`](Self::save) wrote.
    pub(crate) fn load(&mut self, saved: &mut Reader<'_>) -> Result<()> {
        for _ in 0..saved.count(8 + SECRET_LEN)? {
            let epoch = saved.number()?;
            let mut secret = Zeroizing::new(Vec::with_capacity(SECRET_LEN));
            secret.extend_from_slice(saved.bytes(SECRET_LEN)?);
            self.past.push_back(Secret::new(epoch, secret)?);
        }
        self.past.truncate(PAST_EPOCHS);
        Ok(())
    }

    /// Seals a text of `sender`'s in the current epoch, to be gone `lifetime` after it arrives; the bytes are for the
    /// group layer to carry.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the text is empty, over [`MAX_TEXT`], does not show, or turns or breaks the text
    /// beside it, or if the lifetime is not 1 to 2^32 - 1 whole seconds; [`Error::Randomness`].
    pub(crate) fn seal(
        &self,
        sender: &MemberId,
        lifetime: Option<Duration>,
        text: &str,
    ) -> Result<(MessageId, Vec<u8>)> {
        check_text(text).map_err(|why| Error::Unusable { what: "text", why })?;
        let lifetime = whole_seconds(lifetime)?;
        // Drawn here, so that no key ever seals twice.
        let number = *random::bytes()?;
        let sealed = self.seal_as(sender, &number, lifetime, text);
        scrub_stack();
        Ok((MessageId { from: *sender, number }, sealed?))
    }

    /// Opens what `sender` sealed in `epoch`.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Malformed`]; [`Error::WrongEpoch`] if the epoch's secret is not here;
    /// [`Error::Unauthentic`] if the tag does not verify.
    pub(crate) fn open(&self, epoch: u64, sender: &MemberId, bytes: &[u8]) -> Result<Opened> {
        let opened = self.open_as(epoch, sender, bytes);
        scrub_stack();
        opened
    }

    // Calls of their own, so that what they leave on the stack lies where `scrub_stack` lays zeros after them.
    #[inline(never)]
    fn seal_as(&self, sender: &MemberId, number: &[u8; 16], lifetime: u32, text: &str) -> Result<Vec<u8>> {
        let key = self.current.key(sender, number)?;
        let padded = (PREFIX + text.len()).next_multiple_of(PAD);
        let len = u16::try_from(text.len()).map_err(|_| Error::Unusable { what: "text", why: "it is too long" })?;
        // At its full size from the start: growing would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER + padded + TAG));
        bytes.push(VERSION);
        bytes.extend_from_slice(number);
        bytes.extend_from_slice(&lifetime.to_be_bytes());
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(HEADER + padded, 0);
        let (header, body) = bytes.split_at_mut(HEADER);
        let tag = key.seal_in_place(&NONCE, header, body)?;
        bytes.extend_from_slice(&tag);
        Ok(mem::take(&mut *bytes))
    }

    #[inline(never)]
    fn open_as(&self, epoch: u64, sender: &MemberId, bytes: &[u8]) -> Result<Opened> {
        if bytes.len() > MAX_SEALED {
            return Err(Error::TooLarge { what: Item::Message, bytes: bytes.len(), limit: MAX_SEALED });
        }
        let Some((header @ [VERSION, number @ ..], sealed)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(malformed("it is no chat message that this version knows"));
        };
        if sealed.len() < PAD + TAG || sealed.len() % PAD != TAG {
            return Err(malformed("a chat message is padded to a multiple of 64 bytes"));
        }
        let secret = std::iter::once(&self.current).chain(&self.past).find(|secret| secret.epoch == epoch);
        let secret =
            secret.ok_or(Error::WrongEpoch { what: Item::Message, message: epoch, room: self.current.epoch })?;
        let key = secret.key(sender, number)?;
        let mut body = Zeroizing::new(Vec::with_capacity(sealed.len()));
        body.extend_from_slice(sealed);
        let Ok(plain) = key.open_in_place(&NONCE, header, &mut body) else {
            let why = Detail::new("it was not sealed by its sender in its epoch");
            return Err(Error::Unauthentic { what: Item::Message, epoch, why });
        };
        let (lifetime, text) = read_plain(plain)?;
        Ok(Opened { id: MessageId { from: *sender, number: *number }, lifetime, text })
    }
}

impl fmt::Debug for ChatKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatKeys").field("epoch", &self.current.epoch).finish_non_exhaustive()
    }
}

impl Secret {
    fn new(epoch: u64, bytes: Zeroizing<Vec<u8>>) -> Result<Self> {
        if bytes.len() != SECRET_LEN {
            return Err(Error::Unusable { what: "secret", why: "a chat secret is 32 bytes" });
        }
        Ok(Self { epoch, bytes })
    }

    /// The key of one message. The AEAD wipes itself.
    fn key(&self, sender: &MemberId, number: &[u8; 16]) -> Result<Aead> {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        self.derive(sender, number, &mut key)?;
        // This lays zeros over what the derivation left on the stack.
        Aead::new(Suite::ChaCha20Poly1305, Backend::default(), key.as_slice())
    }

    #[inline(never)]
    fn derive(&self, sender: &MemberId, number: &[u8; 16], key: &mut [u8; 32]) -> Result<()> {
        let wrong = Error::Unusable { what: "secret", why: "HKDF makes no key of it" };
        let Ok(hkdf) = Hkdf::<Sha256>::from_prk(&self.bytes) else { return Err(wrong) };
        let info = [b"parlor chat message 1\0".as_slice(), &self.epoch.to_be_bytes(), sender.as_bytes(), number];
        hkdf.expand_multi_info(&info, key).map_err(|_| wrong)
    }
}

/// A message that was opened, on its way into the [`Chat`].
pub(crate) struct Opened {
    pub(crate) id: MessageId,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) text: Zeroizing<String>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("id", &self.id).field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// What was sealed: lifetime in seconds or 0, length, text, zeros.
fn read_plain(plain: &[u8]) -> Result<(Option<Duration>, Zeroizing<String>)> {
    let cut = || malformed("its length is not what it says");
    let (lifetime, rest) = plain.split_first_chunk().ok_or_else(cut)?;
    let (len, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let (lifetime, len) = (u32::from_be_bytes(*lifetime), usize::from(u16::from_be_bytes(*len)));
    let (text, padding) = rest.split_at_checked(len).ok_or_else(cut)?;
    if plain.len() != (PREFIX + len).next_multiple_of(PAD) || padding.iter().any(|byte| *byte != 0) {
        return Err(malformed("its padding is not what it should be"));
    }
    let read = str::from_utf8(text).map_err(|_| malformed("its text is not UTF-8"))?;
    check_text(read).map_err(malformed)?;
    let mut text = Zeroizing::new(String::with_capacity(len));
    text.push_str(read);
    Ok(((lifetime > 0).then(|| Duration::from_secs(lifetime.into())), text))
}

const fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: Item::Message, why }
}

/// What every text must satisfy, whoever it came from.
fn check_text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("it is empty")
    } else if text.len() > MAX_TEXT {
        Err("it is longer than 2,000 bytes: say it in two messages")
    } else {
        text::check_text(text)
    }
}

fn whole_seconds(lifetime: Option<Duration>) -> Result<u32> {
    let Some(lifetime) = lifetime else { return Ok(0) };
    match u32::try_from(lifetime.as_secs()) {
        Ok(seconds @ 1..) if lifetime.subsec_nanos() == 0 => Ok(seconds),
        _ => Err(Error::Unusable { what: "lifetime", why: "give whole seconds, 1 to 4,294,967,295" }),
    }
}

/// A message of the chat. Its text is wiped when it leaves the chat.
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// Who said it.
    pub from: MemberId,
    /// When it came.
    pub at: Duration,
    /// When its text is wiped: its lifetime after it came here, whenever it was sent. `None` keeps it until it makes
    /// way for later ones, or the room ends.
    pub until: Option<Duration>,
    text: Zeroizing<String>,
}

impl Message {
    /// What was said. Whoever copies it wipes the copy too.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it takes up, with what a message takes beside its text.
    fn takes(&self) -> usize {
        self.text.len() + MAX_CHAT / MAX_MESSAGES
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("id", &self.id).field("until", &self.until).finish_non_exhaustive()
    }
}

/// The messages of a room, the oldest first: at most [`MAX_MESSAGES`] and [`MAX_CHAT`] bytes of text. Beyond that whoever
/// takes up the most makes room.
///
/// Time should not go back; where it does all the same, each message keeps what was left of its life at the last call
/// before, and so outlives its time by what had passed since that call, not by the jump.
#[derive(Default)]
pub(crate) struct Chat {
    messages: VecDeque<Message>,
    /// The bytes of all texts.
    bytes: usize,
    /// What each who has messages here takes up.
    taken: BTreeMap<MemberId, usize>,
    /// The last call's time.
    now: Duration,
}

impl Chat {
    /// Takes a message that came at `at`, and gives the ids of those that made way for it.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a message of that id is there.
    pub(crate) fn push(&mut self, opened: Opened, at: Duration) -> Result<Vec<MessageId>> {
        let Opened { id, lifetime, text } = opened;
        if self.get(&id).is_some() {
            return Err(malformed("a message of its id is in the chat already"));
        }
        self.tick(at);
        let mut dropped = Vec::new();
        while self.messages.len() >= MAX_MESSAGES || self.bytes + text.len() > MAX_CHAT {
            let Some(at) = self.first_to_go() else { break };
            let Some(oldest) = self.messages.remove(at) else { break };
            self.bytes -= oldest.text.len();
            give_back(&mut self.taken, &oldest);
            dropped.push(oldest.id);
        }
        self.bytes += text.len();
        let until = lifetime.map(|lifetime| at.saturating_add(lifetime));
        let message = Message { id, from: id.from, at, until, text };
        *self.taken.entry(message.from).or_default() += message.takes();
        self.messages.push_back(message);
        Ok(dropped)
    }

    /// Writes the messages that are to stay.
    pub(crate) fn save(&self, out: &mut Writer) -> Result<()> {
        let staying = || self.messages.iter().filter(|message| message.until.is_none());
        out.count("chat", staying().count())?;
        for message in staying() {
            out.put(&message.id.to_bytes());
            out.long("text", message.text.as_bytes())?;
        }
        Ok(())
    }

    /// What [`save`](Self::save) wrote, as if it had come at `now`.
    pub(crate) fn load(saved: &mut Reader<'_>, now: Duration) -> Result<Self> {
        let mut chat = Self { now, ..Self::default() };
        for _ in 0..saved.count(52)? {
            let id = MessageId::from_bytes(&saved.array()?);
            let read = str::from_utf8(saved.long()?).map_err(|_| saved.malformed("a text in it is not UTF-8"))?;
            check_text(read).map_err(|why| saved.malformed(why))?;
            let mut text = Zeroizing::new(String::with_capacity(read.len()));
            text.push_str(read);
            chat.push(Opened { id, lifetime: None, text }, now)?;
        }
        Ok(chat)
    }

    /// Forgets the messages that were to vanish.
    pub(crate) fn forget_vanishing(&mut self) {
        self.drop_where(|message| message.until.is_some());
    }

    /// Wipes the messages whose time is over, and gives their ids.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<MessageId> {
        self.tick(now);
        self.drop_where(|message| message.until.is_some_and(|until| until <= now))
    }

    /// When [`expire`](Self::expire) next has something to wipe.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.messages.iter().filter_map(|message| message.until).min()
    }

    /// Wipes one message; `false` if it is not there.
    pub(crate) fn forget(&mut self, id: &MessageId) -> bool {
        !self.drop_where(|message| message.id == *id).is_empty()
    }

    /// The messages, the oldest first.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Message> + DoubleEndedIterator {
        self.messages.iter()
    }

    /// The message of that id.
    pub(crate) fn get(&self, id: &MessageId) -> Option<&Message> {
        self.messages.iter().find(|message| message.id == *id)
    }

    /// Which message makes way when there are too many: the oldest of whoever takes up the most room, so that a flood
    /// drives out nobody else's. All members find the same.
    fn first_to_go(&self) -> Option<usize> {
        let (most, _) = self.taken.iter().max_by_key(|(_, taken)| **taken)?;
        self.messages.iter().position(|message| message.from == *most)
    }

    fn drop_where(&mut self, gone: impl Fn(&Message) -> bool) -> Vec<MessageId> {
        let (mut dropped, bytes, taken) = (Vec::new(), &mut self.bytes, &mut self.taken);
        self.messages.retain(|message| {
            let gone = gone(message);
            if gone {
                *bytes -= message.text.len();
                give_back(taken, message);
                dropped.push(message.id);
            }
            !gone
        });
        dropped
    }

    fn tick(&mut self, now: Duration) {
        if now < self.now {
            for until in self.messages.iter_mut().filter_map(|message| message.until.as_mut()) {
                *until = now.saturating_add(until.saturating_sub(self.now));
            }
        }
        self.now = now;
    }
}

/// A message goes: what it took is its sender's no more.
fn give_back(taken: &mut BTreeMap<MemberId, usize>, message: &Message) {
    if let Some(theirs) = taken.get_mut(&message.from) {
        *theirs -= message.takes();
        if *theirs == 0 {
            taken.remove(&message.from);
        }
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chacha20poly1305::{AeadInPlace as _, ChaCha20Poly1305, KeyInit as _};

    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 32])
    }

    fn secret(n: u8) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![n; SECRET_LEN])
    }

    fn keys(epoch: u64) -> ChatKeys {
        ChatKeys::new(epoch, secret(epoch as u8)).unwrap()
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What an insider can seal: anything, under a good key.
    fn seal_plain(keys: &ChatKeys, sender: &MemberId, plain: &[u8]) -> Vec<u8> {
        let mut bytes = [[VERSION].as_slice(), &[9; 16], plain].concat();
        let (header, body) = bytes.split_at_mut(HEADER);
        let tag = keys.current.key(sender, &[9; 16]).unwrap().seal_in_place(&NONCE, header, body).unwrap();
        bytes.extend(tag);
        bytes
    }

    fn said(n: u128, from: u8, lifetime: Option<Duration>, text: &str) -> Opened {
        let id = MessageId { from: id(from), number: n.to_be_bytes() };
        Opened { id, lifetime, text: Zeroizing::new(text.to_owned()) }
    }

    fn texts(chat: &Chat) -> Vec<&str> {
        chat.iter().map(Message::text).collect()
    }

    #[test]
    fn a_text_arrives_as_it_was_said() {
        let keys = keys(3);
        for text in ["x", "two\nlines", "g\u{e9}n\u{e9}reux \u{1f44d}", &"y".repeat(MAX_TEXT)] {
            for lifetime in [None, Some(seconds(1)), Some(seconds(u32::MAX.into()))] {
                let (id, bytes) = keys.seal(&id(1), lifetime, text).unwrap();
                let opened = keys.open(3, &id.from(), &bytes).unwrap();
                assert_eq!((opened.id, opened.lifetime, opened.text.as_str()), (id, lifetime, text));
                assert!(bytes.len() <= MAX_SEALED);
            }
        }
    }

    #[test]
    fn the_bytes_are_what_the_documentation_says() {
        let keys = keys(3);
        let (id, bytes) = keys.seal(&id(1), Some(seconds(5)), "hello").unwrap();
        let info = [b"parlor chat message 1\0".as_slice(), &3_u64.to_be_bytes(), &[1; 32], &id.number].concat();
        let mut key = [0; 32];
        Hkdf::<Sha256>::from_prk(&[3; 32]).unwrap().expand(&info, &mut key).unwrap();
        let mut body = bytes[17..].to_vec();
        let cipher = ChaCha20Poly1305::new(&key.into());
        cipher.decrypt_in_place(&[0; 12].into(), &bytes[..17], &mut body).unwrap();
        assert_eq!(bytes[..17], [[1].as_slice(), &id.number].concat());
        assert_eq!(body, [[0, 0, 0, 5, 0, 5].as_slice(), b"hello", &[0; 53]].concat());
    }

    #[test]
    fn no_key_seals_twice_and_a_length_shows_in_steps_of_64_bytes() {
        let keys = keys(3);
        let sealed: BTreeSet<_> = (0..1_000).map(|_| keys.seal(&id(1), None, "yes").unwrap().1).collect();
        let numbers: BTreeSet<_> = sealed.iter().map(|bytes| bytes[1..HEADER].to_vec()).collect();
        assert_eq!((sealed.len(), numbers.len()), (1_000, 1_000));
        let lengths: BTreeSet<_> =
            (1..=MAX_TEXT).map(|len| keys.seal(&id(1), None, &"x".repeat(len)).unwrap().1.len()).collect();
        assert_eq!(lengths.len(), MAX_SEALED / PAD, "{lengths:?}");
        assert_eq!(lengths.last(), Some(&MAX_SEALED));
    }

    #[test]
    fn a_message_opens_in_its_epoch_under_its_sender_and_as_it_stands_or_not_at_all() {
        let mut keys = keys(3);
        let (_, bytes) = keys.seal(&id(1), None, "hello").unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.open(3, &id(1), &changed).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(keys.open(3, &id(1), &bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(matches!(keys.open(3, &id(2), &bytes), Err(Error::Unauthentic { .. })));
        assert!(matches!(keys.open(4, &id(1), &bytes), Err(Error::WrongEpoch { .. })));
        assert!(matches!(keys.open(3, &id(1), &[1; MAX_SEALED + 1]), Err(Error::TooLarge { .. })));
        keys.enter(4, secret(3)).unwrap();
        assert!(matches!(keys.open(4, &id(1), &bytes), Err(Error::Unauthentic { .. })), "of one secret, even");
        assert_eq!(keys.open(3, &id(1), &bytes).unwrap().text.as_str(), "hello");
    }

    #[test]
    fn the_secrets_of_two_past_epochs_are_kept_and_older_ones_are_gone() {
        let mut keys = keys(3);
        let (_, bytes) = keys.seal(&id(1), None, "hello").unwrap();
        for epoch in [4, 6] {
            keys.enter(epoch, secret(epoch as u8)).unwrap();
            assert!(keys.open(3, &id(1), &bytes).is_ok());
        }
        keys.enter(7, secret(7)).unwrap();
        assert!(matches!(keys.open(3, &id(1), &bytes), Err(Error::WrongEpoch { message: 3, room: 7, .. })));
        for (epoch, secret) in [(7, secret(8)), (6, secret(6)), (8, Zeroizing::new(vec![1; 31]))] {
            assert!(matches!(keys.enter(epoch, secret), Err(Error::Unusable { .. })));
        }
        let (_, bytes) = keys.seal(&id(1), None, "still here").unwrap();
        assert!(keys.open(7, &id(1), &bytes).is_ok(), "a refused secret changes nothing");
    }

    #[test]
    fn what_nobody_should_say_is_not_sealed_and_not_taken() {
        let keys = keys(3);
        let long = "x".repeat(MAX_TEXT + 1);
        for text in [
            "",
            "bell\u{7}",
            "esc\u{1b}[2J",
            "cr\r\n",
            "c1\u{9b}",
            "a\u{202e}b",
            "a\u{2069}",
            "\u{e000}",
            "\u{3164}",
            &long,
        ] {
            assert!(matches!(keys.seal(&id(1), None, text), Err(Error::Unusable { what: "text", .. })), "{text:?}");
            let prefix = [[0; 4].as_slice(), &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
            let mut plain = prefix;
            plain.resize(plain.len().next_multiple_of(PAD), 0);
            let refused = keys.open(3, &id(1), &seal_plain(&keys, &id(1), &plain)).unwrap_err();
            assert!(matches!(refused, Error::Malformed { .. } | Error::TooLarge { .. }), "{refused}");
        }
        for lifetime in [Duration::ZERO, Duration::from_millis(1_500), seconds(1 << 32)] {
            assert!(keys.seal(&id(1), Some(lifetime), "x").is_err(), "{lifetime:?}");
        }
    }

    #[test]
    fn what_an_insider_seals_has_one_encoding_or_is_refused() {
        let keys = keys(3);
        let plain = |len: u16, text: &[u8], size: usize, last: u8| {
            let mut plain = [[0; 4].as_slice(), &len.to_be_bytes(), text].concat();
            plain.resize(size, 0);
            *plain.last_mut().unwrap() = last;
            plain
        };
        let open = |plain: Vec<u8>| keys.open(3, &id(1), &seal_plain(&keys, &id(1), &plain));
        assert_eq!(open(plain(2, b"hi", 64, 0)).unwrap().text.as_str(), "hi");
        for (plain, what) in [
            (plain(2, b"hi", 128, 0), "more padding than there should be"),
            (plain(2, b"hi", 64, 1), "padding that says something"),
            (plain(59, b"hi", 64, 0), "a length beyond the end"),
            (plain(u16::MAX, b"hi", 64, 0), "a length far beyond the end"),
            (plain(2, b"h\xff", 64, 0), "bytes that are no text"),
            (plain(2, b"hi", 65, 0), "a size that is no multiple"),
            (plain(2, b"hi", 8, b'i'), "no padding"),
        ] {
            assert!(matches!(open(plain), Err(Error::Malformed { .. })), "{what}");
        }
    }

    #[test]
    fn a_message_is_gone_when_its_time_is_over() {
        let mut chat = Chat::default();
        chat.push(said(1, 1, Some(seconds(10)), "ten"), seconds(100)).unwrap();
        chat.push(said(2, 1, None, "kept"), seconds(101)).unwrap();
        chat.push(said(3, 1, Some(seconds(5)), "five"), seconds(102)).unwrap();
        assert_eq!(chat.next_expiry(), Some(seconds(107)));
        assert_eq!(chat.expire(Duration::from_millis(106_999)), []);
        let gone = chat.expire(seconds(107));
        assert_eq!(gone.iter().map(|id| id.number[15]).collect::<Vec<_>>(), [3]);
        assert_eq!(texts(&chat), ["ten", "kept"]);
        assert_eq!(chat.expire(seconds(1_000)).len(), 1);
        assert_eq!((texts(&chat), chat.next_expiry(), chat.bytes), (vec!["kept"], None, 4));
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_make_a_message_live_longer_than_the_jump_was_unseen() {
        let mut chat = Chat::default();
        chat.push(said(1, 1, Some(seconds(10)), "ten"), seconds(5_000)).unwrap();
        assert_eq!(chat.expire(seconds(5_004)), []);
        // An hour back. Six of its ten seconds are left.
        assert_eq!(chat.expire(seconds(1_404)), []);
        assert_eq!(chat.next_expiry(), Some(seconds(1_410)));
        assert_eq!(chat.expire(Duration::from_millis(1_409_999)), []);
        assert_eq!(chat.expire(seconds(1_410)).len(), 1);
    }

    #[test]
    fn a_chat_is_bounded_in_messages_and_in_bytes_and_the_oldest_make_way() {
        let mut chat = Chat::default();
        for n in 0..3_000_u128 {
            let dropped = chat.push(said(n, 1, None, "x"), seconds(1)).unwrap();
            assert_eq!(dropped.len(), usize::from(n >= 1_000));
            assert!(dropped.iter().all(|id| id.number == (n - 1_000).to_be_bytes()));
        }
        assert_eq!((chat.iter().len(), chat.bytes), (MAX_MESSAGES, MAX_MESSAGES));
        let long = "y".repeat(MAX_TEXT);
        for n in 3_000..3_500_u128 {
            chat.push(said(n, 1, None, &long), seconds(1)).unwrap();
            let bytes: usize = chat.iter().map(|message| message.text().len()).sum();
            assert_eq!(bytes, chat.bytes);
            assert!(bytes <= MAX_CHAT);
        }
        assert_eq!(chat.iter().len(), MAX_CHAT / MAX_TEXT);
    }

    #[test]
    fn who_floods_the_chat_drives_out_their_own_words_and_nobody_elses() {
        let mut chat = Chat::default();
        for n in 0..20 {
            chat.push(said(n, 1, None, "ana's"), seconds(1)).unwrap();
        }
        for n in 100..10_000_u128 {
            let dropped = chat.push(said(n, 2, None, "spam"), seconds(1)).unwrap();
            assert!(dropped.iter().all(|id| id.from == self::id(2)), "{n}");
        }
        assert_eq!(chat.iter().filter(|message| message.from == id(1)).count(), 20);
    }

    #[test]
    fn what_each_takes_up_is_what_is_there_of_them() {
        let mut chat = Chat::default();
        for n in 0..4_000_u128 {
            let text = "z".repeat(1 + (n * 7919 % 1_997) as usize);
            let lifetime = (n % 5 == 0).then(|| seconds(30));
            chat.push(said(n, 1 + (n * n % 7) as u8, lifetime, &text), seconds(n as u64)).unwrap();
            if n % 11 == 0 {
                let id = chat.iter().next().unwrap().id;
                assert!(chat.forget(&id));
            }
            chat.expire(seconds(n as u64));
            let mut taken = BTreeMap::new();
            chat.iter().for_each(|message| *taken.entry(message.from).or_default() += message.takes());
            assert_eq!(chat.taken, taken, "{n}");
        }
        chat.forget_vanishing();
        let left: Vec<_> = chat.iter().map(|message| message.id).collect();
        assert!(!left.is_empty() && left.iter().all(|id| chat.forget(id)));
        assert!(chat.taken.is_empty());
    }

    #[test]
    fn an_id_is_taken_once_and_nobody_can_take_anothers() {
        let mut chat = Chat::default();
        chat.push(said(1, 1, None, "ana's"), seconds(1)).unwrap();
        assert!(matches!(chat.push(said(1, 1, None, "again"), seconds(1)), Err(Error::Malformed { .. })));
        chat.push(said(1, 2, None, "ben's"), seconds(1)).unwrap();
        assert_eq!(texts(&chat), ["ana's", "ben's"]);
        let ids: Vec<_> = chat.iter().map(|message| message.id).collect();
        assert_eq!(chat.get(&ids[1]).unwrap().text(), "ben's");
        assert_eq!(MessageId::from_bytes(&ids[1].to_bytes()), ids[1]);
        assert!(chat.forget(&ids[0]) && !chat.forget(&ids[0]));
        assert_eq!((texts(&chat), chat.bytes), (vec!["ben's"], 5));
    }

    #[test]
    fn no_text_shows_in_what_is_printed_for_debugging() {
        let keys = keys(3);
        let (id, bytes) = keys.seal(&id(1), None, "whisper").unwrap();
        let opened = keys.open(3, &id.from(), &bytes).unwrap();
        let mut printed = format!("{keys:?} {opened:?}");
        let mut chat = Chat::default();
        chat.push(opened, seconds(1)).unwrap();
        printed += &format!("{chat:?} {:?}", chat.iter().collect::<Vec<_>>());
        assert!(!printed.contains("whisper") && printed.contains("MessageId"), "{printed}");
    }

    #[test]
    fn a_reaction_is_one_short_sign() {
        for good in ["\u{1f44d}\u{1f3fd}", "\u{2764}\u{fe0f}", "\u{1f469}\u{200d}\u{1f4bb}", "+1"] {
            assert_eq!(Reaction::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "\n", "\u{1b}", "\u{2003}", "\u{202e}", "\u{3164}", "\u{e000}", "seventeen bytes!!"] {
            assert!(Reaction::new(bad).is_err(), "{bad:?}");
        }
    }
}
