//! SFrame (RFC 9605), the low level: one key, one key id, no room.
//!
//! A [`Voice`](crate::Voice) is built on this; use that. This is public for those who seal for or open from another
//! implementation of the standard, and so that the standard's own figures run through what the crate exports.
//!
//! Invariant: a [`Sealer`] owns its counter, which only grows and ends at [`MAX_COUNTER`]; nothing wraps. An
//! [`Opener`] gives out authenticated bytes or an error. **It does not know a replay**: whoever feeds it from a network
//! keeps a window of their own, as a `Voice` does.

use std::fmt;

use zeroize::Zeroizing;

pub use super::{
    backend::{Aead, Backend},
    header::{Header, MAX_HEADER},
    suite::{NONCE_LEN, TAG_LEN},
};
use crate::{
    error::{Error, Item, Result},
    media::{
        Suite,
        backend::{Refused, too_long},
        keys::{KeyAndSalt, Secret},
    },
};

/// The last counter a key seals under: 2^32 - 1, as many frames as AES-GCM is good for under one key and years of
/// any voice.
pub const MAX_COUNTER: u64 = u32::MAX as u64;

/// Seals frames under one key and key id (RFC 9605 §4.4.3). It owns the counter, and cannot be cloned.
///
/// ```
/// use parlor::{Suite, media::sframe::{Backend, Opener, Sealer}};
///
/// let mut sealer = Sealer::new(Suite::Aes128Gcm, Backend::default(), b"the base key", 0x123, 0)?;
/// let mut packet = [0; 64];
/// let n = sealer.seal_into(b"", b"hello", &mut packet)?;
///
/// let opener = Opener::new(Suite::Aes128Gcm, Backend::default(), b"the base key", 0x123)?;
/// let (counter, frame) = opener.open_in_place(b"", &mut packet[..n])?;
/// assert_eq!((counter, &*frame), (0, &b"hello"[..]));
/// # Ok::<(), parlor::Error>(())
/// ```
pub struct Sealer {
    key: FrameKey,
    next: u64,
}

impl Sealer {
    /// A sealer under the key that `base_key` has for `kid`, whose first frame gets `first_counter`.
    ///
    /// Two sealers over one base key, key id and range of counters repeat nonces, which gives away the frames and,
    /// with AES-GCM, the key of the tags. A base key may be of any length here.
    ///
    /// # Errors
    /// None for any argument: only a backend that refuses its own key.
    pub fn new(suite: Suite, backend: Backend, base_key: &[u8], kid: u64, first_counter: u64) -> Result<Self> {
        let key = FrameKey::derive(&Secret::extract(suite, base_key), backend, kid)?;
        Ok(Self { key, next: first_counter })
    }

    pub(super) fn from_key(key: FrameKey) -> Self {
        Self { key, next: 0 }
    }

    pub(super) fn key(&self) -> &FrameKey {
        &self.key
    }

    /// Seals `plaintext` to the front of `out`: header, ciphertext, tag. Gives the length of all three in bytes.
    ///
    /// `metadata` is authenticated with the frame but not written; whoever opens must know it. With metadata the
    /// call allocates, without it never.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] if `out` is: nothing is written and no counter used. [`Error::Exhausted`] if the
    /// key has sealed its last frame.
    #[inline]
    pub fn seal_into(&mut self, metadata: &[u8], plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let counter = self.next;
        if counter > MAX_COUNTER {
            return Err(self.exhausted());
        }
        let len = self.key.seal_into(counter, metadata, plaintext, out)?;
        self.next = counter + 1;
        Ok(len)
    }

    /// The counter that the next frame gets.
    pub fn next_counter(&self) -> u64 {
        self.next
    }

    /// The bytes that the next packet has beyond its frame: header and tag.
    pub fn overhead(&self) -> usize {
        Header { kid: self.key.kid, counter: self.next }.encoded_len() + TAG_LEN
    }

    #[cold]
    fn exhausted(&self) -> Error {
        Error::Exhausted { kid: self.key.kid }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("kid", &self.key.kid).field("next", &self.next).finish_non_exhaustive()
    }
}

/// Opens packets of one key and key id (RFC 9605 §4.4.4). It knows no replay.
pub struct Opener {
    key: FrameKey,
}

