//! From samples to voice frames: Opus at a constant size, its level and media time in front.
//!
//! The invariant is *one size*: a ciphertext is as long as its plaintext, and the sizes of a variable-rate codec
//! tell a listener on the wire which sentence was spoken (93 of 100 guessed right among 50 sentences of unseen
//! voices; 2 of 100, which is chance, at a constant size). So the bit rate is constant, discontinuous
//! transmission is off, and should the codec ever leave a packet shorter for all that, it is padded within Opus
//! (RFC 6716 §3.2.5), which decodes bit for bit alike. Either would do alone.

use std::time::Duration;

use super::{
    Channels, Codec,
    codec::{self, Plan},
};
use crate::{
    error::{Error, Result},
    frame::{FRAME_HEADER, Level, MAX_OPUS, MediaTime, OpusPacket, VoiceFrame},
};

/// The most samples that a frame takes: 60 ms of two channels.
const MAX_SAMPLES: usize = 5760;

/// How long each frame is. A longer one costs less, for each frame is a packet with a header and a tag of its own; a
/// shorter one is heard sooner, and less is lost with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum FrameLength {
    /// 10 ms: 100 frames a second.
    Ms10,
    /// 20 ms, the default: 50 frames a second.
    #[default]
    Ms20,
    /// 40 ms: 25 frames a second.
    Ms40,
    /// 60 ms: 16.7 frames a second.
    Ms60,
}

impl FrameLength {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Ms10, Self::Ms20, Self::Ms40, Self::Ms60];

    /// As a length of time.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.millis() as u64)
    }

    /// Samples in each channel.
    pub const fn samples(self) -> usize {
        self.millis() * 48
    }

    const fn millis(self) -> usize {
        match self {
            Self::Ms10 => 10,
            Self::Ms20 => 20,
            Self::Ms40 => 40,
            Self::Ms60 => 60,
        }
    }

    /// In units of media time.
    const fn units(self) -> u64 {
        self.millis() as u64 * 2 / 5
    }
}

/// How a voice is encoded. The default is 24 kbit/s mono in frames of 20 ms, at a constant size, ready for 10 % of loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoding {
    music: bool,
    length: FrameLength,
    kbit: u32,
    loss: u8,
    constant: bool,
}

impl Default for Encoding {
    fn default() -> Self {
        Self { music: false, length: FrameLength::Ms20, kbit: 24, loss: 10, constant: true }
    }
}

impl Encoding {
    /// For music: stereo at 128 kbit/s in Opus's audio mode, in frames of 20 ms at a constant size, for a network that
    /// loses nothing.
    ///
    /// No packet of it holds a copy of the one before, whatever loss is expected: Opus has copies in its mode for
    /// speech only. What is lost is concealed.
    pub const fn music() -> Self {
        Self { music: true, length: FrameLength::Ms20, kbit: 128, loss: 0, constant: true }
    }

    /// The same at `kbit` kbit/s: 16 to 64 for speech, 64 to 192 for music. At 24 kbit/s a frame of 20 ms is 60 bytes.
    ///
    /// # Errors
    /// [`Error::Unusable`] outside of that.
    pub fn kilobits(self, kbit: u32) -> Result<Self> {
        let (range, what, why) = if self.music {
            (64..=192, "bit rate of music", "choose 64 to 192 kbit/s")
        } else {
            (16..=64, "bit rate of a voice", "choose 16 to 64 kbit/s, or `Encoding::music`")
        };
        if !range.contains(&kbit) {
            return Err(Error::Unusable { what, why });
        }
        Ok(Self { kbit, ..self })
    }

    /// The same in frames of another length.
    #[must_use]
    pub const fn frames_of(self, length: FrameLength) -> Self {
        Self { length, ..self }
    }

    /// The same, made for a network that loses `percent` of all packets, 0 to 100.
    ///
    /// The more is expected to be lost, the more of each packet of speech is a coarse copy of the frame before it, out
    /// of which a listener restores a lost frame ([`Decoder::recover`](super::Decoder::recover)). At 0 there is none.
    /// Music is made to depend less on what came before.
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

