//! A member's question to one host, and the answer: for those who cannot open each other's signals.
//!
//! Who is kept in an epoch gone by, or on one side of a fork, has no key to what hosts of the room's epoch say. So they ask
//! a host whom they know, under that host's identity key, and are answered with a beat, under a key made for it.
//!
//! The identity key and not the door key, because a door key is anew whenever somebody comes back: a member kept from the
//! very commit that brought the only host back knows no other key of theirs. Ed25519 keys are used to agree on secrets as
//! in <https://eprint.iacr.org/2021/509>, which shows that neither use weakens the other. Later theft of a host's
//! identity key shows who asked, and no answer.

use std::time::Duration;

use zeroize::Zeroizing;

use super::signal::{Beat, FIRST, LENGTH, Nonce, Signal, TO_ASKER, TO_HOST, VERSION, Wire, unauthentic};
use crate::{
    bytes::{Reader, pad},
    error::{Error, Item, Result},
    identity::{Identity, MemberId},
    random,
    room::group::{DoorKey, DoorKeyPublic, ENCAPSULATED, TAG},
};

const PLAIN: usize = LENGTH - 3 - ENCAPSULATED - TAG;
const SIGNED: usize = 32 + 8 + 32;

/// It goes before what is signed. No label of a signature is the beginning of another.
const LABEL: &[u8] = b"parlor ask 2\0";

// What HPKE seals for (its `info`, RFC 9180 §5.1).
const ASK: &[u8] = b"parlor signal to a host 2";
const ANSWER: &[u8] = b"parlor signal to who asked 2";

/// A question of this member's that is out.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) to: MemberId,
    pub(super) nonce: Nonce,
    /// When it went out.
    pub(super) at: Duration,
    reply: DoorKey,
}

/// A question that was opened: not known to be of who it says.
pub(super) struct Question {
    pub(super) who: MemberId,
    pub(super) nonce: Nonce,
    reply: DoorKeyPublic,
    message: Vec<u8>,
    signature: [u8; 64],
}

impl Question {
    /// Whether it is of who it says, and for this host.
    pub(super) fn is_theirs(&self) -> bool {
        self.who.has_signed(&self.message, &self.signature)
    }
}