impl Opener {
    /// An opener under the key that `base_key` has for `kid`.
    ///
    /// # Errors
    /// None for any argument: only a backend that refuses its own key.
    pub fn new(suite: Suite, backend: Backend, base_key: &[u8], kid: u64) -> Result<Self> {
        Ok(Self { key: FrameKey::derive(&Secret::extract(suite, base_key), backend, kid)? })
    }

    /// Opens `packet` where it lies; gives its counter and the plaintext, a part of `packet`.
    ///
    /// `metadata` is what the packet was sealed with. With metadata the call allocates, without it never.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the packet is no SFrame ciphertext, names another key id, or its tag does not verify;
    /// the bytes of `packet` are then of no use.
    pub fn open_in_place<'p>(&self, metadata: &[u8], packet: &'p mut [u8]) -> Result<(u64, &'p mut [u8])> {
        let malformed = |why| Error::Malformed { what: Item::Packet, why };
        let (header, header_len) = Header::decode(packet)?;
        if header.kid != self.key.kid {
            return Err(malformed("its key id is another than this opener's"));
        }
        match self.key.open(header.counter, header_len, metadata, packet) {
            Ok(plaintext) => Ok((header.counter, plaintext)),
            Err(Refused) => Err(malformed("its tag does not verify under this key")),
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("kid", &self.key.kid).finish_non_exhaustive()
    }
}

/// What RFC 9605 §4.4.2 derives from a base key and a key id, laid open to compare with another implementation.
///
/// Nothing in this crate takes these back in; they are wiped when dropped.
pub struct Derivation {
    suite: Suite,
    secret: Zeroizing<[u8; 64]>,
    key: Zeroizing<Vec<u8>>,
    salt: Box<Zeroizing<[u8; NONCE_LEN]>>,
}

impl Derivation {
    /// Derives what `base_key` has for `kid`.
    ///
    /// # Errors
    /// None for any argument: only an HKDF that refuses the suite's own lengths.
    pub fn new(suite: Suite, base_key: &[u8], kid: u64) -> Result<Self> {
        let from = Secret::extract(suite, base_key);
        let made = from.derive(kid)?;
        let mut secret = Zeroizing::new([0; 64]);
        for (to, from) in secret.iter_mut().zip(from.as_bytes()) {
            *to = *from;
        }
        Ok(Self { suite, secret, key: Zeroizing::new(made.key().to_vec()), salt: made.salt })
    }

    /// `sframe_secret`, Nh bytes.
    pub fn secret(&self) -> &[u8] {
        self.secret.get(..self.suite.hash_len()).unwrap_or_default()
    }

    /// `sframe_key`, Nk bytes.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// `sframe_salt`, Nn bytes.
    pub fn salt(&self) -> &[u8; NONCE_LEN] {
        &self.salt
    }

    /// The nonce of a frame: the salt XOR its counter.
    pub fn nonce(&self, counter: u64) -> [u8; NONCE_LEN] {
        nonce(&self.salt, counter)
    }
}

impl fmt::Debug for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derivation").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// One sender's keyed AEAD, salt and key id: what sealer and opener share.
pub(super) struct FrameKey {
    aead: Aead,
    salt: Box<Zeroizing<[u8; NONCE_LEN]>>,
    kid: u64,
}

impl FrameKey {
    pub(super) fn derive(secret: &Secret, backend: Backend, kid: u64) -> Result<Self> {
        Self::new(secret.suite(), backend, kid, &secret.derive(kid)?)
    }

    /// The key of `kid`, of what was derived for it.
    pub(super) fn new(suite: Suite, backend: Backend, kid: u64, made: &KeyAndSalt) -> Result<Self> {
        Ok(Self { aead: Aead::new(suite, backend, made.key())?, salt: made.salt.clone(), kid })
    }

    /// The key of a clip, where there is no secret to derive it from.
    pub(super) fn disclosed(suite: Suite, kid: u64, key: &[u8], salt: [u8; NONCE_LEN]) -> Result<Self> {
        Ok(Self { aead: Aead::new(suite, Backend::default(), key)?, salt: Box::new(Zeroizing::new(salt)), kid })
    }

