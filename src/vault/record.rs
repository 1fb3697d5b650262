//! Sealing and opening a stored state, in the form that the [module](super) shows.
//!
//! Invariant: a record key lives in one [`Sealer`], which owns its counter, and no [`Sealer`] is ever made of stored
//! bytes. An attacker may hand in any bytes: none is given out unless its tag verifies, and none allocates more than it
//! is long itself.

use std::{fmt, mem};

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::VaultKey;
use crate::{
    bytes::Reader,
    error::{Error, Item, Result},
    media::{Backend, Suite, scrub_stack, sframe::Aead},
    random,
};

/// The most a whole may be, ciphertext and tag, in bytes.
pub(crate) const MAX_WHOLE: usize = 64 << 20;
/// The most an increment may be, ciphertext and tag, in bytes.
pub(crate) const MAX_INCREMENT: usize = 1 << 20;

const MAGIC: &[u8; 6] = b"parlor";
const VERSION: u8 = 1;
const SALT: usize = 32;
const LENGTH: usize = 4;
const HEADER: usize = MAGIC.len() + 1 + SALT + LENGTH;
const TAG: usize = 16;
const LABEL: &[u8] = b"parlor stored state 1\0";

/// What seals the increments of one whole: its record key and the next sequence number, wiped when dropped.
///
/// After a write that failed it is of no use: a whole is to be sealed next.
pub(crate) struct Sealer {
    key: Aead,
    next: u64,
}

impl Sealer {
    /// Seals a state, and gives what seals its increments.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MAX_WHOLE`]; [`Error::Randomness`].
    pub(crate) fn whole(key: &VaultKey, plain: &[u8]) -> Result<(Self, Vec<u8>)> {
        let length = sealed_length(plain, MAX_WHOLE)?;
        let salt: Zeroizing<[u8; SALT]> = random::bytes()?;
        let key = record_key(key, &salt)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER + plain.len() + TAG));
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(salt.as_slice());
        bytes.extend_from_slice(&length);
        seal(&key, 0, None, &mut bytes, plain)?;
        Ok((Self { key, next: 1 }, mem::take(&mut *bytes)))
    }

    /// Seals what comes after the whole and the increments so far.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MAX_INCREMENT`]: seal a whole.
    pub(crate) fn increment(&mut self, plain: &[u8]) -> Result<Vec<u8>> {
        let length = sealed_length(plain, MAX_INCREMENT)?;
        let sequence = self.next;
        // Used up whatever becomes of it.
        self.next = sequence
            .checked_add(1)
            .ok_or(Error::Unusable { what: "increment", why: "the record key has sealed its last: seal a whole" })?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH + plain.len() + TAG));
        bytes.extend_from_slice(&length);
        seal(&self.key, sequence, Some(increment_aad(sequence, length)), &mut bytes, plain)?;
        Ok(mem::take(&mut *bytes))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("next", &self.next).finish_non_exhaustive()
    }
}

/// A stored state, opened.
pub(crate) struct Opened {
    pub(crate) whole: Zeroizing<Vec<u8>>,
    /// In the order they were made.
    pub(crate) increments: Vec<Zeroizing<Vec<u8>>>,
    /// Whether more bytes followed, which are no increment: a write that was cut off, or damage.
    pub(crate) torn: bool,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("increments", &self.increments.len())
            .field("torn", &self.torn)
            .finish_non_exhaustive()
    }
}

/// Opens a stored state. There is no way to go on appending to it: seal a whole and store that, before anything else
/// is done with what is in it.
///
/// # Errors
/// [`Error::Malformed`] or [`Error::TooLarge`] of [`Item::Snapshot`], which say whether the version, the key or the bytes
/// are at fault.
pub(crate) fn open(key: &VaultKey, stored: &[u8]) -> Result<Opened> {
    let mut reader = Reader::new(Item::Snapshot, stored);
    if reader.array()? != *MAGIC {
        return Err(reader.malformed("it is no stored room: give the file that this library wrote"));
    }
    match reader.byte()? {
        VERSION => {}
        0 => return Err(reader.malformed("it is damaged: its version is 0")),
        _ => return Err(reader.malformed("it was written by a later parlor: update this one")),
    }
    let salt = reader.array()?;
    let length = u32::from_be_bytes(reader.array()?) as usize;
    if length > MAX_WHOLE {
        return Err(Error::TooLarge { what: Item::Snapshot, bytes: length, limit: MAX_WHOLE });
    }
    let header = reader.before();
    let sealed = reader.bytes(length)?;
    let key = record_key(key, &salt)?;
    let Some(whole) = unseal(&key, 0, header, sealed) else {
        return Err(reader.malformed("it is damaged, or sealed under another key: give the key it was stored under"));
    };
    let mut left = stored.get(HEADER + length..).unwrap_or_default();
    let mut increments = Vec::new();
    for sequence in 1.. {
        let Some((increment, rest)) = next_increment(&key, sequence, left) else { break };
        increments.push(increment);
        left = rest;
    }
    Ok(Opened { whole, increments, torn: !left.is_empty() })
}

