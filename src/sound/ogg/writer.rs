//! From Opus packets to an Ogg Opus file (RFC 7845).
//!
//! The positions on its pages come from the packets themselves (RFC 6716 §3.1), so they cannot be wrong. A page ends
//! once a second: a file whose writer was killed has all but its last second.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

use crate::{
    error::{Error, Item, Result},
    frame::OpusPacket,
    sound::SAMPLE_RATE,
};

/// Samples that the encoder of libopus is behind by: 6.5 ms.
const LOOKAHEAD: u16 = 312;

/// A file's serial number, if it is given none: "parl".
const SERIAL: u32 = 0x7061_726c;

/// The longest that may be marked as lost at once.
const LONGEST_LOSS: Duration = Duration::from_secs(3600);

/// TOC bytes of one frame of 2.5, 5, 10 and 20 ms of CELT at full band, in mono (RFC 6716 §3.1), the longest first,
/// with their samples.
const CELT: [(u8, u64); 4] = [(31 << 3, 960), (30 << 3, 480), (29 << 3, 240), (28 << 3, 120)];

/// Of a TOC byte, all but how many frames there are: mode, bandwidth, frame size and channels.
const CONFIGURATION: u8 = 0b1111_1100;

/// What is said at the front of a file. The default: one channel, from an encoder of libopus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    channels: u8,
    pre_skip: u16,
    serial: u32,
}

impl Default for Head {
    fn default() -> Self {
        Self { channels: 1, pre_skip: LOOKAHEAD, serial: SERIAL }
    }
}

impl Head {
    /// The same for two channels.
    #[must_use]
    pub const fn stereo(self) -> Self {
        Self { channels: 2, ..self }
    }

    /// The same for an encoder that is behind by `samples` at 48 kHz: as many are left out at the front when the file
    /// is played. The default is libopus' own 312. A file that begins in the middle of a voice leaves out 3,840,
    /// the 80 ms in which a decoder finds into it (RFC 7845 §4.6).
    #[must_use]
    pub const fn skipping(self, samples: u16) -> Self {
        Self { pre_skip: samples, ..self }
    }

    /// The same under another serial number: files that are to be joined end to end need one each.
    #[must_use]
    pub const fn serial(self, serial: u32) -> Self {
        Self { serial, ..self }
    }

    /// Samples that are left out at the front.
    pub const fn pre_skip(self) -> u16 {
        self.pre_skip
    }

    /// The identification header, RFC 7845 §5.1.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = b"OpusHead\x01".to_vec();
        bytes.push(self.channels);
        bytes.extend(self.pre_skip.to_le_bytes());
        bytes.extend(SAMPLE_RATE.to_le_bytes());
        bytes.extend([0, 0, 0]); // no gain, channel mapping family 0
        bytes
    }
}

/// Writes Opus packets into an Ogg Opus file as they are, with nothing decoded and nothing encoded.
///
/// ```
/// use parlor::{frame::VoiceFrame, sound::{Encoder, Encoding, SILENCE, ogg::{self, Head, Writer}}};
///
/// let mut encoder = Encoder::new(Encoding::default())?;
/// let mut payload = [0; 64];
/// let mut writer = Writer::new(Vec::new(), Head::default())?;
/// for _ in 0..50 {
///     let len = encoder.encode(&SILENCE, &mut payload)?;
///     writer.packet(VoiceFrame::parse(&payload[..len])?.opus.bytes())?;
/// }
/// let file = writer.finish()?;
/// assert_eq!(ogg::from_bytes(&file)?.len(), 50 * 960 - usize::from(Head::default().pre_skip()));
/// # Ok::<(), parlor::Error>(())
/// ```
pub struct Writer<W: Write> {
    inner: PacketWriter<'static, W>,
    head: Head,
    /// What an error names.
    path: PathBuf,
    /// The last packet: the one that ends the file says so, and which that is shows when there is no other.
    held: Option<Held>,
    /// Samples of all packets, the one that is held among them.
    samples: u64,
    /// Samples up to the end of the last page.
    page: u64,
    /// The configuration of the last packet that was there.
    configuration: Option<u8>,
}

#[derive(Debug)]
struct Held {
    opus: Vec<u8>,
    /// Samples up to its end.
    end: u64,
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { head, path, samples, .. } = self;
        f.debug_struct("Writer")
            .field("head", head)
            .field("path", path)
            .field("samples", samples)
            .finish_non_exhaustive()
    }
}

impl Writer<BufWriter<File>> {
    /// A writer of the file at `path`, which is made, or emptied if it is there.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn create(path: impl AsRef<Path>, head: Head) -> Result<Self> {
        let path = path.as_ref();
        let file = File::create(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Self::over(BufWriter::new(file), head, path.to_owned())
    }
}

