//! The archive: what a member keeps in a room that keeps evidence, to make clips of.
//!
//! It holds the last packets that were given out and the last seals that verified, in one store of fixed size: the
//! oldest make room, nothing is allocated for one more, and whoever floods it pushes out the past but makes it no
//! bigger. Until a seal is there nobody knows whether a packet is the speaker's, so forgeries that were given out lie
//! here too; a clip takes the packet that has the sealed hash.
//!
//! Invariant: the bytes of all records lie one behind the other in `bytes`, in the records' order. A frame key stays
//! here for as long as a packet or seal under it does, or its epoch lasts, and is wiped then.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
};

use crate::{
    error::{Error, Result},
    identity::{LeafIndex, MemberId},
    media::{
        Suite,
        clip::{self, Draft, MAX_CLIP},
        keys::KeyAndSalt,
        seal::{
            MediaCertificate, Proof,
            statement::{PacketHash, Seal, packet_hash},
        },
    },
};

/// The store is cut for records of this length: a second of one speaker is 50 packets of 100 bytes and more. If they are
/// shorter it holds fewer bytes.
const SHORT_RECORD: usize = 64;

pub(in crate::media) struct Archive {
    capacity: usize,
    bytes: VecDeque<u8>,
    records: VecDeque<Record>,
    places: Vec<Place>,
    /// How many sources there were.
    entered: u64,
}

/// One speaker in one epoch, and the key of what they said.
pub(in crate::media) struct Source {
    pub(in crate::media) epoch: u64,
    pub(in crate::media) transcript: Box<[u8]>,
    pub(in crate::media) leaf: LeafIndex,
    pub(in crate::media) speaker: MemberId,
    pub(in crate::media) name: String,
    pub(in crate::media) certificate: MediaCertificate,
    /// Of `key`.
    pub(in crate::media) kid: u64,
    pub(in crate::media) key: KeyAndSalt,
}

/// A source of an archive, for as long as that keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::media) struct SourceId {
    place: usize,
    number: u64,
}

/// A place for a source, free or taken.
struct Place {
    source: Option<Source>,
    /// Which of all sources it is or was.
    number: u64,
    /// How many records are its.
    records: usize,
    /// Whether older ones had to go.
    evicted: bool,
    /// No more will come.
    over: bool,
}

struct Record {
    place: usize,
    length: usize,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Packet {
        counter: u64,
    },
    /// The bytes are hashes and signature.
    Seal {
        number: u64,
        proof: Proof,
        first: u64,
    },
}

