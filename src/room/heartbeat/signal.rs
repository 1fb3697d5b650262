//! A signal as bytes: what the relay carries beside MLS, sealed from it, signed, and all of one size.
//!
//! ```text
//! first byte = 2 (1) ‖ version = 1 (1) ‖ nonce (12) ‖ ChaCha20-Poly1305 with all before as associated data (410 + 16):
//!   kind (1): 0 beat, 1 ping ‖ who (32) ‖ body (313) ‖ Ed25519 signature of who (64)
//!
//! beat = run (8) ‖ sent in ms (8) ‖ epoch (8) ‖ SHA-256 of the confirmed transcript hash (32)
//!   ‖ count (1), at most 32 ‖ count × nonce of a ping (8) ‖ zeros
//! ping = nonce (8) ‖ zeros
//! ```
//!
//! The key is HKDF-SHA256 of the charter's beacon key: it keeps outsiders from reading a signal, and makes refusing what
//! they send cheap. What a signal is worth rests on the signature alone, which is over a label, SHA-256 of the room's id,
//! and all that is sealed before it. An MLS message begins with 0, published keys with 1.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    bytes::{Reader, pad},
    error::{Detail, Error, Item, Result},
    identity::{Identity, MemberId},
    media::{Backend, Suite, sframe::Aead},
    random,
    room::charter::Beacon,
};

/// What every signal begins with, and no other message.
const FIRST: u8 = 2;
const VERSION: u8 = 1;

const NONCE: usize = 12;
const HEADER: usize = 1 + 1 + NONCE;
const BODY: usize = 8 + 8 + 8 + 32 + 1 + MAX_ANSWERS * 8;
const SIGNED: usize = 1 + 32 + BODY;
const TAG: usize = 16;

/// The length of every signal in bytes.
const LENGTH: usize = HEADER + SIGNED + 64 + TAG;

/// How many pings one beat answers.
pub(super) const MAX_ANSWERS: usize = 32;

/// It goes before what is signed. No label of a signature is the beginning of another.
const LABEL: &[u8] = b"parlor signal 1\0";

/// What tells one ping from all others.
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

/// A signal that was opened: made by somebody who knows the beacon key, and not known to be of who it says.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) who: MemberId,
    pub(super) signal: Signal,
    message: Vec<u8>,
    signature: [u8; 64],
}

impl Opened {
    /// Whether it is of who it says.
    pub(super) fn is_theirs(&self) -> bool {
        self.who.has_signed(&self.message, &self.signature)
    }
}

/// Whether a message is a signal, or would be one.
pub(in crate::room) fn is_signal(message: &[u8]) -> bool {
    message.first() == Some(&FIRST)
}

/// Seals and opens the signals of one room.
pub(super) struct Wire {
    aead: Aead,
    room: [u8; 32],
}

