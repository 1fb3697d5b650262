//! Leaves and key packages (RFC 9420 §7.2, §10): reading them in the room's terms, and making one's own.

use openmls::prelude::{
    BasicCredential, Capabilities, Credential, CredentialType, Extension, ExtensionType, Extensions, KeyPackage,
    KeyPackageVerifyError, LeafNode, LeafNodeIndex, Lifetime, Member, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut,
    ProtocolVersion, UnknownExtension,
};
use openmls::treesync::LeafNodeSource;
use openmls_traits::storage::StorageProvider as _;
use tls_codec::{DeserializeBytes as _, Serialize as _, Size as _};

use super::{
    CHARTER, CIPHERSUITE, DOOR_KEY, DoorKeyPublic, Group, LINK_PROOF, MEDIA_KEYS, Provider, RETURN, bug, capabilities,
    credential, index, leaf_extensions, welcome::card_reference,
};
use crate::{
    error::{Error, Item, Result},
    identity::{Identity, LeafIndex, MemberId, check_name},
    media::seal::MediaCertificate,
    room::{
        card::{Card, MAX_CARD},
        comeback::ReturnWord,
        door::{LinkId, LinkProof},
        judge::Newcomer,
        roster::Seat,
    },
};

/// The largest leaf in bytes. One of ours with the longest name has up to 432; every leaf is in every later welcome.
const MAX_LEAF: usize = 512;

/// How long a card must still be valid, and have been valid already, in seconds: a week and five minutes.
///
/// Each member's openmls checks the dates again as it reads the commit, by its own clock and whenever that is, and
/// whoever finds them bad cannot follow. So whoever admits sees to it that all will find them good.
const VALID_FOR: u64 = 7 * 24 * 3600;
const VALID_SINCE: u64 = 5 * 60;

/// Makes a card of `identity`'s, with the proof of a link and the word that they ask to be brought back, if there are
/// any; its secrets stay in `provider`.
pub(crate) fn new_card(
    provider: &Provider,
    identity: &Identity,
    proof: Option<LinkProof>,
    word: Option<ReturnWord>,
) -> Result<Card> {
    let mut builder = KeyPackage::builder()
        .leaf_node_capabilities(capabilities())
        .leaf_node_extensions(leaf_extensions(identity, provider, &provider.media)?);
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

/// Wipes the secrets of a card, which admits nobody any more.
pub(crate) fn forget_card(provider: &Provider, card: &Card) {
    // The records are in our memory: there is nothing to fail but the making of the reference, and then there are none.
    let _ = card_reference(card).map(|reference| provider.storage.delete_key_package(&reference));
}

/// Checks a card, and says whose it is, and which link it proves and when its owner asked to be brought back, if so.
pub(crate) fn read_card(bytes: &[u8]) -> Result<(MemberId, String, Option<LinkProof>, Option<ReturnWord>)> {
    let package = key_package(bytes)?;
    let malformed = |why| Error::Malformed { what: Item::Card, why };
    match admitted(&package) {
        Newcomer { certified: false, .. } => Err(malformed("its media keys are not certified by its own key and name")),
        Newcomer { id: Some(id), name: Some(name), capable: true, proof, word, .. } => {
            check_name(&name)?;
            Ok((id, name, proof, word))
        }
        Newcomer { capable: false, .. } => {
            Err(malformed("it lacks what every room needs, is too large, or is valid for more than three months"))
        }
        _ => Err(malformed("it carries no basic credential with an Ed25519 key")),
    }
}

/// The verified key package of a card's bytes.
pub(super) fn key_package(bytes: &[u8]) -> Result<KeyPackage> {
    let (what, limit) = (Item::Card, MAX_CARD);
    if bytes.len() > limit {
        return Err(Error::TooLarge { what, bytes: bytes.len(), limit });
    }
    let malformed = |why| Error::Malformed { what, why };
    let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes)
        .map_err(|_| malformed("it is no MLS message, or was cut short"))?;
    let MlsMessageBodyIn::KeyPackage(package) = message.extract() else {
        return Err(malformed("it is an MLS message of another kind"));
    };
    // The signature and the dates, by the clock of this machine.
    let crypto = openmls_rust_crypto::RustCrypto::default();
    let package = package.validate(&crypto, ProtocolVersion::Mls10).map_err(|error| {
        malformed(match error {
            KeyPackageVerifyError::InvalidLeafNodeSignature | KeyPackageVerifyError::InvalidSignature => {
                "its signature does not verify"
            }
            KeyPackageVerifyError::LifetimeError(_) => "it has expired, or is not valid yet by this machine's clock",
            _ => "it is no valid key package",
        })
    })?;
    if package.ciphersuite() != CIPHERSUITE {
        return Err(malformed("it is for another MLS suite than parlor's"));
    }
    if package.last_resort() {
        return Err(malformed("it may be used more than once"));
    }
    if !outlasts_its_commit(package.life_time()) {
        return Err(malformed("it expires within a week, or is not yet valid for five minutes: ask for a fresh one"));
    }
    Ok(package)
}

