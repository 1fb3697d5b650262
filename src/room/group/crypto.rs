//! The primitives that openmls works with, and what it does not tell: whose signature over a message has verified.
//!
//! openmls checks the signature of a message first and all that is in it afterwards. If something is wrong with what
//! is in it, it says what, and not who signed it; and of a commit's update path it shows the leaf, and not the keys above it.
//! Both are in what was signed, and that passes through here.

use std::sync::{Mutex, PoisonError};

use openmls::prelude::{
    CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput, OpenMlsCrypto,
    SignatureScheme,
};
use openmls_rust_crypto::RustCrypto;
use openmls_traits::types::{AeadType, Ciphersuite};
use tls_codec::{DeserializeBytes as _, SecretVLBytes, VLBytes};

use crate::identity::LeafIndex;

/// What a signature over a message begins with (RFC 9420 §5.1.2, §6.1).
const LABEL: &[u8] = b"MLS 1.0 FramedContentTBS";
/// Protocol version and wire format, before the content.
const FRAMING: usize = 2 + 2;
/// The type of a sender who is a member.
const MEMBER: u8 = 1;
/// The type of a content that is a commit.
const COMMIT: u8 = 3;

/// RustCrypto, and the last message whose signature it has verified.
#[derive(Default)]
pub(crate) struct Crypto {
    primitives: RustCrypto,
    signed: Mutex<Option<Vec<u8>>>,
}

/// What a member has signed.
pub(super) struct Signed {
    pub(super) from: LeafIndex,
    is_commit: bool,
    /// From the commit on.
    rest: Vec<u8>,
}

impl Crypto {
    /// The message whose signature has verified last, once.
    pub(super) fn take_signed(&self) -> Option<Signed> {
        Signed::read(&self.signed.lock().unwrap_or_else(PoisonError::into_inner).take()?)
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
        self.primitives.verify_signature(alg, data, pk, signature)?;
        if let Ok((label, content)) = VLBytes::tls_deserialize_bytes(data)
            && label.as_slice() == LABEL
            && let Ok((content, _)) = VLBytes::tls_deserialize_bytes(content)
        {
            *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = Some(content.into());
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
        self.primitives.aead_decrypt(alg, key, ct_tag, nonce, aad)
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
