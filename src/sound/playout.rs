//! One speaker's sound: the jitter buffer, and the decoder of those who are heard.
//!
//! Packets of any length become blocks of any length: what is decoded beyond a block waits for the next one. Without a
//! decoder the buffer runs on all the same, so that who gets one is heard at once and in time.

use std::time::Duration;

use super::{Channels, Decoder, Delay, JitterBuffer, Pace, Play, SAMPLE_RATE, lately::Lately, stretch};
use crate::{error::Result, frame::Level};

/// The most that is asked for at once, in samples a channel: 20 ms.
pub(super) const BLOCK: usize = 960;

/// Filled-in sound in a row is at full for 120 ms, and fades out over the next 80 ms.
const HELD: usize = 5760;
const FADED: usize = 9600;

/// A voice comes back after a fade, and goes in a pause, over 5 ms.
const RETURN: usize = 240;

/// After so many times that sound could not be changed unheard, it is changed all the same.
const REFUSALS: u8 = 8;

/// Where nothing is to be heard, the buffer is asked again after 10 ms.
const IDLE: usize = 480;

/// The jitter buffer of one speaker, and how its sound comes out.
#[derive(Debug)]
pub(super) struct Playout {
    pub(super) buffer: JitterBuffer,
    /// Samples a channel that have passed but were not asked for, where nothing is decoded.
    passed: usize,
    pub(super) sound: Option<Sound>,
    /// When the last frame came.
    pub(super) last: Duration,
    /// Frames that had their turn without a decoder.
    pub(super) faint: u64,
    pub(super) undecodable: u64,
}

impl Playout {
    pub(super) fn new(delay: Delay) -> Self {
        Self {
            buffer: JitterBuffer::new(delay),
            passed: 0,
            sound: None,
            last: Duration::ZERO,
            faint: 0,
            undecodable: 0,
        }
    }

    /// Decodes from here on.
    pub(super) fn give(&mut self, mut sound: Sound) {
        sound.begin(self.passed);
        self.passed = 0;
        self.sound = Some(sound);
    }

    /// Decodes no more; gives the decoder back.
    pub(super) fn take(&mut self) -> Option<Sound> {
        let sound = self.sound.take()?;
        self.passed = sound.available();
        Some(sound)
    }

    /// Passes over what there would be for `need` samples from `now` on.
    pub(super) fn pass(&mut self, now: Duration, need: usize) {
        while self.passed < need {
            let (samples, pace) = match self.buffer.next(now.saturating_add(time_of(self.passed))) {
                Play::Frame(frame, pace) => {
                    self.faint += u64::from(frame.level < Level::SILENCE && !frame.opus.is_quiet());
                    (frame.opus.samples(), pace)
                }
                Play::Recover(_, samples) | Play::Conceal(samples) | Play::Pause(samples) => (samples, Pace::Keep),
                Play::Silence => (IDLE.min(need - self.passed), Pace::Keep),
            };
            self.passed += match pace {
                Pace::Keep => samples,
                Pace::Shorten(out) => {
                    let out = out.min(samples);
                    self.buffer.paced(out, 0);
                    samples - out
                }
                Pace::Stretch(put) => {
                    self.buffer.paced(0, put);
                    samples + put
                }
            };
        }
        self.passed -= need;
    }

    /// The sound of `need` samples from `now` on, [`BLOCK`] at most; and how loud it is; none where nothing is decoded.
    /// What had its turn is noted in `lately`.
    pub(super) fn pull(&mut self, now: Duration, need: usize, lately: &mut Lately) -> Option<(&[f32], Level)> {
        let (played, undecodable, faint) = (self.buffer.counters().played, self.undecodable, self.faint);
        if self.sound.is_none() {
            self.pass(now, need);
        }
        while let Some(sound) = self.sound.as_mut().filter(|sound| sound.available() < need) {
            let at = now.saturating_add(time_of(sound.available()));
            let idle = IDLE.min(need - sound.available());
            if !sound.play(&mut self.buffer, at, idle) {
                self.undecodable += 1;
            }
        }
        let (played, undecodable) = (self.buffer.counters().played - played, self.undecodable - undecodable);
        lately.turn(played, undecodable, self.faint - faint, self.sound.is_some(), now);
        Some(self.sound.as_mut()?.read(need))
    }
}

/// A decoder, and the sound that came out of it and was not asked for yet.
#[derive(Debug)]
pub(super) struct Sound {
    decoder: Decoder,
    /// Interleaved. What lies before `read` is over. Never grows beyond what it was made with.
    samples: Vec<f32>,
    read: usize,
    /// Filled in, in a row, in samples a channel.
    filled: usize,
    /// How much of the voice is let through at the end of the last block.
    fade: f32,
    /// The last packet said that there is nothing to be heard: the decoder makes the noise of it.
    quiet: bool,
    /// Times in a row that nothing could be put in or taken out unheard.
    refused: u8,
    /// The last packet had two channels.
    pub(super) stereo: bool,
    /// How loud the last that was read was.
    pub(super) level: Level,
}

impl Sound {
    pub(super) fn new(channels: Channels) -> Result<Self> {
        let room = (2 * BLOCK + Decoder::MAX_SAMPLES + stretch::LONGEST) * channels.count();
        Ok(Self {
            decoder: Decoder::new(channels)?,
            samples: Vec::with_capacity(room),
            read: 0,
            filled: 0,
            fade: 0.0,
            quiet: false,
            refused: 0,
            stereo: false,
            level: Level::SILENCE,
        })
    }

