//! From voice frames to samples: one Opus decoder a speaker.
//!
//! Three ways to sound: the packet itself; if it is lost, the coarse copy of it in the packet that follows; without
//! that, a guess from what came before. An attacker with the room's key chooses the packets: their framing was checked
//! when they were read ([`OpusPacket`]), and samples come out finite and within ±4 whatever they hold.

use super::{Channels, Codec, codec};
use crate::{
    error::{Error, Result},
    frame::OpusPacket,
};

/// The most a decoded sample may be: a decoder overshoots full scale by little, a crafted packet by much.
pub(super) const CEILING: f32 = 4.0;

/// Samples of 2.5 ms in a channel: what Opus counts in.
const UNIT: usize = 120;

/// Decodes the packets of one speaker, in order: of any length, in mono or stereo, by turns if the speaker likes.
///
/// Packets of one channel are heard on both of a stereo decoder; of two channels a mono decoder gives the mean.
/// libopus allocates nothing here; `opus-pure` nothing to decode, and up to some thirty small buffers to conceal.
///
/// ```
/// use parlor::{frame::VoiceFrame, sound::{Channels, Decoder, Encoder, Encoding, FrameLength}};
///
/// let mut encoder = Encoder::new(Encoding::default().frames_of(FrameLength::Ms60))?;
/// let mut payload = [0; 184];
/// encoder.encode(&[0.1; 2880], &mut payload)?;
///
/// let mut decoder = Decoder::new(Channels::Mono)?;
/// let mut out = [0.0; Decoder::MAX_SAMPLES]; // enough for the longest packet
/// assert_eq!(decoder.decode(VoiceFrame::parse(&payload)?.opus, &mut out)?, 2880);
/// # Ok::<(), parlor::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    inner: Box<dyn codec::Decode>,
    channels: Channels,
}

impl Decoder {
    /// Samples in a channel of the longest packet, 120 ms.
    pub const MAX_SAMPLES: usize = 5760;

    /// A decoder that has heard nothing.
    ///
    /// # Errors
    /// [`Error::Codec`] if the codec cannot be set up.
    pub fn new(channels: Channels) -> Result<Self> {
        Self::with_codec(Codec::default(), channels)
    }

    /// A decoder that has heard nothing, and runs on a codec of your choice.
    ///
    /// # Errors
    /// [`Error::Codec`] if the codec cannot be set up.
    pub fn with_codec(codec: Codec, channels: Channels) -> Result<Self> {
        Ok(Self { inner: codec.decoder(channels)?, channels })
    }

    /// Decodes a packet to the front of `out`, both channels in turn if there are two; gives the samples per channel.
    ///
    /// A packet of one byte, of a sender with discontinuous transmission, gives what such silence sounds like, for the
    /// length it tells. [`OpusPacket::NOTHING`] tells none: it fills all of `out`, as [`conceal`](Self::conceal).
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`], in samples of all channels, if the packet is longer than `out`, and nothing has
    /// changed; room for [`MAX_SAMPLES`](Self::MAX_SAMPLES) in each channel is always enough. [`Error::Codec`] if the
    /// codec cannot decode it.
    pub fn decode(&mut self, packet: OpusPacket<'_>, out: &mut [f32]) -> Result<usize> {
        let channels = self.channels.count();
        if packet == OpusPacket::NOTHING {
            self.conceal(out)?;
            return Ok(out.len() / channels);
        }
        let (need, have) = (packet.samples() * channels, out.len());
        let Some(out) = out.get_mut(..need) else {
            return Err(Error::BufferTooSmall { need, have });
        };
        self.run(out, |inner, out| inner.decode(packet, out))
    }

    /// Restores what was lost right before `following`, which is still to be decoded itself: fills all of `out`.
    ///
    /// A packet holds a copy of no more than one Opus frame before it (10 to 60 ms): what was lost before that, and
    /// all of it where there is no copy, is concealed.
    ///
    /// # Errors
    /// [`Error::Unusable`] if `out` is not a multiple of 2.5 ms; [`Error::Codec`] if the codec fails.
    pub fn recover(&mut self, following: OpusPacket<'_>, out: &mut [f32]) -> Result<()> {
        self.check(out)?;
        if following.is_quiet() {
            return self.conceal(out);
        }
        self.run(out, |inner, out| inner.recover(following, out))
    }

    /// Fills all of `out` from the sound before it. Over some 100 ms, in one call or several, it fades.
    ///
    /// # Errors
    /// [`Error::Unusable`] if `out` is not a multiple of 2.5 ms; [`Error::Codec`] if the codec fails.
    pub fn conceal(&mut self, out: &mut [f32]) -> Result<()> {
        self.check(out)?;
        self.run(out, |inner, out| inner.conceal(out))
    }

    /// Forgets all it has heard.
    ///
    /// # Errors
    /// [`Error::Codec`] if the codec fails.
    pub fn reset(&mut self) -> Result<()> {
        self.inner.reset()
    }

    /// How many channels come out.
    pub const fn channels(&self) -> Channels {
        self.channels
    }

    fn check(&self, out: &[f32]) -> Result<()> {
        if out.len().is_multiple_of(UNIT * self.channels.count()) {
            return Ok(());
        }
        Err(Error::Unusable { what: "buffer", why: "give a multiple of 120 samples in each channel, 2.5 ms" })
    }

    /// Lets the codec fill `out`, and makes sound of whatever it leaves there.
    fn run<T: Default>(
        &mut self,
        out: &mut [f32],
        step: impl FnOnce(&mut dyn codec::Decode, &mut [f32]) -> Result<T>,
    ) -> Result<T> {
        if out.is_empty() {
            return Ok(T::default());
        }
        // A codec that gives up half-way leaves silence, not what was there before.
        out.fill(0.0);
        let result = step(&mut *self.inner, out);
        for sample in out {
            *sample = if sample.is_finite() { sample.clamp(-CEILING, CEILING) } else { 0.0 };
        }
        result
    }
}
