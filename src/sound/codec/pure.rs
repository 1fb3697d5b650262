//! The codec in Rust, by the crate `opus-pure`.

use opus_pure::{Application, OpusDecoder, OpusEncoder, OpusMode, RateControl, Signal, packet, repacketizer};

use super::{Channels, Decode, Encode, Plan, failed};
use crate::{error::Result, frame::OpusPacket, sound::SAMPLE_RATE};

/// What is concealed at once, in samples a channel: Opus knows no other lengths below 20 ms.
const PIECES: [usize; 4] = [960, 480, 240, 120];

/// The longest Opus frame in bytes (RFC 6716 §3.4).
const MAX_FRAME: usize = 1275;

/// A frame of no more bytes holds no sound (RFC 6716 §3.1).
const QUIET: usize = 1;

#[derive(Debug)]
pub(super) struct Encoder {
    inner: OpusEncoder,
    plan: Plan,
}

impl Encoder {
    pub(super) fn new(plan: Plan) -> Result<Self> {
        let (application, signal) =
            if plan.music { (Application::Audio, Signal::Music) } else { (Application::Voip, Signal::Voice) };
        let mut inner =
            OpusEncoder::new(SAMPLE_RATE.cast_signed(), plan.channels.count(), application).map_err(failed)?;
        inner.signal_type = Some(signal);
        inner.bitrate_bps = plan.bits.cast_signed();
        inner.rate_control = if plan.constant { RateControl::Cbr } else { RateControl::ConstrainedVbr };
        // With it, silence would shrink to packets of one byte even at a constant rate.
        inner.use_dtx = false;
        let mut encoder = Self { inner, plan };
        encoder.expect_loss(plan.loss)?;
        Ok(encoder)
    }
}

impl Encode for Encoder {
    fn encode(&mut self, pcm: &[f32], out: &mut [u8]) -> Result<usize> {
        let samples = pcm.len() / self.plan.channels.count();
        let used = self.inner.encode(pcm, samples, out).map_err(failed)?;
        if self.plan.constant && used < out.len() {
            let mut packet = out.get(..used).unwrap_or_default().to_vec();
            repacketizer::pad_packet(&mut packet, out.len()).map_err(failed)?;
            out.copy_from_slice(&packet);
            return Ok(out.len());
        }
        Ok(used)
    }

    fn expect_loss(&mut self, percent: u8) -> Result<()> {
        self.inner.use_inband_fec = percent > 0 && self.plan.copies;
        self.inner.packet_loss_perc = percent.into();
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Decoder {
    inner: OpusDecoder,
    channels: usize,
}

impl Decoder {
    pub(super) fn new(channels: Channels) -> Result<Self> {
        let inner = OpusDecoder::new(SAMPLE_RATE.cast_signed(), channels.count()).map_err(failed)?;
        Ok(Self { inner, channels: channels.count() })
    }
}

impl Decode for Decoder {
    fn decode(&mut self, packet: OpusPacket<'_>, out: &mut [f32]) -> Result<usize> {
        if packet.frames().any(|frame| frame.len() <= QUIET) {
            self.decode_some(packet, out)?;
            return Ok(packet.samples());
        }
        self.inner.decode(packet.bytes(), out.len() / self.channels, out).map_err(failed)
    }

    fn recover(&mut self, following: OpusPacket<'_>, out: &mut [f32]) -> Result<()> {
        let bytes = following.bytes();
        // A copy is as long as one frame of the packet, and stands for the end of what is missing.
        let copy = packet::samples_per_frame(bytes, SAMPLE_RATE.cast_signed()).map_err(failed)?;
        let mode = packet::mode(bytes).map_err(failed)?;
        let quiet = following.frames().next().is_none_or(|frame| frame.len() <= QUIET);
        let before = out.len().checked_sub(copy * self.channels);
        let (Some(before), OpusMode::SilkOnly | OpusMode::Hybrid, false) = (before, mode, quiet) else {
            return self.conceal(out);
        };
        let (before, last) = out.split_at_mut(before);
        self.conceal(before)?;
        self.inner.decode_fec(bytes, copy, last).map_err(failed).map(drop)
    }

    fn conceal(&mut self, mut out: &mut [f32]) -> Result<()> {
        while let Some(samples) = PIECES.into_iter().find(|samples| samples * self.channels <= out.len()) {
            let (piece, rest) = out.split_at_mut(samples * self.channels);
            self.inner.decode(&[], samples, piece).map_err(failed)?;
            out = rest;
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.inner.reset_state().map_err(failed)
    }
}

impl Decoder {
    /// Decodes a packet of which some frames hold nothing: in their place it conceals, as libopus does. The crate would
    /// take them for coded sound.
    fn decode_some(&mut self, packet: OpusPacket<'_>, out: &mut [f32]) -> Result<()> {
        let Some(toc) = packet.bytes().first() else { return Ok(()) };
        let samples = packet::samples_per_frame(&[*toc], SAMPLE_RATE.cast_signed()).map_err(failed)?;
        // One frame alone, the code of its packet 0.
        let mut alone = [0; 1 + MAX_FRAME];
        for (frame, out) in packet.frames().zip(out.chunks_mut(samples * self.channels)) {
            match alone.get_mut(..=frame.len()) {
                Some([head, body @ ..]) if frame.len() > QUIET => {
                    *head = toc & !3;
                    body.copy_from_slice(frame);
                }
                _ => {
                    self.conceal(out)?;
                    continue;
                }
            }
            let alone = alone.get(..=frame.len()).unwrap_or_default();
            self.inner.decode(alone, samples, out).map_err(failed)?;
        }
        Ok(())
    }
}
