//! A room's voices that seal, without the room: everybody on stage, keys known to the test, as an insider knows them.
#![allow(dead_code, reason = "each test uses its part")]

use std::time::Duration;

use parlor::{
    EpochKeys, Error, Heard, Identity, KeyIdLayout, LeafIndex, MemberId, Suite, Voice,
    media::{
        Backend, Quiet, Speaker,
        seal::{Finding, MediaCertificate, MediaKey, SealKeys, SealRules},
    },
};
use zeroize::Zeroizing;

pub const FRAME: Duration = Duration::from_millis(20);

/// Who is in the room, and every secret there is.
pub struct Room {
    pub suite: Suite,
    pub backend: Backend,
    pub rules: SealRules,
    pub people: Vec<Identity>,
    pub media: Vec<[u8; 32]>,
}

impl Room {
    pub fn new(suite: Suite, rules: SealRules, people: usize) -> Self {
        let identity = |at: usize| Identity::from_secret(&format!("speaker {at}"), &[at as u8 + 1; 32]).unwrap();
        Self {
            suite,
            backend: Backend::default(),
            rules,
            people: (0..people).map(identity).collect(),
            media: (0..people).map(|at| [(at as u8).wrapping_add(101); 32]).collect(),
        }
    }

    pub fn id(&self, who: usize) -> MemberId {
        self.people[who].id()
    }

    pub fn base_key(&self, epoch: u64) -> Vec<u8> {
        (0..self.suite.key_len()).map(|at| (at as u64 * 7 + epoch) as u8).collect()
    }

    pub fn certificate(&self, who: usize) -> MediaCertificate {
        MediaCertificate::new(&self.people[who], &MediaKey::from_seed(&self.media[who]))
    }

    pub fn key_id(&self, stream: u64, who: usize, epoch: u64) -> u64 {
        KeyIdLayout::default().key_id(stream, LeafIndex(who as u32), epoch).unwrap()
    }

    /// What `who` seals with in `epoch`.
    pub fn seal_keys(&self, who: usize, epoch: u64) -> SealKeys {
        let mut seals =
            SealKeys::new(self.rules, &[epoch as u8; 32]).with_signer(MediaKey::from_seed(&self.media[who]));
        for at in 0..self.people.len() {
            let leaf = LeafIndex(at as u32);
            seals = seals.with_speaker(leaf, self.id(at), self.people[at].name(), self.certificate(at));
        }
        seals
    }

    pub fn keys(&self, who: usize, epoch: u64, since: Duration) -> EpochKeys {
        self.plain_keys(who, epoch, since).with_seals(self.seal_keys(who, epoch)).unwrap()
    }

    /// The same without seals.
    pub fn plain_keys(&self, who: usize, epoch: u64, since: Duration) -> EpochKeys {
        let layout = KeyIdLayout::default();
        let leaf = |at: usize| LeafIndex(at as u32);
        let stage = (0..self.people.len()).map(|at| Speaker { leaf: leaf(at), id: self.id(at) }).collect();
        let base_key = Zeroizing::new(self.base_key(epoch));
        EpochKeys::new(self.suite, layout, epoch, base_key, leaf(who), stage, since)
            .and_then(|keys| keys.with_backend(self.backend))
            .unwrap()
            .with_offstage(Vec::<Quiet>::new())
            .of_room(b"the room")
    }

    pub fn voice(&self, who: usize, epoch: u64) -> Voice {
        Voice::new(self.keys(who, epoch, Duration::ZERO))
    }
}

/// One speaker's packets of one tick: the frame, then the seals that are due.
pub fn say(voice: &mut Voice, frame: &[u8], now: Duration) -> Vec<Vec<u8>> {
    let mut packets = vec![voice.seal(frame).unwrap()];
    packets.extend(std::iter::from_fn(|| voice.next_seal(now)));
    packets
}

/// What comes out of a voice that is given a packet: played at once, or with the seal in it.
pub fn hear(voice: &mut Voice, packet: &[u8], now: Duration) -> Vec<Heard<Vec<u8>>> {
    match voice.open(packet, now) {
        Ok(heard) => vec![heard],
        Err(Error::Seal { .. }) => std::iter::from_fn(|| voice.unpark(now)).map(Result::unwrap).collect(),
        Err(_) => Vec::new(),
    }
}

pub fn findings(voice: &mut Voice, now: Duration) -> Vec<Finding> {
    std::iter::from_fn(|| voice.next_finding(now)).collect()
}