    /// Bytes of each payload, or `None` if sizes vary. 1,444 at most, which fits a sealed frame.
    pub const fn payload_len(self) -> Option<usize> {
        if self.constant { Some(FRAME_HEADER + self.opus_len()) } else { None }
    }

    /// Mono for speech, stereo for music.
    pub const fn channels(self) -> Channels {
        if self.music { Channels::Stereo } else { Channels::Mono }
    }

    /// How long each frame is.
    pub const fn frame_length(self) -> FrameLength {
        self.length
    }

    /// Samples that each frame takes, in all channels together.
    pub const fn samples(self) -> usize {
        self.length.samples() * self.channels().count()
    }

    /// Whether a copy of the frame before fits beside the frame. Below, and at a constant size, both codecs write the
    /// copy first and starve the frame: what is heard of 60 ms at 24 kbit/s then correlates with what was said by 0.79
    /// and 0.45, without copies by 0.93.
    const fn has_room_for_copies(self) -> bool {
        !self.music && (matches!(self.length, FrameLength::Ms20) || self.kbit >= 32)
    }

    /// Bytes of one packet at the bit rate: kbit/s × ms / 8.
    const fn opus_len(self) -> usize {
        self.kbit as usize * self.length.millis() / 8
    }
}

/// The longest packet of constant size: 60 ms of music. It fits a frame, and so do those of variable size, for the codec
/// is given no more room.
const _: () = assert!(192 * 60 / 8 <= MAX_OPUS && FRAME_HEADER + MAX_OPUS <= crate::media::MAX_FRAME);

/// Turns samples into voice frames, ready to be sealed.
///
/// ```
/// use parlor::sound::{Encoder, Encoding, SILENCE};
///
/// let mut encoder = Encoder::new(Encoding::default())?;
/// let mut payload = [0; 64];
/// assert_eq!(encoder.encode(&SILENCE, &mut payload)?, 64); // 4 bytes of time and level, 60 of Opus
/// # Ok::<(), parlor::Error>(())
/// ```
///
/// # Time
///
/// Each frame moves media time on by its own length. Where some sound is not encoded (push to talk, a gate, a voice that
/// may not speak), say how much by [`skip`](Self::skip), or let the clock stand still: receivers take both for a pause,
/// for they go by the order of the frames that were sealed. They take an encoder that begins anew as well. But encode
/// nothing that is not sent: it is a hole in the time that looks like a pause, and its sound is gone.
#[derive(Debug)]
pub struct Encoder {
    inner: Box<dyn codec::Encode>,
    encoding: Encoding,
    /// Of the next frame, in units of 2.5 ms, not yet wrapped.
    time: u64,
    packet: [u8; MAX_OPUS],
}

impl Encoder {
    /// An encoder at media time 0.
    ///
    /// # Errors
    /// [`Error::Codec`] if the codec cannot be set up.
    pub fn new(encoding: Encoding) -> Result<Self> {
        Self::with_codec(Codec::default(), encoding)
    }

    /// An encoder at media time 0 that runs on a codec of your choice.
    ///
    /// # Errors
    /// [`Error::Codec`] if the codec cannot be set up.
    pub fn with_codec(codec: Codec, encoding: Encoding) -> Result<Self> {
        let inner = codec.encoder(Plan {
            channels: encoding.channels(),
            music: encoding.music,
            copies: encoding.has_room_for_copies(),
            bits: encoding.kbit * 1000,
            constant: encoding.constant,
            loss: encoding.loss,
        })?;
        Ok(Self { inner, encoding, time: 0, packet: [0; MAX_OPUS] })
    }

    /// An encoder whose first frame is spoken at `time`.
    ///
    /// # Errors
    /// [`Error::Codec`] if the codec cannot be set up.
    pub fn starting_at(encoding: Encoding, time: MediaTime) -> Result<Self> {
        Ok(Self { time: time.units().into(), ..Self::new(encoding)? })
    }