impl Archive {
    /// An archive of `capacity` bytes of packets and seals; all that it will need for them is allocated here.
    pub(in crate::media) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            bytes: VecDeque::with_capacity(capacity),
            records: VecDeque::with_capacity(capacity / SHORT_RECORD),
            places: Vec::new(),
            entered: 0,
        }
    }

    /// A speaker of an epoch whose keys have come.
    pub(in crate::media) fn enter(&mut self, source: Source) -> SourceId {
        let number = self.entered;
        self.entered += 1;
        let taken = Place { source: Some(source), number, records: 0, evicted: false, over: false };
        let free = self.places.iter().position(|place| place.source.is_none());
        let place = free.unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = taken,
            None => self.places.push(taken),
        }
        SourceId { place, number }
    }

    /// Nothing more comes of epochs before `epoch`: what is kept of them stays until it has to make room.
    pub(in crate::media) fn retire(&mut self, epoch: u64) {
        for place in &mut self.places {
            place.over |= place.source.as_ref().is_some_and(|source| source.epoch < epoch);
            place.tidy();
        }
    }

    /// A packet whose tag verified and that was given out.
    pub(in crate::media) fn packet(&mut self, source: SourceId, counter: u64, packet: &[u8]) {
        self.push(source, What::Packet { counter }, [packet, &[]]);
    }

    /// A seal that verified.
    pub(in crate::media) fn seal(&mut self, source: SourceId, seal: &Seal) {
        let what = What::Seal { number: seal.number, proof: seal.proof, first: seal.first };
        self.push(source, what, [seal.hashes.as_flattened(), &seal.signature]);
    }

    /// The newest that `speaker` said under seals that follow one another without a gap, with the packets that are there.
    ///
    /// `of` names an epoch and counters in it: then it is of those seals alone that cover one of them. A clip that
    /// would be too long loses its beginning.
    ///
    /// # Errors
    /// [`Error::Unusable`] if nothing sealed of theirs is kept, or the room keeps no evidence.
    pub(in crate::media) fn export(
        &self,
        room: &[u8; 32],
        suite: Suite,
        speaker: &MemberId,
        of: Option<(u64, RangeInclusive<u64>)>,
    ) -> Result<Draft> {
        let nothing = || Error::Unusable {
            what: "clip",
            why: "nothing of theirs that they sealed is kept: it is too long ago, or their seals did not come",
        };
        let (place, seals) = self.newest_run(speaker, of.as_ref()).ok_or_else(nothing)?;
        if seals.iter().any(|seal| seal.proof != Proof::Evidence) {
            return Err(no_evidence());
        }
        let source = place.source.as_ref().ok_or_else(nothing)?;
        let packets = self.packets_of(place, &seals);
        let (mut seals, mut packets) = (seals.as_slice(), packets.as_slice());
        let mut length = clip::length(source, seals, packets);
        while let [first, rest @ ..] = seals
            && let Some((theirs, others)) = packets.split_at_checked(first.hashes.len())
        {
            // What is gone from the beginning once something had to make room, was no loss on the way.
            let begins_with_a_gap = place.evicted && theirs.first().is_some_and(Option::is_none);
            if length <= MAX_CLIP && !begins_with_a_gap {
                break;
            }
            length -= clip::length_of_part(std::slice::from_ref(first), theirs);
            (seals, packets) = (rest, others);
        }
        if packets.iter().all(Option::is_none) {
            return Err(nothing());
        }
        Draft::new(*room, suite, source, seals, packets)
    }

    fn push(&mut self, source: SourceId, what: What, parts: [&[u8]; 2]) {
        let length = parts.iter().map(|part| part.len()).sum();
        if length > self.capacity || self.place_of(source).is_none() {
            return;
        }
        while self.bytes.len() + length > self.capacity || self.records.len() >= self.capacity / SHORT_RECORD {
            if !self.evict() {
                return;
            }
        }
        // The last record of the source itself may have gone.
        let Some(place) = self.place_of(source) else { return };
        place.records += 1;
        for part in parts {
            self.bytes.extend(part);
        }
        self.records.push_back(Record { place: source.place, length, what });
    }

    fn place_of(&mut self, source: SourceId) -> Option<&mut Place> {
        self.places.get_mut(source.place).filter(|place| place.number == source.number && place.source.is_some())
    }

    /// Drops the oldest record, and the source that has none left and gets no more.
    fn evict(&mut self) -> bool {
        let Some(Record { place, length, .. }) = self.records.pop_front() else { return false };
        self.bytes.drain(..length);
        if let Some(place) = self.places.get_mut(place) {
            place.records -= 1;
            place.evicted = true;
            place.tidy();
        }
        true
    }

    fn newest_run(&self, speaker: &MemberId, of: Option<&(u64, RangeInclusive<u64>)>) -> Option<(&Place, Vec<Seal>)> {
        let mut newest: Option<(u64, &Place, BTreeMap<u64, Seal>)> = None;
        for (record, place, at) in self.records() {
            let What::Seal { number, proof, first } = record.what else { continue };
            let Some(source) = place.source.as_ref().filter(|source| source.speaker == *speaker) else { continue };
            let bytes = self.copy(at, record.length);
            let Some((hashes, signature)) = bytes.split_last_chunk() else { continue };
            let hashes = hashes.as_chunks().0.to_vec();
            let seal = Seal { number, proof, first, hashes, signature: *signature };
            if let Some((epoch, counters)) = of
                && (source.epoch != *epoch || seal.end() <= *counters.start() || seal.first > *counters.end())
            {
                continue;
            }
            match &mut newest {
                Some((epoch, _, seals)) if *epoch == source.epoch => _ = seals.insert(number, seal),
                Some((epoch, ..)) if *epoch > source.epoch => {}
                _ => newest = Some((source.epoch, place, BTreeMap::from([(number, seal)]))),
            }
        }
        let (_, place, seals) = newest?;
        let mut run: Vec<Seal> = Vec::new();
        for seal in seals.into_values().rev() {
            if run.last().is_some_and(|next| next.number != seal.number + 1 || next.first != seal.end()) {
                break;
            }
            run.push(seal);
        }
        run.reverse();
        Some((place, run))
    }

    /// For each hash in `seals`, which follow one another, the packet that has it.
    fn packets_of(&self, of: &Place, seals: &[Seal]) -> Vec<Option<Vec<u8>>> {
        let sealed: Vec<&PacketHash> = seals.iter().flat_map(|seal| &seal.hashes).collect();
        let first = seals.first().map_or(0, |seal| seal.first);
        let mut packets = vec![None; sealed.len()];
        for (record, place, at) in self.records() {
            let What::Packet { counter } = record.what else { continue };
            let index = counter.checked_sub(first).and_then(|index| usize::try_from(index).ok());
            let Some(index) = index.filter(|_| place.number == of.number) else { continue };
            let (Some(hash), Some(slot)) = (sealed.get(index), packets.get_mut(index)) else { continue };
            let packet = self.copy(at, record.length);
            if packet_hash(&packet) == **hash {
                *slot = Some(packet);
            }
        }
        packets
    }

    /// Each record, whose it is, and where its bytes are; the oldest first.
    fn records(&self) -> impl Iterator<Item = (&Record, &Place, usize)> {
        let mut next = 0;
        self.records.iter().filter_map(move |record| {
            let at = next;
            next += record.length;
            Some((record, self.places.get(record.place)?, at))
        })
    }

    fn copy(&self, at: usize, length: usize) -> Vec<u8> {
        self.bytes.iter().skip(at).take(length).copied().collect()
    }
}

