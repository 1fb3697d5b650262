//! From the first byte of a WAV file to the first byte of its sound.
//!
//! Headers are taken as they are found, not as they should be: chunks that are not known are left out, and so is what
//! is not known of a `fmt ` chunk. A chunk of odd length has a pad byte behind it, or has not: the next chunk's name
//! tells. A length of the sound that cannot be (0 or −1 of a pipe, or more than there is) means up to the end.

use std::io::Read;

use super::{
    ima,
    samples::{Encoding, Order},
    source::Source,
};
use crate::sound::recording::{Trouble, named};

/// Of a `fmt ` chunk, as far as anything in it is known.
const FORMAT: usize = 40;

/// The end of a sub-format that is a format tag (KSDATAFORMAT_SUBTYPE_…), its first six bytes left out.
const TAGGED: [u8; 10] = [0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// The same of one that is a format tag in Ambisonic B-format.
const AMBISONIC: [u8; 10] = [0xd3, 0x11, 0x86, 0x44, 0xc8, 0xc1, 0xca, 0, 0, 0];

const NO_SOUND: &str = "it holds no sound: record it again";
const SHORT_HEADER: &str = "its header is cut short: record it again";

/// How the sound of a file is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Format {
    pub(super) encoding: Encoding,
    pub(super) order: Order,
    /// At least 1.
    pub(super) channels: u16,
    pub(super) rate: u32,
    /// Where the channels stand, a bit for each position, if the file says so.
    pub(super) positions: Option<u32>,
}

/// Reads up to the sound: how it is stored, and how many bytes there are, if the file knows.
pub(super) fn read<R: Read>(source: &mut Source<R>) -> Result<(Format, Option<u64>), Trouble> {
    let mut head = [0; 12];
    let got = source.fill(&mut head)?;
    let (magic, form) = (head.get(..4).unwrap_or_default(), head.get(8..).unwrap_or_default());
    let order = match (magic, form) {
        (b"RIFF" | b"RF64" | b"BW64", b"WAVE") => Order::Little,
        (b"RIFX", b"WAVE") => Order::Big,
        _ => return Err(Trouble::Bad(named(head.get(..got).unwrap_or_default()).unwrap_or("it is no WAV file"))),
    };
    let (mut format, mut long) = (None, None);
    let mut odd = false;
    while let Some((id, len)) = chunk(source, order, odd)? {
        odd = len % 2 == 1;
        match &id {
            b"data" => {
                let format = format.ok_or(Trouble::Bad("its sound comes before its format: it cannot be read"))?;
                match sound(source, len, long)? {
                    Length::Empty => {}
                    Length::Bytes(bytes) => return Ok((format, Some(bytes))),
                    Length::ToTheEnd => return Ok((format, None)),
                }
            }
            b"fmt " => {
                let mut bytes = [0; FORMAT];
                let known = (len as usize).min(FORMAT);
                if source.fill(bytes.get_mut(..known).unwrap_or_default())? < known {
                    return Err(Trouble::Bad(SHORT_HEADER));
                }
                source.skip(u64::from(len) - known as u64)?;
                format = Some(self::format(Fields { bytes: bytes.get(..known).unwrap_or_default(), order })?);
            }
            b"ds64" => {
                let mut bytes = [0; 16];
                let known = source.fill(bytes.get_mut(..(len as usize).min(16)).unwrap_or_default())?;
                long = bytes.last_chunk().filter(|_| known == 16).map(|bytes| match order {
                    Order::Little => u64::from_le_bytes(*bytes),
                    Order::Big => u64::from_be_bytes(*bytes),
                });
                source.skip(u64::from(len).saturating_sub(16))?;
            }
            _ => source.skip(len.into())?,
        }
    }
    Err(Trouble::Bad(if format.is_some() { NO_SOUND } else { SHORT_HEADER }))
}

/// Up to where the sound goes.
enum Length {
    Empty,
    Bytes(u64),
    ToTheEnd,
}

fn sound<R: Read>(source: &mut Source<R>, len: u32, long: Option<u64>) -> Result<Length, Trouble> {
    if len == u32::MAX {
        return Ok(long.filter(|bytes| *bytes > 0).map_or(Length::ToTheEnd, Length::Bytes));
    }
    if len > 0 {
        return Ok(Length::Bytes(len.into()));
    }
    // No sound and another chunk, or sound whose length was never written.
    let mut next = [0; 8];
    let got = source.fill(&mut next)?;
    source.unread(next.get(..got).unwrap_or_default());
    Ok(if got == 0 || is_id(&next) { Length::Empty } else { Length::ToTheEnd })
}

/// The name and length of the next chunk, if there is one.
fn chunk<R: Read>(source: &mut Source<R>, order: Order, after_odd: bool) -> Result<Option<([u8; 4], u32)>, Trouble> {
    let mut next = [0; 9];
    let len = if after_odd { 9 } else { 8 };
    let got = source.fill(next.get_mut(..len).unwrap_or_default())?;
    let [first, rest @ ..] = next;
    let unpadded = after_odd && is_id(&next) && !is_known(&rest);
    let header = if after_odd && !unpadded {
        rest
    } else {
        [first, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6]]
    };
    if got < if after_odd && !unpadded { 9 } else { 8 } {
        return Ok(None);
    }
    if unpadded {
        source.unread(&[rest[7]]);
    }
    let [a, b, c, d, length @ ..] = header;
    let length = match order {
        Order::Little => u32::from_le_bytes(length),
        Order::Big => u32::from_be_bytes(length),
    };
    Ok(Some(([a, b, c, d], length)))
}

/// Whether these bytes begin with something that can be a chunk's name.
fn is_id(bytes: &[u8]) -> bool {
    bytes.get(..4).is_some_and(|id| id.iter().all(|byte| matches!(byte, b' '..=b'~')))
}

