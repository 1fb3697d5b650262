//! Leaves and key packages (RFC 9420 §7.2, §10): reading them in the room's terms, and making one's own.

use openmls::prelude::{
    BasicCredential, Capabilities, Credential, CredentialType, ExtensionType, KeyPackage, KeyPackageVerifyError,
    LeafNode, Lifetime, Member, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, ProtocolVersion,
};
use tls_codec::{DeserializeBytes as _, Size as _};

use super::{CHARTER, CIPHERSUITE, Provider, bug, capabilities, credential};
use crate::{
    error::{Error, Item, Result},
    identity::{Identity, LeafIndex, MemberId, check_name},
    room::{card::MAX_CARD, judge::Newcomer, roster::Seat},
};

/// The largest leaf in bytes. One of ours with the longest name has 300; every leaf is in every later welcome.
const MAX_LEAF: usize = 512;

/// How long a card must still be valid, and have been valid already, in seconds: a week and five minutes.
///
/// Each member's openmls checks the dates again as it reads the commit, by its own clock and whenever that is, and
/// whoever finds them bad cannot follow. So whoever admits sees to it that all will find them good.
const VALID_FOR: u64 = 7 * 24 * 3600;
const VALID_SINCE: u64 = 5 * 60;

/// Makes the key package of a guest; its secrets stay in `provider`.
pub(crate) fn new_card(provider: &Provider, identity: &Identity) -> Result<Vec<u8>> {
    let bundle = KeyPackage::builder()
        .leaf_node_capabilities(capabilities())
        .build(CIPHERSUITE, provider, identity.signer(), credential(identity))
        .map_err(bug)?;
    MlsMessageOut::from(bundle.key_package().clone()).to_bytes().map_err(bug)
}

/// Checks a card, and says whose it is.
pub(crate) fn read_card(bytes: &[u8]) -> Result<(MemberId, String)> {
    let package = key_package(bytes)?;
    let malformed = |why| Error::Malformed { what: Item::Card, why };
    match admitted(&package) {
        Newcomer { id: Some(id), name: Some(name), capable: true, .. } => {
            check_name(&name)?;
            Ok((id, name))
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
    // openmls checks the dates, and leaves it to us how far apart they may be.
    Newcomer { capable: leaf.capable && package.life_time().has_acceptable_range(), ..leaf }
}

/// A leaf in the room's terms.
pub(super) fn newcomer(leaf: &LeafNode) -> Newcomer {
    Newcomer {
        id: MemberId::from_slice(leaf.signature_key().as_slice()),
        name: name(leaf.credential()),
        capable: supports(leaf.capabilities())
            && leaf.extensions().iter().next().is_none()
            && leaf.tls_serialized_len() <= MAX_LEAF,
        proof: None,
    }
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

/// The members of a tree.
pub(super) fn seats(members: impl Iterator<Item = Member>) -> Result<Vec<Seat>> {
    let seat = |member: Member| {
        let (id, name) = (MemberId::from_slice(&member.signature_key), name(&member.credential));
        match (id, name) {
            (Some(id), Some(name)) if check_name(&name).is_ok() => {
                Ok(Seat { leaf: LeafIndex(member.index.u32()), id, name })
            }
            _ => Err(Error::Malformed {
                what: Item::Tree,
                why: "it has a member without a proper name and an Ed25519 key",
            }),
        }
    };
    members.map(seat).collect()
}
