//! The AEADs and who computes them: `ring`, or the pure-Rust RustCrypto crates. The bytes are the same.
//!
//! Invariant: a keyed object is made once a key and wiped when dropped. What an attacker hands in here is
//! ciphertext; nothing of it is given out unless its tag verifies.

use aes_gcm::{AeadInPlace, Aes128Gcm, Aes256Gcm, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;

use crate::{
    error::{Error, Item, Result},
    media::suite::{NONCE_LEN, Suite, TAG_LEN},
};

/// Who computes the AEAD. Both give the same bytes, so that two ends need not agree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Backend {
    /// `ring`: assembly, the faster by far for frames of this length. The default where the feature `ring` is on.
    #[cfg(feature = "ring")]
    Ring,
    /// The RustCrypto crates: no C compiler, any target.
    RustCrypto,
}

impl Backend {
    /// Every backend of this build.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "ring")]
        Self::Ring,
        Self::RustCrypto,
    ];
}

impl Default for Backend {
    /// The fastest of this build.
    fn default() -> Self {
        #[cfg(feature = "ring")]
        return Self::Ring;
        #[cfg(not(feature = "ring"))]
        return Self::RustCrypto;
    }
}

/// One AEAD under one key: the lowest level, without header, nonce or replay check.
///
/// **Whoever seals with it must never use a nonce twice.** It is public so that the AEADs can be tested as they
/// are; seal with a [`Voice`](crate::Voice) or a [`Sealer`](super::sframe::Sealer), which own their counters.
pub struct Aead(Keyed);

/// Each in a box: a variant smaller than the enum would carry along whatever lay on the stack behind it, and moving
/// it would leave copies.
enum Keyed {
    #[cfg(feature = "ring")]
    Ring(Box<RingKey>),
    ChaCha20Poly1305(Box<ChaCha20Poly1305>),
    Aes128Gcm(Box<Aes128Gcm>),
    Aes256Gcm(Box<Aes256Gcm>),
}

/// A tag that did not verify, or a text too long for the AEAD.
#[derive(Debug)]
pub(crate) struct Refused;

impl Aead {
    /// The AEAD of `suite` under `key`, computed by `backend`.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the key's length is not the suite's.
    pub fn new(suite: Suite, backend: Backend, key: &[u8]) -> Result<Self> {
        scrub_stack();
        let made = Self::make(suite, backend, key);
        // The libraries expand keys in frames of their own, and leave them there.
        scrub_stack();
        made
    }

    #[inline(never)]
    fn make(suite: Suite, backend: Backend, key: &[u8]) -> Result<Self> {
        if key.len() != suite.key_len() {
            return Err(wrong_length());
        }
        #[cfg(feature = "ring")]
        if backend == Backend::Ring {
            return Ok(Self(Keyed::Ring(Box::new(RingKey::new(suite, key)?))));
        }
        #[cfg(not(feature = "ring"))]
        let Backend::RustCrypto = backend;
        Ok(Self(match suite {
            Suite::ChaCha20Poly1305 => {
                Keyed::ChaCha20Poly1305(Box::new(ChaCha20Poly1305::new_from_slice(key).map_err(|_| wrong_length())?))
            }
            Suite::Aes128Gcm => Keyed::Aes128Gcm(Box::new(Aes128Gcm::new_from_slice(key).map_err(|_| wrong_length())?)),
            Suite::Aes256Gcm => Keyed::Aes256Gcm(Box::new(Aes256Gcm::new_from_slice(key).map_err(|_| wrong_length())?)),
        }))
    }

    /// Encrypts `text` where it lies and gives the tag over it and `aad`.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the text is longer than the AEAD can take (tens of gigabytes).
    pub fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let mut tag = [0; TAG_LEN];
        match self.seal(nonce, aad, text, &mut tag) {
            Ok(()) => Ok(tag),
            Err(Refused) => Err(too_long()),
        }
    }

    /// Opens `text`, ciphertext and tag, where it lies; gives the plaintext, which is its front.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the tag does not verify; the bytes of `text` are then of no use.
    pub fn open_in_place<'t>(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &'t mut [u8]) -> Result<&'t mut [u8]> {
        self.open(nonce, aad, text)
            .map_err(|Refused| Error::Malformed { what: Item::Packet, why: "its tag does not verify under this key" })
    }

    #[inline(always)]
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), Refused> {
        match &self.0 {
            #[cfg(feature = "ring")]
            Keyed::Ring(key) => key.seal(nonce, aad, text, tag),
            Keyed::ChaCha20Poly1305(key) => seal_with(&**key, nonce, aad, text, tag),
            Keyed::Aes128Gcm(key) => seal_with(&**key, nonce, aad, text, tag),
            Keyed::Aes256Gcm(key) => seal_with(&**key, nonce, aad, text, tag),
        }
    }

    #[inline(always)]
    pub(crate) fn open<'t>(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &'t mut [u8],
    ) -> Result<&'t mut [u8], Refused> {
        let Some((text, tag)) = text.split_last_chunk_mut::<TAG_LEN>() else {
            return Err(Refused);
        };
        match &self.0 {
            #[cfg(feature = "ring")]
            Keyed::Ring(key) => key.open(nonce, aad, text, *tag)?,
            Keyed::ChaCha20Poly1305(key) => open_with(&**key, nonce, aad, text, tag)?,
            Keyed::Aes128Gcm(key) => open_with(&**key, nonce, aad, text, tag)?,
            Keyed::Aes256Gcm(key) => open_with(&**key, nonce, aad, text, tag)?,
        }
        Ok(text)
    }
}

