//! Parlor: two voices of one epoch, one of which speaks.

use std::time::Duration;

use parlor::{
    EpochKeys, Error, KeyIdLayout, LeafIndex, MemberId, Suite, Voice,
    media::{MAX_OVERHEAD, Speaker},
};
use zeroize::Zeroizing;

use crate::peer::{BATCH, FRAME, Kind, Peer};

/// The speaker's leaf and the epoch: with the default layout the key id is [`KEY_ID`].
const LEAF: LeafIndex = LeafIndex(1);
const EPOCH: u64 = 1;
/// `(leaf << 8) + epoch`: two bytes, as for most members of a room.
pub const KEY_ID: u64 = 0x101;
/// The first bytes of the epoch's base key.
pub const BASE_KEY: [u8; 32] = [7; 32];

pub struct ParlorVoice {
    suite: Suite,
    ana: Voice,
    ben: Voice,
    packets: [([u8; FRAME + MAX_OVERHEAD], usize); BATCH],
}

impl ParlorVoice {
    pub fn new(suite: Suite) -> Result<Self, Error> {
        let voice = |me| {
            let base_key = Zeroizing::new(BASE_KEY[..suite.key_len()].to_vec());
            let stage = vec![Speaker { leaf: LEAF, id: MemberId::from_bytes([1; 32]) }];
            EpochKeys::new(suite, KeyIdLayout::default(), EPOCH, base_key, me, stage, Duration::ZERO).map(Voice::new)
        };
        Ok(Self {
            suite,
            ana: voice(LEAF)?,
            ben: voice(LeafIndex(2))?,
            packets: [([0; FRAME + MAX_OVERHEAD], 0); BATCH],
        })
    }
}

impl Peer for ParlorVoice {
    const KIND: Kind = Kind::Parlor;

    fn name(&self) -> String {
        format!("parlor, ring, {}", if self.suite == Suite::Aes128Gcm { "AES-128-GCM" } else { "ChaCha20-Poly1305" })
    }

    fn includes(&self) -> &'static str {
        "Voice::seal_into and open_in_place: counter, header, the copy of the frame into the packet, 16-byte tag; parsing, \
         epoch and sender found by key id, on stage or not, replay window, statistics. The caller's clock is read once a batch."
    }

    fn seal(&mut self, slot: usize, frame: &[u8]) {
        let (packet, len) = &mut self.packets[slot];
        *len = self.ana.seal_into(frame, packet).expect("a frame within bounds seals");
    }

    fn open(&mut self, slot: usize, now: Duration) -> &[u8] {
        let (packet, len) = &mut self.packets[slot];
        self.ben.open_in_place(&mut packet[..*len], now).expect("a fresh packet opens").frame
    }

    fn packet(&self, slot: usize) -> &[u8] {
        let (packet, len) = &self.packets[slot];
        &packet[..*len]
    }
}
