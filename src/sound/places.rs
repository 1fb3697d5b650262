//! Who is decoded: the loudest, of as many as there are.
//!
//! A microphone that is open costs a window of frames that wait; a decoder is for those who are heard. Loudness is
//! measured where there is a decoder. Where there is none it is the speaker's word, and a speaker who claimed to be
//! louder than they were is believed that much less for a while.

use std::time::Duration;

use super::playout::Sound;
use crate::frame::Level;

/// So many of the loudest are decoded, however much louder somebody else is.
const ALWAYS: usize = 4;

/// Of the others, those that are no further below the loudest, in dB.
const BELOW: u8 = 40;

/// Nothing fainter is to be heard, in -dBov.
const FAINTEST: u8 = 90;

/// Who has a place keeps it against who is louder by less, in dB.
const HOLD: u8 = 6;

/// A place is kept so long after its speaker fell silent.
const LINGER: Duration = Duration::from_millis(500);

/// In how many frames the measured loudness falls by a decibel after a louder sound.
const FALL: u8 = 2;

/// So many frames are measured before a claim is judged.
const TRIAL: u8 = 5;

/// How loud one speaker is taken to be.
#[derive(Debug)]
pub(super) struct Loudness {
    /// The loudest of late, in -dBov.
    level: u8,
    since: u8,
    /// Frames left to measure before what was claimed is forgotten, and the loudest of those so far.
    trial: u8,
    best: u8,
    /// By how many dB they claimed too much.
    excess: u8,
    /// When they were loud enough for a place last.
    wanted: Duration,
}

impl Default for Loudness {
    fn default() -> Self {
        Self { level: 127, since: 0, trial: 0, best: 127, excess: 0, wanted: Duration::ZERO }
    }
}

impl Loudness {
    /// The loudest that waits claims to be so loud; nothing is decoded.
    pub(super) fn claims(&mut self, level: Option<Level>) {
        let claimed = level.map_or(127, Level::dbov_below).saturating_add(self.excess).min(127);
        self.fall();
        self.level = self.level.min(claimed);
    }

    /// A sound of theirs was measured.
    pub(super) fn measures(&mut self, level: Level) {
        let level = level.dbov_below();
        self.fall();
        self.level = self.level.min(level);
        if self.trial > 0 {
            self.best = self.best.min(level);
            self.trial -= 1;
            if self.trial == 0 {
                self.excess = self.excess.max(self.best.saturating_sub(self.level).saturating_sub(HOLD));
                self.level = self.best;
            }
        }
    }

    fn fall(&mut self) {
        self.since = (self.since + 1) % (FALL * 12);
        if self.since % FALL == 0 {
            self.level = self.level.saturating_add(1).min(127);
        }
        if self.since == 0 {
            self.excess = self.excess.saturating_sub(1);
        }
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

    /// All were added.
    pub(super) fn set(&mut self) {
        let mut taken = 0;
        for (key, count) in (0_u8..).zip(self.count) {
            let masked = key > self.loudest.saturating_add(BELOW) && taken >= ALWAYS;
            let left = self.places.min(if masked { ALWAYS } else { usize::MAX }).saturating_sub(taken);
            if usize::from(count) > left || masked {
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
            loudness.wanted = now;
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
    pub(super) free: Vec<Box<Sound>>,
    /// With those that somebody has.
    pub(super) all: usize,
    /// Speakers for whom one was made, and who have none yet.
    pub(super) expected: usize,
}