    #[inline(always)]
    fn seal_into(&self, counter: u64, metadata: &[u8], plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let header = Header { kid: self.kid, counter };
        let (header_len, have) = (header.encoded_len(), out.len());
        let Some(len) = plaintext.len().checked_add(header_len + TAG_LEN) else {
            return Err(too_long());
        };
        let Some(out) = out.get_mut(..len) else {
            return Err(too_small(len, have));
        };
        // With its tag a packet is never shorter than the longest header; what lies behind this one is written below.
        if let Some(front) = out.first_chunk_mut::<MAX_HEADER>() {
            header.encode(front);
        }
        let Some((aad, body)) = out.split_at_mut_checked(header_len) else {
            return Err(too_small(len, have));
        };
        let Some((text, tag)) = body.split_last_chunk_mut::<TAG_LEN>() else {
            return Err(too_small(len, have));
        };
        text.copy_from_slice(plaintext);
        let nonce = nonce(&self.salt, counter);
        let sealed = if metadata.is_empty() {
            self.aead.seal(&nonce, aad, text, tag)
        } else {
            self.aead.seal(&nonce, &[&*aad, metadata].concat(), text, tag)
        };
        match sealed {
            Ok(()) => Ok(len),
            Err(Refused) => Err(too_long()),
        }
    }

    /// Opens what follows the header of `header_len` bytes.
    #[inline(always)]
    pub(super) fn open<'p>(
        &self,
        counter: u64,
        header_len: usize,
        metadata: &[u8],
        packet: &'p mut [u8],
    ) -> Result<&'p mut [u8], Refused> {
        let Some((aad, text)) = packet.split_at_mut_checked(header_len) else {
            return Err(Refused);
        };
        let nonce = nonce(&self.salt, counter);
        if metadata.is_empty() {
            self.aead.open(&nonce, aad, text)
        } else {
            self.aead.open(&nonce, &[&*aad, metadata].concat(), text)
        }
    }

    pub(super) fn kid(&self) -> u64 {
        self.kid
    }
}

#[inline(always)]
fn nonce(salt: &[u8; NONCE_LEN], counter: u64) -> [u8; NONCE_LEN] {
    // RFC 9605 §4.4.3: the counter against the end of the salt. In the two words that a copy of twelve bytes is made
    // of: written in others, the AEAD would have to wait for them at each frame.
    let mut nonce = *salt;
    if let Some(front) = nonce.first_chunk_mut() {
        *front = (u64::from_be_bytes(*front) ^ (counter >> 32)).to_be_bytes();
    }
    if let Some(tail) = nonce.last_chunk_mut() {
        *tail = (u32::from_be_bytes(*tail) ^ counter as u32).to_be_bytes();
    }
    nonce
}

#[cold]
fn too_small(need: usize, have: usize) -> Error {
    Error::BufferTooSmall { need, have }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_cap_three_frames_and_then_an_error() {
        for backend in Backend::ALL {
            let mut sealer = Sealer::new(Suite::default(), *backend, b"base", 9, MAX_COUNTER - 2).unwrap();
            let mut packet = [0; 64];
            for _ in 0..3 {
                sealer.seal_into(b"", b"frame", &mut packet).unwrap();
            }
            for _ in 0..3 {
                let before = packet;
                assert!(matches!(sealer.seal_into(b"", b"frame", &mut packet), Err(Error::Exhausted { kid: 9 })));
                assert_eq!((packet, sealer.next_counter()), (before, MAX_COUNTER + 1));
            }
        }
    }

    #[test]
    fn a_nonce_is_the_salt_against_the_whole_counter() {
        let salt = [0xff, 0x5a, 1, 2, 0xf0, 0x0f, 3, 4, 0xa5, 5, 6, 0xff];
        for counter in [0, 1, MAX_COUNTER, MAX_COUNTER + 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let wide = [&[0; 4], &counter.to_be_bytes()[..]].concat();
            let expected: Vec<_> = salt.iter().zip(wide).map(|(salt, counter)| salt ^ counter).collect();
            assert_eq!(nonce(&salt, counter)[..], expected, "{counter:#x}");
        }
    }

    #[test]
    fn a_short_buffer_uses_no_counter() {
        let mut sealer = Sealer::new(Suite::default(), Backend::default(), b"base", 9, 7).unwrap();
        let need = 5 + sealer.overhead();
        for have in 0..need {
            let mut short = vec![0; have];
            let refused = sealer.seal_into(b"", b"frame", &mut short);
            assert!(matches!(refused, Err(Error::BufferTooSmall { need: n, have: h }) if (n, h) == (need, have)));
            assert!(short.iter().all(|byte| *byte == 0));
        }
        assert_eq!(sealer.next_counter(), 7);
        assert_eq!(sealer.seal_into(b"", b"frame", &mut vec![0; need]).unwrap(), need);
    }
}
