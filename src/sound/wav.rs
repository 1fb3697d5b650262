//! WAV files in and out: samples at 48 kHz mono inside, any common file outside.
//!
//! Read are RIFF, RIFX, RF64 and BW64, integers of 8 to 64 bits, floats of 32 and 64, A-law, µ-law and IMA
//! ADPCM, 1 to 8 channels (one and two are mixed down by their mean, more by where they stand: a voice in the centre of 5.1 comes
//! out 3 dB down), any rate from 1 to 192 kHz. What is not read is named.
//!
//! The header is the file's word only. Nothing is reserved by what it claims. A file that holds less than it says is
//! read as far as it goes, as a recorder leaves it that was cut off, and a length of 0 or −1, as a pipe leaves it,
//! means up to the end. More than an hour is refused, counted at 48 kHz.

mod header;
mod ima;
mod mix;
mod samples;
mod source;

use std::{io::Read, path::Path};

use self::{
    header::Format,
    mix::{MOST, Mixer},
    samples::{Encoding, Samples},
    source::Source,
};
use super::{
    SAMPLE_RATE,
    recording::{self, Trouble},
    resample::Resampler,
};
use crate::error::{Error, Item, Result};

pub use super::resample::resample;

/// The most samples a file may hold: one hour at 48 kHz.
pub const MAX_SAMPLES: usize = 3600 * SAMPLE_RATE as usize;

/// The furthest a sample may be from zero, 120 dB above full scale: sums and filters of larger ones could overflow.
const MAX_SAMPLE: f32 = 1e6;

/// Bytes of sound that are read at once, about.
const CHUNK: usize = 1 << 16;

/// Reads the file at `path`, mixed down to mono and resampled to 48 kHz, full scale ±1.
///
/// # Errors
/// [`Error::File`], which names the file and says what is wrong: it cannot be read, is no WAV, holds no sound, is too
/// long, or is of a kind that is not read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<f32>> {
    recording::at(path.as_ref(), from_reader)
}

/// Reads a WAV file from memory, mixed down to mono and resampled to 48 kHz, full scale ±1.
///
/// # Errors
/// [`Error::Malformed`] if it is no WAV, holds no sound, is too long, or is of a kind that is not read.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<f32>> {
    from_reader(bytes).map_err(|trouble| recording::in_memory(Item::Wav, trouble))
}

/// Writes `samples` (48 kHz mono, full scale ±1; what is beyond is clipped) as a WAV file of 16 bits.
///
/// # Errors
/// [`Error::File`] if the file cannot be written; [`Error::Unusable`] above [`MAX_SAMPLES`].
pub fn write(path: impl AsRef<Path>, samples: &[f32]) -> Result<()> {
    recording::save(path.as_ref(), &to_bytes(samples)?)
}

/// The bytes of a WAV file of 16 bits that holds `samples` (48 kHz mono, full scale ±1; what is beyond is
/// clipped).
///
/// # Errors
/// [`Error::Unusable`] above [`MAX_SAMPLES`].
pub fn to_bytes(samples: &[f32]) -> Result<Vec<u8>> {
    /// Of the chunks before the sound, the file's own header left out: WAVE, `fmt `, and the head of `data`.
    const HEADERS: u32 = 4 + 24 + 8;
    if samples.len() > MAX_SAMPLES {
        let why = "they are more than an hour: write several files";
        return Err(Error::Unusable { what: "samples of a WAV file", why });
    }
    let len = 2 * samples.len() as u32;
    let mut bytes = Vec::with_capacity(8 + (HEADERS + len) as usize);
    bytes.extend(b"RIFF");
    bytes.extend((HEADERS + len).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0"); // 16 bytes: PCM, one channel
    bytes.extend(SAMPLE_RATE.to_le_bytes());
    bytes.extend((2 * SAMPLE_RATE).to_le_bytes()); // bytes a second
    bytes.extend(b"\x02\0\x10\0data"); // bytes of a moment, bits of a sample
    bytes.extend(len.to_le_bytes());
    // The cast saturates, and makes 0 of what is no number.
    bytes.extend(samples.iter().flat_map(|sample| ((sample * 32_768.0).round() as i16).to_le_bytes()));
    Ok(bytes)
}

pub(super) fn from_reader(source: impl Read) -> Result<Vec<f32>, Trouble> {
    let mut source = Source::new(source);
    let (Format { encoding, order, channels, rate, positions }, len) = header::read(&mut source)?;
    if channels > MOST {
        return Err(Trouble::Bad("it has more than 8 channels: export those that hold the voice"));
    }
    let resampler = Resampler::new(rate).ok_or(Trouble::Bad("its sampling rate is outside of 1 to 192 kHz"))?;
    let mut mix = Mix { mixer: Mixer::new(channels, positions), resampler, sane: true };
    let mut samples = Samples::new(encoding, order);
    let (width, unit) = (encoding.width(), encoding.unit(channels));
    let mut chunk = vec![0; CHUNK.next_multiple_of(unit)];
    let mut left = len.unwrap_or(u64::MAX);
    while left > 0 {
        let most = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = source.fill(chunk.get_mut(..most).unwrap_or_default())?;
        left = if got < most { 0 } else { left - most as u64 };
        for unit_bytes in chunk.get(..got).unwrap_or_default().chunks(unit) {
            match encoding {
                Encoding::Ima { .. } => {
                    let block = ima::decode(unit_bytes, channels.into());
                    block.chunks_exact(channels.into()).try_for_each(|moment| mix.take(moment.iter().copied()))?;
                }
                // The rest of a moment that was cut short is left out.
                _ if unit_bytes.len() < unit => {}
                _ => mix.take(unit_bytes.chunks_exact(width).map(|bytes| samples.read(bytes)))?,
            }
        }
        mix.check()?;
    }
    mix.finish(samples.gain())
}

/// Sound on its way from all channels at the file's rate to mono at 48 kHz.
struct Mix {
    mixer: Mixer,
    resampler: Resampler,
    /// No sample so far was beyond [`MAX_SAMPLE`].
    sane: bool,
}

const FAILED: Trouble = Trouble::Bad("it cannot be resampled");

impl Mix {
    /// Takes a moment's samples of all channels.
    fn take(&mut self, samples: impl Iterator<Item = f32>) -> Result<(), Trouble> {
        let sane = &mut self.sane;
        let mixed = self.mixer.mix(samples.inspect(|sample| *sane &= (-MAX_SAMPLE..=MAX_SAMPLE).contains(sample)));
        self.resampler.push(mixed).ok_or(FAILED)
    }

    fn check(&self) -> Result<(), Trouble> {
        if !self.sane {
            return Err(Trouble::Bad("it holds a sample that is no number, or a million times full scale"));
        }
        if self.resampler.len() > MAX_SAMPLES {
            return Err(Trouble::Bad("it is longer than an hour, the most that is read: cut it"));
        }
        Ok(())
    }

    /// All of it, `gain` times as loud as it was taken.
    fn finish(self, gain: f32) -> Result<Vec<f32>, Trouble> {
        if self.resampler.len() == 0 {
            return Err(Trouble::Bad("it holds no sound: record it again"));
        }
        let gain = gain * self.mixer.turn_down(gain);
        let mut sound = self.resampler.finish().ok_or(FAILED)?;
        if gain != 1.0 {
            sound.iter_mut().for_each(|sample| *sample *= gain);
        }
        Ok(sound)
    }
}
