//! What a seal says: the bytes that are signed, and the bytes that travel.
//!
//! ```text
//! signed:  "parlor seal 1\0" ‖ SHA-256 of the room's id (32) ‖ epoch (8) ‖ transcript length (1) ‖ transcript
//!            ‖ leaf (4) ‖ speaker's identity key (32) ‖ stream (8) ‖ suite (2)
//!            ‖ commitment to the frame key (32) ‖ number (8) ‖ marks (1) ‖ first counter (8) ‖ count (1) ‖ count × hash (16)
//! travels: version = 1 (1) ‖ marks (1): 1 evidence ‖ first counter (8) ‖ count (1) ‖ N × hash (16), those beyond the
//!            count zero ‖ signature (64)
//! ```
//!
//! What travels is the plaintext of an SFrame packet of the stream above the one it seals, whose counter is the seal's
//! number. It has one length in a room, so that the relay learns nothing of a short one. A hash is the first half of
//! the SHA-256 of a whole packet: header, ciphertext and tag, never the tag alone, for who knows the key can make other
//! packets with the same tag. Nor do the AEADs commit to their key, so the frame key is signed along. And so is who the
//! speaker is: anybody can certify somebody else's media key as their own, and would have said all that it sealed.

use sha2::{Digest, Sha256, digest::Output};

use crate::{
    error::{Error, Item, Result},
    identity::{LeafIndex, MemberId, has_signed},
    media::{
        Suite,
        seal::{MAX_EVERY, MediaCertificate, MediaKey, Proof},
    },
};

const LABEL: &[u8] = b"parlor seal 1\0";
const KEY_LABEL: &[u8] = b"parlor frame key 1\0";
const VERSION: u8 = 1;
const EVIDENCE: u8 = 1;

/// The length of a packet's hash in bytes.
pub(crate) const HASH_LEN: usize = 16;
/// Everything that travels but the hashes.
const FIXED: usize = 1 + 1 + 8 + 1 + 64;
/// The longest seal in bytes.
pub(crate) const MAX_SEAL: usize = FIXED + MAX_EVERY as usize * HASH_LEN;

/// Half of a packet's SHA-256.
pub(crate) type PacketHash = [u8; HASH_LEN];

/// The SHA-256 of a whole packet, where it was computed: read at once it would have to be waited for.
pub(crate) struct WholeHash(Output<Sha256>);

impl WholeHash {
    #[inline(always)]
    pub(crate) fn of(packet: &[u8]) -> Self {
        let mut whole = Self(Output::<Sha256>::default());
        let mut hash = Sha256::new();
        hash.update(packet);
        // Not `finalize_into`, which moves a hash that was written a moment before: that would have to be waited for too.
        Digest::finalize_into_reset(&mut hash, &mut whole.0);
        whole
    }

    /// The half of it that seals list.
    #[inline(always)]
    pub(crate) fn half(&self) -> &PacketHash {
        self.0.first_chunk().unwrap_or(&[0; HASH_LEN])
    }
}

/// The hash of a whole packet.
#[inline]
pub(crate) fn packet_hash(packet: &[u8]) -> PacketHash {
    *WholeHash::of(packet).half()
}

/// The length of the seals of a room in bytes, without header and tag.
pub(crate) const fn seal_len(every: u8) -> usize {
    FIXED + every as usize * HASH_LEN
}

/// A commitment to a sender's frame key: the AEADs alone let one ciphertext open under several.
pub(crate) fn commit_to_key(suite: Suite, kid: u64, key: &[u8], salt: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [KEY_LABEL, &suite.id().to_be_bytes(), &kid.to_be_bytes(), key, salt] {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Everything a seal is bound to that does not travel with it.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// SHA-256 of the room's id.
    pub(crate) room: &'a [u8; 32],
    pub(crate) epoch: u64,
    pub(crate) transcript: &'a [u8],
    pub(crate) leaf: LeafIndex,
    pub(crate) speaker: &'a MemberId,
    /// The stream that is sealed.
    pub(crate) stream: u64,
    pub(crate) suite: Suite,
    /// [`commit_to_key`] of the sealed stream's key.
    pub(crate) commitment: &'a [u8; 32],
}

/// One seal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seal {
    /// How many seals of this stream and epoch were made before it: the counter of its packet.
    pub(crate) number: u64,
    pub(crate) proof: Proof,
    /// The counter of the first packet it covers.
    pub(crate) first: u64,
    /// Of consecutive packets, 1 to [`MAX_EVERY`].
    pub(crate) hashes: Vec<PacketHash>,
    pub(crate) signature: [u8; 64],
}

impl Seal {
    /// Signs `hashes` of the packets from `first` on.
    pub(crate) fn sign(
        context: &Context<'_>,
        key: &MediaKey,
        number: u64,
        proof: Proof,
        first: u64,
        hashes: &[PacketHash],
    ) -> Self {
        let mut seal = Self { number, proof, first, hashes: hashes.to_vec(), signature: [0; 64] };
        seal.signature = key.sign(proof, &seal.signed(context));
        seal
    }