/// Whether these bytes begin with the name of a chunk that matters here.
fn is_known(bytes: &[u8]) -> bool {
    matches!(bytes.get(..4), Some(b"fmt " | b"data" | b"fact" | b"LIST" | b"ds64"))
}

/// The numbers of a `fmt ` chunk.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    order: Order,
}

impl Fields<'_> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    fn short(self, at: usize) -> Option<u16> {
        let bytes = self.array(at)?;
        Some(match self.order {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        })
    }

    fn long(self, at: usize) -> Option<u32> {
        let bytes = self.array(at)?;
        Some(match self.order {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        })
    }
}

fn format(fields: Fields<'_>) -> Result<Format, Trouble> {
    let short = Trouble::Bad(SHORT_HEADER);
    let (Some(tag), Some(channels), Some(rate)) = (fields.short(0), fields.short(2), fields.long(4)) else {
        return Err(short);
    };
    let (Some(block), Some(bits)) = (fields.short(12), fields.short(14)) else { return Err(short) };
    let (tag, valid, positions) = match tag {
        0xfffe => extended(fields, bits)?,
        _ => (tag, bits, None),
    };
    if channels == 0 {
        return Err(Trouble::Bad("it says that it has no channels"));
    }
    // The container: what a block has for each channel, where that can be.
    let share = if block % channels == 0 { block / channels } else { 0 };
    let width = if share <= 8 && share * 8 >= bits { share } else { bits.div_ceil(8) };
    let encoding = match (tag, width) {
        (1, 1..=8) => {
            let valid = if (1..=8 * width).contains(&valid) { valid } else { 8 * width };
            Encoding::Integer { width: width.into(), valid: valid.into() }
        }
        (1, _) => return Err(Trouble::Bad("its samples have more than 64 bits, or none")),
        (3, 4) => Encoding::Float,
        (3, 8) => Encoding::Double,
        (3, _) => return Err(Trouble::Bad("its floats have neither 32 nor 64 bits")),
        (6, _) => Encoding::ALaw,
        (7, _) => Encoding::MuLaw,
        (0x11, _) if fields.order == Order::Little && bits == 4 => {
            let block = usize::from(block);
            if block < ima::TURN * usize::from(channels) {
                return Err(Trouble::Bad("its blocks of IMA ADPCM are too short: record it again"));
            }
            Encoding::Ima { block }
        }
        _ => return Err(Trouble::Bad(of_tag(tag))),
    };
    Ok(Format { encoding, order: fields.order, channels, rate, positions })
}

/// The tag, the valid bits and the positions of a WAVEFORMATEXTENSIBLE.
fn extended(fields: Fields<'_>, bits: u16) -> Result<(u16, u16, Option<u32>), Trouble> {
    let (Some(valid), Some(positions), Some(tag)) = (fields.short(18), fields.long(20), fields.long(24)) else {
        return Err(Trouble::Bad(SHORT_HEADER));
    };
    let (Some(middle), Some(end)) = (fields.short(28), fields.array::<10>(30)) else {
        return Err(Trouble::Bad(SHORT_HEADER));
    };
    // Of the ten bytes two are a number, whose order is the file's.
    let end = match (fields.order, end) {
        (Order::Big, [a, b, rest @ ..]) => {
            let [c, d, e, f, g, h, i, j] = rest;
            [b, a, c, d, e, f, g, h, i, j]
        }
        (Order::Little, end) => end,
    };
    match (u16::try_from(tag), middle, end) {
        (Ok(tag), 0, TAGGED) => Ok((tag, if valid == 0 { bits } else { valid }, Some(positions))),
        (Ok(_), 0x0721, AMBISONIC) => Err(Trouble::Bad("it is Ambisonic (B-format), which is not read")),
        _ => Err(Trouble::Bad("its sub-format is not known, and not read")),
    }
}

/// What is in a file of a format that is not read (RFC 2361, and the registry that came after it).
const fn of_tag(tag: u16) -> &'static str {
    match tag {
        0x0002 => "it holds Microsoft ADPCM, which is not read",
        0x0010 | 0x0017 => "it holds OKI or Dialogic ADPCM, which is not read",
        0x0011 => "it holds IMA ADPCM of a kind that is not read",
        0x0014 | 0x0040 | 0x0045 | 0x0064 | 0x0085 => "it holds G.721 or G.726 ADPCM, which is not read",
        0x0020 => "it holds Yamaha ADPCM, which is not read",
        0x0022 => "it holds TrueSpeech, which is not read",
        0x0031 => "it holds GSM 6.10, which is not read",
        0x0042 | 0x0111 => "it holds G.723.1, which is not read",
        0x0050 => "it holds MPEG layer 1 or 2, which is not read",
        0x0055 => "it is an MP3 in a WAV, which is not read",
        0x0065 | 0x028f => "it holds G.722, which is not read",
        0x0083 | 0x0133 => "it holds G.729, which is not read",
        0x0092 | 0x2000 => "it holds AC-3, which is not read",
        0x00ff | 0x1600 | 0x1602 | 0x1610 | 0x706d | 0xa106 => "it holds AAC, which is not read",
        0x0160..=0x0164 => "it holds Windows Media Audio, which is not read",
        0x0270 => "it holds ATRAC3, which is not read",
        0x2001 => "it holds DTS, which is not read",
        0x5756 => "it holds WavPack, which is not read",
        0x566f | 0x674f..=0x6771 => "it holds Vorbis, which is not read",
        0x704f => "it holds Opus in a WAV, which is not read",
        0xa109 => "it holds Speex, which is not read",
        0xf1ac => "it holds FLAC in a WAV, which is not read",
        _ => "it holds a kind of sound that is not read",
    }
}
