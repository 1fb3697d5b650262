//! WAV files in and out: samples at 48 kHz mono inside, any common file outside.
//!
//! Read are integers of 8, 16, 24 and 32 bits and floats of 32, any number of channels (mixed down by their
//! mean), any rate from 8 to 192 kHz. The header is the file's word only: nothing is reserved by what it claims,
//! and a file that holds less than its header says, or more than an hour, is refused.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read},
    path::Path,
};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use rubato::{Fft, FixedSync, Resampler, audioadapter_buffers::direct::InterleavedSlice};

use super::SAMPLE_RATE;
use crate::error::{Error, Item, Result};

/// The most samples a file may hold in a channel: one hour at 48 kHz.
pub const MAX_SAMPLES: usize = 3600 * SAMPLE_RATE as usize;

/// The furthest a float may be from zero, 120 dB above full scale: sums and filters of larger ones could overflow.
const MAX_SAMPLE: f32 = 1e6;

/// Input samples that the resampler takes at once, about.
const CHUNK: usize = 1024;

/// Reads the file at `path`, mixed down to mono and resampled to 48 kHz, full scale ±1.
///
/// # Errors
/// [`Error::File`], which names the file and says what is wrong: it cannot be read, is no WAV, is cut short, is
/// empty, is too long, or is of a kind that is not read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<f32>> {
    let path = path.as_ref();
    let in_file = |source| Error::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(in_file)?;
    from_reader(BufReader::new(file)).map_err(|trouble| {
        in_file(match trouble {
            Trouble::Read(source) => source,
            Trouble::Wav(why) => io::Error::new(io::ErrorKind::InvalidData, why),
        })
    })
}

/// Reads a WAV file from memory, mixed down to mono and resampled to 48 kHz, full scale ±1.
///
/// # Errors
/// [`Error::Malformed`] if it is no WAV, is cut short, is empty, is too long, or is of a kind that is not read.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<f32>> {
    from_reader(bytes).map_err(|trouble| {
        let why = match trouble {
            Trouble::Read(_) => CUT_SHORT,
            Trouble::Wav(why) => why,
        };
        Error::Malformed { what: Item::Wav, why }
    })
}

