//! Words: what members say to everybody beside their commits, as bytes. Hands, microphones, invitations, chat,
//! reactions, codes, the wish to leave, refusals at the door ([`Said`](super::said::Said)) all travel as words.
//!
//! ```text
//! word: kind = 4 (1) ‖ version = 1 (1) ‖ epoch (8) ‖ nonce (12)
//!   ‖ ChaCha20-Poly1305(key of the epoch, nonce, AAD = all before, inner) (multiple of 128, + 16)
//! inner: who (32) ‖ process (16) ‖ number (8) ‖ length (2) ‖ what was said ‖ signature (64) ‖ zeros
//!
//! key of the epoch = MLS-Exporter("parlor words 1", "", 32)
//! signature = Ed25519 of who over "parlor word 1\0" ‖ SHA-256(room id) ‖ epoch (8) ‖ who ‖ process ‖ number ‖ what was said
//! ```
//!
//! MLS application messages (RFC 9420 §15) are not used for this: MLS signs what was said and not its generation, so
//! any member could say another's message again under later generations of that member's ratchet, and each would move
//! the ratchet past its owner. Here the signature covers all that moves state. `process` is drawn at random when a room
//! is made, entered or restored, so that a process that goes on from a snapshot, and a second one, repeat no number.
//!
//! Invariant: of each member, process and epoch each number is taken at most once, and a word marks its number only
//! after its signature has verified. So nobody but its owner moves a window, and no word stands in the way of another.
//!
//! An attacker outside the room cannot make a word that opens, and a former member none of a later epoch. A member can
//! make one that opens in anybody's name; its signature fails, which costs every other member one verification. Keys of
//! the [`PAST_EPOCHS`] last epochs are kept for words that a commit has overtaken; within them there is no forward
//! secrecy.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    bytes::{Reader, Writer, short_id},
    error::{Detail, Error, Item, Result},
    identity::{Identity, KnownKeys, MemberId},
    media::{
        Backend, Suite,
        replay::{Stale, Window},
        sframe::Aead,
    },
    random,
    room::{MAX_MESSAGE, failures::Failures, group::Group},
};

/// What every word begins with. An MLS message begins with 0, published keys with 1, a signal with 2, a request to be
/// brought back with 3.
const KIND: u8 = 4;
const VERSION: u8 = 1;

/// The MLS exporter label of an epoch's key, with an empty context.
pub(super) const KEY_LABEL: &str = "parlor words 1";
pub(super) const KEY: usize = 32;

/// It goes before what is signed. No label of a signature is the beginning of another.
const LABEL: &[u8] = b"parlor word 1\0";

const NONCE: usize = 12;
const HEADER: usize = 1 + 1 + 8 + NONCE;
const PROCESS: usize = 16;
const PREFIX: usize = 32 + PROCESS + 8 + 2;
const SIGNATURE: usize = 64;
const TAG: usize = 16;
/// Lengths show in steps of this many bytes.
const PAD: usize = 128;

/// The most bytes that one word says.
pub(super) const MAX_SAID: usize = 1 + 4 * 1024;

/// The longest word.
const MAX_WORD: usize = HEADER + (PREFIX + MAX_SAID + SIGNATURE).next_multiple_of(PAD) + TAG;
const _: () = assert!(MAX_WORD <= MAX_MESSAGE && MAX_SAID <= u16::MAX as usize);

/// How many epochs back a word may come from: long enough for one that a commit overtook.
pub(super) const PAST_EPOCHS: u64 = 2;

/// How many processes of one member may say something in one epoch. Who restarts more often makes a commit first.
const MAX_PROCESSES: usize = 16;

/// What tells one process of a member from all others.
type Process = [u8; PROCESS];

/// Names one word: a hash of what its signature covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct WordId(pub(super) [u8; 16]);

/// Whether a message is a word, or would be one.
pub(super) const fn is_word(message: &[u8]) -> bool {
    matches!(message, [KIND, ..])
}

/// The keys of words of this epoch and the last few, and which words came.
pub(super) struct Words {
    room: [u8; 32],
    process: Process,
    /// The number of this process's next word.
    next: u64,
    current: Epoch,
    /// The latest first.
    past: VecDeque<Epoch>,
    keys: KnownKeys,
}

/// Words of one epoch.
struct Epoch {
    epoch: u64,
    key: Zeroizing<Vec<u8>>,
    aead: Aead,
    /// Which numbers came of whom: members of the epoch only, and at most [`MAX_PROCESSES`] of each.
    came: BTreeMap<MemberId, BTreeMap<Process, Window>>,
}

/// A word that opened under the key of its epoch: made by somebody in that epoch, and not known to be of whom it names.
pub(super) struct Opened {
    pub(super) who: MemberId,
    pub(super) epoch: u64,
    process: Process,
    number: u64,
    /// What the signature covers.
    signed: Zeroizing<Vec<u8>>,
    signature: [u8; SIGNATURE],
}

impl Opened {
    /// What was said.
    pub(super) fn said(&self) -> &[u8] {
        self.signed.get(SIGNED_PREFIX..).unwrap_or_default()
    }

