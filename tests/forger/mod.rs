//! What an insider can make, who holds every frame key: packets in another's name, and to any true packet others with
//! the same tag.
//!
//! The tags of both AEADs are one sum: ciphertext block × point^n + next block × point^(n - 1) + …, then a mask. Who
//! holds the key holds the point. So all blocks but one can be anything, the one is solved for, and the tag stays. It
//! takes microseconds, which is why seals sign hashes of whole packets and never tags.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use aes::{
    Aes128, Aes256, Block,
    cipher::{BlockEncrypt as _, KeyInit as _},
};
use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use num_bigint::BigUint;
use parlor::{
    Suite,
    media::{
        Backend,
        sframe::{Aead, Derivation, Header, MAX_HEADER, NONCE_LEN, TAG_LEN},
    },
};
use rand::Rng;

/// The length of a block of either tag.
pub const BLOCK: usize = 16;
/// How many bytes are not the forger's choice: the block that is solved for, and those before it that are tried.
pub const UNCHOSEN: usize = BLOCK + TRIED;
const TRIED: usize = 4;

/// An insider with the frame key of a victim's key id.
pub struct Forger {
    suite: Suite,
    kid: u64,
    derived: Derivation,
    aead: Aead,
}

impl Forger {
    /// One who forges for `kid`, out of the base key that every member has.
    pub fn new(suite: Suite, base_key: &[u8], kid: u64) -> Self {
        let derived = Derivation::new(suite, base_key, kid).unwrap();
        let aead = Aead::new(suite, Backend::default(), derived.key()).unwrap();
        Self { suite, kid, derived, aead }
    }

    /// A valid packet of the victim's at any counter, used or not, even past the last one a sealer would use.
    pub fn seal_at(&self, counter: u64, frame: &[u8]) -> Vec<u8> {
        let mut header = [0; MAX_HEADER];
        let len = Header { kid: self.kid, counter }.encode_into(&mut header).unwrap();
        let mut text = frame.to_vec();
        let tag = self.aead.seal_in_place(&self.derived.nonce(counter), &header[..len], &mut text).unwrap();
        [&header[..len], &text, &tag].concat()
    }

    /// Another packet with the header, length and tag of `packet`, a valid one of the victim's with a frame of at
    /// least two blocks, whose frame is random.
    pub fn same_tag(&self, packet: &[u8], rng: &mut impl Rng) -> Vec<u8> {
        let (_, header_len) = Header::decode(packet).unwrap();
        let mut frame = vec![0; packet.len() - header_len - TAG_LEN];
        rng.fill_bytes(&mut frame);
        self.same_tag_saying(packet, &frame, rng)
    }

    /// The same, whose frame is `wanted` but for the [`UNCHOSEN`] bytes that end where the last whole block of
    /// plaintext does.
    pub fn same_tag_saying(&self, packet: &[u8], wanted: &[u8], rng: &mut impl Rng) -> Vec<u8> {
        let (header, header_len) = Header::decode(packet).unwrap();
        let nonce = self.derived.nonce(header.counter);
        let (aad, sealed) = packet.split_at(header_len);
        let mut opened = sealed.to_vec();
        let frame = self.aead.open_in_place(&nonce, aad, &mut opened).expect("a valid packet of the victim's");
        assert!(frame.len() == wanted.len() && frame.len() >= 2 * BLOCK, "{} and {}", frame.len(), wanted.len());

        let (truth, tag) = sealed.split_at(frame.len());
        // Both are stream ciphers: what is added to the ciphertext is added to the plaintext.
        let mut forged: Vec<u8> = (0..frame.len()).map(|at| truth[at] ^ frame[at] ^ wanted[at]).collect();
        let point = Point::of(self.suite, self.derived.key(), &nonce);
        let solved = frame.len() / BLOCK - 1;
        let at = solved * BLOCK;
        loop {
            if let Some(block) = point.solve(truth, &forged, solved) {
                forged[at..at + BLOCK].copy_from_slice(&block);
                if forged != truth {
                    return [aad, &forged, tag].concat();
                }
            }
            rng.fill_bytes(&mut forged[at - TRIED..at]);
        }
    }
}