impl Wire {
    pub(super) fn new(beacon: &Beacon, room: &[u8]) -> Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        let info = [b"parlor signal 1 key\0".as_slice(), room];
        Hkdf::<Sha256>::new(None, beacon.as_bytes())
            .expand_multi_info(&info, key.as_mut_slice())
            .map_err(|_| Error::Unusable { what: "beacon key", why: "HKDF makes no key of it" })?;
        let aead = Aead::new(Suite::ChaCha20Poly1305, Backend::default(), key.as_slice())?;
        Ok(Self { aead, room: Sha256::digest(room).into() })
    }

    pub(super) fn seal(&self, identity: &Identity, signal: &Signal) -> Result<Vec<u8>> {
        let mut body = Vec::with_capacity(SIGNED + 64);
        body.push(match signal {
            Signal::Beat(_) => 0,
            Signal::Ping(_) => 1,
        });
        body.extend_from_slice(identity.id().as_bytes());
        match signal {
            Signal::Beat(Beat { run, sent, epoch, transcript, answers }) => {
                body.extend_from_slice(run);
                body.extend_from_slice(&sent.to_be_bytes());
                body.extend_from_slice(&epoch.to_be_bytes());
                body.extend_from_slice(transcript);
                body.extend(u8::try_from(answers.len()));
                answers.iter().for_each(|nonce| body.extend_from_slice(nonce));
            }
            Signal::Ping(nonce) => body.extend_from_slice(nonce),
        }
        pad(&mut body, "signal", SIGNED)?;
        body.extend_from_slice(&identity.sign(&self.message(&body)));
        self.close(body)
    }

    fn close(&self, mut body: Vec<u8>) -> Result<Vec<u8>> {
        let nonce = random::bytes::<NONCE>()?;
        let mut out = Vec::with_capacity(LENGTH);
        out.extend_from_slice(&[FIRST, VERSION]);
        out.extend_from_slice(nonce.as_slice());
        let tag = self.aead.seal_in_place(&nonce, &out, &mut body)?;
        out.extend_from_slice(&body);
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Opens a signal received in `epoch`.
    pub(super) fn open(&self, bytes: &[u8], epoch: u64) -> Result<Opened> {
        let mut outer = Reader::new(Item::Signal, bytes);
        if bytes.len() != LENGTH {
            return Err(outer.malformed("its length is none that a signal has"));
        }
        let [_first, version] = outer.array()?;
        if version != VERSION {
            return Err(outer.malformed("its version is unknown: update parlor"));
        }
        let nonce = outer.array()?;
        let header = outer.before();
        let mut sealed = outer.bytes(LENGTH - HEADER)?.to_vec();
        let Ok(plain) = self.aead.open_in_place(&nonce, header, &mut sealed) else {
            return Err(unauthentic(epoch, "nobody of this room sealed it"));
        };

        let mut rest = Reader::new(Item::Signal, plain);
        let signed = rest.bytes(SIGNED)?;
        let signature = rest.array()?;
        let mut body = Reader::new(Item::Signal, signed);
        let kind = body.byte()?;
        let who = MemberId::from_bytes(body.array()?);
        let signal = match kind {
            0 => {
                let (run, sent) = (body.array()?, u64::from_be_bytes(body.array()?));
                let (epoch, transcript) = (u64::from_be_bytes(body.array()?), body.array()?);
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
        Ok(Opened { who, signal, message: self.message(signed), signature })
    }

    /// What was opened, sealed again as it was signed.
    #[cfg(test)]
    pub(super) fn seal_opened(&self, opened: &Opened) -> Vec<u8> {
        let signed = opened.message.iter().skip(LABEL.len() + 32).chain(&opened.signature);
        self.close(signed.copied().collect()).unwrap()
    }

    fn message(&self, signed: &[u8]) -> Vec<u8> {
        [LABEL, &self.room, signed].concat()
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

    #[test]
    fn signals_come_back_as_they_were_sealed_and_all_have_one_size() {
        let ana = Identity::generate("ana").unwrap();
        let wire = Wire::new(&Beacon::random().unwrap(), b"room").unwrap();
        for signal in [beat(0), beat(1), beat(MAX_ANSWERS), Signal::Ping([7; 8])] {
            let bytes = wire.seal(&ana, &signal).unwrap();
            assert_eq!((bytes.len(), is_signal(&bytes)), (440, true));
            let opened = wire.open(&bytes, 0).unwrap();
            assert_eq!((opened.who, &opened.signal, opened.is_theirs()), (ana.id(), &signal, true));
        }
        assert!(wire.seal(&ana, &beat(MAX_ANSWERS + 1)).is_err());
    }

    #[test]
    fn no_byte_can_be_changed_and_no_other_room_opens_it_or_takes_the_signature() {
        let ana = Identity::generate("ana").unwrap();
        let beacon = Beacon::random().unwrap();
        let wire = Wire::new(&beacon, b"room").unwrap();
        let bytes = wire.seal(&ana, &beat(3)).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(wire.open(&other, 0).is_err(), "byte {at}");
            assert!(wire.open(&bytes[..at], 0).is_err(), "cut to {at}");
        }
        let mut elsewhere = Wire::new(&beacon, b"another").unwrap();
        assert!(elsewhere.open(&bytes, 0).is_err());
        // Even under the same key.
        elsewhere.aead = Wire::new(&beacon, b"room").unwrap().aead;
        assert!(!elsewhere.open(&bytes, 0).unwrap().is_theirs());
        assert!(Wire::new(&Beacon::random().unwrap(), b"room").unwrap().open(&bytes, 0).is_err());
    }

    #[test]
    fn what_an_insider_seals_is_read_strictly() {
        let wire = Wire::new(&Beacon::default(), b"room").unwrap();
        let good = {
            let ana = Identity::generate("ana").unwrap();
            let mut bytes = wire.seal(&ana, &beat(2)).unwrap();
            let (header, body) = bytes.split_at_mut(HEADER);
            let nonce = header[2..].try_into().unwrap();
            wire.aead.open_in_place(&nonce, header, body).unwrap().to_vec()
        };
        let seal = |plain: &[u8]| {
            let (header, mut body) = ([[FIRST, VERSION].as_slice(), &[9; NONCE]].concat(), plain.to_vec());
            let tag = wire.aead.seal_in_place(&[9; NONCE], &header, &mut body).unwrap();
            [header, body, tag.to_vec()].concat()
        };
        assert!(wire.open(&seal(&good), 0).unwrap().is_theirs());
        let count = 1 + 32 + 8 + 8 + 8 + 32;
        for (at, byte) in [(0, 2), (count, 33), (count, 1), (SIGNED - 1, 1)] {
            let mut other = good.clone();
            other[at] = byte;
            assert!(matches!(wire.open(&seal(&other), 0), Err(Error::Malformed { .. })), "byte {at} is {byte}");
        }
        // Whatever is changed of the rest, the signature does not hold.
        for at in 0..good.len() {
            let mut other = good.clone();
            other[at] ^= 1;
            assert!(!wire.open(&seal(&other), 0).is_ok_and(|opened| opened.is_theirs()), "byte {at}");
        }
    }
}
