//! Sealing to one person's public key: HPKE's base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256
//! and ChaCha20-Poly1305, the same as below MLS.
//!
//! Base mode says nothing about who sealed: whoever opens takes that from signatures inside. What a peer sends as
//! a key may be any 32 bytes; those with which no secret can be agreed are an error, on either side.

use std::fmt;

use openmls_rust_crypto::RustCrypto;
use openmls_traits::{
    crypto::OpenMlsCrypto as _,
    types::{HpkeAeadType, HpkeCiphertext, HpkeConfig, HpkeKdfType, HpkeKemType, HpkePrivateKey},
};
use zeroize::Zeroizing;

use crate::{
    bytes::{Reader, Writer},
    error::{Error, Result},
    identity::{Identity, MemberId},
    random,
};

use super::bug;

/// Bytes of an encapsulated key, the first part of everything sealed.
pub(crate) const ENCAPSULATED: usize = 32;

/// Bytes of the tag at the end of everything sealed.
pub(crate) const TAG: usize = 16;

/// An X25519 key pair that others seal to: a member's door key, the reply key of one knock or ask, or what goes with a
/// member's identity.
///
/// The secret half stays at one place in the heap while this moves, and is wiped when dropped.
pub(crate) struct DoorKey {
    secret: HpkePrivateKey,
    public: DoorKeyPublic,
}

impl DoorKey {
    pub(crate) fn random() -> Result<Self> {
        let seed = random::bytes::<32>()?;
        let pair = RustCrypto::default().derive_hpke_keypair(config(), seed.as_slice()).map_err(bug)?;
        let public = pair.public.as_slice().try_into().map_err(|_| bug("an X25519 key is not 32 bytes"))?;
        Ok(Self { secret: pair.private, public: DoorKeyPublic(public) })
    }

    /// The pair that goes with an identity: whoever knows the member can seal to it ([`DoorKeyPublic::of`]).
    pub(crate) fn of(identity: &Identity) -> Option<Self> {
        let public = DoorKeyPublic::of(&identity.id())?;
        Some(Self { secret: HpkePrivateKey::from(identity.exchange_secret().as_slice()), public })
    }

    pub(crate) const fn public(&self) -> DoorKeyPublic {
        self.public
    }

    #[cfg(test)]
    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Both halves, for a snapshot.
    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        out.put(&self.public.0);
        out.long("door key", &self.secret)
    }

    /// What [`save`](Self::save) wrote.
    pub(super) fn restore(saved: &mut Reader<'_>) -> Result<Self> {
        let public = DoorKeyPublic(saved.array()?);
        Ok(Self { public, secret: HpkePrivateKey::from(saved.long()?) })
    }

    /// What was sealed to this key for `info` and `aad`; `None` if nothing was.
    pub(crate) fn open(&self, sealed: &[u8], info: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (encapsulated, ciphertext) = sealed.split_first_chunk::<ENCAPSULATED>()?;
        let sealed =
            HpkeCiphertext { kem_output: encapsulated.to_vec().into(), ciphertext: ciphertext.to_vec().into() };
        let opened = RustCrypto::default().hpke_open(config(), &sealed, &self.secret, info, aad);
        opened.ok().map(Zeroizing::new)
    }
}

