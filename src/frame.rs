//! What rides inside the encryption: four bytes of level and media time, then one Opus packet.
//!
//! ```text
//!  0               1               2               3
//! +---------------+-----------------------------------------------+----------------
//! | level, -dBov  |  media time, units of 2.5 ms, mod 2^24        |  Opus packet …
//! +---------------+-----------------------------------------------+----------------
//! ```
//!
//! The media layer carries any bytes; an app with sound of its own may use this form without the feature
//! `opus`. Anybody with the room's key may have written it, so [`VoiceFrame::parse`] trusts nothing.

use crate::error::{Error, Item, Result};

/// Bytes before the Opus packet.
pub const FRAME_HEADER: usize = 4;

/// The longest Opus packet of one 20 ms frame (RFC 6716 §3.4).
pub const MAX_OPUS: usize = 1275;

/// When a frame was spoken: a count of 2.5 ms units (120 samples at 48 kHz), modulo 2^24 (11.6 hours).
///
/// The origin is the speaker's own; only differences mean something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct MediaTime(u32);

impl MediaTime {
    const MODULUS: u32 = 1 << 24;

    /// The time `units` × 2.5 ms after the origin, modulo 2^24 units.
    pub const fn from_units(units: u64) -> Self {
        // The remainder is below 2^24.
        Self((units % Self::MODULUS as u64) as u32)
    }

    /// The count of 2.5 ms units, below 2^24.
    pub const fn units(self) -> u32 {
        self.0
    }

    /// The full count nearest to `reference` that this stands for: undoes the wrap at 2^24.
    pub const fn unwrap_near(self, reference: u64) -> u64 {
        let modulus = Self::MODULUS as u64;
        let forward = (self.0 as u64).wrapping_sub(reference) % modulus;
        if forward < modulus / 2 {
            reference.saturating_add(forward)
        } else {
            let back = modulus - forward;
            if back <= reference { reference - back } else { reference.saturating_add(forward) }
        }
    }
}

/// How loud a frame is: 0 is full scale, 127 silence, in -dBov (RFC 6464).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Level(u8);

impl Level {
    /// Digital silence.
    pub const SILENCE: Self = Self(127);

    /// The level `-dbov` below full scale; beyond 127 it is silence.
    pub const fn from_dbov(dbov_below: u8) -> Self {
        if dbov_below > 127 { Self::SILENCE } else { Self(dbov_below) }
    }

    /// Measures samples of full scale ±1 by their root mean square, rounded to a whole decibel.
    ///
    /// 0 dBov is the loudest there is, a square wave at full scale, so a sine at full scale is 3 dB below
    /// (RFC 6464 §3). No samples, or samples that are no numbers, count as [`SILENCE`](Self::SILENCE).
    pub fn of(samples: &[f32]) -> Self {
        let power = samples.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / samples.len() as f64;
        if !power.is_finite() || power <= 0.0 {
            return Self::SILENCE;
        }
        // The cast saturates: louder than full scale is 0.
        Self::from_dbov((-10.0 * power.log10()).round() as u8)
    }

    /// Decibels below full scale, 0 to 127.
    pub const fn dbov_below(self) -> u8 {
        self.0
    }
}

/// One frame of a voice: when, how loud, and the Opus packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoiceFrame<'a> {
    /// When it was spoken, on the speaker's own clock.
    pub time: MediaTime,
    /// How loud it is, as the speaker measured it.
    pub level: Level,
    /// One Opus packet, 1 to 1,275 bytes.
    pub opus: &'a [u8],
}

impl<'a> VoiceFrame<'a> {
    /// Reads what [`Voice::open`](crate::Voice::open) gave.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the Opus packet is missing or longer than an Opus frame can be.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let malformed = |why| Error::Malformed { what: Item::Frame, why };
        let Some((&[level, a, b, c], opus)) = bytes.split_first_chunk::<FRAME_HEADER>() else {
            return Err(malformed("it is shorter than its own header of 4 bytes"));
        };
        if opus.is_empty() {
            return Err(malformed("it holds no Opus packet"));
        }
        if opus.len() > MAX_OPUS {
            return Err(malformed("its Opus packet is longer than 1,275 bytes"));
        }
        if level > 127 {
            return Err(malformed("its level is above 127"));
        }
        Ok(Self { time: MediaTime(u32::from_be_bytes([0, a, b, c])), level: Level(level), opus })
    }

    /// Writes the frame to the front of `out` and returns its length in bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the Opus packet is empty or longer than [`MAX_OPUS`];
    /// [`Error::BufferTooSmall`] if `out` is.
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        if self.opus.is_empty() || self.opus.len() > MAX_OPUS {
            return Err(Error::Malformed { what: Item::Frame, why: "an Opus packet is 1 to 1,275 bytes" });
        }
        let (need, have) = (FRAME_HEADER + self.opus.len(), out.len());
        let Some(out) = out.get_mut(..need) else {
            return Err(Error::BufferTooSmall { need, have });
        };
        let (header, opus) = out.split_at_mut(FRAME_HEADER);
        let [_, a, b, c] = self.time.0.to_be_bytes();
        header.copy_from_slice(&[self.level.0, a, b, c]);
        opus.copy_from_slice(self.opus);
        Ok(need)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was_written() {
        let frame =
            VoiceFrame { time: MediaTime::from_units(0x01_23_45_67), level: Level::from_dbov(31), opus: b"opus" };
        let mut out = [0; 16];
        let n = frame.write(&mut out).unwrap();
        assert_eq!(&out[..n], b"\x1f\x23\x45\x67opus");
        assert_eq!(VoiceFrame::parse(&out[..n]).unwrap(), frame);
    }

    #[test]
    fn a_frame_that_cannot_be_is_refused() {
        for bad in [&b""[..], b"\0\0\0", b"\0\0\0\0", b"\x80\0\0\0x", &[0; FRAME_HEADER + MAX_OPUS + 1]] {
            assert!(VoiceFrame::parse(bad).is_err(), "{} bytes", bad.len());
        }
        let long = VoiceFrame { time: MediaTime::default(), level: Level::SILENCE, opus: &[0; MAX_OPUS + 1] };
        assert!(long.write(&mut [0; 2000]).is_err());
        let longest = VoiceFrame { opus: &[0; MAX_OPUS], ..long };
        let mut out = [0; 2000];
        let n = longest.write(&mut out).unwrap();
        assert_eq!(VoiceFrame::parse(&out[..n]).unwrap(), longest);
    }

    #[test]
    fn a_level_is_the_root_mean_square_below_full_scale() {
        let sine = |amplitude: f32| -> Vec<f32> {
            (0..960).map(|i| amplitude * (i as f32 * std::f32::consts::TAU / 48.0).sin()).collect()
        };
        for (samples, dbov) in [
            (sine(1.0), 3),
            (sine(0.1), 23),
            (vec![1.0; 960], 0),
            (vec![9.0; 960], 0),
            (vec![1e-7; 960], 127),
            (vec![0.0; 960], 127),
            (vec![f32::NAN; 960], 127),
            (vec![], 127),
        ] {
            assert_eq!(Level::of(&samples).dbov_below(), dbov);
        }
    }

    #[test]
    fn media_time_goes_on_past_its_wrap() {
        for (reference, now) in [(0, 8), (0xff_ffff, 0x100_0007), (0x500_0000, 0x4ff_fff0), (3, 0x7f_0000)] {
            assert_eq!(MediaTime::from_units(now).unwrap_near(reference), now);
        }
    }
}
