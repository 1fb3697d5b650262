//! Leaves and key packages (RFC 9420 §7.2, §10): reading them in the room's terms, and making one's own.
//!
//! MLS gives a key package a lifetime, and every member's openmls holds that against its own clock as it reads the commit
//! that brings it in: members whose clocks disagree would part. So key packages of ours live for ever as MLS has it
//! (0 to 2^64 - 1), and their leaf says when they were made ([`DOOR_KEY`]): whoever admits holds that date against their
//! own clock, once, and nobody else looks at a clock. Key packages of other implementations have no date; their MLS
//! lifetime is what counts then, and members' clocks do with it.

use openmls::prelude::{
    BasicCredential, Capabilities, Credential, CredentialType, Extension, ExtensionType, Extensions, KeyPackage,
    KeyPackageVerifyError, LeafNode, LeafNodeIndex, Lifetime, Member, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut,
    ProtocolVersion, UnknownExtension,
};
use openmls::treesync::{LeafNodeSource, errors::LifetimeError};
use openmls_traits::storage::StorageProvider as _;
use tls_codec::{DeserializeBytes as _, Serialize as _, Size as _};

use super::{
    CHARTER, CIPHERSUITE, DOOR_KEY, DoorKeyPublic, Group, LINK_PROOF, MEDIA_KEYS, Plan, Provider, RETURN, bug,
    capabilities, clock, credential, crypto::Crypto, index, leaf_extensions, welcome::card_reference,
};
use crate::{
    error::{Error, Flaw, Item, Result},
    identity::{Identity, LeafIndex, MemberId, check_name, check_own_name},
    media::seal::MediaCertificate,
    room::{
        card::{Card, MAX_CARD},
        comeback::ReturnWord,
        door::{LinkId, LinkProof, UnixTime},
        judge::Newcomer,
        roster::Seat,
    },
};

/// The largest leaf in bytes. One of ours with the longest name has up to 293, on stage 428; every leaf is in every later
/// welcome.
const MAX_LEAF: usize = 512;

/// How far ahead of the clock of whoever admits a key package of ours may be dated, and how old it may be, in seconds: an
/// hour and twelve weeks.
const AHEAD: u64 = 3_600;
const GOOD_FOR: u64 = 12 * 7 * 24 * 3_600;

/// How long a key package that has no date must still be valid, and have been valid already, in seconds: a week and five
/// minutes.
///
/// Each member's openmls checks its lifetime again as it reads the commit, by its own clock and whenever that is, and
/// whoever finds it over cannot follow until their clock is right. So whoever admits leaves them some time.
const VALID_FOR: u64 = 7 * 24 * 3_600;
const VALID_SINCE: u64 = 5 * 60;

/// The longest MLS lifetime of a key package that has no date, in seconds: twelve weeks and an hour.
const LONGEST: u64 = GOOD_FOR + AHEAD;

/// The MLS lifetime of our own: no clock that reads 1970 or later finds it bad.
pub(super) fn always() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}

/// Makes a card of `identity`'s, with the proof of a link and the word that they ask to be brought back, if there are
/// any; its secrets stay in `provider`. With `for_stage` its leaf certifies their media keys.
pub(crate) fn new_card(
    provider: &Provider,
    identity: &Identity,
    proof: Option<LinkProof>,
    word: Option<ReturnWord>,
    for_stage: bool,
) -> Result<Card> {
    // A word is later than its maker's leaf by their clock as the app reads it, and so is the date of what it brings.
    let date = word.map_or_else(|| today(identity), |word| word.asked_at.0);
    let kinds = [(for_stage, MEDIA_KEYS), (proof.is_some(), LINK_PROOF), (word.is_some(), RETURN)];
    let mut builder = KeyPackage::builder()
        .key_package_lifetime(always())
        .leaf_node_capabilities(capabilities(kinds.into_iter().filter(|(has, _)| *has).map(|(_, kind)| kind)))
        .leaf_node_extensions(leaf_extensions(identity, provider, for_stage.then_some(&provider.media), date)?);
    let proved =
        proof.map(|LinkProof { link, signature }| (LINK_PROOF, [link.as_bytes().as_slice(), &signature].concat()));
    let asked = word.map(|word| (RETURN, word.to_bytes()));
    let extensions: Vec<_> = proved
        .into_iter()
        .chain(asked)
        .map(|(kind, bytes)| Extension::Unknown(kind, UnknownExtension(bytes)))
        .collect();
    if !extensions.is_empty() {
        builder = builder.key_package_extensions(Extensions::from_vec(extensions).map_err(bug)?);
    }
    let bundle = builder.build(CIPHERSUITE, provider, identity.signer(), credential(identity)).map_err(bug)?;
    let bytes = MlsMessageOut::from(bundle.key_package().clone()).to_bytes().map_err(bug)?;
    Ok(Card::new(bytes, identity.id(), identity.name().to_owned(), proof, word))
}

