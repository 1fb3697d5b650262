//! What makes a deniable room deniable: once it is over for somebody, they publish the media keys they sealed with.
//!
//! ```text
//! version = 1 (1) ‖ SHA-256 of the room's id (32) ‖ count (2) ‖ count × Ed25519 seed (32), ascending
//! ```
//!
//! Whoever has a seed makes seals with it, so from then on a recording with its seals shows no more than one without:
//! anybody could have made it. That is why this is plain text, for everybody. No identity is in it, and the count is
//! filled up to a multiple of eight with random seeds, so that it does not tell how often somebody changed their keys.
//!
//! It comes [`PUBLISH_AFTER`] the room is over and no sooner: by then nobody who is still in it takes a frame of an
//! epoch in which one was there. Who has not learnt by then that one is gone, because the relay keeps it from them,
//! can be told things in one's name by those who hold that epoch's keys, and by nobody else.
//!
//! Anybody may send such bytes: [`PublishedKeys::from_bytes`] is strict and bounded, and what a seed in it is worth,
//! [`PublishedKeys::holds`] finds out by making the public key anew.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    bytes::{Reader, Writer},
    error::{Item, Result},
    media::seal::MediaKey,
    random,
};

/// How long after a room is over for them its members publish the media keys they have used in it, if it is
/// [deniable](crate::media::seal::Proof::Deniable).
///
/// Receivers keep the keys of an epoch gone by for two seconds. The rest is for a commit that is slow to reach them.
pub const PUBLISH_AFTER: Duration = Duration::from_secs(15);

/// The most seeds of one publication.
const MAX_SEEDS: usize = 4_096;

/// They come in multiples of this.
const STEP: usize = 8;

const VERSION: u8 = 1;

/// The media keys that somebody used in a deniable room, published: they prove nothing any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishedKeys {
    room: [u8; 32],
    /// Ascending.
    seeds: Vec<[u8; 32]>,
}

impl PublishedKeys {
    /// Reads what a member published ([`Event::Send`](crate::Event::Send)).
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut rest = Reader::new(Item::PublishedKeys, bytes);
        rest.version(VERSION)?;
        let room = rest.array()?;
        let count = usize::from(u16::from_be_bytes(rest.array()?));
        if count == 0 || count > MAX_SEEDS || !count.is_multiple_of(STEP) {
            return Err(rest.malformed("it holds another number of keys than it may"));
        }
        let mut seeds: Vec<[u8; 32]> = Vec::with_capacity(count);
        for _ in 0..count {
            let seed = rest.array()?;
            if seeds.last().is_some_and(|last| *last >= seed) {
                return Err(rest.malformed("its keys are out of order"));
            }
            seeds.push(seed);
        }
        rest.end()?;
        Ok(Self { room, seeds })
    }

    /// The bytes that [`from_bytes`](Self::from_bytes) reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = u16::try_from(self.seeds.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut out = [&[VERSION], self.room.as_slice(), &count].concat();
        self.seeds.iter().for_each(|seed| out.extend_from_slice(seed));
        out
    }

    /// SHA-256 of the id of the room ([`Room::id`](crate::Room::id)) that they were used in.
    pub const fn room(&self) -> &[u8; 32] {
        &self.room
    }

    /// The Ed25519 seeds (RFC 8032 §5.1.5), ascending. Some may have been used by nobody.
    pub fn seeds(&self) -> &[[u8; 32]] {
        &self.seeds
    }

    /// Whether the Ed25519 key `public` is that of one of the seeds: whatever it has signed, anybody can sign.
    ///
    /// For who is shown a recording with seals, and is to find out whether it proves anything. `public` is
    /// [`MediaCertificate::deniable`](crate::media::seal::MediaCertificate::deniable) of the speaker.
    pub fn holds(&self, public: &[u8; 32]) -> bool {
        self.seeds.iter().any(|seed| SigningKey::from_bytes(seed).verifying_key().as_bytes() == public)
    }
}

