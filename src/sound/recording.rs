//! Recordings: sound files of any kind that is read here, told apart by their first bytes.
//!
//! [`read`] takes WAV files ([`wav`]) and Ogg Opus files ([`ogg`]), whatever they are called. Any other kind is named
//! in the error.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use super::{ogg, wav};
use crate::error::{Error, Item, Result};

/// Reads the WAV or Ogg Opus file at `path`: mono at 48 kHz, full scale ±1.
///
/// ```no_run
/// let voice = parlor::sound::recording::read("memo.opus")?;
/// println!("{} s", voice.len() / 48_000);
/// # Ok::<(), parlor::Error>(())
/// ```
///
/// # Errors
/// As [`wav::read`] and [`ogg::read`].
pub fn read(path: impl AsRef<Path>) -> Result<Vec<f32>> {
    at(path.as_ref(), |mut file| {
        let mut head = Vec::new();
        file.by_ref().take(ogg::MAGIC.len() as u64).read_to_end(&mut head)?;
        let whole = head.as_slice().chain(file);
        if head == ogg::MAGIC { ogg::from_reader(whole) } else { wav::from_reader(whole) }
    })
}

/// Reads a WAV or Ogg Opus file from memory: mono at 48 kHz, full scale ±1.
///
/// # Errors
/// As [`wav::from_bytes`] and [`ogg::from_bytes`].
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<f32>> {
    if bytes.starts_with(&ogg::MAGIC) { ogg::from_bytes(bytes) } else { wav::from_bytes(bytes) }
}

/// What kept a recording from being read.
pub(super) enum Trouble {
    /// The system.
    Read(io::Error),
    /// The bytes, and what is wrong with them.
    Bad(&'static str),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// What is read from the file at `path`; an error names it.
pub(super) fn at<T>(path: &Path, read: impl FnOnce(BufReader<File>) -> Result<T, Trouble>) -> Result<T> {
    let in_file = |source| Error::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(in_file)?;
    read(BufReader::new(file)).map_err(|trouble| {
        in_file(match trouble {
            Trouble::Read(source) => source,
            Trouble::Bad(why) => io::Error::new(io::ErrorKind::InvalidData, why),
        })
    })
}

/// Writes the file at `path`; an error names it.
pub(super) fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// The error of bytes in memory that were taken for `what`.
pub(super) fn in_memory(what: Item, trouble: Trouble) -> Error {
    let why = match trouble {
        Trouble::Read(_) => "it cannot be read",
        Trouble::Bad(why) => why,
    };
    Error::Malformed { what, why }
}

/// What a file is whose first bytes are these, if it is of a known kind that no reader here takes.
pub(super) fn named(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [] => "it is empty",
        [b'O', b'g', b'g', b'S', ..] => "it is an Ogg file, and no WAV: read it by `sound::recording::read`",
        [b'R', b'I', b'F' | b'f', b'F' | b'X' | b'f', ..] if head.len() < 12 => {
            "its header is cut short: record it again"
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => "it is an AVI film, which is not read",
        [b'r', b'i', b'f', b'f', ..] => "it is a Wave64 file (Sony), which is not read",
        [b'f', b'L', b'a', b'C', ..] => "it is a FLAC file, which is not read",
        [b'I', b'D', b'3', ..] => "it is an MP3 file, which is not read",
        [0xff, 0xf0 | 0xf1 | 0xf8 | 0xf9, ..] => "it is an AAC file (ADTS), which is not read",
        [0xff, 0xe2..=0xff, ..] => "it is an MP3 file, which is not read",
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => {
            "it is an AIFF file, which is not read"
        }
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "it is an MP4 or M4A file, which is not read",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "it is a WebM or Matroska file, which is not read",
        [0x30, 0x26, 0xb2, 0x75, ..] => "it is a Windows Media file, which is not read",
        [b'c', b'a', b'f', b'f', ..] => "it is a CAF file, which is not read",
        [b'.', b's', b'n', b'd', ..] => "it is an AU file, which is not read",
        [b'#', b'!', b'A', b'M', b'R', ..] => "it is an AMR file, which is not read",
        [b'w', b'v', b'p', b'k', ..] => "it is a WavPack file, which is not read",
        [b'M', b'A', b'C', b' ', ..] => "it is a Monkey's Audio file, which is not read",
        _ => return None,
    })
}