/// The date of what `identity` makes: later than any word of theirs that somebody may act on, so that none is left behind
/// that would bring them out of a room again. If they asked by a clock that was put back by more, nobody acts on it yet.
pub(super) fn today(identity: &Identity) -> u64 {
    let (now, asked_at) = (clock::now().unwrap_or(0), identity.asked_at());
    if asked_at <= now.saturating_add(2 * UnixTime::SLACK) { now.max(asked_at).max(1) } else { now.max(1) }
}

/// Wipes the secrets of a card, which admits nobody any more.
pub(crate) fn forget_card(provider: &Provider, card: &Card) {
    // The records are in our memory: there is nothing to fail but the making of the reference, and then there are none.
    let _ = card_reference(card).map(|reference| provider.storage.delete_key_package(&reference));
}

/// Checks a card, and says whose it is, and which link it proves and when its owner asked to be brought back, if so.
pub(crate) fn read_card(bytes: &[u8]) -> Result<(MemberId, String, Option<LinkProof>, Option<ReturnWord>)> {
    let package = key_package(bytes)?;
    let Newcomer { id, name, fit, certified, proof, word, .. } = admitted(&package);
    let id = id.ok_or(unfit(Flaw::NoEd25519Key))?;
    let name = name.ok_or(unfit(Flaw::NoBasicCredential))?;
    fit.map_err(unfit)?;
    if !certified {
        return Err(unfit(Flaw::MediaKeys));
    }
    check_own_name(&name)?;
    // How old a word may be is for whoever brings its owner back, by the time of day they give.
    if word.is_none() {
        check_date(&package).map_err(unfit)?;
    }
    Ok((id, name, proof, word))
}

/// The verified key package of a card's bytes.
pub(super) fn key_package(bytes: &[u8]) -> Result<KeyPackage> {
    let (what, limit) = (Item::Card, MAX_CARD);
    if bytes.len() > limit {
        return Err(Error::TooLarge { what, bytes: bytes.len(), limit });
    }
    check_suite(bytes).map_err(unfit)?;
    let malformed = |why| Error::Malformed { what, why };
    let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes)
        .map_err(|_| malformed("it is no MLS message, was cut short, or carries what MLS does not allow there"))?;
    let MlsMessageBodyIn::KeyPackage(package) = message.extract() else {
        return Err(malformed("it is an MLS message of another kind"));
    };
    // The signatures; and the MLS lifetime, by this machine's clock.
    let crypto = Crypto::default();
    package.validate(&crypto, ProtocolVersion::Mls10).map_err(|error| {
        unfit(match error {
            KeyPackageVerifyError::InvalidLeafNodeSignature | KeyPackageVerifyError::InvalidSignature => {
                return malformed("its signature does not verify");
            }
            KeyPackageVerifyError::LifetimeError(LifetimeError::Expired { not_after, now }) => {
                Flaw::Expired { by: now.saturating_sub(not_after) }
            }
            KeyPackageVerifyError::LifetimeError(LifetimeError::NotValidYet { not_before, now }) => {
                Flaw::NotYet { by: not_before.saturating_add(VALID_SINCE).saturating_sub(now) }
            }
            KeyPackageVerifyError::LifetimeError(_) => Flaw::NoClock,
            KeyPackageVerifyError::UnsupportedExtension => Flaw::UnlistedBesideLeaf,
            KeyPackageVerifyError::ExtensionTypeNotValidInKeyPackage(_) => Flaw::Misplaced,
            KeyPackageVerifyError::InitKeyEqualsEncryptionKey => Flaw::SameKeys,
            KeyPackageVerifyError::InvalidLeafNodeSourceType | KeyPackageVerifyError::MissingLifetime => {
                Flaw::NoKeyPackage
            }
            KeyPackageVerifyError::InvalidProtocolVersion | KeyPackageVerifyError::LibraryError(_) => {
                return malformed("it is no valid key package");
            }
        })
    })
}

