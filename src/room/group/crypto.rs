//! The primitives under MLS, for this library's suite alone; and what openmls does not tell of a message.
//!
//! A key package in a commit names its own suite, and openmls verifies it by that before it looks whether it is the
//! group's. What our suite does not use is refused here, so that no member can have others run it.
//!
//! openmls walks a ratchet as far as a message says, opens the message, checks its signature, and then all that is in it.
//! It does not say how far a message would have it walk before it walks, nor who signed a message that has something wrong
//! in it; and of a commit's update path it shows the leaf, and not the keys above it. All three pass through here.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use openmls::prelude::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput,
    OpenMlsCrypto, SignatureScheme,
};
use openmls_rust_crypto::RustCrypto;
use tls_codec::{DeserializeBytes as _, SecretVLBytes, VLBytes};

use super::CIPHERSUITE;
use crate::identity::{KnownKeys, LeafIndex};

/// What a signature over a message begins with (RFC 9420 §5.1.2, §6.1).
const LABEL: &[u8] = b"MLS 1.0 FramedContentTBS";
/// Protocol version and wire format, before the content.
const FRAMING: usize = 2 + 2;
/// The type of a sender who is a member.
const MEMBER: u8 = 1;
/// The type of a content that is a commit.
const COMMIT: u8 = 3;

/// The length of what a private message says of its sender (RFC 9420 §6.3.2): leaf, generation, reuse guard.
const SENDER_DATA: usize = 4 + 4 + 4;

/// RustCrypto, and what passes through it of the message that is read.
#[derive(Default)]
pub(crate) struct Crypto {
    pub(super) primitives: RustCrypto,
    passing: Mutex<Passing>,
}

/// What is known of the message that is read, and of those before it.
#[derive(Default)]
struct Passing {
    keys: KnownKeys,
    /// Which generation of each leaf's ratchet is the next in this epoch, where it is not the first.
    next: BTreeMap<u32, u32>,
    /// Whether there is time for messages that say that they are far ahead.
    far_allowed: bool,
    /// Which leaf it says it is from, and of which generation; nobody has proved it.
    claimed: Option<(u32, u32)>,
    signed: Option<Vec<u8>>,
}

impl Passing {
    /// Whether it says that it is of a generation beyond the next but one. Nobody who commits and is heard is so far ahead,
    /// and to find out whether it is true costs the steps to there.
    fn is_far(&self) -> bool {
        self.claimed.is_some_and(|(leaf, generation)| {
            generation > self.next.get(&leaf).copied().unwrap_or_default().saturating_add(1)
        })
    }
}

/// What a member has signed.
pub(super) struct Signed {
    pub(super) from: LeafIndex,
    is_commit: bool,
    /// From the commit on.
    rest: Vec<u8>,
}

impl Crypto {
    /// A message is read: if it says that it is far ahead only if that is `far_allowed`.
    pub(super) fn begin(&self, far_allowed: bool) {
        let mut passing = self.passing();
        passing.far_allowed = far_allowed;
        (passing.claimed, passing.signed) = (None, None);
    }

    /// Whether the message that was read says that it is far ahead.
    pub(super) fn was_far(&self) -> bool {
        self.passing().is_far()
    }

    /// The message that was read, if its signature has verified.
    pub(super) fn take_signed(&self) -> Option<Signed> {
        Signed::read(&self.passing().signed.take()?)
    }

    /// It was taken: its sender's ratchet has moved.
    pub(super) fn follow(&self) {
        let mut passing = self.passing();
        if let Some((leaf, generation)) = passing.claimed.take() {
            let next = passing.next.entry(leaf).or_default();
            *next = (*next).max(generation.saturating_add(1));
        }
    }

    /// The next epoch has begun, and all ratchets anew.
    pub(super) fn enter(&self) {
        self.passing().next.clear();
    }

    fn passing(&self) -> MutexGuard<'_, Passing> {
        // It is whole between any two of our statements.
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signed {
    /// Reads a FramedContentTBS (RFC 9420 §6.1) after its label.
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(FRAMING..)?;
        let (_, bytes) = VLBytes::tls_deserialize_bytes(bytes).ok()?; // group id
        let (_, bytes) = bytes.split_first_chunk::<8>()?; // epoch
        let (&MEMBER, bytes) = bytes.split_first()? else { return None };
        let (leaf, bytes) = bytes.split_first_chunk()?;
        let (_, bytes) = VLBytes::tls_deserialize_bytes(bytes).ok()?; // authenticated data
        let (kind, rest) = bytes.split_first()?;
        Some(Self { from: LeafIndex(u32::from_be_bytes(*leaf)), is_commit: *kind == COMMIT, rest: rest.to_vec() })
    }

    /// The public keys of the nodes in the update path of a commit, from the lowest up, whose leaf is of `leaf` bytes;
    /// `None` if they cannot be read.
    pub(super) fn path_keys(&self, leaf: usize) -> Option<Vec<[u8; 32]>> {
        let (_, bytes) = VLBytes::tls_deserialize_bytes(&self.rest).ok().filter(|_| self.is_commit)?; // proposals
        let (1, bytes) = bytes.split_first()? else { return None };
        let (nodes, _) = VLBytes::tls_deserialize_bytes(bytes.get(leaf..)?).ok()?;
        let (mut nodes, mut keys) = (nodes.as_slice(), Vec::new());
        while !nodes.is_empty() {
            let (key, after) = VLBytes::tls_deserialize_bytes(nodes).ok()?;
            let (_, after) = VLBytes::tls_deserialize_bytes(after).ok()?; // encrypted path secrets
            keys.push(key.as_slice().try_into().ok()?);
            nodes = after;
        }
        Some(keys)
    }
}

