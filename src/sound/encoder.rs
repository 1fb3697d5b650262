//! From samples to voice frames: Opus at a constant size, its level and media time in front.
//!
//! The invariant is *one size*: a ciphertext is as long as its plaintext, and the sizes of a variable-rate codec
//! tell a listener on the wire which sentence was spoken (93 of 100 guessed right among 50 sentences of unseen
//! voices; 2 of 100, which is chance, at a constant size). So the bit rate is constant, discontinuous
//! transmission is off, and should the codec ever leave a packet shorter for all that, it is padded within Opus
//! (RFC 6716 §3.2.5), which decodes bit for bit alike. Either would do alone.

use opus::{Application, Bitrate, Channels, Signal};

use super::{FRAME_UNITS, SAMPLE_RATE, SILENCE, Samples, codec};
use crate::{
    error::{Error, Result},
    frame::{FRAME_HEADER, Level, MAX_OPUS, MediaTime, OpusPacket, VoiceFrame},
};

/// How a voice is encoded. The default is 24 kbit/s at a constant size, ready for 10 % of loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoding {
    kbit: u32,
    loss: u8,
    constant: bool,
}

impl Default for Encoding {
    fn default() -> Self {
        Self { kbit: 24, loss: 10, constant: true }
    }
}

impl Encoding {
    /// The same at `kbit` kbit/s, 16 to 64: 2.5 bytes a frame for each.
    ///
    /// # Errors
    /// [`Error::Unusable`] outside of 16 to 64.
    pub fn kilobits(self, kbit: u32) -> Result<Self> {
        if !(16..=64).contains(&kbit) {
            return Err(Error::Unusable { what: "bit rate of a voice", why: "choose 16 to 64 kbit/s" });
        }
        Ok(Self { kbit, ..self })
    }

    /// The same, made for a network that loses `percent` of all packets, 0 to 100.
    ///
    /// The more is expected to be lost, the more of each packet is a coarse copy of the frame before it, out of
    /// which a listener restores a lost frame ([`Decoder::recover`](super::Decoder::recover)). At 0 there is none.
    ///
    /// # Errors
    /// [`Error::Unusable`] above 100.
    pub fn expected_loss(self, percent: u8) -> Result<Self> {
        if percent > 100 {
            return Err(Error::Unusable { what: "expected loss", why: "it is a percentage, 0 to 100" });
        }
        Ok(Self { loss: percent, ..self })
    }

    /// Gives up the constant size for less work and a slightly better sound. **Packet sizes then tell words.**
    ///
    /// Whoever carries the packets, or looks on, guesses which of 50 sentences was spoken 93 times in 100 from
    /// the sizes alone, with no key. No encryption hides that. It is for rooms that have nothing to hide.
    #[must_use]
    pub const fn variable_size_tells_words(self) -> Self {
        Self { constant: false, ..self }
    }

    /// Bytes of each payload, or `None` if sizes vary.
    pub const fn payload_len(self) -> Option<usize> {
        if self.constant { Some(FRAME_HEADER + self.opus_len()) } else { None }
    }

    /// Bytes of one 20 ms packet at the bit rate: kbit/s × 20 / 8.
    const fn opus_len(self) -> usize {
        (self.kbit * 5 / 2) as usize
    }
}

/// Turns 20 ms of samples into one voice frame, ready to be sealed.
///
/// ```
/// use parlor::sound::{Encoder, Encoding, SILENCE};
///
/// let mut encoder = Encoder::new(Encoding::default())?;
/// let mut payload = [0; 64];
/// assert_eq!(encoder.encode(&SILENCE, &mut payload)?, 64); // 4 bytes of level and time, 60 of Opus
/// # Ok::<(), parlor::Error>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    inner: opus::Encoder,
    encoding: Encoding,
    /// Of the next frame, in units of 2.5 ms, not yet wrapped.
    time: u64,
    packet: [u8; MAX_OPUS],
}

