//! sframe: RFC 9605 frames under one key, on the backend of this build. It has no group layer.

use std::time::Duration;

use sframe::{
    CipherSuite,
    error::SframeError,
    frame::{
        EncryptedFrameView, MediaFrameView, PanickingMonotonicCounter,
        validation::{ReplayAttackProtection, Tolerance},
    },
    key::{DecryptionKey, EncryptionKey},
};

use crate::{
    parlor_voice::{BASE_KEY, KEY_ID},
    peer::{BATCH, Kind, Peer},
};

const SUITE: CipherSuite = CipherSuite::AesGcm128Sha256;
/// As wide as parlor's replay window.
const WINDOW: usize = 448;

#[cfg(feature = "sframe-ring")]
const BACKEND: &str = "ring";
#[cfg(not(feature = "sframe-ring"))]
const BACKEND: &str = "rust-crypto";

pub struct SframeRs {
    counter: PanickingMonotonicCounter,
    sealing: EncryptionKey,
    opening: DecryptionKey,
    packets: [Vec<u8>; BATCH],
    frame: Vec<u8>,
}

impl SframeRs {
    pub fn new() -> Result<Self, SframeError> {
        let base_key = &BASE_KEY[..16];
        Ok(Self {
            counter: PanickingMonotonicCounter::default(),
            sealing: EncryptionKey::derive_from(SUITE, KEY_ID, base_key)?,
            opening: DecryptionKey::derive_from(SUITE, KEY_ID, base_key)?,
            packets: [const { Vec::new() }; BATCH],
            frame: Vec::new(),
        })
    }
}

impl Peer for SframeRs {
    const KIND: Kind = Kind::Peer;

    fn name(&self) -> String {
        format!("sframe, {BACKEND}, AES-128-GCM, no replay check")
    }

    fn includes(&self) -> &'static str {
        "encrypt_into and decrypt_into buffers that are used again: counter, header, copy, 16-byte tag; parsing, its one \
         key. No replay check, no senders to tell apart."
    }

    fn seal(&mut self, slot: usize, frame: &[u8]) {
        MediaFrameView::new(&mut self.counter, frame)
            .encrypt_into(&self.sealing, &mut self.packets[slot])
            .expect("a frame encrypts");
    }

    fn open(&mut self, slot: usize, _now: Duration) -> &[u8] {
        EncryptedFrameView::try_new(&self.packets[slot])
            .expect("a fresh packet parses")
            .decrypt_into(&self.opening, &mut self.frame)
            .expect("a fresh packet decrypts")
            .payload()
    }

    fn packet(&self, slot: usize) -> &[u8] {
        &self.packets[slot]
    }
}

/// The same, with sframe's own replay window.
pub struct SframeRsReplay {
    inner: SframeRs,
    window: ReplayAttackProtection,
}

impl SframeRsReplay {
    pub fn new() -> Result<Self, SframeError> {
        let window = ReplayAttackProtection::new(KEY_ID, Tolerance::new(WINDOW));
        Ok(Self { inner: SframeRs::new()?, window })
    }
}

impl Peer for SframeRsReplay {
    const KIND: Kind = Kind::Peer;

    fn name(&self) -> String {
        format!("sframe, {BACKEND}, AES-128-GCM")
    }

    fn includes(&self) -> &'static str {
        "encrypt_into and validated_decrypt_into: the row above and sframe's replay window of one sender, as wide as parlor's."
    }

    fn seal(&mut self, slot: usize, frame: &[u8]) {
        self.inner.seal(slot, frame);
    }

    fn open(&mut self, slot: usize, _now: Duration) -> &[u8] {
        EncryptedFrameView::try_new(&self.inner.packets[slot])
            .expect("a fresh packet parses")
            .validated_decrypt_into(&self.inner.opening, &mut self.inner.frame, &mut self.window)
            .expect("a fresh packet decrypts")
            .payload()
    }

    fn packet(&self, slot: usize) -> &[u8] {
        self.inner.packet(slot)
    }
}