    /// Whether the certified key for this kind of room signed it in `context`. Strictly: no weak keys, one form of each
    /// signature.
    pub(crate) fn verifies(&self, context: &Context<'_>, certificate: &MediaCertificate) -> bool {
        has_signed(certificate.key(self.proof), &self.signed(context), &self.signature)
    }

    /// One more than the last counter it covers.
    pub(crate) const fn end(&self) -> u64 {
        self.first.saturating_add(self.hashes.len() as u64)
    }

    /// The counters and the hashes it covers.
    pub(crate) fn packets(&self) -> impl Iterator<Item = (u64, &PacketHash)> {
        (self.first..).zip(&self.hashes)
    }

    /// What travels, padded to a seal of `every`.
    pub(crate) fn encode(&self, every: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(seal_len(every));
        out.extend([VERSION, self.marks()]);
        out.extend(self.first.to_be_bytes());
        out.push(self.count());
        out.extend_from_slice(self.hashes.as_flattened());
        out.resize(seal_len(every) - self.signature.len(), 0);
        out.extend(self.signature);
        out
    }

    /// Reads what travelled under `number` in a room that seals each `every`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for all that no seal of this room looks like.
    pub(crate) fn decode(bytes: &[u8], number: u64, every: u8) -> Result<Self> {
        let malformed = |why| Error::Malformed { what: Item::Seal, why };
        let wrong_length = || malformed("it has another length than the seals of this room");
        if bytes.len() != seal_len(every) {
            return Err(wrong_length());
        }
        let (&[version, marks], rest) = bytes.split_first_chunk().ok_or_else(wrong_length)?;
        let (first, rest) = rest.split_first_chunk().ok_or_else(wrong_length)?;
        let (&[count], rest) = rest.split_first_chunk().ok_or_else(wrong_length)?;
        let (hashes, signature) = rest.split_last_chunk().ok_or_else(wrong_length)?;
        if version != VERSION || marks > EVIDENCE {
            return Err(malformed("it is of a version or kind that this parlor does not know"));
        }
        if count == 0 || count > every {
            return Err(malformed("it covers no packets, or more than seals of this room do"));
        }
        let (hashes, []) = hashes.as_chunks() else { return Err(wrong_length()) };
        let (hashes, padding) = hashes.split_at_checked(count.into()).ok_or_else(wrong_length)?;
        if padding.as_flattened().iter().any(|byte| *byte != 0) {
            return Err(malformed("its padding is not zero"));
        }
        let first = u64::from_be_bytes(*first);
        if first > u64::from(u32::MAX) {
            return Err(malformed("its counters are higher than any sealer counts"));
        }
        let proof = if marks == EVIDENCE { Proof::Evidence } else { Proof::Deniable };
        Ok(Self { number, proof, first, hashes: hashes.to_vec(), signature: *signature })
    }

    fn signed(&self, context: &Context<'_>) -> Vec<u8> {
        // Both lengths fit a byte: `SealKeys` sees to the transcript's, `count` is at most `MAX_EVERY`.
        let transcript = context.transcript;
        let mut out = Vec::with_capacity(256 + self.hashes.len() * HASH_LEN);
        out.extend_from_slice(LABEL);
        out.extend_from_slice(context.room);
        out.extend(context.epoch.to_be_bytes());
        out.push(transcript.len() as u8);
        out.extend_from_slice(transcript);
        out.extend(context.leaf.0.to_be_bytes());
        out.extend_from_slice(context.speaker.as_bytes());
        out.extend(context.stream.to_be_bytes());
        out.extend(context.suite.id().to_be_bytes());
        out.extend_from_slice(context.commitment);
        out.extend(self.number.to_be_bytes());
        out.push(self.marks());
        out.extend(self.first.to_be_bytes());
        out.push(self.count());
        out.extend_from_slice(self.hashes.as_flattened());
        out
    }

    const fn marks(&self) -> u8 {
        match self.proof {
            Proof::Evidence => EVIDENCE,
            Proof::Deniable => 0,
        }
    }

    const fn count(&self) -> u8 {
        self.hashes.len() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_of_another_version_kind_or_length_or_beyond_what_is_counted_is_not_read() {
        let seal =
            |first| Seal { number: 7, proof: Proof::Evidence, first, hashes: vec![[9; 16]; 3], signature: [8; 64] };
        for first in [0, u64::from(u32::MAX)] {
            assert_eq!(Seal::decode(&seal(first).encode(5), 7, 5).unwrap(), seal(first));
        }
        assert!(Seal::decode(&seal(1 << 32).encode(5), 7, 5).is_err());
        let bytes = seal(0).encode(5);
        assert!(Seal::decode(&bytes, 7, 4).is_err() && Seal::decode(&bytes, 7, 6).is_err());
        for (at, values) in [(0, [0, 2]), (1, [2, 255]), (10, [0, 6])] {
            for value in values {
                let mut altered = bytes.clone();
                altered[at] = value;
                assert!(Seal::decode(&altered, 7, 5).is_err(), "{value} at {at}");
            }
        }
    }
}
