//! Media keys: what seals are signed with, and the certificate by which a leaf vouches for them.
//!
//! A member has two, of one seed: one for deniable rooms, which is published when the room is over, and one for rooms
//! that keep evidence, which never is. One signature vouches for both, each in its place, so that nobody can make
//! evidence with a published key.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    error::Result,
    identity::{Identity, MemberId, has_signed},
    media::seal::Proof,
    random,
};

/// What an identity signs over media keys. MLS's own signed content begins with a length below 64, and no other
/// label of ours begins like this one.
const CERTIFICATE_LABEL: &[u8] = b"parlor media keys 1\0";
/// What a seed expands to (HKDF, RFC 5869 §2.3).
const DENIABLE_LABEL: &[u8] = b"parlor media key 1 deniable";
const EVIDENCE_LABEL: &[u8] = b"parlor media key 1 evidence";

/// The secret Ed25519 keys that seal what one member says for a span of epochs.
///
/// They are apart from the identity, so that one can be published afterwards. They cannot be cloned or printed, and
/// are wiped when they are dropped.
pub struct MediaKey {
    seed: Box<Zeroizing<[u8; 32]>>,
    deniable: Box<SigningKey>,
    evidence: Box<SigningKey>,
}

impl MediaKey {
    /// Makes a fresh key from the operating system's randomness.
    ///
    /// # Errors
    /// [`Error::Randomness`](crate::Error::Randomness).
    pub fn generate() -> Result<Self> {
        let seed = random::bytes()?;
        Ok(Self::from_seed(&seed))
    }

    /// The keys of a seed of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = |label| Box::new(SigningKey::from_bytes(&expand(seed, label)));
        Self { seed: Box::new(Zeroizing::new(*seed)), deniable: key(DENIABLE_LABEL), evidence: key(EVIDENCE_LABEL) }
    }

    /// The same keys in another place: the room keeps one, and gives one to each epoch's voice.
    pub(crate) fn again(&self) -> Self {
        Self::from_seed(&self.seed)
    }

    /// The seed that [`from_seed`](Self::from_seed) takes.
    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// What anybody can seal with who has seen a key published.
    #[cfg(test)]
    pub(crate) fn from_published(seed: &[u8; 32]) -> Self {
        Self { deniable: Box::new(SigningKey::from_bytes(seed)), ..Self::from_seed(seed) }
    }

    /// The public half for rooms of that kind, 32 bytes.
    pub fn public(&self, proof: Proof) -> [u8; 32] {
        self.of(proof).verifying_key().to_bytes()
    }

    /// The Ed25519 seed (RFC 8032 §5.1.5) of the key for deniable rooms, which is to be published when the room is
    /// over: whoever has it can make such seals.
    pub fn to_publish(&self) -> [u8; 32] {
        self.deniable.to_bytes()
    }

    pub(super) fn sign(&self, proof: Proof, message: &[u8]) -> [u8; 64] {
        self.of(proof).sign(message).to_bytes()
    }

    const fn of(&self, proof: Proof) -> &SigningKey {
        match proof {
            Proof::Deniable => &self.deniable,
            Proof::Evidence => &self.evidence,
        }
    }
}

impl fmt::Debug for MediaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaKey").finish_non_exhaustive()
    }
}

/// The public halves of a member's media keys, and the signature by which their identity vouches for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaCertificate {
    /// For deniable rooms, Ed25519.
    pub deniable: [u8; 32],
    /// For rooms that keep evidence, Ed25519.
    pub evidence: [u8; 32],
    /// The identity's signature over both and the name, Ed25519.
    pub signature: [u8; 64],
}

impl MediaCertificate {
    /// Its length in bytes.
    pub const LEN: usize = 128;

    /// Certifies `key` as `identity`'s.
    pub fn new(identity: &Identity, key: &MediaKey) -> Self {
        let [deniable, evidence] = [Proof::Deniable, Proof::Evidence].map(|proof| key.public(proof));
        let mut certificate = Self { deniable, evidence, signature: [0; 64] };
        certificate.signature = identity.sign(&certificate.signed(identity.name()));
        certificate
    }

    /// Whether the identity `id`, going by `name`, vouches for the keys.
    pub fn is_of(&self, id: &MemberId, name: &str) -> bool {
        has_signed(id.as_bytes(), &self.signed(name), &self.signature)
    }

    /// The key for rooms of that kind.
    pub const fn key(&self, proof: Proof) -> &[u8; 32] {
        match proof {
            Proof::Deniable => &self.deniable,
            Proof::Evidence => &self.evidence,
        }
    }

    /// Both keys, then the signature.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let parts = self.deniable.iter().chain(&self.evidence).chain(&self.signature);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = *from;
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. Whether it [is somebody's](Self::is_of) it does not say.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (deniable, rest) = bytes.split_first_chunk()?;
        let (evidence, signature) = rest.split_first_chunk()?;
        Some(Self { deniable: *deniable, evidence: *evidence, signature: signature.try_into().ok()? })
    }

    fn signed(&self, name: &str) -> Vec<u8> {
        [CERTIFICATE_LABEL, &self.deniable, &self.evidence, name.as_bytes()].concat()
    }
}

fn expand(seed: &[u8; 32], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    // A pseudorandom key of the hash's length: nothing to fail.
    if let Ok(hkdf) = Hkdf::<Sha256>::from_prk(seed) {
        let _ = hkdf.expand(label, out.as_mut_slice());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_stored_as_its_seed_comes_back_as_it_was() {
        let key = MediaKey::generate().unwrap();
        for proof in [Proof::Deniable, Proof::Evidence] {
            assert_eq!(MediaKey::from_seed(key.seed()).public(proof), key.public(proof));
        }
    }
}
