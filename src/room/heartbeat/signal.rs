//! A signal as bytes: what the relay carries beside MLS, sealed from it, signed, and all of one size.
//!
//! ```text
//! signal: first byte = 2 (1) ‖ version = 2 (1) ‖ how it is sealed (1) ‖ (466)
//!
//! 0, under the epoch's key: epoch (8) ‖ nonce (12)
//!      ‖ ChaCha20-Poly1305 with all before as associated data (430 + 16): word ‖ zeros (20)
//! 1, to a host, an ask: HPKE encapsulated key (32) ‖ sealed (418 + 16):
//!      who asks (32) ‖ nonce (8) ‖ X25519 key for the answer (32) ‖ Ed25519 signature of who (64) ‖ zeros
//! 2, to who asked, an answer: the ask's nonce (8) ‖ HPKE encapsulated key (32) ‖ sealed (410 + 16): word, a beat
//!
//! word = kind (1): 0 beat, 1 ping ‖ epoch (8) ‖ who (32) ‖ body (305) ‖ Ed25519 signature of who (64)
//! beat = run (8) ‖ sent in ms (8) ‖ SHA-256 of the confirmed transcript hash (32)
//!   ‖ count (1), at most 32 ‖ count × nonce of a ping or an ask (8) ‖ zeros
//! ping = nonce (8) ‖ zeros
//! ```
//!
//! The epoch's key is exported from MLS (RFC 9420 §8.5), so that whoever is not in that epoch neither reads a signal nor
//! makes one. Signals are sealed under the key of the sender's own epoch. Keys of a few epochs gone by are kept for what a
//! commit overtook, and only to open. Asks and answers (`ask.rs`) are for those who do not share an epoch.
//!
//! What a signal is worth rests on the signature alone, which is over a label, SHA-256 of the room's id, and all of the
//! word before it: in an ask, the host's key goes between room and ask. An MLS message begins with 0, published keys with 1.

use std::{collections::VecDeque, time::Duration};

use sha2::{Digest as _, Sha256};

use super::LATELY;
use crate::{
    bytes::{Reader, pad},
    error::{Detail, Error, Item, Result},
    identity::{Identity, MemberId},
    media::{Backend, Suite, sframe::Aead},
    random,
    room::words::PAST_EPOCHS,
};

/// What every signal begins with, and no other message.
pub(super) const FIRST: u8 = 2;
pub(super) const VERSION: u8 = 2;

const BY_EPOCH: u8 = 0;
pub(super) const TO_HOST: u8 = 1;
pub(super) const TO_ASKER: u8 = 2;

const NONCE: usize = 12;
const HEADER: usize = 3 + 8 + NONCE;
const BODY: usize = 8 + 8 + 32 + 1 + MAX_ANSWERS * 8;
const SIGNED: usize = 1 + 8 + 32 + BODY;
/// A beat or a ping with its signature.
const WORD: usize = SIGNED + 64;
const TAG: usize = 16;

/// The length of every signal in bytes: an answer has the longest header.
pub(super) const LENGTH: usize = 3 + 8 + 32 + WORD + TAG;

/// A signal under the epoch's key has this much room.
const PLAIN: usize = LENGTH - HEADER - TAG;

/// How many pings one beat answers.
pub(super) const MAX_ANSWERS: usize = 32;

/// What an epoch's key is exported by.
pub(in crate::room) const KEY_LABEL: &str = "parlor signals 2";

/// It goes before what is signed. No label of a signature is the beginning of another.
const LABEL: &[u8] = b"parlor signal 2\0";

/// What tells one ping or ask from all others.
pub(super) type Nonce = [u8; 8];

/// A host's word on where the room is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Beat {
    /// Drawn when the host's clock began to count.
    pub(super) run: [u8; 8],
    /// On that clock, in milliseconds.
    pub(super) sent: u64,
    pub(super) epoch: u64,
    /// What led to that epoch.
    pub(super) transcript: [u8; 32],
    /// The pings that had come by then.
    pub(super) answers: Vec<Nonce>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    Beat(Beat),
    Ping(Nonce),
}

/// A signal that was opened: made by somebody who has its key, and not known to be of who it says.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) who: MemberId,
    pub(super) signal: Signal,
    epoch: u64,
    message: Vec<u8>,
    signature: [u8; 64],
}

impl Opened {
    /// Whether it is of who it says.
    pub(super) fn is_theirs(&self) -> bool {
        self.who.has_signed(&self.message, &self.signature)
    }
}

