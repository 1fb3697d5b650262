//! What rides inside the encryption: four bytes of media time and level, then one Opus packet.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----------+---+---+-----+-------------------------+-----------+
//! |   time    |1 1|   |1 1 1|          time           |   level   |  Opus packet …
//! +-----------+---+---+-----+-------------------------+-----------+
//! ```
//!
//! The time is 20 bits, the highest first: units of 2.5 ms, modulo 2^20. The level is 7 bits, in -dBov. The five ones
//! tell a voice frame from a bare Opus packet: as one, it would hold 56 frames or more, and none may hold more than 48
//! (RFC 6716 §3.2.5). So an app that seals Opus packets as they are is told so.
//!
//! The media layer carries any bytes; an app with sound of its own may use this form without a codec. Anybody with the
//! room's key may have written it, so [`VoiceFrame::parse`] trusts nothing.

mod opus;

use std::time::Duration;

pub use self::opus::{MAX_OPUS, OpusPacket};
use crate::error::{Error, Item, Result};

/// Bytes before the Opus packet.
pub const FRAME_HEADER: usize = 4;

/// Bits 6, 7 and 10 to 12 of the header: see the module's picture.
const MARK: u32 = 0b11 << 24 | 0b111 << 19;

/// When a frame was spoken: a count of 2.5 ms units (120 samples at 48 kHz), modulo 2^20 (43.7 minutes).
///
/// The origin is the speaker's own; only differences between frames that follow one another mean something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct MediaTime(u32);

impl MediaTime {
    const MODULUS: u32 = 1 << 20;

    /// One unit: 2.5 ms.
    pub const UNIT: Duration = Duration::from_micros(2_500);

    /// The time `units` × 2.5 ms after the origin, modulo 2^20 units.
    pub const fn from_units(units: u64) -> Self {
        // The remainder is below 2^20.
        Self((units % Self::MODULUS as u64) as u32)
    }

    /// The count of 2.5 ms units, below 2^20.
    pub const fn units(self) -> u32 {
        self.0
    }

    /// How many units it is later than `earlier`, or earlier if negative: the nearer of the two, -2^19 to 2^19 - 1.
    pub const fn since(self, earlier: Self) -> i32 {
        let ahead = self.0.wrapping_sub(earlier.0) % Self::MODULUS;
        // Both are below 2^20.
        if ahead < Self::MODULUS / 2 {
            ahead.cast_signed()
        } else {
            (ahead).cast_signed() - Self::MODULUS.cast_signed()
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
    ///
    /// A receiver takes frames in the order of their counters, and reads pauses out of their times. A time may be
    /// off by 5 ms either way, as one that is rounded to what a device captures at once. The clock may stand still
    /// while nothing is sent, start anew, or be set: it costs no frame.
    pub time: MediaTime,
    /// How loud it is, as the speaker measured it. By it a receiver chooses whom to decode: nobody at -90 dBov or
    /// below, and not who claims much more than is then measured.
    pub level: Level,
    /// One Opus packet of any length.
    pub opus: OpusPacket<'a>,
}

impl<'a> VoiceFrame<'a> {
    /// Reads what [`Voice::open`](crate::Voice::open) gave.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is a bare Opus packet or something else, or holds no Opus packet that could be
    /// decoded.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let malformed = |why| Error::Malformed { what: Item::Frame, why };
        let Some((header, opus)) = bytes.split_first_chunk::<FRAME_HEADER>() else {
            return Err(malformed("it is shorter than its own header of 4 bytes"));
        };
        let word = u32::from_be_bytes(*header);
        if word & MARK != MARK {
            return Err(malformed(if OpusPacket::parse(bytes).is_ok() {
                "it is a bare Opus packet: its sender must put time and level before it, by `VoiceFrame::write`"
            } else {
                "it is something else than time, level and an Opus packet, as `VoiceFrame::write` puts them"
            }));
        }
        let time = word >> 26 << 14 | (word >> 22 & 3) << 12 | word >> 7 & 0xfff;
        fits(opus)?;
        Ok(Self { time: MediaTime(time), level: Level(header[3] & 0x7f), opus: OpusPacket::parse(opus)? })
    }

    /// Writes the frame to the front of `out` and returns its length in bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the Opus packet is longer than [`MAX_OPUS`]; [`Error::BufferTooSmall`] if `out` is.
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let opus = self.opus.bytes();
        fits(opus)?;
        let (need, have) = (FRAME_HEADER + opus.len(), out.len());
        let Some(out) = out.get_mut(..need) else {
            return Err(Error::BufferTooSmall { need, have });
        };
        let (header, rest) = out.split_at_mut(FRAME_HEADER);
        let time = self.time.0;
        let time = time >> 14 << 26 | (time >> 12 & 3) << 22 | (time & 0xfff) << 7;
        header.copy_from_slice(&(time | MARK | u32::from(self.level.0)).to_be_bytes());
        rest.copy_from_slice(opus);
        Ok(need)
    }
}