    /// The name of the word.
    pub(super) fn id(&self) -> WordId {
        id_of(&self.signed)
    }
}

impl Words {
    /// The words of a room that this process enters, makes or restores in the group's epoch.
    pub(super) fn begin(group: &Group) -> Result<Self> {
        Ok(Self {
            room: Sha256::digest(group.id()).into(),
            process: *random::bytes()?,
            next: 0,
            current: Epoch::of(group)?,
            past: VecDeque::with_capacity(PAST_EPOCHS as usize + 1),
            keys: KnownKeys::default(),
        })
    }

    /// The room is in its next epoch.
    pub(super) fn enter(&mut self, group: &Group) -> Result<()> {
        self.past.push_front(mem::replace(&mut self.current, Epoch::of(group)?));
        self.past.truncate(PAST_EPOCHS as usize);
        Ok(())
    }

    /// Says something to everybody in this epoch: a message for the relay.
    ///
    /// # Errors
    /// [`Error::Unusable`] if more processes of this member than anybody takes have said something in this epoch;
    /// [`Error::Randomness`].
    pub(super) fn seal(&mut self, identity: &Identity, said: &[u8]) -> Result<Vec<u8>> {
        let me = identity.id();
        let full = self
            .current
            .came
            .get(&me)
            .is_some_and(|came| came.len() >= MAX_PROCESSES && !came.contains_key(&self.process));
        if full {
            let why =
                "this member was restored sixteen times in this epoch: call `Room::refresh`, and say it in the next";
            return Err(Error::Unusable { what: "message", why });
        }
        let too_long = |_| Error::Unusable { what: "message", why: "it is too long: say it in two" };
        let length = u16::try_from(said.len()).map_err(too_long)?;
        let number = self.next;
        let signed = self.signed(&me, self.current.epoch, &self.process, number, said);
        let signature = identity.sign(&signed);

        let padded = (PREFIX + said.len() + SIGNATURE).next_multiple_of(PAD);
        let mut inner = Zeroizing::new(Vec::with_capacity(padded));
        for part in
            [me.as_bytes().as_slice(), &self.process, &number.to_be_bytes(), &length.to_be_bytes(), said, &signature]
        {
            inner.extend_from_slice(part);
        }
        inner.resize(padded, 0);
        let message = self.current.close(&mut inner)?;
        self.next = number.saturating_add(1);
        Ok(message)
    }

    /// Opens a word: what it says of itself, unproved.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Malformed`]; [`Error::WrongEpoch`]; [`Error::Unauthentic`] if nobody in that epoch
    /// of this room made it as it stands.
    pub(super) fn open(&self, message: &[u8]) -> Result<Opened> {
        if message.len() > MAX_WORD {
            return Err(Error::TooLarge { what: Item::Message, bytes: message.len(), limit: MAX_WORD });
        }
        let mut reader = Reader::new(Item::Message, message);
        if reader.byte()? != KIND || reader.byte()? != VERSION {
            return Err(reader.malformed("it is no word that this version knows: a later parlor wrote it, update"));
        }
        let (sent, nonce) = (reader.number()?, reader.array()?);
        let epoch = self.epochs().find(|epoch| epoch.epoch == sent);
        let room = self.current.epoch;
        let epoch = epoch.ok_or(Error::WrongEpoch { what: Item::Message, message: sent, room })?;
        let (header, sealed) = message.split_at_checked(HEADER).ok_or_else(|| reader.malformed("it was cut short"))?;
        if sealed.len() < PAD + TAG || sealed.len() % PAD != TAG {
            return Err(reader.malformed("its length is not that of a word"));
        }
        let mut inner = Zeroizing::new(Vec::with_capacity(sealed.len()));
        inner.extend_from_slice(sealed);
        let Ok(inner) = epoch.aead.open_in_place(&nonce, header, &mut inner) else {
            return Err(unauthentic(room, "nobody in that epoch of this room made it as it stands"));
        };
        let mut inner = Reader::new(Item::Message, inner);
        let (who, process, number) = (MemberId::from_bytes(inner.array()?), inner.array()?, inner.number()?);
        let length = u16::from_be_bytes(inner.array()?).into();
        let said = inner.bytes(length)?;
        let signature = inner.array()?;
        inner.padding()?;
        let signed = self.signed(&who, sent, &process, number, said);
        Ok(Opened { who, epoch: sent, process, number, signed, signature })
    }

    /// Whether a word has not come before. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it has, or nobody can say any more.
    pub(super) fn check(&self, word: &Opened) -> Result<()> {
        let malformed = |why| Err(Error::Malformed { what: Item::Message, why });
        let came = self.epochs().find(|epoch| epoch.epoch == word.epoch).and_then(|epoch| epoch.came.get(&word.who));
        let window = came.and_then(|came| came.get(&word.process));
        match window {
            None if came.is_some_and(|came| came.len() >= MAX_PROCESSES) => {
                malformed("its sender was restored sixteen times in this epoch")
            }
            window => match window.unwrap_or(&Window::default()).check(word.number) {
                Ok(()) => Ok(()),
                Err(Stale::Seen) => malformed("it came before"),
                Err(Stale::TooOld) => malformed("it is older than hundreds that its sender has said since"),
            },
        }
    }