/// What a member can make of a signal.
#[derive(Debug)]
pub(super) enum Read<'a> {
    Opened(Opened),
    /// It says that it is of this later epoch. Anybody can write that.
    Later(u64),
    /// It says that it is of an epoch that this member was in, and does not open.
    Shut,
    /// A question for some host.
    Ask(&'a [u8]),
    /// An answer to the question with this nonce.
    Answer(Nonce, &'a [u8]),
}

/// Whether a message is a signal, or would be one.
pub(in crate::room) fn is_signal(message: &[u8]) -> bool {
    message.first() == Some(&FIRST)
}

/// Seals and opens the signals of one room.
pub(super) struct Wire {
    /// SHA-256 of its id.
    room: [u8; 32],
    /// The epochs whose signals open, the last one last.
    keys: VecDeque<EpochKey>,
}

struct EpochKey {
    epoch: u64,
    aead: Aead,
    /// When this member went on to the next; nothing is sealed under the key from then on.
    left: Option<Duration>,
}

impl Wire {
    /// Without a key: see [`enter`](Self::enter).
    pub(super) fn new(room: &[u8]) -> Self {
        Self { room: Sha256::digest(room).into(), keys: VecDeque::new() }
    }

    /// Leaves the epoch: what this member sends from here on is not for those who were in it.
    pub(super) fn leave(&mut self, now: Duration) {
        while self.keys.len() > PAST_EPOCHS as usize {
            self.keys.pop_front();
        }
        self.keys.iter_mut().for_each(|key| key.left = key.left.or(Some(now)));
    }

    /// Enters `epoch`, whose exported secret this is.
    pub(super) fn enter(&mut self, epoch: u64, secret: &[u8]) -> Result<()> {
        let aead = Aead::new(Suite::ChaCha20Poly1305, Backend::default(), secret)?;
        self.keys.push_back(EpochKey { epoch, aead, left: None });
        Ok(())
    }

    /// Drops keys of epochs that were left so long ago that nothing of them is on its way.
    pub(super) fn forget(&mut self, now: Duration) {
        self.keys.retain(|key| key.left.is_none_or(|left| now.saturating_sub(left) < LATELY));
    }

    pub(super) fn set_back(&mut self, by: Duration) {
        self.keys.iter_mut().for_each(|key| key.left = key.left.map(|left| left.saturating_sub(by)));
    }

    /// Seals a signal under the key of this member's epoch.
    pub(super) fn seal(&self, identity: &Identity, signal: &Signal) -> Result<Vec<u8>> {
        let none = Error::Unusable { what: "signal key", why: "there is none of this epoch" };
        let key = self.keys.back().filter(|key| key.left.is_none()).ok_or(none)?;
        let word = self.word(identity, signal, key.epoch)?;
        key.close(word)
    }

    /// A signal as it is signed, with the signature.
    pub(super) fn word(&self, identity: &Identity, signal: &Signal, epoch: u64) -> Result<Vec<u8>> {
        let mut word = Vec::with_capacity(PLAIN);
        let (kind, epoch) = match signal {
            Signal::Beat(beat) => (0, beat.epoch),
            Signal::Ping(_) => (1, epoch),
        };
        word.push(kind);
        word.extend_from_slice(&epoch.to_be_bytes());
        word.extend_from_slice(identity.id().as_bytes());
        match signal {
            Signal::Beat(Beat { run, sent, transcript, answers, .. }) => {
                word.extend_from_slice(run);
                word.extend_from_slice(&sent.to_be_bytes());
                word.extend_from_slice(transcript);
                word.extend(u8::try_from(answers.len()));
                answers.iter().for_each(|nonce| word.extend_from_slice(nonce));
            }
            Signal::Ping(nonce) => word.extend_from_slice(nonce),
        }
        pad(&mut word, "signal", SIGNED)?;
        word.extend_from_slice(&identity.sign(&self.message(LABEL, &word)));
        Ok(word)
    }

    /// Reads a signal received in `epoch`.
    pub(super) fn read<'a>(&self, bytes: &'a [u8], epoch: u64) -> Result<Read<'a>> {
        let mut outer = Reader::new(Item::Signal, bytes);
        if bytes.len() != LENGTH {
            return Err(outer.malformed("its length is none that a signal has"));
        }
        let [_first, version, sealed_by] = outer.array()?;
        if version != VERSION {
            return Err(outer.malformed("its version is unknown: update parlor"));
        }
        match sealed_by {
            BY_EPOCH => {}
            TO_HOST => return Ok(Read::Ask(outer.bytes(LENGTH - 3)?)),
            TO_ASKER => return Ok(Read::Answer(outer.array()?, outer.bytes(LENGTH - 3 - 8)?)),
            _ => return Err(outer.malformed("it is sealed in an unknown way: update parlor")),
        }
        let said = outer.number()?;
        if said > epoch {
            return Ok(Read::Later(said));
        }
        let Some(key) = self.keys.iter().find(|key| key.epoch == said) else {
            return Err(Error::WrongEpoch { what: Item::Signal, message: said, room: epoch });
        };
        let nonce = outer.array()?;
        let header = outer.before();
        let mut sealed = outer.bytes(LENGTH - HEADER)?.to_vec();
        let Ok(plain) = key.aead.open_in_place(&nonce, header, &mut sealed) else { return Ok(Read::Shut) };
        let mut plain = Reader::new(Item::Signal, plain);
        let opened = self.opened(plain.bytes(WORD)?)?;
        plain.padding()?;
        if opened.epoch != said {
            return Err(Error::Malformed { what: Item::Signal, why: "it was made for another epoch" });
        }
        Ok(Read::Opened(opened))
    }

    /// What [`word`](Self::word) made, or somebody else.
    pub(super) fn opened(&self, word: &[u8]) -> Result<Opened> {
        let mut rest = Reader::new(Item::Signal, word);
        let signed = rest.bytes(SIGNED)?;
        let signature = rest.array()?;
        let mut body = Reader::new(Item::Signal, signed);
        let (kind, epoch) = (body.byte()?, body.number()?);
        let who = MemberId::from_bytes(body.array()?);
        let signal = match kind {
            0 => {
                let (run, sent, transcript) = (body.array()?, body.number()?, body.array()?);
                let count = usize::from(body.byte()?);
                if count > MAX_ANSWERS {
                    return Err(body.malformed("it answers more pings than it may"));
                }
                let answers = (0..count).map(|_| body.array()).collect::<Result<_>>()?;
                Signal::Beat(Beat { run, sent, epoch, transcript, answers })
            }
            1 => Signal::Ping(body.array()?),
            _ => return Err(body.malformed("its kind is unknown: update parlor")),
        };
        body.padding()?;
        Ok(Opened { who, signal, epoch, message: self.message(LABEL, signed), signature })
    }

    /// Seals what anybody has signed.
    #[cfg(test)]
    pub(super) fn seal_word(&self, word: Vec<u8>) -> Vec<u8> {
        self.keys.back().unwrap().close(word).unwrap()
    }

    /// What is signed.
    pub(super) fn message(&self, label: &[u8], signed: &[u8]) -> Vec<u8> {
        [label, &self.room, signed].concat()
    }

    /// What HPKE seals for.
    pub(super) fn purpose(&self, label: &[u8]) -> Vec<u8> {
        [label, &self.room].concat()
    }
}