/// Writes `samples` (48 kHz mono, full scale ±1; what is beyond is clipped) as a WAV file of 16 bits.
///
/// # Errors
/// [`Error::File`] if the file cannot be written; [`Error::Unusable`] above [`MAX_SAMPLES`].
pub fn write(path: impl AsRef<Path>, samples: &[f32]) -> Result<()> {
    let bytes = to_bytes(samples)?;
    let path = path.as_ref();
    std::fs::write(path, bytes).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// The bytes of a WAV file of 16 bits that holds `samples` (48 kHz mono, full scale ±1; what is beyond is
/// clipped).
///
/// # Errors
/// [`Error::Unusable`] above [`MAX_SAMPLES`].
pub fn to_bytes(samples: &[f32]) -> Result<Vec<u8>> {
    let unusable = |why| Error::Unusable { what: "samples of a WAV file", why };
    if samples.len() > MAX_SAMPLES {
        return Err(unusable("they are more than an hour: write several files"));
    }
    let spec = WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut bytes = Vec::with_capacity(44 + 2 * samples.len());
    let mut write = || -> hound::Result<()> {
        let mut writer = WavWriter::new(Cursor::new(&mut bytes), spec)?;
        for sample in samples {
            // The cast saturates, and makes 0 of what is no number.
            writer.write_sample((sample * 32_768.0).round() as i16)?;
        }
        writer.finalize()
    };
    write().map_err(|_| unusable("they cannot be written"))?;
    Ok(bytes)
}

/// Resamples mono `samples` from `rate` to 48 kHz. The length comes out as length × 48,000 / `rate`, rounded up,
/// and the first sample stays the first: the filter's delay is taken off.
///
/// # Errors
/// [`Error::Unusable`] if `rate` is outside of 8 to 192 kHz.
pub fn resample(samples: Vec<f32>, rate: u32) -> Result<Vec<f32>> {
    if !(8_000..=192_000).contains(&rate) {
        return Err(Error::Unusable { what: "sampling rate", why: "choose 8 to 192 kHz" });
    }
    if rate == SAMPLE_RATE || samples.is_empty() {
        return Ok(samples);
    }
    let failed = |_| Error::Unusable { what: "samples", why: "the resampler cannot take them" };
    let input = InterleavedSlice::new(&samples, 1, samples.len()).map_err(|_| failed(()))?;
    // An even number of blocks: the filter's middle, which is taken off as its delay, is then a whole sample.
    let block = rate / gcd(rate, SAMPLE_RATE);
    let chunk = CHUNK.next_multiple_of(2 * block as usize);
    Fft::<f32>::new(rate as usize, SAMPLE_RATE as usize, chunk, 1, FixedSync::Both)
        .map_err(|_| failed(()))?
        .process_all(&input, samples.len(), None)
        .map(|output| {
            let mut output = output.take_data();
            // The resampler rounds a ratio of floats up, which at 11,025 Hz is one sample too many.
            output.truncate((samples.len() as u64 * u64::from(SAMPLE_RATE)).div_ceil(rate.into()) as usize);
            output
        })
        .map_err(|_| failed(()))
}

/// What kept a file from being read.
enum Trouble {
    Read(io::Error),
    Wav(&'static str),
}

const CUT_SHORT: &str = "it is cut short, or no WAV file: it holds less than its header says";

impl From<hound::Error> for Trouble {
    fn from(error: hound::Error) -> Self {
        match error {
            hound::Error::IoError(error) => match error.kind() {
                // How hound says that the bytes have ended.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => Self::Wav(CUT_SHORT),
                _ => Self::Read(error),
            },
            hound::Error::FormatError("no RIFF tag found" | "no WAVE tag found") => Self::Wav("it is no WAV file"),
            hound::Error::FormatError(why) => Self::Wav(why),
            _ => Self::Wav("it is a WAV file of a kind that is not read"),
        }
    }
}

fn from_reader(source: impl Read) -> Result<Vec<f32>, Trouble> {
    let mut reader = WavReader::new(source)?;
    let WavSpec { channels, sample_rate, bits_per_sample, sample_format } = reader.spec();
    if !(8_000..=192_000).contains(&sample_rate) {
        return Err(Trouble::Wav("its sampling rate is outside of 8 to 192 kHz"));
    }
    if reader.duration() == 0 {
        return Err(Trouble::Wav("it holds no sound"));
    }
    if reader.duration() as usize > MAX_SAMPLES {
        return Err(Trouble::Wav("it claims more sound than is read, one hour at 48 kHz: cut it"));
    }
    let mono = match sample_format {
        SampleFormat::Float => mix_down(reader.samples::<f32>(), channels)?,
        SampleFormat::Int => {
            let full = f64::from(bits_per_sample.saturating_sub(1)).exp2();
            let samples = reader.samples::<i32>().map(|sample| sample.map(f64::from));
            mix_down(samples.map(|sample| sample.map(|x| (x / full) as f32)), channels)?
        }
    };
    resample(mono, sample_rate).map_err(|_| Trouble::Wav("it cannot be resampled"))
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The mean of the channels, moment by moment.
fn mix_down(samples: impl Iterator<Item = hound::Result<f32>>, channels: u16) -> Result<Vec<f32>, Trouble> {
    let mut mono = Vec::new();
    let (mut sum, mut left) = (0.0, channels);
    for sample in samples {
        let sample = sample?;
        if !(-MAX_SAMPLE..=MAX_SAMPLE).contains(&sample) {
            return Err(Trouble::Wav("it holds a sample that is no number, or a million times full scale"));
        }
        sum += sample;
        left -= 1;
        if left == 0 {
            mono.push(sum / f32::from(channels));
            (sum, left) = (0.0, channels);
        }
    }
    Ok(mono)
}