impl<W: Write> Writer<W> {
    /// A writer into `sink`, which gets the headers at once.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn new(sink: W, head: Head) -> Result<Self> {
        Self::over(sink, head, PathBuf::from("Ogg Opus file"))
    }

    fn over(sink: W, head: Head, path: PathBuf) -> Result<Self> {
        let inner = PacketWriter::new(sink);
        let mut writer = Self { inner, head, path, held: None, samples: 0, page: 0, configuration: None };
        // Each of the two ends a page (RFC 7845 §3).
        writer.put(head.to_bytes(), PacketWriteEndInfo::EndPage, 0)?;
        let vendor = concat!("parlor ", env!("CARGO_PKG_VERSION"));
        let mut tags = b"OpusTags".to_vec();
        tags.extend((vendor.len() as u32).to_le_bytes());
        tags.extend(vendor.as_bytes());
        tags.extend([0; 4]); // no comments
        writer.put(tags, PacketWriteEndInfo::EndPage, 0)?;
        Ok(writer)
    }

    /// Writes the next packet, of any frame size.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no Opus packet, and nothing is written; [`Error::File`] if the file cannot be
    /// written.
    pub fn packet(&mut self, opus: &[u8]) -> Result<()> {
        let packet = OpusPacket::parse(opus)?;
        if packet == OpusPacket::NOTHING {
            return Err(Error::Malformed { what: Item::Opus, why: "it is empty: say what is lost by `lost`" });
        }
        self.hold(opus.to_vec(), packet.samples() as u64)?;
        self.configuration = opus.first().map(|toc| toc & CONFIGURATION);
        Ok(())
    }

    /// Writes that sound of this length is missing here: lost on the way, or never sent because it was silence. A
    /// player fills it in from what came before, as it would a lost packet (RFC 7845 §4.1).
    ///
    /// # Errors
    /// [`Error::Unusable`] if `time` is no multiple of 2.5 ms, or more than an hour; [`Error::File`] if the file cannot
    /// be written.
    pub fn lost(&mut self, time: Duration) -> Result<()> {
        const UNIT: u128 = 2_500_000;
        let nanoseconds = time.as_nanos();
        if time > LONGEST_LOSS || !nanoseconds.is_multiple_of(UNIT) {
            return Err(Error::Unusable { what: "lost time", why: "give a multiple of 2.5 ms, of an hour at most" });
        }
        let mut left = (nanoseconds / UNIT) as u64 * 120;
        // A packet that is a TOC byte and nothing else is a lost one. Those of the voice's own kind first.
        let own = self.configuration.map(|toc| {
            let frame = OpusPacket::parse(&[toc]).map_or(0, |packet| packet.samples());
            (toc, frame as u64)
        });
        for (toc, samples) in own.into_iter().chain(CELT) {
            while samples > 0 && left >= samples {
                self.hold(vec![toc], samples)?;
                left -= samples;
            }
        }
        Ok(())
    }

    /// Ends the file, and gives back what it was written into. It plays for all packets, the pre-skip left out.
    ///
    /// # Errors
    /// [`Error::Unusable`] if there was no packet; [`Error::File`] if the file cannot be written.
    pub fn finish(self) -> Result<W> {
        let samples = self.samples.saturating_sub(self.head.pre_skip.into());
        self.finish_at(samples)
    }

    /// Ends the file so that it plays for exactly `samples` at 48 kHz, and gives back what it was written into.
    ///
    /// # Errors
    /// [`Error::Unusable`] if there was no packet, if there is less sound than that, or if more than the last page
    /// would be cut off, which is a second of sound at most; [`Error::File`] if the file cannot be written.
    pub fn finish_at(mut self, samples: u64) -> Result<W> {
        let unusable = |why| Error::Unusable { what: "end of an Ogg Opus file", why };
        let end = samples.saturating_add(self.head.pre_skip.into());
        let Some(held) = self.held.take() else {
            return Err(unusable("nothing was written to it: give it a packet first"));
        };
        if samples > 0 && end > self.samples {
            return Err(unusable("there is less sound than that: give it more packets first"));
        }
        if end < self.page {
            return Err(unusable("only of the last page can sound be cut off: leave out packets"));
        }
        self.put(held.opus, PacketWriteEndInfo::EndStream, end.min(self.samples))?;
        self.inner.inner_mut().flush().map_err(|source| Error::File { path: self.path.clone(), source })?;
        Ok(self.inner.into_inner())
    }

    /// How long the file plays so far, in samples at 48 kHz.
    pub fn samples(&self) -> u64 {
        self.samples.saturating_sub(self.head.pre_skip.into())
    }

    /// Writes the packet that was held, and holds this one.
    fn hold(&mut self, opus: Vec<u8>, samples: u64) -> Result<()> {
        if let Some(held) = self.held.take() {
            let full = held.end - self.page >= SAMPLE_RATE.into();
            let end = if full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.put(held.opus, end, held.end)?;
            if full {
                self.page = held.end;
            }
        }
        self.samples += samples;
        self.held = Some(Held { opus, end: self.samples });
        Ok(())
    }

    fn put(&mut self, bytes: Vec<u8>, end: PacketWriteEndInfo, position: u64) -> Result<()> {
        let written: io::Result<()> = self.inner.write_packet(bytes, self.head.serial, end, position);
        written.map_err(|source| Error::File { path: self.path.clone(), source })
    }
}