impl Encoder {
    /// An encoder at media time 0.
    ///
    /// # Errors
    /// [`Error::Codec`] if libopus cannot be set up.
    pub fn new(encoding: Encoding) -> Result<Self> {
        Self::starting_at(encoding, MediaTime::default())
    }

    /// An encoder whose first frame is spoken at `time`.
    ///
    /// # Errors
    /// [`Error::Codec`] if libopus cannot be set up.
    pub fn starting_at(encoding: Encoding, time: MediaTime) -> Result<Self> {
        let mut inner = opus::Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip).map_err(codec)?;
        inner.set_bitrate(Bitrate::Bits((encoding.kbit * 1000).cast_signed())).map_err(codec)?;
        inner.set_vbr(!encoding.constant).map_err(codec)?;
        // With it, silence would shrink to packets of one byte even at a constant rate.
        inner.set_dtx(false).map_err(codec)?;
        inner.set_signal(Signal::Voice).map_err(codec)?;
        inner.set_inband_fec(encoding.loss > 0).map_err(codec)?;
        inner.set_packet_loss_perc(encoding.loss.into()).map_err(codec)?;
        Ok(Self { inner, encoding, time: time.units().into(), packet: [0; MAX_OPUS] })
    }

    /// Encodes 20 ms and writes the payload (level, media time, Opus packet) to the front of `out`; returns its
    /// length in bytes. Media time moves on by one frame. Nothing is allocated.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] if `out` is shorter than a payload can be: [`Encoding::payload_len`], or with
    /// variable sizes [`FRAME_HEADER`] + [`MAX_OPUS`]. [`Error::Unusable`] if a sample is not a finite number.
    /// In both cases the encoder is as it was. [`Error::Codec`] if libopus fails.
    pub fn encode(&mut self, pcm: &Samples, out: &mut [u8]) -> Result<usize> {
        let (need, have) = (self.encoding.payload_len().unwrap_or(FRAME_HEADER + MAX_OPUS), out.len());
        if have < need {
            return Err(Error::BufferTooSmall { need, have });
        }
        if !pcm.iter().all(|x| x.is_finite()) {
            return Err(Error::Unusable { what: "samples", why: "one of them is not a finite number" });
        }
        let opus = self.packet(pcm)?;
        let frame = VoiceFrame {
            time: MediaTime::from_units(self.time),
            level: Level::of(pcm),
            opus: OpusPacket::parse(self.packet.get(..opus).unwrap_or_default())?,
        };
        let written = frame.write(out)?;
        self.time = self.time.wrapping_add(FRAME_UNITS);
        Ok(written)
    }

    /// Encodes 20 ms of silence: what a muted microphone sends, so that its packets go on at the same pace and
    /// size and nobody on the wire sees when somebody speaks.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_silence(&mut self, out: &mut [u8]) -> Result<usize> {
        self.encode(&SILENCE, out)
    }

    /// Goes on for a network that loses `percent` of all packets, 0 to 100, as receivers report it.
    ///
    /// # Errors
    /// As [`Encoding::expected_loss`]; [`Error::Codec`] if libopus fails.
    pub fn expect_loss(&mut self, percent: u8) -> Result<()> {
        self.encoding = self.encoding.expected_loss(percent)?;
        self.inner.set_inband_fec(percent > 0).map_err(codec)?;
        self.inner.set_packet_loss_perc(percent.into()).map_err(codec)
    }

    /// How it encodes.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The media time of the next frame.
    pub const fn time(&self) -> MediaTime {
        MediaTime::from_units(self.time)
    }

    /// Fills the packet and says how much of it: exactly the constant size, if there is one.
    fn packet(&mut self, pcm: &Samples) -> Result<usize> {
        if !self.encoding.constant {
            return self.inner.encode_float(pcm, &mut self.packet).map_err(codec);
        }
        let len = self.encoding.opus_len();
        let packet = self.packet.get_mut(..len).unwrap_or_default();
        let used = self.inner.encode_float(pcm, packet).map_err(codec)?;
        if used < len {
            opus::packet::pad(packet, used).map_err(codec)?;
        }
        Ok(len)
    }
}