impl Place {
    fn tidy(&mut self) {
        if self.over && self.records == 0 {
            self.source = None;
        }
    }
}

/// What to say where there is no archive.
pub(in crate::media) const fn no_evidence() -> Error {
    Error::Unusable { what: "clip", why: "this room keeps no evidence: what is said in it cannot be proved afterwards" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::Identity,
        media::{
            Clip,
            keys::Secret,
            seal::{MediaKey, statement::Context},
        },
    };

    const SUITE: Suite = Suite::Aes128Gcm;
    const ROOM: [u8; 32] = [7; 32];
    const BASE: &[u8] = b"a base key";

    struct Speaker {
        identity: Identity,
        media: MediaKey,
        sealer: crate::media::sframe::Sealer,
        epoch: u64,
        seals: u64,
    }

    impl Speaker {
        fn new(name: &str, epoch: u64) -> Self {
            let identity = Identity::from_secret(name, &[name.len() as u8; 32]).unwrap();
            let sealer = crate::media::sframe::Sealer::new(SUITE, Default::default(), BASE, 3, 0).unwrap();
            Self { identity, media: MediaKey::from_seed(&[1; 32]), sealer, epoch, seals: 0 }
        }

        fn source(&self) -> Source {
            Source {
                epoch: self.epoch,
                transcript: [1; 32].into(),
                leaf: LeafIndex(2),
                speaker: self.identity.id(),
                name: self.identity.name().to_owned(),
                certificate: MediaCertificate::new(&self.identity, &self.media),
                kid: 3,
                key: Secret::extract(SUITE, BASE).derive(3).unwrap(),
            }
        }

        /// So many packets, with counters, and their seal.
        fn say(&mut self, count: usize, proof: Proof) -> (Vec<(u64, Vec<u8>)>, Seal) {
            let first = self.sealer.next_counter();
            let mut packets = Vec::new();
            for _ in 0..count {
                let (counter, mut packet) = (self.sealer.next_counter(), vec![0; 100 + self.sealer.overhead()]);
                self.sealer.seal_into(&[], &[counter as u8; 100], &mut packet).unwrap();
                packets.push((counter, packet));
            }
            let source = self.source();
            let context = Context {
                room: &ROOM,
                epoch: self.epoch,
                transcript: &source.transcript,
                leaf: source.leaf,
                speaker: &source.speaker,
                stream: 0,
                suite: SUITE,
                commitment: &source.key.commitment(SUITE, 3),
            };
            let hashes: Vec<_> = packets.iter().map(|(_, packet)| packet_hash(packet)).collect();
            let seal = Seal::sign(&context, &self.media, self.seals, proof, first, &hashes);
            self.seals += 1;
            (packets, seal)
        }

        /// The same, all of it kept.
        fn say_to(&mut self, archive: &mut Archive, source: SourceId, count: usize) {
            let (packets, seal) = self.say(count, Proof::Evidence);
            packets.iter().for_each(|(counter, packet)| archive.packet(source, *counter, packet));
            archive.seal(source, &seal);
        }
    }

    fn verified(draft: &Draft) -> Clip {
        let exporter = Identity::from_secret("exporter", &[99; 32]).unwrap();
        let clip = Clip::verify_with_gaps(&draft.signed_by(&exporter)).unwrap();
        assert_eq!((draft.speaker(), draft.epoch()), (clip.speaker(), clip.epoch()));
        assert_eq!((draft.frames(), draft.missing()), (clip.frames().len(), clip.missing()));
        let printed = format!("{draft:?}");
        assert!(printed.starts_with("Draft {") && !printed.contains("body"), "it holds a key: {printed}");
        clip
    }

    /// The counters of the first and of the one behind the last frame, and how many are missing.
    fn span(draft: Result<Draft>) -> (u64, u64, usize) {
        let clip = verified(&draft.unwrap());
        (clip.first_counter(), clip.first_counter() + clip.frames().len() as u64, clip.missing())
    }

    #[test]
    fn what_was_kept_comes_out_as_a_clip_of_the_newest_epoch_that_has_any_or_of_the_one_asked_for() {
        let mut archive = Archive::new(1 << 20);
        let (mut early, mut late) = (Speaker::new("ana", 1), Speaker::new("ana", 2));
        let ana = early.identity.id();
        let export = |archive: &Archive, of| archive.export(&ROOM, SUITE, &ana, of);
        let first = archive.enter(early.source());
        let nothing = export(&archive, None).unwrap_err().to_string();
        assert!(nothing.contains("nothing of theirs"), "{nothing}");
        (0..4).for_each(|_| early.say_to(&mut archive, first, 5));
        let second = archive.enter(late.source());
        assert_eq!(span(export(&archive, None)), (0, 20, 0));
        late.say_to(&mut archive, second, 3);
        assert_eq!(span(export(&archive, None)), (0, 3, 0));
        assert_eq!(span(export(&archive, Some((1, 0..=u64::MAX)))), (0, 20, 0));
        assert_eq!(span(export(&archive, Some((1, 7..=7)))), (5, 10, 0));
        assert_eq!(span(export(&archive, Some((1, 4..=10)))), (0, 15, 0));
        assert!(export(&archive, Some((1, 20..=30))).is_err());
        assert!(export(&archive, Some((3, 0..=30))).is_err());
        // A seal of the epoch before that comes after those of this one.
        early.say_to(&mut archive, first, 5);
        assert_eq!(span(export(&archive, None)), (0, 3, 0));
        assert_eq!(span(export(&archive, Some((1, 0..=u64::MAX)))), (0, 25, 0));
        assert!(archive.export(&ROOM, SUITE, &MemberId::from_bytes([1; 32]), None).is_err());
    }

    #[test]
    fn a_run_begins_after_a_seal_that_never_came_and_a_packet_that_never_came_is_missing() {
        let mut archive = Archive::new(1 << 20);
        let mut ana = Speaker::new("ana", 1);
        let source = archive.enter(ana.source());
        ana.say_to(&mut archive, source, 5);
        let (packets, _) = ana.say(5, Proof::Evidence);
        packets.iter().for_each(|(counter, packet)| archive.packet(source, *counter, packet));
        let (packets, seal) = ana.say(5, Proof::Evidence);
        archive.seal(source, &seal);
        for (counter, packet) in packets.iter().rev().filter(|(counter, _)| *counter != 10) {
            // A forgery that was given out first.
            archive.packet(source, *counter, &[&packet[..20], b"not what she said"].concat());
            archive.packet(source, *counter, packet);
            archive.packet(source, *counter, b"given out afterwards");
        }
        ana.say_to(&mut archive, source, 2);
        assert_eq!(span(archive.export(&ROOM, SUITE, &ana.identity.id(), None)), (10, 17, 1));
        assert_eq!(span(archive.export(&ROOM, SUITE, &ana.identity.id(), Some((1, 0..=4)))), (0, 5, 0));
        // Frames that she never sealed, so that the next seal has the next number.
        ana.say(4, Proof::Evidence);
        ana.seals -= 1;
        ana.say_to(&mut archive, source, 3);
        assert_eq!(span(archive.export(&ROOM, SUITE, &ana.identity.id(), None)), (21, 24, 0));
    }

    #[test]
    fn a_room_that_keeps_no_evidence_has_no_clips() {
        let mut archive = Archive::new(1 << 20);
        let mut ana = Speaker::new("ana", 1);
        let source = archive.enter(ana.source());
        archive.seal(source, &ana.say(5, Proof::Deniable).1);
        let error = archive.export(&ROOM, SUITE, &ana.identity.id(), None).unwrap_err();
        assert_eq!(error.to_string(), no_evidence().to_string());
    }

    #[test]
    fn it_stays_in_its_bounds_allocates_nothing_and_keeps_the_newest() {
        for capacity in [0, 10, 63, 64, 500, 1000, 4096, 50_000] {
            let mut archive = Archive::new(capacity);
            let room = (archive.bytes.capacity(), archive.records.capacity());
            let mut people = [Speaker::new("ana", 1), Speaker::new("benno", 1)];
            let sources = people.each_ref().map(|one| archive.enter(one.source()));
            for round in 0..200 {
                for (one, source) in people.iter_mut().zip(sources) {
                    one.say_to(&mut archive, source, 1 + round % 7);
                    assert!(archive.bytes.len() <= capacity && archive.records.len() <= capacity / SHORT_RECORD);
                    assert_eq!((archive.bytes.capacity(), archive.records.capacity()), room);
                    let kept: usize = archive.records.iter().map(|record| record.length).sum();
                    assert_eq!(archive.bytes.len(), kept);
                    let counted: usize = archive.places.iter().map(|place| place.records).sum();
                    assert_eq!(archive.records.len(), counted);
                }
                archive.packet(sources[0], 0, &vec![0; capacity + 1]);
            }
            for one in &people {
                let exported = archive.export(&ROOM, SUITE, &one.identity.id(), None);
                if capacity < 4096 {
                    continue;
                }
                let (begin, end, missing) = span(exported);
                assert_eq!((end, missing), (one.sealer.next_counter(), 0), "{capacity} bytes");
                assert!(begin > 0);
            }
        }
    }

    #[test]
    fn it_is_used_to_its_last_byte_and_holds_no_more_records_than_it_was_cut_for() {
        let mut archive = Archive::new(1000);
        let source = archive.enter(Speaker::new("ana", 1).source());
        archive.packet(source, 0, &[0; 1000]);
        assert_eq!(archive.bytes.len(), 1000);
        (1..=2).for_each(|counter| archive.packet(source, counter, &[0; 500]));
        assert_eq!((archive.bytes.len(), archive.records.len()), (1000, 2));
        let room = archive.records.capacity();
        (3..100).for_each(|counter| archive.packet(source, counter, b"short"));
        assert_eq!((archive.records.len(), archive.records.capacity()), (1000 / SHORT_RECORD, room));
    }

    #[test]
    fn the_key_of_a_source_goes_with_its_last_record_once_its_epoch_is_over_and_its_id_is_nobody_elses() {
        let mut archive = Archive::new(2000);
        let (mut early, mut late) = (Speaker::new("ana", 1), Speaker::new("ana", 2));
        let (first, silent) = (archive.enter(early.source()), archive.enter(early.source()));
        early.say_to(&mut archive, first, 5);
        let second = archive.enter(late.source());
        archive.retire(2);
        assert!(archive.place_of(first).is_some() && archive.place_of(second).is_some());
        assert!(archive.place_of(silent).is_none(), "it had nothing to keep");
        for _ in 0..10 {
            late.say_to(&mut archive, second, 3);
        }
        assert!(archive.place_of(first).is_none() && archive.place_of(second).is_some());
        let third = archive.enter(Speaker::new("benno", 2).source());
        assert_eq!(third.place, first.place);
        archive.packet(first, 0, b"a late packet of ana's");
        assert_eq!(archive.place_of(third).unwrap().records, 0);
        assert!(archive.export(&ROOM, SUITE, &early.identity.id(), Some((1, 0..=9))).is_err());
    }

    #[test]
    fn a_clip_that_would_be_too_long_loses_its_beginning() {
        let mut archive = Archive::new(8 << 20);
        let mut ana = Speaker::new("ana", 1);
        let source = archive.enter(ana.source());
        for _ in 0..700 {
            ana.say_to(&mut archive, source, 50);
        }
        let (begin, end, missing) = span(archive.export(&ROOM, SUITE, &ana.identity.id(), None));
        assert_eq!((end, missing), (35_000, 0));
        assert!(begin > 0 && end - begin > 25_000, "{begin}");
    }
}