/// The increment at the front of `left`, and what follows it.
fn next_increment<'a>(key: &Aead, sequence: u64, left: &'a [u8]) -> Option<(Zeroizing<Vec<u8>>, &'a [u8])> {
    let (length, rest) = left.split_first_chunk()?;
    let sealed = u32::from_be_bytes(*length) as usize;
    if sealed > MAX_INCREMENT {
        return None;
    }
    let (sealed, rest) = rest.split_at_checked(sealed)?;
    Some((unseal(key, sequence, &increment_aad(sequence, *length), sealed)?, rest))
}

/// The length field of what `plain` will be once sealed.
fn sealed_length(plain: &[u8], limit: usize) -> Result<[u8; LENGTH]> {
    let length = plain.len().saturating_add(TAG);
    match u32::try_from(length) {
        Ok(field) if length <= limit => Ok(field.to_be_bytes()),
        _ => Err(Error::TooLarge { what: Item::Snapshot, bytes: plain.len(), limit: limit - TAG }),
    }
}

fn increment_aad(sequence: u64, length: [u8; LENGTH]) -> [u8; 8 + LENGTH] {
    let mut aad = [0; 8 + LENGTH];
    let (front, back) = aad.split_at_mut(8);
    front.copy_from_slice(&sequence.to_be_bytes());
    back.copy_from_slice(&length);
    aad
}

fn nonce(sequence: u64) -> [u8; 12] {
    u128::from(sequence).to_be_bytes().last_chunk().copied().unwrap_or_default()
}

/// Adds `plain`, sealed, to `bytes`, which have room for it; without `aad`, `bytes` as they are stand for it.
fn seal(
    key: &Aead,
    sequence: u64,
    aad: Option<[u8; 8 + LENGTH]>,
    bytes: &mut Zeroizing<Vec<u8>>,
    plain: &[u8],
) -> Result<()> {
    let start = bytes.len();
    bytes.extend_from_slice(plain);
    let (header, body) = bytes.split_at_mut(start);
    let tag = key.seal_in_place(&nonce(sequence), aad.as_ref().map_or(header, <[u8; _]>::as_slice), body);
    scrub_stack();
    bytes.extend_from_slice(&tag?);
    Ok(())
}

fn unseal(key: &Aead, sequence: u64, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let opened = key.open_in_place(&nonce(sequence), aad, &mut bytes).map(|plain| plain.len());
    scrub_stack();
    bytes.truncate(opened.ok()?);
    Some(bytes)
}

/// The AEAD wipes itself.
fn record_key(key: &VaultKey, salt: &[u8; SALT]) -> Result<Aead> {
    let mut record_key = Box::new(Zeroizing::new([0; 32]));
    derive(key, salt, &mut record_key)?;
    // This lays zeros over what the derivation left on the stack.
    let key = Aead::new(Suite::ChaCha20Poly1305, Backend::default(), record_key.as_slice());
    scrub_stack();
    key
}

