//! The MLS group below a room (RFC 9420). This file and its folder are the only ones that name openmls.
//!
//! Commits go in and come out as [`Proposed`](super::judge::Proposed), in the room's own terms; nothing here
//! decides whether one is allowed. What an attacker sends is capped by size before it comes here, is parsed by
//! openmls, and moves no state but the ratchet of the member who signed it, for commits alone.

mod bounds;
mod clock;
mod commit;
mod crypto;
mod hpke;
mod incoming;
mod join;
mod leaf;
mod saved;
mod storage;
mod welcome;

use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CredentialType, CredentialWithKey, Extension, ExtensionType,
    Extensions, GroupContext, LeafNode, LeafNodeIndex, MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig,
    OpenMlsProvider, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, ProtocolVersion, RequiredCapabilitiesExtension,
    SenderRatchetConfiguration, UnknownExtension,
};
use openmls_rust_crypto::RustCrypto;
use zeroize::Zeroizing;

use self::{crypto::Crypto, storage::Storage};
use super::{
    charter::Charter,
    door::UnixTime,
    roster::{Seat, Shift},
};
use crate::{
    error::{Detail, Error, Result},
    identity::{Identity, LeafIndex, RoomCode},
    media::{
        scrub_stack,
        seal::{MediaCertificate, MediaKey, Proof},
        sweep_stack,
    },
};

pub(crate) use self::{
    commit::{Bundle, Plan},
    hpke::{DoorKey, DoorKeyPublic, ENCAPSULATED, TAG},
    incoming::{Incoming, Staged},
    join::{Doorstep, Joined, join},
    leaf::{Making, forget_card, making_of, new_card, read_card},
    welcome::split_welcome,
};

/// X25519, ChaCha20-Poly1305, SHA-256, Ed25519 (RFC 9420 §17.1, suite 3).
const CIPHERSUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

/// The GroupContext extension with the room's charter, from the private-use range (RFC 9420 §17.3).
const CHARTER: u16 = 0xF0C1;

/// The GroupInfo extension with the key of a ratchet tree that travels apart.
const TREE_KEY: u16 = 0xF0C2;

/// The leaf extension with a member's door key (32) and their date (8): when the key package was made that brought them
/// in, or when they last asked to be brought back if that was later, in seconds since 1970 by their clock. A word of theirs
/// counts if it is later, or names this very leaf. Other implementations may leave out the date, or all of it.
const DOOR_KEY: u16 = 0xF0C3;

/// The key package extension with the proof of a link: the link's id (32) and a signature (64).
const LINK_PROOF: u16 = 0xF0C4;

/// The leaf extension with a member's media certificate, 128 bytes. Only who is on stage has it, from their first commit
/// there on, and where the room keeps evidence from the card on by which they come in: it is in every later welcome.
const MEDIA_KEYS: u16 = 0xF0C5;

/// The key package extension with the word of a member who asks to be brought back, 80 bytes.
const RETURN: u16 = 0xF0C6;

/// How far the commits of one sender may run out of order in one epoch, and how many may be lost in a row.
///
/// openmls walks a ratchet forward to where a message says it is before it finds out whether the message is any good, and
/// keeps nothing of it: so the second is what one forged message costs each member in steps of 1.7 µs, again and again.
/// Nobody needs many: of the commits of one epoch one is merged, and a member loses one by [`Room::abandon`] alone.
///
/// [`Room::abandon`]: crate::Room::abandon
const OUT_OF_ORDER: u32 = 16;
pub(super) const LOST_IN_A_ROW: u32 = 16;

/// The primitives and the memory that openmls works with, and the keys that its owner's leaves certify.
pub(crate) struct Provider {
    crypto: Crypto,
    storage: Storage,
    door: DoorKey,
    /// What seals are signed with in this epoch, or will be in the first.
    media: MediaKey,
    /// The date that its owner's next leaf is to say; 0 until it is known which card they enter by.
    date: u64,
}

impl Provider {
    /// An empty memory, and fresh keys for door and media.
    pub(crate) fn new() -> Result<Box<Self>> {
        Ok(Box::new(Self::with(Storage::default(), DoorKey::random()?, MediaKey::generate()?, 0)))
    }

