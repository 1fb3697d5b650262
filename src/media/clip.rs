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
            return Err(malformed("packets are missing in it, lost or left out; the rest is true"));
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

#[cfg(test)]
mod tests {
    use aes::{
        Aes128,
        cipher::{BlockEncrypt, KeyInit},
    };
    use ghash::{GHash, universal_hash::UniversalHash};

    use super::*;
    use crate::media::{
        Backend,
        keys::Secret,
        seal::MediaKey,
        sframe::{NONCE_LEN, Sealer, TAG_LEN},
    };

    const ROOM: [u8; 32] = [7; 32];
    const KID: u64 = 0x305;
    const BASE: &[u8] = b"a base key";

    fn person(name: &str) -> Identity {
        Identity::from_secret(name, &[name.len() as u8; 32]).unwrap()
    }

    fn source_of(who: &Identity, media: &MediaKey, suite: Suite, epoch: u64) -> Source {
        Source {
            epoch,
            transcript: [epoch as u8; 32].into(),
            leaf: LeafIndex(3),
            speaker: who.id(),
            name: who.name().to_owned(),
            certificate: MediaCertificate::new(who, media),
            kid: KID,
            key: Secret::extract(suite, BASE).derive(KID).unwrap(),
        }
    }

    /// What ana said: `counts` of packets, a seal each, from `first` on.
    struct Said {
        suite: Suite,
        epoch: u64,
        ana: Identity,
        media: MediaKey,
        seals: Vec<Seal>,
        packets: Vec<Option<Vec<u8>>>,
    }

    impl Said {
        fn new(suite: Suite, proof: Proof, first: u64, counts: &[u8]) -> Self {
            let (ana, media) = (person("ana"), MediaKey::from_seed(&[1; 32]));
            let mut said = Self { suite, epoch: 5, ana, media, seals: Vec::new(), packets: Vec::new() };
            let mut sealer = Sealer::new(suite, Backend::default(), BASE, KID, first).unwrap();
            for (number, count) in (first..).zip(counts) {
                let (mut hashes, begin) = (Vec::new(), sealer.next_counter());
                for _ in 0..*count {
                    let frame = format!("frame {}", sealer.next_counter());
                    let mut packet = vec![0; frame.len() + sealer.overhead()];
                    sealer.seal_into(&[], frame.as_bytes(), &mut packet).unwrap();
                    hashes.push(packet_hash(&packet));
                    said.packets.push(Some(packet));
                }
                said.seal(number, proof, begin, &hashes);
            }
            said
        }

        fn true_one() -> Self {
            Self::new(Suite::default(), Proof::Evidence, 10, &[2, 3, 1])
        }

        fn seal(&mut self, number: u64, proof: Proof, first: u64, hashes: &[[u8; HASH_LEN]]) {
            let source = self.source();
            let commitment = source.key.commitment(self.suite, KID);
            let context = Context {
                room: &ROOM,
                epoch: source.epoch,
                transcript: &source.transcript,
                leaf: source.leaf,
                speaker: &source.speaker,
                stream: STREAM,
                suite: self.suite,
                commitment: &commitment,
            };
            self.seals.push(Seal::sign(&context, &self.media, number, proof, first, hashes));
        }

        fn source(&self) -> Source {
            source_of(&self.ana, &self.media, self.suite, self.epoch)
        }

        /// The clip of all this, as whoever exports it likes it.
        fn clip_by(&self, exporter: &Identity) -> Vec<u8> {
            self.clip_of(&self.source(), exporter)
        }

        fn clip_of(&self, source: &Source, exporter: &Identity) -> Vec<u8> {
            Draft::new(ROOM, self.suite, source, &self.seals, &self.packets).unwrap().signed_by(exporter)
        }

        fn clip(&self) -> Vec<u8> {
            self.clip_by(&person("benno"))
        }
    }

