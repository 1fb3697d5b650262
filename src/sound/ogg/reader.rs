//! From an Ogg Opus file (RFC 7845) to samples.
//!
//! Anybody may have made the file. Pages are at most 64 kB each and have a checksum, a packet is at most as long as
//! [`MOST_BYTES`], and the sound at most an hour. Pages of other streams in the file are left out.

use std::io::Read;

use ogg::reading::{BasePacketReader, OggReadError, PageParser};

use super::MAGIC;
use crate::{
    error::{Error, Item},
    frame::OpusPacket,
    sound::{
        Channels, Decoder,
        decoder::CEILING,
        recording::{Trouble, named},
        wav::MAX_SAMPLES,
    },
};

/// The longest packet: comments may hold pictures.
const MOST_BYTES: usize = 16 << 20;

const NO_OGG_OPUS: &str = "it is no Ogg Opus file";
const TOO_LONG: &str = "it is longer than an hour, the most that is read: cut it";
const DAMAGED: &str = "it is damaged: get it again from where it came from";

/// A page: its header, its lengths and its bytes.
struct Page {
    header: [u8; 27],
    lengths: Vec<u8>,
    body: Vec<u8>,
}

impl Page {
    /// Reads the next page, or `None` if the file ends before it does. The `first` tells what the file is.
    fn next(source: &mut impl Read, first: bool) -> Result<Option<Self>, Trouble> {
        let mut header = [0; 27];
        let Some(()) = fill(source, &mut header)? else { return Ok(None) };
        if !header.starts_with(&MAGIC) {
            return Err(Trouble::Bad(match &header {
                _ if !first => DAMAGED,
                [b'R', b'I' | b'F', b'F' | b'6', ..] => {
                    "it is a WAV file, and no Ogg: read it by `sound::recording::read`"
                }
                _ => named(&header).unwrap_or(NO_OGG_OPUS),
            }));
        }
        let mut lengths = vec![0; header[26].into()];
        let Some(()) = fill(source, &mut lengths)? else { return Ok(None) };
        let mut body = vec![0; lengths.iter().copied().map(usize::from).sum()];
        let Some(()) = fill(source, &mut body)? else { return Ok(None) };
        Ok(Some(Self { header, lengths, body }))
    }

    const fn is_first(&self) -> bool {
        self.header[5] & 2 != 0
    }

    const fn is_last(&self) -> bool {
        self.header[5] & 4 != 0
    }

    const fn serial(&self) -> [u8; 4] {
        let [.., a, b, c, d, _, _, _, _, _, _, _, _, _] = self.header;
        [a, b, c, d]
    }

    /// Samples up to the end of the last packet that ends on it, or `None` if none does.
    fn position(&self) -> Option<u64> {
        let position = self.header.get(6..14)?.first_chunk()?;
        Some(u64::from_le_bytes(*position)).filter(|position| *position != u64::MAX)
    }
}