    fn with(storage: Storage, door: DoorKey, media: MediaKey, date: u64) -> Self {
        Self { crypto: Crypto::default(), storage, door, media, date }
    }

    /// Hands out what it keeps: two secrets, and the records of a guest, which are JSON.
    #[cfg(test)]
    pub(crate) fn secrets(&self, give: &mut dyn FnMut(&str, &[u8])) {
        give("door key", self.door.secret());
        give("media seed", self.media.seed());
        for (key, record) in &self.storage.copy() {
            let name = match key {
                storage::Key::EpochKeyPairs(_) => "pairs",
                storage::Key::Package(_) => "package",
                storage::Key::Part(part) => &format!("{part:?}"),
            };
            give(name, record);
        }
    }

    /// How many records are kept.
    #[cfg(test)]
    pub(crate) fn records(&self) -> usize {
        self.storage.copy().keys().filter(|key| !matches!(key, storage::Key::Part(_))).count()
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = Crypto;
    type RandProvider = RustCrypto;
    type StorageProvider = Storage;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    fn rand(&self) -> &RustCrypto {
        &self.crypto.primitives
    }
}

/// One member's end of the MLS group.
pub(crate) struct Group {
    provider: Box<Provider>,
    mls: Box<MlsGroup>,
    /// The media key that the pending commit brings in.
    fresh_media: Option<MediaKey>,
    /// How many commits were made in this epoch: each is another generation of this member's ratchet.
    made: u32,
    /// Dropped last.
    _sweep: Sweep,
}

/// What lays zeros, when it is dropped, over what the drops before it left on the stack.
struct Sweep;

impl Drop for Sweep {
    fn drop(&mut self) {
        sweep_stack();
    }
}

impl Group {
    /// A group of one, under a random id.
    pub(crate) fn create(identity: &Identity, charter: &Charter) -> Result<Self> {
        let mut provider = Provider::new()?;
        // openmls would panic: it dates all that it makes by itself an hour back, before it asks how.
        if clock::now().is_none_or(|now| now < 3_600) {
            return Err(Error::Unusable { what: "this machine's clock", why: "it reads 1970 or before: set it" });
        }
        provider.date = leaf::today(identity);
        let media = (charter.settings.seals().proof == Proof::Evidence).then_some(&provider.media);
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(CIPHERSUITE)
            .lifetime(leaf::always())
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(false)
            .max_past_epochs(0)
            .number_of_resumption_psks(0)
            .sender_ratchet_configuration(ratchet())
            .capabilities(capabilities(media.map(|_| MEDIA_KEYS).into_iter()))
            .with_leaf_node_extensions(leaf_extensions(identity, &provider, media, provider.date)?)
            .map_err(bug)?
            .with_group_context_extensions(context_extensions(charter)?)
            .build();
        let mls = MlsGroup::new(provider.as_ref(), identity.signer(), &config, credential(identity)).map_err(bug)?;
        Ok(Self { provider, mls: Box::new(mls), fresh_media: None, made: 0, _sweep: Sweep })
    }