fn outlasts_its_commit(lifetime: &Lifetime) -> bool {
    // By openmls's clock, which every target has.
    let now = Lifetime::new(0).not_after();
    lifetime.not_before().saturating_add(VALID_SINCE) <= now && now.saturating_add(VALID_FOR) <= lifetime.not_after()
}

/// The leaf of somebody to be admitted, in the room's terms.
pub(super) fn admitted(package: &KeyPackage) -> Newcomer {
    let leaf = newcomer(package.leaf_node());
    let proof = package.extensions().unknown(LINK_PROOF).map(|extension| link_proof(&extension.0));
    let word = package.extensions().unknown(RETURN).map(|extension| ReturnWord::from_bytes(&extension.0).ok());
    // openmls checks the dates, and leaves it to us how far apart they may be.
    let capable = leaf.capable
        && package.life_time().has_acceptable_range()
        && is_usable(package.hpke_init_key().as_slice())
        && proof != Some(None)
        && word != Some(None);
    Newcomer { capable, proof: proof.flatten(), word: word.flatten(), ..leaf }
}

impl Group {
    /// Whether it is by `card`, or by another card of the same making, that `leaf` came to be: then that card is used up.
    pub(crate) fn came_by(&self, leaf: LeafIndex, card: &Card) -> bool {
        let leaf = self.mls.treesync().full_leaves().find_map(|(at, node)| (at == index(leaf)).then_some(node));
        let (Some(leaf), Ok(package)) = (leaf, key_package(card.as_bytes())) else { return false };
        // Whoever makes a card keeps their door key for as long as they are in by it; others may have none.
        match (door_key(leaf), door_key(package.leaf_node())) {
            (Some(now), Some(then)) => now == then,
            _ => leaf.encryption_key() == package.leaf_node().encryption_key(),
        }
    }

    /// What the card by which whoever sits at `leaf` has just come in has in common with others of its making.
    pub(crate) fn making_at(&self, leaf: LeafIndex) -> Option<[u8; 32]> {
        let (_, leaf) = self.mls.treesync().full_leaves().find(|(at, _)| *at == index(leaf))?;
        making(leaf)
    }
}

/// What a card has in common with others of one making, none of which is of use once its owner has come in by one.
pub(crate) fn making_of(card: &Card) -> Option<[u8; 32]> {
    making(key_package(card.as_bytes()).ok()?.leaf_node())
}

fn making(leaf: &LeafNode) -> Option<[u8; 32]> {
    door_key(leaf).map(|door| door.0).or_else(|| encryption_key(leaf)?.try_into().ok())
}

fn link_proof(bytes: &[u8]) -> Option<LinkProof> {
    let (link, signature) = bytes.split_first_chunk()?;
    Some(LinkProof { link: LinkId(*link), signature: signature.try_into().ok()? })
}

/// A leaf in the room's terms.
pub(super) fn newcomer(leaf: &LeafNode) -> Newcomer {
    let (door, media) = (door_key(leaf), media_keys(leaf));
    let (id, name) = (MemberId::from_slice(leaf.signature_key().as_slice()), name(leaf.credential()));
    let certified = match (media, &id, &name) {
        (None, ..) => true,
        (Some(Some(certificate)), Some(id), Some(name)) => certificate.is_of(id, name),
        _ => false,
    };
    Newcomer {
        id,
        name,
        certified,
        capable: supports(leaf.capabilities())
            && leaf.extensions().iter().count() == usize::from(door.is_some()) + usize::from(media.is_some())
            && leaf.tls_serialized_len() <= MAX_LEAF
            && encryption_key(leaf).is_some_and(|key| is_usable(&key)),
        proof: None,
        word: None,
    }
}