/// Whether a card is for our suite, before anything of it is verified by the code of the suite that it names.
fn check_suite(card: &[u8]) -> Result<(), Flaw> {
    /// MLS 1.0, and a KeyPackage in it (RFC 9420 §6).
    const HEADER: [u8; 4] = [0, 1, 0, 5];
    const MLS_10: u16 = 1;
    let &[a, b, c, d, e, f, g, h, ..] = card else { return Ok(()) };
    let (version, suite) = (u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]));
    if [a, b, c, d] != HEADER {
        return Ok(());
    }
    if version != MLS_10 {
        return Err(Flaw::Version(version));
    }
    if suite != u16::from(CIPHERSUITE) {
        return Err(Flaw::Suite(suite));
    }
    Ok(())
}

/// Whether somebody may be let in by a key package, by this machine's clock.
fn check_date(package: &KeyPackage) -> Result<(), Flaw> {
    let now = clock::now().ok_or(Flaw::NoClock)?;
    let date = date(package.leaf_node());
    if date > now.saturating_add(AHEAD) {
        return Err(Flaw::Ahead { by: date - now });
    }
    if date > 0 && now.saturating_sub(date) > GOOD_FOR {
        return Err(Flaw::Old { age: now - date });
    }
    let lifetime = package.life_time();
    if date > 0 && *lifetime == always() {
        return Ok(());
    }
    let (from, left) = (lifetime.not_before().saturating_add(VALID_SINCE), lifetime.not_after().saturating_sub(now));
    if from > now {
        return Err(Flaw::NotYet { by: from - now });
    }
    if left < VALID_FOR { Err(Flaw::EndsSoon { left }) } else { Ok(()) }
}

/// The leaf of somebody to be admitted, in the room's terms. No clock has a say in it: every member has to come to the same.
pub(super) fn admitted(package: &KeyPackage) -> Newcomer {
    let leaf = newcomer(package.leaf_node());
    let proof = package.extensions().unknown(LINK_PROOF).map(|extension| link_proof(&extension.0));
    let word = package.extensions().unknown(RETURN).map(|extension| ReturnWord::from_bytes(&extension.0).ok());
    let rest = || {
        check_lifetime(package)?;
        check(is_usable(package.hpke_init_key().as_slice()), Flaw::InitKey)?;
        check(proof != Some(None), Flaw::LinkProof)?;
        check(word != Some(None), Flaw::ReturnWord)?;
        check(!package.last_resort(), Flaw::LastResort)
    };
    Newcomer { fit: leaf.fit.and_then(|()| rest()), proof: proof.flatten(), word: word.flatten(), ..leaf }
}

/// Whether it is bounded how long a key package is good for (RFC 9420 §7.2): by its lifetime, if not by its date.
fn check_lifetime(package: &KeyPackage) -> Result<(), Flaw> {
    let lifetime = package.life_time();
    let long = lifetime.not_after().saturating_sub(lifetime.not_before());
    let is_dated = date(package.leaf_node()) > 0 && *lifetime == always();
    check(is_dated || long <= LONGEST, Flaw::LivesTooLong { lifetime: long, limit: LONGEST })
}