/// Fills `out`, or is `None` if there is less.
fn fill(source: &mut impl Read, out: &mut [u8]) -> Result<Option<()>, Trouble> {
    match source.read_exact(out) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Decodes all of a file.
pub(super) fn read(mut source: impl Read) -> Result<Vec<f32>, Trouble> {
    let mut sound = Vec::new();
    let mut stream: Option<Stream> = None;
    let (mut other, mut first) = (None, true);
    loop {
        let page = match Page::next(&mut source, std::mem::take(&mut first)) {
            Ok(Some(page)) => page,
            Ok(None) => break,
            // What comes after the end of a stream may be anything.
            Err(Trouble::Bad(_)) if stream.as_ref().is_some_and(|stream| stream.ended) => break,
            Err(Trouble::Bad(_)) if stream.is_none() && other.is_some() => break,
            Err(trouble) => return Err(trouble),
        };
        match &mut stream {
            // A first page after sound begins another stream, though the one before it was cut off.
            Some(stream) if !(stream.ended || page.is_first() && stream.decoded > 0) => {
                // Some files repeat the first one.
                if page.serial() == stream.serial && !page.is_first() {
                    stream.take(page, &mut sound)?;
                }
            }
            _ if page.is_first() && page.body.starts_with(b"OpusHead") => {
                stream = Some(Stream::new(page, sound.len())?);
            }
            _ => other = other.or(of_stream(&page.body)),
        }
    }
    match stream {
        None => Err(Trouble::Bad(other.unwrap_or(NO_OGG_OPUS))),
        Some(_) if sound.is_empty() => Err(Trouble::Bad("it holds no sound: record it again")),
        Some(_) if sound.len() > MAX_SAMPLES => Err(Trouble::Bad(TOO_LONG)),
        Some(_) => Ok(sound),
    }
}

/// What a stream holds that is no Opus.
fn of_stream(body: &[u8]) -> Option<&'static str> {
    Some(match body {
        [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => "it is Ogg Vorbis, which is not read",
        [0x7f, b'F', b'L', b'A', b'C', ..] => "it is Ogg FLAC, which is not read",
        [b'S', b'p', b'e', b'e', b'x', ..] => "it is Ogg Speex, which is not read",
        [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => "it is an Ogg film without Opus, which is not read",
        _ => return None,
    })
}

/// One stream of a file, from its first page to its last.
struct Stream {
    serial: [u8; 4],
    packets: BasePacketReader,
    decoder: Decoder,
    /// What all samples are multiplied with.
    gain: f32,
    /// Bytes of the packet that has not ended.
    waiting: usize,
    /// The comments have come, and sound comes after them.
    tags: bool,
    /// Of the file's sound, what came before this stream.
    from: usize,
    /// Samples decoded, those that are skipped among them.
    decoded: u64,
    pre_skip: u64,
    /// The position at which the stream begins: not 0 if it was cut out of a longer one.
    start: Option<u64>,
    ended: bool,
}

impl Stream {
    fn new(page: Page, from: usize) -> Result<Self, Trouble> {
        let (pre_skip, gain) = head(&page.body)?;
        let decoder = Decoder::new(Channels::Mono).map_err(|_| Trouble::Bad("Opus failed"))?;
        // In 1/256 dB (RFC 7845 §5.1).
        let gain = 10_f32.powf(f32::from(gain) / (20.0 * 256.0));
        let (serial, packets) = (page.serial(), BasePacketReader::new());
        let (pre_skip, start) = (pre_skip.into(), None);
        let mut stream = Self {
            serial,
            packets,
            decoder,
            gain,
            waiting: 0,
            tags: false,
            from,
            decoded: 0,
            pre_skip,
            start,
            ended: false,
        };
        stream.take(page, &mut Vec::new())?;
        Ok(stream)
    }

    /// Decodes a page.
    fn take(&mut self, page: Page, sound: &mut Vec<f32>) -> Result<(), Trouble> {
        let (position, last) = (page.position(), page.is_last());
        self.waiting += page.body.len();
        if self.waiting > MOST_BYTES {
            return Err(Trouble::Bad("it has a packet of more than 16 MiB, which no Opus is"));
        }
        self.push(page).map_err(|_| Trouble::Bad(DAMAGED))?;
        while let Some(packet) = self.packets.read_packet() {
            self.waiting = 0;
            // Some files repeat them.
            match packet.data.as_slice() {
                [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..] => {}
                [b'O', b'p', b'u', b's', b'T', b'a', b'g', b's', ..] => self.tags = true,
                _ if !self.tags => return Err(Trouble::Bad(DAMAGED)),
                opus => self.decode(opus, sound)?,
            }
        }
        if self.decoded > 0 && self.start.is_none() {
            // On a first page that is the last, too, a position that is short cuts the end off (RFC 7845 §4.5).
            self.start = position.map(|position| position.saturating_sub(self.decoded));
        }
        if last {
            self.ended = true;
            let kept = position.unwrap_or(u64::MAX).saturating_sub(self.start.unwrap_or_default());
            let kept = kept.min(self.decoded).saturating_sub(self.pre_skip);
            sound.truncate(self.from.saturating_add(kept as usize));
        }
        Ok(())
    }

    fn push(&mut self, page: Page) -> Result<(), OggReadError> {
        let (mut parser, _) = PageParser::new(page.header)?;
        parser.parse_segments(page.lengths);
        self.packets.push_page(parser.parse_packet_data(page.body)?)
    }

    fn decode(&mut self, opus: &[u8], sound: &mut Vec<f32>) -> Result<(), Trouble> {
        let mut samples = [0.0; Decoder::MAX_SAMPLES];
        let not_opus = |_| Trouble::Bad("it holds a packet that is no Opus: get it again from where it came from");
        let packet = OpusPacket::parse(opus).map_err(not_opus)?;
        if packet == OpusPacket::NOTHING {
            // It would be a lost one, of any length.
            return Err(not_opus(Error::Malformed { what: Item::Opus, why: "it is empty" }));
        }
        let decoded = self.decoder.decode(packet, &mut samples).map_err(not_opus)?;
        let skipped = self.pre_skip.saturating_sub(self.decoded).min(decoded as u64);
        self.decoded += decoded as u64;
        let heard = samples.get(skipped as usize..decoded).unwrap_or_default();
        if sound.len() + heard.len() > MAX_SAMPLES + Decoder::MAX_SAMPLES {
            return Err(Trouble::Bad(TOO_LONG));
        }
        sound.extend(heard.iter().map(|x| (x * self.gain).clamp(-CEILING, CEILING)));
        Ok(())
    }
}

/// Pre-skip and output gain of an identification header (RFC 7845 §5.1).
fn head(bytes: &[u8]) -> Result<(u16, i16), Trouble> {
    let &[_, _, _, _, _, _, _, _, version, channels, skip_0, skip_1, _, _, _, _, gain_0, gain_1, family, ..] = bytes
    else {
        return Err(Trouble::Bad(DAMAGED));
    };
    if version & 0xf0 != 0 {
        return Err(Trouble::Bad("it is of a later version of Ogg Opus, which is not read"));
    }
    match (family, channels) {
        (0, 1 | 2) => Ok((u16::from_le_bytes([skip_0, skip_1]), i16::from_le_bytes([gain_0, gain_1]))),
        (0, _) => Err(Trouble::Bad(DAMAGED)),
        (1, _) => Err(Trouble::Bad("its channels stand around the listener (mapping family 1): mix it down to stereo")),
        (2 | 3, _) => Err(Trouble::Bad("it is Ambisonic (mapping family 2 or 3): mix it down to stereo")),
        _ => Err(Trouble::Bad("its channels have no order (mapping family 255): export one that holds the voice")),
    }
}
