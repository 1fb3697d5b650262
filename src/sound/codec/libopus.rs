//! libopus, by the crate `opus`.

use opus::{Application, Bitrate, Signal};

use super::{Channels, Decode, Encode, Plan, failed};
use crate::{error::Result, frame::OpusPacket, sound::SAMPLE_RATE};

impl From<Channels> for opus::Channels {
    fn from(channels: Channels) -> Self {
        match channels {
            Channels::Mono => Self::Mono,
            Channels::Stereo => Self::Stereo,
        }
    }
}

#[derive(Debug)]
pub(super) struct Encoder {
    inner: opus::Encoder,
    plan: Plan,
}

impl Encoder {
    pub(super) fn new(plan: Plan) -> Result<Self> {
        let (application, signal) =
            if plan.music { (Application::Audio, Signal::Music) } else { (Application::Voip, Signal::Voice) };
        let mut inner = opus::Encoder::new(SAMPLE_RATE, plan.channels.into(), application).map_err(failed)?;
        inner.set_signal(signal).map_err(failed)?;
        inner.set_bitrate(Bitrate::Bits(plan.bits.cast_signed())).map_err(failed)?;
        inner.set_vbr(!plan.constant).map_err(failed)?;
        // With it, silence would shrink to packets of one byte even at a constant rate.
        inner.set_dtx(false).map_err(failed)?;
        let mut encoder = Self { inner, plan };
        encoder.expect_loss(plan.loss)?;
        Ok(encoder)
    }
}

impl Encode for Encoder {
    fn encode(&mut self, pcm: &[f32], out: &mut [u8]) -> Result<usize> {
        let used = self.inner.encode_float(pcm, out).map_err(failed)?;
        if self.plan.constant && used < out.len() {
            return opus::packet::pad(out, used).map_err(failed).map(|_| out.len());
        }
        Ok(used)
    }

    fn expect_loss(&mut self, percent: u8) -> Result<()> {
        self.inner.set_inband_fec(percent > 0 && self.plan.copies).map_err(failed)?;
        self.inner.set_packet_loss_perc(percent.into()).map_err(failed)
    }
}

#[derive(Debug)]
pub(super) struct Decoder {
    inner: opus::Decoder,
}

impl Decoder {
    pub(super) fn new(channels: Channels) -> Result<Self> {
        Ok(Self { inner: opus::Decoder::new(SAMPLE_RATE, channels.into()).map_err(failed)? })
    }
}

impl Decode for Decoder {
    fn decode(&mut self, packet: OpusPacket<'_>, out: &mut [f32]) -> Result<usize> {
        self.inner.decode_float(packet.bytes(), out, false).map_err(failed)
    }

    fn recover(&mut self, following: OpusPacket<'_>, out: &mut [f32]) -> Result<()> {
        self.inner.decode_float(following.bytes(), out, true).map_err(failed).map(drop)
    }

    fn conceal(&mut self, out: &mut [f32]) -> Result<()> {
        self.inner.decode_float(&[], out, false).map_err(failed).map(drop)
    }

    fn reset(&mut self) -> Result<()> {
        self.inner.reset_state().map_err(failed)
    }
}
