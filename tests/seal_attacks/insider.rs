//! The insider, who makes packets in anybody's name, and the ear that is attacked, with all that came out of it.

use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use parlor::{
    Error, Heard, Suite, Voice,
    media::{
        Backend,
        seal::{Finding, Forgery, MediaKey, SealMode, SealRules},
        sframe::{Derivation, Opener},
    },
};
use sha2::{Digest as _, Sha256};

use crate::{forger::Forger, sealed::Room};

pub const MICROPHONE: u64 = 0;
pub const SEALS: u64 = 1;

/// Who is impersonated, and who listens. The insider is the third.
pub const ANA: usize = 0;
pub const BEN: usize = 1;

pub fn rules(mode: SealMode, every: u8) -> SealRules {
    let mut rules = SealRules::default();
    (rules.mode, rules.every) = (mode, every);
    rules
}

/// One who makes packets of that stream of Ana's.
pub fn forger(room: &Room, stream: u64, epoch: u64) -> Forger {
    Forger::new(room.suite, &room.base_key(epoch), room.key_id(stream, ANA, epoch))
}

/// A frame that came out.
pub struct Given {
    pub epoch: u64,
    pub counter: u64,
    pub frame: Vec<u8>,
    pub verified: bool,
    pub at: Duration,
}

/// A voice that listens, and what came of it.
pub struct Ear {
    pub voice: Voice,
    pub given: Vec<Given>,
    pub found: Vec<(Duration, Finding)>,
}

impl Ear {
    pub fn new(voice: Voice) -> Self {
        Self { voice, given: Vec::new(), found: Vec::new() }
    }

    /// A packet comes.
    pub fn take(&mut self, packet: &[u8], now: Duration) -> Result<(), Error> {
        let opened = self.voice.open(packet, now).map(|heard| self.given.push(given(heard, now)));
        if let Err(Error::Seal { .. }) = opened {
            self.unpark(now);
        }
        opened
    }

    pub fn unpark(&mut self, now: Duration) {
        while let Some(heard) = self.voice.unpark(now) {
            self.given.extend(heard.ok().map(|heard| given(heard, now)));
        }
    }

    /// What an app does each tick.
    pub fn poll(&mut self, now: Duration) {
        self.unpark(now);
        self.found.extend(std::iter::from_fn(|| self.voice.next_finding(now)).map(|finding| (now, finding)));
    }

    /// When a frame that was played in Ana's name was flagged.
    pub fn flagged(&self, room: &Room, given: &Given) -> Option<Duration> {
        let covers = |finding: &Finding| match finding {
            Finding::Unverified { speaker, epoch, counters, .. } => {
                (*speaker, *epoch) == (room.id(ANA), given.epoch) && counters.contains(&given.counter)
            }
            Finding::Forgery(Forgery { impersonated, epoch, stream, counters, .. }) => {
                (*impersonated, *epoch, *stream) == (room.id(ANA), given.epoch, MICROPHONE)
                    && counters.contains(&given.counter)
            }
            _ => false,
        };
        self.found.iter().find(|(at, finding)| *at >= given.at && covers(finding)).map(|(at, _)| *at)
    }
}

fn given(heard: Heard<Vec<u8>>, at: Duration) -> Given {
    let Heard { epoch, counter, frame, verified, .. } = heard;
    Given { epoch, counter, frame, verified, at }
}

/// The plaintext of a packet.
pub fn text_of(suite: Suite, base_key: &[u8], kid: u64, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let opener = Opener::new(suite, Backend::default(), base_key, kid).unwrap();
    let (_, text) = opener.open_in_place(b"", &mut packet).expect("a packet of that key");
    text.to_vec()
}

/// The key that signs what `who` says in deniable rooms.
pub fn signing_key(room: &Room, who: usize) -> SigningKey {
    SigningKey::from_bytes(&MediaKey::from_seed(&room.media[who]).to_publish())
}

/// Everything a seal says, written down once more: what a speaker can sign who keeps to no rule.
#[derive(Clone)]
pub struct Statement {
    pub room: [u8; 32],
    pub epoch: u64,
    pub transcript: Vec<u8>,
    pub leaf: u32,
    pub speaker: [u8; 32],
    pub stream: u64,
    pub suite: u16,
    pub commitment: [u8; 32],
    pub number: u64,
    pub marks: u8,
    pub first: u64,
    pub hashes: Vec<[u8; 16]>,
}

impl Statement {
    /// What Ana would sign under `number` of `packets` in a row, the first of which has the counter `first`.
    pub fn new(room: &Room, epoch: u64, number: u64, first: u64, packets: &[Vec<u8>]) -> Self {
        let kid = room.key_id(MICROPHONE, ANA, epoch);
        let derived = Derivation::new(room.suite, &room.base_key(epoch), kid).unwrap();
        let mut commitment = Sha256::new();
        commitment.update(b"parlor frame key 1\0");
        commitment.update(room.suite.id().to_be_bytes());
        commitment.update(kid.to_be_bytes());
        commitment.update(derived.key());
        commitment.update(derived.salt());
        let hash = |packet: &Vec<u8>| Sha256::digest(packet)[..16].try_into().unwrap();
        Self {
            room: Sha256::digest(b"the room").into(),
            epoch,
            transcript: vec![epoch as u8; 32],
            leaf: ANA as u32,
            speaker: *room.id(ANA).as_bytes(),
            stream: MICROPHONE,
            suite: room.suite.id(),
            commitment: commitment.finalize().into(),
            number,
            marks: 0,
            first,
            hashes: packets.iter().map(hash).collect(),
        }
    }

    pub fn signed(&self) -> Vec<u8> {
        let mut out = b"parlor seal 1\0".to_vec();
        out.extend(self.room);
        out.extend(self.epoch.to_be_bytes());
        out.push(self.transcript.len() as u8);
        out.extend(&self.transcript);
        out.extend(self.leaf.to_be_bytes());
        out.extend(self.speaker);
        out.extend(self.stream.to_be_bytes());
        out.extend(self.suite.to_be_bytes());
        out.extend(self.commitment);
        out.extend(self.number.to_be_bytes());
        out.push(self.marks);
        out.extend(self.first.to_be_bytes());
        out.push(self.hashes.len() as u8);
        out.extend(self.hashes.as_flattened());
        out
    }

    /// What travels in a room that seals each `every`, with this signature.
    pub fn text(&self, every: u8, signature: [u8; 64]) -> Vec<u8> {
        let mut out = vec![1, self.marks];
        out.extend(self.first.to_be_bytes());
        out.push(self.hashes.len() as u8);
        out.extend(self.hashes.as_flattened());
        out.resize(11 + 16 * usize::from(every), 0);
        out.extend(signature);
        out
    }

    pub fn signed_by(&self, key: &SigningKey, every: u8) -> Vec<u8> {
        self.text(every, key.sign(&self.signed()).to_bytes())
    }
}