const fn unfit(flaw: Flaw) -> Error {
    Error::Unfit { flaw }
}

const fn check(holds: bool, flaw: Flaw) -> Result<(), Flaw> {
    if holds { Ok(()) } else { Err(flaw) }
}

impl Group {
    /// Whether everybody may be let in whom `plan` lets in by those `packages`, by this machine's clock.
    ///
    /// That of who comes back by a word is not looked at: the word was held against the time of day.
    pub(super) fn check_dates(&self, plan: &Plan<'_>, packages: &[KeyPackage]) -> Result<()> {
        for (card, package) in plan.adds.iter().zip(packages) {
            let key = package.leaf_node().signature_key();
            let is_theirs = |(at, leaf): (LeafNodeIndex, &LeafNode)| {
                plan.removes.contains(&LeafIndex(at.u32())) && leaf.signature_key() == key
            };
            if card.word().is_none() || !self.mls.treesync().full_leaves().any(is_theirs) {
                check_date(package).map_err(unfit)?;
            }
        }
        Ok(())
    }
}

impl Group {
    /// Whether it is by `card`, or by a later one of the same making, that `leaf` came to be: then that card is used up.
    pub(crate) fn came_by(&self, leaf: LeafIndex, card: &Card) -> bool {
        self.making_at(leaf).zip(making_of(card)).is_some_and(|(used, card)| used.uses_up(&card))
    }

    /// The making of the card by which whoever sits at `leaf` has come in.
    pub(crate) fn making_at(&self, leaf: LeafIndex) -> Option<Making> {
        let (_, leaf) = self.mls.treesync().full_leaves().find(|(at, _)| *at == index(leaf))?;
        making(leaf)
    }
}

/// What the cards of one guest have in common, and when one of them was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Making {
    /// The guest's door key, which they keep for as long as they are in by one of these cards; of who has none the key of
    /// the leaf.
    pub(crate) key: [u8; 32],
    /// By the guest's clock; 0 if the card does not say.
    pub(crate) date: u64,
}

impl Making {
    /// Whether `card` is of no use once its owner has come in by this one. A later one is: whoever makes another card as
    /// the same guest has not come in by the first, for the answer to it was lost.
    pub(crate) fn uses_up(&self, card: &Self) -> bool {
        self.key == card.key && card.date <= self.date
    }
}

/// The making of a card.
pub(crate) fn making_of(card: &Card) -> Option<Making> {
    making(key_package(card.as_bytes()).ok()?.leaf_node())
}

fn making(leaf: &LeafNode) -> Option<Making> {
    let key = door_key(leaf).map(|door| door.0).or_else(|| encryption_key(leaf))?;
    Some(Making { key, date: date(leaf) })
}

fn link_proof(bytes: &[u8]) -> Option<LinkProof> {
    let (link, signature) = bytes.split_first_chunk()?;
    Some(LinkProof { link: LinkId(*link), signature: signature.try_into().ok()? })
}

/// A leaf in the room's terms.
pub(super) fn newcomer(leaf: &LeafNode) -> Newcomer {
    let media = media_keys(leaf);
    let (id, name) = (MemberId::from_slice(leaf.signature_key().as_slice()), name(leaf.credential()));
    let certified = match (media, &id, &name) {
        (None, ..) => true,
        (Some(Some(certificate)), Some(id), Some(name)) => certificate.is_of(id, name),
        _ => false,
    };
    Newcomer { id, name, certified, has_new_key: true, fit: check_leaf(leaf), proof: None, word: None }
}