#[inline(never)]
fn derive(key: &VaultKey, salt: &[u8; SALT], out: &mut [u8; 32]) -> Result<()> {
    Hkdf::<Sha256>::new(Some(salt), key.as_bytes())
        .expand(LABEL, out)
        .map_err(|_| Error::Unusable { what: "key", why: "HKDF makes no key of it" })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::vault::{FileVault, MemoryVault, Vault};

    const PLAIN: [&[u8]; 4] = [b"the whole", b"one", b"", b"three and more"];

    fn key() -> VaultKey {
        VaultKey::from_bytes(&[7; 32])
    }

    /// A whole and its increments, each as it is stored.
    fn sealed() -> Vec<Vec<u8>> {
        let (mut sealer, whole) = Sealer::whole(&key(), PLAIN[0]).unwrap();
        let increments = PLAIN[1..].iter().map(|plain| sealer.increment(plain).unwrap());
        std::iter::once(whole).chain(increments).collect()
    }

    /// How many increments of `PLAIN` it gave: never anything else, nor in another order.
    fn front(opened: &Opened) -> usize {
        assert_eq!(**opened.whole, *PLAIN[0]);
        assert!(
            opened.increments.iter().map(|plain| plain.as_slice()).eq(PLAIN[1..][..opened.increments.len()].to_vec())
        );
        opened.increments.len()
    }

    fn refused(key: &VaultKey, stored: &[u8]) -> String {
        match open(key, stored) {
            Err(error @ (Error::Malformed { what: Item::Snapshot, .. } | Error::TooLarge { .. })) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stored_state_opens_as_it_was_sealed() {
        let opened = open(&key(), &sealed().concat()).unwrap();
        assert_eq!((front(&opened), opened.torn), (3, false));
        assert_eq!(format!("{opened:?}"), "Opened { increments: 3, torn: false, .. }");
        let empty = Sealer::whole(&key(), b"").unwrap().1;
        assert_eq!((empty.len(), open(&key(), &empty).unwrap().whole.len()), (HEADER + TAG, 0));
    }

    #[test]
    fn its_form_is_the_documented_one() {
        let parts = sealed();
        let (header, body) = parts[0].split_at(43);
        assert_eq!((&header[..7], &header[39..]), (&b"parlor\x01"[..], &(9_u32 + 16).to_be_bytes()[..]));
        let mut record_key = [0; 32];
        let hkdf = Hkdf::<Sha256>::new(Some(&header[7..39]), &[7; 32]);
        hkdf.expand(b"parlor stored state 1\0", &mut record_key).unwrap();
        let aead = Aead::new(Suite::ChaCha20Poly1305, Backend::RustCrypto, &record_key).unwrap();
        let mut body = body.to_vec();
        assert_eq!(aead.open_in_place(&[0; 12], header, &mut body).unwrap(), PLAIN[0]);
        let mut body = parts[3][4..].to_vec();
        let aad = [&[0, 0, 0, 0, 0, 0, 0, 3][..], &parts[3][..4]].concat();
        let nonce = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(aead.open_in_place(&nonce, &aad, &mut body).unwrap(), PLAIN[3]);
    }

    #[test]
    fn any_bit_flipped_is_an_error_in_the_whole_and_ends_the_increments_before_it() {
        let parts = sealed();
        let (stored, mut start, mut number) = (parts.concat(), 0, 0);
        for bit in 0..stored.len() * 8 {
            if bit / 8 == start + parts[number].len() {
                start += parts[number].len();
                number += 1;
            }
            let mut altered = stored.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            if number == 0 {
                refused(&key(), &altered);
            } else {
                let opened = open(&key(), &altered).unwrap();
                assert_eq!((front(&opened), opened.torn), (number - 1, true), "bit {bit}");
            }
        }
    }

    #[test]
    fn every_truncation_is_an_error_or_opens_the_increments_that_are_whole() {
        let parts = sealed();
        let (stored, ends) = (parts.concat(), ends(&parts));
        for cut in 0..=stored.len() {
            if cut < ends[0] {
                refused(&key(), &stored[..cut]);
            } else {
                let opened = open(&key(), &stored[..cut]).unwrap();
                let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
                assert_eq!((front(&opened), opened.torn), (whole, !ends.contains(&cut)), "the first {cut} bytes");
            }
        }
    }

    /// Where each part ends in all of them.
    fn ends(parts: &[Vec<u8>]) -> Vec<usize> {
        parts
            .iter()
            .scan(0, |end, part| {
                *end += part.len();
                Some(*end)
            })
            .collect()
    }

    #[test]
    fn increments_swapped_doubled_left_out_or_of_another_whole_are_not_opened() {
        let (parts, other) = (sealed(), sealed());
        let count = |order: &[&[u8]]| {
            let opened = open(&key(), &order.concat()).unwrap();
            (front(&opened), opened.torn)
        };
        let [whole, one, two, three] = [0, 1, 2, 3].map(|at| parts[at].as_slice());
        assert_eq!(count(&[whole, two, one, three]), (0, true));
        assert_eq!(count(&[whole, one, one, two]), (1, true));
        assert_eq!(count(&[whole, one, three]), (1, true));
        assert_eq!(count(&[whole, one, &other[2], three]), (1, true));
        assert_eq!(count(&[whole, one, &whole[HEADER - LENGTH..], two]), (1, true));
        refused(&key(), &[&whole[..HEADER - LENGTH], one].concat());
        let mut mixed = whole.to_vec();
        mixed[MAGIC.len() + 1..][..SALT].copy_from_slice(&other[0][MAGIC.len() + 1..][..SALT]);
        refused(&key(), &mixed);
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let stored = sealed().concat();
        let told = refused(&VaultKey::from_bytes(&[8; 32]), &stored);
        assert!(told.contains("give the key it was stored under"), "{told}");
        let altered = |at: usize, byte| {
            let mut altered = stored.clone();
            altered[at] = byte;
            refused(&key(), &altered)
        };
        assert!(altered(6, 2).contains("written by a later parlor: update"), "{}", altered(6, 2));
        assert!(altered(6, 255).contains("written by a later parlor: update"));
        assert!(!altered(6, 0).contains("later"));
        assert!(altered(0, b'P').contains("no stored room"));
        assert!(altered(39, 255).contains("over the limit"));
        assert!(refused(&key(), b"").contains("cut short"));
        assert!(refused(&key(), b"").contains("fresh card"));
    }

    #[test]
    fn two_wholes_of_the_same_state_have_nothing_in_common() {
        let salts: HashSet<Vec<u8>> = (0..100).map(|_| sealed()[0][7..39].to_vec()).collect();
        assert_eq!(salts.len(), 100);
        let (one, other) = (sealed(), sealed());
        assert!(one.iter().zip(&other).all(|(one, other)| one[one.len() - TAG..] != other[other.len() - TAG..]));
    }

    #[test]
    fn what_is_too_large_is_refused_and_what_just_fits_is_not() {
        let plain = vec![1; MAX_WHOLE - TAG + 1];
        let too_large = |error| matches!(error, Error::TooLarge { what: Item::Snapshot, .. });
        assert!(too_large(Sealer::whole(&key(), &plain).unwrap_err()));
        let (mut sealer, mut stored) = Sealer::whole(&key(), &plain[1..]).unwrap();
        assert!(too_large(sealer.increment(&plain[..MAX_INCREMENT - TAG + 1]).unwrap_err()));
        // A refusal uses no number up.
        stored.extend(sealer.increment(&plain[..MAX_INCREMENT - TAG]).unwrap());
        let opened = open(&key(), &stored).unwrap();
        assert_eq!((opened.increments.len(), opened.torn), (1, false));
        // One byte more, sealed by somebody who has the key.
        let length = (MAX_INCREMENT as u32 + 1).to_be_bytes();
        let mut over = Zeroizing::new(length.to_vec());
        seal(&sealer.key, 2, Some(increment_aad(2, length)), &mut over, &plain[..MAX_INCREMENT - TAG + 1]).unwrap();
        assert_eq!(open(&key(), &[&stored[..], &over].concat()).unwrap().increments.len(), 1);
        // A length that would be a gigabyte, in a file that is none.
        stored.extend([0x40, 0, 0, 0]);
        assert!(open(&key(), &stored).unwrap().torn);
    }

    #[test]
    fn the_last_sequence_number_is_not_followed_by_the_first() {
        let (mut sealer, _) = Sealer::whole(&key(), b"").unwrap();
        sealer.next = u64::MAX;
        assert!(matches!(sealer.increment(b""), Err(Error::Unusable { .. })));
        assert!(matches!(sealer.increment(b""), Err(Error::Unusable { .. })));
    }

    /// Stores and appends as a room does until the vault fails; how many states were durable for certain.
    fn run(vault: &mut impl Vault) -> usize {
        let mut durable = 0;
        for _ in 0..2 {
            let (mut sealer, whole) = Sealer::whole(&key(), PLAIN[0]).unwrap();
            for (at, plain) in PLAIN.iter().enumerate() {
                let done = if at == 0 { vault.store(&whole) } else { vault.append(&sealer.increment(plain).unwrap()) };
                match done {
                    Ok(()) => durable += 1,
                    Err(_) => return durable,
                }
            }
        }
        durable
    }

    #[test]
    fn after_a_crash_at_any_write_the_last_durable_state_or_the_one_under_way_opens() {
        let mut vault = MemoryVault::new();
        assert_eq!(run(&mut vault), 8);
        let all = vault.steps();
        assert_eq!(all, 2 * (2 + 3 * 3));
        for steps in 0..all {
            let mut vault = MemoryVault::failing_after(steps);
            let durable = run(&mut vault);
            let Some(stored) = vault.clone().load().unwrap() else {
                assert_eq!((durable, steps), (0, 0));
                continue;
            };
            // The states of one round are numbered 1 to 4.
            let state = front(&open(&key(), &stored).unwrap()) + 1;
            let expected = [durable, durable + 1].map(|state| (state + 3) % 4 + 1);
            assert!(expected.contains(&state), "{steps} steps: {state}, {expected:?}");
        }
    }

    #[test]
    fn a_file_cut_at_any_length_opens_the_increments_that_are_whole_and_then_takes_a_whole() {
        let folder = std::env::temp_dir().join(format!("parlor-record-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("room");
        let parts = sealed();
        let (stored, ends) = (parts.concat(), ends(&parts));
        for cut in ends[0]..=stored.len() {
            std::fs::write(&path, &stored[..cut]).unwrap();
            let mut vault = FileVault::open(&path).unwrap();
            let opened = open(&key(), &vault.load().unwrap().unwrap()).unwrap();
            assert_eq!(front(&opened), ends.iter().filter(|end| **end <= cut).count() - 1);
            assert!(vault.append(b"more").is_err());
            let (_, whole) = Sealer::whole(&key(), PLAIN[0]).unwrap();
            vault.store(&whole).unwrap();
            assert!(!open(&key(), &vault.load().unwrap().unwrap()).unwrap().torn);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