    #[track_caller]
    fn refused(bytes: &[u8], because: &str) {
        for result in [Clip::verify(bytes), Clip::verify_with_gaps(bytes)] {
            let error = result.expect_err(because).to_string();
            assert!(error.contains(because), "{error}, not {because}");
        }
    }

    #[test]
    fn a_true_clip_verifies_in_every_suite_and_says_who_said_what() {
        for suite in Suite::ALL {
            for first in [0, 10, MAX_COUNTER - 6] {
                let said = Said::new(suite, Proof::Evidence, first, &[2, 3, 2]);
                let bytes = said.clip();
                assert_eq!(bytes.len(), length(&said.source(), &said.seals, &said.packets));
                let clip = Clip::verify(&bytes).unwrap();
                assert_eq!(
                    (clip.speaker(), clip.name(), clip.exporter()),
                    (said.ana.id(), "ana", person("benno").id())
                );
                assert_eq!((clip.room(), clip.epoch(), clip.leaf()), (&ROOM, 5, LeafIndex(3)));
                assert_eq!((clip.first_counter(), clip.missing(), clip.is_whole()), (first, 0, true));
                let expected = (first..first + 7).map(|counter| (counter, format!("frame {counter}").into_bytes()));
                let frames = clip.frames().map(|(counter, frame)| (counter, frame.unwrap().to_vec()));
                assert!(frames.eq(expected));
                let printed = format!("{clip:?}");
                assert!(printed.contains("\"ana\"") && !printed.contains("["), "{printed}");
            }
        }
    }

