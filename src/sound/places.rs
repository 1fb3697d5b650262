//! Who is decoded: the loudest, of as many as there are.
//!
//! A microphone that is open costs a window of frames that wait; a decoder is for those who are heard. Loudness is
//! measured where there is a decoder. Where there is none it is the speaker's word, and a speaker who claimed to be
//! louder than they were is believed that much less for a while.

use std::time::Duration;

use super::playout::Sound;
use crate::frame::Level;

/// So many of the loudest are decoded, however much louder somebody else is.
const ALWAYS: usize = 2;

/// Of the others, those that are no further below the loudest, in dB.
const BELOW: u8 = 40;

/// Nothing fainter is to be heard, in -dBov.
const FAINTEST: u8 = 90;

/// Who has a place keeps it against who is louder by less, in dB.
const HOLD: u8 = 6;

/// A place is kept so long after its speaker fell silent.
const LINGER: Duration = Duration::from_millis(500);

/// In how many samples the loudness falls by a decibel after a louder sound: 25 dB a second.
const FALL: usize = 1920;

/// In how many samples a speaker who claimed too much is believed a decibel more: a second.
const FORGIVE: usize = 48_000;

/// So many samples are measured before a claim is judged: 100 ms.
const TRIAL: usize = 4800;

/// Who is fainter does not speak: it is the noise of a room, in -dBov.
const SPEECH: u8 = 50;

/// However little a claim is believed, who makes it is heard where few others are, in -dBov.
const DOUBTED: u8 = 70;

/// How loud one speaker is taken to be.
#[derive(Debug)]
pub(super) struct Loudness {
    /// The loudest of late, in -dBov.
    level: u8,
    /// Samples since it fell last, and since more was believed.
    fallen: usize,
    forgiven: usize,
    /// Samples left to measure before what was claimed is forgotten, and the loudest of those so far.
    trial: usize,
    best: u8,
    /// By how many dB they claimed too much.
    excess: u8,
    /// When they were loud enough for a place last.
    wanted: Duration,
}

impl Default for Loudness {
    fn default() -> Self {
        Self { level: 127, fallen: 0, forgiven: 0, trial: 0, best: 127, excess: 0, wanted: Duration::ZERO }
    }
}

impl Loudness {
    /// The loudest that waits claims to be so loud; nothing is decoded.
    pub(super) fn claims(&mut self, level: Option<Level>, samples: usize) {
        let claimed = level.map_or(127, Level::dbov_below);
        let claimed = claimed.saturating_add(self.excess).min(claimed.max(DOUBTED));
        self.fall(samples);
        self.level = self.level.min(claimed);
    }

    /// A sound of theirs was measured.
    pub(super) fn measures(&mut self, level: Level, samples: usize) {
        let level = level.dbov_below();
        self.fall(samples);
        self.level = self.level.min(level);
        if self.trial > 0 {
            self.best = self.best.min(level);
            self.trial = self.trial.saturating_sub(samples);
            if self.trial == 0 {
                self.excess = self.excess.max(self.best.saturating_sub(self.level).saturating_sub(HOLD));
                self.level = self.best;
            }
        }
    }

    fn fall(&mut self, samples: usize) {
        self.fallen += samples;
        self.forgiven += samples;
        if self.fallen >= FALL {
            self.fallen -= FALL;
            self.level = self.level.saturating_add(1).min(127);
        }
        if self.forgiven >= FORGIVE {
            self.forgiven -= FORGIVE;
            self.excess = self.excess.saturating_sub(1);
        }
    }

    /// They have a place, and what they claim is being measured.
    pub(super) const fn is_on_trial(&self) -> bool {
        self.trial > 0
    }

    /// They have a place from here on.
    pub(super) fn enters(&mut self) {
        (self.trial, self.best) = (TRIAL, 127);
    }

    /// What decides, the smaller the louder: `None` if there is nothing to hear.
    fn key(&self, holds: bool) -> Option<u8> {
        let key = if holds { self.level.saturating_sub(HOLD) } else { self.level };
        (key < FAINTEST).then_some(key)
    }
}

/// How loud one must be for a place, worked out over all speakers.
#[derive(Debug)]
pub(super) struct Bar {
    count: [u16; 128],
    loudest: u8,
    places: usize,
    /// Below it there is a place; at it, for so many.
    key: u8,
    at: usize,
}

impl Bar {
    pub(super) const fn new(places: usize) -> Self {
        Self { count: [0; 128], loudest: 127, places, key: 0, at: 0 }
    }

    /// One more speaker; whether they have a place, and are to be heard.
    pub(super) fn add(&mut self, loudness: &Loudness, holds: bool, audible: bool) {
        let Some(key) = loudness.key(holds) else { return };
        if let Some(count) = self.count.get_mut(usize::from(key)) {
            *count = count.saturating_add(1);
        }
        if holds && audible {
            self.loudest = self.loudest.min(loudness.level);
        }
    }

    /// Whether a speaker is measured to speak, and to be heard beside the loudest.
    pub(super) const fn speaks(&self, loudness: &Loudness) -> bool {
        !loudness.is_on_trial() && loudness.level <= SPEECH && !self.masks(loudness.level)
    }

    /// Whether the loudest is so loud that nothing of `key` is heard beside it.
    const fn masks(&self, key: u8) -> bool {
        key > self.loudest.saturating_add(BELOW)
    }

    /// All were added.
    pub(super) fn set(&mut self) {
        let mut taken = 0;
        for (key, count) in (0_u8..).zip(self.count) {
            let left = self.places.min(if self.masks(key) { ALWAYS } else { usize::MAX }).saturating_sub(taken);
            if usize::from(count) > left {
                (self.key, self.at) = (key, left);
                return;
            }
            taken += usize::from(count);
        }
        (self.key, self.at) = (127, 0);
    }

    /// Whether a speaker is loud enough. Asked once of each.
    pub(super) fn admits(&mut self, loudness: &mut Loudness, holds: bool, now: Duration) -> bool {
        let Some(key) = loudness.key(holds) else { return false };
        let admits = key < self.key || (key == self.key && self.at > 0);
        if admits {
            self.at -= usize::from(key == self.key);
            // Who is heard only because so few are keeps no place.
            if !self.masks(key) {
                loudness.wanted = now;
            }
        }
        admits
    }
}

impl Loudness {
    /// Whether a place is kept a while longer.
    pub(super) fn lingers(&self, now: Duration) -> bool {
        now.saturating_sub(self.wanted) < LINGER
    }
}

/// Decoders that nobody has at present.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) free: Vec<Sound>,
    /// With those that somebody has.
    pub(super) all: usize,
    /// Speakers for whom one was made, and who have none yet.
    pub(super) expected: usize,
}
