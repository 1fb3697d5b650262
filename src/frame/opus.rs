//! An Opus packet, told from other bytes by its own framing (RFC 6716 §3), without a codec.

use std::iter;

use crate::error::{Error, Item, Result};

/// The longest Opus packet that a voice frame carries, in bytes: what a sealed frame has room for. One Opus frame of up
/// to 20 ms is 1,275 bytes at most (RFC 6716 §3.4); a packet of 120 ms has six of them, and stays below at 136 kbit/s.
pub const MAX_OPUS: usize = 2044;

/// The longest single Opus frame in bytes.
const MAX_FRAME: usize = 1275;

/// 120 ms, in samples at 48 kHz: no packet is longer.
const MAX_SAMPLES: usize = 5760;

/// An Opus packet that holds together: its table of contents and its lengths fit its bytes.
///
/// Whether the compressed sound inside makes sense is for the decoder to find out. A sender with discontinuous
/// transmission (DTX) may send a packet of one byte, or none at all where nothing is to be heard: both are packets here.
///
/// ```
/// use parlor::frame::OpusPacket;
///
/// let packet = OpusPacket::parse(&[0x48, 1, 2, 3])?; // SILK, wideband, one frame of 20 ms, mono
/// assert_eq!((packet.samples(), packet.is_stereo(), packet.is_quiet()), (960, false, false));
/// assert!(OpusPacket::parse(&[])?.is_quiet());
/// # Ok::<(), parlor::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpusPacket<'a> {
    bytes: &'a [u8],
    /// At 48 kHz, in a channel; 0 without a byte.
    samples: u16,
    quiet: bool,
}

impl<'a> OpusPacket<'a> {
    /// No packet: a sender with DTX has nothing to send for this frame.
    pub const NOTHING: Self = Self { bytes: &[], samples: 0, quiet: true };

    /// Reads a packet's framing.
    ///
    /// # Errors
    /// [`Error::Malformed`], with the rule that it breaks (RFC 6716 §3.4, R1 to R7).
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let malformed = |why| Error::Malformed { what: Item::Opus, why };
        let Some((&toc, rest)) = bytes.split_first() else { return Ok(Self::NOTHING) };
        let each = frame_samples(toc);
        let (frames, longest) = match toc & 3 {
            0 => (1, rest.len()),
            1 if rest.len() % 2 == 0 => (2, rest.len() / 2),
            1 => return Err(malformed("it holds two frames of one length in an odd number of bytes")),
            2 => {
                let (first, rest) = length(rest).ok_or_else(|| malformed("the length of its first frame is cut"))?;
                let second = rest.len().checked_sub(first);
                (2, first.max(second.ok_or_else(|| malformed("its first frame is longer than the packet"))?))
            }
            _ => several(rest, each).map_err(malformed)?,
        };
        if longest > MAX_FRAME {
            return Err(malformed("one of its frames is longer than 1,275 bytes"));
        }
        // Below 2^16: six times 960, or one of 2,880.
        Ok(Self { bytes, samples: (frames * each) as u16, quiet: longest <= 1 })
    }

    /// The bytes, for a decoder.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How long it sounds: samples a channel at 48 kHz, 120 to 5,760; 0 if there is no packet.
    pub const fn samples(&self) -> usize {
        self.samples as usize
    }

    /// Whether it holds two channels.
    pub fn is_stereo(&self) -> bool {
        self.bytes.first().is_some_and(|toc| toc & 4 != 0)
    }

    /// The Opus frames that it holds, in their order, without table of contents and padding.
    pub fn frames(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut left, varying, mut sound) = self.bytes.split_first().and_then(layout).unwrap_or_default();
        let (each, mut lengths) = (sound.len() / left.max(1), sound);
        if varying {
            for _ in 1..left {
                sound = length(sound).map_or(sound, |(_, after)| after);
            }
        }
        iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let len = match (varying, left) {
                (false, _) => each,
                (true, 0) => sound.len(),
                (true, _) => {
                    let (len, after) = length(lengths)?;
                    lengths = after;
                    len
                }
            };
            let (frame, after) = sound.split_at_checked(len)?;
            sound = after;
            Some(frame)
        })
    }

    /// Whether it is what a sender with DTX sends where nothing is to be heard: no frame in it has more than a byte.
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }
}