    #[test]
    fn a_clip_with_any_bit_flipped_or_any_byte_off_its_ends_is_refused() {
        let bytes = Said::true_one().clip();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Clip::verify_with_gaps(&altered).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Clip::verify_with_gaps(&bytes[..cut]).is_err(), "the first {cut} bytes");
            assert!(cut == 0 || Clip::verify_with_gaps(&bytes[cut..]).is_err(), "without the first {cut} bytes");
        }
        assert!(Clip::verify_with_gaps(&[&bytes[..], &[0]].concat()).is_err());
        assert!(matches!(Clip::verify(&vec![0; MAX_CLIP]), Err(Error::Malformed { .. })));
        assert!(matches!(Clip::verify(&vec![0; MAX_CLIP + 1]), Err(Error::TooLarge { limit: 4_194_304, .. })));
    }

    #[test]
    fn the_exporter_cannot_change_a_bit_and_sign_again() {
        let mallory = person("mallory");
        let bytes = Said::true_one().clip_by(&mallory);
        let body = &bytes[..bytes.len() - VOUCHED];
        for bit in 0..body.len() * 8 {
            let mut altered = body.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            altered.extend(mallory.id().as_bytes());
            altered.extend(mallory.sign(&altered));
            assert!(Clip::verify_with_gaps(&altered).is_err(), "bit {bit}");
        }
        for cut in 0..body.len() {
            let mut altered = body[..cut].to_vec();
            altered.extend(mallory.id().as_bytes());
            altered.extend(mallory.sign(&altered));
            assert!(Clip::verify_with_gaps(&altered).is_err(), "the first {cut} bytes");
        }
        let mut longer = [body, &[0, 0]].concat();
        longer.extend(mallory.id().as_bytes());
        longer.extend(mallory.sign(&longer));
        refused(&longer, "longer than it should be");
    }

    #[test]
    fn seals_left_out_of_the_middle_swapped_or_doubled_are_refused() {
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let mut said = Said::true_one();
            said.seals.swap(a, b);
            refused(&said.clip(), "not its speaker's in that place");
        }
        let mut said = Said::true_one();
        let left_out = said.seals.remove(1);
        refused(&said.clip(), "not its speaker's in that place");
        said.packets.drain(2..5);
        refused(&said.clip(), "not its speaker's in that place");
        said.seals.insert(0, left_out.clone());
        refused(&said.clip(), "not its speaker's in that place");
        for at in 0..3 {
            let mut said = Said::true_one();
            said.seals.insert(at, said.seals[at].clone());
            refused(&said.clip(), "not its speaker's in that place");
        }
        // The last seal cut short, packets along with it.
        let mut said = Said::new(Suite::default(), Proof::Evidence, 0, &[3]);
        said.packets.pop();
        said.seals[0].hashes.pop();
        refused(&said.clip(), "not its speaker's in that place");
        assert!(Draft::new(ROOM, said.suite, &said.source(), &[], &[]).is_err());
    }

    #[test]
    fn whole_seals_off_either_end_leave_a_shorter_clip_that_says_where_it_begins() {
        let mut said = Said::true_one();
        said.seals.remove(0);
        said.packets.drain(..2);
        let clip = Clip::verify(&said.clip()).unwrap();
        assert_eq!((clip.first_counter(), clip.frames().len()), (12, 4));
    }

    #[test]
    fn packets_swapped_doubled_or_of_somebody_else_are_refused_and_missing_ones_counted() {
        let count = Said::true_one().packets.len();
        for a in 0..count {
            for b in 0..count {
                if a == b {
                    continue;
                }
                let (mut doubled, mut swapped) = (Said::true_one(), Said::true_one());
                doubled.packets[a] = doubled.packets[b].clone();
                refused(&doubled.clip(), "not the one that its speaker sealed");
                swapped.packets.swap(a, b);
                refused(&swapped.clip(), "not the one that its speaker sealed");
            }
            let mut said = Said::true_one();
            said.packets[a] = None;
            let error = Clip::verify(&said.clip()).unwrap_err().to_string();
            assert!(error.contains("packets are missing"), "{error}");
            let clip = Clip::verify_with_gaps(&said.clip()).unwrap();
            let gaps: Vec<u64> =
                clip.frames().filter(|(_, frame)| frame.is_none()).map(|(counter, _)| counter).collect();
            assert_eq!((clip.missing(), clip.is_whole(), gaps), (1, false, vec![10 + a as u64]));
            // A packet taken out altogether, none in its place.
            said.packets.remove(a);
            assert!(Clip::verify_with_gaps(&said.clip()).is_err(), "without packet {a}");
            // One in its place that only somebody with the frame key can make.
            let mut said = Said::true_one();
            let mut sealer = Sealer::new(said.suite, Backend::default(), BASE, KID, 10 + a as u64).unwrap();
            let mut forged = vec![0; 5 + sealer.overhead()];
            sealer.seal_into(&[], b"I did", &mut forged).unwrap();
            said.packets[a] = Some(forged);
            refused(&said.clip(), "not the one that its speaker sealed");
        }
    }

    #[test]
    fn it_cannot_be_shown_as_said_by_somebody_else_elsewhere_or_at_another_time() {
        let said = Said::true_one();
        let mallory = person("mallory");
        let by = "not its speaker's in that place";
        // Mallory certifies ana's media key as theirs, which anybody can.
        refused(&said.clip_of(&source_of(&mallory, &said.media, said.suite, 5), &mallory), by);
        let seals_of_ana = source_of(&mallory, &MediaKey::from_seed(&[2; 32]), said.suite, 5);
        refused(&said.clip_of(&seals_of_ana, &mallory), by);
        let certified = |certificate| Source { certificate, ..source_of(&said.ana, &said.media, said.suite, 5) };
        let another = MediaCertificate::new(&mallory, &said.media);
        refused(&said.clip_of(&certified(another), &mallory), "does not vouch for the key");
        let another = MediaCertificate::new(&said.ana, &MediaKey::from_seed(&[2; 32]));
        refused(&said.clip_of(&certified(another), &mallory), by);
        let source = || said.source();
        refused(&said.clip_of(&Source { name: "anna".into(), ..source() }, &mallory), "under that name");
        refused(&said.clip_of(&Source { name: String::new(), ..source() }, &mallory), "under that name");
        refused(&said.clip_of(&Source { epoch: 6, ..source() }, &mallory), by);
        refused(&said.clip_of(&Source { transcript: [6; 32].into(), ..source() }, &mallory), by);
        refused(&said.clip_of(&Source { leaf: LeafIndex(4), ..source() }, &mallory), by);
        refused(&said.clip_of(&Source { kid: KID + 1, ..source() }, &mallory), by);
        let elsewhere = Draft::new([8; 32], said.suite, &said.source(), &said.seals, &said.packets).unwrap();
        refused(&elsewhere.signed_by(&mallory), by);
        let mut later = Said::true_one();
        later.seals.iter_mut().for_each(|seal| seal.first += 1);
        refused(&later.clip(), by);
        let mut later = Said::true_one();
        later.seals.iter_mut().for_each(|seal| seal.number += 1);
        refused(&later.clip(), by);
        // Another exporter may sign what is true.
        assert_eq!(Clip::verify(&said.clip_by(&mallory)).unwrap().exporter(), mallory.id());
    }

    #[test]
    fn two_clips_cannot_be_joined() {
        let (one, other) = (Said::true_one(), Said::new(Suite::default(), Proof::Evidence, 20, &[2]));
        let mut joined = Said::true_one();
        joined.seals.extend(other.seals.clone());
        joined.packets.extend(other.packets.clone());
        refused(&joined.clip(), "not its speaker's in that place");
        let mut later = Said { epoch: 6, seals: Vec::new(), ..Said::new(one.suite, Proof::Evidence, 16, &[2]) };
        let hashes: Vec<_> = later.packets.iter().flatten().map(|packet| packet_hash(packet)).collect();
        later.seal(13, Proof::Evidence, 16, &hashes);
        let mut joined = Said::true_one();
        joined.seals.extend(later.seals.clone());
        joined.packets.extend(later.packets.clone());
        refused(&joined.clip(), "not its speaker's in that place");
        let two = [one.clip(), other.clip()].concat();
        refused(&two, "altered or cut on its way");
    }

    #[test]
    fn a_clip_out_of_a_deniable_room_is_refused() {
        let mallory = person("mallory");
        let said = Said::new(Suite::default(), Proof::Deniable, 0, &[3]);
        refused(&said.clip(), "not its speaker's in that place");
        let mut bytes = said.clip_by(&mallory);
        let marks = length(&said.source(), &[], &[]) - VOUCHED - 8 - 8 - 2 - 1;
        assert_eq!(bytes[marks], EVIDENCE);
        bytes[marks] = 0;
        bytes.truncate(bytes.len() - 64);
        bytes.extend(mallory.sign(&bytes));
        refused(&bytes, "keeps no evidence");
    }

    #[test]
    fn what_a_speaker_sealed_beyond_what_any_sealer_counts_or_covers_is_refused() {
        let mut said = Said::new(Suite::default(), Proof::Evidence, MAX_COUNTER, &[1]);
        assert_eq!(Clip::verify(&said.clip()).unwrap().first_counter(), MAX_COUNTER);
        let hash = said.seals[0].hashes[0];
        for (number, first) in [(MAX_COUNTER + 1, MAX_COUNTER), (0, MAX_COUNTER + 1)] {
            said.seals.clear();
            said.seal(number, Proof::Evidence, first, &[hash]);
            refused(&said.clip(), "higher than any sealer counts");
        }
        for count in [0, MAX_EVERY + 1] {
            refused(&Said::new(Suite::default(), Proof::Evidence, 0, &[count]).clip(), "covers no packets, or more");
        }
        assert!(Clip::verify(&Said::new(Suite::default(), Proof::Evidence, 0, &[MAX_EVERY]).clip()).is_ok());
    }

    #[test]
    fn what_a_speaker_sealed_that_is_no_frame_of_theirs_is_refused() {
        let mut said = Said::new(Suite::default(), Proof::Evidence, 0, &[3]);
        let hashes: Vec<_> = said.packets.iter().flatten().map(|packet| packet_hash(packet)).collect();
        said.seals.clear();
        said.seal(0, Proof::Evidence, 1, &hashes);
        refused(&said.clip(), "does not open as the frame");
        said.seals.clear();
        said.packets[1].as_mut().unwrap()[4] ^= 1;
        let hashes: Vec<_> = said.packets.iter().flatten().map(|packet| packet_hash(packet)).collect();
        said.seal(0, Proof::Evidence, 0, &hashes);
        refused(&said.clip(), "does not open as the frame");
    }

    /// In the field of GHASH.
    fn product(a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
        let mut hash = GHash::new(&b.into());
        hash.update(&[a.into()]);
        hash.finalize().into()
    }

    fn sum(a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
        (u128::from_be_bytes(a) ^ u128::from_be_bytes(b)).to_be_bytes()
    }

    /// To the power of 2^128 - 2.
    fn inverse(a: [u8; 16]) -> [u8; 16] {
        let (mut power, mut result) = (product(a, a), product(a, a));
        for _ in 2..128 {
            power = product(power, power);
            result = product(result, power);
        }
        result
    }

    fn encrypt(key: &[u8], block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        Aes128::new_from_slice(key).unwrap().encrypt_block(&mut block);
        block.into()
    }

    #[test]
    fn a_packet_that_opens_under_two_keys_is_shown_under_the_one_that_was_sealed() {
        let (suite, counter) = (Suite::Aes128Gcm, 0_u64);
        let mut said = Said::new(suite, Proof::Evidence, counter, &[]);
        let source = said.source();
        let (one, salt) = (source.key.key().to_vec(), **source.key.salt);
        let mut swapped = source_of(&said.ana, &said.media, suite, 5);
        swapped.key = Secret::extract(suite, b"another base key").derive(KID).unwrap();
        *swapped.key.salt = Zeroizing::new(salt);
        let other = swapped.key.key().to_vec();

        // One block of ciphertext for which both tags are the same: a·H³ + c·H² + l·H + E(nonce), solved for c.
        let mut header = [0; 17];
        let header_len = Header { kid: KID, counter }.encode(&mut header);
        let mut aad = [0; 16];
        aad[..header_len].copy_from_slice(&header[..header_len]);
        let lengths = (((header_len as u128 * 8) << 64) | 128).to_be_bytes();
        let mut nonce = [0; 16];
        nonce[..NONCE_LEN].copy_from_slice(&salt);
        nonce[15] = 1;
        let parts = |key: &[u8]| {
            let hash = encrypt(key, [0; 16]);
            let square = product(hash, hash);
            let rest = sum(product(aad, product(square, hash)), product(lengths, hash));
            (square, sum(rest, encrypt(key, nonce)))
        };
        let ((square_one, rest_one), (square_other, rest_other)) = (parts(&one), parts(&other));
        let block = product(sum(rest_one, rest_other), inverse(sum(square_one, square_other)));
        let tag = sum(product(block, square_one), rest_one);
        let packet = [&header[..header_len], &block, &tag].concat();
        assert_eq!(packet.len(), header_len + 16 + TAG_LEN);

        let [true_frame, other_frame] = [&one, &other].map(|key| {
            let key = FrameKey::disclosed(suite, KID, key, salt).unwrap();
            open(&key, counter, &packet).expect("it opens under both")
        });
        assert_ne!(true_frame, other_frame);
        said.seal(0, Proof::Evidence, counter, &[packet_hash(&packet)]);
        said.packets.push(Some(packet));
        let clip = Clip::verify(&said.clip()).unwrap();
        assert_eq!(clip.frames().next().unwrap().1.unwrap(), &*true_frame);
        refused(&said.clip_of(&swapped, &person("mallory")), "not its speaker's in that place");
    }
}