    /// Encodes one frame and writes the payload (media time, level, Opus packet) to the front of `out`; returns its
    /// length in bytes. Media time moves on by the frame's length. libopus allocates nothing here; `opus-pure` does,
    /// some eight times for a frame of 20 ms.
    ///
    /// `pcm` holds exactly [`Encoding::samples`]: [`Samples`](super::Samples) for the default; both channels in turn for
    /// music.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] if `out` is shorter than a payload can be: [`Encoding::payload_len`], or with
    /// variable sizes [`FRAME_HEADER`] + [`MAX_OPUS`]. [`Error::Unusable`] if there are more or fewer samples, or one is
    /// not a finite number. In these cases the encoder is as it was. [`Error::Codec`] if the codec fails.
    pub fn encode(&mut self, pcm: &[f32], out: &mut [u8]) -> Result<usize> {
        let (need, have) = (self.encoding.payload_len().unwrap_or(FRAME_HEADER + MAX_OPUS), out.len());
        if have < need {
            return Err(Error::BufferTooSmall { need, have });
        }
        if pcm.len() != self.encoding.samples() {
            return Err(Error::Unusable { what: "samples", why: wanted(self.encoding) });
        }
        if !pcm.iter().all(|x| x.is_finite()) {
            return Err(Error::Unusable { what: "samples", why: "one of them is not a finite number" });
        }
        let room = if self.encoding.constant { self.encoding.opus_len() } else { MAX_OPUS };
        let packet = self.packet.get_mut(..room).unwrap_or_default();
        let used = self.inner.encode(pcm, packet)?;
        let frame = VoiceFrame {
            time: self.time(),
            level: Level::of(pcm),
            opus: OpusPacket::parse(self.packet.get(..used).unwrap_or_default())?,
        };
        let written = frame.write(out)?;
        self.time = self.time.wrapping_add(self.encoding.length.units());
        Ok(written)
    }

    /// Encodes a frame of silence: what a muted microphone sends, so that its packets go on at the same pace and
    /// size and nobody on the wire sees when somebody speaks.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_silence(&mut self, out: &mut [u8]) -> Result<usize> {
        static NOTHING: [f32; MAX_SAMPLES] = [0.0; MAX_SAMPLES];
        self.encode(NOTHING.get(..self.encoding.samples()).unwrap_or_default(), out)
    }

    /// Lets time pass without a frame: moves media time on by `pause`, in whole units of 2.5 ms, the nearest.
    pub fn skip(&mut self, pause: Duration) {
        let unit = MediaTime::UNIT.as_micros();
        // What is cut off is a multiple of the wrap of media time.
        self.time = self.time.wrapping_add(((pause.as_micros() + unit / 2) / unit) as u64);
    }

    /// Goes on for a network that loses `percent` of all packets, 0 to 100, as receivers report it.
    ///
    /// # Errors
    /// As [`Encoding::expected_loss`]; [`Error::Codec`] if the codec fails.
    pub fn expect_loss(&mut self, percent: u8) -> Result<()> {
        let encoding = self.encoding.expected_loss(percent)?;
        self.inner.expect_loss(percent)?;
        self.encoding = encoding;
        Ok(())
    }

    /// How it encodes.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The media time of the next frame.
    pub const fn time(&self) -> MediaTime {
        MediaTime::from_units(self.time)
    }
}

/// What to give instead of too many or too few samples.
const fn wanted(encoding: Encoding) -> &'static str {
    match (encoding.channels(), encoding.length) {
        (Channels::Mono, FrameLength::Ms10) => "give exactly 480, 10 ms of one channel",
        (Channels::Mono, FrameLength::Ms20) => "give exactly 960, 20 ms of one channel",
        (Channels::Mono, FrameLength::Ms40) => "give exactly 1,920, 40 ms of one channel",
        (Channels::Mono, FrameLength::Ms60) => "give exactly 2,880, 60 ms of one channel",
        (Channels::Stereo, FrameLength::Ms10) => "give exactly 960, 10 ms of left and right in turn",
        (Channels::Stereo, FrameLength::Ms20) => "give exactly 1,920, 20 ms of left and right in turn",
        (Channels::Stereo, FrameLength::Ms40) => "give exactly 3,840, 40 ms of left and right in turn",
        (Channels::Stereo, FrameLength::Ms60) => "give exactly 5,760, 60 ms of left and right in turn",
    }
}
