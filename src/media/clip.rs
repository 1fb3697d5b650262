//! Clips: what somebody said in a room that keeps evidence, for anybody to verify, who need not have been there.
//!
//! ```text
//! "parlor clip 1\0" ‖ SHA-256 of the room's id (32) ‖ epoch (8) ‖ transcript length (1) ‖ transcript
//!   ‖ leaf (4) ‖ stream = 0 (8) ‖ suite (2) ‖ key id (8) ‖ frame key (Nk) ‖ salt (12)
//!   ‖ speaker's identity key (32) ‖ name length (1) ‖ name ‖ media certificate (128)
//!   ‖ marks = 1, evidence (1) ‖ number of the first seal (8) ‖ its first counter (8) ‖ number of seals (2)
//!   ‖ each seal: count (1) ‖ count × hash (16) ‖ signature (64)
//!   ‖ for each hash its packet: length, 0 if missing (2) ‖ packet
//!   ‖ exporter's identity key (32) ‖ exporter's signature over all before it (64)
//! ```
//!
//! Whoever hands a clip on may be its forger, the exporter first of all, so nothing is believed but signatures:
//! - *the identity key* signs the media keys and the name;
//! - *the media key* signs each seal: room, epoch, transcript, leaf, speaker, stream, key, number, counters, and the hash
//!   of each packet. Numbers and counters follow from the first, so that a seal taken out, moved or brought from elsewhere
//!   stands where it does not verify;
//! - *the frame key* is the one that the seals commit to: AEADs let one packet open under several;
//! - *a packet* has the hash that is sealed, its own counter in its header, and opens.
//!
//! Packets that were lost, or that the exporter left out, which nobody can tell apart, leave a gap that is counted. The
//! exporter's signature makes the file one piece, and says who answers for what was chosen.

use std::{fmt, iter::zip};

use zeroize::Zeroizing;

use super::{
    Suite,
    header::Header,
    seal::{
        MAX_EVERY, MediaCertificate, Proof,
        archive::Source,
        statement::{Context, HASH_LEN, Seal, commit_to_key, packet_hash},
    },
    sframe::{FrameKey, MAX_COUNTER},
};
use crate::{
    bytes::{Reader, put_short},
    error::{Error, Item, Result},
    identity::{Identity, LeafIndex, MAX_NAME, MemberId, check_name},
};

/// The longest clip in bytes: eight minutes of speech at 32 kbit/s.
pub const MAX_CLIP: usize = 4 * 1024 * 1024;

/// Begins the file and so what the exporter signs: no other label begins like it.
const LABEL: &[u8] = b"parlor clip 1\0";
const EVIDENCE: u8 = 1;
/// The microphone.
const STREAM: u64 = 0;
/// What the exporter adds: key and signature.
const VOUCHED: usize = 32 + 64;

/// A verified clip: who said what, in which room and when in it.
///
/// # What it proves
///
/// Who holds the key of [`speaker`](Self::speaker) named a media key their own, and that key sealed every one of these
/// [`frames`](Self::frames), in this order and with no other between them, from [`first_counter`](Self::first_counter)
/// on, in [`epoch`](Self::epoch) of [`room`](Self::room).
///
/// # What it does not
///
/// - *Whose key that is.* Compare the [fingerprint](MemberId::fingerprint) with the person; a name is anybody's choice.
/// - *What came before and after.* The exporter chose where it begins and ends, by whole seals.
/// - *When it was.* An epoch has no date; nobody but the speaker vouches for room and epoch.
/// - *That the exporter was there.* They signed this file, no more.
/// - *That the voice in the sound is the speaker's.* Their device sealed it.
pub struct Clip {
    speaker: MemberId,
    name: String,
    room: [u8; 32],
    epoch: u64,
    leaf: LeafIndex,
    first: u64,
    frames: Vec<Option<Box<[u8]>>>,
    exporter: MemberId,
}