    /// The group's id, as the relay sees it too.
    pub(crate) fn id(&self) -> &[u8] {
        self.mls.group_id().as_slice()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    pub(crate) fn code(&self) -> RoomCode {
        RoomCode::of(self.mls.epoch_authenticator().as_slice())
    }

    pub(crate) fn me(&self) -> LeafIndex {
        LeafIndex(self.mls.own_leaf_index().u32())
    }

    /// Everybody in the ratchet tree. Whoever is in a merged tree has passed [`leaf::newcomer`]'s checks.
    pub(crate) fn seats(&self) -> Result<Vec<Seat>> {
        leaf::seats(self.mls.treesync().full_leaves())
    }

    /// Those that `shift` has changed, of whose leaves `is_known` tells which were there before it.
    pub(crate) fn changed_seats(&self, shift: &mut Shift, is_known: impl Fn(LeafIndex) -> bool) -> Result<Vec<Seat>> {
        let mut seats = Vec::new();
        if shift.has_added {
            let is_new = |at: LeafIndex| !is_known(at) || shift.removed.contains(&at);
            seats = leaf::seats(self.mls.treesync().full_leaves().filter(|(at, _)| is_new(LeafIndex(at.u32()))))?;
        }
        seats.extend(shift.renewed.take());
        Ok(seats)
    }

    /// The room's charter, as the group agrees on it.
    pub(crate) fn charter(&self) -> Result<Charter> {
        commit::read_charter(self.mls.extensions())
    }

    /// One's own door key: what knocks are sealed to.
    pub(crate) const fn door_key(&self) -> &DoorKey {
        &self.provider.door
    }

    /// One's own leaf as words tell it from others: its door key, and its date.
    pub(crate) fn dated_leaf(&self) -> (DoorKeyPublic, u64) {
        (self.provider.door.public(), self.mls.own_leaf_node().map_or(0, leaf::date))
    }

    /// One has asked to be brought back, and is here all the same: from here on one's own leaves say so, and words of before
    /// count no more. By whatever clock that was, it is another date than that of the leaf they name.
    pub(crate) fn asks(&mut self, at: UnixTime) {
        let (_, date) = self.dated_leaf();
        self.provider.date = self.provider.date.max(date.saturating_add(1)).max(at.0);
    }

    /// The date that one's own next leaf will say.
    pub(crate) fn date(&self) -> UnixTime {
        UnixTime(self.provider.date)
    }

    /// Whether one has asked to be brought back since one's leaf was made.
    pub(crate) fn has_words_out(&self) -> bool {
        self.dated_leaf().1 < self.provider.date
    }

    /// One's own media key of this epoch, which one's leaf certifies.
    pub(crate) const fn media_key(&self) -> &MediaKey {
        &self.provider.media
    }

    /// The confirmed transcript hash (RFC 9420 §8.2): it stands for all that led to this epoch. Empty in the first.
    pub(crate) fn transcript(&self) -> &[u8] {
        self.mls.public_group().group_context().confirmed_transcript_hash()
    }

    /// How many records are kept.
    #[cfg(test)]
    pub(crate) fn records(&self) -> usize {
        self.provider.records()
    }

    /// A secret of this epoch for one use (RFC 9420 §8.5).
    pub(crate) fn export(&self, label: &str, len: usize) -> Result<Zeroizing<Vec<u8>>> {
        let secret = self.export_to_heap(label, len);
        scrub_stack();
        secret
    }

    /// As [`Provider::secrets`], with all parts of the group.
    #[cfg(test)]
    pub(crate) fn secrets(&mut self, give: &mut dyn FnMut(&str, &[u8])) {
        drop(self.save(&mut crate::bytes::Writer::default()));
        self.store_message_secrets().unwrap();
        let provider = self.provider.as_ref();
        provider.secrets(give);
        self.fresh_media.iter().for_each(|media| give("fresh media seed", media.seed()));
        drop(provider.storage.for_snapshot());
    }

    // A call of its own, so that what it leaves on the stack lies where `scrub_stack` lays zeros after it.
    #[inline(never)]
    fn export_to_heap(&self, label: &str, len: usize) -> Result<Zeroizing<Vec<u8>>> {
        self.mls.export_secret(&self.provider.crypto, label, &[], len).map(Zeroizing::new).map_err(bug)
    }
}

fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(false)
        .max_past_epochs(0)
        .number_of_resumption_psks(0)
        .sender_ratchet_configuration(ratchet())
        .build()
}

/// MLS carries commits here and nothing else: what members say travels as words of the room's own
/// (`room/words.rs`), and an application message is refused unread. So no ratchet of application messages ever moves.
fn ratchet() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER, LOST_IN_A_ROW)
}

fn credential(identity: &Identity) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(identity.name().as_bytes().to_vec()).into(),
        signature_key: identity.id().as_bytes().as_slice().into(),
    }
}

/// What every member can do, and no more; with those kinds of extensions beside what every leaf has. They are in every
/// later welcome, so a leaf lists what it or its key package carries, and nothing else.
fn capabilities(kinds: impl Iterator<Item = u16>) -> Capabilities {
    let kinds: Vec<_> = [CHARTER, DOOR_KEY].into_iter().chain(kinds).map(ExtensionType::Unknown).collect();
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&[CIPHERSUITE]),
        Some(&kinds),
        Some(&[]),
        Some(&[CredentialType::Basic]),
    )
}

fn required_capabilities() -> RequiredCapabilitiesExtension {
    RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(CHARTER)], &[], &[CredentialType::Basic])
}

