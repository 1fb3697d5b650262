//! The primitives under MLS, for our suite alone.
//!
//! A key package in a commit names its own suite, and openmls verifies it by that before it looks whether it is the
//! group's. What our suite does not use is refused here, so that no member can have others run it.

use openmls::prelude::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput,
    OpenMlsCrypto, SignatureScheme,
};
use openmls_rust_crypto::RustCrypto;
use tls_codec::SecretVLBytes;

use super::CIPHERSUITE;

/// What openmls computes with.
#[derive(Default)]
pub(crate) struct Crypto(pub(super) RustCrypto);

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
        self.0.hkdf_extract(hash, salt, ikm)
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        check(&hash, &CIPHERSUITE.hash_algorithm())?;
        self.0.hmac(hash, key, message)
    }

    fn hkdf_expand(&self, hash: HashType, prk: &[u8], info: &[u8], len: usize) -> Result<SecretVLBytes, CryptoError> {
        check(&hash, &CIPHERSUITE.hash_algorithm())?;
        self.0.hkdf_expand(hash, prk, info, len)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        check(&hash, &CIPHERSUITE.hash_algorithm())?;
        self.0.hash(hash, data)
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
        self.0.aead_encrypt(aead, key, data, nonce, aad)
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
        self.0.aead_decrypt(aead, key, data, nonce, aad)
    }

    fn signature_key_gen(&self, scheme: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        check_signature(scheme)?;
        self.0.signature_key_gen(scheme)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        data: &[u8],
        key: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        check_signature(scheme)?;
        self.0.verify_signature(scheme, data, key, signature)
    }

    fn sign(&self, scheme: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        check_signature(scheme)?;
        self.0.sign(scheme, data, key)
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
        self.0.hpke_seal(config, key, info, aad, plain)
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
        self.0.hpke_open(config, input, key, info, aad)
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
        self.0.hpke_setup_sender_and_export(config, key, info, context, len)
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
        self.0.hpke_setup_receiver_and_export(config, encapsulated, key, info, context, len)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        check_hpke(&config)?;
        self.0.derive_hpke_keypair(config, ikm)
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