/// What path secrets are encrypted to; openmls shows it encoded only, after its length.
fn encryption_key(leaf: &LeafNode) -> Option<Vec<u8>> {
    let encoded = leaf.encryption_key().tls_serialize_detached().ok()?;
    encoded.strip_prefix(&[32]).map(<[u8]>::to_vec)
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

/// When a leaf's owner last asked to be brought back, as it says; 0 if they never did.
pub(super) fn asked_at(leaf: &LeafNode) -> u64 {
    door_and_date(leaf).map_or(0, |(_, asked_at)| asked_at)
}

fn door_and_date(leaf: &LeafNode) -> Option<(DoorKeyPublic, u64)> {
    let (door, date) = leaf.extensions().unknown(DOOR_KEY)?.0.split_first_chunk()?;
    let asked_at = if date.is_empty() { 0 } else { u64::from_be_bytes(date.try_into().ok()?) };
    Some((DoorKeyPublic(*door), asked_at)).filter(|_| date.is_empty() || asked_at > 0)
}

/// The media certificate in a leaf, if it has any; `None` within if that cannot be read.
fn media_keys(leaf: &LeafNode) -> Option<Option<MediaCertificate>> {
    leaf.extensions().unknown(MEDIA_KEYS).map(|extension| MediaCertificate::from_bytes(&extension.0))
}

fn supports(capabilities: &Capabilities) -> bool {
    capabilities.versions().contains(&ProtocolVersion::Mls10)
        && capabilities.ciphersuites().contains(&CIPHERSUITE.into())
        && capabilities.extensions().contains(&ExtensionType::Unknown(CHARTER))
        && capabilities.credentials().contains(&CredentialType::Basic)
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
        Ok(Seat { door: door_key(leaf), asked_at: asked_at(leaf), media: media_keys(leaf).flatten(), bound, ..seat })
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
            Ok(Seat { leaf: LeafIndex(index.u32()), id, name, door: None, asked_at: 0, media: None, bound: false })
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
        media::seal::MediaKey,
        room::{Event, Settings, charter::Charter, group::Plan, roster::Roster},
    };

    /// What the comment on [`MAX_LEAF`] says: with a parent hash (33) in place of a lifetime (16).
    const LONGEST_LEAF: usize = 424;

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
        for at in [INIT_KEY, ENCRYPTION_KEY] {
            let key = guest.card().as_bytes()[at..at + 32].try_into().unwrap();
            assert!(read_card(&with_key(&guest, at, key)).is_ok());
            let error = read_card(&with_key(&guest, at, [0; 32])).unwrap_err();
            assert!(error.to_string().contains("lacks what every room needs"), "{error}");
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
        let guest = Guest::new(ben).unwrap();
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
            door: None,
            asked_at: 0,
            media: Some(media),
            bound: true,
        };
        let charter = Charter::new(Settings::default(), mal.identity.id());
        let roster = |media, before: &Roster| Roster::new(vec![seat(media)], &charter, 1, before);
        let first = roster(false_keys, &Roster::default());
        assert_eq!(first.media_keys(&mal.identity.id()), None);
        let good = roster(mal.certificate(), &first);
        assert_eq!(good.media_keys(&mal.identity.id()), Some(&mal.certificate()));
        // Those of the epoch before are no word for others.
        assert_eq!(roster(false_keys, &good).media_keys(&mal.identity.id()), None);
        let mut listener = charter.clone();
        listener.set_role(mal.identity.id(), Role::Listener, 2);
        let off_stage = Roster::new(vec![seat(mal.certificate())], &listener, 2, &good);
        assert_eq!(off_stage.media_keys(&mal.identity.id()), None, "who is off stage seals nothing");
    }

    #[test]
    fn a_leaf_with_the_longest_name_is_within_bounds() {
        let name = "n".repeat(MAX_NAME);
        let guest = Guest::new(Identity::generate(&name).unwrap()).unwrap();
        let leaf = key_package(guest.card().as_bytes()).unwrap().leaf_node().tls_serialized_len();
        assert_eq!(leaf - 16 + 33, LONGEST_LEAF);
        let (mut room, _) = Room::create(Identity::generate(&name).unwrap(), Settings::default()).unwrap();
        let refresh = room.refresh().unwrap();
        room.receive(&refresh, Duration::ZERO).unwrap();
        let (_, leaf) = room.group.as_ref().unwrap().mls.treesync().full_leaves().next().unwrap();
        assert!(leaf.tls_serialized_len() <= LONGEST_LEAF && newcomer(leaf).capable);
    }
}