impl EpochKey {
    fn close(&self, mut word: Vec<u8>) -> Result<Vec<u8>> {
        let nonce = random::bytes::<NONCE>()?;
        let mut out = Vec::with_capacity(LENGTH);
        out.extend_from_slice(&[FIRST, VERSION, BY_EPOCH]);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(nonce.as_slice());
        word.resize(PLAIN, 0);
        let tag = self.aead.seal_in_place(&nonce, &out, &mut word)?;
        out.extend_from_slice(&word);
        out.extend_from_slice(&tag);
        Ok(out)
    }
}

pub(super) fn unauthentic(epoch: u64, why: &'static str) -> Error {
    Error::Unauthentic { what: Item::Signal, epoch, why: Detail::new(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(answers: usize) -> Signal {
        let answers = (0..answers).map(|n| [n as u8; 8]).collect();
        Signal::Beat(Beat { run: [1; 8], sent: 2, epoch: 3, transcript: [4; 32], answers })
    }

    /// A member's end of a room in the epoch of [`beat`].
    fn wire(room: &[u8], secret: u8) -> Wire {
        let mut wire = Wire::new(room);
        wire.enter(3, &[secret; 32]).unwrap();
        wire
    }

    fn open(wire: &Wire, bytes: &[u8]) -> Result<Opened> {
        match wire.read(bytes, 3)? {
            Read::Opened(opened) => Ok(opened),
            _ => Err(unauthentic(3, "it does not open")),
        }
    }

    #[test]
    fn signals_come_back_as_they_were_sealed_and_all_have_one_size() {
        let ana = Identity::generate("ana").unwrap();
        let wire = wire(b"room", 1);
        for signal in [beat(0), beat(1), beat(MAX_ANSWERS), Signal::Ping([7; 8])] {
            let bytes = wire.seal(&ana, &signal).unwrap();
            assert_eq!((bytes.len(), is_signal(&bytes)), (469, true));
            let opened = open(&wire, &bytes).unwrap();
            assert_eq!((opened.who, &opened.signal, opened.is_theirs()), (ana.id(), &signal, true));
        }
        assert!(wire.seal(&ana, &beat(MAX_ANSWERS + 1)).is_err());
    }

    #[test]
    fn no_byte_can_be_changed_and_no_other_room_opens_it_or_takes_the_signature() {
        let ana = Identity::generate("ana").unwrap();
        let own = wire(b"room", 1);
        let bytes = own.seal(&ana, &beat(3)).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(open(&own, &other).is_err(), "byte {at}");
            assert!(own.read(&bytes[..at], 3).is_err(), "cut to {at}");
        }
        assert!(matches!(wire(b"room", 2).read(&bytes, 3), Ok(Read::Shut)));
        // Even under the same key.
        assert!(!open(&wire(b"another", 1), &bytes).unwrap().is_theirs());
    }

    #[test]
    fn no_signal_can_be_moved_to_another_epoch() {
        let ana = Identity::generate("ana").unwrap();
        let mut wire = wire(b"room", 1);
        for signal in [beat(1), Signal::Ping([7; 8])] {
            let bytes = wire.seal(&ana, &signal).unwrap();
            for (to, other) in [(2_u64, "gone"), (4, "later")] {
                let mut moved = bytes.clone();
                moved[3..11].copy_from_slice(&to.to_be_bytes());
                match wire.read(&moved, 3) {
                    Err(Error::WrongEpoch { message: 2, room: 3, .. }) => assert_eq!(other, "gone"),
                    Ok(Read::Later(4)) => assert_eq!(other, "later"),
                    read => panic!("{read:?}"),
                }
            }
        }
        // Not by a member of both either: the epoch is signed.
        let words = [beat(1), Signal::Ping([7; 8])].map(|signal| wire.word(&ana, &signal, 3).unwrap());
        wire.leave(Duration::ZERO);
        wire.enter(4, &[2; 32]).unwrap();
        for mut word in words {
            let moved = wire.seal_word(word.clone());
            assert!(matches!(wire.read(&moved, 4), Err(Error::Malformed { .. })));
            word[1..9].copy_from_slice(&4_u64.to_be_bytes());
            let moved = wire.seal_word(word);
            let Ok(Read::Opened(moved)) = wire.read(&moved, 4) else { panic!() };
            assert!(!moved.is_theirs());
        }
    }

    #[test]
    fn keys_of_two_epochs_gone_by_are_kept_for_a_minute_and_seal_nothing() {
        let ana = Identity::generate("ana").unwrap();
        let mut wire = wire(b"room", 1);
        let mut sent = vec![wire.seal(&ana, &Signal::Ping([7; 8])).unwrap()];
        for epoch in 4..10_u8 {
            wire.leave(Duration::from_secs(epoch.into()));
            assert!(wire.seal(&ana, &Signal::Ping([7; 8])).is_err(), "under a key of the past");
            wire.enter(epoch.into(), &[epoch; 32]).unwrap();
            sent.push(wire.seal(&ana, &Signal::Ping([epoch; 8])).unwrap());
            assert!(wire.keys.len() <= 3);
        }
        let open = |wire: &Wire| sent.iter().map(|bytes| wire.read(bytes, 9).is_ok()).collect::<Vec<_>>();
        assert_eq!(open(&wire), [false, false, false, false, true, true, true]);
        wire.forget(Duration::from_millis(67_999));
        assert_eq!(open(&wire), [false, false, false, false, true, true, true]);
        wire.forget(Duration::from_secs(68));
        assert_eq!(open(&wire), [false, false, false, false, false, true, true]);
        wire.forget(Duration::from_secs(1_000_000));
        assert_eq!(open(&wire), [false, false, false, false, false, false, true]);
    }

    #[test]
    fn what_an_insider_seals_is_read_strictly() {
        let wire = wire(b"room", 1);
        let key = &wire.keys[0];
        let good = {
            let ana = Identity::generate("ana").unwrap();
            let mut bytes = wire.seal(&ana, &beat(2)).unwrap();
            let (header, body) = bytes.split_at_mut(HEADER);
            let nonce = header[11..].try_into().unwrap();
            key.aead.open_in_place(&nonce, header, body).unwrap().to_vec()
        };
        assert!(open(&wire, &key.close(good.clone()).unwrap()).unwrap().is_theirs());
        let count = 1 + 8 + 32 + 8 + 8 + 32;
        for (at, byte) in [(0, 2), (8, 4), (count, 33), (count, 1), (SIGNED - 1, 1), (WORD, 1), (PLAIN - 1, 1)] {
            let mut other = good.clone();
            other[at] = byte;
            let read = wire.read(&key.close(other).unwrap(), 3).map(drop);
            assert!(matches!(read, Err(Error::Malformed { .. })), "byte {at} is {byte}");
        }
        // Whatever is changed of the rest, the signature does not hold.
        for at in 0..good.len() {
            let mut other = good.clone();
            other[at] ^= 1;
            let opened = open(&wire, &key.close(other).unwrap());
            assert!(!opened.is_ok_and(|opened| opened.is_theirs()), "byte {at}");
        }
    }
}