impl fmt::Debug for DoorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public half of a [`DoorKey`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DoorKeyPublic(pub(crate) [u8; 32]);

impl DoorKeyPublic {
    /// The public half of [`DoorKey::of`]; `None` if the id is no Ed25519 key.
    pub(crate) fn of(member: &MemberId) -> Option<Self> {
        member.exchange_key().map(Self)
    }

    /// Whether a secret can be agreed with these bytes: everybody finds the same.
    ///
    /// It cannot with a point of small order, for every product with it is zero (RFC 7748 §6.1). There are five of them on
    /// the curve and its twist together, and X25519 reads them from seven strings, whatever the highest bit is.
    pub(crate) fn is_usable(&self) -> bool {
        let mut key = self.0;
        key[31] &= 0x7f;
        !SMALL_ORDER.contains(&key)
    }

    /// Seals `plain` to the key, so that it opens for the same `info` and `aad` only: encapsulated key, then
    /// ciphertext.
    ///
    /// # Errors
    /// [`Error::Unusable`] if these bytes are no X25519 key that a secret can be agreed with.
    pub(crate) fn seal(&self, plain: &[u8], info: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
        let sealed = RustCrypto::default().hpke_seal(config(), &self.0, info, aad, plain);
        let unusable = |_| Error::Unusable { what: "X25519 key", why: "no secret can be agreed with it; drop it" };
        let HpkeCiphertext { kem_output, ciphertext } = sealed.map_err(unusable)?;
        Ok([kem_output.as_slice(), ciphertext.as_slice()].concat())
    }
}

/// Every encoding of a point of small order, without its highest bit: 0, 1, the two of order eight, p - 1, and p and
/// p + 1, which are 0 and 1 once more (p = 2^255 - 19).
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    low(1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    high(0xec),
    high(0xed),
    high(0xee),
];

/// A number of one byte.
const fn low(byte: u8) -> [u8; 32] {
    let mut key = [0; 32];
    key[0] = byte;
    key
}

/// 2^255 - 256 and a byte.
const fn high(byte: u8) -> [u8; 32] {
    let mut key = [0xff; 32];
    (key[0], key[31]) = (byte, 0x7f);
    key
}

const fn config() -> HpkeConfig {
    HpkeConfig(HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::ChaCha20Poly1305)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_vector_of_rfc_9180_a_2_1_opens() {
        let secret = unhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let key = DoorKey { secret: secret.into(), public: DoorKeyPublic([0; 32]) };
        let sealed = unhex(concat!(
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        ));
        let opened = key.open(&sealed, b"Ode on a Grecian Urn", b"Count-0").unwrap();
        assert_eq!(*opened, b"Beauty is truth, truth beauty");
    }

    #[test]
    fn the_key_pair_of_rfc_9180_a_2_1_is_derived() {
        let seed = unhex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df");
        let pair = RustCrypto::default().derive_hpke_keypair(config(), &seed).unwrap();
        assert_eq!(pair.public, unhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"));
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_its_info_and_its_aad_only() {
        let (key, other) = (DoorKey::random().unwrap(), DoorKey::random().unwrap());
        let sealed = key.public().seal(b"plain", b"info", b"aad").unwrap();
        assert_eq!(sealed.len(), ENCAPSULATED + 5 + TAG);
        assert_eq!(*key.open(&sealed, b"info", b"aad").unwrap(), b"plain");
        assert!(other.open(&sealed, b"info", b"aad").is_none());
        assert!(key.open(&sealed, b"inf", b"oaad").is_none());
        assert!(key.open(&sealed, b"info", b"").is_none());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 0x20;
            assert!(key.open(&altered, b"info", b"aad").is_none(), "byte {at}");
            assert!(key.open(&sealed[..at], b"info", b"aad").is_none(), "{at} bytes");
        }
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn a_key_of_small_order_is_an_error_on_either_side() {
        // Zero and one: every product with them is zero, a secret that everybody knows.
        let mut one = [0; 32];
        one[0] = 1;
        for weak in [[0; 32], one] {
            assert!(matches!(DoorKeyPublic(weak).seal(b"plain", b"", b""), Err(Error::Unusable { .. })));
            let sealed = [&weak[..], &[0; 21]].concat();
            assert!(DoorKey::random().unwrap().open(&sealed, b"", b"").is_none());
            assert!(!DoorKeyPublic(weak).is_usable() && DoorKey::random().unwrap().public().is_usable());
        }
    }

    /// Whether an agreement with the key gives a secret, by who makes agreements.
    fn contributes(key: [u8; 32]) -> bool {
        x25519_dalek::StaticSecret::from([7; 32]).diffie_hellman(&key.into()).was_contributory()
    }

    #[test]
    fn a_key_is_usable_exactly_if_an_agreement_with_it_gives_a_secret() {
        let check = |key: [u8; 32]| {
            assert_eq!(DoorKeyPublic(key).is_usable(), contributes(key), "{key:02x?}");
        };
        // All that is known to be weak, with either highest bit; and whatever differs from it by one bit or one byte.
        for known in SMALL_ORDER {
            for top in [0, 0x80] {
                let mut key = known;
                key[31] |= top;
                assert!(!contributes(key), "{key:02x?}");
                check(key);
                for at in 0..32 {
                    for change in [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff] {
                        let mut near = key;
                        near[at] ^= change;
                        check(near);
                    }
                }
            }
        }
        // All numbers that X25519 reduces, and as many small ones.
        for byte in 0..=u8::MAX {
            for top in [0, 0x80] {
                for mut key in [low(byte), high(byte)] {
                    key[31] |= top;
                    check(key);
                }
            }
        }
        for _ in 0..2_000 {
            check(*random::bytes().unwrap());
        }
    }
}