impl std::fmt::Debug for Aead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aead").finish_non_exhaustive()
    }
}

/// Lays zeros over the stack below the caller, where what it called before has left its bytes.
///
/// The libraries' keyed objects are unions, and in the part that the machine at hand does not use they carry along
/// whatever lay there: without this, parts of keys, to the heap.
#[inline(never)]
pub(crate) fn scrub_stack() {
    std::hint::black_box(&mut [0_u8; 8192]);
}

/// As [`scrub_stack`], over what the group layer takes at its deepest, which holds keys by value.
#[inline(never)]
pub(crate) fn sweep_stack() {
    std::hint::black_box(&mut [0_u8; 64 * 1024]);
}

#[cold]
fn wrong_length() -> Error {
    Error::Unusable { what: "key", why: "its length is not the suite's key length" }
}

#[cold]
pub(crate) fn too_long() -> Error {
    Error::Unusable { what: "text", why: "it is longer than the AEAD can take" }
}

// Apart, so that the path of the other backend stays short.
#[inline(never)]
fn seal_with<A>(
    key: &A,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    text: &mut [u8],
    tag: &mut [u8; TAG_LEN],
) -> Result<(), Refused>
where
    A: AeadInPlace<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16>,
{
    let made = key.encrypt_in_place_detached(nonce.into(), aad, text).map_err(|_| Refused)?;
    *tag = made.into();
    Ok(())
}

#[inline(never)]
fn open_with<A>(
    key: &A,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Refused>
where
    A: AeadInPlace<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16>,
{
    key.decrypt_in_place_detached(nonce.into(), aad, text, tag.into()).map_err(|_| Refused)
}

#[cfg(feature = "ring")]
use self::ring_key::RingKey;

#[cfg(feature = "ring")]
mod ring_key {
    use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::{NONCE_LEN, Refused, Result, Suite, TAG_LEN, wrong_length};

    /// A key of `ring`, which does not wipe its own.
    pub(super) struct RingKey(LessSafeKey);

    impl RingKey {
        pub(super) fn new(suite: Suite, key: &[u8]) -> Result<Self> {
            let key = UnboundKey::new(algorithm(suite), key).map_err(|_| wrong_length())?;
            Ok(Self(LessSafeKey::new(key)))
        }

        #[inline(always)]
        pub(super) fn seal(
            &self,
            nonce: &[u8; NONCE_LEN],
            aad: &[u8],
            text: &mut [u8],
            tag: &mut [u8; TAG_LEN],
        ) -> Result<(), Refused> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let made = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| Refused)?;
            tag.copy_from_slice(made.as_ref());
            Ok(())
        }

        #[inline(always)]
        pub(super) fn open(
            &self,
            nonce: &[u8; NONCE_LEN],
            aad: &[u8],
            text: &mut [u8],
            tag: [u8; TAG_LEN],
        ) -> Result<(), Refused> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.0
                .open_in_place_separate_tag(nonce, Aad::from(aad), tag.into(), text, 0..)
                .map(|_| ())
                .map_err(|_| Refused)
        }
    }

    impl Drop for RingKey {
        /// Lays a key of zeros over it, and one of AES-256 whatever it was: that one fills the whole of the object.
        fn drop(&mut self) {
            if let Ok(blank) = UnboundKey::new(&AES_256_GCM, &[0; 32]) {
                self.0 = LessSafeKey::new(blank);
            }
            // Without a reader the assignment would be optimised away.
            std::hint::black_box(&self.0);
        }
    }

    fn algorithm(suite: Suite) -> &'static Algorithm {
        match suite {
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes128Gcm => &AES_128_GCM,
            Suite::Aes256Gcm => &AES_256_GCM,
        }
    }
}
