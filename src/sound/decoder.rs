//! From voice frames to samples: one Opus decoder a speaker.
//!
//! Three ways to 20 ms of sound: the frame itself; if it is lost, the coarse copy of it in the frame that
//! follows; without that, a guess from what came before. An attacker with the room's key chooses the packet:
//! one that is not exactly 20 ms long is refused before the decoder's state changes, and samples come out
//! finite and within ±4 whatever it held.

use opus::Channels;

use super::{FRAME_SAMPLES, SAMPLE_RATE, Samples, codec};
use crate::error::{Error, Item, Result};

/// The most a decoded sample may be: a decoder overshoots full scale by little, a crafted packet by much.
const CEILING: f32 = 4.0;

/// Decodes the frames of one speaker, in order.
#[derive(Debug)]
pub struct Decoder {
    inner: opus::Decoder,
}

impl Decoder {
    /// A decoder that has heard nothing.
    ///
    /// # Errors
    /// [`Error::Codec`] if libopus cannot be set up.
    pub fn new() -> Result<Self> {
        Ok(Self { inner: opus::Decoder::new(SAMPLE_RATE, Channels::Mono).map_err(codec)? })
    }

    /// Decodes the Opus packet of a frame.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the packet is not one of 20 ms; [`Error::Codec`] if libopus cannot decode it.
    pub fn decode(&mut self, opus: &[u8], out: &mut Samples) -> Result<()> {
        check(opus)?;
        self.run(opus, false, out)
    }

    /// Restores a lost frame from the packet of the frame *after* it, which is still to be decoded itself.
    ///
    /// Where that packet holds no copy the frame is concealed.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn recover(&mut self, following: &[u8], out: &mut Samples) -> Result<()> {
        check(following)?;
        self.run(following, true, out)
    }

    /// Fills in for a lost frame from the sound before it. Repeated, it fades within some 100 ms.
    ///
    /// # Errors
    /// [`Error::Codec`] if libopus fails.
    pub fn conceal(&mut self, out: &mut Samples) -> Result<()> {
        self.run(&[], false, out)
    }

    /// Forgets all it has heard.
    ///
    /// # Errors
    /// [`Error::Codec`] if libopus fails.
    pub fn reset(&mut self) -> Result<()> {
        self.inner.reset_state().map_err(codec)
    }

    fn run(&mut self, opus: &[u8], following: bool, out: &mut Samples) -> Result<()> {
        let samples = self.inner.decode_float(opus, out, following).map_err(codec)?;
        if samples != FRAME_SAMPLES {
            return Err(Error::Malformed { what: Item::Frame, why: "it does not decode to 20 ms of sound" });
        }
        for sample in out {
            *sample = if sample.is_finite() { sample.clamp(-CEILING, CEILING) } else { 0.0 };
        }
        Ok(())
    }
}

/// Checks that `opus` says it holds 20 ms; cheap, and needs no decoder.
///
/// # Errors
/// [`Error::Malformed`] if it does not.
pub(super) fn check(opus: &[u8]) -> Result<()> {
    match opus::packet::get_nb_samples(opus, SAMPLE_RATE) {
        Ok(FRAME_SAMPLES) => Ok(()),
        Ok(_) => Err(Error::Malformed { what: Item::Frame, why: "its Opus packet is not of 20 ms" }),
        Err(_) => Err(Error::Malformed { what: Item::Frame, why: "it holds no Opus packet" }),
    }
}