    /// Begins with another speaker, after so many samples of silence.
    fn begin(&mut self, silence: usize) {
        // A decoder that cannot be reset goes on as it is, which is heard for a moment at most.
        let _ = self.decoder.reset();
        self.samples.clear();
        self.samples.resize(silence.min(BLOCK + Decoder::MAX_SAMPLES) * self.channels().count(), 0.0);
        (self.read, self.filled, self.fade, self.quiet, self.stereo) = (0, 0, 0.0, false, false);
        self.level = Level::SILENCE;
    }

    const fn channels(&self) -> Channels {
        self.decoder.channels()
    }

    fn available(&self) -> usize {
        (self.samples.len() - self.read) / self.channels().count()
    }

    fn read(&mut self, need: usize) -> (&[f32], Level) {
        let from = self.read;
        self.read = (from + need * self.channels().count()).min(self.samples.len());
        let block = self.samples.get(from..self.read).unwrap_or_default();
        self.level = Level::of(block);
        (block, self.level)
    }

    /// Takes what the buffer has to play at `now`, or `idle` samples of silence; `false` if it could not be decoded.
    fn play(&mut self, buffer: &mut JitterBuffer, now: Duration, idle: usize) -> bool {
        self.samples.drain(..self.read);
        self.read = 0;
        let from = self.samples.len();
        match buffer.next(now) {
            Play::Silence => {
                // The decoder stays as it is: the speaker's encoder did, if it was not called in the pause.
                self.filled = 0;
                self.fade = if self.fade < 1.0 { 0.0 } else { 1.0 };
                self.add(idle);
            }
            Play::Conceal(samples) => self.conceal(samples),
            Play::Pause(samples) => self.pause(samples),
            Play::Recover(following, samples) => {
                self.add(samples);
                let out = self.samples.get_mut(from..).unwrap_or_default();
                if self.decoder.recover(following.opus, out).is_err() {
                    self.samples.truncate(from);
                    self.conceal(samples);
                    return true;
                }
                self.sounds(from);
            }
            Play::Frame(frame, pace) => {
                let samples = frame.opus.samples();
                self.add(samples);
                let out = self.samples.get_mut(from..).unwrap_or_default();
                if self.decoder.decode(frame.opus, out).is_err() {
                    self.samples.truncate(from);
                    self.conceal(samples);
                    return false;
                }
                (self.quiet, self.stereo) = (frame.opus.is_quiet(), frame.opus.is_stereo());
                self.sounds(from);
                let (shortened, stretched) = self.change(pace);
                buffer.paced(shortened, stretched);
            }
        }
        true
    }

    /// So many samples more, of silence.
    fn add(&mut self, samples: usize) {
        let len = self.samples.len() + samples * self.channels().count();
        self.samples.resize(len.min(self.samples.capacity()), 0.0);
    }

    /// The block from `from` on is sound of the speaker's.
    fn sounds(&mut self, from: usize) {
        self.filled = 0;
        self.ramp(from, 1.0, RETURN);
    }

    fn conceal(&mut self, samples: usize) {
        let from = self.samples.len();
        self.add(samples);
        self.filled = self.filled.saturating_add(samples);
        if self.filled > FADED + samples {
            return;
        }
        let out = self.samples.get_mut(from..).unwrap_or_default();
        if self.decoder.conceal(out).is_err() {
            out.fill(0.0);
        }
        let left = FADED.saturating_sub(self.filled.max(HELD)) as f32 / (FADED - HELD) as f32;
        self.ramp(from, left, samples);
    }

    fn pause(&mut self, samples: usize) {
        let from = self.samples.len();
        self.add(samples);
        let out = self.samples.get_mut(from..).unwrap_or_default();
        // The noise that a sender with DTX wants to be heard goes on, another's voice ends.
        if (self.quiet || self.fade > 0.0) && self.decoder.conceal(out).is_err() {
            out.fill(0.0);
        }
        self.filled = self.filled.max(1);
        if !self.quiet {
            self.ramp(from, 0.0, RETURN);
        }
    }

    /// Moves the fade to `to` over the first `over` samples from `from` on.
    fn ramp(&mut self, from: usize, to: f32, over: usize) {
        if self.fade == to && to == 1.0 {
            return;
        }
        let (channels, start) = (self.channels().count(), self.fade);
        let step = (to - start) / over.max(1) as f32;
        for (at, samples) in self.samples.get_mut(from..).unwrap_or_default().chunks_mut(channels).enumerate() {
            let gain = if at < over { start + step * at as f32 } else { to };
            samples.iter_mut().for_each(|sample| *sample *= gain);
        }
        self.fade = to;
    }

    /// Makes what was not asked for yet shorter or longer; says what was taken out, and put in.
    fn change(&mut self, pace: Pace) -> (usize, usize) {
        let channels = self.channels();
        let used = self.samples.len();
        let at_any_price = self.refused >= REFUSALS;
        let (out, put) = match pace {
            Pace::Keep => return (0, 0),
            Pace::Shorten(most) => (stretch::shorten(&mut self.samples, channels, most, at_any_price), 0),
            Pace::Stretch(most) => {
                self.add(stretch::LONGEST);
                (0, stretch::lengthen(&mut self.samples, used, channels, most, at_any_price))
            }
        };
        self.samples.truncate(used + put * channels.count() - out * channels.count());
        self.refused = if out + put > 0 { 0 } else { self.refused.saturating_add(1) };
        (out, put)
    }
}

/// How long so many samples a channel last.
pub(super) fn time_of(samples: usize) -> Duration {
    Duration::from_nanos(samples as u64 * 1_000_000_000 / u64::from(SAMPLE_RATE))
}
