//! Who someone is: the secret [`Identity`], the public [`Member`], and the codes people compare.
//!
//! An identity is an Ed25519 signature key with a name. The name rides in the MLS credential; that key and
//! name belong together is for people to check, by [`Fingerprint`] and [`RoomCode`], or for the app.

mod code;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use openmls_traits::{
    signatures::{Signer, SignerError},
    types::SignatureScheme,
};

use zeroize::Zeroizing;

use crate::{
    error::{Error, Item, Result},
    random, text,
};

pub use self::code::{Fingerprint, RoomCode};

/// The longest name in bytes of UTF-8; a name travels in every roster entry.
pub const MAX_NAME: usize = 64;

/// A person's secret signature key (Ed25519) and the name they go by.
///
/// It becomes part of a [`Room`](crate::Room) or a [`Guest`](crate::Guest) when one is made, so that no two
/// rooms sign with one object. It cannot be cloned or printed, and its key is wiped when it is dropped.
pub struct Identity {
    name: String,
    key: Key,
    /// When this person last asked to be brought back into a room, as far as this object knows; 0 if never. A card made
    /// later is dated no earlier, by whatever clock, so that the wish is over.
    asked_at: u64,
}

impl Identity {
    /// Makes a fresh identity from the operating system's randomness.
    ///
    /// # Errors
    /// [`Error::Malformed`] if `name` is empty or longer than [`MAX_NAME`] bytes; if it holds what does not show, turns or
    /// breaks a line, is for private use or unassigned; if it begins with a combining mark or has more than four in a row;
    /// or if it has spaces at an end, two in a row, or others than U+0020. RFC 8266 has the reasons. To make a name of
    /// what somebody has typed, leave these out.
    pub fn generate(name: &str) -> Result<Self> {
        check_own_name(name)?;
        let seed = random::bytes()?;
        Ok(Self { name: name.to_owned(), key: Key(Box::new(SigningKey::from_bytes(&seed))), asked_at: 0 })
    }

    /// The identity whose secret [`secret`](Self::secret) gave: the same person as before, to everybody who knows them.
    ///
    /// # Errors
    /// [`Error::Malformed`] as [`generate`](Self::generate).
    pub fn from_secret(name: &str, secret: &[u8; 32]) -> Result<Self> {
        check_own_name(name)?;
        Ok(Self { name: name.to_owned(), key: Key(Box::new(SigningKey::from_bytes(secret))), asked_at: 0 })
    }

    /// The secret key (an Ed25519 seed, RFC 8032), for the app to keep where it keeps secrets: whoever has it is this
    /// person. Nothing here writes it anywhere.
    ///
    /// ```
    /// # use parlor::Identity;
    /// let ana = Identity::generate("ana")?;
    /// let again = Identity::from_secret("ana", &ana.secret())?;
    /// assert_eq!(ana.id(), again.id());
    /// # Ok::<(), parlor::Error>(())
    /// ```
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.0.to_bytes())
    }

    /// The name others see.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half: who this is to everybody else.
    pub fn id(&self) -> MemberId {
        MemberId(self.key.0.verifying_key().to_bytes())
    }

    /// The digits to compare with what others see for this identity.
    pub fn fingerprint(&self) -> Fingerprint {
        self.id().fingerprint()
    }

    /// They ask to be brought back at `at`, by their clock.
    pub(crate) fn asks(&mut self, at: u64) {
        self.asked_at = self.asked_at.max(at);
    }

    /// When they last did, as far as this object knows; 0 if never.
    pub(crate) const fn asked_at(&self) -> u64 {
        self.asked_at
    }

    pub(crate) const fn signer(&self) -> &Key {
        &self.key
    }

    /// A signature over `message`, which begins with a label that nothing else signed begins with.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.0.sign(message).to_bytes()
    }

    /// The X25519 secret that goes with the signature key (RFC 7748 clamps it). Both uses of one key are safe together:
    /// <https://eprint.iacr.org/2021/509>.
    pub(crate) fn exchange_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.0.to_scalar_bytes())
    }
}

