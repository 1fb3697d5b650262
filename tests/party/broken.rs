//! Commits whose update path is of no use to chosen members: signed, tagged and consistent as MLS wants it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use openmls::prelude::*;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::{
    crypto::OpenMlsCrypto,
    types::{
        AeadType, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput,
        SignatureScheme,
    },
};
use tls_codec::SecretVLBytes;

use super::mal::{Bare, Mal};

impl Mal {
    /// A refresh whose path secrets are garbage for those at `victims`. It stays pending.
    pub fn refresh_but_for(&mut self, victims: &[LeafNodeIndex]) -> Vec<u8> {
        let victims = self.group.members().filter(|member| victims.contains(&member.index));
        let keys = victims.map(|member| member.encryption_key).collect();
        let provider = &self.client.provider;
        let garbling = Garbling { keys, ..Garbling::new(provider.crypto()) };
        refresh(&mut self.group, &self.client, &garbling)
    }

    /// A refresh in which the `nth` key that is derived for it is another: `None` if there is none. It stays pending.
    pub fn refresh_with(&mut self, nth: usize, key: [u8; 32]) -> Option<Vec<u8>> {
        let swapping = Garbling { swapped: Some((nth, key)), ..Garbling::new(self.client.provider.crypto()) };
        let commit = refresh(&mut self.group, &self.client, &swapping);
        (swapping.derived.load(Relaxed) > nth).then_some(commit)
    }
}

fn refresh(group: &mut MlsGroup, client: &Bare, crypto: &Garbling<'_>) -> Vec<u8> {
    let provider = &client.provider;
    let bundle = group
        .commit_builder()
        .force_self_update(true)
        .load_psks(provider.storage())
        .unwrap()
        .build(provider.rand(), crypto, &client.signer, |_| true)
        .unwrap()
        .stage_commit(provider)
        .unwrap();
    bundle.into_messages().0.to_bytes().unwrap()
}

/// Seals garbage to some keys, and gives out another public key than it should.
struct Garbling<'a> {
    inner: &'a RustCrypto,
    keys: Vec<Vec<u8>>,
    derived: AtomicUsize,
    swapped: Option<(usize, [u8; 32])>,
}

impl<'a> Garbling<'a> {
    const fn new(inner: &'a RustCrypto) -> Self {
        Self { inner, keys: Vec::new(), derived: AtomicUsize::new(0), swapped: None }
    }
}

type Done<T> = Result<T, CryptoError>;

impl OpenMlsCrypto for Garbling<'_> {
    fn hpke_seal(&self, config: HpkeConfig, pk_r: &[u8], info: &[u8], aad: &[u8], ptxt: &[u8]) -> Done<HpkeCiphertext> {
        let garbage = vec![7; ptxt.len()];
        let (info, ptxt) =
            if self.keys.iter().any(|key| key == pk_r) { (&b"?"[..], &garbage[..]) } else { (info, ptxt) };
        self.inner.hpke_seal(config, pk_r, info, aad, ptxt)
    }

    fn supports(&self, ciphersuite: Ciphersuite) -> Done<()> {
        self.inner.supports(ciphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.inner.supported_ciphersuites()
    }

    fn hkdf_extract(&self, hash_type: HashType, salt: &[u8], ikm: &[u8]) -> Done<SecretVLBytes> {
        self.inner.hkdf_extract(hash_type, salt, ikm)
    }

    fn hmac(&self, hash_type: HashType, key: &[u8], message: &[u8]) -> Done<SecretVLBytes> {
        self.inner.hmac(hash_type, key, message)
    }

    fn hkdf_expand(&self, hash_type: HashType, prk: &[u8], info: &[u8], okm_len: usize) -> Done<SecretVLBytes> {
        self.inner.hkdf_expand(hash_type, prk, info, okm_len)
    }

    fn hash(&self, hash_type: HashType, data: &[u8]) -> Done<Vec<u8>> {
        self.inner.hash(hash_type, data)
    }

    fn aead_encrypt(&self, alg: AeadType, key: &[u8], data: &[u8], nonce: &[u8], aad: &[u8]) -> Done<Vec<u8>> {
        self.inner.aead_encrypt(alg, key, data, nonce, aad)
    }

    fn aead_decrypt(&self, alg: AeadType, key: &[u8], ct_tag: &[u8], nonce: &[u8], aad: &[u8]) -> Done<Vec<u8>> {
        self.inner.aead_decrypt(alg, key, ct_tag, nonce, aad)
    }

    fn signature_key_gen(&self, alg: SignatureScheme) -> Done<(Vec<u8>, Vec<u8>)> {
        self.inner.signature_key_gen(alg)
    }

    fn verify_signature(&self, alg: SignatureScheme, data: &[u8], pk: &[u8], signature: &[u8]) -> Done<()> {
        self.inner.verify_signature(alg, data, pk, signature)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Done<Vec<u8>> {
        self.inner.sign(alg, data, key)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Done<Vec<u8>> {
        self.inner.hpke_open(config, input, sk_r, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        context: &[u8],
        length: usize,
    ) -> Done<(KemOutput, ExporterSecret)> {
        self.inner.hpke_setup_sender_and_export(config, pk_r, info, context, length)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        sk_r: &[u8],
        info: &[u8],
        context: &[u8],
        length: usize,
    ) -> Done<ExporterSecret> {
        self.inner.hpke_setup_receiver_and_export(config, enc, sk_r, info, context, length)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Done<HpkeKeyPair> {
        let mut pair = self.inner.derive_hpke_keypair(config, ikm)?;
        let nth = self.derived.fetch_add(1, Relaxed);
        if let Some((_, key)) = self.swapped.filter(|(at, _)| *at == nth) {
            pair.public = key.to_vec();
        }
        Ok(pair)
    }
}
