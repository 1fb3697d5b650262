//! The frames that wait: a ring of 64 places, one a slot of 20 ms.
//!
//! A place keeps its bytes' memory for the next frame, so a running voice allocates nothing. At most 64 frames
//! of 1,275 bytes wait for one speaker, whatever media times they claim.

use crate::frame::{Level, MediaTime, OpusPacket, VoiceFrame};

/// Frames that can wait at once: 1.28 s.
pub(super) const PLACES: u64 = 64;

/// The waiting frames of one speaker, by slot.
#[derive(Debug)]
pub(super) struct Slots {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    /// The slot whose frame waits here.
    slot: Option<u64>,
    time: MediaTime,
    level: Level,
    opus: Vec<u8>,
}

impl Slots {
    pub(super) fn new() -> Self {
        let empty = || Place { slot: None, time: MediaTime::default(), level: Level::SILENCE, opus: Vec::new() };
        Self { places: (0..PLACES).map(|_| empty()).collect() }
    }

    /// Puts a frame in. Whatever else stood in its place is gone: the caller keeps waiting slots within
    /// [`PLACES`] of each other.
    pub(super) fn put(&mut self, slot: u64, frame: &VoiceFrame<'_>) {
        if let Some(place) = self.places.get_mut(index(slot)) {
            place.slot = Some(slot);
            place.time = frame.time;
            place.level = frame.level;
            place.opus.clear();
            place.opus.extend_from_slice(frame.opus.bytes());
        }
    }

    /// Takes the frame of `slot` off the waiting list. Its bytes stay readable by [`frame`](Self::frame) until
    /// the next [`put`](Self::put).
    pub(super) fn take(&mut self, slot: u64) -> bool {
        let held = self.has(slot);
        if held && let Some(place) = self.places.get_mut(index(slot)) {
            place.slot = None;
        }
        held
    }

    /// Drops every frame of a slot before `slot`; says how many there were.
    pub(super) fn drop_before(&mut self, slot: u64) -> u64 {
        let mut dropped = 0;
        for place in self.places.iter_mut().filter(|place| place.slot.is_some_and(|held| held < slot)) {
            place.slot = None;
            dropped += 1;
        }
        dropped
    }

    pub(super) fn has(&self, slot: u64) -> bool {
        self.places.get(index(slot)).is_some_and(|place| place.slot == Some(slot))
    }

    pub(super) fn earliest(&self) -> Option<u64> {
        self.places.iter().filter_map(|place| place.slot).min()
    }

    pub(super) fn latest(&self) -> Option<u64> {
        self.places.iter().filter_map(|place| place.slot).max()
    }

    /// What stands in the place of `slot`, waiting or just taken.
    pub(super) fn frame(&self, slot: u64) -> Option<VoiceFrame<'_>> {
        let place = self.places.get(index(slot))?;
        Some(VoiceFrame { time: place.time, level: place.level, opus: OpusPacket::parse(&place.opus).ok()? })
    }
}

fn index(slot: u64) -> usize {
    (slot % PLACES) as usize
}

/// Which of the last 128 slots before the playhead had their frame.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Past(u128);

impl Past {
    /// The playhead moves on by one slot, whose frame was there or not.
    pub(super) const fn step(&mut self, came: bool) {
        self.0 = (self.0 << 1) | came as u128;
    }

    /// The playhead moves on by `slots` whose frames were not there.
    pub(super) fn leap(&mut self, slots: u64) {
        self.0 = u32::try_from(slots).ok().and_then(|by| self.0.checked_shl(by)).unwrap_or(0);
    }

    /// The playhead moves back by `slots`.
    pub(super) fn back(&mut self, slots: u64) {
        self.0 = u32::try_from(slots).ok().and_then(|by| self.0.checked_shr(by)).unwrap_or(0);
    }

    /// Whether the frame `age` slots before the one before the playhead came, as far as is remembered.
    pub(super) const fn came(self, age: u64) -> bool {
        age < 128 && (self.0 >> age) & 1 == 1
    }

    /// The frame of `age` came after all.
    pub(super) const fn mark(&mut self, age: u64) {
        if age < 128 {
            self.0 |= 1 << age;
        }
    }
}