impl Clip {
    /// Verifies a clip that is whole.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MAX_CLIP`]; [`Error::Malformed`], which says what does not hold, for all that was
    /// altered, cut, or belongs elsewhere, and for clips with gaps.
    pub fn verify(bytes: &[u8]) -> Result<Self> {
        let clip = Self::verify_with_gaps(bytes)?;
        if !clip.is_whole() {
            return Err(malformed("it has gaps: what is there is true, but packets are missing, lost or left out"));
        }
        Ok(clip)
    }

    /// Verifies a clip that may have gaps: packets that were lost on their way, or that the exporter left out, which
    /// nobody can tell apart. [`missing`](Self::missing) counts them, and [`frames`](Self::frames) shows where they are.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), but for the gaps.
    pub fn verify_with_gaps(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_CLIP {
            return Err(Error::TooLarge { what: Item::Clip, bytes: bytes.len(), limit: MAX_CLIP });
        }
        if !bytes.starts_with(LABEL) {
            return Err(malformed("it is no clip, or of a version that this parlor does not know"));
        }
        let Some((signed, signature)) = bytes.split_last_chunk() else { return Err(cut_short()) };
        let Some((body, exporter)) = signed.split_last_chunk() else { return Err(cut_short()) };
        let exporter = MemberId::from_bytes(*exporter);
        if !exporter.has_signed(signed, signature) {
            return Err(malformed("it is not what its exporter signed: it was altered or cut on its way"));
        }
        Self::read(body, exporter)
    }

    /// Whose voice it is: the identity key that vouches for the key of the seals.
    pub const fn speaker(&self) -> MemberId {
        self.speaker
    }

    /// The name they went by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the [id](crate::Room::id) of the room in which it was said.
    pub const fn room(&self) -> &[u8; 32] {
        &self.room
    }

    /// In which epoch of the room.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the speaker stood in the tree in that epoch.
    pub const fn leaf(&self) -> LeafIndex {
        self.leaf
    }

    /// How many frames of theirs went before it in that epoch.
    pub const fn first_counter(&self) -> u64 {
        self.first
    }

    /// Every frame that was sealed, in order, with its counter; `None` for those that are missing.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = (u64, Option<&[u8]>)> {
        let first = self.first;
        self.frames.iter().enumerate().map(move |(at, frame)| (first + at as u64, frame.as_deref()))
    }

    /// How many frames were sealed and are not in it.
    pub fn missing(&self) -> usize {
        self.frames.iter().filter(|frame| frame.is_none()).count()
    }

    /// Whether none is missing between its first and its last.
    pub fn is_whole(&self) -> bool {
        self.missing() == 0
    }

    /// Who exported it and signed the file.
    pub const fn exporter(&self) -> MemberId {
        self.exporter
    }

    fn read(body: &[u8], exporter: MemberId) -> Result<Self> {
        let mut body = Reader::new(Item::Clip, body);
        body.bytes(LABEL.len())?;
        let room = body.array()?;
        let epoch = u64::from_be_bytes(body.array()?);
        let transcript = body.short()?;
        let leaf = LeafIndex(u32::from_be_bytes(body.array()?));
        let stream = u64::from_be_bytes(body.array()?);
        let Some(suite) = Suite::from_id(u16::from_be_bytes(body.array()?)) else {
            return Err(malformed("its suite is none that this parlor knows"));
        };
        let kid = u64::from_be_bytes(body.array()?);
        let key = body.bytes(suite.key_len())?;
        let salt = body.array()?;
        let speaker = MemberId::from_bytes(body.array()?);
        let name = body.text(MAX_NAME)?;
        let certificate: [u8; MediaCertificate::LEN] = body.array()?;
        let marks = body.byte()?;
        let number = u64::from_be_bytes(body.array()?);
        let first = u64::from_be_bytes(body.array()?);
        let count = u16::from_be_bytes(body.array()?);

        if stream != STREAM {
            return Err(malformed("it is of a stream that this parlor does not know"));
        }
        let certificate = MediaCertificate::from_bytes(&certificate).filter(|it| it.is_of(&speaker, name));
        let Some(certificate) = certificate.filter(|_| check_name(name).is_ok()) else {
            return Err(malformed("its speaker does not vouch for the key of its seals under that name"));
        };
        if marks != EVIDENCE {
            return Err(malformed("it is of a room that keeps no evidence, whose seals anybody can make by now"));
        }
        let commitment = commit_to_key(suite, kid, key, &salt);
        let context =
            Context { room: &room, epoch, transcript, leaf, speaker: &speaker, stream, suite, commitment: &commitment };
        let seals = read_seals(&mut body, &context, &certificate, number, first, count)?;

        let key = FrameKey::disclosed(suite, kid, key, salt)?;
        let mut frames = Vec::new();
        for (counter, hash) in seals.iter().flat_map(Seal::packets) {
            let length = u16::from_be_bytes(body.array()?);
            let packet = body.bytes(length.into())?;
            frames.push(match length {
                0 => None,
                _ if packet_hash(packet) != *hash => {
                    return Err(malformed("a packet in it is not the one that its speaker sealed in that place"));
                }
                _ => Some(open(&key, counter, packet)?),
            });
        }
        body.end()?;
        Ok(Self { speaker, name: name.to_owned(), room, epoch, leaf, first, frames, exporter })
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clip")
            .field("speaker", &self.speaker)
            .field("name", &self.name)
            .field("epoch", &self.epoch)
            .field("frames", &self.frames.len())
            .field("missing", &self.missing())
            .field("exporter", &self.exporter)
            .finish_non_exhaustive()
    }
}