/// Whether a leaf is one that a room has. What it carries that is of no room's business is ignored (RFC 9420 §13.4), if
/// there is room for it and openmls lets it be.
fn check_leaf(leaf: &LeafNode) -> Result<(), Flaw> {
    check_capabilities(leaf.capabilities())?;
    for kind in leaf.extensions().iter().map(Extension::extension_type) {
        let number = u16::from(kind);
        match kind {
            ExtensionType::ApplicationId => {}
            // openmls finds no GREASE here: it reads what an extension carries as unknown, what capabilities list as GREASE.
            _ if leaf.capabilities().extensions().contains(&kind) => {}
            _ if ExtensionType::from(number).is_grease() => return Err(Flaw::Grease(number)),
            _ => return Err(Flaw::Unlisted(number)),
        }
    }
    check(leaf.extensions().unknown(DOOR_KEY).is_none() || door_and_date(leaf).is_some(), Flaw::DoorKey)?;
    let bytes = leaf.tls_serialized_len();
    check(bytes <= MAX_LEAF, Flaw::LeafTooLarge { bytes, limit: MAX_LEAF })?;
    check(encryption_key(leaf).is_some_and(|key| is_usable(&key)), Flaw::EncryptionKey)
}

/// What path secrets are encrypted to; openmls shows it encoded only, after its length.
pub(super) fn encryption_key(leaf: &LeafNode) -> Option<[u8; 32]> {
    let encoded = leaf.encryption_key().tls_serialize_detached().ok()?;
    encoded.strip_prefix(&[32])?.try_into().ok()
}

/// Whether anything can be encrypted to that key. If not, nobody in the room could make a commit with an update path
/// for as long as its owner is in: openmls takes such keys, and fails when it comes to encrypt.
fn is_usable(key: &[u8]) -> bool {
    key.try_into().is_ok_and(|key| DoorKeyPublic(key).is_usable())
}

/// The door key that a leaf certifies. Members on other implementations may have none.
fn door_key(leaf: &LeafNode) -> Option<DoorKeyPublic> {
    door_and_date(leaf).map(|(door, _)| door)
}

/// The date that a leaf says; 0 if it says none.
pub(super) fn date(leaf: &LeafNode) -> u64 {
    door_and_date(leaf).map_or(0, |(_, date)| date)
}

fn door_and_date(leaf: &LeafNode) -> Option<(DoorKeyPublic, u64)> {
    let (door, date) = leaf.extensions().unknown(DOOR_KEY)?.0.split_first_chunk()?;
    let is_dated = !date.is_empty();
    let date = if is_dated { u64::from_be_bytes(date.try_into().ok()?) } else { 0 };
    Some((DoorKeyPublic(*door), date)).filter(|_| !is_dated || date > 0)
}

/// The media certificate in a leaf, if it has any; `None` within if that cannot be read.
fn media_keys(leaf: &LeafNode) -> Option<Option<MediaCertificate>> {
    leaf.extensions().unknown(MEDIA_KEYS).map(|extension| MediaCertificate::from_bytes(&extension.0))
}

fn check_capabilities(capabilities: &Capabilities) -> Result<(), Flaw> {
    let charter = ExtensionType::Unknown(CHARTER);
    check(capabilities.versions().contains(&ProtocolVersion::Mls10), Flaw::Lacks("MLS 1.0"))?;
    check(capabilities.ciphersuites().contains(&CIPHERSUITE.into()), Flaw::Lacks("suite 0x0003"))?;
    check(capabilities.extensions().contains(&charter), Flaw::Lacks("extension 0xF0C1 (the room's charter)"))?;
    check(capabilities.credentials().contains(&CredentialType::Basic), Flaw::Lacks("basic credentials"))
}

/// The name in a Basic credential.
fn name(credential: &Credential) -> Option<String> {
    let basic = BasicCredential::try_from(credential.clone()).ok()?;
    String::from_utf8(basic.identity().to_vec()).ok()
}

/// The leaves of a tree.
pub(super) fn seats<'a>(leaves: impl Iterator<Item = (LeafNodeIndex, &'a LeafNode)>) -> Result<Vec<Seat>> {
    let seat = |(index, leaf): (LeafNodeIndex, &LeafNode)| {
        let seat = seat(index, leaf.signature_key().as_slice(), leaf.credential())?;
        let bound = matches!(leaf.leaf_node_source(), LeafNodeSource::Commit(_));
        // A leaf without such a key is in no room.
        let key = encryption_key(leaf).unwrap_or_default();
        let (door, date) = door_and_date(leaf).map_or((None, 0), |(door, date)| (Some(door), date));
        Ok(Seat { key, door, date, media: media_keys(leaf).flatten().map(Box::new), bound, ..seat })
    };
    leaves.map(seat).collect()
}

