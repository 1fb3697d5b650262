//! The primitives that openmls works with, and what it does not tell: whose signature over a message has verified, and
//! how far ahead a message says it is, before anything is done about it.
//!
//! openmls walks a ratchet as far as a message says, opens the message, and checks the signature of it first and all that is in it afterwards. If something is wrong with what
//! is in it, it says what, and not who signed it; and of a commit's update path it shows the leaf, and not the keys above it.
//! Both are in what was signed, and that passes through here.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use openmls::prelude::{
    CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput, OpenMlsCrypto,
    SignatureScheme,
};
use openmls_rust_crypto::RustCrypto;
use openmls_traits::types::{AeadType, Ciphersuite};
use tls_codec::{DeserializeBytes as _, SecretVLBytes, VLBytes};

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
    primitives: RustCrypto,
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

impl OpenMlsCrypto for Crypto {
    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let (SignatureScheme::ED25519, Ok(key), Ok(bytes)) = (alg, pk.try_into(), signature.try_into()) else {
            return Err(CryptoError::InvalidSignature);
        };
        let mut passing = self.passing();
        if !passing.keys.have_signed(key, data, bytes) {
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

    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        self.primitives.supports(ciphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.primitives.supported_ciphersuites()
    }

    fn hkdf_extract(&self, hash_type: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.primitives.hkdf_extract(hash_type, salt, ikm)
    }

    fn hmac(&self, hash_type: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.primitives.hmac(hash_type, key, message)
    }

    fn hkdf_expand(
        &self,
        hash_type: HashType,
        prk: &[u8],
        info: &[u8],
        okm_len: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        self.primitives.hkdf_expand(hash_type, prk, info, okm_len)
    }

    fn hash(&self, hash_type: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.primitives.hash(hash_type, data)
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.primitives.aead_encrypt(alg, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let plain = self.primitives.aead_decrypt(alg, key, ct_tag, nonce, aad)?;
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

    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        self.primitives.signature_key_gen(alg)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.primitives.sign(alg, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        self.primitives.hpke_seal(config, pk_r, info, aad, ptxt)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.primitives.hpke_open(config, input, sk_r, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        self.primitives.hpke_setup_sender_and_export(config, pk_r, info, exporter_context, exporter_length)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        sk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        self.primitives.hpke_setup_receiver_and_export(config, enc, sk_r, info, exporter_context, exporter_length)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        self.primitives.derive_hpke_keypair(config, ikm)
    }
}
