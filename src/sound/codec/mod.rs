//! The Opus codec behind one small interface: libopus, or the same codec in Rust.
//!
//! Nothing outside of this folder names a codec crate. What is asked of both is the same, down to the length of every
//! packet, and a test holds what they decode together (`tests/sound/two_codecs.rs`).

#[cfg(feature = "opus")]
mod libopus;
#[cfg(feature = "opus-pure")]
mod pure;

use std::fmt;

use super::Channels;
use crate::{
    error::{Detail, Error, Result},
    frame::OpusPacket,
};

/// Which implementation of Opus encodes and decodes. The packets are the same kind: each decodes the other's.
///
/// The default is libopus if the crate is built with it (feature `opus`), for it is the faster and the older one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Codec {
    /// libopus, the reference implementation, in C (feature `opus`).
    #[cfg(feature = "opus")]
    Libopus,
    /// The crate `opus-pure`: the same codec in Rust, which needs no C toolchain (feature `opus-pure`).
    #[cfg(feature = "opus-pure")]
    Pure,
}

impl Codec {
    /// Every codec that this build has, the default first.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "opus")]
        Self::Libopus,
        #[cfg(feature = "opus-pure")]
        Self::Pure,
    ];

    pub(super) fn encoder(self, plan: Plan) -> Result<Box<dyn Encode>> {
        match self {
            #[cfg(feature = "opus")]
            Self::Libopus => Ok(Box::new(libopus::Encoder::new(plan)?)),
            #[cfg(feature = "opus-pure")]
            Self::Pure => Ok(Box::new(pure::Encoder::new(plan)?)),
        }
    }

    pub(super) fn decoder(self, channels: Channels) -> Result<Box<dyn Decode>> {
        match self {
            #[cfg(feature = "opus")]
            Self::Libopus => Ok(Box::new(libopus::Decoder::new(channels)?)),
            #[cfg(feature = "opus-pure")]
            Self::Pure => Ok(Box::new(pure::Decoder::new(channels)?)),
        }
    }
}

impl Default for Codec {
    #[cfg(feature = "opus")]
    fn default() -> Self {
        Self::Libopus
    }

    #[cfg(not(feature = "opus"))]
    fn default() -> Self {
        Self::Pure
    }
}

/// What an encoder is set up for. Discontinuous transmission is off in any case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) channels: Channels,
    /// Opus's audio mode rather than its mode for speech.
    pub(super) music: bool,
    /// Whether packets may hold a copy of the one before, if loss is expected.
    pub(super) copies: bool,
    /// Bits a second.
    pub(super) bits: u32,
    /// Whether each packet fills what it is given.
    pub(super) constant: bool,
    /// Packets in a hundred that are expected to be lost.
    pub(super) loss: u8,
}

/// An encoder of one voice. It allocates nothing of ours once it runs.
pub(super) trait Encode: fmt::Debug + Send {
    /// Encodes the samples of one packet, both channels in turn. With a constant size the packet fills `out`; else it
    /// is as long as the result says.
    fn encode(&mut self, pcm: &[f32], out: &mut [u8]) -> Result<usize>;

    fn expect_loss(&mut self, percent: u8) -> Result<()>;
}

/// A decoder of one voice. `out` is a multiple of 2.5 ms of all channels, interleaved, and not empty. What it is given
/// as a packet is none of those with nothing in them (`OpusPacket::NOTHING`).
pub(super) trait Decode: fmt::Debug + Send {
    /// Decodes to the front of `out`, which has room, and gives the samples per channel.
    fn decode(&mut self, packet: OpusPacket<'_>, out: &mut [f32]) -> Result<usize>;

    /// Fills all of `out`, which came right before `following`.
    fn recover(&mut self, following: OpusPacket<'_>, out: &mut [f32]) -> Result<()>;

    /// Fills all of `out` from what came before.
    fn conceal(&mut self, out: &mut [f32]) -> Result<()>;

    fn reset(&mut self) -> Result<()>;
}

fn failed(error: impl fmt::Display) -> Error {
    Error::Codec(Detail::new(error))
}
