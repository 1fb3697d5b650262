//! Makes the seals of what one says oneself in one epoch.
//!
//! Invariant: every packet that was sealed enters one seal, in order; hashing is all that is done for it there, and
//! nothing is allocated. Signing waits until somebody asks for the seal.

use std::{collections::VecDeque, time::Duration};

use crate::{
    error::Result,
    identity::MemberId,
    media::{
        seal::{
            MAX_EVERY, MediaKey, SealRules,
            statement::{Context, MAX_SEAL, PacketHash, Seal, packet_hash},
        },
        sframe::{MAX_HEADER, Sealer, TAG_LEN},
    },
};

/// A speaker who has said nothing for that long gets the seal of what they said before.
const PAUSE: Duration = Duration::from_millis(200);
/// How many full batches wait to be signed; the oldest make room. Twenty seconds, at 25 frames a seal.
const MAX_WAITING: usize = 40;
/// How many packets of one's own are told from forgeries in one's name.
const REMEMBERED: usize = 128;

pub(in crate::media) struct Maker {
    pub(in crate::media) rules: SealRules,
    signer: MediaKey,
    /// Of the stream of seals; its counter is the number of the next.
    sealer: Sealer,
    pub(in crate::media) own_id: MemberId,
    /// To the key that frames are sealed with.
    pub(in crate::media) commitment: [u8; 32],
    batch: Batch,
    waiting: VecDeque<Batch>,
    /// How many frames had been sealed when somebody last asked, and since when that has been so.
    pause: Option<(u64, Duration)>,
    /// The counter of the next frame.
    next: u64,
    /// By counter, modulo their number.
    own: Box<[PacketHash; REMEMBERED]>,
}

/// Packets in a row.
struct Batch {
    first: u64,
    len: u8,
    hashes: [PacketHash; MAX_EVERY as usize],
}

impl Batch {
    const fn at(first: u64) -> Self {
        Self { first, len: 0, hashes: [[0; 16]; MAX_EVERY as usize] }
    }

    fn hashes(&self) -> &[PacketHash] {
        self.hashes.get(..self.len.into()).unwrap_or_default()
    }
}

impl Maker {
    pub(in crate::media) fn new(
        rules: SealRules,
        signer: MediaKey,
        sealer: Sealer,
        own_id: MemberId,
        commitment: [u8; 32],
    ) -> Self {
        Self {
            rules,
            signer,
            sealer,
            own_id,
            commitment,
            batch: Batch::at(0),
            waiting: VecDeque::with_capacity(MAX_WAITING),
            pause: None,
            next: 0,
            own: Box::new([[0; 16]; REMEMBERED]),
        }
    }

    /// A packet of that counter was sealed, the one after the last. Is it to have a seal?
    #[inline]
    pub(in crate::media) fn add(&mut self, counter: u64, packet: &[u8], sealed: bool) {
        let hash = packet_hash(packet);
        if let Some(own) = self.own.get_mut(counter as usize % REMEMBERED) {
            *own = hash;
        }
        self.next = counter + 1;
        if !sealed {
            return;
        }
        if self.batch.len == 0 {
            self.batch.first = counter;
        }
        if let Some(place) = self.batch.hashes.get_mut(usize::from(self.batch.len)) {
            *place = hash;
            self.batch.len += 1;
        }
        if self.batch.len >= self.rules.every {
            self.close_batch();
        }
    }

    /// The next seal that is due, as a packet.
    pub(in crate::media) fn due(&mut self, context: &Context<'_>, now: Duration) -> Result<Option<Vec<u8>>> {
        if self.waiting.is_empty() && self.batch.len > 0 {
            match self.pause {
                Some((next, since)) if next == self.next => {
                    if now.abs_diff(since) >= PAUSE {
                        self.close_batch();
                    }
                }
                _ => self.pause = Some((self.next, now)),
            }
        }
        self.sign_next(context)
    }

    /// Every seal that is left to make: the epoch is over.
    pub(in crate::media) fn finish(&mut self, context: &Context<'_>) -> Vec<Vec<u8>> {
        if self.batch.len > 0 {
            self.close_batch();
        }
        std::iter::from_fn(|| self.sign_next(context).ok().flatten()).collect()
    }

    /// Whether a packet in one's own name is none of one's own. One from too long ago might be.
    pub(in crate::media) fn is_not_own(&self, counter: u64, packet: &[u8]) -> bool {
        if counter >= self.next {
            return true;
        }
        let own = self.own.get(counter as usize % REMEMBERED);
        self.next - counter <= REMEMBERED as u64 && own != Some(&packet_hash(packet))
    }

    fn close_batch(&mut self) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        let next = Batch::at(self.next);
        self.waiting.push_back(std::mem::replace(&mut self.batch, next));
        self.pause = None;
    }

    fn sign_next(&mut self, context: &Context<'_>) -> Result<Option<Vec<u8>>> {
        let Some(batch) = self.waiting.pop_front() else { return Ok(None) };
        let (number, proof) = (self.sealer.next_counter(), self.rules.proof);
        let seal = Seal::sign(context, &self.signer, number, proof, batch.first, batch.hashes());
        let mut packet = vec![0; MAX_SEAL + MAX_HEADER + TAG_LEN];
        let len = self.sealer.seal_into(&[], &seal.encode(self.rules.every), &mut packet)?;
        packet.truncate(len);
        Ok(Some(packet))
    }
}