impl Wire {
    /// Asks a host at `at`.
    pub(super) fn ask(&self, identity: &Identity, to: MemberId, at: Duration) -> Result<(Vec<u8>, Ask)> {
        let none = Error::Unusable { what: "identity key", why: "no secret can be agreed with it" };
        let host = DoorKeyPublic::of(&to).ok_or(none)?;
        let (nonce, reply) = (*random::bytes()?, DoorKey::random()?);
        let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN));
        plain.extend_from_slice(identity.id().as_bytes());
        plain.extend_from_slice(&nonce);
        plain.extend_from_slice(&reply.public().0);
        let signature = identity.sign(&self.asked(&to, &plain));
        plain.extend_from_slice(&signature);
        pad(&mut plain, "ask", PLAIN)?;
        let header = [FIRST, VERSION, TO_HOST];
        let sealed = host.seal(&plain, &self.purpose(ASK), &header)?;
        Ok(([&header[..], &sealed].concat(), Ask { to, nonce, at, reply }))
    }

    /// Opens a question, if it is for this host.
    pub(super) fn question(&self, identity: &Identity, sealed: &[u8]) -> Option<Question> {
        let header = [FIRST, VERSION, TO_HOST];
        let plain = DoorKey::of(identity)?.open(sealed, &self.purpose(ASK), &header)?;
        let mut rest = Reader::new(Item::Signal, &plain);
        let signed = rest.bytes(SIGNED).ok()?;
        let signature = rest.array().ok()?;
        rest.padding().ok()?;
        let mut said = Reader::new(Item::Signal, signed);
        let (who, nonce) = (MemberId::from_bytes(said.array().ok()?), said.array().ok()?);
        let reply = DoorKeyPublic(said.array().ok()?);
        Some(Question { who, nonce, reply, message: self.asked(&identity.id(), signed), signature })
    }

    /// Answers a question with a beat.
    pub(super) fn answer(&self, identity: &Identity, question: &Question, beat: Beat) -> Result<Vec<u8>> {
        let epoch = beat.epoch;
        let word = self.word(identity, &Signal::Beat(beat), epoch)?;
        let header = [&[FIRST, VERSION, TO_ASKER][..], &question.nonce].concat();
        let sealed = question.reply.seal(&word, &self.purpose(ANSWER), &header)?;
        Ok([header, sealed].concat())
    }

    /// Opens the answer to `ask`, received in `epoch`: the beat of the host who was asked.
    pub(super) fn answered(&self, ask: &Ask, sealed: &[u8], epoch: u64) -> Result<Beat> {
        let header = [&[FIRST, VERSION, TO_ASKER][..], &ask.nonce].concat();
        let Some(word) = ask.reply.open(sealed, &self.purpose(ANSWER), &header) else {
            return Err(unauthentic(epoch, "it answers your question, and whoever was asked did not seal it"));
        };
        let opened = self.opened(&word)?;
        let is_theirs = opened.who == ask.to && opened.is_theirs();
        match opened.signal {
            Signal::Beat(beat) if is_theirs && beat.answers.contains(&ask.nonce) => Ok(beat),
            _ => Err(unauthentic(epoch, "it answers your question, and is not of who was asked")),
        }
    }

    fn asked(&self, host: &MemberId, signed: &[u8]) -> Vec<u8> {
        self.message(LABEL, &[&host.as_bytes()[..], signed].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity::generate(name).unwrap()
    }

    fn beat(answers: Vec<Nonce>) -> Beat {
        Beat { run: [1; 8], sent: 2, epoch: 3, transcript: [4; 32], answers }
    }

    #[test]
    fn a_host_reads_who_asks_and_nobody_else_does_and_only_who_asked_reads_the_answer() {
        let [ana, hal, ben] = ["ana", "hal", "ben"].map(identity);
        let wire = Wire::new(b"room");
        let (asked, ask) = wire.ask(&ben, ana.id(), Duration::ZERO).unwrap();
        assert_eq!((asked.len(), &asked[..3]), (LENGTH, &[2, 2, 1][..]));
        assert!(wire.question(&hal, &asked[3..]).is_none() && wire.question(&ben, &asked[3..]).is_none());
        assert!(Wire::new(b"another").question(&ana, &asked[3..]).is_none());
        let question = wire.question(&ana, &asked[3..]).unwrap();
        assert_eq!((question.who, question.nonce, question.is_theirs()), (ben.id(), ask.nonce, true));

        let answer = wire.answer(&ana, &question, beat(vec![ask.nonce])).unwrap();
        assert_eq!((answer.len(), &answer[..3], &answer[3..11]), (LENGTH, &[2, 2, 2][..], &ask.nonce[..]));
        assert_eq!(wire.answered(&ask, &answer[11..], 1).unwrap(), beat(vec![ask.nonce]));
        let (_, other) = wire.ask(&ben, ana.id(), Duration::ZERO).unwrap();
        assert!(wire.answered(&other, &answer[11..], 1).is_err());
        // By another host, and one that answers something else.
        let by_hal = wire.answer(&hal, &question, beat(vec![ask.nonce])).unwrap();
        let of_old = wire.answer(&ana, &question, beat(vec![[0; 8]])).unwrap();
        for answer in [by_hal, of_old] {
            assert!(matches!(wire.answered(&ask, &answer[11..], 1), Err(Error::Unauthentic { .. })));
        }
    }

    #[test]
    fn no_byte_of_an_ask_or_an_answer_can_be_changed() {
        let [ana, ben] = ["ana", "ben"].map(identity);
        let wire = Wire::new(b"room");
        let (asked, ask) = wire.ask(&ben, ana.id(), Duration::ZERO).unwrap();
        let answer = wire.answer(&ana, &wire.question(&ana, &asked[3..]).unwrap(), beat(vec![ask.nonce])).unwrap();
        for at in 3..LENGTH {
            let [mut other, mut wrong] = [asked.clone(), answer.clone()];
            other[at] ^= 1;
            wrong[at] ^= 1;
            assert!(wire.question(&ana, &other[3..]).is_none(), "byte {at}");
            assert!(at < 11 || wire.answered(&ask, &wrong[11..], 1).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_ask_sealed_anew_for_another_host_or_in_anothers_name_is_not_theirs() {
        let [ana, hal, ben] = ["ana", "hal", "ben"].map(identity);
        let wire = Wire::new(b"room");
        let (asked, _) = wire.ask(&ben, ana.id(), Duration::ZERO).unwrap();
        let header = [FIRST, VERSION, TO_HOST];
        let plain = DoorKey::of(&ana).unwrap().open(&asked[3..], &wire.purpose(ASK), &header).unwrap();
        let anew = |plain: &[u8], to: &Identity| {
            DoorKeyPublic::of(&to.id()).unwrap().seal(plain, &wire.purpose(ASK), &header).unwrap()
        };
        assert!(wire.question(&ana, &anew(&plain, &ana)).unwrap().is_theirs());
        assert!(!wire.question(&hal, &anew(&plain, &hal)).unwrap().is_theirs());
        for at in 0..plain.len() {
            let mut other = plain.to_vec();
            other[at] ^= 1;
            assert!(!wire.question(&ana, &anew(&other, &ana)).is_some_and(|question| question.is_theirs()), "{at}");
        }
    }
}
