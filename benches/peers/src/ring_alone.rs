//! ring's AEAD with nothing around it: what a frame costs at the least.

use std::time::Duration;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::peer::{BATCH, FRAME, Kind, Peer};

const TAG: usize = 16;

pub struct RingAlone {
    key: LessSafeKey,
    sealed: u64,
    opened: u64,
    packets: [[u8; FRAME + TAG]; BATCH],
}

impl RingAlone {
    pub fn new() -> Self {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("16 bytes are a key"));
        Self { key, sealed: 0, opened: 0, packets: [[0; FRAME + TAG]; BATCH] }
    }
}

impl Peer for RingAlone {
    const KIND: Kind = Kind::Reference;

    fn name(&self) -> String {
        "ring's AEAD alone, AES-128-GCM".into()
    }

    fn includes(&self) -> &'static str {
        "The copy of the frame and ring's seal and open in place: a nonce that counts, no header, 5 fixed bytes authenticated."
    }

    fn seal(&mut self, slot: usize, frame: &[u8]) {
        let (text, tag) = self.packets[slot].split_at_mut(FRAME);
        text.copy_from_slice(frame);
        let made = self
            .key
            .seal_in_place_separate_tag(nonce(&mut self.sealed), Aad::from([0; 5]), text)
            .expect("a short frame seals");
        tag.copy_from_slice(made.as_ref());
    }

    fn open(&mut self, slot: usize, _now: Duration) -> &[u8] {
        self.key
            .open_in_place(nonce(&mut self.opened), Aad::from([0; 5]), &mut self.packets[slot])
            .expect("its own packet opens")
    }

    fn packet(&self, slot: usize) -> &[u8] {
        &self.packets[slot]
    }
}

fn nonce(count: &mut u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&count.to_be_bytes());
    *count += 1;
    Nonce::assume_unique_for_key(bytes)
}