/// What one is going to publish: the seeds of the media keys one has used, each where it stays until it is wiped.
#[derive(Default)]
pub(super) struct Spent {
    #[expect(clippy::vec_box, reason = "a vector that grows leaves copies of what it holds behind")]
    seeds: Vec<Box<Zeroizing<[u8; 32]>>>,
    /// When, once the room is over.
    due: Option<Duration>,
    /// What was published: nobody knows whether it was sent when the process ends.
    published: Option<Vec<u8>>,
}

impl Spent {
    /// From here on `key` may seal.
    pub(super) fn uses(&mut self, key: &MediaKey) {
        let seed = Box::new(Zeroizing::new(key.to_publish()));
        let is_known = self.seeds.last().is_some_and(|last| last.as_slice().ct_eq(seed.as_slice()).into());
        if !is_known && !self.is_full() {
            self.seeds.push(seed);
        }
    }

    /// Whether there is no room for another. Then the last key stays in use, for one that seals and is not published
    /// would be evidence.
    pub(super) fn is_full(&self) -> bool {
        self.seeds.len() >= MAX_SEEDS
    }

    /// Writes the seeds, and what was published.
    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        out.count("media keys", self.seeds.len())?;
        self.seeds.iter().for_each(|seed| out.put(seed.as_slice()));
        out.long("media keys", self.published.as_deref().unwrap_or_default())
    }

    /// What [`save`](Self::save) wrote. In a room that one is out of the time to publish begins anew at `now`: it may have
    /// been at the very moment of its end that the process was killed.
    pub(super) fn load(saved: &mut Reader<'_>, is_out: bool, now: Duration) -> Result<Self> {
        let mut spent = Self::default();
        for _ in 0..saved.count(32)? {
            if spent.is_full() {
                return Err(saved.malformed("it holds more media keys than may be published"));
            }
            spent.seeds.push(Box::new(Zeroizing::new(saved.array()?)));
        }
        spent.published = Some(saved.long()?.to_vec()).filter(|published| !published.is_empty());
        if is_out {
            spent.close(now);
        }
        Ok(spent)
    }

    /// The room is over.
    pub(super) fn close(&mut self, now: Duration) {
        self.due = Some(now.saturating_add(PUBLISH_AFTER)).filter(|_| !self.seeds.is_empty());
    }

    /// When there is something to publish.
    pub(super) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// What there is to publish at `now`, once. Without randomness it stays due.
    pub(super) fn publish(&mut self, room: &[u8], now: Duration) -> Option<Vec<u8>> {
        self.due.filter(|due| *due <= now)?;
        let mut seeds: Vec<[u8; 32]> = self.seeds.iter().map(|seed| ***seed).collect();
        while !seeds.len().is_multiple_of(STEP) {
            seeds.push(*random::bytes().ok()?);
        }
        seeds.sort_unstable();
        let published = PublishedKeys { room: Sha256::digest(room).into(), seeds }.to_bytes();
        *self = Self { published: Some(published.clone()), ..Self::default() };
        Some(published)
    }

    /// What was published.
    pub(super) fn published(&self) -> Option<&[u8]> {
        self.published.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        EpochKeys, Event, Guest, Identity, Intent, Role, Room, Settings, Voice,
        media::seal::{Proof, SealKeys, SealRules},
    };

    fn published(keys: &[MediaKey]) -> Vec<u8> {
        let mut spent = Spent::default();
        keys.iter().for_each(|key| spent.uses(key));
        spent.close(Duration::ZERO);
        spent.publish(b"room", PUBLISH_AFTER).unwrap()
    }

    fn keys(count: usize) -> Vec<MediaKey> {
        (0..count).map(|_| MediaKey::generate().unwrap()).collect()
    }

    #[test]
    fn what_is_published_comes_back_and_is_told_from_what_is_not() {
        let keys = keys(3);
        let bytes = published(&keys);
        let read = PublishedKeys::from_bytes(&bytes).unwrap();
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.room(), &<[u8; 32]>::from(Sha256::digest(b"room")));
        for key in &keys {
            assert!(read.holds(&key.public(Proof::Deniable)));
            assert!(!read.holds(&key.public(Proof::Evidence)), "that one is kept");
        }
        assert!(!read.holds(&MediaKey::generate().unwrap().public(Proof::Deniable)));
    }

    #[test]
    fn its_length_does_not_tell_how_many_were_used() {
        assert_eq!(published(&keys(1)).len(), published(&keys(8)).len());
        assert_eq!(PublishedKeys::from_bytes(&published(&keys(9))).unwrap().seeds().len(), 16);
    }

    #[test]
    fn each_value_has_one_form_and_other_lengths_are_refused() {
        let good = published(&keys(9));
        for length in 0..good.len() {
            assert!(PublishedKeys::from_bytes(&good[..length]).is_err(), "cut to {length}");
        }
        assert!(PublishedKeys::from_bytes(&[&good[..], &[0; 32]].concat()).is_err(), "drawn out");
        let (count, first) = (1 + 32, 1 + 32 + 2);
        for wrong in [0, 8, 15, 17, 24, 4_104, u16::MAX] {
            let mut other = good.clone();
            other[count..first].copy_from_slice(&wrong.to_be_bytes());
            assert!(PublishedKeys::from_bytes(&other).is_err(), "{wrong} keys");
        }
        let mut twice = good.clone();
        twice.copy_within(first..first + 32, first + 32);
        assert!(PublishedKeys::from_bytes(&twice).is_err(), "a key twice");
        let mut swapped = good.clone();
        swapped[first..first + 32].copy_from_slice(&good[first + 32..first + 64]);
        swapped[first + 32..first + 64].copy_from_slice(&good[first..first + 32]);
        assert!(PublishedKeys::from_bytes(&swapped).is_err(), "out of order");
        for at in 0..good.len() {
            let mut other = good.clone();
            other[at] ^= 1;
            if let Ok(read) = PublishedKeys::from_bytes(&other) {
                assert_eq!(read.to_bytes(), other, "byte {at}: two forms of one value");
            }
        }
    }

    #[test]
    fn it_is_published_once_and_not_before_its_time() {
        let mut spent = Spent::default();
        spent.uses(&MediaKey::generate().unwrap());
        assert!(spent.publish(b"room", Duration::MAX).is_none(), "while the room goes on");
        spent.close(Duration::from_secs(60));
        let due = Duration::from_secs(60) + PUBLISH_AFTER;
        assert_eq!(spent.due(), Some(due));
        assert!(spent.publish(b"room", due - Duration::from_nanos(1)).is_none());
        assert!(spent.publish(b"room", due).is_some());
        assert_eq!(spent.due(), None);
        assert!(spent.publish(b"room", Duration::MAX).is_none());
        let mut nothing = Spent::default();
        nothing.close(Duration::ZERO);
        assert_eq!(nothing.due(), None);
    }

    fn key(n: usize) -> MediaKey {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        MediaKey::from_seed(&seed)
    }

    #[test]
    fn a_key_that_could_not_be_published_is_not_changed_to() {
        let (mut room, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        let me = room.me().unwrap().id;
        let refresh = |room: &mut Room| {
            let before = room.media_keys(&me).copied();
            let commit = room.refresh().unwrap();
            room.receive(&commit, Duration::ZERO).unwrap();
            before == room.media_keys(&me).copied()
        };
        assert_eq!(room.media_keys(&me), None, "no commit of hers has brought any in");
        assert!(!refresh(&mut room));
        (0..MAX_SEEDS - 3).for_each(|n| room.spent.uses(&key(n)));
        assert!(!refresh(&mut room), "the last that fits");
        assert!(refresh(&mut room));
        let last = room.media_keys(&me).unwrap().deniable;
        let end = room.end().unwrap();
        room.receive(&end, Duration::ZERO).unwrap();
        let [Event::Send(bytes)] = &room.tick(PUBLISH_AFTER)[..] else { panic!("nothing is published") };
        assert!(PublishedKeys::from_bytes(bytes).unwrap().holds(&last));
    }

    /// What a host can do who kept a card: let it in again, and speak as its owner with the keys they published.
    #[test]
    fn nobody_is_spoken_as_by_an_old_card_and_the_keys_that_were_published() {
        let now = Duration::ZERO;
        let keys = |events: Vec<Event>| {
            let keys = events.into_iter().find_map(|event| match event {
                Event::Rekeyed(keys) => Some(keys),
                _ => None,
            });
            keys.unwrap()
        };
        let (mut mal, _) = Room::create(Identity::generate("mal").unwrap(), Settings::default()).unwrap();
        let [ana, ben] = ["ana", "ben"].map(|name| Guest::new(Identity::generate(name).unwrap()).unwrap());
        let (old_card, certificate) = (ana.card().clone(), ana.certificate());
        let both = [&ana, &ben].map(|guest| (guest.card().clone(), Role::Speaker));
        let admission = mal.admit_all(&both).unwrap();
        mal.receive(&admission.commit, now).unwrap();
        let (mut ana, _) = ana.enter(&admission.welcome).unwrap();
        let (mut ben, mut ear) = ben.enter(&admission.welcome).unwrap();

        // Ana goes home, and publishes.
        let removal = mal.remove(&old_card.id()).unwrap();
        ana.receive(&removal, now).unwrap();
        mal.receive(&removal, now).unwrap();
        ear.rekey(keys(ben.receive(&removal, now).unwrap())).unwrap();
        let [Event::Send(bytes)] = &ana.tick(PUBLISH_AFTER)[..] else { panic!("nothing is published") };
        let published = PublishedKeys::from_bytes(bytes).unwrap();
        drop(ana);

        // Ben sees her come again: a patched client does not ask whether a card was used.
        let again = mal.carry_out(Intent::Admit(vec![(old_card.clone(), Role::Speaker)])).unwrap();
        let now = PUBLISH_AFTER;
        ear.rekey(keys(ben.receive(&again.commit, now).unwrap())).unwrap();
        assert_eq!(ben.media_keys(&old_card.id()), None);
        let own = keys(mal.receive(&again.commit, now).unwrap());

        // Mal has the epoch's keys, as every member, and a voice at Ana's leaf.
        let (suite, layout, epoch, stage) = (own.suite(), own.layout(), own.epoch(), own.stage().to_vec());
        let leaf = ben.member(&old_card.id()).unwrap().leaf;
        let seed = published
            .seeds()
            .iter()
            .find(|seed| MediaKey::from_published(seed).public(Proof::Deniable) == certificate.deniable);
        let puppet = MediaKey::from_published(seed.unwrap());
        let seals = SealKeys::new(SealRules::default(), mal.group().unwrap().transcript()).with_signer(puppet);
        let keys = EpochKeys::new(suite, layout, epoch, own.into_base_key(), leaf, stage, now).unwrap();
        let mut voice = Voice::new(keys.of_room(&mal.id).with_seals(seals).unwrap());
        for _ in 0..25 {
            ear.open(&voice.seal(b"what Ana never said").unwrap(), now).unwrap();
            while let Some(seal) = voice.next_seal(now) {
                let _ = ear.open(&seal, now);
            }
        }
        assert_eq!(ear.stats().verified, 0, "Ben is told that it was Ana");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut spent = Spent::default();
        for n in 0..MAX_SEEDS {
            assert!(!spent.is_full());
            spent.uses(&key(n));
            spent.uses(&key(n));
        }
        assert!(spent.is_full());
        spent.uses(&key(MAX_SEEDS));
        spent.close(Duration::ZERO);
        let bytes = spent.publish(b"room", Duration::MAX).unwrap();
        assert_eq!(PublishedKeys::from_bytes(&bytes).unwrap().seeds().len(), MAX_SEEDS);
    }
}
