//! What people compare by eye or ear: fingerprints of keys, and the code of a room.
//!
//! Invariant: every code is a SHA-256 under a label of its own, cut to no less than 132 bits. Somebody in the middle
//! who looks for two keys or two rooms with one code needs about 2^66 tries.

use std::{fmt, iter};

use bip39::Language;
use sha2::{Digest, Sha256};

use crate::identity::MemberId;

/// The words of a room code: 11 bits each.
const WORDS: usize = 12;

/// Forty digits (132 bits) of one person's key, or of a pair's. Equal digits, same key or pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(Digits);

impl Fingerprint {
    pub(super) fn of(id: &MemberId) -> Self {
        Self(Digits(hash(b"parlor fingerprint 1", &[id.as_bytes()])))
    }

    pub(super) fn of_pair(one: &MemberId, other: &MemberId) -> Self {
        let (first, second) = (one.min(other), one.max(other));
        Self(Digits(hash(b"parlor pair fingerprint 1", &[first.as_bytes(), second.as_bytes()])))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.0)
    }
}

/// One epoch of one room (from the MLS epoch authenticator, RFC 9420 §8.7), as twelve words (132 bits) to read aloud.
///
/// Two members who read the same words share the same group, the same roster, the same keys; it changes with
/// every epoch. The words are those of BIP-39's English list, in which no two share their first four letters.
///
/// Both forms are cut from SHA-256 over `"parlor room code 1"`, a zero byte and the authenticator: the words are its
/// first 132 bits, eleven a word; the digits are each four bytes, big-endian, modulo 100,000.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomCode([u8; 32]);

impl RoomCode {
    pub(crate) fn of(epoch_authenticator: &[u8]) -> Self {
        Self(hash(b"parlor room code 1", &[epoch_authenticator]))
    }

    /// The whole hash that the words and the digits are cut from, to bind other values to the room.
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The twelve words.
    pub fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        let list = Language::English.word_list();
        let mut bits = self.0.into_iter().flat_map(|byte| (0..8).rev().map(move |at| usize::from(byte >> at & 1)));
        let indexes = iter::from_fn(move || Some(bits.by_ref().take(11).fold(0, |index, bit| index << 1 | bit)));
        indexes.take(WORDS).filter_map(|index| list.get(index).copied())
    }

    /// The same code as forty digits, for those who share no language with the words.
    pub fn digits(&self) -> String {
        Digits(self.0).to_string()
    }
}

impl fmt::Display for RoomCode {
    /// The words, one space between each two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.words().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(word)?;
        }
        Ok(())
    }
}

impl fmt::Debug for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomCode({self})")
    }
}

/// A hash that is shown as eight groups of five decimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Digits([u8; 32]);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, bytes) in self.0.chunks_exact(4).enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            // 2^32 over 10^5: the bias of a digit group is under 2^-15, of no use to anybody.
            let group = bytes.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) % 100_000;
            write!(f, "{group:05}")?;
        }
        Ok(())
    }
}

/// SHA-256 over `label`, a zero and `parts`, which are of fixed lengths or one only.
fn hash(label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(label).chain_update([0]);
    parts.iter().fold(hash, Digest::chain_update).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 32])
    }

    #[test]
    fn a_fingerprint_is_forty_digits_and_tells_keys_apart() {
        let (a, b) = (id(1).fingerprint(), id(2).fingerprint());
        assert_ne!(a, b);
        assert_eq!(a.to_string().chars().filter(char::is_ascii_digit).count(), 40);
    }

    #[test]
    fn a_pair_reads_the_same_digits_at_both_ends_and_no_other_pair_does() {
        let mut seen = BTreeSet::new();
        for a in 0..24 {
            assert!(seen.insert(id(a).fingerprint().to_string()));
            for b in 0..=a {
                let digits = id(a).fingerprint_with(&id(b));
                assert_eq!(digits, id(b).fingerprint_with(&id(a)));
                assert!(seen.insert(digits.to_string()), "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_room_code_is_twelve_words_that_carry_its_first_132_bits() {
        let code = RoomCode::of(b"an epoch authenticator");
        let words: Vec<_> = code.words().collect();
        assert_eq!(words.len(), 12);
        assert_eq!(code.to_string(), words.join(" "));
        // Back to bits by the list's own search.
        let read = words.iter().map(|word| Language::English.find_word(word).unwrap());
        let bits: String = read.map(|index| format!("{index:011b}")).collect();
        let whole: String = code.0.iter().map(|byte| format!("{byte:08b}")).collect();
        assert_eq!(bits, whole[..132]);
    }

    #[test]
    fn a_room_codes_words_are_those_of_bip_39() {
        // BIP-39's vector of 128 bits of 0x7f; its twelfth word carries a checksum, ours the next eleven bits.
        let words: Vec<_> = RoomCode([0x7f; 32]).words().collect();
        assert_eq!(words[..11].join(" "), "legal winner thank year wave sausage worth useful legal winner thank");
        assert_eq!(RoomCode([0; 32]).to_string(), ["abandon"; 12].join(" "));
        assert_eq!(RoomCode([0xff; 32]).to_string(), ["zoo"; 12].join(" "));
    }

    #[test]
    fn a_room_codes_digits_are_forty_and_follow_its_bits() {
        let mut bytes = [0; 32];
        bytes[3] = 7;
        bytes[28..].copy_from_slice(&123_456_u32.to_be_bytes());
        assert_eq!(RoomCode(bytes).digits(), "00007 00000 00000 00000 00000 00000 00000 23456");
    }
}