/// The members of a tree that is not entered yet, of whose leaves openmls shows no more.
pub(super) fn strangers(members: impl Iterator<Item = Member>) -> Result<Vec<Seat>> {
    members.map(|member| seat(member.index, &member.signature_key, &member.credential)).collect()
}

fn seat(index: LeafNodeIndex, key: &[u8], credential: &Credential) -> Result<Seat> {
    match (MemberId::from_slice(key), name(credential)) {
        (Some(id), Some(name)) if check_name(&name).is_ok() => {
            let leaf = LeafIndex(index.u32());
            Ok(Seat { leaf, id, name, key: [0; 32], door: None, date: 0, media: None, bound: false })
        }
        _ => {
            let why = "it has a member without a proper name and an Ed25519 key";
            Err(Error::Malformed { what: Item::Tree, why })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Guest, Role, Room,
        identity::MAX_NAME,
        media::seal::{MediaKey, Proof},
        room::{
            Event, Settings,
            charter::Charter,
            group::Plan,
            roster::{Roster, Shift},
        },
    };

    /// What the comment on [`MAX_LEAF`] says: with a parent hash (33) in place of a lifetime (16).
    const LONGEST_LEAF: [usize; 2] = [293, 428];

    impl Guest {
        pub(crate) fn certificate(&self) -> MediaCertificate {
            MediaCertificate::new(&self.identity, &self.provider.media)
        }
    }

    /// Where a card's init key and its leaf's encryption key lie.
    const INIT_KEY: usize = 4 + 4 + 1;
    const LEAF: usize = INIT_KEY + 32;
    const ENCRYPTION_KEY: usize = LEAF + 1;
    const SIGNATURE: usize = 2 + 64;

    /// `guest`'s card with `key` at `at`, signed anew by a patched client.
    fn with_key(guest: &Guest, at: usize, key: [u8; 32]) -> Vec<u8> {
        with_bytes(guest, at, &key)
    }

    fn with_bytes(guest: &Guest, at: usize, bytes: &[u8]) -> Vec<u8> {
        let sign = |label: &[u8], content: &[u8]| {
            let mut out = vec![u8::try_from(label.len()).unwrap()];
            out.extend_from_slice(label);
            out.extend_from_slice(&(0x4000 | u16::try_from(content.len()).unwrap()).to_be_bytes());
            out.extend_from_slice(content);
            guest.identity.sign(&out)
        };
        let mut card = guest.card().as_bytes().to_vec();
        card[at..at + bytes.len()].copy_from_slice(bytes);
        let end = card.len() - SIGNATURE;
        let leaf_end = end - 1 - SIGNATURE;
        let signature = sign(b"MLS 1.0 LeafNodeTBS", &card[LEAF..leaf_end]);
        card[leaf_end + 2..leaf_end + SIGNATURE].copy_from_slice(&signature);
        let signature = sign(b"MLS 1.0 KeyPackageTBS", &card[4..end]);
        card[end + 2..].copy_from_slice(&signature);
        card
    }

    #[test]
    fn a_card_with_a_key_that_nobody_can_encrypt_to_is_refused() {
        let guest = Guest::new(Identity::generate("mal").unwrap()).unwrap();
        for (at, flaw) in [(INIT_KEY, Flaw::InitKey), (ENCRYPTION_KEY, Flaw::EncryptionKey)] {
            let key = guest.card().as_bytes()[at..at + 32].try_into().unwrap();
            assert!(read_card(&with_key(&guest, at, key)).is_ok());
            let error = read_card(&with_key(&guest, at, [0; 32])).unwrap_err();
            assert!(matches!(error, Error::Unfit { flaw: found } if found == flaw), "{error}");
        }
    }

    #[test]
    fn somebody_whom_nobody_can_encrypt_to_is_not_admitted_by_a_patched_client_either() {
        let (mut ana, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        let mo = Guest::new(Identity::generate("mo").unwrap()).unwrap();
        let admission = ana.admit(mo.card(), Role::Moderator).unwrap();
        ana.receive(&admission.commit, Duration::ZERO).unwrap();
        let (mut mo, _) = mo.enter(&admission.welcome).unwrap();

        let mal = Guest::new(Identity::generate("mal").unwrap()).unwrap();
        let card = Card::new(with_key(&mal, ENCRYPTION_KEY, [0; 32]), mal.identity.id(), "mal".into(), None, None);
        let plan = Plan { adds: vec![&card], ..Plan::default() };
        let bundle = mo.group.as_mut().unwrap().commit(&mo.identity, &plan).unwrap();
        let events = ana.receive(&bundle.commit, Duration::ZERO).unwrap();
        let [Event::Refused { actor, why }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*actor, &*why.action), (Some(mo.identity.id()), "admit mal as a listener"));
        ana.refresh().unwrap();
    }
    /// `guest`'s card with these media keys in place of its own.
    fn with_media_keys(guest: &Guest, certificate: &MediaCertificate) -> Vec<u8> {
        // The last extension of the leaf, before its signature; then those of the key package, and its signature.
        let leaf_end = guest.card().as_bytes().len() - SIGNATURE - 1 - SIGNATURE;
        with_bytes(guest, leaf_end - MediaCertificate::LEN, &certificate.to_bytes())
    }

    #[test]
    fn a_card_with_media_keys_that_its_owner_does_not_vouch_for_is_refused() {
        let ben = Identity::generate("ben").unwrap();
        let secret = ben.secret();
        let guest = Guest::for_stage(ben).unwrap();
        let key = MediaKey::generate().unwrap();
        let of =
            |name: &str, secret: &[u8; 32]| MediaCertificate::new(&Identity::from_secret(name, secret).unwrap(), &key);
        let own = of("ben", &secret);
        assert!(read_card(&with_media_keys(&guest, &own)).is_ok());
        let swapped = MediaCertificate { deniable: own.evidence, evidence: own.deniable, ..own };
        for (what, forged) in [
            ("another's", of("ben", &[7; 32])),
            ("for another name", of("bea", &secret)),
            ("each for the other", swapped),
            ("of nobody", MediaCertificate { signature: [0; 64], ..own }),
        ] {
            let error = read_card(&with_media_keys(&guest, &forged)).unwrap_err();
            assert!(error.to_string().contains("media keys are not certified"), "{what}: {error}");
        }
    }

    #[test]
    fn who_enters_takes_nobodys_word_for_the_media_keys_in_the_tree() {
        // A room of mal's, whose own leaf has keys that she never vouched for.
        let mal = Guest::new(Identity::generate("mal").unwrap()).unwrap();
        let false_keys = MediaCertificate { signature: [0; 64], ..mal.certificate() };
        let seat = |media| Seat {
            leaf: LeafIndex(0),
            id: mal.identity.id(),
            name: "mal".into(),
            key: [1; 32],
            door: None,
            date: 0,
            media: Some(Box::new(media)),
            bound: true,
        };
        let charter = Charter::new(Settings::default(), mal.identity.id());
        let mut roster = Roster::new(vec![seat(false_keys)], &charter, 1);
        let id = mal.identity.id();
        assert_eq!(roster.media_keys(&id), None);
        roster.follow(&Shift::default(), vec![seat(mal.certificate())], None, &charter, 2);
        assert_eq!(roster.media_keys(&id), Some(&mal.certificate()));
        let mut listener = charter.clone();
        listener.set_role(id, Role::Listener, 3);
        roster.follow(&Shift::default(), Vec::new(), Some(&charter), &listener, 3);
        assert_eq!(roster.media_keys(&id), None, "who is off stage seals nothing");
        roster.follow(&Shift::default(), Vec::new(), Some(&listener), &charter, 4);
        assert_eq!(roster.media_keys(&id), Some(&mal.certificate()), "their leaf has had them all along");
    }

    #[test]
    fn a_leaf_certifies_media_keys_from_the_first_commit_on_stage_to_the_next_off_it() {
        for proof in [Proof::Deniable, Proof::Evidence] {
            let settings = Settings::default().with_proof(proof);
            let (mut ana, _) = Room::create(Identity::generate("ana").unwrap(), settings).unwrap();
            let guests = ["ben", "cy"].map(|name| Guest::new(Identity::generate(name).unwrap()).unwrap());
            let cards = guests.each_ref().map(|guest| (guest.card().clone(), Role::Listener));
            let admission = ana.admit_all(&cards).unwrap();
            ana.receive(&admission.commit, Duration::ZERO).unwrap();
            let [ben, _] = guests;
            let (mut ben, _) = ben.enter(&admission.welcome).unwrap();
            let id = ben.me().unwrap().id;
            // What ben's leaf says, and which of his keys count with ana and with him.
            let check = |ana: &Room, ben: &Room, in_leaf: bool, count: bool| {
                for room in [ana, ben] {
                    let tree = room.group().unwrap().mls.treesync();
                    let (_, leaf) = tree.full_leaves().find(|(at, _)| at.u32() == 1).unwrap();
                    let lists = leaf.capabilities().extensions().contains(&ExtensionType::Unknown(MEDIA_KEYS));
                    assert_eq!((media_keys(leaf).is_some(), lists), (in_leaf, in_leaf), "{proof:?}");
                    assert_eq!(room.media_keys(&id).is_some(), count, "{proof:?}");
                }
            };
            let both = |ana: &mut Room, ben: &mut Room, commit: &[u8]| {
                for room in [ana, ben] {
                    room.receive(commit, Duration::ZERO).unwrap();
                }
            };
            check(&ana, &ben, false, false);
            let commit = ben.refresh().unwrap();
            both(&mut ana, &mut ben, &commit);
            check(&ana, &ben, false, false);
            assert!(!ben.refresh_due(Duration::ZERO));
            let commit = ana.set_role(&id, Role::Speaker).unwrap();
            both(&mut ana, &mut ben, &commit);
            check(&ana, &ben, false, false);
            assert!(ben.refresh_due(Duration::ZERO), "his seals are to count");
            let commit = ben.refresh().unwrap();
            both(&mut ana, &mut ben, &commit);
            check(&ana, &ben, true, true);
            let commit = ana.set_role(&id, Role::Listener).unwrap();
            both(&mut ana, &mut ben, &commit);
            check(&ana, &ben, true, false);
            let commit = ben.refresh().unwrap();
            both(&mut ana, &mut ben, &commit);
            check(&ana, &ben, false, false);
        }
    }

    #[test]
    fn a_leaf_with_the_longest_name_is_within_bounds() {
        let name = "n".repeat(MAX_NAME);
        let leaf = |guest: Result<Guest>| {
            key_package(guest.unwrap().card().as_bytes()).unwrap().leaf_node().tls_serialized_len() - 16 + 33
        };
        let identity = || Identity::generate(&name).unwrap();
        assert_eq!([leaf(Guest::new(identity())), leaf(Guest::for_stage(identity()))], LONGEST_LEAF);
        let (mut room, _) = Room::create(Identity::generate(&name).unwrap(), Settings::default()).unwrap();
        let refresh = room.refresh().unwrap();
        room.receive(&refresh, Duration::ZERO).unwrap();
        let (_, leaf) = room.group.as_ref().unwrap().mls.treesync().full_leaves().next().unwrap();
        assert!(leaf.tls_serialized_len() <= LONGEST_LEAF[1] && newcomer(leaf).fit.is_ok());
    }
}