/// What a leaf of ours certifies beside its name and keys: with `media`, who sits at it is on stage. A commit that changes
/// one of these names them all.
fn leaf_extensions(
    identity: &Identity,
    provider: &Provider,
    media: Option<&MediaKey>,
    date: u64,
) -> Result<Extensions<LeafNode>> {
    let door = [&provider.door.public().0[..], &date.to_be_bytes()].concat();
    let certificate = media.map(|media| MediaCertificate::new(identity, media).to_bytes().to_vec());
    let extensions = [(DOOR_KEY, door)].into_iter().chain(certificate.map(|certificate| (MEDIA_KEYS, certificate)));
    let extensions = extensions.map(|(kind, bytes)| Extension::Unknown(kind, UnknownExtension(bytes)));
    Extensions::from_vec(extensions.collect()).map_err(bug)
}

/// The whole list of a room's GroupContext extensions: a proposal to change one replaces them all.
fn context_extensions(charter: &Charter) -> Result<Extensions<GroupContext>> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(required_capabilities()),
        Extension::Unknown(CHARTER, UnknownExtension(charter.encode()?)),
    ])
    .map_err(bug)
}

fn index(leaf: LeafIndex) -> LeafNodeIndex {
    LeafNodeIndex::new(leaf.0)
}

/// An error that no input should bring about.
fn bug(error: impl std::fmt::Display) -> Error {
    Error::Group(Detail::new(error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Guest, Role, Room,
        media::seal::Proof,
        room::{Event, Settings},
    };

    #[test]
    fn a_thousand_epochs_leave_one_record_the_newest() {
        let (mut ana, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        let guest = Guest::new(Identity::generate("ben").unwrap()).unwrap();
        let admission = ana.admit(guest.card(), Role::Listener).unwrap();
        ana.receive(&admission.commit, Duration::ZERO).unwrap();
        let (mut ben, _) = guest.enter(&admission.welcome).unwrap();
        let mut last = Vec::new();
        for epoch in 2..1_000 {
            let (one, other) = if epoch % 2 == 0 { (&mut ana, &mut ben) } else { (&mut ben, &mut ana) };
            // A commit that was given up and one that lost its race leave nothing either.
            one.refresh().unwrap();
            one.abandon();
            other.refresh().unwrap();
            let commit = one.refresh().unwrap();
            for room in [one, other] {
                let events = room.receive(&commit, Duration::ZERO).unwrap();
                assert!(matches!(events[0], Event::Rekeyed(_)));
                assert!(!room.is_pending());
            }
            let kept = [&ana, &ben].map(|room| room.group().unwrap().provider.storage.copy());
            let is_part = |key: &storage::Key| matches!(key, storage::Key::Part(_));
            // Parts have no epoch in their name: each is written over the one before.
            assert!(kept.iter().all(|records| records.len() <= 1 + storage::Part::ALL.len()));
            let keys = kept.into_iter().flat_map(std::collections::BTreeMap::into_keys);
            let keys: Vec<_> = keys.filter(|key| !is_part(key)).collect();
            assert_eq!(keys.len(), 2, "epoch {epoch}");
            assert!(keys != last, "epoch {epoch}");
            last = keys;
        }
    }

    #[test]
    fn everybody_certifies_their_door_key_and_keeps_it_over_their_own_commits() {
        let (mut ana, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        let guest = Guest::new(Identity::generate("ben").unwrap()).unwrap();
        let admission = ana.admit(guest.card(), Role::Listener).unwrap();
        ana.receive(&admission.commit, Duration::ZERO).unwrap();
        let (mut ben, _) = guest.enter(&admission.welcome).unwrap();
        let keys = [&ana, &ben].map(|room| Some(room.group().unwrap().door_key().public()));
        assert_ne!(keys[0], keys[1]);
        for epoch in 2..6 {
            let commit = if epoch % 2 == 0 { ana.refresh() } else { ben.refresh() }.unwrap();
            for room in [&mut ana, &mut ben] {
                assert!(matches!(room.receive(&commit, Duration::ZERO).unwrap()[0], Event::Rekeyed(_)));
                let seats = room.group().unwrap().seats().unwrap();
                assert_eq!(seats.iter().map(|seat| seat.door).collect::<Vec<_>>(), keys);
            }
        }
    }
    /// A room of two, and what each makes of whose media keys.
    struct Pair([Room; 2]);

    impl Pair {
        fn new(proof: Proof) -> Self {
            let settings = Settings::default().with_proof(proof);
            let (mut ana, _) = Room::create(Identity::generate("ana").unwrap(), settings).unwrap();
            let guest = Guest::for_stage(Identity::generate("ben").unwrap()).unwrap();
            let admission = ana.admit(guest.card(), Role::Speaker).unwrap();
            ana.receive(&admission.commit, Duration::ZERO).unwrap();
            let (ben, _) = guest.enter(&admission.welcome).unwrap();
            Self([ana, ben])
        }

        fn deliver(&mut self, commit: &[u8]) {
            for room in &mut self.0 {
                assert!(matches!(room.receive(commit, Duration::ZERO).unwrap()[0], Event::Rekeyed(_)));
            }
        }

        /// Everybody's media keys, in which both agree, and which are those that each signs with.
        fn keys(&self) -> [MediaCertificate; 2] {
            let ids = [0, 1].map(|at: usize| self.0[at].me().unwrap().id);
            let [ana, ben] = [0, 1].map(|at: usize| ids.map(|id| *self.0[at].media_keys(&id).unwrap()));
            assert_eq!(ana, ben);
            for (room, certificate) in self.0.iter().zip(&ana) {
                let key = room.group().unwrap().media_key();
                for proof in [Proof::Deniable, Proof::Evidence] {
                    assert_eq!(certificate.key(proof), &key.public(proof));
                }
            }
            ana
        }
    }

    #[test]
    fn each_commit_with_fresh_keys_brings_fresh_media_keys() {
        let mut pair = Pair::new(Proof::Evidence);
        let mut last = pair.keys();
        for at in [0, 1, 0, 0] {
            let commit = pair.0[at].refresh().unwrap();
            assert_eq!(pair.keys(), last, "not before it is merged");
            pair.deliver(&commit);
            let keys = pair.keys();
            assert_ne!(keys[at], last[at]);
            assert_eq!(keys[1 - at], last[1 - at]);
            last = keys;
        }
        let title = pair.0[0].set_title("the cellar").unwrap();
        pair.deliver(&title);
        assert_ne!(pair.keys()[0], last[0]);
        last = pair.keys();
        // Who only lets listeners in sends no keys of their own.
        let cy = Guest::new(Identity::generate("cy").unwrap()).unwrap();
        let admission = pair.0[0].admit(cy.card(), Role::Listener).unwrap();
        pair.deliver(&admission.commit);
        assert_eq!(pair.keys(), last);
    }

    #[test]
    fn who_loses_a_race_or_gives_up_keeps_their_media_keys() {
        let mut pair = Pair::new(Proof::Evidence);
        let before = pair.keys();
        let fresh = |pair: &Pair| pair.0[0].group().unwrap().fresh_media.is_some();
        pair.0[0].refresh().unwrap();
        assert!(fresh(&pair));
        pair.0[0].abandon();
        assert!(!fresh(&pair), "wiped at once");
        pair.0[0].refresh().unwrap();
        let won = pair.0[1].refresh().unwrap();
        pair.deliver(&won);
        assert!(!fresh(&pair), "wiped at once");
        let after = pair.keys();
        assert_eq!(after[0], before[0]);
        // What lost is not brought in by the next commit either.
        let cy = Guest::new(Identity::generate("cy").unwrap()).unwrap();
        let admission = pair.0[0].admit(cy.card(), Role::Listener).unwrap();
        pair.deliver(&admission.commit);
        assert_eq!(pair.keys(), after);
    }

    #[test]
    fn an_epoch_is_told_by_its_transcript() {
        let mut pair = Pair::new(Proof::Deniable);
        let transcript = |pair: &Pair| {
            let [ana, ben] = [0, 1].map(|at: usize| pair.0[at].group().unwrap().transcript().to_vec());
            assert_eq!(ana, ben);
            ana
        };
        let first = transcript(&pair);
        assert_eq!(first.len(), 32);
        let refresh = pair.0[0].refresh().unwrap();
        pair.deliver(&refresh);
        assert_ne!(transcript(&pair), first);
    }
}
