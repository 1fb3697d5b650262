//! From Opus packets to samples: one decoder a speaker.
//!
//! Three ways to sound: the packet itself; if it is lost, the coarse copy of it in the packet that follows; without
//! that, a guess from what came before. An attacker with the room's key chooses the packet: its framing was checked when
//! it came ([`OpusPacket`]), and samples come out finite and within ±4 whatever it held.

use super::{Channels, SAMPLE_RATE, codec};
use crate::{
    error::{Error, Item, Result},
    frame::OpusPacket,
};

/// The most a decoded sample may be: a decoder overshoots full scale by little, a crafted packet by much.
const CEILING: f32 = 4.0;

/// Decodes the packets of one speaker, in order.
#[derive(Debug)]
pub struct Decoder {
    inner: opus::Decoder,
    channels: Channels,
}

impl Decoder {
    /// A decoder that has heard nothing.
    ///
    /// # Errors
    /// [`Error::Codec`] if libopus cannot be set up.
    pub fn new(channels: Channels) -> Result<Self> {
        let of = match channels {
            Channels::Mono => opus::Channels::Mono,
            Channels::Stereo => opus::Channels::Stereo,
        };
        Ok(Self { inner: opus::Decoder::new(SAMPLE_RATE, of).map_err(codec)?, channels })
    }

    /// Decodes to the front of `out`, interleaved if stereo; gives the samples a channel.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`]; [`Error::Codec`] if libopus cannot decode it.
    pub fn decode(&mut self, packet: OpusPacket<'_>, out: &mut [f32]) -> Result<usize> {
        let (need, have) = (packet.samples() * self.channels.count(), out.len());
        let Some(out) = out.get_mut(..need) else { return Err(Error::BufferTooSmall { need, have }) };
        self.run(packet.bytes(), false, out)
    }

    /// Restores what was lost right before `following`, as much as fills `out`.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn recover(&mut self, following: OpusPacket<'_>, out: &mut [f32]) -> Result<()> {
        self.run(following.bytes(), true, out).map(drop)
    }

    /// Fills `out`, a multiple of 2.5 ms, from the sound before it. Repeated, it fades within some 100 ms.
    ///
    /// # Errors
    /// [`Error::Codec`] if libopus fails.
    pub fn conceal(&mut self, out: &mut [f32]) -> Result<()> {
        self.run(&[], false, out).map(drop)
    }

    /// Forgets all it has heard.
    ///
    /// # Errors
    /// [`Error::Codec`] if libopus fails.
    pub fn reset(&mut self) -> Result<()> {
        self.inner.reset_state().map_err(codec)
    }

    /// How many channels it gives.
    pub const fn channels(&self) -> Channels {
        self.channels
    }

    fn run(&mut self, opus: &[u8], following: bool, out: &mut [f32]) -> Result<usize> {
        let samples = self.inner.decode_float(opus, out, following).map_err(codec)?;
        if samples * self.channels.count() != out.len() {
            return Err(Error::Malformed { what: Item::Opus, why: "it does not decode to its length" });
        }
        for sample in out {
            *sample = if sample.is_finite() { sample.clamp(-CEILING, CEILING) } else { 0.0 };
        }
        Ok(samples)
    }
}