/// Samples of one frame by its configuration, at 48 kHz (RFC 6716 §3.1, table 2).
const fn frame_samples(toc: u8) -> usize {
    match toc >> 3 {
        silk @ 0..=11 => match silk & 3 {
            0 => 480,
            1 => 960,
            2 => 1920,
            _ => 2880,
        },
        hybrid @ 12..=15 => 480 << (hybrid & 1),
        celt => 120 << (celt & 3),
    }
}

/// A packet of any number of frames (code 3): how many, and the longest of them.
fn several(rest: &[u8], each: usize) -> Result<(usize, usize), &'static str> {
    let (&head, mut rest) = rest.split_first().ok_or("its number of frames is missing")?;
    let (frames, padded, varying) = (usize::from(head & 0x3f), head & 0x40 != 0, head & 0x80 != 0);
    if frames == 0 {
        return Err("it holds no frame");
    }
    if frames * each > MAX_SAMPLES {
        return Err("it is longer than 120 ms");
    }
    let padding;
    (padding, rest) = if padded { self::padding(rest).ok_or("its padding is cut")? } else { (0, rest) };
    if !varying {
        let sound = rest.len().checked_sub(padding).ok_or("its padding is longer than the packet")?;
        return if sound % frames == 0 { Ok((frames, sound / frames)) } else { Err("its frames differ in length") };
    }
    let mut longest = 0;
    let mut sum = 0;
    for _ in 1..frames {
        let (len, after) = length(rest).ok_or("the length of a frame is cut")?;
        rest = after;
        sum += len;
        longest = longest.max(len);
    }
    let last = rest.len().checked_sub(padding + sum).ok_or("its frames are longer than the packet")?;
    Ok((frames, longest.max(last)))
}

/// How many frames stand behind a table of contents, whether they differ in length, and what is left of the packet: the
/// lengths, if they do, and the frames.
fn layout<'a>((toc, rest): (&u8, &'a [u8])) -> Option<(usize, bool, &'a [u8])> {
    match toc & 3 {
        0 => return Some((1, false, rest)),
        1 => return Some((2, false, rest)),
        2 => return Some((2, true, rest)),
        _ => {}
    }
    let (&head, rest) = rest.split_first()?;
    let (padding, rest) = if head & 0x40 != 0 { padding(rest)? } else { (0, rest) };
    Some((usize::from(head & 0x3f), head & 0x80 != 0, rest.get(..rest.len().checked_sub(padding)?)?))
}

/// How much padding the bytes at the front announce (RFC 6716 §3.2.5), and what follows them.
fn padding(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut padding = 0;
    loop {
        let (&more, after) = bytes.split_first()?;
        bytes = after;
        padding += usize::from(more.min(254));
        if more < 255 {
            return Some((padding, bytes));
        }
    }
}