fn fits(opus: &[u8]) -> Result<()> {
    if opus.len() > MAX_OPUS {
        let why = "it is longer than 2,044 bytes: send shorter packets, or fewer bits";
        return Err(Error::Malformed { what: Item::Opus, why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILK: &[u8] = &[0x48, 1, 2];

    fn frame(units: u64, dbov: u8, opus: &[u8]) -> VoiceFrame<'_> {
        VoiceFrame {
            time: MediaTime::from_units(units),
            level: Level::from_dbov(dbov),
            opus: OpusPacket::parse(opus).unwrap(),
        }
    }

    #[test]
    fn a_frame_comes_back_as_it_was_written() {
        for bit in 0..20 {
            for dbov in [0, 1, 31, 64, 127] {
                for opus in [SILK, &[0x48], &[]] {
                    let frame = frame(1 << bit | 1, dbov, opus);
                    let mut out = [0; 16];
                    let n = frame.write(&mut out).unwrap();
                    assert_eq!(n, 4 + opus.len());
                    assert_eq!(VoiceFrame::parse(&out[..n]).unwrap(), frame);
                }
            }
        }
        let mut out = [0; 8];
        frame(0xf_edcb, 31, SILK).write(&mut out).unwrap();
        assert_eq!(out[..7], [0xff, 0xbe, 0xe5, 0x9f, 0x48, 1, 2]);
    }

    #[test]
    fn no_voice_frame_is_an_opus_packet_and_none_an_opus_packet_a_voice_frame() {
        let mut out = [0; 16];
        for units in (0..1 << 20).step_by(251) {
            let n = frame(units, (units % 128) as u8, SILK).write(&mut out).unwrap();
            assert!(OpusPacket::parse(&out[..n]).is_err(), "{:?}", &out[..n]);
        }
        // Every beginning of an Opus packet, with any number of frames that it may have.
        for toc in 0..=255_u8 {
            for second in 0..=255_u8 {
                let packet = [toc, second, 0, 0, 0, 0, 0, 0];
                if OpusPacket::parse(&packet).is_ok() {
                    let error = VoiceFrame::parse(&packet).unwrap_err().to_string();
                    assert!(error.contains("bare Opus packet"), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_frame_that_cannot_be_is_refused() {
        for (bad, why) in [
            (&b""[..], "shorter than its own header"),
            (b"\0\0\0", "shorter than its own header"),
            (b"RIFF", "something else"),
            (&[0x03, 0x38, 0, 0, 0x4b], "number of frames is missing"),
        ] {
            let error = VoiceFrame::parse(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(frame(1, 1, SILK).write(&mut [0; 6]).is_err());

        // Two frames of 1,022 bytes are one too many.
        let long = [&[0x49][..], &[0; 2_044]].concat();
        let error = frame(1, 1, &long).write(&mut [0; 4_096]).unwrap_err().to_string();
        assert!(error.contains("longer than 2,044"), "{error}");
        let bytes = [&[0x03, 0x38, 0, 0], &long[..]].concat();
        assert!(VoiceFrame::parse(&bytes).unwrap_err().to_string().contains("longer than 2,044"));
        let longest = [&[0x4b, 2][..], &[0; 2_042]].concat();
        assert_eq!(longest.len(), MAX_OPUS);
        assert!(frame(1, 1, &longest).write(&mut [0; 4_096]).is_ok());
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
        let wrap = 1_u64 << 20;
        for (earlier, later, since) in [
            (0, 8, 8),
            (8, 0, -8),
            (wrap - 1, wrap + 7, 8),
            (3, 3 + wrap / 2, -(1 << 19)),
            (5, wrap / 2 + 4, (1 << 19) - 1),
        ] {
            let (earlier, later) = (MediaTime::from_units(earlier), MediaTime::from_units(later));
            assert_eq!(later.since(earlier), since);
        }
    }
}
