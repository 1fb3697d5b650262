//! Ogg Opus files (RFC 7845) in and out: samples at 48 kHz mono, or Opus packets as they came.
//!
//! Two ways lead into a file. [`write()`] and [`to_bytes`] encode samples. A [`Writer`] takes Opus packets and writes them
//! as they are, with nothing decoded in between: what a voice said, frame by frame, with what was lost marked as lost.
//! Either way the file plays for exactly as long as the sound was, from its first sample on.
//!
//! Read are files of one or two channels, of any frame size, also several joined end to end. A file that was cut off is
//! read as far as it goes. Nothing is reserved by what a header claims, but Opus can say silence in very few bytes: a
//! file of a few kilobytes may hold the hour that is the most that is read.

mod reader;
mod writer;

use std::{io::Read, path::Path};

use super::{
    Encoder, Encoding, FRAME_SAMPLES, SILENCE,
    recording::{self, Trouble},
    wav::MAX_SAMPLES,
};
use crate::{
    error::{Error, Item, Result},
    frame::{FRAME_HEADER, MAX_OPUS, VoiceFrame},
};

pub use writer::{Head, Writer};

/// How an Ogg file begins.
pub(super) const MAGIC: [u8; 4] = *b"OggS";

/// Bit rate of a file that is encoded here, in kbit/s: what an ear heard may be several voices at once.
const KILOBITS: u32 = 48;

/// Reads the file at `path`, decoded to 48 kHz mono, full scale ±1.
///
/// # Errors
/// [`Error::File`], which names the file and says what is wrong: it cannot be read, is no Ogg Opus, is damaged, holds
/// no sound, is longer than an hour, or has more than two channels.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<f32>> {
    recording::at(path.as_ref(), from_reader)
}

/// Reads an Ogg Opus file from memory, decoded to 48 kHz mono, full scale ±1.
///
/// # Errors
/// [`Error::Malformed`] if it is no Ogg Opus, is damaged, holds no sound, is longer than an hour, or has more than two
/// channels.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<f32>> {
    from_reader(bytes).map_err(|trouble| recording::in_memory(Item::Ogg, trouble))
}

/// Encodes `samples` (48 kHz mono, full scale ±1; what is no number becomes silence) and writes them as an Ogg Opus
/// file, which plays for as many samples.
///
/// # Errors
/// [`Error::File`] if the file cannot be written; [`Error::Unusable`] above [`MAX_SAMPLES`]; [`Error::Codec`] if
/// libopus fails.
pub fn write(path: impl AsRef<Path>, samples: &[f32]) -> Result<()> {
    recording::save(path.as_ref(), &to_bytes(samples)?)
}

/// The bytes of an Ogg Opus file of `samples` (48 kHz mono, full scale ±1; what is no number becomes silence), which
/// plays for as many samples.
///
/// ```
/// use parlor::sound::ogg;
///
/// let tone: Vec<f32> = (0..48_000).map(|i| (i as f32 * 0.06).sin() * 0.3).collect();
/// let file = ogg::to_bytes(&tone)?;
/// assert_eq!(ogg::from_bytes(&file)?.len(), tone.len());
/// # Ok::<(), parlor::Error>(())
/// ```
///
/// # Errors
/// [`Error::Unusable`] above [`MAX_SAMPLES`]; [`Error::Codec`] if libopus fails.
pub fn to_bytes(samples: &[f32]) -> Result<Vec<u8>> {
    if samples.len() > MAX_SAMPLES {
        let why = "they are more than an hour: write several files";
        return Err(Error::Unusable { what: "samples of an Ogg Opus file", why });
    }
    let head = Head::default();
    let mut writer = Writer::new(Vec::new(), head)?;
    let mut encode = encoder()?;
    // As many frames as bring the last sample out of the encoder, which is behind by the pre-skip.
    let frames = (samples.len() + usize::from(head.pre_skip())).div_ceil(FRAME_SAMPLES);
    let mut chunks = samples.chunks(FRAME_SAMPLES);
    for _ in 0..frames {
        let mut frame = SILENCE;
        for (slot, sample) in frame.iter_mut().zip(chunks.next().unwrap_or_default()) {
            *slot = if sample.is_finite() { *sample } else { 0.0 };
        }
        encode(&frame, &mut writer)?;
    }
    writer.finish_at(samples.len() as u64)
}

/// What encodes a frame and gives its packet to a writer. The file is as plain as the sound in it, so its packets'
/// sizes need hide nothing.
fn encoder() -> Result<impl FnMut(&super::Samples, &mut Writer<Vec<u8>>) -> Result<()>> {
    let encoding = Encoding::default().kilobits(KILOBITS)?.expected_loss(0)?.variable_size_tells_words();
    let mut encoder = Encoder::new(encoding)?;
    let mut payload = [0; FRAME_HEADER + MAX_OPUS];
    Ok(move |frame: &super::Samples, writer: &mut Writer<Vec<u8>>| {
        let len = encoder.encode(frame, &mut payload)?;
        writer.packet(VoiceFrame::parse(payload.get(..len).unwrap_or_default())?.opus.bytes())
    })
}

pub(super) fn from_reader(source: impl Read) -> Result<Vec<f32>, Trouble> {
    reader::read(source)
}