/// A clip that nobody vouches for yet: [`Room::vouch`](crate::Room::vouch) makes a file of it.
///
/// It holds the frame key of its speaker for its whole epoch, and is wiped when dropped.
pub struct Draft {
    body: Zeroizing<Vec<u8>>,
    room: [u8; 32],
    speaker: MemberId,
    epoch: u64,
    frames: usize,
    missing: usize,
}

impl Draft {
    /// Whose voice it is.
    pub const fn speaker(&self) -> MemberId {
        self.speaker
    }

    /// The epoch it is of.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many frames were sealed in it, those that are missing included.
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// How many of them never came, or are not kept any more.
    pub const fn missing(&self) -> usize {
        self.missing
    }

    pub(crate) const fn room(&self) -> &[u8; 32] {
        &self.room
    }

    /// The clip, with `exporter`'s signature.
    pub(crate) fn signed_by(&self, exporter: &Identity) -> Vec<u8> {
        let mut clip = Vec::with_capacity(self.body.len() + VOUCHED);
        clip.extend_from_slice(&self.body);
        clip.extend_from_slice(exporter.id().as_bytes());
        let signature = exporter.sign(&clip);
        clip.extend(signature);
        clip
    }

    /// What `source` said under `seals`, which follow one another without a gap; `packets` are theirs, in order.
    pub(super) fn new(
        room: [u8; 32],
        suite: Suite,
        source: &Source,
        seals: &[Seal],
        packets: &[Option<Vec<u8>>],
    ) -> Result<Self> {
        let too_long = |_| Error::Unusable { what: "clip", why: "it is longer than a clip may be: export less of it" };
        let [begin, ..] = seals else {
            return Err(Error::Unusable { what: "clip", why: "it has no seal, so it would prove nothing" });
        };
        // At its full size at once, so that growing leaves no copy of the key.
        let mut body = Zeroizing::new(Vec::with_capacity(length(source, seals, packets)));
        body.extend_from_slice(LABEL);
        body.extend_from_slice(&room);
        body.extend(source.epoch.to_be_bytes());
        put_short(&mut body, "transcript", &source.transcript)?;
        body.extend(source.leaf.0.to_be_bytes());
        body.extend(STREAM.to_be_bytes());
        body.extend(suite.id().to_be_bytes());
        body.extend(source.kid.to_be_bytes());
        body.extend_from_slice(source.key.key());
        body.extend_from_slice(source.key.salt.as_slice());
        body.extend_from_slice(source.speaker.as_bytes());
        put_short(&mut body, "name", source.name.as_bytes())?;
        body.extend(source.certificate.to_bytes());
        body.push(EVIDENCE);
        body.extend(begin.number.to_be_bytes());
        body.extend(begin.first.to_be_bytes());
        body.extend(u16::try_from(seals.len()).map_err(too_long)?.to_be_bytes());
        for seal in seals {
            // `MAX_EVERY` at most.
            body.push(seal.hashes.len() as u8);
            body.extend_from_slice(seal.hashes.as_flattened());
            body.extend_from_slice(&seal.signature);
        }
        for packet in packets {
            let packet = packet.as_deref().unwrap_or_default();
            body.extend(u16::try_from(packet.len()).map_err(too_long)?.to_be_bytes());
            body.extend_from_slice(packet);
        }
        let missing = packets.iter().filter(|packet| packet.is_none()).count();
        Ok(Self { body, room, speaker: source.speaker, epoch: source.epoch, frames: packets.len(), missing })
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("speaker", &self.speaker)
            .field("epoch", &self.epoch)
            .field("frames", &self.frames)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// The length in bytes of the clip of all this.
pub(super) fn length(source: &Source, seals: &[Seal], packets: &[Option<Vec<u8>>]) -> usize {
    let head = LABEL.len() + 32 + 8 + 1 + source.transcript.len() + 4 + 8 + 2 + 8 + source.key.key().len() + 12;
    let speaker = 32 + 1 + source.name.len() + MediaCertificate::LEN;
    head + speaker + 1 + 8 + 8 + 2 + length_of_part(seals, packets) + VOUCHED
}

/// The length in bytes of a part of a clip.
pub(super) fn length_of_part(seals: &[Seal], packets: &[Option<Vec<u8>>]) -> usize {
    let seals: usize = seals.iter().map(|seal| 1 + seal.hashes.len() * HASH_LEN + 64).sum();
    let packets: usize = packets.iter().map(|packet| 2 + packet.as_ref().map_or(0, Vec::len)).sum();
    seals + packets
}

fn read_seals(
    body: &mut Reader<'_>,
    context: &Context<'_>,
    certificate: &MediaCertificate,
    number: u64,
    mut first: u64,
    count: u16,
) -> Result<Vec<Seal>> {
    if count == 0 {
        return Err(malformed("it has no seal"));
    }
    if number > MAX_COUNTER || first > MAX_COUNTER {
        return Err(malformed("its counters are higher than any sealer counts"));
    }
    let mut seals = Vec::new();
    for (number, _) in zip(number.., 0..count) {
        let hashes = body.byte()?;
        if hashes == 0 || hashes > MAX_EVERY {
            return Err(malformed("a seal in it covers no packets, or more than any seal does"));
        }
        let hashes = (0..hashes).map(|_| body.array()).collect::<Result<Vec<_>>>()?;
        let seal = Seal { number, proof: Proof::Evidence, first, hashes, signature: body.array()? };
        if !seal.verifies(context, certificate) {
            return Err(malformed(
                "a seal in it is not its speaker's in that place: it was altered, moved, left out or put in",
            ));
        }
        first = seal.end();
        seals.push(seal);
    }
    Ok(seals)
}

/// What a sealed packet says.
fn open(key: &FrameKey, counter: u64, packet: &[u8]) -> Result<Box<[u8]>> {
    let unusable =
        || malformed("a packet in it was sealed by its speaker, but does not open as the frame it stands for");
    let (header, header_len) = Header::decode(packet).map_err(|_| unusable())?;
    if header != (Header { kid: key.kid(), counter }) {
        return Err(unusable());
    }
    let mut packet = packet.to_vec();
    let frame = key.open(counter, header_len, &[], &mut packet).map_err(|_| unusable())?;
    Ok((&*frame).into())
}

const fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: Item::Clip, why }
}

const fn cut_short() -> Error {
    malformed("it was cut short")
}