/// Where a tag evaluates the polynomial whose coefficients are the ciphertext's blocks.
enum Point {
    /// r, a number mod 2^130 - 5, another for each nonce (RFC 8439 §2.5).
    Poly1305(BigUint),
    /// H, an element of GF(2^128), one for each key (NIST SP 800-38D §6).
    Ghash(u128),
}

impl Point {
    fn of(suite: Suite, key: &[u8], nonce: &[u8; NONCE_LEN]) -> Self {
        let mut zeros = Block::default();
        match suite {
            Suite::ChaCha20Poly1305 => {
                // The front of the keystream's block 0, which encrypts nothing (RFC 8439 §2.6).
                ChaCha20::new_from_slices(key, nonce).unwrap().apply_keystream(&mut zeros);
                let r = u128::from_le_bytes(zeros.into()) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
                return Self::Poly1305(r.into());
            }
            Suite::Aes128Gcm => Aes128::new_from_slice(key).unwrap().encrypt_block(&mut zeros),
            Suite::Aes256Gcm => Aes256::new_from_slice(key).unwrap().encrypt_block(&mut zeros),
            _ => unreachable!("a suite without a forger"),
        }
        Self::Ghash(u128::from_be_bytes(zeros.into()))
    }

    /// What must stand in block `solved` of `forged` for the tag of `truth`; none if the solution is no block.
    fn solve(&self, truth: &[u8], forged: &[u8], solved: usize) -> Option<[u8; BLOCK]> {
        let mut without = forged.to_vec();
        without[solved * BLOCK..(solved + 1) * BLOCK].fill(0);
        let after = truth.len().div_ceil(BLOCK) - 1 - solved;
        match self {
            Self::Poly1305(r) => {
                let p = &((BigUint::from(1_u8) << 130) - 5_u8);
                // The marker bit above each block is the same in both, so that it drops out with header and length.
                let sum = |text| {
                    blocks(text).fold(BigUint::default(), |sum, block| (sum * r + u128::from_le_bytes(block)) % p)
                };
                let missing = sum(truth) + p - sum(&without);
                let block = missing * r.modpow(&after.into(), p).modinv(p)? % p;
                // Of 2^130 - 5 values 2^128 are a block: one in four.
                Some(u128::try_from(block).ok()?.to_le_bytes())
            }
            Self::Ghash(h) => {
                let sum = |text| blocks(text).fold(0, |sum, block| gf_mul(sum, *h) ^ u128::from_be_bytes(block));
                let missing = sum(truth) ^ sum(&without);
                let inverse = gf_inverse(*h);
                Some((0..after).fold(missing, |block, _| gf_mul(block, inverse)).to_be_bytes())
            }
        }
    }
}

/// The blocks as both tags take them: the last is filled with zeros.
fn blocks(text: &[u8]) -> impl Iterator<Item = [u8; BLOCK]> {
    text.chunks(BLOCK).map(|chunk| {
        let mut block = [0; BLOCK];
        block[..chunk.len()].copy_from_slice(chunk);
        block
    })
}

/// A product in GF(2^128), bits in GHASH's order: the first is that of x^0 (NIST SP 800-38D §6.3).
fn gf_mul(a: u128, b: u128) -> u128 {
    let (mut product, mut shifted) = (0, b);
    for bit in (0..128).rev() {
        if a >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = shifted >> 1 ^ if shifted & 1 == 1 { 0xe1 << 120 } else { 0 };
    }
    product
}

/// a^(2^128 - 2), which is a^-1: the product of a^2, a^4, … a^(2^127).
fn gf_inverse(a: u128) -> u128 {
    let one = 1 << 127;
    let (mut power, mut product) = (a, one);
    for _ in 1..128 {
        power = gf_mul(power, power);
        product = gf_mul(product, power);
    }
    product
}