    /// Whether whom a word names has signed it, as far as there is time to find out at `now`.
    ///
    /// # Errors
    /// [`Error::Unauthentic`] if not; [`Error::Unusable`] if too much was spent on others in this moment.
    pub(super) fn verify(&mut self, word: &Opened, failures: &mut Failures, now: Duration) -> Result<()> {
        failures.allow(now)?;
        if !self.keys.have_signed(word.who.as_bytes(), &word.signed, &word.signature) {
            failures.spend(now);
            return Err(unauthentic(self.current.epoch, "whom it names has not signed it"));
        }
        Ok(())
    }

    /// Takes note of a word that [`check`](Self::check) and [`verify`](Self::verify) have let pass.
    pub(super) fn mark(&mut self, word: &Opened) {
        let mut epochs = std::iter::once(&mut self.current).chain(&mut self.past);
        if let Some(epoch) = epochs.find(|epoch| epoch.epoch == word.epoch) {
            epoch.came.entry(word.who).or_default().entry(word.process).or_default().mark(word.number);
        }
    }

    /// Writes what is to outlive the process: keys of past epochs, and which words came.
    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        out.count("epochs", self.past.len())?;
        for epoch in &self.past {
            out.put(&epoch.epoch.to_be_bytes());
            out.put(&epoch.key);
        }
        for epoch in self.epochs() {
            out.count("windows", epoch.came.values().map(BTreeMap::len).sum())?;
            for (who, came) in &epoch.came {
                for (process, window) in came {
                    out.put(who.as_bytes());
                    out.put(process);
                    window.words().for_each(|word| out.put(&word.to_be_bytes()));
                }
            }
        }
        Ok(())
    }

    /// Takes in what [`save`](Self::save) wrote.
    pub(super) fn load(&mut self, saved: &mut Reader<'_>) -> Result<()> {
        for _ in 0..saved.count(8 + KEY)? {
            let epoch = saved.number()?;
            let mut key = Zeroizing::new(Vec::with_capacity(KEY));
            key.extend_from_slice(saved.bytes(KEY)?);
            self.past.push_back(Epoch::new(epoch, key)?);
        }
        self.past.truncate(PAST_EPOCHS as usize);
        for epoch in std::iter::once(&mut self.current).chain(&mut self.past) {
            for _ in 0..saved.count(32 + PROCESS + Window::SAVED)? {
                let (who, process) = (MemberId::from_bytes(saved.array()?), saved.array()?);
                let window = Window::from_words(|| saved.number())?;
                epoch.came.entry(who).or_default().insert(process, window);
            }
        }
        Ok(())
    }

    fn epochs(&self) -> impl Iterator<Item = &Epoch> {
        std::iter::once(&self.current).chain(&self.past)
    }

    fn signed(&self, who: &MemberId, epoch: u64, process: &Process, number: u64, said: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut signed = Zeroizing::new(Vec::with_capacity(SIGNED_PREFIX + said.len()));
        for part in [LABEL, &self.room, &epoch.to_be_bytes(), who.as_bytes(), process, &number.to_be_bytes(), said] {
            signed.extend_from_slice(part);
        }
        signed
    }
}

/// The length of what is signed before what was said.
const SIGNED_PREFIX: usize = LABEL.len() + 32 + 8 + 32 + PROCESS + 8;

fn id_of(signed: &[u8]) -> WordId {
    WordId(short_id(Sha256::new_with_prefix(signed)))
}

impl Epoch {
    fn of(group: &Group) -> Result<Self> {
        Self::new(group.epoch(), group.export(KEY_LABEL, KEY)?)
    }

    fn new(epoch: u64, key: Zeroizing<Vec<u8>>) -> Result<Self> {
        let aead = Aead::new(Suite::ChaCha20Poly1305, Backend::default(), &key)?;
        Ok(Self { epoch, key, aead, came: BTreeMap::new() })
    }

    fn close(&self, inner: &mut [u8]) -> Result<Vec<u8>> {
        // 96 random bits: under one key there are far fewer words than would make two alike.
        let nonce = random::bytes::<NONCE>()?;
        let mut message = Vec::with_capacity(HEADER + inner.len() + TAG);
        message.extend_from_slice(&[KIND, VERSION]);
        message.extend_from_slice(&self.epoch.to_be_bytes());
        message.extend_from_slice(nonce.as_slice());
        let tag = self.aead.seal_in_place(&nonce, &message, inner)?;
        message.extend_from_slice(inner);
        message.extend_from_slice(&tag);
        Ok(message)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("epoch", &self.current.epoch).finish_non_exhaustive()
    }
}

fn unauthentic(epoch: u64, why: &str) -> Error {
    Error::Unauthentic { what: Item::Message, epoch, why: Detail::new(why) }
}