fn check<T: PartialEq>(given: &T, ours: &T) -> Result<(), CryptoError> {
    if given == ours { Ok(()) } else { Err(CryptoError::UnsupportedCiphersuite) }
}

fn check_signature(given: SignatureScheme) -> Result<(), CryptoError> {
    if given == CIPHERSUITE.signature_algorithm() { Ok(()) } else { Err(CryptoError::UnsupportedSignatureScheme) }
}

fn check_hpke(given: &HpkeConfig) -> Result<(), CryptoError> {
    let ours = CIPHERSUITE.hpke_config();
    check(&(given.0 as u16, given.1 as u16, given.2 as u16), &(ours.0 as u16, ours.1 as u16, ours.2 as u16))
}

impl OpenMlsCrypto for Crypto {
    fn supports(&self, suite: Ciphersuite) -> Result<(), CryptoError> {
        check(&suite, &CIPHERSUITE)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        vec![CIPHERSUITE]
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        check(&hash, &CIPHERSUITE.hash_algorithm())?;
        self.primitives.hkdf_extract(hash, salt, ikm)
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        check(&hash, &CIPHERSUITE.hash_algorithm())?;
        self.primitives.hmac(hash, key, message)
    }

    fn hkdf_expand(&self, hash: HashType, prk: &[u8], info: &[u8], len: usize) -> Result<SecretVLBytes, CryptoError> {
        check(&hash, &CIPHERSUITE.hash_algorithm())?;
        self.primitives.hkdf_expand(hash, prk, info, len)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        check(&hash, &CIPHERSUITE.hash_algorithm())?;
        self.primitives.hash(hash, data)
    }

    fn aead_encrypt(
        &self,
        aead: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        check(&aead, &CIPHERSUITE.aead_algorithm())?;
        self.primitives.aead_encrypt(aead, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        aead: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        check(&aead, &CIPHERSUITE.aead_algorithm())?;
        let plain = self.primitives.aead_decrypt(aead, key, data, nonce, aad)?;
        let mut passing = self.passing();
        if passing.claimed.is_none()
            && plain.len() == SENDER_DATA
            && let Some(([a, b, c, d, e, f, g, h], _)) = plain.split_first_chunk()
        {
            passing.claimed = Some((u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h])));
            if !passing.far_allowed && passing.is_far() {
                return Err(CryptoError::AeadDecryptionError);
            }
        }
        Ok(plain)
    }

    fn signature_key_gen(&self, scheme: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        check_signature(scheme)?;
        self.primitives.signature_key_gen(scheme)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        data: &[u8],
        key: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        check_signature(scheme)?;
        let (Ok(key), Ok(signature)) = (key.try_into(), signature.try_into()) else {
            return Err(CryptoError::InvalidSignature);
        };
        let mut passing = self.passing();
        if !passing.keys.have_signed(key, data, signature) {
            return Err(CryptoError::InvalidSignature);
        }
        if let Ok((label, content)) = VLBytes::tls_deserialize_bytes(data)
            && label.as_slice() == LABEL
            && let Ok((content, _)) = VLBytes::tls_deserialize_bytes(content)
        {
            passing.signed = Some(content.into());
        }
        Ok(())
    }

    fn sign(&self, scheme: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        check_signature(scheme)?;
        self.primitives.sign(scheme, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        key: &[u8],
        info: &[u8],
        aad: &[u8],
        plain: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        check_hpke(&config)?;
        self.primitives.hpke_seal(config, key, info, aad, plain)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        key: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        check_hpke(&config)?;
        self.primitives.hpke_open(config, input, key, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        key: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        check_hpke(&config)?;
        self.primitives.hpke_setup_sender_and_export(config, key, info, context, len)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        encapsulated: &[u8],
        key: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        check_hpke(&config)?;
        self.primitives.hpke_setup_receiver_and_export(config, encapsulated, key, info, context, len)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        check_hpke(&config)?;
        self.primitives.derive_hpke_keypair(config, ikm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_another_suite_would_use_is_refused() {
        let crypto = Crypto::default();
        assert_eq!(crypto.supported_ciphersuites(), [CIPHERSUITE]);
        for suite in RustCrypto::default().supported_ciphersuites() {
            let is_ours = suite == CIPHERSUITE;
            assert_eq!(crypto.supports(suite).is_ok(), is_ours, "{suite:?}");
            let scheme = suite.signature_algorithm();
            let verdict = crypto.verify_signature(scheme, b"", &[0; 32], &[0; 64]).unwrap_err();
            assert_eq!(
                verdict == CryptoError::UnsupportedSignatureScheme,
                scheme != SignatureScheme::ED25519,
                "{suite:?}: {verdict:?}"
            );
            let key = crypto.derive_hpke_keypair(suite.hpke_config(), &[7; 32]);
            assert_eq!(key.is_ok(), is_ours, "{suite:?}");
        }
    }
}
