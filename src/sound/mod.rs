//! Sound: from microphone to frame, and from frames to ear.
//!
//! ```text
//!  48 kHz samples ─► Encoder ─► voice frame ─► (seal · relay · open) ─► Ear ─► 48 kHz samples
//!                                                                       │
//!          per speaker: JitterBuffer ─► Decoder ─► pace ─► gain and place ┐
//!                         the loudest of them, in one channel or two ─────┴─► soft clip
//! ```
//!
//! A frame comes to the ear as it was opened ([`Heard`](crate::Heard)): with its speaker, epoch and counter, and whether
//! it is certain that it is theirs. Order and time follow these; what a frame says of itself is trusted for no more
//! than a pause. Devices may ask for blocks of any length, several at once.
//!
//! Why somebody is not heard, [`Ear::fate`] says, and [`Hearing::through`](crate::Hearing::through) puts it in words.
//!
//! Everything here is 48 kHz, in frames of 10 to 60 ms, and any packet of 2.5 to 120 ms is played. Time is an argument:
//! there is no clock, no thread and no device in this module, and it knows neither keys nor rooms. What it keeps up:
//!
//! * *One size.* Every payload of an [`Encoder`] is as long as every other, whatever is said or not said.
//! * *Forward only.* A speaker's frames are played in the order they were spoken, each at most once. A verified frame
//!   that comes after a forged one of its place is played all the same.
//! * *Bounded.* A payload comes from somebody with the room's key, who may still be hostile: level, media time
//!   and Opus packet are checked, memory per speaker, speakers and decoders are limited, and nothing loops over a
//!   number that came in a payload.
//! * *No allocation* to mix, and with libopus none to decode or conceal; the codec in Rust takes some for a lost frame.

mod codec;
mod decoder;
mod device;
mod ear;
mod encoder;
pub mod jitter;
mod lately;
pub mod mixer;
pub mod ogg;
mod places;
mod playout;
pub mod recording;
mod resample;
mod stretch;
pub mod wav;

use std::time::Duration;

pub use codec::Codec;
pub use decoder::Decoder;
pub use ear::{Ear, EarSettings, SpeakerAccount};
pub use encoder::{Encoder, Encoding, FrameLength};
pub use jitter::{Arrival, Counters, Delay, JitterBuffer, Pace, Play};

/// Samples a second, everywhere in this module.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples in one frame of 20 ms.
pub const FRAME_SAMPLES: usize = 960;

/// How long a frame is.
pub const FRAME_TIME: Duration = Duration::from_millis(20);

/// How far a frame moves the media time, in its units of 2.5 ms.
pub const FRAME_UNITS: u64 = 8;

/// One frame of samples: 20 ms of mono, full scale ±1.
pub type Samples = [f32; FRAME_SAMPLES];

/// Nothing to be heard, for 20 ms.
pub const SILENCE: Samples = [0.0; FRAME_SAMPLES];

/// How many channels samples have. Those of two are interleaved: left, right, left, right.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Channels {
    /// One: a voice.
    #[default]
    Mono,
    /// Two: music.
    Stereo,
}

impl Channels {
    /// One or two.
    pub const fn count(self) -> usize {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
        }
    }
}