/// Whether the Ed25519 key `key` made `signature` over `message`. Strictly: no weak keys, one form of each signature.
pub(crate) fn has_signed(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

/// The public keys of those whose signatures were verified last, decompressed: that is a tenth of what one costs.
#[derive(Default)]
pub(crate) struct KnownKeys(BTreeMap<[u8; 32], VerifyingKey>);

impl KnownKeys {
    /// How many are kept.
    const MOST: usize = 1_024;

    /// Whether the Ed25519 key `key` made `signature` over `message` (RFC 8032 §5.1.7). No weak key has signed anything.
    ///
    /// Unlike [`has_signed`] it leaves out whether the signature's own point is of small order, which only the owner of the
    /// key can bring about: so a signature that is none costs no more than it must.
    pub(crate) fn have_signed(&mut self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        if self.0.len() >= Self::MOST && !self.0.contains_key(key) {
            self.0.clear();
        }
        let known = match self.0.entry(*key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match VerifyingKey::from_bytes(key) {
                Ok(key) if !key.is_weak() => place.insert(key),
                _ => return false,
            },
        };
        known.verify(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// The signature key: it stays where it is while its owner moves, so that no copy is left behind.
pub(crate) struct Key(Box<SigningKey>);

impl Signer for Key {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// The key wipes itself.
const _: () = {
    const fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
    is_wiped::<SigningKey>();
};

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Checks what every name must satisfy, whoever it came from; all members alike, whatever their libraries know.
pub(crate) fn check_name(name: &str) -> Result<()> {
    check_with(name, text::check_name)
}

/// Checks a name that comes in: what [`check_name`] does, and what the Unicode tables of this build say.
pub(crate) fn check_own_name(name: &str) -> Result<()> {
    check_with(name, text::check_own_name)
}

fn check_with(name: &str, form: impl FnOnce(&str) -> Result<(), &'static str>) -> Result<()> {
    let checked = if name.is_empty() {
        Err("it is empty")
    } else if name.len() > MAX_NAME {
        Err("it is longer than 64 bytes")
    } else {
        form(name)
    };
    checked.map_err(|why| Error::Malformed { what: Item::Name, why })
}

/// A person as the room knows them: their Ed25519 public key, 32 bytes.
///
/// It stays the same over every epoch, while a leaf index is handed to somebody else once free.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub(crate) [u8; 32]);

impl MemberId {
    /// The id whose Ed25519 public key is `key`.
    pub const fn from_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(crate) fn from_slice(key: &[u8]) -> Option<Self> {
        key.try_into().ok().map(Self)
    }

    /// Whether their key made `signature` over `message`.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        has_signed(&self.0, message, signature)
    }

    /// The public half of [`Identity::exchange_secret`]; `None` if this is no Ed25519 key.
    pub(crate) fn exchange_key(&self) -> Option<[u8; 32]> {
        VerifyingKey::from_bytes(&self.0).ok().map(|key| key.to_montgomery().to_bytes())
    }

    /// The Ed25519 public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digits to compare by voice or on paper.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self)
    }

    /// The digits that this person and `other` compare: the same whichever of the two asks, and another pair's for
    /// nobody else. One comparison checks both keys.
    pub fn fingerprint_with(&self, other: &Self) -> Fingerprint {
        Fingerprint::of_pair(self, other)
    }
}

impl fmt::Display for MemberId {
    /// The first four bytes in hex: enough to tell members apart in a log, not to identify anybody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({self})")
    }
}

/// A member's place in the MLS ratchet tree (RFC 9420 §4.1), and so in every key id (RFC 9605 §5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LeafIndex(pub u32);

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaf {}", self.0)
    }
}

/// What a member may do, the least first. The whole table is [`room::policy`](crate::room::policy).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[non_exhaustive]
pub enum Role {
    /// Hears everybody on stage.
    #[default]
    Listener,
    /// Is heard: on stage.
    Speaker,
    /// On stage, and keeps order: admits, removes and moves listeners and speakers.
    Moderator,
    /// On stage, and decides everything the room's policy leaves to people.
    Host,
}

impl Role {
    /// Whether frames of somebody in this role are played.
    pub const fn on_stage(self) -> bool {
        !matches!(self, Self::Listener)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "listener",
            Self::Speaker => "speaker",
            Self::Moderator => "moderator",
            Self::Host => "host",
        })
    }
}

/// A member as the roster shows them. The roster is the set of those who can decrypt, no more and no fewer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Member {
    /// Who: their public signature key.
    pub id: MemberId,
    /// The name in their credential, as they chose it.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Where they stand in the tree in this epoch.
    pub leaf: LeafIndex,
    /// The host or moderator who muted them; their frames are not played.
    pub muted_by: Option<MemberId>,
}

impl Member {
    /// The digits to compare by voice or on paper.
    pub fn fingerprint(&self) -> Fingerprint {
        self.id.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_nobody_could_show_is_refused() {
        for name in ["", "a\nb", &"x".repeat(MAX_NAME + 1)] {
            assert!(matches!(Identity::generate(name), Err(Error::Malformed { what: Item::Name, .. })), "{name:?}");
        }
        assert_eq!(Identity::generate("ana").unwrap().name(), "ana");
    }
}