/// A frame's length of one or two bytes (RFC 6716 §3.2.1), and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ 0..=251, rest @ ..] => Some((usize::from(*short), rest)),
        [first, second, rest @ ..] => Some((usize::from(*second) * 4 + usize::from(*first), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_has_its_length() {
        // RFC 6716 §3.1, table 2, in tenths of a millisecond.
        let silk = [100, 200, 400, 600];
        let celt = [25, 50, 100, 200];
        for config in 0..32_u8 {
            let expected = match config {
                0..=11 => silk[usize::from(config % 4)],
                12..=15 => [100, 200][usize::from(config % 2)],
                _ => celt[usize::from(config % 4)],
            };
            for (stereo, code) in [(0, 0), (1, 0), (0, 1)] {
                let toc = config << 3 | stereo << 2 | code;
                let packet = [toc, 7, 7];
                let read = OpusPacket::parse(&packet).unwrap();
                assert_eq!(read.samples() * 10, expected * 48 * (usize::from(code) + 1), "configuration {config}");
                assert_eq!(read.is_stereo(), stereo == 1);
            }
        }
    }

    #[test]
    fn what_breaks_a_rule_of_the_framing_is_refused_with_that_rule() {
        let long = vec![0; 1277];
        for (bytes, why) in [
            (&[0x49, 1, 2, 3][..], "odd number of bytes"),
            (&[0x4a], "first frame is cut"),
            (&[0x4a, 252], "first frame is cut"),
            (&[0x4a, 9, 1, 2], "longer than the packet"),
            (&[0x4b], "number of frames is missing"),
            (&[0x4b, 0], "holds no frame"),
            (&[0x4b, 7], "longer than 120 ms"),
            (&[0xe3, 49], "longer than 120 ms"),
            (&[0x4b, 0x41, 255], "padding is cut"),
            (&[0x4b, 0x41, 9, 1], "padding is longer"),
            (&[0x4b, 2, 1, 2, 3], "differ in length"),
            (&[0x4b, 0x82], "length of a frame is cut"),
            (&[0x4b, 0x82, 9, 1], "frames are longer than the packet"),
            (&long, "longer than 1,275"),
        ] {
            let error = OpusPacket::parse(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_sender_with_dtx_sends_a_byte_or_none() {
        assert_eq!((OpusPacket::NOTHING.samples(), OpusPacket::NOTHING.is_quiet()), (0, true));
        assert_eq!(OpusPacket::parse(&[]).unwrap(), OpusPacket::NOTHING);
        let byte = OpusPacket::parse(&[0x48]).unwrap();
        assert_eq!((byte.samples(), byte.is_quiet()), (960, true));
        assert!(!OpusPacket::parse(&[0x48, 1, 2]).unwrap().is_quiet());
    }

    #[test]
    fn a_packet_gives_its_frames() {
        let long = [vec![0x4a, 252, 1], vec![7; 256], vec![8; 9]].concat();
        let padded = [&[0x4b, 0xc3, 3, 1, 0, 10, 30, 31, 0, 0, 0][..]].concat();
        for (bytes, frames) in [
            (&[][..], &[][..]),
            (&[0x48], &[&[][..]]),
            (&[0x48, 1, 2], &[&[1, 2]]),
            (&[0x49, 1, 2, 3, 4], &[&[1, 2], &[3, 4]]),
            (&[0x4a, 1, 2, 3, 4], &[&[2], &[3, 4]]),
            (&long, &[&[7; 256], &[8; 9]]),
            (&[0x4b, 3, 1, 2, 3], &[&[1], &[2], &[3]]),
            (&[0x4b, 0x42, 1, 1, 2, 0], &[&[1], &[2]]),
            (&padded, &[&[10], &[], &[30, 31]]),
        ] {
            let packet = OpusPacket::parse(bytes).unwrap();
            assert_eq!(packet.frames().collect::<Vec<_>>(), frames, "{bytes:?}");
        }
    }

    #[test]
    fn padding_and_frames_of_several_lengths_are_read() {
        // Three frames of 1, 2 and 3 bytes, then 2 bytes of padding.
        let packet = [0x4b, 0xc3, 2, 1, 2, 10, 20, 21, 30, 31, 32, 0, 0];
        assert_eq!(OpusPacket::parse(&packet).unwrap().samples(), 2880);
        // 255 says 254 bytes and another length byte.
        let mut padded = vec![0x48 | 3, 0x41, 255, 0, 5];
        padded.extend([0; 254]);
        assert!(OpusPacket::parse(&padded).is_ok());
        padded.pop();
        padded.pop();
        assert!(OpusPacket::parse(&padded).is_err());
    }
}
